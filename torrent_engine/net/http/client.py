"""HTTP requests to untrusted servers: address checks, redirects, TLS, time and size limits.

Source: fault model, rows A13, A14, D1 to D4. The HTTP implementation is httpx2.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import HttpError, NetworkError
from torrent_engine.base.ids import CLIENT_NAME
from torrent_engine.net.http.address_policy import (
    USER_POLICY,
    AddressPolicy,
    AddressRefusedError,
    allowed_addresses,
    is_global,
)
from torrent_engine.net.http.connections import resolver_for, transport_over
from torrent_engine.net.http.decompress import ACCEPT_ENCODING, BodyReader
from torrent_engine.net.http.hop import (
    REDIRECTS,
    Hop,
    basic_auth,
    checked_headers,
    described,
    is_magnet,
)
from torrent_engine.net.http.library import (
    default_tls,
    in_thread,
    load_httpx,
    no_tls,
    silent_logging,
)
from torrent_engine.net.proxy.routes import DIRECT, Route
from torrent_engine.net.sockets.fair_slots import FairSlots, SlotLimits
from torrent_engine.net.sockets.name_resolver import current_client
from torrent_engine.net.sockets.resolver import Resolver, name_failure, resolve
from torrent_engine.protocol.tracker.urls import redact_text

if TYPE_CHECKING:
    import ssl

    import httpx2

MAX_GROWTH_BYTES: Final = 1 << 20  # ours: of a body at once; what may be more is for a thread
CHUNKS_PER_TURN: Final = 64  # ours: chunks handled before other tasks run; some ms
MAX_ADDRESSES: Final = 8  # ours: of a host that are tried; a name may have thousands of others'
_LOGGER: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete response, decompressed, of any status."""

    status: int
    headers: Mapping[str, str]
    """Lower-case names; the first value of repeated headers."""
    body: bytes
    url: str
    """The URL after redirects; may contain secrets, see ``redact_url``."""
    address: str
    """The literal address of the server; the host name if a proxy resolved it."""


