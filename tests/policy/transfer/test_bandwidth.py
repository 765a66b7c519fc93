"""Limits over all torrents, over each and over each peer: rates, bursts, shares; virtual time."""

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.bandwidth_swarm import Mover, Swarm, largest_burst, worst_error
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.rate import BURST_S
from torrent_engine.policy.transfer.bandwidth import BandwidthTree, Branch, Leaf, turn_bytes

KIB, MIB = 1024, 1024 * 1024
RATES = [20 * KIB, 100 * KIB, MIB, 10 * MIB, 100 * MIB]
SWARMS = [(1,), (10,), (100,), (1, 100), (1, 10, 100)]


# -- rates and bursts ---------------------------------------------------------------------------


@pytest.mark.parametrize("counts", SWARMS, ids=str)
@pytest.mark.parametrize("rate", RATES)
def test_a_limit_over_all_holds_within_3_percent_over_any_10_s(
    rate: int, counts: tuple[int, ...]
) -> None:
    swarm = Swarm(rate, *counts)
    swarm.run(14)
    assert worst_error(swarm.moves(), rate) < 0.03
    assert largest_burst(swarm.moves(), rate) < rate * 0.5


@pytest.mark.parametrize("counts", SWARMS, ids=str)
@pytest.mark.parametrize("rate", [100 * KIB, 10 * MIB])
def test_a_limit_holds_where_only_whole_blocks_move(rate: int, counts: tuple[int, ...]) -> None:
    swarm = Swarm(rate, *counts, unit_bytes=BLOCK_BYTES)
    swarm.run(14)
    assert all(count % BLOCK_BYTES == 0 for _, count in swarm.moves())
    assert worst_error(swarm.moves(), rate) < 0.03
    assert largest_burst(swarm.moves(), rate) < rate * 0.5


def test_near_one_block_a_burst_nothing_of_the_rate_is_lost() -> None:
    """A bucket that holds one block lost what it earned between being full and being asked."""
    rate = 5 * BLOCK_BYTES
    swarm = Swarm(rate, 1, unit_bytes=BLOCK_BYTES, lag_s=0.02)
    begun_s = swarm.run(60)
    assert swarm.total(0) == pytest.approx(rate * (swarm.now - begun_s), rel=0.01)


@pytest.mark.parametrize("peers", [1, 100])
def test_timers_that_are_late_lose_nothing(peers: int) -> None:
    swarm = Swarm(MIB, peers, lag_s=0.15)
    begun_s = swarm.run(30)
    assert swarm.total(0) == pytest.approx(MIB * (swarm.now - begun_s), rel=0.01)


def test_after_a_pause_no_more_than_a_fifth_of_a_second_moves_at_once() -> None:
    swarm = Swarm(MIB, 1, 100)
    swarm.run(1)
    for mover in swarm.all:
        mover.is_busy = False
    swarm.run(60)
    for mover in swarm.all:
        mover.is_busy = True
    resumed_s = swarm.run(12)
    later = [move for move in swarm.moves() if move[0] >= resumed_s]
    assert largest_burst(later, MIB) <= MIB * 0.25
    assert worst_error(later, MIB) < 0.03


@pytest.mark.parametrize("rate", [1, 100, KIB, 20 * KIB, MIB, 10 * MIB, 1000 * MIB])
def test_one_turn_is_a_small_part_of_a_second(rate: int) -> None:
    assert 1 <= turn_bytes(rate) <= max(rate * 0.5, 1)
    if rate > KIB * 10:
        assert turn_bytes(rate) <= rate * 0.05


# -- shares -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [100 * KIB, MIB, 10 * MIB])
@pytest.mark.parametrize("unit_bytes", [1, BLOCK_BYTES])
def test_a_torrent_with_100_peers_gets_no_more_than_one_with_a_single_peer(
    rate: int, unit_bytes: int
) -> None:
    swarm = Swarm(rate, 1, 100, 10, unit_bytes=unit_bytes)
    begun_s = swarm.run(40)
    third = rate * (swarm.now - begun_s) / 3
    assert [swarm.total(each) for each in range(3)] == pytest.approx([third] * 3, rel=0.03)


@pytest.mark.parametrize("count", [2, 10, 100])
def test_peers_of_one_torrent_get_the_same(count: int) -> None:
    swarm = Swarm(10 * MIB, count, unit_bytes=BLOCK_BYTES)
    swarm.run(20)
    totals = [mover.total() for mover in swarm.all]
    assert max(totals) - min(totals) <= 2 * BLOCK_BYTES


