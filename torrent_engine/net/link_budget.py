"""What all links of a process share: time for small messages, memory for what is not used yet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torrent_engine.base.config import WireLimits
from torrent_engine.policy.control_budget import ControlAllowance, shared_bucket


class Holder(Protocol):
    """A link."""

    def end(self, reason: str) -> None:
        """End it."""


@dataclass(frozen=True, slots=True)
class _Share:
    """What one link takes."""

    count_bytes: int
    since_s: float


class _Memory:
    """What links take for one purpose; whoever is to blame most is ended when it is too much."""

    def __init__(
        self, limit_bytes: int, blame: Callable[[_Share, float], tuple[float, float]], reason: str
    ) -> None:
        self._limit_bytes = limit_bytes
        self._blame = blame
        self._reason = reason
        self._shares: dict[Holder, _Share] = {}
        self.held_bytes = 0

    def hold(self, link: Holder, count_bytes: int, now: float) -> None:
        """Note what a link takes now; 0: nothing any more."""
        before = self._shares.pop(link, None)
        self.held_bytes += count_bytes - (0 if before is None else before.count_bytes)
        if count_bytes:
            self._shares[link] = _Share(count_bytes, now if before is None else before.since_s)
        while self.held_bytes > self._limit_bytes:
            worst = max(self._shares, key=lambda each: self._blame(self._shares[each], now))
            self.held_bytes -= self._shares.pop(worst).count_bytes
            worst.end(self._reason)


def _size_and_age(share: _Share, now: float) -> tuple[float, float]:
    """Blame who took most for longest: honest messages of that length are few and soon whole."""
    return share.count_bytes * (now - share.since_s), share.count_bytes


def _size(share: _Share, now: float) -> tuple[float, float]:
    """Blame who takes most: an honest bitfield is as long as the torrent needs."""
    return share.count_bytes, now - share.since_s


class LinkBudget:
    """Gives each link its part, and ends who takes too much."""

    def __init__(self, limits: WireLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._control = shared_bucket(limits)
        reason = "unfinished messages take too much memory"
        self._unfinished = _Memory(limits.max_unfinished_bytes, _size_and_age, reason)
        reason = "what peers have takes too much memory before the metadata is there"
        self._early = _Memory(limits.max_early_bytes, _size, reason)

    @property
    def held_bytes(self) -> int:
        """What unfinished messages of all links take, beyond their usual receive buffers."""
        return self._unfinished.held_bytes

    @property
    def early_bytes(self) -> int:
        """What is held of pieces that peers have, where it is not known how many there are."""
        return self._early.held_bytes

    def allowance(self) -> ControlAllowance:
        """Return what a new link may cost beside payload."""
        return ControlAllowance(self._limits, self._control)

    def hold(self, link: Holder, count_bytes: int) -> None:
        """Note what a link's unfinished message takes now; 0: nothing any more."""
        self._unfinished.hold(link, count_bytes, self._clock())

    def hold_early(self, link: Holder, count_bytes: int) -> None:
        """Note what is held of the pieces that a link's peer has; 0: nothing any more."""
        self._early.hold(link, count_bytes, self._clock())
