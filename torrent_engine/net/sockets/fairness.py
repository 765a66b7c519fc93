"""Fair use of the event loop: time budgets for links, and rate limits for expensive work."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import anyio
import anyio.lowlevel

BUDGET_S: Final = 0.01  # ours: time of all links together in one loop iteration


class LoopTurn(threading.local):
    """The time budget of the current loop iteration, and the queue of links that exceeded it.

    One link of the queue is woken in each iteration. Waking all 100 busy links each time took a
    seventh of a seed's CPU time.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began_s = float("-inf")
        self._queue: deque[anyio.Event] = deque()
        self._has_first = (
            False  # whether a link is waiting at the head of the queue, or was just woken
        )
        self._loop: object = None

    @property
    def is_over(self) -> bool:
        """Whether the budget is used up."""
        return self._clock() - self._began_s > BUDGET_S

    async def pass_on(self) -> None:
        """Wait for the next budget."""
        self._enter_loop()
        if self._has_first:
            await self._wait_in_queue()
        self._has_first = True
        try:
            if self.is_over:
                await anyio.lowlevel.checkpoint()
                self._began_s = self._clock()
        finally:
            self._call_next()

    async def _wait_in_queue(self) -> None:
        called = anyio.Event()
        self._queue.append(called)
        try:
            await called.wait()
        except BaseException:
            if called.is_set():
                self._call_next()
            elif called in self._queue:  # else its loop ended
                self._queue.remove(called)
            raise

    def _call_next(self) -> None:
        if self._queue:
            self._queue.popleft().set()
        else:
            self._has_first = False

    def _enter_loop(self) -> None:
        """Drop the queue of an earlier event loop of this thread."""
        loop = anyio.lowlevel.current_token()
        if loop != self._loop:
            self._loop = loop
            self._queue.clear()
            self._has_first = False


LOOP_TURN: Final = LoopTurn()


class RateGate:
    """A rate limit for expensive work, first come, first served; 0 is unlimited.

    What it lets pass waits for ``common``, a gate of several ones, too.
    """

    def __init__(self, per_second: float, common: "RateGate | None" = None) -> None:
        self._interval_s = 1 / per_second if per_second else 0.0
        self._lock = anyio.Lock()
        self._next_s = float("-inf")
        self._common = common

    async def turn(self) -> None:
        """Wait until the next unit of work may start; a cancelled wait does not count."""
        async with self._lock:
            wait_s = self._next_s - anyio.current_time()
            if wait_s > 0:
                await anyio.sleep(wait_s)
            if self._common is not None:
                await self._common.turn()
            self._next_s = anyio.current_time() + self._interval_s
