"""Time that passes only when a test says so."""

from dataclasses import dataclass

import anyio.lowlevel


@dataclass
class ManualClock:
    """A ``clock()`` to inject: stands still between calls of :meth:`advance`."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let time pass and return the new time."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds} s")
        self.now += seconds
        return self.now

    async def pass_time(self, seconds: float, *, step_s: float = 1.0) -> None:
        """Let time pass in steps, and give the other tasks a few turns after each."""
        end = self.now + seconds
        while self.now < end:
            self.advance(min(step_s, end - self.now))
            await let_tasks_run()


async def let_tasks_run(turns: int = 5) -> None:
    """Give every other task that can run its turn, a few times."""
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
