"""Who may download from us: scenes and laws, on virtual time."""

import random
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torrent_engine.base.config import KIB, MIB, ChokerConfig
from torrent_engine.policy.transfer.choker import Choker
from torrent_engine.policy.transfer.peer_view import PeerView
from torrent_engine.policy.transfer.upload_slots import UploadLoad, UploadSlots, slots_for_rate

CONFIG = ChokerConfig()
ALL_SLOTS = CONFIG.upload_slots + CONFIG.optimistic_slots


def view(key: int, **facts) -> PeerView:
    return PeerView(**{"key": key, "connected_since_s": 0.0, "interested": True} | facts)


def choker(config: ChokerConfig = CONFIG, seed: int = 1) -> Choker:
    return Choker(config, random.Random(seed))


class Swarm:
    """Peers under a choker: applies each decision and lets time pass; who may take, takes."""

    def __init__(self, views: list[PeerView], subject: Choker, *, seeding: bool) -> None:
        self.views = {each.key: each for each in views}
        self.subject = subject
        self.seeding = seeding
        self.now = 1000.0
        self.served_s: Counter[object] = Counter()

    def rechoke(self, slots: int | None = None) -> frozenset[Any]:
        chosen = self.subject.rechoke(
            list(self.views.values()), now=self.now, seeding=self.seeding, slots=slots
        )
        for key, each in self.views.items():
            if (key in chosen) != each.unchoked:
                self.views[key] = replace(
                    each,
                    unchoked=key in chosen,
                    unchoked_since_s=self.now,
                    uploaded_bytes_since_unchoke=0,
                    upload_bytes_per_s=64.0 * KIB,
                )
        return chosen

    def run(self, seconds: float, uploads: Callable[[list], dict] = lambda _: {}) -> None:
        for _ in range(int(seconds / CONFIG.rechoke_interval_s)):
            chosen = self.rechoke()
            for key, count in uploads(list(chosen)).items():
                before = self.views[key].uploaded_bytes_since_unchoke
                self.views[key] = replace(
                    self.views[key], uploaded_bytes_since_unchoke=before + int(count)
                )
            self.served_s.update(dict.fromkeys(chosen, CONFIG.rechoke_interval_s))
            self.now += CONFIG.rechoke_interval_s


@pytest.mark.parametrize("seeding", [False, True])
def test_fewer_interested_peers_than_slots_are_all_unchoked(seeding: bool) -> None:
    views = [view(key, is_snubbed=key % 2 == 0) for key in range(ALL_SLOTS)]
    views += [view(50, interested=False), view(51, is_upload_only=True)]
    assert choker().rechoke(views, now=0, seeding=seeding) == set(range(ALL_SLOTS))


def test_bep3_fastest_givers_are_repaid_and_one_more_is_tried() -> None:
    views = [view(key, download_bytes_per_s=key * 1000) for key in range(100)]
    subject = choker()
    chosen = subject.rechoke(views, now=0, seeding=False)
    assert chosen >= set(range(92, 100))
    assert len(chosen) == ALL_SLOTS
    assert chosen - set(range(92, 100)) == subject.optimistic


def test_bep21_upload_only_and_uninterested_peers_never_take_a_slot() -> None:
    views = [view(key, download_bytes_per_s=1e6, is_upload_only=True) for key in range(20)]
    views += [view(key, download_bytes_per_s=1e6, interested=False) for key in range(20, 40)]
    views += [view(key) for key in range(40, 60)]
    chosen = choker().rechoke(views, now=0, seeding=False)
    assert len(chosen) == ALL_SLOTS
    assert chosen <= set(range(40, 60))


def test_snubbed_peer_is_not_repaid() -> None:
    views = [view(key, download_bytes_per_s=1000) for key in range(30)]
    views.append(view(99, download_bytes_per_s=1e9, is_snubbed=True))
    trials = [choker(seed=seed) for seed in range(30)]
    chosen = [99 in each.rechoke(views, now=0, seeding=False) for each in trials]
    assert sum(chosen) <= 5  # as a trial only, by lot


