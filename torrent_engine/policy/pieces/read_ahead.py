"""The read-ahead window of a streaming reader: its size and the deadlines inside it.

The window is what is read in a few seconds; after a seek it starts small, because further seeks
often follow.
"""

from typing import Final

from torrent_engine.base.config import ReaderConfig
from torrent_engine.policy.rate import RateMeter

GROWTH: Final = 2  # ours: the window grows to this multiple of the bytes since the last seek


class ReadAhead:
    """The window of one reader, which follows its read rate."""

    __slots__ = ("_config", "_rate", "_sequential_bytes")

    def __init__(self, config: ReaderConfig) -> None:
        self._config = config
        self._rate = RateMeter()
        self._sequential_bytes = 0

    def read(self, count_bytes: int, now: float) -> None:
        """Record that the reader continued from its last position."""
        self._rate.add(count_bytes, now)
        self._sequential_bytes += count_bytes

    def seeked(self) -> None:
        """Record that the reader seeked to another position."""
        self._sequential_bytes = 0

    def window_bytes(self, now: float) -> int:
        """Return the bytes to fetch beyond the position of the reader."""
        config = self._config
        by_speed = int(self._rate.rate(now) * config.read_ahead_s)
        in_a_row = config.min_read_ahead_bytes + GROWTH * self._sequential_bytes
        bounded = min(by_speed, in_a_row, config.max_read_ahead_bytes)
        return max(bounded, config.min_read_ahead_bytes)

    def deadlines(self, distances_bytes: dict[int, int], now: float) -> dict[int, float]:
        """Return when the reader will reach each piece, given its distance in bytes."""
        pace = max(self._rate.rate(now), self._config.assumed_bytes_per_s)
        return {piece: now + distance / pace for piece, distance in distances_bytes.items()}
