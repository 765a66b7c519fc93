"""HTTP to a UPnP gateway: nowhere else, bounded, in time; no redirects, no proxies.

Source: row D1: a description may name any URL. :class:`GatewayRequester` is what the UPnP library
is given to send requests with.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError
from torrent_engine.net.binding import Binding
from torrent_engine.net.http_library import load_httpx, no_tls
from torrent_engine.net.http_route import transport_over
from torrent_engine.net.http_stream import StreamedResponse
from torrent_engine.net.routes import DirectRoute
from torrent_engine.protocol.nat.ssdp import check_url

if TYPE_CHECKING:
    import httpx2

HEADERS: Final = {"Accept-Encoding": "identity", "Connection": "close"}
MAX_REQUESTS: Final = 64  # ours: one description may name so many further ones, and no more


class LibraryRequest(Protocol):
    """What the UPnP library wants to be sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """What the UPnP library reads of an answer."""

    status_code: int
    headers: dict[str, str]
    body: str


class GatewayRequester:
    """Sends what the UPnP library asks for; open it with :func:`open_requester`."""

    def __init__(
        self,
        httpx: ModuleType,
        transport: "httpx2.AsyncHTTPTransport",
        host: str,
        config: PortMappingConfig,
    ) -> None:
        self._httpx = httpx
        self._transport = transport
        self._host = host
        self._config = config
        self.requests_left = MAX_REQUESTS
        """Set anew before each thing that is asked of the library."""

    async def async_http_request(self, http_request: LibraryRequest) -> GatewayResponse:
        """Send one request of the library and return the whole answer; redirects are none.

        Raises GatewayError if the URL leads elsewhere or the answer is too long, TimeoutError if it
        is too late, and what httpx2 raises.
        """
        check_url(http_request.url, self._host)
        self.requests_left -= 1
        if self.requests_left < 0:
            raise GatewayError("a UPnP gateway with too many services")
        body = http_request.body
        request = self._httpx.Request(
            http_request.method,
            http_request.url,
            headers={**(http_request.headers or {}), **HEADERS},
            content=None if body is None else body.encode(),
        )
        with anyio.fail_after(self._config.upnp_timeout_s):
            response = await self._transport.handle_async_request(request)
            streamed = StreamedResponse(self._httpx, response, {}, self._host)
            async with aclosing(streamed):
                data = await self._read(streamed)
        text = data.decode("utf-8", "replace")
        return GatewayResponse(response.status_code, dict(response.headers), text)

    async def _read(self, response: StreamedResponse) -> bytes:
        data = bytearray()
        while chunk := await response.read():
            data += chunk
            if len(data) > self._config.max_upnp_bytes:
                raise GatewayError("an answer of UPnP that is too long")
        return bytes(data)


@asynccontextmanager
async def open_requester(
    host: str, local_host: str, config: PortMappingConfig
) -> AsyncIterator[GatewayRequester]:
    """Send from our address to one gateway, for as long as the block lasts."""
    httpx = await load_httpx()
    transport = transport_over(DirectRoute(Binding(local_host)), httpx, verify=no_tls())
    async with transport:
        yield GatewayRequester(httpx, transport, host, config)
