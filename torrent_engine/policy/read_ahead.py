"""Decides how far beyond the place where somebody reads a file is fetched, and by when.

So much as is read in a few seconds; after a jump little at first, for the next one may follow.
"""

from typing import Final

from torrent_engine.base.config import ReaderConfig
from torrent_engine.policy.rate import RateMeter

GROWTH: Final = 2  # ours: what was read in a row since the last jump, so many times


class ReadAhead:
    """Owns the size of one reader's window, which follows how fast it reads."""

    __slots__ = ("_config", "_in_a_row_bytes", "_rate")

    def __init__(self, config: ReaderConfig) -> None:
        self._config = config
        self._rate = RateMeter()
        self._in_a_row_bytes = 0

    def read(self, count_bytes: int, now: float) -> None:
        """Take that the reader got the bytes that follow those before."""
        self._rate.add(count_bytes, now)
        self._in_a_row_bytes += count_bytes

    def jumped(self) -> None:
        """Take that it reads on in another place."""
        self._in_a_row_bytes = 0

    def window_bytes(self, now: float) -> int:
        """Return how many bytes beyond its place are to be fetched."""
        config = self._config
        by_speed = int(self._rate.rate(now) * config.read_ahead_s)
        in_a_row = config.min_read_ahead_bytes + GROWTH * self._in_a_row_bytes
        bounded = min(by_speed, in_a_row, config.max_read_ahead_bytes)
        return max(bounded, config.min_read_ahead_bytes)

    def deadlines(self, distances_bytes: dict[int, int], now: float) -> dict[int, float]:
        """Return by when the reader comes to each piece, from how far beyond its place it is."""
        pace = max(self._rate.rate(now), self._config.assumed_bytes_per_s)
        return {piece: now + distance / pace for piece, distance in distances_bytes.items()}
