"""A clock that a test turns by hand; tasks that sleep on it wake in order of time."""

import heapq
import itertools

import anyio
import anyio.lowlevel


class SleepingClock:
    """Call it for the time; ``await clock.advance(s)`` to let time pass."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await anyio.lowlevel.checkpoint()
            return
        event = anyio.Event()
        entry = (self.now + delay_s, next(self._order), event)
        heapq.heappush(self._sleepers, entry)
        try:
            await event.wait()
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)

    async def advance(self, delay_s: float = 0.0) -> None:
        """Let time pass; whoever wakes runs until it sleeps again, at its own time."""
        end = self.now + delay_s
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            when, _, event = heapq.heappop(self._sleepers)
            self.now = max(self.now, when)
            event.set()
            await settle()
        self.now = end


async def settle() -> None:
    """Let all tasks run until they wait for something."""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()
