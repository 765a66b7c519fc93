"""Throttle of one peer or web seed in one direction."""

from collections.abc import Callable
from typing import Final, Protocol

import anyio

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.net.peers.peer_link import Throttle
from torrent_engine.policy.transfer.bandwidth import BandwidthTree, Leaf

PACE_BELOW: Final = 10 * BLOCK_BYTES  # ours: of rates at which a block takes over a tenth of 1 s
PACE_AHEAD: Final = 1.25  # ours: a block is out before the next is allowed, also if timers are late


class Throttled(Protocol):
    """What receives payload."""

    download_throttle: Throttle | None
    """None while nothing limits it."""

    def __hash__(self) -> int:
        """Return a hash by identity."""


class ThrottledUpload(Throttled, Protocol):
    """What receives and sends payload."""

    upload_throttle: Throttle | None


class RateThrottle:
    """Takes the share of one leaf of the tree."""

    __slots__ = ("_clock", "_on_wait", "_tree", "leaf")

    def __init__(
        self,
        tree: BandwidthTree,
        leaf: Leaf,
        clock: Callable[[], float],
        on_wait: Callable[[float], None],
    ) -> None:
        self.leaf = leaf
        self._tree = tree
        self._clock = clock
        self._on_wait = on_wait

    @property
    def pace_bytes_per_s(self) -> float:
        """How fast a single block may leave; 0: at once."""
        rate = self.leaf.rate_bytes_per_s
        return rate * PACE_AHEAD if rate < PACE_BELOW else 0.0

    def take(self, wanted_bytes: int) -> int:
        """Return how many bytes may move now; 0: await :meth:`acquire`."""
        return self._tree.take(self.leaf, wanted_bytes, self._clock())

    async def acquire(self, wanted_bytes: int) -> int:
        """Return how many bytes may move, waiting for one at least; for one task at a time."""
        granted = self.take(wanted_bytes)
        while not granted:
            granted = await self._granted(wanted_bytes) or self.take(wanted_bytes)
        return granted

    async def _granted(self, wanted_bytes: int) -> int:
        """Wait for a turn; return what was granted, 0 after a :meth:`move`."""
        leaf, event = self.leaf, anyio.Event()
        leaf.on_granted = event.set
        self._on_wait(self._tree.wait(leaf, wanted_bytes, self._clock()))
        try:
            await event.wait()
        except BaseException:
            self.cancel()
            raise
        return self._tree.collect(self.leaf)

    def give_back(self, count_bytes: int) -> None:
        """Return what was granted and did not move."""
        self._tree.give_back(self.leaf, count_bytes)

    def cancel(self) -> None:
        """Cancel a pending request; what was granted is returned."""
        self._tree.cancel(self.leaf)

    def move(self, tree: BandwidthTree, leaf: Leaf) -> None:
        """Take the share of another leaf from now on; who waits asks again there."""
        wake = self.leaf.on_granted
        self.cancel()
        self._tree, self.leaf = tree, leaf
        if wake is not None:
            wake()
