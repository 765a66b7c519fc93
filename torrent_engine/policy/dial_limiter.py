"""Owns one limit: how often one destination is dialled, whoever names it (row B9)."""

from collections import OrderedDict, deque
from typing import Final

from torrent_engine.base.config import PoolConfig

PERIOD_S: Final = 60.0


class DialLimiter:
    """Remembers the dials of the last minute by destination; one may serve many torrents.

    A destination is an IP address, or a single port of it where many peers may share an address.
    """

    def __init__(self, config: PoolConfig) -> None:
        self._limit = config.max_dials_per_ip_per_minute
        self._dials: OrderedDict[str, deque[float]] = OrderedDict()

    def free_at(self, destination: str, now: float) -> float:
        """Return when the destination may be dialled next, ``now`` if at once."""
        dials = self._dials.get(destination)
        if dials is None or len(dials) < self._limit:
            return now
        return max(dials[0] + PERIOD_S, now)

    def note(self, destination: str, now: float) -> None:
        """Record a dial."""
        if destination not in self._dials:
            self._dials[destination] = deque(maxlen=self._limit)
        self._dials[destination].append(now)
        self._dials.move_to_end(destination)
        self._forget_before(now - PERIOD_S)

    def _forget_before(self, oldest: float) -> None:
        """Drop destinations whose last dial is long ago: they stand at the front."""
        while self._dials and next(iter(self._dials.values()))[-1] < oldest:
            self._dials.popitem(last=False)
