"""Which torrents a source of peers is asked about, and when, in virtual time."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from torrent_engine.base.ids import InfoHash
from torrent_engine.policy.peers.discovery_schedule import DiscoverySchedule, RoundIntervals

ONE_BY_ONE = RoundIntervals(
    interval_s=900.0, min_interval_s=60.0, retry_s=5.0, rejoin_s=5.0, turn_s=0.5, burst_turns=4
)
BY_25 = RoundIntervals(
    interval_s=300.0,
    min_interval_s=60.0,
    retry_s=60.0,
    rejoin_s=60.0,
    turn_s=60.0,
    burst_turns=5,
    gather_s=0.2,
    per_turn=25,
)


def torrent(number: int) -> InfoHash:
    return InfoHash(number.to_bytes(20))


class Run:
    """A schedule on a clock of its own; rounds end at once, or after ``round_s``."""

    def __init__(
        self, pace: RoundIntervals, *, empty: Iterable[int] = (), seeds: Iterable[int] = ()
    ) -> None:
        self.schedule = DiscoverySchedule(pace, random.Random(1))
        self.now = 1000.0
        self.turns: list[tuple[float, list[int]]] = []
        self.empty, self.seeds = set(empty), set(seeds)

    def join(self, *numbers: int) -> None:
        for number in numbers:
            needs_peers = number not in self.seeds
            self.schedule.join(torrent(number), needs_peers=needs_peers, now=self.now)

    def until(self, end: float) -> None:
        while (timer := self.schedule.next_timer(now=self.now)) <= end:
            self.now = max(self.now, timer)
            begun = self.schedule.begin(now=self.now)
            if begun:
                self.turns.append((self.now, [int.from_bytes(each) for each in begun]))
            for info_hash in begun:
                number = int.from_bytes(info_hash)
                self.schedule.ended(
                    info_hash,
                    is_empty=number in self.empty,
                    needs_peers=number not in self.seeds,
                    now=self.now,
                )
        self.now = end

    def for_s(self, duration_s: float) -> None:
        self.until(self.now + duration_s)

    def times(self, number: int) -> list[float]:
        return [when for when, numbers in self.turns if number in numbers]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def test_bep5_a_torrent_comes_round_once_an_interval() -> None:
    run = Run(ONE_BY_ONE)
    run.join(1)
    run.for_s(9_000)
    assert run.times(1)[0] == 1000.0  # at once
    assert len(run.times(1)) in {10, 11}
    assert all(800 < gap <= 900 for gap in gaps(run.times(1)))


def test_bep5_after_rounds_that_came_to_nothing_the_next_ones_come_sooner_and_ever_later() -> None:
    run = Run(ONE_BY_ONE, empty=[1])
    run.join(1)
    run.for_s(2_000)
    assert gaps(run.times(1))[:5] == [5.0, 10.0, 20.0, 40.0, 80.0]
    run.empty.clear()
    run.for_s(900)
    assert gaps(run.times(1))[-1] > 800


def test_bep14_a_single_torrent_is_announced_every_five_minutes_and_a_lonely_one_each_minute() -> (
    None
):
    run = Run(BY_25)
    run.join(1)
    run.for_s(3_000)
    assert run.times(1)[0] == 1000.2
    assert all(270 <= gap <= 300 for gap in gaps(run.times(1)))
    lonely = Run(BY_25, empty=[1])
    lonely.join(1)
    lonely.for_s(3_000)
    assert gaps(lonely.times(1))[:2] == [60.0, 120.0]


def test_c6_whatever_is_asked_for_no_torrent_is_announced_twice_a_minute() -> None:
    run = Run(BY_25, empty=range(10))
    rng = random.Random(2)
    run.join(*range(10))
    for _ in range(2_000):
        number = rng.randrange(10)
        if rng.random() < 0.5:
            run.schedule.hurry(torrent(number), now=run.now)
        else:
            run.schedule.leave(torrent(number), now=run.now)
            run.join(number)
        run.for_s(rng.random() * 3)
    for number in range(10):
        assert len(run.times(number)) > 5
        assert min(gaps(run.times(number))) >= 60.0 - 1e-3


def test_c6_datagrams_go_once_a_minute_in_the_long_run_and_five_at_once() -> None:
    run = Run(BY_25)
    run.join(*range(1_000))
    run.for_s(3_600)
    assert len([when for when, _ in run.turns if when < 1010]) == 5
    assert len(run.turns) <= 60 + 5 + 1
    assert all(len(numbers) <= 25 for _, numbers in run.turns)


def test_c6_whoever_asks_again_and_again_gets_no_more_turns() -> None:
    run = Run(BY_25)
    run.join(*range(1_000))
    run.now += 1.0
    turns = [run.schedule.begin(now=run.now) for _ in range(10)]
    assert [len(turn) for turn in turns] == [25] * 5 + [0] * 5


def test_bep5_a_hurried_round_takes_the_place_of_the_next_one() -> None:
    run = Run(ONE_BY_ONE)
    run.join(1)
    run.for_s(500)
    run.schedule.hurry(torrent(1), now=run.now)
    run.for_s(1_300)
    assert gaps(run.times(1))[0] == 500.0
    assert gaps(run.times(1))[1] > 800


def test_bep14_torrents_that_join_together_share_a_datagram_and_stay_together() -> None:
    run = Run(BY_25)
    run.join(*range(20))
    run.for_s(100)
    run.join(*range(20, 25))
    run.for_s(3_600)
    assert [sorted(numbers) for _, numbers in run.turns[:1]] == [list(range(20))]
    assert all(len(numbers) == 25 for _, numbers in run.turns[2:])
    assert len(run.turns) <= 2 + 3_600 // 270


def test_bep14_more_than_fit_come_round_in_turn() -> None:
    run = Run(BY_25)
    run.join(*range(500))
    run.for_s(3_600)
    counts = Counter(number for _, numbers in run.turns for number in numbers)
    assert set(counts) == set(range(500))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_bep5_ten_thousand_torrents_do_not_burst() -> None:
    run = Run(ONE_BY_ONE)
    run.join(*range(10_000))
    run.for_s(5_400)
    times = [when for when, _ in run.turns]
    assert len({number for _, numbers in run.turns for number in numbers}) == 10_000
    assert all(len(numbers) == 1 for _, numbers in run.turns)
    for first, fifth in zip(times, times[5:], strict=False):
        assert fifth - first >= 0.5 * (5 - 4) - 1e-3  # never more than four at once


def test_bep5_a_torrent_in_need_goes_before_ten_thousand_seeds() -> None:
    run = Run(ONE_BY_ONE, seeds=range(10_000))
    run.join(*range(10_000))
    run.for_s(60)
    run.join(20_000)
    run.for_s(5)
    assert run.times(20_000)[0] <= 1061.0
    run.schedule.hurry(torrent(20_000), now=run.now)
    run.for_s(120)
    assert gaps(run.times(20_000)) == [60.0]


def test_bep5_torrents_in_need_of_long_standing_do_not_starve_the_others() -> None:
    run = Run(replace(ONE_BY_ONE, turn_s=20.0), empty=range(50), seeds=range(100, 150))
    run.join(*range(50), *range(100, 150))
    run.for_s(20_000)
    assert all(len(run.times(number)) >= 2 for number in range(100, 150))


def test_bep14_a_torrent_that_left_is_not_announced_any_more() -> None:
    run = Run(BY_25)
    run.join(1, 2)
    run.for_s(1)
    run.schedule.leave(torrent(1), now=run.now)
    run.for_s(3_600)
    assert len(run.times(1)) == 1
    assert len(run.times(2)) > 10
    run.schedule.leave(torrent(2), now=run.now)
    assert run.schedule.next_timer(now=run.now) == float("inf")


def test_bep5_a_torrent_that_comes_back_waits_as_long_as_after_a_failed_round() -> None:
    run = Run(ONE_BY_ONE)
    run.join(1)
    run.for_s(1)
    run.schedule.leave(torrent(1), now=run.now)
    run.join(1)
    run.for_s(10)
    assert gaps(run.times(1)) == [5.0]
    run.schedule.leave(torrent(1), now=run.now)
    run.for_s(10)
    run.join(1)
    run.for_s(0)
    assert run.times(1)[-1] == run.now


def test_joining_and_leaving_for_ever_leaves_nothing_behind() -> None:
    run = Run(BY_25)
    for number in range(5_000):
        run.join(number)
        run.for_s(0.1)
        run.schedule.leave(torrent(number), now=run.now)
    schedule = run.schedule
    run.join(1)
    for _ in range(5_000):
        run.join(2)
        schedule.leave(torrent(2), now=run.now)
    schedule.leave(torrent(1), now=run.now)
    assert len(schedule) == 0
    assert len(schedule._later) + len(schedule._ready) <= 110
    assert len(schedule._left) <= 150


class Schedule(RuleBasedStateMachine):
    """Torrents come, go and hurry in any order; rounds last as long as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = replace(BY_25, per_turn=3, retry_s=20.0, min_interval_s=20.0, rejoin_s=20.0)
        self.schedule = DiscoverySchedule(self.pace, random.Random(3))
        self.now = 0.0
        self.here: set[InfoHash] = set()
        self.busy: set[InfoHash] = set()
        self.began: dict[InfoHash, float] = {}

    @rule(number=st.integers(0, 6), needs_peers=st.booleans())
    def join(self, number: int, *, needs_peers: bool) -> None:
        info_hash = torrent(number)
        if info_hash not in self.here:
            self.schedule.join(info_hash, needs_peers=needs_peers, now=self.now)
            self.here.add(info_hash)

    @rule(number=st.integers(0, 6))
    def leave(self, number: int) -> None:
        info_hash = torrent(number)
        self.schedule.leave(info_hash, now=self.now)
        self.here.discard(info_hash)
        self.busy.discard(info_hash)

    @rule(number=st.integers(0, 6))
    def hurry(self, number: int) -> None:
        self.schedule.hurry(torrent(number), now=self.now)

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def begin(self) -> None:
        for info_hash in self.schedule.begin(now=self.now):
            assert info_hash in self.here
            assert info_hash not in self.busy  # never twice at once
            assert self.now - self.began.get(info_hash, -1e9) >= 20.0 - 1e-6
            self.began[info_hash] = self.now
            self.busy.add(info_hash)

    @precondition(lambda self: self.busy)
    @rule(is_empty=st.booleans(), needs_peers=st.booleans())
    def end(self, *, is_empty: bool, needs_peers: bool) -> None:
        info_hash = min(self.busy)
        self.busy.discard(info_hash)
        self.schedule.ended(info_hash, is_empty=is_empty, needs_peers=needs_peers, now=self.now)

    @invariant()
    def all_that_rest_have_a_timer(self) -> None:
        assert len(self.schedule) == len(self.here)
        assert (self.schedule.next_timer(now=self.now) < float("inf")) == bool(
            self.here - self.busy
        )


Schedule.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSchedule = Schedule.TestCase
