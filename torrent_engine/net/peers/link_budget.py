"""Budgets shared by all connections: control messages, and memory of incomplete ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torrent_engine.base.config import WireLimits
from torrent_engine.policy.limits.control_budget import ControlAllowance, shared_bucket
from torrent_engine.protocol.wire.upload_queue import RequestBudget


class Holder(Protocol):
    """A link whose memory is counted."""

    def end(self, reason: str) -> None:
        """End it."""


@dataclass(frozen=True, slots=True)
class _Share:
    """The memory that one link holds, and since when."""

    count_bytes: int
    since_s: float


class _Memory:
    """Memory of all links for one purpose; the worst link is closed above the limit."""

    def __init__(
        self, limit_bytes: int, blame: Callable[[_Share, float], tuple[float, float]], reason: str
    ) -> None:
        self._limit_bytes = limit_bytes
        self._blame = blame
        self._reason = reason
        self._shares: dict[Holder, _Share] = {}
        self.held_bytes = 0

    def hold(self, link: Holder, count_bytes: int, now: float) -> None:
        """Set the memory of a link; 0 removes it."""
        before = self._shares.pop(link, None)
        self.held_bytes += count_bytes - (0 if before is None else before.count_bytes)
        if count_bytes:
            self._shares[link] = _Share(count_bytes, now if before is None else before.since_s)
        while self.held_bytes > self._limit_bytes:
            worst = max(self._shares, key=lambda each: self._blame(self._shares[each], now))
            self.held_bytes -= self._shares.pop(worst).count_bytes
            worst.end(self._reason)


def _size_and_age(share: _Share, now: float) -> tuple[float, float]:
    """Rank by size and age: honest long messages are rare and soon complete."""
    return share.count_bytes * (now - share.since_s), share.count_bytes


def _size(share: _Share, now: float) -> tuple[float, float]:
    """Rank by size: honest bitfields are as long as the torrent needs."""
    return share.count_bytes, now - share.since_s


class LinkBudget:
    """The shared budgets; above a memory limit the worst link is closed."""

    def __init__(self, limits: WireLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self.requests = RequestBudget()
        """The block requests of all peers that wait."""
        self._control = shared_bucket(limits)
        reason = "incomplete messages take too much memory"
        self._unfinished = _Memory(limits.max_unfinished_bytes, _size_and_age, reason)
        reason = "bitfields take too much memory before the metadata is known"
        self._early = _Memory(limits.max_pre_metadata_bytes, _size, reason)

    @property
    def held_bytes(self) -> int:
        """Memory of incomplete messages, beyond the usual receive buffers."""
        return self._unfinished.held_bytes

    @property
    def early_bytes(self) -> int:
        """Memory of bitfields received before the metadata."""
        return self._early.held_bytes

    def allowance(self) -> ControlAllowance:
        """Return the control message allowance of a new link."""
        return ControlAllowance(self._limits, self._control)

    def hold(self, link: Holder, count_bytes: int) -> None:
        """Set the memory of a link's incomplete message; 0 removes it."""
        self._unfinished.hold(link, count_bytes, self._clock())

    def hold_early(self, link: Holder, count_bytes: int) -> None:
        """Set the memory of a link's bitfield before the metadata; 0 removes it."""
        self._early.hold(link, count_bytes, self._clock())
