"""Who runs when not all may: limits, positions, slow torrents, seeds that take turns."""

import random
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import QueueConfig
from torrent_engine.policy.queue.torrent_queue import QueueEntry, TorrentQueue

FAST, SLOW = 1e6, 0.0
ONE_EACH = QueueConfig(max_active_downloads=1, max_active_seeds=1)


def entry(key: str, position: int = 0, **changes: Any) -> QueueEntry:
    """Return a fast download."""
    return QueueEntry(key, position, rate_bytes_per_s=FAST)._replace(**changes)


class World:
    """Torrents that do what the queue says."""

    def __init__(self, config: QueueConfig, entries: Iterable[QueueEntry]) -> None:
        self.queue = TorrentQueue(config)
        self.entries = {each.key: each for each in entries}
        self.now = 0.0
        self.moves = 0

    def change(self, key: Hashable, **changes: Any) -> None:
        self.entries[key] = self.entries[key]._replace(**changes)

    def look(self, wait_s: float = 0.0) -> set[Hashable]:
        self.now += wait_s
        chosen = self.queue.decide(self.entries.values(), self.now)
        for key, each in self.entries.items():
            self.moves += each.is_running is not (key in chosen)
            self.change(key, is_running=key in chosen)
        return set(chosen)

    def pass_time(self, duration_s: float, step_s: float = 5.0) -> None:
        for _ in range(int(duration_s / step_s)):
            self.look(step_s)


# -- limits, positions, priorities --------------------------------------------------------------


def test_without_limits_all_run_who_want_to() -> None:
    world = World(QueueConfig(), [entry(str(n), n, is_download=n % 2 == 0) for n in range(50)])
    world.change("7", wants_to_run=False)
    assert not world.queue.has_limits
    assert world.look() == {str(n) for n in range(50)} - {"7"}


def test_the_first_of_the_queue_run_and_a_higher_priority_goes_before_a_position() -> None:
    config = QueueConfig(max_active_downloads=2)
    world = World(config, [entry("a", 0), entry("b", 1), entry("c", 2), entry("d", 3, priority=1)])
    assert world.queue.has_limits
    assert world.look() == {"d", "a"}
    world.change("a", position=9)
    assert world.look() == {"d", "b"}
    world.change("d", wants_to_run=False)
    assert world.look() == {"b", "c"}


def test_downloads_and_seeds_have_limits_of_their_own_and_one_together() -> None:
    entries = [entry(f"d{n}", n) for n in range(4)]
    entries += [entry(f"s{n}", 10 + n, is_download=False) for n in range(4)]
    assert World(ONE_EACH, entries).look() == {"d0", "s0"}
    config = QueueConfig(max_active_downloads=2, max_active_seeds=3, max_active=3)
    assert World(config, entries).look() == {"d0", "d1", "s0"}
    assert World(QueueConfig(max_active=6), entries).look() == {"d0", "d1", "d2", "d3", "s0", "s1"}


def test_checks_count_against_a_limit_of_their_own_only() -> None:
    entries = [entry(f"c{n}", n, is_checking=True, is_download=bool(n % 2)) for n in range(4)]
    entries += [entry("d", 10), entry("s", 11, is_download=False)]
    config = replace(ONE_EACH, max_active=2)
    assert World(config, entries).look() == {"c0", "c1", "c2", "c3", "d", "s"}
    assert World(replace(config, max_active_checks=2), entries).look() == {"c0", "c1", "d", "s"}


# -- slow torrents ------------------------------------------------------------------------------


def test_a_slow_download_stays_and_counts_no_more_once_it_was_slow_for_a_while() -> None:
    world = World(ONE_EACH, [entry("a", 0, rate_bytes_per_s=SLOW), entry("b", 1), entry("c", 2)])
    assert world.look() == {"a"}
    assert world.look(59.0) == {"a"}
    assert world.look(2.0) == {"a"}  # it was seen running for 59 s only
    assert world.look(60.0) == {"a", "b"}
    world.change("a", rate_bytes_per_s=FAST)
    assert world.look(1.0) == {"a", "b"}
    assert world.look(60.0) == {"a"}


