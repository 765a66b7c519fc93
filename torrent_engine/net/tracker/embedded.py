"""An embedded tracker: HTTP and UDP on one port, IPv4 and IPv6.

Source: BEP 3, 7, 15, 23, 48. The responses are made in ``protocol/tracker``.
"""

import errno
import logging
import random
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Final
from weakref import WeakValueDictionary

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import network_of, operator_of
from torrent_engine.net.sockets.fairness import LOOP_TURN, RateGate
from torrent_engine.net.sockets.handshake_limits import HandshakeLimiter
from torrent_engine.net.sockets.tcp import (
    LISTEN_BACKLOG,
    accept_forever,
    close,
    open_stream,
    reset,
)
from torrent_engine.net.sockets.udp_batches import UdpSocket
from torrent_engine.net.tracker.embedded_http import serve_http
from torrent_engine.policy.limits.operator_rates import OperatorRates
from torrent_engine.protocol.tracker.server import HttpAnswer, HttpTracker
from torrent_engine.protocol.tracker.swarms import SwarmStore
from torrent_engine.protocol.tracker.udp_server import UdpTracker

logger = logging.getLogger(__name__)

MAX_REQUESTS_PER_S: Final = 300.0  # ours: of one operator over TCP; each takes 1 ms
MAX_ACCEPTS_PER_S: Final = 300.0  # ours: of one operator; each takes 0.5 ms
ACCEPT_BURST: Final = 500  # ours
NETWORK_SHARE: Final = 10  # ours: a network has so many times the rates of one operator
MAX_CONNECTIONS: Final = 500  # ours: over TCP
REQUEST_TIMEOUT_S: Final = 10.0  # ours: for a complete request, including the wait
_PORT_TRIES: Final = 20  # a free TCP port may be in use for UDP
ACCEPT_PAUSE_S: Final = 1.0
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
Sockets = tuple[socket.socket, socket.socket]


@dataclass(frozen=True, slots=True)
class EmbeddedTrackerStats:
    """Current numbers, and counters since the start."""

    torrents: int
    peers: int
    http_announces: int
    udp_announces: int
    scrapes: int
    refused: int


