"""Fair sharing of a limited rate: globally, by torrent, and by peer.

A tree of token buckets for one direction. Consumers over a limit are queued and served one turn at
a time, the one with the fewest bytes so far first (start-time fair queueing): first among torrents,
then among the peers of a torrent. A torrent with 100 peers therefore gets no more than one with a
single peer if both want more.

A turn may overdraw a bucket; the next turn then waits until the balance is positive again. No part
of a rate is lost while waiting for a whole block's worth of tokens. Times are seconds of a
monotonic clock; rates are bytes per second, 0 is unlimited.
"""

from heapq import heappop, heappush
from math import ceil, inf, isinf
from typing import TYPE_CHECKING, Final

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.rate import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

TURN_S: Final = 0.05  # ours: the length of one turn at a low rate
MIN_TURN_BYTES: Final = 256  # ours: less is not worth a system call; lower at very low rates
TURNS_PER_S: Final = 640  # ours: a turn is one block up to 10 MiB/s, larger above
MAX_TURN_BYTES: Final = 256 * 1024


class Branch:
    """A node of the tree, with its limit: the process, a torrent, or a single peer (Leaf)."""

    __slots__ = (
        "_parent",
        "bucket",
        "is_exhausted",
        "is_queued",
        "path",
        "queue",
        "queued",
        "served_bytes",
        "turn_bytes",
        "virtual_time_bytes",
    )

    def __init__(self, rate_bytes_per_s: float, parent: "Branch | None" = None) -> None:
        self.bucket = TokenBucket(rate_bytes_per_s)
        self.turn_bytes = turn_bytes(rate_bytes_per_s)
        self.path: tuple[Branch, ...] = (self, *(parent.path if parent is not None else ()))
        """This node, then its ancestors up to the root."""
        self.virtual_time_bytes = 0.0
        """Virtual time: the ``served_bytes`` of the child served last, before its turn."""
        self.served_bytes = 0.0
        """Bytes served, for comparison with the siblings.

        A consumer that was idle continues from the virtual time of its parent, so that idle time
        earns no credit.
        """
        self.queue: list[tuple[tuple[float, float], int, Branch]] = []
        """Heap of the waiting children, except those deferred in the present round.

        The child with the fewest whole blocks comes first; of equal ones the child that is closest
        to completing its next block, because an incomplete block is of no use to the receiver.
        """
        self.queued = 0
        """Number of children in the queue or deferred."""
        self.is_queued = False
        self.is_exhausted = False
        """The bucket is empty while consumers wait: new tokens are reserved for them."""

    @property
    def waits(self) -> bool:
        """Whether any consumer waits here or below."""
        return self.queued > 0

    @property
    def rate_bytes_per_s(self) -> float:
        """The lowest limit from here up; 0 if there is none."""
        rates = [node.bucket.rate_bytes_per_s for node in self.path]
        return min((rate for rate in rates if rate), default=0.0)


class Leaf(Branch):
    """One consumer: a peer, in one direction."""

    __slots__ = ("granted_bytes", "on_granted", "wanted_bytes")

    def __init__(self, rate_bytes_per_s: float, parent: Branch) -> None:
        super().__init__(rate_bytes_per_s, parent)
        self.wanted_bytes = 0
        """Bytes it waits for; 0 if it does not wait."""
        self.granted_bytes = 0
        """Bytes granted while it waited and not yet collected."""
        self.on_granted: Callable[[], None] | None = None
        """Called once when there is something to collect."""

    @property
    def waits(self) -> bool:
        """Whether it waits."""
        return self.wanted_bytes > 0


def turn_bytes(rate_bytes_per_s: float) -> int:
    """Return the bytes of one turn: a block, less at a low rate, more at a high one."""
    if not rate_bytes_per_s:
        return MAX_TURN_BYTES
    most = max(BLOCK_BYTES, min(rate_bytes_per_s / TURNS_PER_S, MAX_TURN_BYTES))
    least = max(min(MIN_TURN_BYTES, rate_bytes_per_s / 2), 1)
    return int(min(max(rate_bytes_per_s * TURN_S, least), most))


