"""Owns HTTP requests to strangers: address checks, redirects, TLS, time and size limits.

Source: RELIABILITY rows A13, A14, D1 to D4. httpx2 speaks the HTTP.
"""

import base64
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urljoin, urlsplit

import anyio

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import HttpError, NetworkError, TrackerError
from torrent_engine.base.ids import CLIENT_NAME
from torrent_engine.net.address_policy import (
    USER_POLICY,
    AddressPolicy,
    allowed_addresses,
    is_global,
)
from torrent_engine.net.decompress import ACCEPT_ENCODING, BodyReader
from torrent_engine.net.http_library import default_tls, load_httpx, silent_logging
from torrent_engine.net.resolver import Resolver, resolve
from torrent_engine.protocol.tracker.urls import (
    DEFAULT_PORTS,
    TrackerUrl,
    parse_tracker_url,
    redact_text,
)

if TYPE_CHECKING:
    import ssl

    import httpx2

_LOGGER: Final = logging.getLogger(__name__)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_HEADER_LINES: Final = 100  # row A14
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole answer, decompressed; its status may be an error's."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a repeated header the first."""
    body: bytes
    url: str
    """Where it came from after redirects; may hold secrets, see ``redact_url``."""
    address: str
    """The literal address that answered."""


@dataclass(slots=True)
class _Hop:
    """One request of a chain of redirects."""

    url: str
    headers: Mapping[str, str]
    addresses: Sequence[str] = ()
    """Literal addresses to use instead of looking the host up."""
    parts: TrackerUrl = field(init=False)

    def __post_init__(self) -> None:
        self.parts = parse_http_url(self.url)

    def next(self, location: str) -> "_Hop":
        """Return where a redirect leads; secrets do not leave their origin."""
        try:
            url = urljoin(self.url, location)
        except ValueError as error:
            raise HttpError("redirect to a malformed URL") from error
        following = _Hop(url, self.headers)
        if following.parts.origin != self.parts.origin:
            following.headers = {
                name: text
                for name, text in self.headers.items()
                if name.lower() not in _SECRET_HEADERS
            }
        return following


