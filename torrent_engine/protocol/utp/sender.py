"""The send side: new packets and retransmissions, within both windows and the pacing rate.

Source: BEP 29. :class:`Flight` tracks the packets in transit, :class:`CongestionWindow` limits
them.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from torrent_engine.base.config import UtpConfig
from torrent_engine.protocol.utp.congestion import CongestionWindow
from torrent_engine.protocol.utp.flight import Flight, SentPacket
from torrent_engine.protocol.utp.limits import MIN_BUFFER_BYTES, UtpLimits
from torrent_engine.protocol.utp.pacing import FACTOR, SLOW_START_FACTOR, Pacer
from torrent_engine.protocol.utp.packet import (
    DATA,
    EXTENSION_BITS,
    FIN,
    HEADER,
    HEADER_BYTES,
    MASK_16,
    MIN_PADDING_BYTES,
    VERSION,
    Packet,
    padding,
)
from torrent_engine.protocol.utp.packet_size import PacketSize
from torrent_engine.protocol.utp.queue_delay import QueueDelay
from torrent_engine.protocol.utp.retransmission import RetransmissionTimer
from torrent_engine.protocol.utp.round_trip import RoundTrip
from torrent_engine.protocol.utp.send_queue import SendQueue

OutgoingPacket = tuple[bytes, bytes | memoryview]
"""Header and payload."""

MIN_REORDER_SHARE: Final = 0.25  # RFC 8985: reordering window, as a share of the minimum round trip
REORDER_FADES: Final = 0.98  # ours: decay of observed reordering with each loss

MAX_JITTER_S: Final = 0.02  # ours: a shorter queue must persist for a round trip to count
MAX_WINDOW_WAIT_S: Final = 60.0  # the longest timeout
BLACK_HOLE_TIMEOUTS: Final = 2  # ours: in a row, after which packets may be too long for the path
MAX_BEHIND_BYTES: Final = 256 * 1024  # ours: queued behind a full window, to be sent as it moves
BEYOND_WINDOW_BYTES: Final = 32 * 1024  # ours: accepted for a peer beyond its receive window
PACKET_COST_BYTES: Final = 200  # memory beside the payload of a packet in flight

_DATA_KIND: Final = DATA << 4 | VERSION
_pack_header = HEADER.pack


class Heading(NamedTuple):
    """The common header fields of one batch of packets."""

    connection_id: int
    time_us: int
    delay_us: int
    window_bytes: int
    acknowledged: int


class SendSide:
    """The sending half of one connection."""

    def __init__(self, config: UtpConfig, limits: UtpLimits, first: int, now: float) -> None:
        self.queue = SendQueue()
        self.flight = Flight(first)
        self.round_trip = RoundTrip(config.min_rto_s, config.max_rto_s)
        self.delay = QueueDelay()
        self.congestion = CongestionWindow(config.target_delay_s, config.send_buffer_bytes)
        self.size = PacketSize(limits.max_packet_bytes)
        self.retransmission = RetransmissionTimer(self.round_trip, config.max_rto_s, now)
        self._fragments_until: int | None = None  # the first number whose packet is short again
        self.is_finishing = False
        """Whether a FIN follows the queued data."""
        self._fin: int | None = None
        self._pacer = Pacer(now)
        self._pace_due_s: float | None = None
        self._window_due_s: float | None = None  # when a zero window is probed
        self._window_wait_s = 0.0
        self._buffer_bytes = config.send_buffer_bytes
        self._budget = limits.unsent
        self._noted_bytes = 0  # memory accounted in the budget
        self._peer_window_bytes = config.receive_window_bytes
        self._reduced_s = float("-inf")
        self._round_delivered = 0
        self._round_lost = 0
        self.delivered_bytes = 0
        """Acknowledged payload so far."""

    @property
    def may_fragment(self) -> bool:
        """Whether packets are in flight that may be too long for the path.

        A packet with a number cannot be divided any more, so that only IP can do it.
        """
        return self._fragments_until is not None

    @property
    def room_bytes(self) -> int:
        """Room in the queue: for what both windows allow in flight, and some more behind it."""
        held_bytes = self._note_held()
        most_bytes = min(self._buffer_bytes, self._budget.limit_of_one())
        window_bytes = min(int(self.congestion.window_bytes), self._peer_window_bytes)
        wanted_bytes = window_bytes + min(window_bytes, MAX_BEHIND_BYTES)
        wanted_bytes = min(wanted_bytes, self._peer_window_bytes + BEYOND_WINDOW_BYTES)
        return min(most_bytes, max(wanted_bytes, MIN_BUFFER_BYTES)) - held_bytes

    def _note_held(self) -> int:
        held_bytes = self.queue.queued_bytes + self.flight.unacknowledged_bytes
        cost_bytes = held_bytes + PACKET_COST_BYTES * self.flight.packets
        self._budget.held_bytes += cost_bytes - self._noted_bytes
        self._noted_bytes = cost_bytes
        return held_bytes

    @property
    def is_done(self) -> bool:
        """Whether everything is acknowledged, including the FIN."""
        return self._fin is not None and self.flight.is_empty

    @property
    def queueing_s(self) -> float:
        """The queuing delay of our packets, limited by what the round-trip times allow."""
        trip = self.round_trip
        return min(self.delay.queueing_s, max(trip.latest_s, trip.smoothed_s) - trip.min_s)

    def queue_bytes(self, buffers: Sequence[bytes | memoryview], room_bytes: int) -> int:
        """Queue a copy of up to ``room_bytes``; return how many."""
        count = self.queue.append(buffers, room_bytes)
        self._budget.held_bytes += count
        self._noted_bytes += count
        return count

    # -- received ----------------------------------------------------------------------------

    def acknowledged(self, packet: Packet, now: float, arrived_s: float) -> bool:
        """Process the acknowledgements of a packet; return False if invalid (row C4)."""
        flight = self.flight
        count = flight.count_acknowledged(packet.acknowledged, arrived_s)
        if count is None:
            return False
        if count < 0:
            return True
        self._take_window(packet.window_bytes, now)
        if not count and not packet.sack:
            return True
        before = flight.in_transit_bytes
        if flight.acknowledge(count, packet.sack, arrived_s):
            self._note_held()
            self._progress(before, now)
        return True

    def _take_window(self, window_bytes: int, now: float) -> None:
        self._peer_window_bytes = window_bytes
        if self.retransmission.timeouts and window_bytes < self.flight.oldest_bytes:
            self.retransmission.waits_for_window(now)
        if window_bytes:
            self._window_due_s, self._window_wait_s = None, 0.0

    def _progress(self, in_transit_before: int, now: float) -> None:
        flight, size = self.flight, self.size
        if flight.newest_rtt_s is not None:
            self.round_trip.measure(flight.newest_rtt_s, now)
        delivered, flight.delivered_bytes = flight.delivered_bytes, 0
        self._round_delivered += delivered
        self.delivered_bytes += delivered
        is_used = in_transit_before * 2 > self.congestion.window_bytes
        self.congestion.delivered(
            delivered,
            self.queueing_s,
            self.round_trip.min_s,
            size.payload_bytes,
            is_used=is_used,
        )
        if size.trial is not None and not flight.has(size.trial):
            size.arrived()
        if self._fragments_until is not None and flight.first >= self._fragments_until:
            self._fragments_until = None
        self.retransmission.restart(now)
        self._find_lost(now)

    def _find_lost(self, now: float) -> None:
        trip, flight = self.round_trip, self.flight
        overtaking_s = max(trip.min_s * MIN_REORDER_SHARE, flight.reorder_s * 1.25)
        patience_s = max(trip.latest_s, trip.smoothed_s) + min(overtaking_s, trip.smoothed_s)
        lost = flight.find_lost(now, patience_s)
        if lost and self._handle_lost_probe(lost):
            flight.reorder_s *= REORDER_FADES
            self._congested(lost[-1].sent_s, now)

    def _handle_lost_probe(self, lost: list[SentPacket]) -> bool:
        """Handle a lost MTU probe; return whether other packets were lost."""
        lost_bytes = sum(len(sent.payload) for sent in lost)
        for sent in lost:
            if sent.sequence == self.size.trial:
                self.size.lost()
                lost_bytes -= len(sent.payload)
        self._round_lost += lost_bytes
        return lost_bytes > 0

    def _congested(self, sent_s: float, now: float) -> None:
        """Handle the loss of a packet sent at that time, at most once a round trip."""
        if sent_s < self._reduced_s:
            return
        share = self._round_lost / (self._round_lost + self._round_delivered)
        self._round_lost = self._round_delivered = 0
        self._reduced_s = now
        queueing_s = self.queueing_s
        if queueing_s < MAX_JITTER_S and not self.congestion.is_slow_start:
            queueing_s = min(queueing_s, self.delay.standing_s)
        trip, size = self.round_trip, self.size.payload_bytes
        self.congestion.lost(share, queueing_s, trip.min_s, size)

    # -- sent --------------------------------------------------------------------------------

    def packets(self, now: float, heading: Heading, out: list[OutgoingPacket]) -> None:
        """Append the packets to send now; those with payload carry an acknowledgement too."""
        self._pace_due_s = None
        flight = self.flight
        if not flight.lost and not self.queue.queued_bytes and not self.is_finishing:
            return
        had_transit = flight.has_transit
        self._pacer.refill(now, self._rate())
        self._send_lost(now, heading, out)
        if not flight.lost:
            self._send_new(now, heading, out)
        if not had_transit and flight.has_transit:
            self.retransmission.begin(now)

    def _rate(self) -> float:
        smoothed_s = self.round_trip.smoothed_s
        if not smoothed_s:
            return float("inf")
        factor = SLOW_START_FACTOR if self.congestion.is_slow_start else FACTOR
        return factor * self.congestion.window_bytes / smoothed_s

    def _room(self) -> float:
        """Return how many bytes the congestion window and pacing allow."""
        room = self.congestion.window_bytes - self.flight.in_transit_bytes
        credit = self._pacer.credit_bytes
        if not self.flight.has_transit:
            return max(min(room, credit), 1.0)
        if credit > 0 or room <= 0:
            return min(room, credit)
        self._pace_due_s = self._pacer.ready_s()
        return 0

    def _send_lost(self, now: float, heading: Heading, out: list[OutgoingPacket]) -> None:
        flight = self.flight
        for sequence in list(flight.lost):
            if self._room() <= 0:
                return
            sent = flight.send_again(sequence, now)
            kind = sent.kind << 4 | VERSION
            out.append((_header(kind, 0, sequence, heading), sent.payload))
            self._pacer.credit_bytes -= len(sent.payload)

    def _send_new(self, now: float, heading: Heading, out: list[OutgoingPacket]) -> None:
        flight, queue = self.flight, self.queue
        size = self.size.payload_bytes
        room = self._room()
        if queue.queued_bytes > 2 * size and room > 2 * size and self._fragments_until is None:
            room -= self._send_trial(now, heading, out)
        connection_id, time_us, delay_us, window, acknowledged = heading
        while queue.queued_bytes and room > 0 and not flight.is_full:
            allowed = self._peer_allows(min(size, queue.queued_bytes), now)
            if not allowed:
                break
            payload = queue.cut(allowed)
            sequence = flight.send(DATA, payload, now) & MASK_16
            header = _pack_header(
                _DATA_KIND, 0, connection_id, time_us, delay_us, window, sequence, acknowledged
            )
            out.append((header, payload))
            room -= len(payload)
            self._pacer.credit_bytes -= len(payload)
        if queue.queued_bytes and room <= 0:
            self._room()  # sets the pacing timer
        self._send_end(now, heading, out)

    def _peer_allows(self, wanted: int, now: float) -> int:
        """Return the payload size that the peer's window allows, or 0."""
        flight = self.flight
        allowed = self._peer_window_bytes - flight.unacknowledged_bytes
        if wanted <= allowed:
            return wanted
        if not flight.is_empty:
            return 0
        if allowed > 0:
            return allowed
        return self._probe_window(now)

    def _probe_window(self, now: float) -> int:
        """Return 1 for a zero window probe if one is due: the window update may have been lost."""
        if self._window_due_s is None:
            self._window_wait_s = min(
                max(2 * self._window_wait_s, self.round_trip.rto_s), MAX_WINDOW_WAIT_S
            )
            self._window_due_s = now + self._window_wait_s
        if now < self._window_due_s:
            return 0
        self._window_due_s = None
        return 1

    def _send_trial(self, now: float, heading: Heading, out: list[OutgoingPacket]) -> int:
        """Send an MTU probe if one is due."""
        size = self.size.payload_bytes
        extra = self.size.wanted_bytes(now) - size - HEADER_BYTES
        allowed = self._peer_window_bytes - self.flight.unacknowledged_bytes
        if extra < MIN_PADDING_BYTES or allowed < size or self.flight.is_full:
            return 0
        payload = self.queue.cut(size)
        extra += size - len(payload)
        sequence = self.flight.send(DATA, payload, now)
        self.size.tried(sequence, now)
        header = _header(_DATA_KIND, EXTENSION_BITS, sequence, heading)
        out.append((header + padding(extra), payload))
        self._pacer.credit_bytes -= size + extra
        return size + extra

    def _send_end(self, now: float, heading: Heading, out: list[OutgoingPacket]) -> None:
        if self.is_finishing and self._fin is None and not self.queue.queued_bytes:
            self._fin = self.flight.send(FIN, b"", now)
            out.append((_header(FIN << 4 | VERSION, 0, self._fin, heading), b""))

    # -- time --------------------------------------------------------------------------------

    def timer(self) -> float | None:
        """Return when handle_timer, and then packets, should be called."""
        retransmission_s = self.retransmission.due_s if self.flight.has_transit else None
        times = (retransmission_s, self.flight.loss_due_s, self._pace_due_s, self._window_due_s)
        return min((time for time in times if time is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Handle the retransmission timer."""
        flight, timer = self.flight, self.retransmission
        if flight.loss_due_s is not None and now >= flight.loss_due_s:
            self._find_lost(now)
        if flight.has_transit and timer.is_due(now):
            if timer.is_probe():
                self._handle_lost_probe(flight.lose_newest())
            else:
                self._handle_lost_probe(flight.lose_all())
                self.congestion.timed_out(self.queueing_s, self.size.payload_bytes)
            timer.expired(now)
            if timer.timeouts == BLACK_HOLE_TIMEOUTS and self.size.is_grown:
                self.size.begin()
                self._fragments_until = flight.next

    def clear(self) -> None:
        """Remove everything."""
        self.queue.clear()
        self.flight.clear()
        self._note_held()


def _header(kind: int, extension: int, sequence: int, heading: Heading) -> bytes:
    connection_id, *others, acknowledged = heading
    return _pack_header(kind, extension, connection_id, *others, sequence & MASK_16, acknowledged)
