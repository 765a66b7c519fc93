"""HTTP requests to a UPnP gateway only, with limits, without redirects and proxies.

Source: row D1: a description may contain any URL. :class:`GatewayRequester` sends the requests of
the UPnP library.
"""

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from torrent_engine.base.config import PortMappingConfig
from torrent_engine.base.errors import GatewayError
from torrent_engine.net.http.connections import transport_over
from torrent_engine.net.http.library import load_httpx, no_tls
from torrent_engine.net.http.stream import StreamedResponse
from torrent_engine.net.proxy.routes import DirectRoute
from torrent_engine.net.sockets.binding import Binding
from torrent_engine.protocol.nat.ssdp import check_url

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

HEADERS: Final = {"Accept-Encoding": "identity", "Connection": "close"}
MAX_REQUESTS: Final = 64  # ours: a description may refer to further ones
MAX_TOTAL_BYTES: Final = 256 * 1024  # ours: all of them; 4 MiB are 0.7 s of the event loop
MAX_MARKS: Final = 2_500  # ours: tags and attributes of one; miniupnpd has some 700 for IGD 2
MAX_ENTRIES: Final = 100  # ours: of those below, 0.1 to 0.2 ms each; a WAN connection has 40 to 70
_ENTRY: Final = re.compile(
    r"<(?:[^<>\s:]*:)?(?:device|icon|service|stateVariable|action)(?=[\s/>])"
)


class LibraryRequest(Protocol):
    """A request of the UPnP library."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None


@dataclass(frozen=True, slots=True)
class GatewayResponse:
    """A response for the UPnP library."""

    status_code: int
    headers: dict[str, str]
    body: str


class GatewayRequester:
    """Sends the requests of the UPnP library; open it with :func:`open_requester`."""

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
        self._requests_left = MAX_REQUESTS
        self._bytes_left = MAX_TOTAL_BYTES

    def begin_call(self, max_requests: int = MAX_REQUESTS) -> None:
        """Count requests and bytes anew, before each call into the library."""
        self._requests_left = max_requests
        self._bytes_left = MAX_TOTAL_BYTES

    async def async_http_request(self, http_request: LibraryRequest) -> GatewayResponse:
        """Send one request of the library and return the complete response, without redirects.

        The body is empty if it would take long to read: the library passes over such a service.
        Raises GatewayError if the URL is not at the gateway or the response is too long,
        TimeoutError, and the errors of httpx2.
        """
        check_url(http_request.url, self._host)
        self._requests_left -= 1
        if self._requests_left < 0:
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
        if _has_too_many_elements(text):
            logger.debug("UPnP: a description with too many elements is ignored")
            text = ""
        return GatewayResponse(response.status_code, dict(response.headers), text)

    async def _read(self, response: StreamedResponse) -> bytes:
        data = bytearray()
        while chunk := await response.read():
            data += chunk
            if len(data) > self._config.max_upnp_bytes:
                raise GatewayError("UPnP response is too long")
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise GatewayError("a UPnP gateway with too long descriptions")
        return bytes(data)


def _has_too_many_elements(text: str) -> bool:
    """Return whether the library may need more than some 20 ms of the event loop for XML (F11)."""
    marks = text.count("<") + text.count("=")
    return marks > MAX_MARKS or sum(1 for _ in _ENTRY.finditer(text)) > MAX_ENTRIES


@asynccontextmanager
async def open_requester(
    host: str, local_host: str, config: PortMappingConfig
) -> AsyncIterator[GatewayRequester]:
    """Open a requester from our address to one gateway, for as long as the block lasts."""
    httpx = await load_httpx()
    transport = transport_over(DirectRoute(Binding(local_host)), httpx, verify=no_tls())
    async with transport:
        yield GatewayRequester(httpx, transport, host, config)
