"""Download of a .torrent from a URL, with options for the request."""

import re
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.base.errors import ConfigError, HttpError
from torrent_engine.codec.magnet import SCHEME, Magnet
from torrent_engine.net.http.address_policy import AddressPolicy
from torrent_engine.net.http.client import HttpClient, HttpResponse
from torrent_engine.net.http.hop import REDIRECTS

HTTP_OK: Final = 200
HTTP_GONE: Final = frozenset({404, 410})
URL_SCHEMES: Final = ("http://", "https://")
MAX_HEADER_CHARS: Final = 8_192  # ours: most servers accept no longer header line
_SENDABLE: Final = re.compile(r"[\x20-\x7e\x80-\xff]*")


def is_sendable(text: str) -> bool:
    """Return whether a text is valid in an HTTP header."""
    return len(text) <= MAX_HEADER_CHARS and _SENDABLE.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Options of a request; cookies are sent to the origin of the URL only."""

    cookies: str = ""
    """``NAME=VALUE; ...``, the Cookie header of this request only."""
    user_agent: str = ""
    """The User-Agent header; empty: that of the engine."""
    etag: str = ""
    """The If-None-Match header; empty: none."""
    modified: str = ""
    """The If-Modified-Since header; empty: none."""
    allow_private: bool = True
    """Allow loopback, private and other non-global addresses."""
    max_bytes: int | None = None
    """Length limit of the body, also after decompression. None: the limit for torrents."""
    timeout_s: float = 30.0
    """Timeout of the whole request, with its redirects and its time in the queue."""

    def __post_init__(self) -> None:
        """Raise ConfigError for text that is not valid in an HTTP header."""
        for name in ("cookies", "user_agent", "etag", "modified"):
            if not is_sendable(getattr(self, name)):
                raise ConfigError(f"{name}: not valid in an HTTP header")

    def headers(self) -> dict[str, str]:
        """Return the additional request headers."""
        given = {
            "Cookie": self.cookies,
            "User-Agent": self.user_agent,
            "If-None-Match": self.etag,
            "If-Modified-Since": self.modified,
        }
        return {name: text for name, text in given.items() if text}


ANYWHERE: Final = FetchOptions()
"""For URLs entered by a local user: no address is refused."""


def is_url(source: object) -> bool:
    """Return whether a source is an http(s) URL."""
    return isinstance(source, str) and source.lower().startswith(URL_SCHEMES)


async def fetch_torrent(
    url: str, http: HttpClient, max_bytes: int, options: FetchOptions = ANYWHERE
) -> bytes | Magnet:
    """Return the bytes of a .torrent, or the magnet link that the URL redirects to.

    ``max_bytes`` bounds the body like ``options.max_bytes``. Raises HttpError, with the status if
    that is the reason, and AddressRefusedError for a host that ``options`` do not allow.
    """
    return torrent_of(await fetch_response(url, http, max_bytes, options))


async def fetch_response(
    url: str, http: HttpClient, max_bytes: int, options: FetchOptions = ANYWHERE
) -> HttpResponse:
    """Return the response for a .torrent, of any status. Raises as :func:`fetch_torrent`."""
    limit = min(max_bytes, options.max_bytes or max_bytes)
    policy = AddressPolicy(allow_non_global=options.allow_private)
    try:
        with anyio.fail_after(options.timeout_s):
            return await http.get(url, max_bytes=limit, headers=options.headers(), policy=policy)
    except TimeoutError as error:
        message = f"no complete response in {options.timeout_s:g} s"
        raise HttpError(message, is_timeout=True) from error


def torrent_of(response: HttpResponse) -> bytes | Magnet:
    """Return what a response has: a .torrent, or the magnet link to redirect to.

    Raises HttpError for another status.
    """
    location = response.headers.get("location", "")
    if response.status in REDIRECTS and location[: len(SCHEME)].lower() == SCHEME:
        return Magnet.parse(location)
    if response.status != HTTP_OK:
        what = f"HTTP status {response.status}"
        message = f"not found ({what})" if response.status in HTTP_GONE else what
        raise HttpError(message, status=response.status)
    return response.body
