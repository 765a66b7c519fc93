"""The number of upload slots of a seed: as many as it takes to use its upload capacity.

Slots whose peers download next to nothing leave capacity unused; more peers are then unchoked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.transfer.peer_view import PeerView

SETTLED_S: Final = 2.0  # ours: after this time a peer has reached its rate
USED_SHARE: Final = 0.5  # ours: of the mean rate of a slot; one below it is unused
SPARE_SHARE: Final = 0.8  # ours: of a limit; below it, capacity is spare
TRIAL_S: Final = 4.0  # ours: the length of a trial with more slots, without a known limit
TRIAL_GAIN: Final = 1.2  # ours: the rate must grow by this factor in a trial
TRIAL_PAUSE_S: Final = 60.0  # ours: after a trial that failed
MAX_EXTRA_SLOTS: Final = 1_000
GROWTH_INTERVAL_S: Final = 1.0
SHRINK_DIVISOR: Final = 4  # ours: one part in this many of useless extra slots is dropped


@dataclass(frozen=True, slots=True)
class UploadLoad:
    """The upload rate, and its limit."""

    bytes_per_s: float = 0.0
    limit_bytes_per_s: float = 0.0
    """0: no limit is known."""
    is_exhausted: bool = False
    """A peer waits for the rate limit."""

    @property
    def has_spare(self) -> bool:
        """Whether a known limit is partly unused."""
        limit = self.limit_bytes_per_s
        return limit > 0 and self.bytes_per_s < SPARE_SHARE * limit and not self.is_exhausted


@dataclass(frozen=True, slots=True)
class _Trial:
    """A trial with more slots, and the state before it."""

    extra_before: int
    bytes_per_s: float
    ends_s: float


class UploadSlots:
    """The number of upload slots of a seed.

    It doubles while most slots are unused, a known limit is not reached, or the last doubling
    raised the rate.
    """

    def __init__(self, config: ChokerConfig) -> None:
        self._config = config
        self._extra = 0
        self._least = 0
        self._next_growth_s = self._next_fall_s = self._next_trial_s = float("-inf")
        self._trial: _Trial | None = None

    def count(self, peers: Sequence[PeerView], load: UploadLoad, now: float) -> int:
        """Return the number of slots now; call it at least once a second.

        Except after trials the number falls at most once a rechoke interval, so that no peer is
        choked because the rate fluctuates.
        """
        base = slots_for_rate(self._config, load.bytes_per_s)
        is_falling = now >= self._next_fall_s
        waits = any(peer.wants_slot and not peer.unchoked for peer in peers)
        if now >= self._next_growth_s and waits and self._is_unused(peers, load, now):
            self._next_growth_s = now + GROWTH_INTERVAL_S
            self._grow(base)
        elif self._trial is not None:
            is_falling = self._judge_trial(self._trial, load, now) or is_falling
        elif waits and not load.limit_bytes_per_s and now >= self._next_trial_s:
            self._trial = _Trial(self._extra, load.bytes_per_s, now + TRIAL_S)
            self._grow(base)
        elif is_falling and load.limit_bytes_per_s and not load.has_spare:
            self._extra -= -(-self._extra // SHRINK_DIVISOR)
        return self._steady(base + self._extra, now, is_falling=is_falling)

    def count_for_rate(self, bytes_per_s: float, now: float) -> int:
        """Return the number of slots while we download; it falls as that of :meth:`count` does."""
        self._extra, self._trial = 0, None
        slots = slots_for_rate(self._config, bytes_per_s)
        return self._steady(slots, now, is_falling=now >= self._next_fall_s)

    def _steady(self, slots: int, now: float, *, is_falling: bool) -> int:
        if is_falling:
            self._next_fall_s = now + self._config.rechoke_interval_s
            self._least = 0
        self._least = max(self._least, slots)
        return self._least

    def _grow(self, base: int) -> None:
        self._extra = min(max(2 * self._extra, base), MAX_EXTRA_SLOTS)

    def _judge_trial(self, trial: "_Trial", load: UploadLoad, now: float) -> bool:
        """Return whether a trial of more slots failed: the uplink itself is saturated."""
        if now < trial.ends_s:
            return False
        self._trial = None
        if load.bytes_per_s > trial.bytes_per_s * TRIAL_GAIN:
            return False
        extra = min(trial.extra_before, self._extra)
        self._extra = extra - -(-extra // SHRINK_DIVISOR)
        self._next_trial_s = now + TRIAL_PAUSE_S
        return True

    @staticmethod
    def _is_unused(peers: Sequence[PeerView], load: UploadLoad, now: float) -> bool:
        """Return whether most of the slots, or part of the limit, are unused."""
        settled = [p for p in peers if p.unchoked and now - p.unchoked_since_s >= SETTLED_S]
        if not settled or load.has_spare:
            return bool(settled)
        least = USED_SHARE * sum(peer.upload_bytes_per_s for peer in settled) / len(settled)
        return 2 * sum(peer.upload_bytes_per_s > least for peer in settled) < len(settled)


def slots_for_rate(config: ChokerConfig, upload_bytes_per_s: float) -> int:
    """Return how many slots an upload rate can serve; never fewer than configured.

    Grows with the square root: 8 slots at 100 KiB/s, 25 at 1 MiB/s, 78 at 10 MiB/s.
    """
    return max(config.upload_slots, math.isqrt(int(upload_bytes_per_s * 0.6 / 1024)))
