"""Owns how long links may work in one turn of the event loop before everybody else has had one.

Hundreds of sockets that are readable at once would hold up timers and other torrents until all of
them were served.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

import anyio.lowlevel

BUDGET_S: Final = 0.02  # ours: work of all links together in one turn
CROWD: Final = 100  # ours: links that wait, from which on the wait itself takes a part of the turn
CROWD_BUDGET_S: Final = 0.006


class LoopTurn(threading.local):
    """The present turn of this thread's loop; the first link that is back begins the next."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began_s = float("-inf")
        self._number = 0
        self._waiting = 0

    @property
    def is_over(self) -> bool:
        """Whether the links have had their time."""
        budget_s = BUDGET_S if self._waiting < CROWD else CROWD_BUDGET_S
        return self._clock() - self._began_s > budget_s

    async def pass_on(self) -> None:
        """Wait until there is time again."""
        self._waiting += 1
        try:
            while True:
                number = self._number
                await anyio.lowlevel.checkpoint()
                if number == self._number:
                    self._number += 1
                    self._began_s = self._clock()
                    return
                if not self.is_over:
                    return
        finally:
            self._waiting -= 1


LOOP_TURN: Final = LoopTurn()