def test_a_rate_that_comes_and_goes_moves_nobody() -> None:
    world = World(ONE_EACH, [entry("a", 0), entry("b", 1)])
    world.look()
    world.moves = 0
    for turn in range(50):
        world.change("a", rate_bytes_per_s=(FAST, SLOW)[turn % 2])
        world.look(50.0)
    assert (world.moves, world.entries["a"].is_running) == (0, True)


def test_a_torrent_that_was_held_back_is_not_slow_when_it_goes_on() -> None:
    world = World(ONE_EACH, [entry("a", 0, rate_bytes_per_s=SLOW), entry("b", 1)])
    for wait_s in (0.0, 5.0, 60.0):
        world.look(wait_s)
    assert world.look() == {"a", "b"}
    world.change("a", wants_to_run=False, is_running=False)
    assert world.look(1.0) == {"b"}
    world.change("a", wants_to_run=True)
    assert world.look(1.0) == {"a"}  # it counts, and b makes room


def test_slow_torrents_count_where_that_is_wanted_and_against_the_limit_of_all() -> None:
    entries = [entry(str(n), n, rate_bytes_per_s=SLOW) for n in range(5)]
    counting = World(replace(ONE_EACH, count_slow_torrents=True), entries)
    counting.pass_time(1_000)
    assert counting.look() == {"0"}
    together = World(replace(ONE_EACH, max_active=3), entries)
    together.pass_time(1_000)
    assert together.look() == {"0", "1", "2"}


# -- seeds --------------------------------------------------------------------------------------


def seeds(count: int, **changes: object) -> list[QueueEntry]:
    return [entry(str(n), n, is_download=False, **changes) for n in range(count)]


def test_a_seed_keeps_its_place_for_its_turn_whatever_the_others_have_given() -> None:
    world = World(ONE_EACH, seeds(3, ratio=1.0))
    first = world.look()
    for key in world.entries:
        world.change(key, ratio=5.0 if key in first else 0.0)
    world.moves = 0
    world.pass_time(1_795)
    assert (world.moves, world.look()) == (0, first)
    world.pass_time(20)
    assert world.look().isdisjoint(first)


def test_who_gave_less_goes_first_and_who_gave_more_still_gets_a_turn() -> None:
    world = World(ONE_EACH, [*seeds(4), entry("generous", 4, is_download=False, ratio=3.0)])
    assert world.look() == {"0"}
    turns = Counter[Hashable]()
    for _ in range(200):
        turns.update(world.look(1_801.0))
    assert turns["generous"] > 0
    assert turns["0"] > 2 * turns["generous"]
    assert max(turns[str(n)] for n in range(4)) - min(turns[str(n)] for n in range(4)) <= 1


def test_a_seed_alone_with_its_place_is_never_moved() -> None:
    world = World(ONE_EACH, seeds(1))
    world.look()
    world.moves = 0
    world.pass_time(20_000, step_s=50.0)
    assert world.moves == 0


def test_a_download_that_is_complete_waits_for_a_turn_as_any_seed_and_frees_its_place() -> None:
    world = World(ONE_EACH, [entry("a", 0), entry("b", 1), *seeds(1)])
    assert world.look() == {"a", "0"}
    world.change("a", is_download=False)
    after = world.look(1.0)
    assert "b" in after
    assert len(after & {"a", "0"}) == 1


@given(
    count=st.integers(1, 12),
    limit=st.integers(1, 4),
    ratios=st.lists(st.floats(0, 20), min_size=12, max_size=12),
)
def test_every_seed_gets_its_turn(count: int, limit: int, ratios: list[float]) -> None:
    config = QueueConfig(max_active_seeds=limit, seed_turn_s=100.0)
    world, had = World(config, seeds(count)), set[Hashable]()
    for key, ratio in zip(world.entries, ratios, strict=False):
        world.change(key, ratio=ratio)
    # ten times as long for one who gave ten times as much; a turn takes three looks
    for _ in range(count * 12 * 3):
        had |= world.look(50.0)
    assert had == set(world.entries)


