"""Owns two limits for one destination: dials a minute (row B9), and one handshake at a time.

Whoever names it. Some clients close what comes from an address that they shake hands with already.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from torrent_engine.base.config import PoolConfig

PERIOD_S: Final = 60.0

Waiter = Callable[[str], None]
"""Hears of a destination that nobody shakes hands with any more."""


class DialLimiter:
    """Remembers the dials of the last minute by destination; one may serve many torrents.

    A destination is an operator (an IPv4 address, an IPv6 /64), or a single port of an address that
    many peers may share.
    """

    def __init__(self, config: PoolConfig) -> None:
        self._limit = config.max_dials_per_ip_per_minute
        self._dials: OrderedDict[str, deque[float]] = OrderedDict()
        self._waiters: dict[str, dict[Waiter, None]] = {}
        """Who waits for the end of each handshake that is under way, the longest first."""

    def free_at(self, destination: str, now: float) -> float:
        """Return when the destination may be dialled next, ``now`` if at once."""
        dials = self._dials.get(destination)
        if dials is None or len(dials) < self._limit:
            return now
        return max(dials[0] + PERIOD_S, now)

    def is_shaking_hands(self, destination: str) -> bool:
        """Tell whether a dial, or the handshake that follows it, is under way."""
        return destination in self._waiters

    def wait_for(self, destination: str, waiter: Waiter) -> None:
        """Have ``waiter`` called once, when the handshake that is under way has ended."""
        self._waiters[destination][waiter] = None

    def begin(self, destination: str, now: float) -> None:
        """Record a dial; :meth:`end` must follow when its handshake came, or never will."""
        self._note(destination, now)
        self._waiters[destination] = {}

    def again(self, destination: str, now: float) -> None:
        """Record one more dial before the end of the same handshake: it is tried in another way."""
        self._note(destination, now)

    def end(self, destination: str) -> None:
        """Record the end of a handshake; those who wait may then dial, in the order they came."""
        for waiter in self._waiters.pop(destination, ()):
            waiter(destination)

    def _note(self, destination: str, now: float) -> None:
        if destination not in self._dials:
            self._dials[destination] = deque(maxlen=self._limit)
        self._dials[destination].append(now)
        self._dials.move_to_end(destination)
        self._forget_before(now - PERIOD_S)

    def _forget_before(self, oldest: float) -> None:
        """Drop destinations whose last dial is long ago: they stand at the front."""
        while self._dials and next(iter(self._dials.values()))[-1] < oldest:
            self._dials.popitem(last=False)
