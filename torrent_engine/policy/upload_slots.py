"""How many peers our seed unchokes at once: as many as it takes to use what we may send.

A slot whose peer takes nothing, or next to nothing, uses nothing up: others are unchoked beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.peer_view import PeerView

SETTLED_S: Final = 2.0  # ours: a peer that was unchoked for so long takes what it can
USED_SHARE: Final = 0.5  # ours: of the mean; a slot that takes less than this is not used
SPARE_SHARE: Final = 0.8  # ours: of a limit; below that some of it is left
TRIAL_S: Final = 4.0  # ours: as long more slots are tried where no limit is known
TRIAL_GAIN: Final = 1.2  # ours: so much more must be sent then
TRIAL_PAUSE_S: Final = 60.0  # ours: after a trial in vain
MAX_EXTRA_SLOTS: Final = 1_000
GROWTH_INTERVAL_S: Final = 1.0
SHRINK_DIVISOR: Final = 4  # ours: the part of the extra slots that ends where they bring nothing


@dataclass(frozen=True, slots=True)
class UploadLoad:
    """What is sent now, and what may be."""

    bytes_per_s: float = 0.0
    limit_bytes_per_s: float = 0.0
    """0: no limit is known."""
    is_short: bool = False
    """Somebody waits for the limit."""

    @property
    def has_spare(self) -> bool:
        """Whether a limit is known and part of it stays unused."""
        limit = self.limit_bytes_per_s
        return limit > 0 and self.bytes_per_s < SPARE_SHARE * limit and not self.is_short


@dataclass(frozen=True, slots=True)
class _Trial:
    """More slots for a few seconds, and what there was before."""

    extra_before: int
    bytes_per_s: float
    ends_s: float


class UploadSlots:
    """The number of slots of a seed; it doubles while that has uses.

    That is: most slots stay unused, a known limit does, or the last doubling brought more.
    """

    def __init__(self, config: ChokerConfig) -> None:
        self._config = config
        self._extra = 0
        self._least = 0
        self._next_growth_s = self._next_fall_s = self._next_trial_s = float("-inf")
        self._trial: _Trial | None = None

    def count(self, peers: Sequence[PeerView], load: UploadLoad, now: float) -> int:
        """Return how many are to be unchoked now; ask once a second, or more often.

        Apart from trials the number falls once a rechoke interval at most, so that no peer is
        choked because the rate wavers.
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
        if is_falling:
            self._next_fall_s = now + self._config.rechoke_interval_s
            self._least = 0
        self._least = max(self._least, base + self._extra)
        return self._least

    def _grow(self, base: int) -> None:
        self._extra = min(max(2 * self._extra, base), MAX_EXTRA_SLOTS)

    def _judge_trial(self, trial: "_Trial", load: UploadLoad, now: float) -> bool:
        """Return whether a trial of more slots failed: the uplink is used up without a limit."""
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
    """Return how many slots an upload rate can feed; never less than configured.

    Grows with the square root: 8 slots at 100 KiB/s, 25 at 1 MiB/s, 78 at 10 MiB/s.
    """
    return max(config.upload_slots, math.isqrt(int(upload_bytes_per_s * 0.6 / 1024)))
