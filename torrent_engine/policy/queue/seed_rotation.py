"""The rotation of seeding torrents when not all of them may be active.

An active seed stays for the length of its turn. Then its slot goes to the seed that has waited
longest, where waiting time is weighted by share ratio: with a ratio of 1 a seed waits twice as long
as with 0. Because waiting time grows without bound, every seed gets its turn.
"""

from collections.abc import Collection, Hashable
from typing import Final

MAX_RATIO: Final = 9.0  # ours: ratios from here on make turns ten times as rare


class SeedRotation:
    """Active and waiting seeds with their times; ``now`` must not run backwards."""

    def __init__(self, turn_s: float) -> None:
        self._turn_s = max(turn_s, 1.0)
        self._running_since: dict[Hashable, float] = {}
        self._waiting_since: dict[Hashable, float] = {}

    def rank(self, key: Hashable, ratio: float, now: float, *, is_running: bool) -> float:
        """Return the rank of a seed for the next decision: lower ranks are active first.

        Negative: the remaining part of its turn. Otherwise its weighted ratio divided by its
        waiting time.
        """
        given = 1.0 + min(max(ratio, 0.0), MAX_RATIO)
        if is_running:
            self._waiting_since.pop(key, None)
            turn = (now - self._running_since.setdefault(key, now)) / self._turn_s
            return turn - 1.0 if turn < 1.0 else given
        self._running_since.pop(key, None)
        return given / (1.0 + (now - self._waiting_since.setdefault(key, now)) / self._turn_s)

    def keep_only(self, keys: Collection[Hashable]) -> None:
        """Remove all seeds but these."""
        if len(self._running_since) + len(self._waiting_since) > len(keys):
            for since in (self._running_since, self._waiting_since):
                for key in since.keys() - keys:
                    del since[key]