def test_peer_that_gives_nothing_holds_no_slot_for_ever() -> None:
    swarm = Swarm([view(key) for key in range(45)], choker(), seeding=False)
    swarm.run(5 * CONFIG.optimistic_interval_s)
    assert len(swarm.served_s) == 45  # nobody gives: 9 trials at a time, a round takes 5


def test_trial_lasts_its_interval_and_then_goes_to_somebody_else() -> None:
    views = [view(key, download_bytes_per_s=1e6) for key in range(8)]
    swarm = Swarm([*views, *map(view, range(8, 12))], choker(), seeding=False)
    trials = []
    for _ in range(12):
        swarm.rechoke()
        trials.append(next(iter(swarm.subject.optimistic)))
        swarm.now += CONFIG.rechoke_interval_s
    assert [trials[i] for i in range(0, 12, 3)] == [trials[i] for i in range(2, 12, 3)]
    assert set(trials) == {8, 9, 10, 11}


def test_trial_that_earns_a_slot_makes_room_for_another() -> None:
    swarm = Swarm(
        [view(key, download_bytes_per_s=1e3 * (key < 8)) for key in range(20)],
        choker(),
        seeding=False,
    )
    swarm.rechoke()
    (trial,) = swarm.subject.optimistic
    swarm.views[trial] = replace(swarm.views[trial], download_bytes_per_s=1e6)
    swarm.now += CONFIG.rechoke_interval_s
    chosen = swarm.rechoke()
    assert trial in chosen
    assert trial not in swarm.subject.optimistic
    assert len(chosen) == ALL_SLOTS


def test_bep3_new_peers_are_three_times_as_likely_to_be_tried() -> None:
    givers = [view(key, download_bytes_per_s=1e6) for key in range(8)]
    old = [view(key) for key in range(100, 110)]
    new = [view(key, connected_since_s=995.0) for key in range(200, 210)]
    new_keys = {each.key for each in new}
    views = [*givers, *old, *new]
    trials = [choker(seed=seed).rechoke(views, now=1000, seeding=False) for seed in range(1000)]
    assert 700 < sum(bool(new_keys & chosen) for chosen in trials) < 800


def test_slots_are_a_parameter_and_may_be_unlimited() -> None:
    views = [view(key, download_bytes_per_s=key) for key in range(100)]
    for seeding in (False, True):
        for slots in (0, 1, 20, 99, 1 << 30):
            chosen = choker().rechoke(views, now=0, seeding=seeding, slots=slots)
            assert len(chosen) == min(slots + 1, 100)
    no_trials = choker(replace(CONFIG, optimistic_slots=0))
    assert len(no_trials.rechoke(views, now=0, seeding=False, slots=4)) == 4


def test_slots_grow_with_the_upload_rate() -> None:
    assert slots_for_rate(CONFIG, 0) == 8
    assert slots_for_rate(CONFIG, 1 * MIB) == 24
    assert slots_for_rate(CONFIG, 10 * MIB) == 78


def test_fewer_slots_than_before_end_the_oldest_turns() -> None:
    swarm = Swarm([view(key) for key in range(40)], choker(), seeding=True)
    first = swarm.rechoke(slots=7)
    swarm.now += 5
    second = swarm.rechoke(slots=15)
    swarm.now += 1
    assert first < second
    third = swarm.rechoke(slots=7)
    assert third == second - first


def test_seed_serves_everybody_in_turns_of_bytes() -> None:
    swarm = Swarm([view(key) for key in range(100)], choker(), seeding=True)
    swarm.run(600, lambda chosen: dict.fromkeys(chosen, 40 * MIB))  # a turn is one interval
    assert set(swarm.served_s) == set(range(100))
    assert max(swarm.served_s.values()) - min(swarm.served_s.values()) <= 10


def test_seed_ends_the_turn_of_a_slow_leech_by_time() -> None:
    swarm = Swarm([view(key) for key in range(18)], choker(), seeding=True)
    swarm.run(60, lambda chosen: dict.fromkeys(chosen, 1000))
    assert len(swarm.served_s) == 9
    swarm.run(60)
    assert set(swarm.served_s.values()) == {60.0}
    assert len(swarm.served_s) == 18


