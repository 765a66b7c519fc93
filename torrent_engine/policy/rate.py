"""Rate measurement and token buckets.

Times are seconds of a monotonic clock; rates are bytes per second.
"""

from collections import deque
from typing import Final

BUCKETS_PER_WINDOW: Final = 10  # ours: a window moves in steps of a tenth
MIN_SPAN_S: Final = 1.0  # ours: the shortest span of a rate, so that the first read is no spike
BURST_S: Final = 0.2  # ours: of the rate; any 10 s are then at most 2 % over


class RateMeter:
    """Bytes per second over the last few seconds."""

    __slots__ = ("_bucket_bytes", "_bucket_end", "_bucket_s", "_old", "_old_bytes", "_started")

    def __init__(self, window_s: float = 5.0) -> None:
        self._bucket_s = window_s / BUCKETS_PER_WINDOW
        self._old: deque[int] = deque()
        self._old_bytes = 0
        self._bucket_bytes = 0
        self._bucket_end = float("-inf")
        self._started = 0.0

    def add(self, count_bytes: int, now: float) -> None:
        """Count bytes that were transferred now."""
        if now >= self._bucket_end:
            self._roll(now)
        self._bucket_bytes += count_bytes

    def rate(self, now: float) -> float:
        """Return the bytes per second of the last window, or since the first byte if shorter."""
        if now >= self._bucket_end:
            self._roll(now)
        window_start = self._bucket_end - self._bucket_s * (len(self._old) + 1)
        span_s = max(now - max(self._started, window_start), MIN_SPAN_S)
        return (self._old_bytes + self._bucket_bytes) / span_s

    def _roll(self, now: float) -> None:
        """Start the bucket that ``now`` is in; forget what has left the window."""
        if now - self._bucket_end >= BUCKETS_PER_WINDOW * self._bucket_s:
            self._restart(now)  # the first byte, or the first after a long pause
            return
        steps = int((now - self._bucket_end) // self._bucket_s) + 1
        for _ in range(steps):
            self._old.append(self._bucket_bytes)
            self._old_bytes += self._bucket_bytes
            self._bucket_bytes = 0
            if len(self._old) > BUCKETS_PER_WINDOW:
                self._old_bytes -= self._old.popleft()
        self._bucket_end += steps * self._bucket_s

    def _restart(self, now: float) -> None:
        self._old.clear()
        self._old_bytes = 0
        self._bucket_bytes = 0
        self._bucket_end = now + self._bucket_s
        self._started = now


class TokenBucket:
    """A limit of ``rate_bytes_per_s`` on average and ``burst_bytes`` at once.

    A rate of 0 is unlimited and costs nothing. By default a burst is a fifth of a second's worth.
    """

    __slots__ = ("_burst_bytes", "_changed_at", "_fixed_burst_bytes", "_rate", "_tokens")

    def __init__(self, rate_bytes_per_s: float = 0, burst_bytes: int | None = None) -> None:
        self._fixed_burst_bytes = burst_bytes
        self._changed_at: float | None = None
        self._tokens = 0.0
        self._rate = 0.0
        self._burst_bytes = 0.0
        self._set(rate_bytes_per_s)

    @property
    def rate_bytes_per_s(self) -> float:
        """The limit; 0 is unlimited."""
        return self._rate

    @property
    def unlimited(self) -> bool:
        """Whether there is no limit."""
        return self._rate == 0

    def set_rate(self, rate_bytes_per_s: float, now: float) -> None:
        """Change the limit; the balance stays, limited to one burst in credit or debt."""
        self._refill(now)
        self._set(rate_bytes_per_s)
        self._tokens = max(min(self._tokens, self._burst_bytes), -self._burst_bytes)

    def available(self, now: float) -> float:
        """Return how many bytes may be transferred now; infinite if unlimited, negative in debt."""
        if self._rate == 0:
            return float("inf")
        self._refill(now)
        return self._tokens

    def take(self, count_bytes: int, now: float) -> int:
        """Consume up to ``count_bytes`` and return how many were granted, 0 or more."""
        if self._rate == 0:
            return count_bytes
        self._refill(now)
        granted = min(count_bytes, max(int(self._tokens), 0))
        self._tokens -= granted
        return granted

    def give_back(self, count_bytes: int) -> None:
        """Return granted bytes that were not used."""
        self._tokens = min(self._tokens + count_bytes, self._burst_bytes)

    def charge(self, count_bytes: int, now: float) -> None:
        """Consume all of ``count_bytes``, already transferred; the balance may become negative."""
        if self._rate != 0:
            self._refill(now)
            self._tokens -= count_bytes

    def delay_s(self, count_bytes: int, now: float) -> float:
        """Return the seconds until ``count_bytes``, or a full burst if less, can be taken."""
        if self._rate == 0:
            return 0.0
        self._refill(now)
        return max(min(count_bytes, self._burst_bytes) - self._tokens, 0.0) / self._rate

    def _set(self, rate_bytes_per_s: float) -> None:
        self._rate = max(rate_bytes_per_s, 0.0)
        burst, fixed = self._rate * BURST_S, self._fixed_burst_bytes
        self._burst_bytes = burst if fixed is None else fixed

    def _refill(self, now: float) -> None:
        if self._changed_at is not None and now > self._changed_at:
            earned = (now - self._changed_at) * self._rate
            self._tokens = min(self._tokens + earned, self._burst_bytes)
        if self._changed_at is None or now > self._changed_at:
            self._changed_at = now
