"""What all links of a process share: time for small messages, memory for unfinished ones."""

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
    """What one link takes for an unfinished message."""

    count_bytes: int
    since_s: float


class LinkBudget:
    """Gives each link its part, and ends who takes too much."""

    def __init__(self, limits: WireLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._control = shared_bucket(limits)
        self._shares: dict[Holder, _Share] = {}
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What unfinished messages of all links take, beyond their usual receive buffers."""
        return self._held_bytes

    def allowance(self) -> ControlAllowance:
        """Return what a new link may cost beside payload."""
        return ControlAllowance(self._limits, self._control)

    def hold(self, link: Holder, count_bytes: int) -> None:
        """Note what a link takes now; 0: nothing any more.

        While it is too much together, the link is ended that has taken most for longest: honest
        messages of that length are few and soon whole.
        """
        now, before = self._clock(), self._shares.pop(link, None)
        self._held_bytes += count_bytes - (0 if before is None else before.count_bytes)
        if count_bytes:
            self._shares[link] = _Share(count_bytes, now if before is None else before.since_s)
        while self._held_bytes > self._limits.max_unfinished_bytes:
            worst = max(self._shares, key=lambda each: self._blame(self._shares[each], now))
            self._held_bytes -= self._shares.pop(worst).count_bytes
            worst.end("unfinished messages take too much memory")

    @staticmethod
    def _blame(share: _Share, now: float) -> tuple[float, int]:
        return share.count_bytes * (now - share.since_s), share.count_bytes
