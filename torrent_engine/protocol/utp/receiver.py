"""The receive side: in-order data and out-of-order packets, within the window.

Source: BEP 29; row C4. Out-of-order packets are limited by the receive window and, over all
connections, by a budget, beyond which each connection may still keep a few. Unread data has a
budget too.
"""

from collections import deque
from typing import Final

from torrent_engine.protocol.utp.limits import MIN_BUFFER_BYTES, BufferBudget, ReorderBudget
from torrent_engine.protocol.utp.packet import MASK_16, MAX_EXTENSION_BYTES

MAX_AHEAD: Final = 8 * (MAX_EXTENSION_BYTES - 3)  # the range of a selective acknowledgement
MIN_WAITING_PACKETS: Final = 64  # row C4: allowed regardless of the budget
SLACK_BYTES: Final = 64 * 1024  # for packets sent before the window closed
EARLY_COST_BYTES: Final = 128  # memory overhead of an out-of-order packet
SMALL_BYTES: Final = 512  # ours: shorter payloads are joined, to save memory
ACK_BYTES: Final = 2_800  # acknowledged at once: two packets
ACK_DELAY_S: Final = 0.02  # ours: less is acknowledged after this delay

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
        "_unread",
        "ack_due_s",
        "acknowledged",
        "has_eof",
        "is_discarding",
        "must_acknowledge",
        "received_bytes",
    )

    def __init__(
        self, acknowledged: int, limit_bytes: int, budget: ReorderBudget, unread: BufferBudget
    ) -> None:
        self.acknowledged = acknowledged
        """Number of the last packet before the first gap, 16 bits."""
        self.must_acknowledge = False
        """Whether an acknowledgement should be sent at once."""
        self.ack_due_s: float | None = None
        """When the delayed acknowledgement is due."""
        self.has_eof = False
        """Whether the stream was received completely."""
        self.is_discarding = False
        """Whether received data is discarded."""
        self.received_bytes = 0
        """Accepted payload so far."""
        self._limit_bytes = limit_bytes
        self._budget = budget
        self._unread = unread
        self._ready: deque[bytes] = deque()
        self._at = 0  # bytes of the first chunk that were read
        self._ready_bytes = 0
        self._early: dict[int, _Part] = {}
        self._early_bytes = 0
        self._early_mask = 0  # bit n: number acknowledged + 2 + n was received
        self._unacknowledged_bytes = 0
        self._advertised_bytes = limit_bytes

    @property
    def is_readable(self) -> bool:
        """Whether there is data to read, or the stream has ended."""
        return bool(self._ready) or self.has_eof

    @property
    def waiting_bytes(self) -> int:
        """Memory in use."""
        return self._ready_bytes + self._early_bytes

    def take(self, sequence: int, payload: memoryview) -> None:
        """Process a packet with payload; drop it if it is outside the window."""
        if (sequence - self.acknowledged) & MASK_16 != 1 or self._early or self.has_eof:
            self._take_slowly(sequence, bytes(payload))
            return
        size = len(payload)
        if not self._may_be_ready(size):
            self.must_acknowledge = True
            return
        self.acknowledged = sequence
        self.received_bytes += size
        self._unacknowledged_bytes += size or 1  # packets without payload are acknowledged too
        if size >= SMALL_BYTES and not self.is_discarding:
            self._ready.append(bytes(payload))
            self._hold_ready(size)
        elif size:
            self._make_ready(bytes(payload))

    def take_end(self, sequence: int) -> None:
        """Process the FIN."""
        self._take_slowly(sequence, None)

    def _take_slowly(self, sequence: int, part: _Part) -> None:
        self.must_acknowledge = True
        ahead = (sequence - self.acknowledged - 1) & MASK_16
        if ahead > MAX_AHEAD or self.has_eof or sequence in self._early:
            return
        if not self._has_room(ahead, len(part or b"")):
            return
        size = len(part or b"")
        self._early[sequence] = part
        self._hold(size, EARLY_COST_BYTES)
        self.received_bytes += size
        if ahead:
            self._early_mask |= 1 << ahead - 1
        else:
            self._join()

    def _has_room(self, ahead: int, size: int) -> bool:
        if not ahead:
            return self._may_be_ready(size)
        if self.waiting_bytes + size > self._limit_bytes:
            return False
        is_crowded = self._budget.held_bytes + size > self._budget.limit_bytes
        return not is_crowded or len(self._early) < MIN_WAITING_PACKETS

    def _may_be_ready(self, size: int) -> bool:
        """Return whether so many more bytes may be buffered.

        Data within the advertised window is accepted, unless the shared budget is exceeded.
        """
        is_crowded = self._unread.held_bytes + size > self._unread.limit_bytes
        most_bytes = min(self._limit_bytes, MIN_BUFFER_BYTES) if is_crowded else self._limit_bytes
        return self._ready_bytes + size <= most_bytes + SLACK_BYTES

    def _most_bytes(self) -> int:
        """Return the buffer limit, which shrinks as the shared budget is used up."""
        return min(self._limit_bytes, self._unread.limit_of_one())

    def _join(self) -> None:
        """Make packets readable that are in order now."""
        mask = self._early_mask << 1 | 1
        while mask & 1 and not self.has_eof:
            mask >>= 1
            self.acknowledged = self.acknowledged + 1 & MASK_16
            part = self._early.pop(self.acknowledged)
            self._hold(-len(part or b""), -EARLY_COST_BYTES)
            if part is None:
                self.has_eof = True
                self.forget_early()
                return
            self._make_ready(part)
        self._early_mask = mask >> 1

    def _make_ready(self, part: bytes) -> None:
        if not part or self.is_discarding:
            return
        if self._ready and len(self._ready[-1]) + len(part) <= SMALL_BYTES:
            self._ready[-1] += part
        else:
            self._ready.append(part)
        self._hold_ready(len(part))

    def _hold_ready(self, size: int) -> None:
        self._ready_bytes += size
        self._unread.held_bytes += size

    def _hold(self, size: int, cost_bytes: int) -> None:
        self._early_bytes += size
        self._budget.held_bytes += size + cost_bytes

    def forget_early(self) -> None:
        """Drop out-of-order packets; call it when a connection ends."""
        self._hold(-self._early_bytes, -EARLY_COST_BYTES * len(self._early))
        self._early.clear()
        self._early_mask = 0

    def discard(self) -> None:
        """Drop unread data, and all data from now on."""
        self.is_discarding = True
        self._ready.clear()
        self._at = 0
        self._hold_ready(-self._ready_bytes)

    def batch_ended(self, now: float) -> None:
        """Decide when to acknowledge the packets since the last acknowledgement."""
        if self._unacknowledged_bytes >= ACK_BYTES:
            self.must_acknowledge = True
        elif self._unacknowledged_bytes and self.ack_due_s is None:
            self.acknowledge_soon(now)

    def acknowledge_soon(self, now: float) -> None:
        """Schedule a delayed acknowledgement."""
        self.ack_due_s = now + ACK_DELAY_S

    @property
    def has_gap(self) -> bool:
        """Whether packets were received after a missing one."""
        return bool(self._early)

    def sack(self) -> bytes:
        """Return the selective acknowledgement, in words of 4 bytes."""
        words = (self._early_mask.bit_length() + 31) // 32
        return self._early_mask.to_bytes(4 * words, "little")

    def set_limit(self, limit_bytes: int) -> None:
        """Change the buffer limit; buffered data stays."""
        self._limit_bytes = limit_bytes

    @property
    def window_bytes(self) -> int:
        """The receive window."""
        return max(self._most_bytes() - self.waiting_bytes, 0)

    def acknowledgement_left(self) -> None:
        """Record that an acknowledgement with the current window was sent."""
        self.must_acknowledge, self.ack_due_s, self._unacknowledged_bytes = False, None, 0
        self._advertised_bytes = self.window_bytes

    def read_into(self, target: memoryview) -> int:
        """Copy in-order data; return 0 if there is none."""
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
        self._hold_ready(-done)
        most_bytes = self._most_bytes()
        if most_bytes - self.waiting_bytes - self._advertised_bytes > most_bytes // 4:
            self.must_acknowledge = True  # the peer may wait for a window update
        return done