class BandwidthTree:
    """The limits of one direction, and the queue of consumers."""

    def __init__(self, rate_bytes_per_s: float = 0, *, unit_bytes: int = 1) -> None:
        self.root = Branch(rate_bytes_per_s)
        self._unit_bytes = unit_bytes
        """Every turn is a multiple of this: the unit that is transferred as a whole."""
        self._deferred: list[tuple[Branch, Branch]] = []
        self._served: dict[Leaf, None] = {}
        self._delay_s = inf
        self._count = 0

    @property
    def waits(self) -> bool:
        """Whether anybody waits."""
        return self.root.waits

    def set_rate(self, node: Branch, rate_bytes_per_s: float, now: float) -> None:
        """Change a limit; call :meth:`serve` afterwards, because consumers may be served now."""
        node.bucket.set_rate(rate_bytes_per_s, now)
        node.turn_bytes = turn_bytes(rate_bytes_per_s)

    # -- one consumer ---------------------------------------------------------------------------

    def take(self, leaf: Leaf, wanted_bytes: int, now: float) -> int:
        """Return how many bytes may move now, at most ``wanted_bytes``; 0 while others wait."""
        turn = self._turn_bytes(leaf)
        least = inf
        for node in leaf.path:
            available = 0.0 if node.is_exhausted else node.bucket.available(now)
            if available <= 0:
                return 0
            least = min(least, available)
        if not isinf(least):
            wanted_bytes = min(wanted_bytes, ceil(least / turn) * turn)
        for node, parent in zip(leaf.path, leaf.path[1:], strict=False):
            node.served_bytes = max(node.served_bytes, parent.virtual_time_bytes)
            parent.virtual_time_bytes = node.served_bytes
        self._charge(leaf, wanted_bytes, now)
        return wanted_bytes

    def wait(self, leaf: Leaf, wanted_bytes: int, now: float) -> float:
        """Queue a consumer that :meth:`take` granted nothing; return the seconds until its turn.

        ``on_granted`` is called then, and :meth:`collect` returns what was granted.
        """
        leaf.wanted_bytes, delay_s = wanted_bytes, 0.0
        for node, parent in zip(leaf.path, leaf.path[1:], strict=False):
            if not node.is_queued:
                self._push(parent, node)
                parent.queued += 1
                node.is_queued = True
        for node in leaf.path:
            if node.bucket.available(now) <= 0:
                node.is_exhausted = True
                delay_s = max(delay_s, node.bucket.delay_s(1, now))
        return delay_s

    def collect(self, leaf: Leaf) -> int:
        """Return what a waiting consumer was granted, and end its wait."""
        granted, leaf.granted_bytes = leaf.granted_bytes, 0
        leaf.wanted_bytes, leaf.on_granted = 0, None
        return granted

    def give_back(self, leaf: Leaf, count_bytes: int) -> None:
        """Return granted bytes that were not transferred."""
        if count_bytes:
            for node in leaf.path:
                node.served_bytes -= count_bytes
                if not node.bucket.unlimited:
                    node.bucket.give_back(count_bytes)

    def cancel(self, leaf: Leaf) -> None:
        """Remove a consumer from the queue and return what it was granted to the others."""
        self.give_back(leaf, self.collect(leaf))

    # -- the queue ------------------------------------------------------------------------------

    def serve(self, now: float) -> float:
        """Serve waiting consumers as far as possible; return the seconds until the next call.

        Infinite if nobody waits.
        """
        self._delay_s = inf
        while self._serve(self.root, now):
            pass
        for parent, child in self._deferred:
            self._push(parent, child)
        self._deferred.clear()
        served, self._served = self._served, {}
        for leaf in served:
            leaf.wanted_bytes = 0
            if leaf.on_granted is not None:
                leaf.on_granted()
        return self._delay_s if self.waits else inf

    def _serve(self, node: Branch, now: float) -> int:
        """Serve the consumer with the fewest bytes; return the grant, 0 if none can be served."""
        if not node.waits:
            node.is_exhausted = False
            return 0
        node.is_exhausted = node.bucket.available(now) <= 0
        if node.is_exhausted:
            self._delay_s = min(self._delay_s, node.bucket.delay_s(1, now))
            return 0
        if isinstance(node, Leaf):
            return self._grant(node, now)
        while node.queue:
            _, _, child = heappop(node.queue)
            served_bytes = child.served_bytes
            if granted := self._serve(child, now):
                node.virtual_time_bytes = max(node.virtual_time_bytes, served_bytes)
                self._requeue(node, child)
                return granted
            self._defer(node, child)
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
            node.served_bytes += count_bytes
            node.bucket.charge(count_bytes, now)

    def _turn_bytes(self, leaf: Leaf) -> int:
        turn, unit = min([node.turn_bytes for node in leaf.path]), self._unit_bytes
        return max(turn - turn % unit, unit)

    def _push(self, parent: Branch, child: Branch) -> None:
        if not child.is_queued:
            child.served_bytes = max(child.served_bytes, parent.virtual_time_bytes)
        self._count += 1  # first come, first served among equals
        blocks, part = divmod(child.served_bytes, BLOCK_BYTES)
        heappush(parent.queue, ((blocks, -part), self._count, child))

    def _requeue(self, parent: Branch, child: Branch) -> None:
        """Queue a child again after its turn if it still waits."""
        if child.waits:
            self._push(parent, child)
        else:
            self._dequeue(parent, child)

    def _defer(self, parent: Branch, child: Branch) -> None:
        """Defer a child that cannot be served in this round, if it still waits."""
        if child.waits:
            self._deferred.append((parent, child))
        else:
            self._dequeue(parent, child)

    def _dequeue(self, parent: Branch, child: Branch) -> None:
        child.is_queued = False
        child.is_exhausted = False
        parent.queued -= 1