def test_what_one_torrent_does_not_want_others_get() -> None:
    swarm = Swarm(10 * MIB, 1, 100)
    swarm.movers[1][0].is_busy = False
    for mover in swarm.movers[0]:
        mover.is_busy = False
    begun_s = swarm.run(10)
    assert swarm.total(1) == pytest.approx(10 * MIB * (swarm.now - begun_s), rel=0.03)
    swarm.movers[0][0].is_busy = True
    back_s = swarm.run(10)
    half = 5 * MIB * (swarm.now - back_s)
    assert swarm.total(0, back_s) == pytest.approx(half, rel=0.03)  # not what it missed before


def test_at_a_low_rate_peers_finish_one_block_after_the_other() -> None:
    swarm = Swarm(32 * KIB, 10)
    begun_s = swarm.run(10)
    whole = 0
    for second in range(1, 10):
        blocks = sum(
            mover.total(end_s=begun_s + second) // BLOCK_BYTES for mover in swarm.movers[0]
        )
        assert blocks >= 2 * second - 2
        whole = max(whole, blocks)
    assert whole >= 16


def test_shares_are_counted_in_bytes_not_in_turns() -> None:
    swarm = Swarm(2 * MIB, 1)
    swarm.torrents.append(Branch(0, swarm.tree.root))
    swarm.movers.append([])
    for _ in range(40):  # slow peers, of which a turn is a few KiB
        swarm.add(1, 50 * KIB)
    begun_s = swarm.run(20)
    half = MIB * (swarm.now - begun_s)
    assert [swarm.total(0), swarm.total(1)] == pytest.approx([half, half], rel=0.03)


def test_who_was_away_has_no_claim_on_what_others_got_meanwhile() -> None:
    swarm = Swarm(MIB, 1, 1)
    (first,), (second,) = swarm.movers
    second.is_busy = False
    swarm.run(10)
    first.is_busy = False
    swarm.run(1)
    second.is_busy = True
    swarm.run(0.1)  # alone at first, and so at once
    first.is_busy = True
    begun_s = swarm.run(5)
    assert first.total(begun_s) == pytest.approx(second.total(begun_s), rel=0.03)


def test_a_torrent_below_its_share_leaves_the_rest_to_others() -> None:
    swarm = Swarm(10 * MIB, 5, 5)
    swarm.tree.set_rate(swarm.torrents[0], MIB, swarm.now)
    begun_s = swarm.run(20)
    lasted_s = swarm.now - begun_s
    assert swarm.total(0) == pytest.approx(MIB * lasted_s, rel=0.03)
    assert swarm.total(1) == pytest.approx(9 * MIB * lasted_s, rel=0.03)


def test_limits_of_peers_hold_and_the_rest_goes_to_their_neighbours() -> None:
    swarm = Swarm(10 * MIB, 10, peer_rate=100 * KIB)
    fast = swarm.add(0)
    begun_s = swarm.run(20)
    lasted_s = swarm.now - begun_s
    for mover in swarm.movers[0][:10]:
        assert worst_error(mover.moved, 100 * KIB) < 0.03
        assert largest_burst(mover.moved, 100 * KIB) < 50 * KIB
    assert fast.total() == pytest.approx((10 * MIB - MIB + 24 * KIB) * lasted_s, rel=0.03)


def test_three_levels_at_once_each_hold() -> None:
    swarm = Swarm(4 * MIB, 3, 20, peer_rate=MIB)
    swarm.tree.set_rate(swarm.torrents[1], 2 * MIB, swarm.now)
    begun_s = swarm.run(20)
    lasted_s = swarm.now - begun_s
    assert swarm.total(0) == pytest.approx(2 * MIB * lasted_s, rel=0.03)
    assert swarm.total(1) == pytest.approx(2 * MIB * lasted_s, rel=0.03)
    assert max(mover.total() for mover in swarm.all) <= MIB * (lasted_s + BURST_S) + BLOCK_BYTES


def test_who_asks_now_and_then_is_served_as_soon_as_it_is_its_turn() -> None:
    """A peer that wants little does not wait behind all that others want."""
    swarm = Swarm(MIB, 50, 1)
    rare = swarm.movers[1][0]
    rare.wanted_bytes, rare.is_busy = BLOCK_BYTES, False
    swarm.run(3)
    for _ in range(20):
        rare.is_busy, before = True, len(rare.moved)
        asked_s = swarm.run(0.07)
        rare.is_busy = False
        swarm.run(0.3)
        assert rare.moved[before][0] <= asked_s + 0.06


