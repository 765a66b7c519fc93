"""A rate limit for each operator of addresses; ``now`` must not run backwards."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from torrent_engine.base.operators import operator_of

MAX_OPERATORS: Final = 10_000  # ours: about 1 MiB; the least recently seen is forgotten first


class OperatorRates:
    """A token bucket for each operator (an IPv4 address, an IPv6 /64); it starts full.

    ``key_of`` returns what shares a bucket with an address, if it is not the operator.
    """

    def __init__(
        self,
        per_s: float,
        burst: float,
        *,
        max_operators: int = MAX_OPERATORS,
        key_of: Callable[[str], str] = operator_of,
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._max = max_operators
        self._key_of = key_of
        self._seen: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Operator -> (tokens left, time of that count)."""

    def __len__(self) -> int:
        """Return how many operators are remembered."""
        return len(self._seen)

    def take(self, host: str, now: float) -> bool:
        """Count an event and return True, or return False if it exceeds the limit."""
        if not self._per_s:
            return True
        key = self._key_of(host)
        left = self._left(key, now)
        if left < 1.0:
            return False
        self._seen[key] = left - 1.0, now
        self._seen.move_to_end(key)
        if len(self._seen) > self._max:
            self._seen.popitem(last=False)
        return True

    def delay_s(self, host: str, now: float) -> float:
        """Return the seconds until :meth:`take` returns True."""
        if not self._per_s:
            return 0.0
        return max(1.0 - self._left(self._key_of(host), now), 0.0) / self._per_s

    def _left(self, key: str, now: float) -> float:
        known = self._seen.get(key)
        if known is None:
            return self._burst
        left, since_s = known
        return min(left + (now - since_s) * self._per_s, self._burst)
