"""Pacing: spreading the packets of a window over a round trip.

Ours: a token bucket filled at slightly more than a window per round trip; its burst lets several
packets leave with one wake-up.
"""

from typing import Final

FACTOR: Final = 1.25
SLOW_START_FACTOR: Final = 2.0
QUANTUM_S: Final = 0.004
"""Wait at least this long, so that a few packets leave together."""
BURST_S: Final = 0.012
"""The burst, as a time at the current rate."""
MIN_BURST_BYTES: Final = 12_000


class Pacer:
    """The credit of one connection."""

    __slots__ = ("_at_s", "_rate", "credit_bytes")

    def __init__(self, now: float) -> None:
        self._at_s = now
        self._rate = 0.0
        self.credit_bytes = float(MIN_BURST_BYTES)
        """May be overdrawn by one packet."""

    def refill(self, now: float, bytes_per_s: float) -> None:
        """Add the credit of the time that has passed; the rate may be infinite."""
        self._rate = bytes_per_s
        most = max(bytes_per_s * BURST_S, MIN_BURST_BYTES)
        if most == float("inf"):
            self.credit_bytes = most
        else:
            self.credit_bytes = min(self.credit_bytes + (now - self._at_s) * bytes_per_s, most)
        self._at_s = now

    def ready_s(self) -> float:
        """Return when there is credit for a few packets."""
        wanted = min(self._rate * QUANTUM_S, MIN_BURST_BYTES)
        return self._at_s + max((wanted - self.credit_bytes) / self._rate, 0.0005)