class EmbeddedTracker:
    """A tracker, running within its ``async with`` block, where :attr:`port` is known.

    ``host`` is one literal address or several; unavailable ones are skipped. Entering raises
    NetworkError if none can be bound.
    """

    def __init__(
        self,
        host: str | Sequence[str] = ("127.0.0.1", "::1"),
        port: int = 0,
        *,
        interval_s: int = 1_800,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        clock: Callable[[], float] = anyio.current_time,
        rng: random.Random | None = None,
    ) -> None:
        rng = rng or random.Random(secrets.token_bytes(16))  # noqa: S311 - no secret is drawn
        swarms = SwarmStore(interval_s=interval_s, rng=rng)
        self.port = port
        self.hosts: tuple[str, ...] = (host,) if isinstance(host, str) else tuple(host)
        """Literal addresses; inside the block the bound ones."""
        self._swarms = swarms
        self._http = HttpTracker(swarms, interval_s=interval_s)
        self._udp = UdpTracker(swarms, interval_s=interval_s, secret=secrets.token_bytes(32))
        self._request_timeout_s = request_timeout_s
        self._clock = clock
        self._paces: WeakValueDictionary[str, RateGate] = WeakValueDictionary()
        self._network_paces: WeakValueDictionary[str, RateGate] = WeakValueDictionary()
        self._rates = OperatorRates(MAX_ACCEPTS_PER_S, ACCEPT_BURST)
        self._network_rates = OperatorRates(
            MAX_ACCEPTS_PER_S * NETWORK_SHARE, ACCEPT_BURST * NETWORK_SHARE, key_of=network_of
        )
        self._room = HandshakeLimiter(MAX_CONNECTIONS, clock)
        self._running: AbstractAsyncContextManager[None] | None = None

    @property
    def announce_url(self) -> str:
        """The HTTP announce URL on the first bound address."""
        return f"http://{PeerAddress(self.hosts[0], self.port)}/announce"

    @property
    def udp_url(self) -> str:
        """The UDP announce URL on the first bound address."""
        return f"udp://{PeerAddress(self.hosts[0], self.port)}/announce"

    def stats(self) -> EmbeddedTrackerStats:
        """Return the counters."""
        torrents, peers = self._swarms.totals()
        return EmbeddedTrackerStats(
            torrents=torrents,
            peers=peers,
            http_announces=self._http.announces,
            udp_announces=self._udp.announces,
            scrapes=self._http.scrapes + self._udp.scrapes,
            refused=self._http.refused + self._udp.dropped,
        )

    async def __aenter__(self) -> "EmbeddedTracker":
        """Bind and serve."""
        self._running = self._serve()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Close the sockets and end every task."""
        if self._running is None:
            return None
        return await self._running.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[None]:
        self.hosts, self.port, pairs = _bind(self.hosts, self.port)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            for tcp, udp in pairs:
                tasks.start_soon(self._serve_tcp, tcp)
                tasks.start_soon(self._serve_udp, UdpSocket(udp))
            try:
                yield
            except Exception as error:  # raised without an exception group
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _serve_tcp(self, listener: socket.socket) -> None:
        """Serve connections; those over the rate of their operator or network are reset (B5)."""
        async with anyio.create_task_group() as tasks:

            def accepted(sock: socket.socket, source: PeerAddress) -> bool:
                if not self._admits(source.host, self._clock()):
                    reset(sock)
                    return False
                tasks.start_soon(self._serve_guarded, sock, source)
                return True

            try:
                await accept_forever(listener, accepted)
            finally:
                close(listener)

    def _admits(self, host: str, now: float) -> bool:
        return self._rates.take(host, now) and self._network_rates.take(host, now)

    async def _serve_guarded(self, sock: socket.socket, source: PeerAddress) -> None:
        """Serve a connection; a bug affects no other one (row F10)."""
        try:
            await self._serve_connection(sock, source)
        except Exception:
            logger.exception("internal error in the connection of %s", source)

    async def _serve_connection(self, sock: socket.socket, source: PeerAddress) -> None:
        scope = anyio.CancelScope()
        ticket = self._room.enter(source, scope.cancel)
        if ticket is None:
            close(sock)
            return
        try:
            with scope, suppress(OSError):  # reset before it was served
                async with await open_stream(sock) as stream:
                    await serve_http(
                        stream,
                        partial(self._answer, source),
                        request_timeout_s=self._request_timeout_s,
                        pace=self._pace_of(source),
                    )
        finally:
            self._room.left(source, ticket)

    def _pace_of(self, source: PeerAddress) -> RateGate:
        """Return the rate limit shared by the connections of an operator.

        What it lets pass waits for that of the network.
        """
        operator, network = operator_of(source.host), network_of(source.host)
        pace = self._paces.get(operator)
        if pace is None:
            common = RateGate(MAX_REQUESTS_PER_S * NETWORK_SHARE)
            common = self._network_paces.setdefault(network, common)
            pace = self._paces[operator] = RateGate(MAX_REQUESTS_PER_S, common)
        return pace

    def _answer(self, source: PeerAddress, target: bytes) -> HttpAnswer:
        return self._http.handle(target, source, now=self._clock())

    async def _serve_udp(self, udp: UdpSocket) -> None:
        """Respond to datagrams, each from the address that it was sent to."""
        try:
            while True:
                await self._answer_waiting(udp)
                await anyio.lowlevel.checkpoint()
        finally:
            udp.close()

    async def _answer_waiting(self, udp: UdpSocket) -> None:
        """Respond to up to a batch of datagrams; wait if there are none."""
        try:
            trains, may_be_more = udp.receive()
        except OSError:
            await anyio.sleep(ACCEPT_PAUSE_S)
            return
        for train in trains:
            for packet in train.datagrams():
                if LOOP_TURN.is_over:  # an announce takes a millisecond, and a batch has hundreds
                    await LOOP_TURN.pass_on()
                answer = self._udp.handle(packet, train.address, now=self._clock())
                if answer is not None:
                    udp.send(answer, train.address)
        if not may_be_more:
            await udp.wait_readable()


def _bind(hosts: Sequence[str], port: int) -> tuple[tuple[str, ...], int, list[Sockets]]:
    """Bind TCP and UDP on one port of every host that the machine has."""
    failure: OSError | None = None
    for _ in range(_PORT_TRIES if port == 0 else 1):
        try:
            return _bind_all(hosts, port)
        except OSError as error:
            failure = error
    raise NetworkError(f"cannot bind port {port} of {', '.join(hosts)}: {failure}") from failure


def _bind_all(hosts: Sequence[str], port: int) -> tuple[tuple[str, ...], int, list[Sockets]]:
    bound: list[str] = []
    pairs: list[Sockets] = []
    failure = OSError("no address given")
    with ExitStack() as undo:
        for host in hosts:
            try:
                pair = _bind_pair(host, port)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                failure = error
                continue
            for one in pair:
                undo.callback(one.close)
            port = pair[0].getsockname()[1]
            bound.append(host)
            pairs.append(pair)
        if not pairs:
            raise failure
        undo.pop_all()
    return tuple(bound), port, pairs


def _bind_pair(host: str, port: int) -> Sockets:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as undo:
        tcp = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        udp = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (tcp, udp):
            one.settimeout(0.0)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tcp.bind((host, port))
        udp.bind((host, tcp.getsockname()[1]))
        tcp.listen(LISTEN_BACKLOG)
        undo.pop_all()
    return tcp, udp
