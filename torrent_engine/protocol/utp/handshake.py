"""The beginning of a connection: SYNs of ours, and the confirmation of who sent us one (row C3).

Source: BEP 29. The address of a SYN may be forged: it is answered with one packet of 20 bytes,
and nothing else is sent, until somebody acknowledges the random number that the answer carries.
That number has 16 bits only, so wrong ones are counted, and where many came lately the time stamp
of the answer must come back as well, of which another 8 to 15 bits cannot be known.
"""

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

from torrent_engine.protocol.utp.packet import MASK_16, MASK_32, Packet

MAX_WRONG_NUMBERS: Final = 3  # ours: so many end a connection that is not confirmed
MANY_WRONG_NUMBERS: Final = 16  # ours: of all connections; above it time stamps are checked too
WRONG_NUMBERS_MEMORY_S: Final = 60.0  # ours
ECHO_SLACK_US: Final = 50_000  # ours: clocks that are read twice, and rounded
FIRST_WAIT_S: Final = 1.0  # RFC 6298; BEP 29 has 3 s, which is long beside a dial over TCP
CONFIRMATION_S: Final = 10.0  # ours: who does not say anything for so long is forgotten


class Dial:
    """The SYNs of one connection that we began."""

    __slots__ = ("_left", "_wait_s", "due_s", "is_due", "sent_s", "sequence")

    def __init__(self, sequence: int, attempts: int, now: float) -> None:
        self.sequence = sequence
        """Number of the SYN, 16 bits; nobody else can know it (BEP 29 has 1, clients draw one)."""
        self._left = attempts
        self._wait_s = FIRST_WAIT_S
        self.due_s = now
        self.is_due = True
        """Whether a SYN should leave."""
        self.sent_s: float | None = None
        """When the only SYN was sent; None if there were several, so that nothing is measured."""
        self._next(now)

    def _next(self, now: float) -> None:
        self._left -= 1
        self.is_due = True
        self.due_s = now + self._wait_s
        self._wait_s *= 2

    def left(self, now: float) -> None:
        """Take that the SYN was sent."""
        is_first = self.is_due and self._wait_s == 2 * FIRST_WAIT_S
        self.sent_s = now if is_first else None
        self.is_due = False

    def handle_timer(self, now: float) -> bool:
        """Send another SYN if it is time; False if there were enough."""
        if now < self.due_s:
            return True
        if self._left <= 0:
            return False
        self._next(now)
        return True


class WrongNumbers:
    """The wrong guesses at numbers of unconfirmed connections, of all connections together."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MANY_WRONG_NUMBERS)

    def add(self, now: float) -> None:
        """Count one."""
        self._times.append(now)

    def are_many(self, now: float) -> bool:
        """Return whether somebody seems to try numbers one after the other."""
        times = self._times
        return len(times) == MANY_WRONG_NUMBERS and now < times[0] + WRONG_NUMBERS_MEMORY_S


class Confirmation:
    """What is known of a connection that somebody began and nobody confirmed yet (row C3)."""

    __slots__ = ("_begun_us", "_others", "_wrong", "due_s", "syn_sequence")

    def __init__(self, syn: Packet, begun_us: int, others: WrongNumbers, now: float) -> None:
        self.syn_sequence = syn.sequence
        self.due_s = now + CONFIRMATION_S
        """When it is forgotten."""
        self._begun_us = begun_us
        self._others = others
        self._wrong = 0

    @property
    def has_failed(self) -> bool:
        """Whether too many wrong numbers came."""
        return self._wrong >= MAX_WRONG_NUMBERS

    def accepts(self, packet: Packet, time_us: int, now: float, *, is_number_right: bool) -> bool:
        """Return whether a packet shows that its sender receives what we send; count it if not.

        ``time_us`` is the time of its arrival, by the clock of the time stamps that we send.
        """
        if is_number_right and (not self._others.are_many(now) or self._echoes(packet, time_us)):
            return True
        self._wrong += 1
        self._others.add(now)
        return False

    def _echoes(self, packet: Packet, time_us: int) -> bool:
        """Return whether the time stamps of a packet fit those of an answer of ours.

        The difference in it is when the answer arrived, by the other side's clock, less the time
        stamp of the answer: so its own time stamp, less that difference, is a time of ours between
        the SYN and now.
        """
        echo_us = packet.timestamp_us - packet.timestamp_difference_us
        age_us = (time_us - echo_us + ECHO_SLACK_US) & MASK_32
        return age_us <= ((time_us - self._begun_us) & MASK_32) + 2 * ECHO_SLACK_US


def choose_id(rng: Random, is_taken: Callable[[int], bool]) -> int:
    """Return an id of 16 bits for packets to us, whose successor is for packets from us."""
    chosen = rng.randrange(1 << 16)
    while is_taken(chosen):
        chosen = (chosen + 1) & MASK_16
    return chosen