class HttpClient:
    """A client for GET requests; its only state is TLS settings and request slots."""

    def __init__(
        self,
        config: TrackerConfig,
        *,
        user_agent: str = CLIENT_NAME,
        resolver: Resolver = resolve,
        route: Route = DIRECT,
        ssl_context: "ssl.SSLContext | None" = None,
    ) -> None:
        self._config = config
        self.user_agent = user_agent
        self.route = route
        self._resolver = resolver_for(route, resolver)
        self._ssl_context = ssl_context
        self._slots = FairSlots(slot_limits(config))

    async def get(  # noqa: PLR0913 - keyword-only, but for the URL
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        policy: AddressPolicy = USER_POLICY,
        addresses: Sequence[str] = (),
        has_slot: bool = False,
        on_sent: Callable[[], None] | None = None,
    ) -> HttpResponse:
        """Fetch ``url``, following up to five redirects, each checked like the first.

        ``max_bytes`` limits the body before and after decompression. ``addresses`` are known
        literal addresses of the host; they are checked too. The host is resolved once, and only
        checked addresses are connected to. ``has_slot``: the caller limits the number of requests.
        ``on_sent`` is called when the first request is sent.
        Raises HttpError for all failures, without secrets of the URL, and AddressRefusedError if
        the policy refuses; responses of any status, and redirects to magnet links, are returned.
        """
        timeout_s = self._config.total_timeout_s
        slot = nullcontext() if has_slot else self._slots.turn(current_client().key)
        async with slot:
            try:
                with anyio.fail_after(timeout_s), silent_logging():
                    hop = Hop(url, {**basic_auth(url), **(headers or {})}, addresses, on_sent)
                    return await self._follow(hop, policy, max_bytes)
            except TimeoutError as error:
                raise HttpError(
                    f"no complete response in {timeout_s:g} s", is_timeout=True
                ) from error
            except AddressRefusedError as error:
                raise AddressRefusedError(redact_text(str(error), url)) from None
            except (HttpError, NetworkError) as error:
                is_timeout = isinstance(error, HttpError) and error.is_timeout
                message = redact_text(str(error), url)
                raise HttpError(message, is_timeout=is_timeout) from name_failure(error)

    async def _follow(self, hop: Hop, policy: AddressPolicy, max_bytes: int) -> HttpResponse:
        for _ in range(self._config.max_redirects + 1):
            addresses = await self.addresses(hop, policy)
            response = await self._try_addresses(hop, addresses, max_bytes)
            location = response.headers.get("location")
            if response.status not in REDIRECTS or location is None or is_magnet(location):
                return response
            if is_global(response.address):
                policy = AddressPolicy(
                    allow_non_global=False
                )  # never from a public to a local address
            hop = hop.next(location)
        raise HttpError(f"more than {self._config.max_redirects} redirects")

    async def _try_addresses(
        self, hop: Hop, addresses: Sequence[str], max_bytes: int
    ) -> HttpResponse:
        """Return the response of the first address that accepts a connection."""
        httpx = await load_httpx()
        addresses = addresses[:MAX_ADDRESSES]
        for address in addresses[:-1]:
            try:
                return await self._fetch(httpx, hop, address, max_bytes)
            except _ConnectFailedError:
                _LOGGER.debug("no connection to %s, trying the next address", address)
        return await self._fetch(httpx, hop, addresses[-1], max_bytes)

    async def _fetch(
        self, httpx: ModuleType, hop: Hop, address: str, max_bytes: int
    ) -> HttpResponse:
        sent = {
            "User-Agent": self.user_agent,
            "Accept-Encoding": ACCEPT_ENCODING,
            "Connection": "close",
        }
        request = hop.request(httpx, address, sent, self._config.read_timeout_s)
        transport = transport_over(self.route, httpx, verify=await self.tls(hop))
        try:
            async with transport:
                response = await transport.handle_async_request(request)
                async with aclosing(response):
                    headers = checked_headers(response.headers.raw, self._config.max_header_bytes)
                    encoding = headers.get("content-encoding", "")
                    reader = BodyReader(encoding, max_bytes=max_bytes)
                    if response.status_code not in REDIRECTS:
                        await _read_body(httpx, response, reader)
                    body = reader.finish()
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            is_timeout = isinstance(error, httpx.TimeoutException)
            raise _ConnectFailedError(described(error), is_timeout=is_timeout) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            is_timeout = isinstance(error, httpx.TimeoutException)
            raise HttpError(described(error), is_timeout=is_timeout) from error
        return HttpResponse(response.status_code, headers, body, hop.url, address)

    async def addresses(self, hop: Hop, policy: AddressPolicy) -> list[str]:
        """Resolve the host of a hop; return the addresses that ``policy`` allows.

        Raises NetworkError or HttpError if there are none.
        """
        found = hop.addresses or await self._resolver(hop.parts.host, hop.parts.port)
        return allowed_addresses(found, policy, path=hop.parts.target)

    async def tls(self, hop: Hop) -> "ssl.SSLContext":
        """Return the TLS context of a hop; for plain HTTP one without certificates."""
        if hop.parts.scheme != "https":
            return no_tls()
        if self._ssl_context is None:
            self._ssl_context = await default_tls(verify=self._config.verify_tls)
        return self._ssl_context


def slot_limits(config: TrackerConfig) -> SlotLimits:
    """Return the limits on simultaneous requests, in total and for one torrent."""
    total = config.max_concurrent
    return SlotLimits(total, per_key=max(total // 3, 1), reserved=total // 5)


class _ConnectFailedError(HttpError):
    """A failure after which another address of the host is tried."""


async def _read_body(httpx: ModuleType, response: "httpx2.Response", reader: BodyReader) -> None:
    """Feed the raw body to ``reader``, because httpx2 decompresses without a limit.

    A refused body is closed and then iterated to its end, because unfinished generators inside
    the library would stay open.
    """
    refusal: HttpError | None = None
    count = 0
    try:
        async for chunk in response.aiter_raw():
            count += 1
            if not count % CHUNKS_PER_TURN:
                await anyio.lowlevel.checkpoint()
            if refusal is None:
                if reader.may_grow_by(len(chunk)) > MAX_GROWTH_BYTES:
                    refusal = await in_thread(_refusal, reader, chunk)
                else:
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
