"""Owns the packets that are not acknowledged: each is in transit or lost, never both (row C4).

Source: BEP 29 for what an acknowledgement says. What counts as lost is ours, after RFC 8985: a
packet that was sent earlier than one that arrived, and is late. So a packet that was sent again
and lost again is noticed as soon as one that was sent once.
"""

from typing import Final

from torrent_engine.protocol.utp.packet import MASK_16

MAX_PACKETS: Final = 2_000  # a selective acknowledgement reaches 2040 packets far
MAX_OVERTAKEN: Final = 64  # ours: packets by which one may come late, and its payload still counts
OVERTAKEN_S: Final = 1.0  # ours: and so long after the last news


class SentPacket:
    """One packet that has a number."""

    __slots__ = ("is_resent", "kind", "payload", "sent_s", "sequence")

    def __init__(self, sequence: int, kind: int, payload: bytes | memoryview, now: float) -> None:
        self.sequence = sequence
        """Counted on without end; 16 bits of it are in the header."""
        self.kind = kind
        self.payload = payload
        self.sent_s = now
        """When it was sent last."""
        self.is_resent = False


class Flight:
    """The packets of one direction that were sent and not acknowledged."""

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
        """The first that is not acknowledged."""
        self.next = first
        self._oldest = first  # nothing before it was ever sent
        self._news_s = float("-inf")  # when ``first`` was last counted on
        self.lost: dict[int, SentPacket] = {}
        """To be sent again, the first number first."""
        self._transit: dict[int, SentPacket] = {}  # in the order in which they were sent
        self._known = 0  # bit n: number first + n was acknowledged selectively
        self._newest = (float("-inf"), 0)  # when the newest of those that arrived was sent; number
        self.in_transit_bytes = 0
        self.lost_bytes = 0
        self.delivered_bytes = 0
        """Of all packets that arrived since it was last set to 0."""
        self.newest_rtt_s: float | None = None
        """Round trip of the newest packet of the last acknowledgement that was sent only once."""
        self.loss_due_s: float | None = None
        """When something in transit will be late."""
        self.reorder_s = 0.0
        """By how much a packet overtook another, lately."""

    def has(self, sequence: int) -> bool:
        """Say whether a packet is not acknowledged in any way."""
        return sequence in self._transit or sequence in self.lost

    @property
    def is_empty(self) -> bool:
        """Whether everything that was sent has arrived."""
        return not self._transit and not self.lost

    @property
    def unacknowledged_bytes(self) -> int:
        """What the other side may still have to take."""
        return self.in_transit_bytes + self.lost_bytes

    @property
    def is_full(self) -> bool:
        """Whether no further number may be given out."""
        return self.next - self.first >= MAX_PACKETS

    def send(self, kind: int, payload: bytes | memoryview, now: float) -> int:
        """Give the next number to a packet; return it."""
        sequence = self.next
        self._transit[sequence] = SentPacket(sequence, kind, payload, now)
        self.in_transit_bytes += len(payload)
        self.next = sequence + 1
        return sequence

    def send_again(self, sequence: int, now: float) -> SentPacket:
        """Return a lost packet, which is in transit now."""
        sent = self.lost.pop(sequence)
        self.lost_bytes -= len(sent.payload)
        self.in_transit_bytes += len(sent.payload)
        sent.sent_s, sent.is_resent = now, True
        self._transit[sequence] = sent
        return sent

    def count_acknowledged(self, acknowledged: int, arrived_s: float) -> int | None:
        """Return how many more numbers this acknowledges; -1 for an old one, None for a lie.

        Old is what packets bring that were overtaken on their way: a few numbers, a short time
        after newer ones came. To who is not on the way it is as hard to guess as the others.
        """
        count = (acknowledged + 1 - self.first) & MASK_16
        if count <= self.next - self.first:
            return count
        back = MASK_16 + 1 - count
        is_near = back <= MAX_OVERTAKEN and back <= self.first - self._oldest
        return -1 if is_near and arrived_s < self._news_s + OVERTAKEN_S else None

    def acknowledge(self, count: int, sack: bytes, arrived_s: float) -> bool:
        """Take that so many numbers more are acknowledged, and some selectively; True if news."""
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
        """Return what is lost by now: sent before one that arrived, and later than this."""
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
        """Take everything in transit for lost."""
        lost = list(self._transit.values())
        self.loss_due_s = None
        self._lose(lost)
        return lost

    def lose_newest(self) -> list[SentPacket]:
        """Take what was sent last for lost, to hear of the rest by sending it again."""
        lost = [self._transit[next(reversed(self._transit))]]
        self._lose(lost)
        return lost

    @property
    def has_transit(self) -> bool:
        """Whether an acknowledgement may be on its way."""
        return bool(self._transit)

    def clear(self) -> None:
        """Forget everything."""
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
