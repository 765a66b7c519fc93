"""Rate limits of the messages without payload: one for each link, and a shared one.

Handling a message of five bytes takes as long as receiving 16 KiB of payload: without a limit, one
peer that sends 20 kB/s of them would occupy the event loop. A link over its limit is not read for a
while; TCP then slows the peer down, and nothing is lost.
"""

from typing import Final

from torrent_engine.base.config import WireLimits
from torrent_engine.policy.rate import TokenBucket

PAYLOAD_BYTES_PER_UNIT: Final = 8 * 1024
"""Ours: every 8 KiB of payload, in either direction, earn a unit. A leech sends one "have" for each
piece, and pieces have at least 16 KiB, so a peer that exchanges payload with us is never held
back."""
FIRST_UNITS: Final = 256  # ours: small, so that reconnecting gains nothing
MAX_EARNED_UNITS: Final = 30_000  # ours: 240 MiB, a quarter of a second of the fastest link


def shared_bucket(limits: WireLimits) -> TokenBucket:
    """Return the bucket that the links of a process share once their own is empty."""
    per_s = limits.max_shared_control_units_per_s
    return _bucket(per_s, per_s, first_units=per_s)


class ControlAllowance:
    """The remaining allowance of one link; ``now`` must not run backwards."""

    __slots__ = ("_own", "_shared", "_spent_bytes")

    def __init__(self, limits: WireLimits, shared: TokenBucket) -> None:
        per_s, burst = limits.max_control_units_per_s, limits.control_burst_units
        self._own = _bucket(per_s, burst, first_units=min(burst, FIRST_UNITS))
        self._shared = shared
        self._spent_bytes = 0

    def charge(self, units: int, moved_bytes: int, now: float) -> float:
        """Charge ``units``; return for how many seconds the link must not be read.

        ``moved_bytes`` is the payload of the link so far, both directions together.
        """
        earned = min((moved_bytes - self._spent_bytes) // PAYLOAD_BYTES_PER_UNIT, MAX_EARNED_UNITS)
        paid = min(earned, units)
        self._spent_bytes = moved_bytes - (earned - paid) * PAYLOAD_BYTES_PER_UNIT
        units -= paid
        units -= self._own.take(units, now)
        units -= self._shared.take(units, now)
        self._own.charge(units, now)
        return self._own.delay_s(0, now)


def _bucket(units_per_s: float, burst_units: int, *, first_units: int) -> TokenBucket:
    bucket = TokenBucket(units_per_s, burst_units)
    bucket.give_back(first_units)
    return bucket