def test_peer_keeps_its_turn_for_at_least_one_interval() -> None:
    swarm = Swarm([view(key) for key in range(40)], choker(), seeding=True)
    first = swarm.rechoke()
    for key in first:
        swarm.views[key] = replace(swarm.views[key], uploaded_bytes_since_unchoke=1 << 40)
    swarm.now += CONFIG.rechoke_interval_s - 1
    assert swarm.rechoke() == first
    swarm.now += 1
    assert not swarm.rechoke() & first


def test_newcomer_waits_behind_those_who_waited_before() -> None:
    swarm = Swarm([view(key) for key in range(12)], choker(), seeding=True)
    first = swarm.rechoke()
    swarm.views[99] = view(99, connected_since_s=swarm.now)
    swarm.now += CONFIG.seed_turn_s
    second = swarm.rechoke()
    assert second >= set(range(12)) - first
    assert 99 not in second
    swarm.now += CONFIG.seed_turn_s
    assert 99 in swarm.rechoke()


def test_what_was_taken_while_nobody_waited_is_held_against_nobody() -> None:
    swarm = Swarm([view(key) for key in range(9)], choker(), seeding=True)
    swarm.run(3600, lambda chosen: dict.fromkeys(chosen, 1 << 30))
    for key in range(100, 109):
        swarm.views[key] = view(key, connected_since_s=swarm.now)
    swarm.served_s.clear()
    swarm.run(600, lambda chosen: dict.fromkeys(chosen, 40 * MIB))
    assert set(swarm.served_s.values()) == {300.0}


def test_leech_that_loses_interest_before_its_turn_ends_goes_back_in_line_all_the_same() -> None:
    swarm = Swarm([view(key) for key in range(18)], choker(), seeding=True)
    first = swarm.rechoke()
    swarm.now += 5
    for key in first:
        swarm.views[key] = replace(swarm.views[key], interested=False)
    assert swarm.rechoke() == set(range(18)) - first
    for key in first:
        swarm.views[key] = replace(swarm.views[key], interested=True)
    swarm.views[50] = view(50, connected_since_s=-1.0)
    swarm.now += CONFIG.seed_turn_s
    assert 50 in swarm.rechoke()


def test_trial_of_a_peer_that_leaves_goes_to_another_at_once() -> None:
    views = [view(key, download_bytes_per_s=1e3 * (key < 8)) for key in range(20)]
    swarm = Swarm(views, choker(), seeding=False)
    swarm.rechoke()
    (gone,) = swarm.subject.optimistic
    del swarm.views[gone]
    swarm.now += 1
    assert len(swarm.rechoke()) == ALL_SLOTS
    assert gone not in swarm.subject.optimistic


@dataclass
class Uplink:
    """A saturated uplink that the unchoked share by weight: a greedy client takes more."""

    bytes_per_s: float
    weights: dict[int, float]
    sent: Counter[int] = field(default_factory=Counter)

    def __call__(self, chosen: list[int]) -> dict[int, float]:
        whole = sum(self.weights[key] for key in chosen)
        budget = self.bytes_per_s * CONFIG.rechoke_interval_s
        shares = {key: budget * self.weights[key] / whole for key in chosen}
        self.sent.update({key: int(share) for key, share in shares.items()})
        return shares


def honest_bytes(greed: float, *, slots: int) -> int:
    """Return what 5 honest leeches get of a seed in an hour beside 3 that take ``greed`` times."""
    config = replace(CONFIG, upload_slots=slots)
    uplink = Uplink(16 * MIB, {key: greed if key < 3 else 1.0 for key in range(8)})
    swarm = Swarm([view(key) for key in range(8)], choker(config), seeding=True)
    swarm.run(3600, uplink)
    return sum(uplink.sent[key] for key in range(3, 8))


@pytest.mark.parametrize(
    ("greed", "slots"),
    [(2, 1), (5, 1), (20, 1), (2, 2), (5, 2), (20, 2), (2, 3), (5, 3), (20, 3), (2, 4)],
)
def test_b12_three_fast_leeches_cost_five_honest_ones_at_most_a_fifth(
    greed: float, slots: int
) -> None:
    assert honest_bytes(greed, slots=slots) >= 0.8 * honest_bytes(1.0, slots=slots)


