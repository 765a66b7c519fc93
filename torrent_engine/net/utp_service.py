"""All uTP connections on the UDP sockets: which packet is whose, whose timer is due.

Source: BEP 29; rows C3 and C4. What a packet means is the business of ``UtpConnection``.
"""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from torrent_engine.base.errors import NetworkError, RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.network_config import UtpConfig
from torrent_engine.net.datagrams import UTP_FIRST_BYTES, DatagramRelay
from torrent_engine.net.loop_turn import LOOP_TURN
from torrent_engine.net.udp_batches import Train
from torrent_engine.net.utp_strangers import ResetMemory, Shares, Strangers
from torrent_engine.net.utp_timers import TimerWheel
from torrent_engine.net.utp_transport import UtpTransport
from torrent_engine.protocol.utp.connection import UtpConnection
from torrent_engine.protocol.utp.limits import ReorderBudget, SendBudget, UtpLimits
from torrent_engine.protocol.utp.packet import (
    MASK_16,
    RESET,
    SYN,
    Packet,
    decode_packet,
    reset_packet,
)

logger = logging.getLogger(__name__)

LOCAL_PACKET_BYTES: Final = 16_384  # ours: tried where nothing but this machine lies between
FULL_PAUSE_S: Final = 0.05  # ours: timers of who waits for the system stand still so long

Incoming = Callable[[UtpTransport, PeerAddress], None]
"""Takes over a connection that somebody else began, once it is confirmed."""


