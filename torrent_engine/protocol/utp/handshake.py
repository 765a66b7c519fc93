"""Connection setup: our SYNs, and address verification of incoming ones (row C3).

Source: BEP 29. The source address of a SYN may be spoofed: one packet of 20 bytes is sent, and
nothing else until the random sequence number in it is acknowledged. That number has only 16 bits,
so wrong ones are counted, and if there are many, the timestamp must be echoed as well, which has
another 8 to 15 unpredictable bits.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from torrent_engine.protocol.utp.packet import MASK_16, MASK_32, Packet

MAX_WRONG_NUMBERS: Final = 3  # ours: in one unconfirmed connection, which then ends
MANY_WRONG_NUMBERS: Final = (
    16  # ours: over all connections; from there on timestamps are checked too
)
WRONG_NUMBERS_MEMORY_S: Final = 60.0  # ours
ECHO_SLACK_US: Final = 50_000  # ours: tolerance for clock rounding
FIRST_WAIT_S: Final = 1.0  # RFC 6298; the 3 s of BEP 29 are long compared with TCP
CONFIRMATION_S: Final = 10.0  # ours: timeout of an unconfirmed connection


class SynAttempts:
    """The SYNs of one outgoing connection."""

    __slots__ = ("_left", "_wait_s", "due_s", "is_due", "sent_s", "sequence")

    def __init__(self, sequence: int, attempts: int, now: float) -> None:
        self.sequence = sequence
        """Random 16-bit number of the SYN (BEP 29 has 1; clients use random ones)."""
        self._left = attempts
        self._wait_s = FIRST_WAIT_S
        self.due_s = now
        self.is_due = True
        """Whether a SYN should be sent."""
        self.sent_s: float | None = None
        """When the SYN was sent; None after a retransmission, so that no round trip is measured."""
        self._next(now)

    def _next(self, now: float) -> None:
        self._left -= 1
        self.is_due = True
        self.due_s = now + self._wait_s
        self._wait_s *= 2

    def left(self, now: float) -> None:
        """Record that the SYN was sent."""
        is_first = self.is_due and self._wait_s == 2 * FIRST_WAIT_S
        self.sent_s = now if is_first else None
        self.is_due = False

    def handle_timer(self, now: float) -> bool:
        """Send another SYN if it is due; return False after the last attempt."""
        if now < self.due_s:
            return True
        if self._left <= 0:
            return False
        self._next(now)
        return True


class WrongNumbers:
    """Recent wrong acknowledgement numbers, over all unconfirmed connections."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MANY_WRONG_NUMBERS)

    def add(self, now: float) -> None:
        """Count one."""
        self._times.append(now)

    def are_many(self, now: float) -> bool:
        """Return whether numbers are apparently being guessed."""
        times = self._times
        return len(times) == MANY_WRONG_NUMBERS and now < times[0] + WRONG_NUMBERS_MEMORY_S


class Confirmation:
    """Address verification of one incoming connection (row C3)."""

    __slots__ = ("_begun_us", "_others", "_wrong", "due_s", "syn_sequence")

    def __init__(self, syn: Packet, begun_us: int, others: WrongNumbers, now: float) -> None:
        self.syn_sequence = syn.sequence
        self.due_s = now + CONFIRMATION_S
        """When it times out."""
        self._begun_us = begun_us
        self._others = others
        self._wrong = 0

    @property
    def has_failed(self) -> bool:
        """Whether there were too many wrong numbers."""
        return self._wrong >= MAX_WRONG_NUMBERS

    def accepts(self, packet: Packet, time_us: int, now: float, *, is_number_right: bool) -> bool:
        """Return whether a packet verifies its sender's address; count it if not.

        ``time_us`` is the time of its arrival, by the clock of our timestamps.
        """
        if is_number_right and (not self._others.are_many(now) or self._echoes(packet, time_us)):
            return True
        self._wrong += 1
        self._others.add(now)
        return False

    def _echoes(self, packet: Packet, time_us: int) -> bool:
        """Return whether the timestamps of a packet match a packet of ours.

        The difference in it is the arrival of our packet, by the peer's clock, minus our timestamp.
        Its own timestamp minus that difference is therefore a time of our clock between the SYN
        and now.
        """
        echo_us = packet.timestamp_us - packet.timestamp_difference_us
        age_us = (time_us - echo_us + ECHO_SLACK_US) & MASK_32
        return age_us <= ((time_us - self._begun_us) & MASK_32) + 2 * ECHO_SLACK_US


def choose_id(rng: Random, is_taken: Callable[[int], bool]) -> int:
    """Return a random 16-bit id for packets to us; packets from us use the next one."""
    chosen = rng.randrange(1 << 16)
    while is_taken(chosen):
        chosen = (chosen + 1) & MASK_16
    return chosen
