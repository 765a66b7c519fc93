"""The uTP connections of a process: packet dispatch and timers.

Source: BEP 29; rows C3 and C4. The protocol itself is in ``UtpConnection``.
"""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import anyio

from torrent_engine.base.config import UtpConfig
from torrent_engine.base.errors import NetworkError, RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.datagrams import UTP_FIRST_BYTES, DatagramRelay
from torrent_engine.net.sockets.fairness import LOOP_TURN
from torrent_engine.net.sockets.udp_batches import CoalescedDatagrams
from torrent_engine.net.utp.timers import TimerWheel
from torrent_engine.net.utp.transport import UtpTransport
from torrent_engine.net.utp.unverified import (
    OperatorConnections,
    ResetMemory,
    StrangerBudget,
    UnverifiedConnections,
)
from torrent_engine.policy.limits.packet_budget import IgnoredSenders, PacketBudget
from torrent_engine.protocol.utp.connection import UtpConnection
from torrent_engine.protocol.utp.limits import BufferBudget, ReorderBudget, UtpLimits
from torrent_engine.protocol.utp.packet import (
    MASK_16,
    RESET,
    SYN,
    Packet,
    decode_packet,
    reset_packet,
)

logger = logging.getLogger(__name__)

LOCAL_PACKET_BYTES: Final = 16_384  # ours: probed over loopback
FULL_PAUSE_S: Final = 0.05  # ours: timer delay of connections that wait for the socket

Incoming = Callable[[UtpTransport, PeerAddress], None]
"""Called with each incoming connection once it is confirmed."""