class UtpService:
    """Dials and accepts uTP connections; :meth:`run` must run all the time."""

    def __init__(
        self,
        config: UtpConfig,
        datagrams: DatagramRelay,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        incoming: Incoming | None = None,
    ) -> None:
        """Create it; ``rng`` must be one that nobody can foresee, as ``random.SystemRandom``."""
        self.clock = clock
        self.malformed_count = 0
        """Datagrams that were no packet."""
        self._config = config
        self._datagrams = datagrams
        self._rng = rng
        self._incoming = incoming
        reorder = ReorderBudget(config.max_reorder_bytes)
        unsent = SendBudget(config.max_unacknowledged_bytes)
        self._limits = UtpLimits(reorder=reorder, unsent=unsent)
        self._local_limits = UtpLimits(LOCAL_PACKET_BYTES, reorder, unsent)
        self._transports: dict[PeerAddress, dict[int, UtpTransport]] = {}
        self._strangers = Strangers(config)
        self._resets = ResetMemory(config)
        self._shares = Shares(config)
        self._timers = TimerWheel()
        self._touched: dict[UtpTransport, None] = {}
        self._full = {is_ipv6: _Full() for is_ipv6 in (False, True)}
        self._sleeps_until_s = 0.0
        self._wake = anyio.Event()

    def __len__(self) -> int:
        """Return how many connections there are, with those that end and those nobody confirmed."""
        return sum(map(len, self._transports.values()))

    async def run(self) -> None:
        """Serve until cancelled; what is connected then is reset."""
        self._datagrams.route(UTP_FIRST_BYTES, self)
        try:
            async with anyio.create_task_group() as tasks:
                for full in self._full.values():
                    tasks.start_soon(self._send_when_writable, full)
                await self._watch_timers()
        finally:
            self._datagrams.unroute(self)
            for transport in self._all():
                transport.connection.abort(self.clock())
                self.flush(transport)

    async def dial(self, address: PeerAddress, timeout_s: float) -> UtpTransport:
        """Connect to a literal address.

        Raises NetworkError when it is refused, or not there within ``timeout_s``. When this is
        cancelled nothing more is sent.
        """
        if self._datagrams.port_of(is_ipv6=":" in address.host) is None:
            raise NetworkError(f"{address}: no UDP socket of that family")
        with self._dialling(address) as transport:
            with anyio.move_on_after(timeout_s):
                await transport.wait_connected()
            if not transport.is_connected:
                raise NetworkError(f"{address}: no answer over uTP within {timeout_s:.0f} s")
            if transport.connection.has_ended:
                reason = transport.connection.failure or "closed"
                raise NetworkError(f"{address}: {reason}")
        return transport

    @contextmanager
    def _dialling(self, address: PeerAddress) -> Iterator[UtpTransport]:
        """Send a SYN; forget the connection, without another packet, if the block raises."""
        taken = self._transports.get(address, {})
        connection = UtpConnection.dial(
            self._config,
            now=self.clock(),
            rng=self._rng,
            is_taken=taken.__contains__,
            limits=self._limits_of(address),
        )
        transport = self._add(connection, address)
        try:
            self.flush(transport)
            yield transport
        except BaseException:
            self._forget(transport)
            raise

    # -- datagrams that come ----------------------------------------------------------------

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Take one datagram that came just now."""
        self.receive_train(Train(data, max(len(data), 1), address, 0.0))

    def receive_train(self, train: Train) -> None:
        """Take datagrams; :meth:`batch_ended` answers them."""
        now = self.clock()
        arrived_s = now - train.waited_s
        view, step, address = memoryview(train.data), train.segment_bytes, train.address
        for begin in range(0, len(view), step):
            try:
                packet = decode_packet(view[begin : begin + step])
            except RemoteProtocolError:
                self.malformed_count += 1
                continue
            transport = self._transport_of(packet, address, now)
            if transport is not None:
                transport.connection.receive_packet(packet, now=now, arrived_s=arrived_s)
                self._touched[transport] = None

    def batch_ended(self) -> None:
        """Answer what has come, and wake who waits for it."""
        now = self.clock()
        touched, self._touched = self._touched, {}
        for transport in touched:
            transport.connection.batch_ended(now)
            self.flush(transport)
            if transport in self._strangers and transport.connection.is_confirmed:
                self._confirmed(transport)

    def _transport_of(
        self, packet: Packet, address: PeerAddress, now: float
    ) -> UtpTransport | None:
        """Return whose packet it is; what belongs to nobody is answered here."""
        transports = self._transports.get(address)
        number = packet.connection_id
        if packet.type == SYN:
            known = transports.get(number + 1 & MASK_16) if transports else None
            return known or self._accept(packet, address, now)
        if transports:
            if packet.type == RESET:
                return _reset_one(transports, number)
            transport = transports.get(number)
            if transport is not None:
                return transport
        if packet.type != RESET and self._resets.admits(address, number, now):
            self._datagrams.send(reset_packet(packet, now=now), address)
        return None

    def _accept(self, syn: Packet, address: PeerAddress, now: float) -> UtpTransport | None:
        if self._incoming is None or not self._shares.admits(address):
            return None
        if not self._strangers.admits(address, now):
            return None
        connection = UtpConnection.accept(
            self._config, syn, now=now, rng=self._rng, limits=self._limits_of(address)
        )
        transport = self._add(connection, address)
        self._shares.began(transport)
        surplus = self._strangers.add(transport)
        if surplus is not None:
            self._forget(surplus)
        return transport

    def _confirmed(self, transport: UtpTransport) -> None:
        self._strangers.drop(transport)
        if self._incoming is None:
            transport.close()
        else:
            self._incoming(transport, transport.address)

    # -- connections ------------------------------------------------------------------------

    def _all(self) -> list[UtpTransport]:
        return [each for of_one in self._transports.values() for each in of_one.values()]

    def _limits_of(self, address: PeerAddress) -> UtpLimits:
        is_local = address.host == "::1" or address.host.startswith("127.")
        return self._local_limits if is_local else self._limits

    def _add(self, connection: UtpConnection, address: PeerAddress) -> UtpTransport:
        transport = UtpTransport(connection, address, self)
        self._transports.setdefault(address, {})[connection.receive_id] = transport
        return transport

    def _forget(self, transport: UtpTransport) -> None:
        """Know nothing of a connection any more; twice is harmless."""
        self._timers.drop(transport)
        self._strangers.drop(transport)
        self._shares.drop(transport)
        self._touched.pop(transport, None)
        self._full_of(transport).waiting.pop(transport, None)
        of_one = self._transports.get(transport.address, {})
        if of_one.get(transport.connection.receive_id) is transport:
            del of_one[transport.connection.receive_id]
            if not of_one:
                del self._transports[transport.address]

    # -- packets that go --------------------------------------------------------------------

    def flush(self, transport: UtpTransport) -> None:
        """Send what a connection wants to send, wake who waits for it, and look at its timer."""
        connection = transport.connection
        if transport.is_closed:
            self._flush_closed(transport)
        if not transport.unsent:
            transport.unsent = connection.packets_to_send(self.clock())
            if transport.unsent:
                self._send(transport)
        transport.notify()
        if connection.has_ended:
            self._forget(transport)
        elif self._timers.set(transport, transport.timer()):
            next_s = self._timers.next_s()
            if next_s is not None and next_s < self._sleeps_until_s:
                self._wake.set()

    def _flush_closed(self, transport: UtpTransport) -> None:
        """Read what nobody wants any more; end the connection that is closing for longest."""
        transport.discard()
        if transport.connection.has_ended:
            return
        surplus = self._shares.closed(transport)
        if surplus is not None:
            surplus.connection.abort(self.clock())
            self.flush(surplus)

    def _send(self, transport: UtpTransport) -> None:
        """Send what is left of its packets; what the system does not take waits, it is no loss."""
        sent = self._datagrams.send_packets(transport.unsent, transport.address)
        del transport.unsent[:sent]
        if transport.unsent:
            full = self._full_of(transport)
            full.waiting[transport] = None
            full.wake.set()

    def _full_of(self, transport: UtpTransport) -> "_Full":
        return self._full[":" in transport.address.host]

    async def _send_when_writable(self, full: "_Full") -> None:
        while True:
            await full.wake.wait()
            full.wake = anyio.Event()
            while full.waiting:
                await self._datagrams.wait_writable(next(iter(full.waiting)).address)
                waiting, full.waiting = full.waiting, {}
                for transport in waiting:
                    self._send(transport)
                    if not transport.unsent:
                        self.flush(transport)

    # -- timers -----------------------------------------------------------------------------

    async def _watch_timers(self) -> None:
        while True:
            self._wake = anyio.Event()
            next_s = self._timers.next_s()
            self._sleeps_until_s = float("inf") if next_s is None else next_s
            with anyio.move_on_after(self._sleeps_until_s - self.clock()):
                await self._wake.wait()
            self._sleeps_until_s = 0.0  # awake
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()
            if (next_s := self._timers.next_s()) is not None and next_s <= self.clock():
                self._datagrams.read_waiting()  # or a busy loop would look like a lost packet
                self._handle_timers(self.clock())

    def _handle_timers(self, now: float) -> None:
        for transport in self._timers.take(now):
            if transport.unsent:
                self._timers.set(transport, now + FULL_PAUSE_S)
                continue
            if transport.lingers_until_s is not None and now >= transport.lingers_until_s:
                transport.connection.abort(now)
            else:
                transport.connection.handle_timer(now)
            self.flush(transport)


class _Full:
    """Who of one address family waits until the system takes more."""

    def __init__(self) -> None:
        self.waiting: dict[UtpTransport, None] = {}
        self.wake = anyio.Event()


def _reset_one(transports: dict[int, UtpTransport], number: int) -> UtpTransport | None:
    """Return which connection a RESET ends: it may carry the id that either side sends to."""
    transport = transports.get(number)
    if transport is not None:
        return transport
    for near in (number - 1 & MASK_16, number + 1 & MASK_16):
        transport = transports.get(near)
        if transport is not None and transport.connection.send_id == number:
            return transport
    return None
