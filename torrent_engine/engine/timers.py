"""Timers: a sleep that another task can end early, and the timers of dormant torrents."""

import logging
from collections.abc import Awaitable, Callable, Hashable
from heapq import heapify, heappop, heappush
from typing import Final

import anyio

logger = logging.getLogger(__name__)

LONGEST_S: Final = 3_600.0  # ours: with nothing to do, look again now and then


class Alarm:
    """A sleep for one task, which :meth:`ring` ends, even before it begins."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        self._sleep = sleep
        self._rung = anyio.Event()

    def ring(self) -> None:
        """End the wait that is under way, or the next one if none is."""
        self._rung.set()

    async def wait(self, delay_s: float) -> None:
        """Wait for ``delay_s`` or an hour, whichever is less, or until :meth:`ring`."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_rung, tasks.cancel_scope)
            await self._sleep(min(max(delay_s, 0.0), LONGEST_S))
            tasks.cancel_scope.cancel()
        self._rung = anyio.Event()

    async def _cancel_when_rung(self, scope: anyio.CancelScope) -> None:
        await self._rung.wait()
        scope.cancel()


Fire = Callable[[], None]


class DormantTimers:
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
        """Cancel a timer; twice is harmless."""
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
                    logger.exception("internal error in the timer of a dormant torrent")
