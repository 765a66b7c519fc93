"""One request of a redirect chain: its target, headers and limits.

Source: fault model, rows A14, D1. The sender resolves the host; connections are made to literal
addresses.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urljoin, urlsplit

from torrent_engine.base.errors import HttpError, TrackerError
from torrent_engine.codec.urls import url_text
from torrent_engine.protocol.http_framing import MAX_HEADER_LINES
from torrent_engine.protocol.tracker.urls import DEFAULT_PORTS, TrackerUrl, parse_tracker_url

if TYPE_CHECKING:
    import httpx2

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(slots=True)
class Hop:
    """One request of a redirect chain."""

    url: str
    headers: Mapping[str, str]
    addresses: Sequence[str] = ()
    """Literal addresses to use instead of resolving the host."""
    on_sent: Callable[[], None] | None = None
    """Called when the head of the request is sent."""
    parts: TrackerUrl = field(init=False)

    def __post_init__(self) -> None:
        """Split the URL. Raises HttpError if it cannot be fetched."""
        self.parts = parse_http_url(self.url)

    def next(self, location: str) -> "Hop":
        """Return the hop of a redirect; secret headers are sent only to their origin.

        ``location`` has the bytes of the header as Latin-1; servers may send raw UTF-8.
        """
        try:
            url = urljoin(self.url, url_text(location.encode("latin-1")))
        except ValueError as error:
            raise HttpError("redirect to a malformed URL") from error
        following = Hop(url, self.headers)
        if following.parts.origin != self.parts.origin:
            following.headers = {
                name: text
                for name, text in self.headers.items()
                if name.lower() not in _SECRET_HEADERS
            }
        return following

    def request(
        self, httpx: ModuleType, address: str, headers: Mapping[str, str], timeout_s: float
    ) -> "httpx2.Request":
        """Return the GET request to one literal address, with :attr:`headers` added.

        In place of the address there is a host name if a proxy resolves it. Header fields may have
        any character of Latin-1 (RFC 9110, section 5.5). Raises HttpError for what the library
        refuses.
        """
        parts = self.parts
        fields = {"Host": _host_header(parts), **headers, **self.headers}
        literal = f"[{address}]" if ":" in address else address
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
        try:
            request: httpx2.Request = httpx.Request(
                "GET",
                f"{parts.scheme}://{literal}:{parts.port}/",
                headers=[(k.encode("ascii"), v.encode("latin-1")) for k, v in fields.items()],
                extensions={
                    "target": parts.target.encode("ascii"),
                    "sni_hostname": parts.host,
                    "timeout": timeouts,
                    **({} if self.on_sent is None else {"trace": self._trace}),
                },
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise HttpError(described(error)) from error
        return request

    async def _trace(self, step: str, _info: object) -> None:
        """Note what the library does."""
        if self.on_sent is not None and step.endswith(".send_request_headers.complete"):
            self.on_sent()


def parse_http_url(url: str) -> TrackerUrl:
    """Split an http or https URL. Raises HttpError for anything else."""
    try:
        parts = parse_tracker_url(url)
    except TrackerError as error:
        raise HttpError(str(error).replace("tracker URL", "URL")) from error
    if parts.scheme not in DEFAULT_PORTS:
        raise HttpError(f"cannot fetch a URL of scheme {parts.scheme!r}")
    return parts


def checked_headers(raw: Sequence[tuple[bytes, bytes]], max_bytes: int) -> dict[str, str]:
    """Return lower-case name -> value of response headers; the first of repeated ones.

    Raises HttpError if it has more than ``max_bytes`` or 100 lines.
    """
    header_bytes = sum(len(name) + len(value) + 4 for name, value in raw)
    if header_bytes > max_bytes or len(raw) > MAX_HEADER_LINES:
        raise HttpError(f"response header of {len(raw)} lines, {header_bytes} bytes")
    headers: dict[str, str] = {}
    for name, value in raw:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return headers


def basic_auth(url: str) -> dict[str, str]:
    """Return the basic authentication header of a URL; {} if it has no user."""
    try:
        parts = urlsplit(url)
        secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    except ValueError:
        return {}
    if parts.username is None:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(secret).decode('ascii')}"}


def is_magnet(location: str) -> bool:
    """Return whether a redirect target is a magnet link."""
    return location[:8].lower() == "magnet:?"


def described(error: Exception) -> str:
    """Return the text of a library's error, or its class name."""
    return str(error) or type(error).__name__


def _host_header(parts: TrackerUrl) -> str:
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    return host if parts.port == DEFAULT_PORTS[parts.scheme] else f"{host}:{parts.port}"
