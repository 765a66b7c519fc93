"""Histograms of times, for metrics."""

from bisect import bisect_left
from typing import Final

BOUNDS_S: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)


class Durations:
    """A histogram of times in seconds."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """How many were within each bound, but not within the one before; the last: in none."""
        self.total_s = 0.0

    def note(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds
