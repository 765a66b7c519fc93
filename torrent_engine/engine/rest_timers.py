"""Owns when something is due for torrents that rest: one task for all of them.

Nobody is looked at before its time, and who has none costs nothing.
"""

import logging
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush

from torrent_engine.engine.alarm import Alarm

logger = logging.getLogger(__name__)

Fire = Callable[[], None]


class RestTimers:
    """One timer a torrent; :meth:`run` is a task of the services."""

    def __init__(self, clock: Callable[[], float], *, alarm: Alarm | None = None) -> None:
        self._clock = clock
        self._alarm = Alarm() if alarm is None else alarm
        self._timers: dict[Hashable, tuple[float, Fire]] = {}
        self._due: list[tuple[float, int, Hashable]] = []
        """A heap; entries whose time is no longer that of the timer are stale."""
        self._count = 0

    def __len__(self) -> int:
        """Return how many timers run."""
        return len(self._timers)

    def set(self, key: Hashable, at_s: float, fire: Fire) -> None:
        """Call ``fire`` at a time of the clock, in place of what was set before."""
        self._timers[key] = (at_s, fire)
        self._count += 1
        heappush(self._due, (at_s, self._count, key))
        if self._due[0][2] == key:
            self._alarm.ring()
        if len(self._due) > 2 * len(self._timers) + 16:
            self._sweep()

    def drop(self, key: Hashable) -> None:
        """Forget a timer; twice is harmless."""
        self._timers.pop(key, None)

    def _sweep(self) -> None:
        self._due = [entry for entry in self._due if self._is_true(entry)]
        heapify(self._due)

    def _is_true(self, entry: tuple[float, int, Hashable]) -> bool:
        timer = self._timers.get(entry[2])
        return timer is not None and timer[0] == entry[0]

    async def run(self) -> None:
        """Call what is due, until cancelled."""
        while True:
            self._fire_due()
            await self._alarm.wait(self._due[0][0] - self._clock() if self._due else float("inf"))

    def _fire_due(self) -> None:
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            entry = heappop(self._due)
            if self._is_true(entry):
                _, fire = self._timers.pop(entry[2])
                try:
                    fire()
                except Exception:
                    logger.exception("a bug in what was due for a torrent at rest")
