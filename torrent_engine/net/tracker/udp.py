"""UDP tracker client.

Source: BEP 15. The protocol itself is in ``protocol/tracker/udp_exchange.py``. The sockets of the
listening port are used, if there are any; otherwise own ones, opened when first needed.
"""

import random
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError, TrackerTimeoutError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.binding import ANY_HOST, UNBOUND, Binding
from torrent_engine.net.sockets.datagrams import (
    TRACKER_FIRST_BYTES,
    DatagramRelay,
    Datagrams,
    bind_udp,
)
from torrent_engine.net.sockets.resolver import is_literal
from torrent_engine.protocol.tracker.udp_exchange import (
    ExchangeState,
    UdpAnnounce,
    UdpAnswer,
    UdpConnection,
    UdpExchange,
    UdpScrape,
)

MAX_KEPT_CONNECTIONS: Final = 500  # cached connection ids, each valid for a minute


class _Pending:
    """A pending exchange, with an event for received datagrams."""

    def __init__(self, exchange: UdpExchange) -> None:
        self.exchange = exchange
        self.wake = anyio.Event()


class UdpTrackers:
    """The UDP tracker client; own sockets are read by tasks of ``tasks``."""

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        *,
        config: TrackerConfig,
        rng: random.Random,
        clock: Callable[[], float] = anyio.current_time,
        binding: Binding = UNBOUND,
    ) -> None:
        self._tasks = tasks
        self._config = config
        self._rng = rng
        self._clock = clock
        self._binding = binding
        self._shared: DatagramRelay | None = None
        self._is_confined = False
        self._own: dict[socket.AddressFamily, Datagrams] = {}
        self._pending: dict[PeerAddress, list[_Pending]] = {}
        self._connections: dict[PeerAddress, UdpConnection] = {}

    def share(self, datagrams: DatagramRelay | None, *, only: bool = False) -> None:
        """Use these sockets from now on; None: sockets of our own.

        Own sockets are used for addresses they cannot reach, unless ``only``.
        """
        if self._shared is not None:
            self._shared.unroute(self)
        self._shared, self._is_confined = datagrams, only
        if datagrams is not None:
            datagrams.route(TRACKER_FIRST_BYTES, self)

    async def ask(
        self,
        address: str,
        port: int,
        request: UdpAnnounce | UdpScrape,
        on_sent: Callable[[], None] = lambda: None,
    ) -> UdpAnswer:
        """Send a request to a literal address and return the response.

        ``on_sent`` is called when it is sent, which is after the tracker gave a connection id.
        With a proxy the address may be a name. Raises TrackerError without a response after all
        retries (the caller sets a time limit), TrackerRefusedError if the tracker refuses,
        RemoteProtocolError for a malformed response.
        """
        host = str(ip_address(address)) if is_literal(address) else address
        remote = PeerAddress(host, port)
        v6 = ":" in remote.host
        if not self._is_confined:
            _check_route(remote)
        exchange = UdpExchange(
            request,
            v6=v6,
            rng=self._rng,
            config=self._config,
            connection=self._connections.pop(remote, None),
        )
        ask = _Pending(exchange)
        self._pending.setdefault(remote, []).append(ask)
        try:
            await self._drive(remote, ask, on_sent)
        finally:
            self._forget(remote, ask)
        return _result(exchange)

    async def _drive(self, remote: PeerAddress, ask: _Pending, on_sent: Callable[[], None]) -> None:
        exchange = ask.exchange
        exchange.start(now=self._clock())
        while exchange.state is not ExchangeState.DONE:
            ask.wake = anyio.Event()
            for packet in exchange.datagrams_to_send():
                self._send(packet, remote)
            if exchange.state is ExchangeState.REQUESTING:
                on_sent()
            with anyio.move_on_after(exchange.next_timer() - self._clock()):
                await ask.wake.wait()
            exchange.handle_timer(now=self._clock())

    def _forget(self, remote: PeerAddress, ask: _Pending) -> None:
        asks = self._pending[remote]
        asks.remove(ask)
        if not asks:
            del self._pending[remote]
        connection = ask.exchange.connection
        if connection is not None and len(self._connections) < MAX_KEPT_CONNECTIONS:
            self._connections[remote] = connection
        self._drop_expired()

    def _drop_expired(self) -> None:
        now = self._clock()
        self._connections = {
            remote: connection
            for remote, connection in self._connections.items()
            if connection.expires_at_s > now
        }

    # -- datagrams --------------------------------------------------------------------------

    def _send(self, packet: bytes, remote: PeerAddress) -> None:
        if self._shared is not None and self._shared.send(packet, remote):
            return
        if self._is_confined or not self._own_socket(remote).send(packet, remote):
            why = ": the proxy does not relay UDP there" if self._is_confined else ""
            raise TrackerError(f"cannot send to {remote.host}{why}")

    def _own_socket(self, remote: PeerAddress) -> Datagrams:
        family = socket.AF_INET6 if ":" in remote.host else socket.AF_INET
        own = self._own.get(family)
        if own is None:
            own = self._own[family] = Datagrams([self._bind(family)])
            own.route(TRACKER_FIRST_BYTES, self)
            self._tasks.start_soon(self._read, family, own)
        elif not self._binding.is_current(bound := own.sockets[0].sock):
            own.replace(bound, self._bind(family))
        return own

    def _bind(self, family: socket.AddressFamily) -> socket.socket:
        try:
            hosts = self._binding.hosts([ANY_HOST[family]])
            return bind_udp(hosts[0], 0, self._binding)
        except (OSError, IndexError) as error:
            raise TrackerError(f"cannot open a UDP socket: {error}") from error

    async def _read(self, family: socket.AddressFamily, own: Datagrams) -> None:
        try:
            await own.run()
        finally:
            del self._own[family]
            own.close()

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Deliver a datagram to the exchange with that address; others are dropped (row C5).

        Exchanges with names are matched by transaction id alone.
        """
        for ask in self._pending.get(address, ()) or self._pending_names(address):
            if ask.exchange.receive_datagram(data, now=self._clock()):
                ask.wake.set()
                return

    def _pending_names(self, answerer: PeerAddress) -> Iterator[_Pending]:
        for remote, asks in self._pending.items():
            if remote.port == answerer.port and not is_literal(remote.host):
                for ask in asks:
                    ask.exchange.v6 = ":" in answerer.host
                    yield ask

    def batch_ended(self) -> None:
        """Do nothing."""


def _check_route(remote: PeerAddress) -> None:
    """Raise TrackerError if there is no route, for example without IPv6; nothing is sent."""
    family = socket.AF_INET6 if ":" in remote.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(remote)
    except OSError as error:
        raise TrackerError(f"no route to {remote[0]}: {error.strerror}") from error


def _result(exchange: UdpExchange) -> UdpAnswer:
    if exchange.error is not None:
        raise exchange.error
    if exchange.answer is None:
        raise TrackerTimeoutError("no answer")
    return exchange.answer
