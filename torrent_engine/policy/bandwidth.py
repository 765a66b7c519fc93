"""Owns who may move bytes of a limited rate next: all, below that each torrent, below that peers.

A tree of token buckets for one direction. Whoever is over a limit waits; those who wait are served
a turn each, in the order of what they had so far, first among torrents and then among the peers
of one: a torrent with 100 peers gets no more than one with a single peer, if both want more.

A turn may leave a bucket in debt, and the next waits until that is paid. So nothing of a rate is
lost to waiting until a whole block is allowed. Times are seconds of a clock that does not run
backwards; rates are bytes per second, 0 is unlimited.
"""

from heapq import heappop, heappush
from math import ceil, inf, isinf
from typing import TYPE_CHECKING, Final

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.rate import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_S: Final = 0.05  # ours: of a low rate, what may move in one turn
MIN_TURN_BYTES: Final = 256  # ours: less is not worth a system call, but for rates still lower
TURNS_PER_S: Final = 640  # ours: a turn is a block up to 10 MiB/s; above, this many are enough
MAX_TURN_BYTES: Final = 256 * 1024


class Branch:
    """One limit and those below it: the whole process, a torrent, or a single peer (Leaf)."""

    __slots__ = (
        "_parent",
        "bucket",
        "had_bytes",
        "is_queued",
        "is_short",
        "path",
        "queue",
        "queued",
        "turn_bytes",
        "turn_started_bytes",
    )

    def __init__(self, rate_bytes_per_s: float, parent: "Branch | None" = None) -> None:
        self.bucket = TokenBucket(rate_bytes_per_s)
        self.turn_bytes = turn_bytes(rate_bytes_per_s)
        self.path: tuple[Branch, ...] = (self, *(parent.path if parent is not None else ()))
        """This one, then what is above it."""
        self.turn_started_bytes = 0.0
        """Of those below: what the one that was served last had before."""
        self.had_bytes = 0.0
        """What it had, as its neighbours count; who comes back begins where they are now."""
        self.queue: list[tuple[tuple[float, float], int, Branch]] = []
        """Those below that wait, but for those set aside in the present round.

        First who had fewest blocks, and of those who had most of the next one: a block is worth
        nothing before it is whole.
        """
        self.queued = 0
        """How many are in the queue or set aside."""
        self.is_queued = False
        self.is_short = False
        """It ran out while somebody waited: nobody may take what is meant for those."""

    @property
    def waits(self) -> bool:
        """Whether anybody waits here or below."""
        return self.queued > 0

    @property
    def rate_bytes_per_s(self) -> float:
        """The lowest limit from here up; 0 if there is none."""
        rates = [node.bucket.rate_bytes_per_s for node in self.path]
        return min((rate for rate in rates if rate), default=0.0)


class Leaf(Branch):
    """One who moves bytes: a peer, in one direction."""

    __slots__ = ("granted_bytes", "on_granted", "wanted_bytes")

    def __init__(self, rate_bytes_per_s: float, parent: Branch) -> None:
        super().__init__(rate_bytes_per_s, parent)
        self.wanted_bytes = 0
        """What it waits for; 0: it does not."""
        self.granted_bytes = 0
        """What it got while it waited, and did not collect yet."""
        self.on_granted: Callable[[], None] | None = None
        """Told once when there is something to collect."""

    @property
    def waits(self) -> bool:
        """Whether it waits."""
        return self.wanted_bytes > 0


def turn_bytes(rate_bytes_per_s: float) -> int:
    """Return how much of a rate may move in one turn: a block, less of a low rate."""
    if not rate_bytes_per_s:
        return MAX_TURN_BYTES
    most = max(BLOCK_BYTES, min(rate_bytes_per_s / TURNS_PER_S, MAX_TURN_BYTES))
    least = max(min(MIN_TURN_BYTES, rate_bytes_per_s / 2), 1)
    return int(min(max(rate_bytes_per_s * TURN_S, least), most))


