"""The round-trip time estimate, and the retransmission timeout.

Source: BEP 29, with TCP's calculation (RFC 6298).
"""

from typing import Final

FIRST_RTO_S: Final = 1.0  # RFC 6298: before the first measurement
MIN_WINDOW_S: Final = 300.0  # ours: window of the minimum; it lasts up to twice that


class RoundTrip:
    """Round-trip times of one connection, in seconds."""

    __slots__ = (
        "_max_rto_s",
        "_min_rto_s",
        "_minima",
        "_next_minimum_s",
        "_variance_s",
        "latest_s",
        "min_s",
        "rto_s",
        "smoothed_s",
    )

    def __init__(self, min_rto_s: float, max_rto_s: float) -> None:
        self._min_rto_s = min_rto_s
        self._max_rto_s = max_rto_s
        self._variance_s = 0.0
        self._minima = (float("inf"), float("inf"))
        self._next_minimum_s = 0.0
        self.smoothed_s = 0.0
        """0 before the first measurement."""
        self.latest_s = 0.0
        self.min_s = 0.0
        """Minimum of the last minutes: the path without queues."""
        self.rto_s = max(FIRST_RTO_S, min_rto_s)
        """Retransmission timeout."""

    def measure(self, sample_s: float, now: float) -> None:
        """Add the round-trip time of a packet that was not retransmitted."""
        sample_s = max(sample_s, 1e-6)
        self.latest_s = sample_s
        if self.smoothed_s:
            self._variance_s += (abs(sample_s - self.smoothed_s) - self._variance_s) / 4
            self.smoothed_s += (sample_s - self.smoothed_s) / 8
        else:
            self.smoothed_s, self._variance_s = sample_s, sample_s / 2
        wanted_s = self.smoothed_s + 4 * self._variance_s
        self.rto_s = min(max(wanted_s, self._min_rto_s), self._max_rto_s)
        if now >= self._next_minimum_s:
            self._minima = (self._minima[1], sample_s)
            self._next_minimum_s = now + MIN_WINDOW_S
        elif sample_s < self._minima[1]:
            self._minima = (self._minima[0], sample_s)
        self.min_s = min(self._minima)