def test_b12_fast_leeches_that_come_back_under_new_names_gain_nothing() -> None:
    config = replace(CONFIG, upload_slots=3)
    swarm = Swarm([view(key) for key in range(8)], choker(config), seeding=True)
    for round_ in range(360):
        swarm.views = {key: each for key, each in swarm.views.items() if key in range(3, 8)}
        for number in range(3):
            key = 100 + 3 * round_ + number
            swarm.views[key] = view(key, connected_since_s=swarm.now)
        swarm.run(CONFIG.rechoke_interval_s)
    assert sum(swarm.served_s[key] for key in range(3, 8)) >= 0.8 * 3600 * 4 * 5 / 8


# -- slots that nobody uses ----------------------------------------------------------------------


@dataclass
class SlowReaders:
    """A seed's uplink, an honest leech and many that read slowly; a look each second."""

    slow_bytes_per_s: float
    limit_bytes_per_s: float = 0.0
    slow: int = 200
    honest_bytes_per_s: float = 17.0 * MIB
    uplink_bytes_per_s: float = 100.0 * MIB
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.subject = choker()
        self.slots = UploadSlots(CONFIG)
        self.views = {key: view(key) for key in range(self.slow)}
        self.unchoked = 0

    def rate(self, key: int) -> float:
        return self.honest_bytes_per_s if key >= 1000 else self.slow_bytes_per_s

    def second(self) -> int:
        """Let a second pass; return what the honest leech took."""
        views = list(self.views.values())
        load = UploadLoad(sum(each.upload_bytes_per_s for each in views), self.limit_bytes_per_s)
        slots = self.slots.count(views, load, self.now)
        chosen = self.subject.rechoke(views, now=self.now, seeding=True, slots=slots)
        wanted = sum(self.rate(key) for key in self.views if key in chosen)
        most = min(self.limit_bytes_per_s or wanted, self.uplink_bytes_per_s)
        share = min(1.0, most / max(wanted, 1.0))
        honest = 0
        for key, each in self.views.items():
            taken = self.rate(key) * share if key in chosen else 0.0
            since = each.unchoked_since_s if each.unchoked else self.now
            before = each.uploaded_bytes_since_unchoke if each.unchoked else 0
            self.views[key] = replace(
                each,
                unchoked=key in chosen,
                unchoked_since_s=since,
                uploaded_bytes_since_unchoke=before + int(taken),
                upload_bytes_per_s=0.8 * each.upload_bytes_per_s + 0.2 * taken,
            )
            honest += int(taken) if key >= 1000 else 0
        self.unchoked = len(chosen)
        self.now += 1.0
        return honest

    def honest_share(self, seconds: int) -> float:
        """Return how much of what it can take an honest leech gets that comes now."""
        self.views[1000] = view(1000, connected_since_s=self.now)
        taken = sum(self.second() for _ in range(seconds))
        return taken / (seconds * self.honest_bytes_per_s)


@pytest.mark.parametrize("limit", [0.0, 30.0 * MIB])
@pytest.mark.parametrize("slow_bytes_per_s", [0.0, 1.0 * KIB, 5.0 * KIB, 20.0 * KIB])
def test_b12_two_hundred_slow_readers_cost_an_honest_leech_at_most_a_fifth(
    slow_bytes_per_s: float, limit: float
) -> None:
    scene = SlowReaders(slow_bytes_per_s, limit)
    for _ in range(60):
        scene.second()  # they were there before
    assert scene.honest_share(60) >= 0.8


def test_a_turn_that_nobody_uses_is_passed_on_within_seconds() -> None:
    swarm = Swarm([view(key) for key in range(18)], choker(), seeding=True)
    first = sorted(swarm.rechoke())
    idle, busy = set(first[:4]), set(first[4:])
    for key in idle:
        swarm.views[key] = replace(swarm.views[key], upload_bytes_per_s=100.0)
    swarm.now += 4
    second = swarm.rechoke()
    assert busy <= second
    assert not idle & second
    for key in second:
        swarm.views[key] = replace(swarm.views[key], uploaded_bytes_since_unchoke=1 << 40)
    swarm.now += CONFIG.rechoke_interval_s
    assert not idle & swarm.rechoke()  # all others come first


