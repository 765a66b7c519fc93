"""Whose turn it is to be the sole sender of a piece that another one held up (rows B5 and B6)."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MAX_RECORDS: Final = 2_000  # ours: peers that lost a piece; the oldest are dropped first


class SoleTurns:
    """A queue in which who had a turn in vain is behind all others that wait.

    Whoever comes again, under its own name or another, comes last.
    """

    def __init__(self) -> None:
        self._lost_s: OrderedDict[Hashable, float] = OrderedDict()

    def lost(self, key: Hashable, now: float) -> None:
        """Record that a peer did not send a piece that it alone was to send."""
        self._lost_s.pop(key, None)
        self._lost_s[key] = now
        if len(self._lost_s) > MAX_RECORDS:
            self._lost_s.popitem(last=False)

    def place(self, key: Hashable, connected_s: float, *, is_trusted: bool) -> tuple[bool, float]:
        """Return the place of a peer, the lowest first: by how long it waits for a turn.

        Trusted ones come first until they lose one.
        """
        lost_s = self._lost_s.get(key)
        if lost_s is None:
            return not is_trusted, connected_s
        return True, max(connected_s, lost_s)
