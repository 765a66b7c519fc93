"""The congestion window (LEDBAT).

Source: BEP 29, RFC 6817. The window keeps the queuing delay near a target, so that other traffic,
which fills queues further, has precedence. Ours: above the target the window shrinks by a share of
itself, not by a packet; and a loss counts as congestion only with queuing delay or at a high loss
rate, because loss on radio links is no sign of a queue.
"""

from typing import Final

INITIAL_WINDOW_BYTES: Final = 16 * 1024  # about what TCP begins with (RFC 6928)
MIN_WINDOW_PACKETS: Final = 2  # RFC 6817
SLOW_START_END: Final = 0.25  # ours: share of the target delay at which doubling ends
GROWTH: Final = 1 / 32  # ours: maximum growth in a round trip, without delay
MAX_SHRINK: Final = 0.5  # ours: maximum shrinkage in a round trip
SIGNIFICANT: Final = 0.15  # ours: share of the target delay that counts as a queue
MIN_TARGET: Final = 0.2  # ours: minimum of the target, if buffers are small
RECOVERY: Final = 0.012  # ours: recovery of the target in a second
HIGH_LOSS: Final = 0.1  # ours: share of packets; above it the window does not grow
MAX_LOSS: Final = 0.25  # ours: share of packets; above it every loss counts
LOSS_MEMORY: Final = 1 / 16  # ours: weight of a new sample of the loss rate


class CongestionWindow:
    """The window of one connection."""

    __slots__ = (
        "_full_target_s",
        "_loss",
        "_max_bytes",
        "_target_s",
        "_threshold_bytes",
        "window_bytes",
    )

    def __init__(self, target_s: float, max_bytes: int) -> None:
        self._full_target_s = target_s
        self._target_s = target_s
        self._max_bytes = max_bytes
        self._threshold_bytes = float("inf")
        self._loss = 0.0
        self.window_bytes = float(INITIAL_WINDOW_BYTES)

    @property
    def is_slow_start(self) -> bool:
        """Whether the window still doubles with each round trip."""
        return self.window_bytes < self._threshold_bytes

    def delivered(
        self, count: int, queueing_s: float, min_rtt_s: float, packet_bytes: int, *, is_used: bool
    ) -> None:
        """Count acknowledged bytes; ``is_used``: the window was the limit."""
        self._target_s += (self._full_target_s - self._target_s) * (
            RECOVERY * min_rtt_s * min(count / self.window_bytes, 1.0)
        )
        load = queueing_s / self._target_s
        if self.is_slow_start and (load > SLOW_START_END or self._loss > HIGH_LOSS):
            self._threshold_bytes = self.window_bytes
        if load > 1:
            excess = (queueing_s - self._target_s) / (queueing_s + min_rtt_s)
            self.window_bytes -= count * min(excess, MAX_SHRINK)
            self._hold(packet_bytes)
        elif not is_used or self._loss > HIGH_LOSS:
            return
        elif self.is_slow_start:
            self.window_bytes = min(self.window_bytes + count, self._max_bytes)
        else:
            step = max(packet_bytes, self.window_bytes * GROWTH) * (1 - load)
            grown = self.window_bytes + step * count / self.window_bytes
            self.window_bytes = min(grown, self._max_bytes)

    def lost(self, share: float, queueing_s: float, min_rtt_s: float, packet_bytes: int) -> None:
        """Reduce the window by the share of the packets of one round trip that was lost."""
        self._loss += (share - self._loss) * LOSS_MEMORY
        is_queue = queueing_s > self._full_target_s * SIGNIFICANT
        if not is_queue and self._loss < MAX_LOSS:
            return
        if is_queue:
            target_s = max(queueing_s / 4, self._full_target_s * MIN_TARGET)
            self._target_s = min(self._target_s, target_s)
        kept = min_rtt_s / (min_rtt_s + queueing_s) if is_queue else 0.0
        self.window_bytes *= max(kept, 1 - MAX_SHRINK)
        self._hold(packet_bytes)

    def timed_out(self, queueing_s: float, packet_bytes: int) -> None:
        """Restart after a timeout; without queuing delay the earlier window is soon regained."""
        is_queue = queueing_s > self._full_target_s * SIGNIFICANT
        threshold = self.window_bytes * (MAX_SHRINK if is_queue else 1)
        self.window_bytes = 0.0
        self._hold(packet_bytes)
        self._threshold_bytes = max(threshold, self.window_bytes)

    def _hold(self, packet_bytes: int) -> None:
        self.window_bytes = max(self.window_bytes, MIN_WINDOW_PACKETS * packet_bytes)
        self._threshold_bytes = self.window_bytes
