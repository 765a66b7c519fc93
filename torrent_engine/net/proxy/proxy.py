"""Connections through an HTTP or SOCKS proxy.

The result is a plain non-blocking socket whose next byte is from the destination. Names are passed
to the proxy; only the proxy's own name is resolved here.
"""

import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from torrent_engine.base.config import ProxyConfig, ProxyKind
from torrent_engine.base.errors import NameResolutionError, NetworkError, ProxyError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.proxy.socks import (
    Credentials,
    associate_socks5,
    connect_socks4,
    connect_socks5,
    send_all,
)
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.name_resolver import USER, resolving_for
from torrent_engine.net.sockets.resolver import Resolver, is_literal, resolve
from torrent_engine.net.sockets.tcp import close, dial, plain_host
from torrent_engine.protocol.http_connect import ConnectResponse, connect_request

logger = logging.getLogger(__name__)

WARNING_PAUSE_S: Final = 60.0  # ours: interval of warnings about an unreachable proxy
PROXY_ADDRESS_KEPT_S: Final = 60.0  # ours: how long the proxy's resolved addresses are cached
PROXY_FAILURE_KEPT_S: Final = 5.0  # ours: how long it is not looked up again, since all wait for it
_PEEK_BYTES: Final = 4 * 1024
_UNSPECIFIED: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


class Proxy:
    """Client of one proxy."""

    def __init__(
        self, config: ProxyConfig, *, binding: Binding = UNBOUND, resolver: Resolver = resolve
    ) -> None:
        self._config = config
        self._binding = binding
        self._resolver = resolver
        self._looking_up = anyio.Lock()
        self._addresses: Sequence[str] = ()
        self._known_until = float("-inf")
        self._failure = ""
        self._failed_until = float("-inf")
        self._quiet_until = float("-inf")

    @property
    def takes_names(self) -> bool:
        """Whether the proxy resolves names; many SOCKS4 proxies do not (no SOCKS4a)."""
        return self._config.kind is not ProxyKind.SOCKS4 or self._config.required

    @property
    def carries_datagrams(self) -> bool:
        """Whether proxies of its kind relay UDP."""
        return self._config.kind is ProxyKind.SOCKS5

    async def dial(self, target: PeerAddress, timeout_s: float) -> socket.socket:
        """Connect to a literal address or a name; return the non-blocking socket.

        Raises ProxyError if the proxy is unreachable, refuses, or takes longer than ``timeout_s``.
        """
        async with self._connected(timeout_s) as sock:
            await self._request_tunnel(sock, target)
            return sock

    async def associate(self, timeout_s: float) -> tuple[socket.socket, PeerAddress]:
        """Open a UDP relay; return the socket that keeps it open, and its address.

        Raises ProxyError as :meth:`dial` does, and if it is no SOCKS5 proxy.
        """
        if not self.carries_datagrams:
            raise ProxyError(f"a proxy of kind {self._config.kind} does not relay UDP")
        async with self._connected(timeout_s) as sock:
            relay = await associate_socks5(sock, self._credentials)
            if relay.host in _UNSPECIFIED:
                relay = PeerAddress(plain_host(sock.getpeername()[0]), relay.port)
            if not is_literal(relay.host):
                raise ProxyError("the address of its UDP relay is a name")
            return sock, relay

    # -- to the proxy ---------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self, timeout_s: float) -> AsyncIterator[socket.socket]:
        """Yield a socket to the proxy; it is closed if the block raises or takes too long."""
        name = PeerAddress(self._config.host, self._config.port)
        sock: socket.socket | None = None
        try:
            with anyio.fail_after(timeout_s):
                sock = await self._connect(timeout_s)
                yield sock
        except BaseException as error:
            if sock is not None:
                close(sock)
            if not isinstance(error, (NetworkError, OSError)):
                raise
            is_late = isinstance(error, TimeoutError)
            reason = f"no response in {timeout_s:.0f} s" if is_late else str(error)
            if sock is None:
                self._warn(f"the proxy {name} cannot be reached: {reason}")
            raise ProxyError(f"proxy {name}: {reason}") from error

    def _warn(self, what: str) -> None:
        """Log a warning, at a limited rate."""
        now = anyio.current_time()
        level = logging.WARNING if now >= self._quiet_until else logging.DEBUG
        if level == logging.WARNING:
            self._quiet_until = now + WARNING_PAUSE_S
        logger.log(level, "%s", what)

    async def _connect(self, timeout_s: float) -> socket.socket:
        """Connect to the first address of the proxy that accepts."""
        failure = NetworkError("it has no address")
        for host in await self._proxy_addresses():
            try:
                address = PeerAddress(host, self._config.port)
                return await dial(address, timeout_s, self._binding)
            except NetworkError as error:
                failure = error
        self._known_until = float("-inf")
        raise failure

    async def _proxy_addresses(self) -> Sequence[str]:
        async with self._looking_up:
            if anyio.current_time() >= self._known_until:
                self._addresses = await self._look_up()
                self._known_until = anyio.current_time() + PROXY_ADDRESS_KEPT_S
            return self._addresses

    async def _look_up(self) -> Sequence[str]:
        """Look the proxy up for the user, whose names wait for no earlier failure for long."""
        if anyio.current_time() < self._failed_until:
            raise NameResolutionError(self._failure)
        try:
            with resolving_for(USER.key):
                return await self._resolver(self._config.host, self._config.port)
        except NameResolutionError as error:
            self._failure = str(error)
            self._failed_until = anyio.current_time() + PROXY_FAILURE_KEPT_S
            raise

    # -- through the proxy ----------------------------------------------------------------------

    @property
    def _credentials(self) -> Credentials:
        return Credentials(self._config.username, self._config.password)

    async def _request_tunnel(self, sock: socket.socket, target: PeerAddress) -> None:
        match self._config.kind:
            case ProxyKind.SOCKS5:
                await connect_socks5(sock, target, self._credentials)
            case ProxyKind.SOCKS4:
                await connect_socks4(sock, target, self._credentials)
            case ProxyKind.HTTP:
                await _connect_http(sock, target, self._credentials)


async def _connect_http(sock: socket.socket, target: PeerAddress, who: Credentials) -> None:
    """Open a tunnel with CONNECT; read no byte beyond the response."""
    request = connect_request(
        target.host, target.port, username=who.username, password=who.password
    )
    await send_all(sock, request)
    answer = ConnectResponse()
    while not answer.is_done:
        try:
            data = sock.recv(_PEEK_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            await anyio.wait_readable(sock)
            continue
        if not data:
            raise ProxyError("the proxy closed the connection")
        sock.recv(answer.receive_data(data))  # the peeked bytes are available