# -- whatever happens ---------------------------------------------------------------------------

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-1, 1),
        "is_download": st.booleans(),
        "is_checking": st.booleans(),
        "wants_to_run": st.booleans(),
        "rate_bytes_per_s": st.sampled_from([SLOW, FAST]),
        "ratio": st.floats(0, 5),
    },
)
STEPS = st.lists(st.tuples(st.integers(0, 9), CHANGES, st.sampled_from([0.0, 1.0, 61.0, 2_000.0])))
LIMITS = st.builds(
    QueueConfig,
    max_active_downloads=st.integers(0, 3),
    max_active_seeds=st.integers(0, 3),
    max_active=st.integers(0, 5),
    max_active_checks=st.integers(0, 2),
    count_slow_torrents=st.booleans(),
)


def kind(each: QueueEntry) -> str:
    return "check" if each.is_checking else "download" if each.is_download else "seed"


def check_limits(config: QueueConfig, chosen: list[QueueEntry], slow: set[Hashable]) -> None:
    """No limit is passed by torrents that count."""
    counted = Counter(kind(each) for each in chosen if each.key not in slow)
    limits = {
        "check": config.max_active_checks,
        "download": config.max_active_downloads,
        "seed": config.max_active_seeds,
    }
    for name, limit in limits.items():
        assert not limit or counted[name] <= limit
    active = sum(not each.is_checking for each in chosen)
    assert not config.max_active or active <= config.max_active


@given(config=LIMITS, steps=STEPS)
def test_whatever_happens_no_limit_is_passed_and_the_first_run(
    config: QueueConfig, steps: list[tuple[int, dict[str, object], float]]
) -> None:
    world = World(config, [entry(str(n), n) for n in range(10)])
    for number, changes, wait_s in steps:
        world.change(str(number), **changes)
        was_running = {key for key, each in world.entries.items() if each.is_running}
        chosen = world.look(wait_s)
        entries = world.entries
        assert all(entries[key].wants_to_run for key in chosen)
        may_be_slow = {
            key
            for key in was_running
            if not config.count_slow_torrents and not entries[key].is_checking
        } & world.queue._slow._slow
        check_limits(config, [entries[key] for key in chosen], may_be_slow)
        for left_out in entries.values():  # nobody waits while one behind it has a place
            if left_out.wants_to_run and left_out.key not in chosen and kind(left_out) != "seed":
                ahead = (-left_out.priority, left_out.position)
                assert all(
                    (-entries[key].priority, entries[key].position) < ahead
                    for key in chosen - may_be_slow
                    if kind(entries[key]) == kind(left_out)
                )


@given(config=LIMITS, steps=STEPS)
def test_when_nothing_changes_nobody_is_moved(
    config: QueueConfig, steps: list[tuple[int, dict[str, object], float]]
) -> None:
    world = World(config, [entry(str(n), n) for n in range(10)])
    for number, changes, wait_s in steps:
        world.change(str(number), **changes)
        world.look(wait_s)
    settled = world.look()
    world.moves = 0
    for _ in range(5):
        assert world.look() == settled
    assert world.moves == 0


@pytest.mark.parametrize("is_running", [False, True])
def test_ten_thousand_are_decided_about_as_few_are(is_running: bool) -> None:
    rng = random.Random(1)
    queue = TorrentQueue(replace(ONE_EACH, max_active=100))
    entries = [
        QueueEntry(
            rng.randbytes(20),
            n,
            is_download=n % 2 == 0,
            is_running=is_running,
            ratio=rng.random() * 3,
        )
        for n in range(10_000)
    ]
    for turn in range(2):
        chosen = queue.decide(entries, turn * 100.0)
    assert 2 <= len(chosen) <= 100


def test_torrents_that_are_gone_are_forgotten() -> None:
    config = QueueConfig(max_active_seeds=5, max_active_downloads=5)
    queue = TorrentQueue(config)
    for start in range(0, 1_000, 10):
        entries = [
            entry(str(n), n, is_download=bool(n % 2), is_running=True, rate_bytes_per_s=SLOW)
            for n in range(start, start + 10)
        ]
        queue.decide(entries, start * 100.0)
        queue.decide(entries, start * 100.0 + 70)
    assert len(queue._slow) <= 10
    assert len(queue._rotation._running_since) + len(queue._rotation._waiting_since) <= 10
