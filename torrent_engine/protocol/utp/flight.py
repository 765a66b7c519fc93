"""The unacknowledged packets: each is in transit or lost, never both (row C4).

Source: BEP 29 for acknowledgements. Loss detection follows RACK (RFC 8985): a packet is lost if one
sent later has arrived, and the reordering window has passed. A lost retransmission is thus detected
as early as any other loss.
"""

from typing import Final

from torrent_engine.protocol.utp.packet import MASK_16

MAX_PACKETS: Final = 2_000  # a selective acknowledgement covers 2040 packets
MAX_OVERTAKEN: Final = 64  # ours: how far behind an acknowledgement may be and still be accepted
OVERTAKEN_S: Final = 1.0  # ours: and how long after newer ones


class SentPacket:
    """One packet with a sequence number."""

    __slots__ = ("is_resent", "kind", "payload", "sent_s", "sequence")

    def __init__(self, sequence: int, kind: int, payload: bytes | memoryview, now: float) -> None:
        self.sequence = sequence
        """Unbounded; the lower 16 bits are in the header."""
        self.kind = kind
        self.payload = payload
        self.sent_s = now
        """When it was last sent."""
        self.is_resent = False


class Flight:
    """The sent and unacknowledged packets of one direction."""

    __slots__ = (
        "_known",
        "_newest",
        "_news_s",
        "_oldest",
        "_transit",
        "delivered_bytes",
        "first",
        "in_transit_bytes",
        "loss_due_s",
        "lost",
        "lost_bytes",
        "newest_rtt_s",
        "next",
        "reorder_s",
    )

    def __init__(self, first: int) -> None:
        self.first = first
        """The first unacknowledged number."""
        self.next = first
        self._oldest = first  # the first number ever sent
        self._news_s = float("-inf")  # when ``first`` last advanced
        self.lost: dict[int, SentPacket] = {}
        """Packets to retransmit, in the order of their numbers."""
        self._transit: dict[int, SentPacket] = {}  # in sending order
        self._known = 0  # bit n: number first + n was acknowledged selectively
        self._newest = (
            float("-inf"),
            0,
        )  # of the latest sent packet that arrived: sending time, number
        self.in_transit_bytes = 0
        self.lost_bytes = 0
        self.delivered_bytes = 0
        """Payload of the packets that arrived since this was set to 0."""
        self.newest_rtt_s: float | None = None
        """Round-trip time of the newest acknowledged packet that was not retransmitted."""
        self.loss_due_s: float | None = None
        """When a packet in transit will count as lost."""
        self.reorder_s = 0.0
        """Recently observed reordering."""

    def has(self, sequence: int) -> bool:
        """Return whether a packet is unacknowledged."""
        return sequence in self._transit or sequence in self.lost

    @property
    def packets(self) -> int:
        """How many packets are unacknowledged."""
        return len(self._transit) + len(self.lost)

    @property
    def is_empty(self) -> bool:
        """Whether every sent packet is acknowledged."""
        return not self._transit and not self.lost

    @property
    def unacknowledged_bytes(self) -> int:
        """Payload that the peer may not have received yet."""
        return self.in_transit_bytes + self.lost_bytes

    @property
    def oldest_bytes(self) -> int:
        """Payload of the oldest unacknowledged packet; 0 without one."""
        oldest = self._transit.get(self.first) or self.lost.get(self.first)
        return len(oldest.payload) if oldest is not None else 0

    @property
    def is_full(self) -> bool:
        """Whether no further packet may be sent."""
        return self.next - self.first >= MAX_PACKETS

    def send(self, kind: int, payload: bytes | memoryview, now: float) -> int:
        """Assign the next sequence number to a packet and return it."""
        sequence = self.next
        self._transit[sequence] = SentPacket(sequence, kind, payload, now)
        self.in_transit_bytes += len(payload)
        self.next = sequence + 1
        return sequence

    def send_again(self, sequence: int, now: float) -> SentPacket:
        """Mark a lost packet as retransmitted, and return it."""
        sent = self.lost.pop(sequence)
        self.lost_bytes -= len(sent.payload)
        self.in_transit_bytes += len(sent.payload)
        sent.sent_s, sent.is_resent = now, True
        self._transit[sequence] = sent
        return sent

    def count_acknowledged(self, acknowledged: int, arrived_s: float) -> int | None:
        """Return the newly acknowledged count; -1 for an old number, None for an invalid one.

        Old numbers are those of reordered packets: a few behind, shortly after newer ones. They are
        as hard to guess for an off-path attacker as the current ones.
        """
        count = (acknowledged + 1 - self.first) & MASK_16
        if count <= self.next - self.first:
            return count
        back = MASK_16 + 1 - count
        is_near = back <= MAX_OVERTAKEN and back <= self.first - self._oldest
        return -1 if is_near and arrived_s < self._news_s + OVERTAKEN_S else None

    def acknowledge(self, count: int, sack: bytes, arrived_s: float) -> bool:
        """Process an acknowledgement and a selective one; return True if they are new."""
        before = len(self._transit) + len(self.lost)
        self.newest_rtt_s = None
        if count:
            self._known >>= count
            end = self.first + count
            for sequence in range(self.first, end):
                self._arrived(sequence, arrived_s)
            self.first, self._news_s = end, arrived_s
        if sack:
            self._acknowledge_selectively(sack, arrived_s)
        return len(self._transit) + len(self.lost) < before

    def _acknowledge_selectively(self, sack: bytes, arrived_s: float) -> None:
        span = self.next - self.first
        mask = int.from_bytes(sack, "little") << 1 & (1 << span) - 1
        fresh = mask & ~self._known
        self._known |= mask
        while fresh:
            lowest = fresh & -fresh
            fresh ^= lowest
            self._arrived(self.first + lowest.bit_length() - 1, arrived_s)

    def _arrived(self, sequence: int, arrived_s: float) -> None:
        sent = self._transit.pop(sequence, None)
        if sent is not None:
            self.in_transit_bytes -= len(sent.payload)
        else:
            sent = self.lost.pop(sequence, None)
            if sent is None:
                return
            self.lost_bytes -= len(sent.payload)
        self.delivered_bytes += len(sent.payload)
        newest = (sent.sent_s, sequence)
        if newest > self._newest:
            self._newest = newest
            if not sent.is_resent:
                self.newest_rtt_s = arrived_s - sent.sent_s
        elif not sent.is_resent:
            self.reorder_s = max(self.reorder_s, self._newest[0] - sent.sent_s)

    def find_lost(self, now: float, patience_s: float) -> list[SentPacket]:
        """Return the packets that are lost by now; ``patience_s`` is the reordering window."""
        lost: list[SentPacket] = []
        self.loss_due_s = None
        for sent in self._transit.values():
            if (sent.sent_s, sent.sequence) >= self._newest:
                break
            due_s = sent.sent_s + patience_s
            if due_s > now:
                self.loss_due_s = due_s
                break
            lost.append(sent)
        self._lose(lost)
        return lost

    def lose_all(self) -> list[SentPacket]:
        """Mark every packet in transit as lost."""
        lost = list(self._transit.values())
        self.loss_due_s = None
        self._lose(lost)
        return lost

    def lose_newest(self) -> list[SentPacket]:
        """Mark the newest packet as lost, so that it is retransmitted as a tail loss probe."""
        lost = [self._transit[next(reversed(self._transit))]]
        self._lose(lost)
        return lost

    @property
    def has_transit(self) -> bool:
        """Whether packets are in transit."""
        return bool(self._transit)

    def clear(self) -> None:
        """Remove everything."""
        self._transit.clear()
        self.lost.clear()
        self.in_transit_bytes = self.lost_bytes = 0
        self.loss_due_s = None

    def _lose(self, lost: list[SentPacket]) -> None:
        if not lost:
            return
        for sent in lost:
            del self._transit[sent.sequence]
            self.lost[sent.sequence] = sent
            self.in_transit_bytes -= len(sent.payload)
            self.lost_bytes += len(sent.payload)
        self.lost = dict(sorted(self.lost.items()))
