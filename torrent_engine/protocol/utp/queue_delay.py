"""The queuing delay of our packets, measured by the peer's clock.

Source: BEP 29 and LEDBAT (RFC 6817). The clocks differ, so only differences count; the minimum of
the last minutes is taken as the delay without queues ("base delay").
"""

from collections import deque
from typing import Final

from torrent_engine.protocol.utp.packet import MASK_32

BUCKET_S: Final = 60.0  # RFC 6817: a minimum for each minute
BUCKETS: Final = 10  # RFC 6817: minutes of history
RECENT_SAMPLES: Final = 4  # RFC 6817: the minimum of the last few filters jitter
MIN_ROUND_S: Final = 0.03  # ours: shorter variations are jitter, such as scheduling delays
_HALF: Final = 1 << 31


class QueueDelay:
    """Base delay and current delay of one direction."""

    __slots__ = (
        "_bucket_ends_s",
        "_buckets",
        "_least_us",
        "_origin_us",
        "_recent",
        "_round_ends_s",
        "queueing_s",
        "standing_s",
    )

    def __init__(self) -> None:
        self._origin_us: int | None = None
        self._buckets: deque[int] = deque(maxlen=BUCKETS)
        self._recent: deque[int] = deque(maxlen=RECENT_SAMPLES)
        self._bucket_ends_s = float("-inf")
        self._least_us = (0, 0)  # minimum of the last round trip, and of this one so far
        self._round_ends_s = float("-inf")
        self.queueing_s = 0.0
        """Current delay above the base delay."""
        self.standing_s = 0.0
        """Minimum delay above the base delay in the last one or two round trips."""

    def measure(self, sample_us: int, now: float, round_trip_s: float = 0.0) -> None:
        """Process the "timestamp difference" of a packet, 32 bits; it may wrap around."""
        if self._origin_us is None:
            self._origin_us = sample_us
        delay_us = ((sample_us - self._origin_us + _HALF) & MASK_32) - _HALF
        self._recent.append(delay_us)
        if now >= self._bucket_ends_s:
            self._buckets.append(delay_us)
            self._bucket_ends_s = now + BUCKET_S
        elif delay_us < self._buckets[-1]:
            self._buckets[-1] = delay_us
        last_us, least_us = self._least_us
        if now >= self._round_ends_s:
            last_us, least_us = least_us, delay_us
            self._round_ends_s = now + max(round_trip_s, MIN_ROUND_S)
        self._least_us = last_us, min(least_us, delay_us)
        base_us = min(self._buckets)
        self.queueing_s = max(min(self._recent) - base_us, 0) * 1e-6
        self.standing_s = max(min(self._least_us) - base_us, 0) * 1e-6
