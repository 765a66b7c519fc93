"""Whose turn it is whatever it gives us: a leech's slots that nobody earned, on virtual time."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from torrent_engine.base.config import ChokerConfig
from torrent_engine.policy.transfer import optimistic_turns
from torrent_engine.policy.transfer.optimistic_turns import OptimisticTurns
from torrent_engine.policy.transfer.peer_view import PeerView

CONFIG = ChokerConfig()
INTERVAL_S = CONFIG.optimistic_interval_s


def view(key: object, since_s: float = 0.0, operator: str | None = None) -> PeerView:
    return PeerView(key=key, connected_since_s=since_s, interested=True, operator=operator)


class Turns:
    """Peers that wait for one slot, or more."""

    def __init__(self, *views: PeerView, slots: int = 1) -> None:
        self.views = list(views)
        self.slots = slots
        self.now = 1000.0
        self.subject = OptimisticTurns(CONFIG, random.Random(1))

    def next(self) -> set[object]:
        """Let an interval pass, and return whose turn it is then."""
        self.now += INTERVAL_S
        self.subject.update(self.views, self.now)
        self.subject.rotate(self.views, frozenset(), self.slots, self.now)
        return set(self.subject.keys)


@pytest.mark.parametrize("address", ["same", "shared", "new"])
def test_b12_peers_that_reconnect_get_no_more_optimistic_turns_than_others(address: str) -> None:
    turns, had = Turns(), Counter[str]()
    honest = [view(("honest", number), operator=f"10.0.0.{number}") for number in range(20)]
    for link in range(420):
        operators = {"same": "192.0.2.1", "shared": None, "new": f"192.0.2.{link}"}
        two = [view(("other", link, end), turns.now, operators[address]) for end in range(2)]
        turns.views = [*honest, *two]
        had.update(key[0] for key in turns.next() if isinstance(key, tuple))
    assert had["other"] <= 420 * 2 / 22


@pytest.mark.parametrize("others", [1, 10, 40])
def test_newcomer_has_its_turn_when_each_of_the_others_had_two_at_most(others: int) -> None:
    turns = Turns(*(view(number) for number in range(others)))
    for _ in range(others // 2):
        turns.next()
    turns.views.append(view("new", turns.now))
    had = Counter[object]()
    while not had["new"]:
        had.update(turns.next())
    assert max(had.values()) <= 2


def test_newcomers_of_the_last_round_are_likely_to_be_first_in_the_next() -> None:
    places = []
    for seed in range(200):
        turns = Turns(*(view(number) for number in range(20)))
        turns.subject = OptimisticTurns(CONFIG, random.Random(seed))
        turns.next()
        turns.views.append(view("new", turns.now))
        for _ in range(19):
            turns.next()
        places.append(next(place for place in range(25) if "new" in turns.next()))
    assert sum(places) / 200 < 7  # 10 without a preference


def test_peer_that_waits_keeps_its_place_when_it_reconnects() -> None:
    turns = Turns(*(view(number, operator=f"10.0.0.{number}") for number in range(10)))
    had = set[object]()
    for link in range(1, 11):
        turns.views = [replace(each, key=(link, each.operator)) for each in turns.views]
        had |= {key[1] for key in turns.next() if isinstance(key, tuple)}
    assert len(had) == 10


def test_operators_are_remembered_for_a_bounded_time_and_number() -> None:
    turns = Turns()
    for link in range(optimistic_turns.MAX_ABSENT + 500):
        turns.views = [view(link, operator=str(link))]
        turns.subject.update(turns.views, turns.now)
    assert len(turns.subject._standings) == optimistic_turns.MAX_ABSENT + 1
    assert str(link - 1) in turns.subject._standings
    turns.subject.update([], turns.now + optimistic_turns.REMEMBERED_S)
    assert not turns.subject._standings


def test_peers_whose_address_may_be_shared_are_forgotten_with_their_links() -> None:
    turns = Turns(*map(view, range(10)))
    turns.next()
    turns.views.clear()
    assert not turns.next()
    assert not turns.subject._standings
