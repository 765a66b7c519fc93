"""Owns what came: in order what can be read, behind gaps what waits, both within the window.

Source: BEP 29; row C4. What waits for a gap is bounded by the receive window, and over all
connections by a budget; where that is used up, each may still keep a few packets.
"""

from collections import deque
from typing import Final

from torrent_engine.protocol.utp.limits import ReorderBudget
from torrent_engine.protocol.utp.packet import MASK_16, MAX_EXTENSION_BYTES

MAX_AHEAD: Final = 8 * (MAX_EXTENSION_BYTES - 3)  # what we can acknowledge selectively
MIN_WAITING_PACKETS: Final = 64  # row C4: may wait whatever the others have
SLACK_BYTES: Final = 64 * 1024  # a packet that was sent as the window closed
SMALL_BYTES: Final = 512  # ours: shorter payloads are put together, or each costs much more memory
ACK_BYTES: Final = 2_800  # what is acknowledged at once: two packets
ACK_DELAY_S: Final = 0.02  # ours: less than that waits so long for company

_Part = bytes | None
"""None stands for the end of the stream."""


class ReceiveSide:
    """The receiving half of one connection."""

    __slots__ = (
        "_advertised_bytes",
        "_at",
        "_budget",
        "_early",
        "_early_bytes",
        "_early_mask",
        "_limit_bytes",
        "_ready",
        "_ready_bytes",
        "_unacknowledged_bytes",
        "ack_due_s",
        "acknowledged",
        "has_eof",
        "is_discarding",
        "must_acknowledge",
    )

    def __init__(self, acknowledged: int, limit_bytes: int, budget: ReorderBudget) -> None:
        self.acknowledged = acknowledged
        """Number of the last packet before the first gap, 16 bits."""
        self.must_acknowledge = False
        """Whether an acknowledgement should leave at once."""
        self.ack_due_s: float | None = None
        """When one should leave at the latest."""
        self.has_eof = False
        """Whether the end of the stream has come, and all before it."""
        self.is_discarding = False
        """Whether nobody reads any more."""
        self._limit_bytes = limit_bytes
        self._budget = budget
        self._ready: deque[bytes] = deque()
        self._at = 0  # bytes of the first that were read
        self._ready_bytes = 0
        self._early: dict[int, _Part] = {}
        self._early_bytes = 0
        self._early_mask = 0  # bit n: number acknowledged + 2 + n has come
        self._unacknowledged_bytes = 0
        self._advertised_bytes = limit_bytes

    @property
    def is_readable(self) -> bool:
        """Whether there is something to read, or nothing will come any more."""
        return bool(self._ready) or self.has_eof

    @property
    def waiting_bytes(self) -> int:
        """What is kept in memory."""
        return self._ready_bytes + self._early_bytes

    def take(self, sequence: int, payload: memoryview) -> None:
        """Take a packet with payload; what is out of place or too much is dropped."""
        if (sequence - self.acknowledged) & MASK_16 != 1 or self._early or self.has_eof:
            self._take_slowly(sequence, bytes(payload))
            return
        size = len(payload)
        if self._ready_bytes + size > self._limit_bytes + SLACK_BYTES:
            self.must_acknowledge = True
            return
        self.acknowledged = sequence
        self._unacknowledged_bytes += size or 1  # one without payload is acknowledged, too
        if size >= SMALL_BYTES and not self.is_discarding:
            self._ready.append(bytes(payload))
            self._ready_bytes += size
        elif size:
            self._make_ready(bytes(payload))

    def take_end(self, sequence: int) -> None:
        """Take the FIN."""
        self._take_slowly(sequence, None)

    def _take_slowly(self, sequence: int, part: _Part) -> None:
        self.must_acknowledge = True
        ahead = (sequence - self.acknowledged - 1) & MASK_16
        if ahead > MAX_AHEAD or self.has_eof or sequence in self._early:
            return
        if not self._has_room(ahead, len(part or b"")):
            return
        self._early[sequence] = part
        self._hold(len(part or b""))
        if ahead:
            self._early_mask |= 1 << ahead - 1
        else:
            self._join()

    def _has_room(self, ahead: int, size: int) -> bool:
        if not ahead:
            return self._ready_bytes + size <= self._limit_bytes + SLACK_BYTES
        if self.waiting_bytes + size > self._limit_bytes:
            return False
        is_crowded = self._budget.held_bytes + size > self._budget.limit_bytes
        return not is_crowded or len(self._early) < MIN_WAITING_PACKETS

    def _join(self) -> None:
        """Move what is in order by now to what can be read."""
        mask = self._early_mask << 1 | 1
        while mask & 1 and not self.has_eof:
            mask >>= 1
            self.acknowledged = self.acknowledged + 1 & MASK_16
            part = self._early.pop(self.acknowledged)
            if part is None:
                self.has_eof = True
                self.forget_early()
                return
            self._hold(-len(part))
            self._make_ready(part)
        self._early_mask = mask >> 1

    def _make_ready(self, part: bytes) -> None:
        if not part or self.is_discarding:
            return
        if self._ready and len(self._ready[-1]) + len(part) <= SMALL_BYTES:
            self._ready[-1] += part
        else:
            self._ready.append(part)
        self._ready_bytes += len(part)

    def _hold(self, size: int) -> None:
        self._early_bytes += size
        self._budget.held_bytes += size

    def forget_early(self) -> None:
        """Drop what waits for a gap; must be called when a connection ends."""
        self._hold(-self._early_bytes)
        self._early.clear()
        self._early_mask = 0

    def discard(self) -> None:
        """Drop what was not read, and what comes from now on."""
        self.is_discarding = True
        self._ready.clear()
        self._at = self._ready_bytes = 0

    def batch_ended(self, now: float) -> None:
        """Decide when to acknowledge what has come since the last acknowledgement."""
        if self._unacknowledged_bytes >= ACK_BYTES:
            self.must_acknowledge = True
        elif self._unacknowledged_bytes and self.ack_due_s is None:
            self.acknowledge_soon(now)

    def acknowledge_soon(self, now: float) -> None:
        """Let an acknowledgement leave shortly, unless a packet takes it along before."""
        self.ack_due_s = now + ACK_DELAY_S

    @property
    def has_gap(self) -> bool:
        """Whether something came before what should come first."""
        return bool(self._early)

    def sack(self) -> bytes:
        """Return which packets behind the gap have come, in words of 4 bytes."""
        words = (self._early_mask.bit_length() + 31) // 32
        return self._early_mask.to_bytes(4 * words, "little")

    def set_limit(self, limit_bytes: int) -> None:
        """Change how much may wait to be read; what waits already stays."""
        self._limit_bytes = limit_bytes

    @property
    def window_bytes(self) -> int:
        """How much may come."""
        return max(self._limit_bytes - self.waiting_bytes, 0)

    def acknowledgement_left(self) -> None:
        """Take that the other side is told of all that came, and of the window."""
        self.must_acknowledge, self.ack_due_s, self._unacknowledged_bytes = False, None, 0
        self._advertised_bytes = self.window_bytes

    def read_into(self, target: memoryview) -> int:
        """Copy what is in order; 0 if there is nothing."""
        done, room, ready = 0, len(target), self._ready
        while ready and done < room:
            part = ready[0]
            size = len(part) - self._at
            if size <= room - done:
                target[done : done + size] = part[self._at :] if self._at else part
                ready.popleft()
                self._at = 0
            else:
                size = room - done
                target[done:room] = memoryview(part)[self._at : self._at + size]
                self._at += size
            done += size
        self._ready_bytes -= done
        window_bytes = self._limit_bytes - self.waiting_bytes
        if window_bytes - self._advertised_bytes > self._limit_bytes // 4:
            self.must_acknowledge = True  # the other side may be waiting for it
        return done
