"""Owns how a connection begins: SYNs and how often, who was confirmed, and until when (row C3).

Source: BEP 29. The address of a SYN may be forged: it is answered with one packet of 20 bytes,
and nothing else is sent, until somebody acknowledges the random number that the answer carries.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from torrent_engine.protocol.utp.packet import MASK_16

SYN_SEQUENCE: Final = 1  # BEP 29
FIRST_WAIT_S: Final = 1.0  # RFC 6298; BEP 29 has 3 s, which is long beside a dial over TCP
CONFIRMATION_S: Final = 10.0  # ours: who does not say anything for so long is forgotten


class Dial:
    """The SYNs of one connection that we began."""

    __slots__ = ("_left", "_wait_s", "due_s", "is_due", "sent_s")

    def __init__(self, attempts: int, now: float) -> None:
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


def choose_id(rng: Random, is_taken: Callable[[int], bool]) -> int:
    """Return an id of 16 bits for packets to us, whose successor is for packets from us."""
    chosen = rng.randrange(1 << 16)
    while is_taken(chosen):
        chosen = (chosen + 1) & MASK_16
    return chosen
