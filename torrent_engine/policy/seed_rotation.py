"""Decides which seed goes first where not all of them may run: they take turns.

A seed that runs stays for its turn. After that its place goes to one that waits: to whoever waited
longest, but what a seed has given counts against it, so that with a share ratio of 1 it waits twice
as long as with 0. As every wait counts for more in the end, every seed gets its turn.
"""

from collections.abc import Collection, Hashable
from typing import Final

MAX_RATIO: Final = 9.0  # ours: with this share ratio, or a higher one, turns are ten times as rare


class SeedRotation:
    """Remembers who runs, and who waits, since when; ``now`` must not run backwards."""

    def __init__(self, turn_s: float) -> None:
        self._turn_s = max(turn_s, 1.0)
        self._running_since: dict[Hashable, float] = {}
        self._waiting_since: dict[Hashable, float] = {}

    def rank(self, key: Hashable, ratio: float, now: float, *, is_running: bool) -> float:
        """Return how urgent it is that a seed runs, or goes on to run: lower ones go first.

        Negative: the part of its turn that is left. Else what it gave, divided by how long it
        waits.
        """
        given = 1.0 + min(max(ratio, 0.0), MAX_RATIO)
        if is_running:
            self._waiting_since.pop(key, None)
            turn = (now - self._running_since.setdefault(key, now)) / self._turn_s
            return turn - 1.0 if turn < 1.0 else given
        self._running_since.pop(key, None)
        return given / (1.0 + (now - self._waiting_since.setdefault(key, now)) / self._turn_s)

    def keep_only(self, keys: Collection[Hashable]) -> None:
        """Forget all seeds but these, all of which are known."""
        if len(self._running_since) + len(self._waiting_since) > len(keys):
            for since in (self._running_since, self._waiting_since):
                for key in since.keys() - keys:
                    del since[key]
