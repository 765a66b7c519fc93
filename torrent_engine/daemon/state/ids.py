"""Whole numbers for torrents, as the Transmission protocol has them.

They count from 1, are never used again in one process, and are not kept over a restart.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from torrent_engine.base.ids import InfoHash

MAX_REMOVED: Final = 10_000  # ours: removals that are remembered


class TorrentIds:
    """The number of each torrent, and the numbers that went lately."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = 0
        self._ids: dict[InfoHash, int] = {}
        self._hashes: dict[int, InfoHash] = {}
        self._removed: deque[tuple[float, int]] = deque(maxlen=MAX_REMOVED)

    def give(self, info_hash: InfoHash) -> int:
        """Return the number of a torrent; a new one gets the next."""
        number = self._ids.get(info_hash)
        if number is None:
            self._last = number = self._last + 1
            self._ids[info_hash] = number
            self._hashes[number] = info_hash
        return number

    def find(self, number: int) -> InfoHash | None:
        """Return the torrent of a number; None if there is none."""
        return self._hashes.get(number)

    def remove(self, info_hash: InfoHash) -> None:
        """Take the number of a torrent that is gone."""
        number = self._ids.pop(info_hash, None)
        if number is not None:
            del self._hashes[number]
            self._removed.append((self._clock(), number))

    def removed_within(self, seconds: float) -> list[int]:
        """Return the numbers that went within so many seconds, the oldest first."""
        oldest_s = self._clock() - seconds
        found: list[int] = []
        for gone_s, number in reversed(self._removed):
            if gone_s < oldest_s:
                break
            found.append(number)
        return found[::-1]