class UtpService:
    """All uTP connections; :meth:`run` must be running."""

    def __init__(
        self,
        config: UtpConfig,
        datagrams: DatagramRelay,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        incoming: Incoming | None = None,
    ) -> None:
        """Create the service; ``rng`` must be unpredictable, such as ``random.SystemRandom``."""
        self.clock = clock
        self.malformed_count = 0
        """Malformed datagrams."""
        self.ignored_bytes = 0
        """Bytes of packets dropped because their sender was over its budget."""
        self._config = config
        self._datagrams = datagrams
        self._rng = rng
        self._incoming = incoming
        reorder = ReorderBudget(config.max_reorder_bytes)
        unsent = BufferBudget(config.max_unacknowledged_bytes)
        unread = BufferBudget(config.max_unread_bytes)
        self._limits = UtpLimits(reorder=reorder, unsent=unsent, unread=unread)
        self._local_limits = replace(self._limits, max_packet_bytes=LOCAL_PACKET_BYTES)
        self._transports: dict[PeerAddress, dict[int, UtpTransport]] = {}
        self._unverified = UnverifiedConnections(config)
        self._resets = ResetMemory(config)
        self._operators = OperatorConnections(config)
        self._timers = TimerWheel()
        self._packets = PacketBudget(config)
        self._ignored = IgnoredSenders[PeerAddress]()
        """Peers over their budget."""
        self._strangers = StrangerBudget(config)
        self._touched: dict[UtpTransport, None] = {}
        self._full = {is_ipv6: _Full() for is_ipv6 in (False, True)}
        self._sleeps_until_s = 0.0
        self._wake = anyio.Event()

    def __len__(self) -> int:
        """Return the number of connections, closing and unconfirmed ones included."""
        return sum(map(len, self._transports.values()))

    async def run(self) -> None:
        """Serve until cancelled; then reset all connections."""
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

        Raises NetworkError if it is refused or times out. After cancellation nothing is sent.
        """
        if self._datagrams.port_of(is_ipv6=":" in address.host) is None:
            raise NetworkError(f"{address}: no UDP socket of that family")
        with self._dialling(address) as transport:
            with anyio.move_on_after(timeout_s):
                await transport.wait_connected()
            if not transport.is_connected:
                raise NetworkError(f"{address}: uTP timed out after {timeout_s:.0f} s")
            if transport.connection.has_ended:
                reason = transport.connection.failure or "closed"
                raise NetworkError(f"{address}: {reason}")
        return transport

    @contextmanager
    def _dialling(self, address: PeerAddress) -> Iterator[UtpTransport]:
        """Send a SYN; drop the connection silently if the block raises."""
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
            now = self.clock()
            connection.abort(now)  # it may be connected by now, and hold early packets
            connection.close(now)
            raise

    # -- receiving --------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Process one datagram."""
        self.receive_coalesced(CoalescedDatagrams(data, max(len(data), 1), address, 0.0))

    def receive_coalesced(self, coalesced: CoalescedDatagrams) -> None:
        """Process datagrams; :meth:`batch_ended` sends the answers."""
        now, address = self.clock(), coalesced.address
        if self._ignored and self._ignored.has(address, now):
            self.ignored_bytes += len(coalesced.data)
            return
        is_stranger = address not in self._transports
        if is_stranger and self._strangers.ignores(address.host, now):
            self.ignored_bytes += len(coalesced.data)
            return
        moved_nothing = 0
        arrived_s = now - coalesced.waited_s
        view, step = memoryview(coalesced.data), coalesced.segment_bytes
        for begin in range(0, len(view), step):
            try:
                packet = decode_packet(view[begin : begin + step])
            except RemoteProtocolError:
                self.malformed_count += 1
                moved_nothing += 1
                continue
            transport = self._transport_of(packet, address, now)
            if transport is not None:
                transport.connection.receive_packet(packet, now=now, arrived_s=arrived_s)
                transport.packets += 1
                self._touched[transport] = None
            else:
                moved_nothing += 1
        if is_stranger and moved_nothing:
            self._strangers.charge(address.host, moved_nothing, now)

    def batch_ended(self) -> None:
        """Send responses and wake readers."""
        now = self.clock()
        touched, self._touched = self._touched, {}
        for transport in touched:
            transport.connection.batch_ended(now)
            self._charge(transport, now)
            self.flush(transport)
            if transport in self._unverified and transport.connection.is_confirmed:
                self._confirmed(transport)

    def _charge(self, transport: UtpTransport, now: float) -> None:
        """Charge the sender for unproductive packets; ignore it over its budget (row C4)."""
        packets, transport.packets = transport.packets, 0
        if unpaid := transport.credit.unpaid(packets, transport.connection.moved_bytes):
            address = transport.address
            if wait_s := self._packets.charge(address.host, unpaid, now):
                self._ignored.add(address, now + wait_s)

    def _transport_of(
        self, packet: Packet, address: PeerAddress, now: float
    ) -> UtpTransport | None:
        """Return the connection of a packet; handle packets without one."""
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

    def set_incoming(self, incoming: Incoming | None) -> None:
        """Change what takes connections that others begin from now on; None: refuse them."""
        self._incoming = incoming

    def _accept(self, syn: Packet, address: PeerAddress, now: float) -> UtpTransport | None:
        if self._incoming is None or not self._operators.admits(address):
            return None
        if not self._unverified.admits(address, now):
            return None
        connection = UtpConnection.accept(
            self._config, syn, now=now, rng=self._rng, limits=self._limits_of(address)
        )
        transport = self._add(connection, address)
        self._operators.began(transport)
        surplus = self._unverified.add(transport)
        if surplus is not None:
            self._forget(surplus)
        return transport

    def _confirmed(self, transport: UtpTransport) -> None:
        self._unverified.drop(transport)
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
        """Remove a connection; may be called twice."""
        self._timers.drop(transport)
        self._unverified.drop(transport)
        self._operators.drop(transport)
        self._touched.pop(transport, None)
        self._full_of(transport).waiting.pop(transport, None)
        of_one = self._transports.get(transport.address, {})
        if of_one.get(transport.connection.receive_id) is transport:
            del of_one[transport.connection.receive_id]
            if not of_one:
                del self._transports[transport.address]
                self._ignored.forget(transport.address)

    # -- sending ----------------------------------------------------------------------------

    def flush(self, transport: UtpTransport) -> None:
        """Send pending packets of a connection, wake its waiting tasks, and update its timer."""
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
        """Discard data of closed connections; reset the one that has been closing longest."""
        transport.discard()
        if transport.connection.has_ended:
            return
        surplus = self._operators.closed(transport)
        if surplus is not None:
            surplus.connection.abort(self.clock())
            self.flush(surplus)

    def _send(self, transport: UtpTransport) -> None:
        """Send pending packets; those that the socket does not accept wait."""
        if transport.connection.may_fragment:
            self._send_fragmented(transport)
            return
        sent = self._datagrams.send_packets(transport.unsent, transport.address)
        del transport.unsent[:sent]
        if transport.unsent:
            full = self._full_of(transport)
            full.waiting[transport] = None
            full.wake.set()

    def _send_fragmented(self, transport: UtpTransport) -> None:
        """Send pending packets that may be too long for the path; those not accepted are lost."""
        packets, transport.unsent = transport.unsent, []
        for packet in packets:
            self._datagrams.send(b"".join(packet), transport.address)

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
                self._datagrams.read_waiting()  # a busy event loop must not look like loss
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
    """Connections of one address family that wait for the socket to be writable."""

    def __init__(self) -> None:
        self.waiting: dict[UtpTransport, None] = {}
        self.wake = anyio.Event()


def _reset_one(transports: dict[int, UtpTransport], number: int) -> UtpTransport | None:
    """Return the connection that a RESET ends; its id may be that of either direction."""
    transport = transports.get(number)
    if transport is not None:
        return transport
    for near in (number - 1 & MASK_16, number + 1 & MASK_16):
        transport = transports.get(near)
        if transport is not None and transport.connection.send_id == number:
            return transport
    return None
