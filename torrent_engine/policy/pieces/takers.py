"""How much each peer takes from a super-seed (BEP 16), by what was sent to it, not by its word."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LOOK_S: Final = 0.25  # ours: the peers are compared at most this often; 200 take 0.1 ms
SMALL_SHARE: Final = 1 / 8  # ours: of what the peer takes that takes most; less counts as nothing


@dataclass(slots=True)
class _Taker:
    """What was sent to one peer."""

    uploaded_bytes: Callable[[], int]
    seen_bytes: int
    recent_bytes: float = 0.0
    """Halved with each ``halving_s``."""
    took_s: float | None = None
    """When it was last seen to have taken something."""


class Takers:
    """What the peers take; the times are those of the last :meth:`look`."""

    def __init__(self, halving_s: float) -> None:
        self._halving_s = max(halving_s, LOOK_S)
        self._takers: dict[object, _Taker] = {}
        self._looked_s: float | None = None
        self._sole: object | None = None

    def joined(self, key: object, uploaded_bytes: Callable[[], int]) -> None:
        """Add a peer; ``uploaded_bytes`` returns how much we sent to it."""
        self._takers[key] = _Taker(uploaded_bytes, uploaded_bytes())

    def left(self, key: object) -> None:
        """Remove a peer."""
        self._takers.pop(key, None)
        if self._sole == key:
            self._sole = None

    def look(self, now: float) -> None:
        """Look at all peers, if that was not done just before."""
        if self._looked_s is not None and now - self._looked_s < LOOK_S:
            return
        passed_s = now - (now if self._looked_s is None else self._looked_s)
        kept, self._looked_s = 0.5 ** (passed_s / self._halving_s), now
        most, second, first = 0.0, 0.0, None
        for key, taker in self._takers.items():
            uploaded_bytes = taker.uploaded_bytes()
            taken_bytes, taker.seen_bytes = uploaded_bytes - taker.seen_bytes, uploaded_bytes
            taker.recent_bytes = taker.recent_bytes * kept + taken_bytes
            if taken_bytes:
                taker.took_s = now
            if taker.recent_bytes > most:
                most, second, first = taker.recent_bytes, most, key
            else:
                second = max(second, taker.recent_bytes)
        self._sole = first if second < SMALL_SHARE * most else None

    def is_sole(self, key: object) -> bool:
        """Return whether a peer takes something, and the others next to nothing beside it."""
        return self._sole is not None and key == self._sole

    def is_taking(self, key: object, within_s: float, now: float) -> bool:
        """Return whether a peer took something within this time."""
        took_s = self._takers[key].took_s
        return took_s is not None and now - took_s < within_s