# -- changes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"), [(10 * MIB, 100 * KIB), (100 * KIB, 10 * MIB), (MIB, 50 * KIB), (0, MIB)]
)
@pytest.mark.parametrize("level", ["all", "torrent", "peer"])
def test_a_changed_limit_holds_at_once(old: int, new: int, level: str) -> None:
    swarm = Swarm(100 * MIB, 1)
    node = {"all": swarm.tree.root, "torrent": swarm.torrents[0], "peer": swarm.all[0].leaf}[level]
    swarm.tree.set_rate(node, old, swarm.now)
    swarm.run(3)
    swarm.tree.set_rate(node, new, swarm.now)
    changed_s = swarm.run(15)
    later = [move for move in swarm.moves() if move[0] >= changed_s]
    assert later[0][0] <= changed_s + 0.5  # no debt of the old rate is paid at the new one
    assert worst_error(later, new) < 0.03
    assert largest_burst(later, new) < new * 0.5


def test_who_waits_when_a_limit_is_lifted_gets_all() -> None:
    tree = BandwidthTree(KIB)
    leaf = Leaf(0, Branch(0, tree.root))
    assert tree.take(leaf, MIB, 0.0) == 0
    assert tree.wait(leaf, MIB, 0.0) > 0
    tree.set_rate(tree.root, 0, 0.0)
    tree.serve(0.0)
    assert tree.collect(leaf) == MIB
    assert not tree.waits or tree.serve(0.0) == inf
    assert tree.take(leaf, MIB, 0.0) == MIB


# -- debts, cancels, what is given back ---------------------------------------------------------


def test_a_block_may_move_on_credit_and_the_next_waits_for_it() -> None:
    tree = BandwidthTree(4 * KIB, unit_bytes=BLOCK_BYTES)
    leaf = Leaf(0, Branch(0, tree.root))
    tree.take(leaf, BLOCK_BYTES, 0.0)
    assert tree.take(leaf, 10 * BLOCK_BYTES, 0.1) == BLOCK_BYTES
    assert tree.take(leaf, BLOCK_BYTES, 0.2) == 0
    assert tree.wait(leaf, BLOCK_BYTES, 0.2) == pytest.approx(3.8, abs=0.01)
    assert tree.serve(3.9) == pytest.approx(0.1, abs=0.01)
    assert leaf.granted_bytes == 0
    tree.serve(4.1)
    assert tree.collect(leaf) == BLOCK_BYTES


def waiting(tree: BandwidthTree, count: int, now: float) -> list[Leaf]:
    """Return peers of one torrent that all wait."""
    torrent = Branch(0, tree.root)
    leaves = [Leaf(0, torrent) for _ in range(count)]
    for leaf in leaves:
        assert tree.take(leaf, BLOCK_BYTES, now) == 0
        tree.wait(leaf, BLOCK_BYTES, now)
    return leaves


def test_who_waits_no_more_gets_nothing_and_delays_nobody() -> None:
    tree = BandwidthTree(10 * BLOCK_BYTES, unit_bytes=BLOCK_BYTES)
    first, second, third = waiting(tree, 3, 0.0)
    tree.cancel(first)
    tree.serve(0.05)
    assert (first.granted_bytes, second.granted_bytes) == (0, BLOCK_BYTES)
    tree.cancel(second)  # after it was served: all levels have it back
    assert tree.root.bucket.available(0.05) == pytest.approx(BLOCK_BYTES / 2)
    tree.serve(0.05)
    assert third.granted_bytes == BLOCK_BYTES
    tree.cancel(third)
    assert tree.serve(0.05) == inf
    assert not tree.waits


def test_who_is_served_is_told_once() -> None:
    tree = BandwidthTree(10 * BLOCK_BYTES)
    (leaf,) = waiting(tree, 1, 0.0)
    told: list[int] = []
    leaf.on_granted = lambda: told.append(leaf.granted_bytes)
    assert tree.serve(0.0) > 0
    assert told == []
    tree.serve(0.15)
    granted = tree.collect(leaf)
    assert told == [granted]
    assert leaf.on_granted is None
    tree.serve(0.3)
    assert told == [granted]


def test_what_did_not_move_is_had_by_others_and_counts_for_nobody() -> None:
    tree = BandwidthTree(MIB)
    torrent = Branch(0, tree.root)
    idle, busy = Leaf(0, torrent), Leaf(0, torrent)
    tree.take(idle, 1, 0.0)
    for turn in range(1, 100):
        now = turn * 0.1
        granted = tree.take(idle, MIB, now)
        tree.give_back(idle, granted)  # it had nothing to move
        assert tree.take(busy, MIB, now) == granted > 0
    assert idle.served_bytes <= busy.served_bytes


