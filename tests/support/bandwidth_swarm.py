"""Peers that move all that a BandwidthTree lets them, on virtual time."""

import random
from dataclasses import dataclass, field
from math import inf

from torrent_engine.policy.transfer.bandwidth import BandwidthTree, Branch, Leaf

TICK_S = 0.02
WANTED_BYTES = 1 << 20


@dataclass(eq=False)
class Mover:
    """One peer: what it moved, and when."""

    leaf: Leaf
    wanted_bytes: int = WANTED_BYTES
    is_busy: bool = True
    moved: list[tuple[float, int]] = field(default_factory=list)

    def total(self, begin_s: float = -inf, end_s: float = inf) -> int:
        """Return what it moved in a stretch of time."""
        return sum(count for when, count in self.moved if begin_s <= when < end_s)


class Swarm:
    """Torrents, each with some peers, below one limit."""

    def __init__(
        self,
        rate: float,
        *peer_counts: int,
        unit_bytes: int = 1,
        peer_rate: float = 0,
        lag_s: float = 0.004,
    ) -> None:
        self.now = 100.0
        self.tree = BandwidthTree(unit_bytes=unit_bytes)
        self.tree.set_rate(self.tree.root, rate, self.now)
        self.lag_s = lag_s
        """How late timers are, at most."""
        self.rng = random.Random(1)
        self.torrents: list[Branch] = []
        self.movers: list[list[Mover]] = []
        for count in peer_counts:
            self.torrents.append(Branch(0, self.tree.root))
            self.movers.append([])
            for _ in range(count):
                self.add(len(self.torrents) - 1, peer_rate)

    def add(self, torrent: int, rate: float = 0) -> Mover:
        """Let one more peer of a torrent ask."""
        mover = Mover(Leaf(0, self.torrents[torrent]))
        self.tree.set_rate(mover.leaf, rate, self.now)
        self.movers[torrent].append(mover)
        return mover

    @property
    def all(self) -> list[Mover]:
        """All peers of all torrents."""
        return [mover for movers in self.movers for mover in movers]

    def run(self, seconds: float) -> float:
        """Let time pass while all that are busy move what they can; return when it began."""
        begun_s, end_s = self.now, self.now + seconds
        while self.now < end_s:
            self.tree.serve(self.now)
            for mover in self.all:
                self._move(mover)
            delay_s = self.tree.serve(self.now)
            self.now += min(max(delay_s, TICK_S), 0.25) + self.rng.uniform(0, self.lag_s)
        return begun_s

    def _move(self, mover: Mover) -> None:
        leaf = mover.leaf
        if leaf.granted_bytes:
            mover.moved.append((self.now, self.tree.collect(leaf)))
        if not mover.is_busy:
            self.tree.cancel(leaf)
            return
        if leaf.wanted_bytes:
            return
        while granted := self.tree.take(leaf, mover.wanted_bytes, self.now):
            mover.moved.append((self.now, granted))
            if self.tree.root.bucket.unlimited:
                break
        else:
            self.tree.wait(leaf, mover.wanted_bytes, self.now)

    def total(self, torrent: int, begin_s: float = -inf, end_s: float = inf) -> int:
        """Return what a torrent moved in a stretch of time."""
        return sum(mover.total(begin_s, end_s) for mover in self.movers[torrent])

    def moves(self) -> list[tuple[float, int]]:
        """Return all that was moved, oldest first."""
        return sorted(move for mover in self.all for move in mover.moved)


def largest_burst(moves: list[tuple[float, int]], rate: float) -> float:
    """Return the most that moved in any stretch of time beyond what the rate gives it."""
    level = worst = last_s = 0.0
    for when, count in moves:
        level = max(level - (when - last_s) * rate, 0.0) + count
        worst, last_s = max(worst, level), when
    return worst


def worst_error(moves: list[tuple[float, int]], rate: float, window_s: float = 10.0) -> float:
    """Return by which part of it any stretch of ten seconds misses the rate most."""
    first, last, errors = moves[0][0], moves[-1][0], [0.0]
    begin_s = first
    while begin_s + window_s <= last:
        count = sum(count for when, count in moves if begin_s <= when < begin_s + window_s)
        errors.append(abs(count / (rate * window_s) - 1))
        begin_s += 0.7
    assert len(errors) > 1
    return max(errors)