def test_turns_are_shorter_the_more_peers_wait() -> None:
    for waiting, turn_s in ((9, 60.0), (27, 20.0), (190, 10.0)):
        swarm = Swarm([view(key) for key in range(9 + waiting)], choker(), seeding=True)
        first = swarm.rechoke()
        swarm.now += turn_s - 0.5
        assert swarm.rechoke() == first
        swarm.now += 0.5
        assert not swarm.rechoke() & first


def test_slots_that_are_all_used_do_not_become_more() -> None:
    scene = SlowReaders(100.0 * KIB, slow=200, uplink_bytes_per_s=1.0 * MIB)
    unchoked = []
    for _ in range(300):
        scene.second()
        unchoked.append(scene.unchoked)
    assert statistics.median(unchoked) <= 40
    assert max(unchoked) <= 80  # a trial


def test_slots_do_not_fall_within_an_interval() -> None:
    slots = UploadSlots(CONFIG)
    fast, slow = UploadLoad(10.0 * MIB), UploadLoad(0.1 * MIB)
    assert slots.count([], fast, 0.0) == 78
    assert slots.count([], slow, CONFIG.rechoke_interval_s - 1) == 78
    assert slots.count([], slow, CONFIG.rechoke_interval_s) == CONFIG.upload_slots


def test_an_unused_limit_unchokes_more_and_a_used_one_does_not() -> None:
    views = [
        view(key, unchoked=key < 9, upload_bytes_per_s=MIB / 9 * (key < 9)) for key in range(30)
    ]
    for limit_mib, is_exhausted, more in ((30, False, True), (30, True, False), (1, False, False)):
        slots = UploadSlots(CONFIG)
        load = UploadLoad(1.0 * MIB, limit_mib * MIB, is_exhausted)
        before = slots.count([], load, 10.0)
        assert (slots.count(views, load, 12.0) > before) == more


VIEWS = st.lists(
    st.builds(
        PeerView,
        key=st.integers(0, 40),
        connected_since_s=st.floats(0, 1000),
        interested=st.booleans(),
        unchoked=st.booleans(),
        unchoked_since_s=st.floats(0, 1000),
        uploaded_bytes_since_unchoke=st.integers(0, 1 << 30),
        download_bytes_per_s=st.floats(0, 1e9),
        upload_bytes_per_s=st.floats(0, 1e9),
        is_snubbed=st.booleans(),
        is_upload_only=st.booleans(),
    ),
    max_size=40,
    unique_by=lambda each: each.key,
)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(VIEWS, st.floats(0, 60), st.booleans(), st.integers(0, 12)), max_size=8),
    st.integers(0, 3),
)
def test_any_history_fills_the_slots_and_no_more(
    rounds: list[tuple[list[PeerView], float, bool, int]], optimistic_slots: int
) -> None:
    subject, now = choker(replace(CONFIG, optimistic_slots=optimistic_slots)), 1000.0
    for views, pause_s, seeding, slots in rounds:
        now += pause_s
        chosen = subject.rechoke(views, now=now, seeding=seeding, slots=slots)
        wanting = {each.key for each in views if each.interested and not each.is_upload_only}
        assert chosen <= wanting
        assert len(chosen) == min(slots + optimistic_slots, len(wanting))
        present = {each.key for each in views}
        known = set(subject._optimistic_turns._standings) | set(subject._seed_turns._positions)
        assert known <= present


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(10, 60), st.booleans())
def test_every_interested_peer_is_served_in_time(seed: int, count: int, seeding: bool) -> None:
    rng = random.Random(seed)
    views = [view(key, download_bytes_per_s=rng.choice([0, 1e3, 1e6])) for key in range(count)]
    swarm = Swarm(views, choker(seed=seed), seeding=seeding)
    swarm.run(count * CONFIG.optimistic_interval_s * 2)
    assert len(swarm.served_s) == count
