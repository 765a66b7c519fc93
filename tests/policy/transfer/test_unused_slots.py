"""Slots of a leech that somebody has and does not use, on virtual time."""

import random
from collections import Counter
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from torrent_engine.base.config import KIB, MIB, ChokerConfig
from torrent_engine.policy.transfer.choker import Choker
from torrent_engine.policy.transfer.idle_turns import IDLE_TURN_S
from torrent_engine.policy.transfer.peer_view import PeerView
from torrent_engine.policy.transfer.upload_slots import UploadSlots

CONFIG = ChokerConfig()
ALL_SLOTS = CONFIG.upload_slots + CONFIG.optimistic_slots
USED = 64.0 * KIB


class Leech:
    """Our choker while we download; each peer takes at its own rate while it is unchoked."""

    def __init__(self, slots: int | None = None) -> None:
        self.subject = Choker(CONFIG, random.Random(1))
        self.slots = slots
        self.views: dict[Any, PeerView] = {}
        self.takes: dict[Any, float] = {}
        self.now = 1000.0
        self.served_s: Counter[str] = Counter()

    def add(self, name: str, count: int, *, takes: float = USED, gives: float = 0.0) -> None:
        for number in range(count):
            key = (name, number)
            self.takes[key] = takes
            self.views[key] = PeerView(
                key=key, connected_since_s=0.0, interested=True, download_bytes_per_s=gives
            )

    def second(self) -> set[Any]:
        views = list(self.views.values())
        chosen = self.subject.rechoke(views, now=self.now, seeding=False, slots=self.slots)
        for key, each in self.views.items():
            is_chosen = key in chosen
            since = each.unchoked_since_s if each.unchoked else self.now
            self.views[key] = replace(
                each,
                unchoked=is_chosen,
                unchoked_since_s=since,
                upload_bytes_per_s=self.takes[key] if is_chosen else 0.0,
            )
        self.served_s.update(key[0] for key in self.views if key in chosen)
        self.now += 1.0
        return set(chosen)

    def run(self, seconds: int) -> None:
        self.served_s.clear()
        for _ in range(seconds):
            self.second()

    def share(self, name: str) -> float:
        """Return a group's share of the slots."""
        return self.served_s[name] / self.served_s.total()


@pytest.mark.parametrize("gives", [1.0, 600.0])
def test_b12_peers_that_give_next_to_nothing_and_take_nothing_hold_few_slots(gives: float) -> None:
    leech = Leech()
    leech.add("idle", 8, takes=0.0, gives=gives)
    leech.add("honest", 20)
    leech.run(1800)
    assert leech.share("idle") <= 0.05


def test_b12_a_byte_a_second_buys_no_slot() -> None:
    leech = Leech()
    leech.add("mean", 8, gives=1.0)
    leech.add("honest", 20)
    leech.run(1800)
    assert leech.share("mean") == pytest.approx(8 / 28, abs=0.05)  # what chance gives


def test_b12_an_optimistic_turn_that_is_not_used_is_passed_on_within_seconds() -> None:
    leech = Leech()
    leech.add("idle", 20, takes=0.0)
    leech.add("honest", 20)
    leech.add("giver", 8, gives=1.0 * MIB)
    turns: list[Any] = []
    for _ in range(1800):
        leech.second()
        turns += leech.subject.optimistic
    longest = max(len(list(run)) for key, run in groupby(turns) if key[0] == "idle")
    assert longest <= IDLE_TURN_S + 1
    assert sum(key[0] == "idle" for key in turns) <= 0.15 * len(turns)


def test_turns_are_passed_on_although_nobody_uses_any() -> None:
    leech = Leech(slots=2)
    leech.add("idle", 12, takes=0.0)
    leech.add("mean", 12, takes=0.0, gives=1.0)
    had = set[Any]()
    for _ in range(90):
        had |= leech.second()
    assert len(had) == 24


def test_peers_whose_uploads_wait_for_our_limit_keep_their_turns() -> None:
    leech = Leech()
    leech.add("limited", 18, takes=0.0)
    leech.views = {key: replace(each, is_held_back=True) for key, each in leech.views.items()}
    leech.add("fast", 1)
    first = leech.second()
    for _ in range(int(CONFIG.optimistic_interval_s) - 1):
        assert leech.second() == first


@pytest.mark.parametrize("others_give", [0.0, 100.0, 10.0 * MIB])
def test_who_gives_much_stays_unchoked_though_it_takes_nothing(others_give: float) -> None:
    leech = Leech()
    leech.add("giver", 4, takes=0.0, gives=50.0 * KIB)
    leech.add("honest", 3, gives=others_give)
    leech.add("new", 20)
    for _ in range(300):
        assert {("giver", number) for number in range(4)} <= leech.second()


def test_slow_givers_that_use_their_slots_keep_them() -> None:
    leech = Leech()
    leech.add("slow", 7, takes=5.0 * KIB, gives=2.0 * KIB)
    leech.add("new", 20)
    for _ in range(300):
        assert {("slow", number) for number in range(7)} <= leech.second()


def test_givers_are_ranked_once_in_a_rechoke_interval() -> None:
    leech, rng = Leech(), random.Random(1)
    leech.add("giver", 30)
    changes = 0
    before = set[Any]()
    for _ in range(100):
        for key, each in leech.views.items():
            leech.views[key] = replace(each, download_bytes_per_s=rng.uniform(5e4, 1e5))
        leech.second()
        holders = set(leech.subject._regular_slots._holders)
        changes, before = changes + (holders != before), holders
    assert changes <= 100 / CONFIG.rechoke_interval_s


def test_slots_while_we_download_do_not_fall_within_an_interval() -> None:
    slots = UploadSlots(CONFIG)
    assert slots.count_for_rate(10.0 * MIB, 0.0) == 78
    assert slots.count_for_rate(0.0, CONFIG.rechoke_interval_s - 1) == 78
    assert slots.count_for_rate(0.0, CONFIG.rechoke_interval_s) == CONFIG.upload_slots
    assert slots.count_for_rate(10.0 * MIB, CONFIG.rechoke_interval_s + 1) == 78
