"""The positions of torrents in the queue, from 0.

Lookups use bisection, so that moves are fast with 10,000 torrents.
"""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")

STEP: Final = 1.0  # ours: between the ranks of neighbours that were never moved


class QueuePositions(Generic[Key]):
    """Distinct keys in an order. Positions out of range are clamped."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._order: list[Key] = []
        self._ranks: dict[Key, float] = {}
        for key in keys:
            self.add(key)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._order)

    def __contains__(self, key: object) -> bool:
        """Return whether a key is in the order."""
        return key in self._ranks

    def order(self) -> tuple[Key, ...]:
        """Return all keys, the first of the queue first."""
        return tuple(self._order)

    def position(self, key: Key) -> int:
        """Return the position of a key. Raises KeyError if it is not in the queue."""
        return bisect_left(self._order, self._ranks[key], key=self._ranks.__getitem__)

    def add(self, key: Key, position: int | None = None) -> None:
        """Add a key at a position, by default the end; ignore one that is in the queue."""
        if key not in self._ranks:
            self._insert(key, len(self._order) if position is None else position)

    def remove(self, key: Key) -> None:
        """Remove a key; ignore one that is not in the queue."""
        if key in self._ranks:
            del self._order[self.position(key)]
            del self._ranks[key]

    def move_to(self, key: Key, position: int) -> None:
        """Move a key to a position. Raises KeyError if it is not in the queue."""
        del self._order[self.position(key)]
        del self._ranks[key]
        self._insert(key, position)

    def top(self, key: Key) -> None:
        """Move a key to the front. Raises KeyError if it is not in the queue."""
        self.move_to(key, 0)

    def _insert(self, key: Key, position: int) -> None:
        order, ranks = self._order, self._ranks
        index = min(max(position, 0), len(order))
        before = ranks[order[index - 1]] if index else None
        after = ranks[order[index]] if index < len(order) else None
        rank = _between(before, after)
        order.insert(index, key)
        ranks[key] = rank
        if rank in {before, after}:  # no float is left between the neighbours
            self._ranks = {each: place * STEP for place, each in enumerate(order)}


def _between(before: float | None, after: float | None) -> float:
    if before is None:
        return 0.0 if after is None else after - STEP
    return before + STEP if after is None else (before + after) / 2