class BandwidthTree:
    """The limits of one direction, and who waits for them."""

    def __init__(self, rate_bytes_per_s: float = 0, *, unit_bytes: int = 1) -> None:
        self.root = Branch(rate_bytes_per_s)
        self._unit_bytes = unit_bytes
        """No turn is less: what must move as a whole."""
        self._aside: list[tuple[Branch, Branch]] = []
        self._served: dict[Leaf, None] = {}
        self._delay_s = inf
        self._count = 0

    @property
    def waits(self) -> bool:
        """Whether anybody waits."""
        return self.root.waits

    def set_rate(self, node: Branch, rate_bytes_per_s: float, now: float) -> None:
        """Change a limit; then :meth:`serve`, for some may go now."""
        node.bucket.set_rate(rate_bytes_per_s, now)
        node.turn_bytes = turn_bytes(rate_bytes_per_s)

    # -- one who moves bytes --------------------------------------------------------------------

    def take(self, leaf: Leaf, wanted_bytes: int, now: float) -> int:
        """Return how many bytes may move now, at most ``wanted_bytes``; 0 while others wait."""
        turn = self._turn_bytes(leaf)
        least = inf
        for node in leaf.path:
            available = 0.0 if node.is_short else node.bucket.available(now)
            if available <= 0:
                return 0
            least = min(least, available)
        if not isinf(least):
            wanted_bytes = min(wanted_bytes, ceil(least / turn) * turn)
        for node, parent in zip(leaf.path, leaf.path[1:], strict=False):
            node.had_bytes = max(node.had_bytes, parent.turn_started_bytes)
            parent.turn_started_bytes = node.had_bytes
        self._charge(leaf, wanted_bytes, now)
        return wanted_bytes

    def wait(self, leaf: Leaf, wanted_bytes: int, now: float) -> float:
        """Let who got nothing from :meth:`take` wait; return the seconds until it may be served.

        ``on_granted`` is called then, and :meth:`collect` has what it got.
        """
        leaf.wanted_bytes, delay_s = wanted_bytes, 0.0
        for node, parent in zip(leaf.path, leaf.path[1:], strict=False):
            if not node.is_queued:
                self._push(parent, node)
                parent.queued += 1
                node.is_queued = True
        for node in leaf.path:
            if node.bucket.available(now) <= 0:
                node.is_short = True
                delay_s = max(delay_s, node.bucket.delay_s(1, now))
        return delay_s

    def collect(self, leaf: Leaf) -> int:
        """Return what one who waited got; it waits no more."""
        granted, leaf.granted_bytes = leaf.granted_bytes, 0
        leaf.wanted_bytes, leaf.on_granted = 0, None
        return granted

    def give_back(self, leaf: Leaf, count_bytes: int) -> None:
        """Return what was granted and did not move."""
        if count_bytes:
            for node in leaf.path:
                node.had_bytes -= count_bytes
                if not node.bucket.unlimited:
                    node.bucket.give_back(count_bytes)

    def cancel(self, leaf: Leaf) -> None:
        """Let one wait no more and want nothing of what it got."""
        self.give_back(leaf, self.collect(leaf))

    # -- those who wait -------------------------------------------------------------------------

    def serve(self, now: float) -> float:
        """Serve those who wait as far as it goes; return the seconds until it is worth a try again.

        Infinite if nobody waits.
        """
        self._delay_s = inf
        while self._serve(self.root, now):
            pass
        for parent, child in self._aside:
            self._push(parent, child)
        self._aside.clear()
        served, self._served = self._served, {}
        for leaf in served:
            leaf.wanted_bytes = 0
            if leaf.on_granted is not None:
                leaf.on_granted()
        return self._delay_s if self.waits else inf

    def _serve(self, node: Branch, now: float) -> int:
        """Give one turn to who has had least; return its bytes, 0 if nobody can be served."""
        if not node.waits:
            node.is_short = False
            return 0
        node.is_short = node.bucket.available(now) <= 0
        if node.is_short:
            self._delay_s = min(self._delay_s, node.bucket.delay_s(1, now))
            return 0
        if isinstance(node, Leaf):
            return self._grant(node, now)
        while node.queue:
            _, _, child = heappop(node.queue)
            had_bytes = child.had_bytes
            if granted := self._serve(child, now):
                node.turn_started_bytes = max(node.turn_started_bytes, had_bytes)
                self._put_back(node, child)
                return granted
            self._put_aside(node, child)
        return 0

    def _grant(self, leaf: Leaf, now: float) -> int:
        granted = min(leaf.wanted_bytes, self._turn_bytes(leaf))
        leaf.wanted_bytes -= granted
        leaf.granted_bytes += granted
        self._served[leaf] = None
        self._charge(leaf, granted, now)
        return granted

    def _charge(self, leaf: Leaf, count_bytes: int, now: float) -> None:
        for node in leaf.path:
            node.had_bytes += count_bytes
            node.bucket.charge(count_bytes, now)

    def _turn_bytes(self, leaf: Leaf) -> int:
        turn, unit = min([node.turn_bytes for node in leaf.path]), self._unit_bytes
        return max(turn - turn % unit, unit)

    def _push(self, parent: Branch, child: Branch) -> None:
        if not child.is_queued:
            child.had_bytes = max(child.had_bytes, parent.turn_started_bytes)
        self._count += 1  # of two that had the same, who came first
        blocks, part = divmod(child.had_bytes, BLOCK_BYTES)
        heappush(parent.queue, ((blocks, -part), self._count, child))

    def _put_back(self, parent: Branch, child: Branch) -> None:
        """Queue one again that had its turn, if it has more to wait for."""
        if child.waits:
            self._push(parent, child)
        else:
            self._leave(parent, child)

    def _put_aside(self, parent: Branch, child: Branch) -> None:
        """Leave one out of this round that cannot be served now, if it still waits."""
        if child.waits:
            self._aside.append((parent, child))
        else:
            self._leave(parent, child)

    def _leave(self, parent: Branch, child: Branch) -> None:
        child.is_queued = False
        child.is_short = False
        parent.queued -= 1