def test_without_a_limit_all_is_granted_and_nobody_waits() -> None:
    tree = BandwidthTree()
    leaf = Leaf(0, Branch(0, tree.root))
    assert leaf.rate_bytes_per_s == 0
    assert tree.take(leaf, 10**12, 0.0) == 10**12
    assert tree.serve(0.0) == inf
    tree.set_rate(leaf, KIB, 0.0)
    assert leaf.rate_bytes_per_s == KIB
    tree.set_rate(tree.root, 10, 0.0)
    assert leaf.rate_bytes_per_s == 10


# -- the law ------------------------------------------------------------------------------------

RATE = st.sampled_from([0, KIB, 30 * KIB, 500 * KIB, 10 * MIB])


class Meter:
    """What passed at one level, beyond its rate, since the limit was last changed."""

    def __init__(self, room: float, now: float) -> None:
        self.room, self.level, self.at_s = room, 0.0, now

    def pass_time(self, rate: float, now: float) -> None:
        self.level = max(self.level - (now - self.at_s) * rate, 0.0)
        self.at_s = now


class AnyUse(RuleBasedStateMachine):
    """Never more than rate x time and a burst passes at any level, and nobody waits for ever."""

    @initialize(
        unit=st.sampled_from([1, BLOCK_BYTES]), rates=st.lists(RATE, min_size=9, max_size=9)
    )
    def begin(self, unit: int, rates: list[int]) -> None:
        self.now, self.unit = 0.0, unit
        self.tree = BandwidthTree(unit_bytes=unit)
        torrents = [Branch(0, self.tree.root) for _ in range(3)]
        self.movers = [Mover(Leaf(0, torrents[number % 3])) for number in range(5)]
        self.nodes = [self.tree.root, *torrents, *(mover.leaf for mover in self.movers)]
        self.meters = {}
        for node, rate in zip(self.nodes, rates, strict=True):
            self.tree.set_rate(node, rate, 0.0)
            self.meters[node] = Meter(self.room(rate), 0.0)

    def room(self, rate: int) -> float:
        """Return how far beyond its rate a level may get."""
        return rate * BURST_S + max(turn_bytes(rate), self.unit) + 1 if rate else inf

    def moved(self, leaf: Leaf, count: int) -> None:
        for node in leaf.path:
            meter = self.meters[node]
            meter.pass_time(node.bucket.rate_bytes_per_s, self.now)
            meter.level = max(meter.level + count, 0.0)

    @rule(seconds=st.floats(0.0, 3.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(who=st.integers(0, 4), wanted=st.integers(1, 2 * MIB))
    def ask(self, who: int, wanted: int) -> None:
        leaf = self.movers[who].leaf
        if leaf.wanted_bytes or leaf.granted_bytes:
            return
        granted = self.tree.take(leaf, max(wanted, self.unit), self.now)
        assert 0 <= granted <= max(wanted, self.unit)
        self.moved(leaf, granted)
        if not granted:
            self.tree.wait(leaf, max(wanted, self.unit), self.now)

    @rule()
    def serve(self) -> None:
        before = {mover.leaf: mover.leaf.granted_bytes for mover in self.movers}
        wanted = {mover.leaf: mover.leaf.wanted_bytes for mover in self.movers}
        self.tree.serve(self.now)
        for leaf, had in before.items():
            assert leaf.granted_bytes - had <= wanted[leaf]
            self.moved(leaf, leaf.granted_bytes - had)

    @rule(who=st.integers(0, 4))
    def collect(self, who: int) -> None:
        leaf = self.movers[who].leaf
        if leaf.granted_bytes:
            assert self.tree.collect(leaf) > 0

    @rule(who=st.integers(0, 4))
    def cancel(self, who: int) -> None:
        leaf = self.movers[who].leaf
        self.moved(leaf, -leaf.granted_bytes)
        self.tree.cancel(leaf)
        assert (leaf.wanted_bytes, leaf.granted_bytes) == (0, 0)

    @rule(where=st.integers(0, 8), rate=RATE)
    def change(self, where: int, rate: int) -> None:
        node = self.nodes[where]
        self.tree.set_rate(node, rate, self.now)
        self.meters[node] = Meter(self.room(rate), self.now)

    @invariant()
    def no_level_is_over_its_limit(self) -> None:
        assert all(meter.level <= meter.room for meter in getattr(self, "meters", {}).values())

    def teardown(self) -> None:
        for _ in range(200):
            delay_s = self.tree.serve(self.now) if hasattr(self, "tree") else inf
            if delay_s == inf:
                break
            self.now += delay_s + 0.001
        else:
            raise AssertionError("somebody waits for ever")
        assert all(not mover.leaf.wanted_bytes for mover in getattr(self, "movers", ()))


AnyUse.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestAnyUse = AnyUse.TestCase