class HttpClient:
    """Fetches URLs with GET; keeps nothing but its TLS settings and the limit on concurrency."""

    def __init__(
        self,
        config: TrackerConfig,
        *,
        user_agent: str = CLIENT_NAME,
        resolver: Resolver = resolve,
        ssl_context: "ssl.SSLContext | None" = None,
    ) -> None:
        self._config = config
        self._user_agent = user_agent
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._limiter = anyio.CapacityLimiter(config.max_concurrent)

    async def get(
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        policy: AddressPolicy = USER_POLICY,
        addresses: Sequence[str] = (),
    ) -> HttpResponse:
        """Fetch ``url``, following up to five redirects, each checked like the first.

        ``max_bytes`` bounds the body before and after decompression. ``addresses`` are literal
        addresses of the URL's host if they are known; they are checked all the same. The host is
        looked up once and the connection goes to what was checked. Raises HttpError for whatever
        goes wrong, without secrets of the URL; any status is an answer and no error.
        """
        timeout_s = self._config.total_timeout_s
        async with self._limiter:
            try:
                with anyio.fail_after(timeout_s), silent_logging():
                    hop = _Hop(url, {**_basic_auth(url), **(headers or {})}, addresses)
                    return await self._follow(hop, policy, max_bytes)
            except TimeoutError as error:
                raise HttpError(f"no whole answer in {timeout_s:g} s") from error
            except (HttpError, NetworkError) as error:
                raise HttpError(redact_text(str(error), url)) from None

    async def _follow(self, hop: _Hop, policy: AddressPolicy, max_bytes: int) -> HttpResponse:
        for _ in range(self._config.max_redirects + 1):
            found = hop.addresses or await self._resolver(hop.parts.host, hop.parts.port)
            addresses = allowed_addresses(found, policy, path=hop.parts.target)
            response = await self._try_addresses(hop, addresses, max_bytes)
            location = response.headers.get("location")
            if response.status not in _REDIRECTS or location is None:
                return response
            if is_global(response.address):
                policy = AddressPolicy(allow_non_global=False)  # never from outside to inside
            hop = hop.next(location)
        raise HttpError(f"more than {self._config.max_redirects} redirects")

    async def _try_addresses(
        self, hop: _Hop, addresses: Sequence[str], max_bytes: int
    ) -> HttpResponse:
        """Take the first address that accepts a connection."""
        httpx = await load_httpx()
        for address in addresses[:-1]:
            try:
                return await self._fetch(httpx, hop, address, max_bytes)
            except _ConnectFailedError:
                _LOGGER.debug("no connection to %s, trying the next address", address)
        return await self._fetch(httpx, hop, addresses[-1], max_bytes)

    async def _fetch(
        self, httpx: ModuleType, hop: _Hop, address: str, max_bytes: int
    ) -> HttpResponse:
        request = self._request(httpx, hop, address)
        transport = httpx.AsyncHTTPTransport(verify=await self._tls(hop), trust_env=False)
        try:
            async with transport:
                response = await transport.handle_async_request(request)
                async with aclosing(response):
                    headers = self._checked_headers(response.headers.raw)
                    encoding = headers.get("content-encoding", "")
                    reader = BodyReader(encoding, max_bytes=max_bytes)
                    if response.status_code not in _REDIRECTS:
                        await _read_body(httpx, response, reader)
                    body = reader.finish()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _ConnectFailedError(_described(error)) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise HttpError(_described(error)) from error
        return HttpResponse(response.status_code, headers, body, hop.url, address)

    def _request(self, httpx: ModuleType, hop: _Hop, address: str) -> "httpx2.Request":
        parts = hop.parts
        literal = f"[{address}]" if ":" in address else address
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._config.read_timeout_s)
        headers = {
            "Host": _host_header(parts),
            "User-Agent": self._user_agent,
            "Accept-Encoding": ACCEPT_ENCODING,
            "Connection": "close",
        }
        target = parts.target.encode("ascii")
        request: httpx2.Request = httpx.Request(
            "GET",
            f"{parts.scheme}://{literal}:{parts.port}/",
            headers={**headers, **hop.headers},
            extensions={"target": target, "sni_hostname": parts.host, "timeout": timeouts},
        )
        return request

    def _checked_headers(self, raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
        header_bytes = sum(len(name) + len(value) + 4 for name, value in raw)
        if header_bytes > self._config.max_header_bytes or len(raw) > _MAX_HEADER_LINES:
            raise HttpError(f"response header of {len(raw)} lines, {header_bytes} bytes")
        headers: dict[str, str] = {}
        for name, value in raw:
            headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        return headers

    async def _tls(self, hop: _Hop) -> "ssl.SSLContext | bool":
        if hop.parts.scheme != "https":
            return False
        if self._ssl_context is None:
            self._ssl_context = await default_tls(verify=self._config.verify_tls)
        return self._ssl_context


class _ConnectFailedError(HttpError):
    """Another address of the host may still work."""


def parse_http_url(url: str) -> TrackerUrl:
    """Split an http or https URL; HttpError if it is anything else."""
    try:
        parts = parse_tracker_url(url)
    except TrackerError as error:
        raise HttpError(str(error).replace("tracker URL", "URL")) from error
    if parts.scheme not in DEFAULT_PORTS:
        raise HttpError(f"cannot fetch a URL of scheme {parts.scheme!r}")
    return parts


async def _read_body(httpx: ModuleType, response: "httpx2.Response", reader: BodyReader) -> None:
    """Feed the raw body to ``reader``: httpx2 itself would inflate it without bound.

    A refused body is closed and then iterated to the end that this forces, because generators
    that are left half-way inside the library stay open.
    """
    refusal: HttpError | None = None
    try:
        async for chunk in response.aiter_raw():
            if refusal is None:
                refusal = _refusal(reader, chunk)
                if refusal is not None:
                    await response.aclose()
    except httpx.TransportError:
        if refusal is None:
            raise
    if refusal is not None:
        raise refusal


def _refusal(reader: BodyReader, chunk: bytes) -> HttpError | None:
    try:
        reader.feed(chunk)
    except HttpError as error:
        return error
    return None


def _host_header(parts: TrackerUrl) -> str:
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    return host if parts.port == DEFAULT_PORTS[parts.scheme] else f"{host}:{parts.port}"


def _basic_auth(url: str) -> dict[str, str]:
    try:
        parts = urlsplit(url)
        secret = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}".encode()
    except ValueError:
        return {}
    if parts.username is None:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(secret).decode('ascii')}"}


def _described(error: Exception) -> str:
    return str(error) or type(error).__name__
