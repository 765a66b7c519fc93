"""Log lines of what may happen thousands of times a second, at most so many of them."""

import logging
import time
from collections.abc import Callable


class BoundedLog:
    """Writes to a logger ``burst`` lines at once and ``lines_per_s`` on average; counts the rest.

    Nothing is formatted where the level is switched off.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        lines_per_s: float = 20.0,
        burst: int = 200,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._lines_per_s = lines_per_s
        self._burst = burst
        self._clock = clock
        self._left = float(burst)
        self._at_s = clock()
        self._dropped = 0

    def info(self, message: str, *values: object) -> None:
        """Write a line at level INFO, unless there were too many."""
        if self._logger.isEnabledFor(logging.INFO):
            self._write(logging.INFO, message, values)

    def debug(self, message: str, *values: object) -> None:
        """Write a line at level DEBUG, unless there were too many."""
        if self._logger.isEnabledFor(logging.DEBUG):
            self._write(logging.DEBUG, message, values)

    def _write(self, level: int, message: str, values: tuple[object, ...]) -> None:
        now = self._clock()
        earned = (now - self._at_s) * self._lines_per_s
        self._left, self._at_s = min(self._left + earned, self._burst), now
        if self._left < 1:
            self._dropped += 1
            return
        self._left -= 1
        if self._dropped:
            self._logger.log(level, "%d lines such as the next one were left out", self._dropped)
            self._dropped = 0
        self._logger.log(level, message, *values)
