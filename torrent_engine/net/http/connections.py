"""HTTP connections over a route, with TLS.

Responses are checked before httpx2 parses them, because it lacks many limits (row A14).
"""

import select
import socket
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc
from anyio.streams.tls import TLSAttribute, TLSStream

from torrent_engine.base.errors import HttpError, NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.proxy.routes import Route
from torrent_engine.net.sockets.resolver import Resolver, keep_name
from torrent_engine.net.sockets.tcp import open_stream
from torrent_engine.protocol.http_framing import ResponseWatch

if TYPE_CHECKING:
    import ssl

    import httpx2

MAX_CONNECTIONS: Final = 100  # ours: of one transport, httpx2's default
DIAL_TIMEOUT_S: Final = 30.0  # ours: if the caller has none
_BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


def transport_over(
    route: Route,
    httpx: ModuleType,
    *,
    verify: "ssl.SSLContext",
    keepalive_expiry_s: float | None = 5.0,
) -> "httpx2.AsyncHTTPTransport":
    """Return a transport that sends requests over a route; the caller closes it."""
    import httpcore2

    transport: httpx2.AsyncHTTPTransport = httpx.AsyncHTTPTransport(verify=verify, trust_env=False)
    transport._pool = httpcore2.AsyncConnectionPool(  # noqa: SLF001 - there is no public way
        ssl_context=verify,
        max_connections=MAX_CONNECTIONS,
        keepalive_expiry=keepalive_expiry_s,
        network_backend=_Backend(route),  # type: ignore[arg-type]
    )
    return transport


def resolver_for(route: Route, resolver: Resolver) -> Resolver:
    """Return the resolver for a route; names are passed on if the route resolves them."""
    return keep_name if route.takes_names else resolver


class _Backend:
    """The network backend of the connection pool."""

    def __init__(self, route: Route) -> None:
        self._route = route

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's interface
        local_address: str | None = None,
        socket_options: Iterable[object] | None = None,
    ) -> "_Stream":
        import httpcore2

        try:
            sock = await self._route.dial(PeerAddress(host, port), timeout or DIAL_TIMEOUT_S)
        except NetworkError as error:
            raise httpcore2.ConnectError(str(error)) from error
        try:
            return _Stream(await open_stream(sock))
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class _Stream:
    """The network stream of one connection."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._watch = ResponseWatch()
        self._has_surplus = False
        """Whether data followed the response: the connection is not reused."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        import httpcore2

        try:
            with anyio.fail_after(timeout):
                data = await self._stream.receive(max_bytes)
            used = self._watch.feed(data)
        except anyio.EndOfStream:
            return b""
        except HttpError as error:
            raise httpcore2.RemoteProtocolError(str(error)) from error
        except TimeoutError as error:
            raise httpcore2.ReadTimeout(f"no data for {timeout} s") from error
        except _BROKEN as error:
            raise httpcore2.ReadError(str(error)) from error
        if used < len(data):
            self._has_surplus = True
            return data[:used]
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        import httpcore2

        self._watch.request_sent()
        try:
            with anyio.fail_after(timeout):
                await self._stream.send(buffer)
        except TimeoutError as error:
            raise httpcore2.WriteTimeout(f"no data accepted for {timeout} s") from error
        except _BROKEN as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: "ssl.SSLContext",
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> "_Stream":
        import httpcore2

        try:
            with anyio.fail_after(timeout):
                inside = await TLSStream.wrap(
                    self._stream,
                    server_side=False,
                    hostname=server_hostname,
                    ssl_context=ssl_context,
                    standard_compatible=False,
                )
        except BaseException as error:
            await anyio.aclose_forcefully(self._stream)
            if isinstance(error, TimeoutError):
                raise httpcore2.ConnectTimeout("TLS handshake timed out") from error
            if isinstance(error, (anyio.EndOfStream, ValueError, *_BROKEN)):  # or an odd name
                raise httpcore2.ConnectError(str(error) or "TLS failed") from error
            raise
        return _Stream(inside)

    def get_extra_info(self, info: str) -> object:
        if info == "ssl_object":
            return self._stream.extra(TLSAttribute.ssl_object, None)  # noqa: S610 - no Django
        if info == "is_readable":
            if self._has_surplus:
                return True
            sock = self._stream.extra(anyio.abc.SocketAttribute.raw_socket, None)  # noqa: S610
            return _is_readable(sock)
        return None


def _is_readable(sock: socket.socket | None) -> bool:
    """Return whether an idle connection is readable, which most likely means closed."""
    if sock is None or sock.fileno() < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
