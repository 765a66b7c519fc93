"""Who takes something from a super-seed, and how much beside others (BEP 16)."""

from collections import Counter
from functools import partial

import pytest

from tests.support.cpu_time import cpu_time
from torrent_engine.policy.pieces.takers import LOOK_S, Takers

HALVING_S = 20.0


class World:
    """Peers, and what was sent to each."""

    def __init__(self, *names: str) -> None:
        self.now = 100.0
        self.sent: Counter[str] = Counter()
        self.takers = Takers(HALVING_S)
        for name in names:
            self.join(name)
        self.takers.look(self.now)

    def join(self, name: str) -> None:
        self.takers.joined(name, partial(self.sent.__getitem__, name))

    def take(self, **taken_bytes: int) -> None:
        self.sent.update(taken_bytes)
        self.now += LOOK_S
        self.takers.look(self.now)

    def sole(self) -> list[str]:
        return [name for name in self.sent if self.takers.is_sole(name)]


def test_who_takes_alone_is_the_sole_one_until_another_takes_an_eighth() -> None:
    world = World("a", "b", "c")
    assert not any(world.takers.is_sole(name) for name in "abc")
    world.take(a=8_000)
    assert world.sole() == ["a"]
    world.take(b=900, c=900)
    assert world.sole() == ["a"]
    world.take(b=200)
    assert world.sole() == []
    world.takers.left("b")
    world.take()
    assert world.sole() == ["a"]
    world.takers.left("a")
    assert world.sole() == []


def test_what_was_taken_long_ago_counts_for_less() -> None:
    world = World("a", "b")
    world.take(a=8_000)
    assert world.takers.is_taking("a", 10.0, world.now + 9.0)
    assert not world.takers.is_taking("a", 10.0, world.now + 10.0)
    assert not world.takers.is_taking("b", 10.0, world.now)
    world.now += 3 * HALVING_S
    world.take(b=1_100)
    assert world.sole() == []
    world.now += 3 * HALVING_S
    world.take(b=2_000)
    assert world.sole() == ["b"]


def test_what_a_peer_took_before_it_joined_does_not_count() -> None:
    world = World("a")
    world.sent["b"] = 1_000_000
    world.join("b")
    world.take(a=1)
    assert world.sole() == ["a"]


def test_the_peers_are_not_looked_at_again_at_once() -> None:
    world = World("a")
    world.take(a=1)
    world.sent["a"] += 1
    world.takers.look(world.now + LOOK_S / 2)
    assert not world.takers.is_taking("a", LOOK_S, world.now + LOOK_S)
    world.takers.look(world.now + LOOK_S)
    assert world.takers.is_taking("a", LOOK_S, world.now + LOOK_S)


@pytest.mark.no_cover
def test_f11_many_peers_are_compared_fast() -> None:
    world = World(*(str(number) for number in range(200)))
    with cpu_time() as spent:
        for _ in range(100):
            world.take()
    assert spent.seconds < 0.1
