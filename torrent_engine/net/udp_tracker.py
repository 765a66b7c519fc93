"""Owns the UDP sockets for trackers: one a family, opened when first needed.

Source: BEP 15. The protocol itself is in ``protocol/tracker/udp_exchange.py``.
"""

import random
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import anyio
import anyio.abc

from torrent_engine.base.config import TrackerConfig
from torrent_engine.base.errors import TrackerError
from torrent_engine.protocol.tracker.udp_exchange import (
    ExchangeState,
    UdpAnnounce,
    UdpAnswer,
    UdpConnection,
    UdpExchange,
    UdpScrape,
)

MAX_KEPT_CONNECTIONS = 500  # connection ids remembered; each lives a minute
Address = tuple[str, int]


class _Socket:
    """A socket and the lock without which anyio lets only one task send."""

    def __init__(self, udp: anyio.abc.UDPSocket) -> None:
        self._udp = udp
        self._sending = anyio.Lock()

    async def send(self, packet: bytes, remote: Address) -> None:
        try:
            async with self._sending:
                await self._udp.sendto(packet, *remote)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise TrackerError(f"cannot send to {remote[0]}: {error}") from error


class _Ask:
    """One exchange and the wish to be woken when a datagram came for it."""

    def __init__(self, exchange: UdpExchange) -> None:
        self.exchange = exchange
        self.wake = anyio.Event()


class UdpTrackers:
    """Asks UDP trackers; its sockets are read by tasks in the group that it is given."""

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        *,
        config: TrackerConfig,
        rng: random.Random,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._tasks = tasks
        self._config = config
        self._rng = rng
        self._clock = clock
        self._sockets: dict[socket.AddressFamily, _Socket] = {}
        self._opening = anyio.Lock()
        self._asks: dict[Address, list[_Ask]] = {}
        self._connections: dict[Address, UdpConnection] = {}

    async def ask(self, address: str, port: int, request: UdpAnnounce | UdpScrape) -> UdpAnswer:
        """Send a request to a literal address and wait for the answer.

        Raises TrackerError if there is none after all retries (the caller sets a time limit),
        TrackerRefusedError if the tracker says no, RemoteProtocolError if it talks nonsense.
        """
        remote = (str(ip_address(address)), port)
        v6 = ":" in remote[0]
        family = socket.AF_INET6 if v6 else socket.AF_INET
        _check_route(family, remote)
        exchange = UdpExchange(
            request,
            v6=v6,
            rng=self._rng,
            config=self._config,
            connection=self._connections.pop(remote, None),
        )
        udp = await self._socket(family)
        ask = _Ask(exchange)
        self._asks.setdefault(remote, []).append(ask)
        try:
            await self._drive(udp, remote, ask)
        finally:
            self._forget(remote, ask)
        return _result(exchange)

    async def _drive(self, udp: _Socket, remote: Address, ask: _Ask) -> None:
        exchange = ask.exchange
        exchange.start(now=self._clock())
        while exchange.state is not ExchangeState.DONE:
            ask.wake = anyio.Event()
            for packet in exchange.datagrams_to_send():
                await udp.send(packet, remote)
            with anyio.move_on_after(exchange.next_timer() - self._clock()):
                await ask.wake.wait()
            exchange.handle_timer(now=self._clock())

    def _forget(self, remote: Address, ask: _Ask) -> None:
        asks = self._asks[remote]
        asks.remove(ask)
        if not asks:
            del self._asks[remote]
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

    async def _socket(self, family: socket.AddressFamily) -> _Socket:
        async with self._opening:
            if family not in self._sockets:
                try:
                    udp = await anyio.create_udp_socket(family=family)  # type: ignore[arg-type]
                except OSError as error:
                    raise TrackerError(f"cannot open a UDP socket: {error.strerror}") from error
                self._sockets[family] = _Socket(udp)
                self._tasks.start_soon(self._read, family, udp)
            return self._sockets[family]

    async def _read(self, family: socket.AddressFamily, udp: anyio.abc.UDPSocket) -> None:
        """Hand datagrams to who asked that address; all others are dropped (row C5)."""
        async with udp:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
                while True:
                    packet, (host, port) = await udp.receive()
                    self._deliver(packet, (host, port))
            del self._sockets[family]

    def _deliver(self, packet: bytes, remote: Address) -> None:
        for ask in self._asks.get(remote, ()):
            if ask.exchange.receive_datagram(packet, now=self._clock()):
                ask.wake.set()
                return


def _check_route(family: socket.AddressFamily, remote: Address) -> None:
    """Fail at once where no packet can go, as on a machine without IPv6; nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(remote)
    except OSError as error:
        raise TrackerError(f"no route to {remote[0]}: {error.strerror}") from error


def _result(exchange: UdpExchange) -> UdpAnswer:
    if exchange.error is not None:
        raise exchange.error
    if exchange.answer is None:
        raise TrackerError("no answer")
    return exchange.answer
