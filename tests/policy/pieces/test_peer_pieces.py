"""What the peers have, against a plain count, and what a message costs in a large torrent."""

import random
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.policy.pieces.availability import MAX_PENDING, Availability
from torrent_engine.policy.pieces.peer_pieces import PeerPieces, SwarmPieces

PIECES = 20
ALL = set(range(PIECES))
MANY = 2**21
MANY_BYTES = MANY // 8
EVERYTHING = Bitfield.full(MANY)


def field_of(pieces: set[int], count: int = PIECES) -> Bitfield:
    made = Bitfield(count)
    for piece in pieces:
        made.set(piece)
    return made


@dataclass
class Swarm:
    """Three peers and what they said."""

    count: int = PIECES
    has: list[set[int]] = field(default_factory=lambda: [set(), set(), set()])

    def __post_init__(self) -> None:
        self.availability = Availability()
        self.swarm = SwarmPieces(self.count, self.availability)
        self.peers = [PeerPieces() for _ in self.has]

    def say(self, peer: int, kind: str, pieces: set[int]) -> None:
        held, has = self.peers[peer], self.has[peer]
        if kind == "have":
            for piece in pieces:
                assert self.swarm.has(held, piece) == (piece not in has)
                has.add(piece)
        elif kind == "lost":
            for piece in pieces:
                assert self.swarm.lost(held, piece) == (piece in has)
                has.discard(piece)
        elif kind == "left":
            self.swarm.left(held)
            has.clear()
        elif kind == "settle":
            self.swarm.settle(1)
        else:
            said = {"all": ALL, "none": set[int]()}.get(kind, pieces)
            self.swarm.replaced(held, field_of(said))
            self.has[peer] = set(said)


KINDS = st.sampled_from(["have", "lost", "bitfield", "all", "none", "left", "settle"])


@given(
    st.lists(st.tuples(st.integers(0, 2), KINDS, st.sets(st.integers(0, PIECES - 1))), max_size=40)
)
def test_counts_are_those_of_a_plain_count_once_they_are_settled(
    said: list[tuple[int, str, set[int]]],
) -> None:
    world = Swarm()
    for peer, kind, pieces in said:
        world.say(peer, kind, pieces)
        held = world.peers[peer]
        assert held.bits == sum(1 << piece for piece in world.has[peer])
        assert held.count == len(world.has[peer])
        assert held.has_all == (world.has[peer] == ALL)
        assert {piece for piece in ALL if held.has(piece)} == world.has[peer]
    world.swarm.settle(len(world.peers))
    assert world.swarm.is_settled
    assert world.availability.seeds == world.has.count(ALL)
    for piece in ALL:
        assert world.availability.count(piece) == sum(piece in has for has in world.has)
    for peer in range(len(world.peers)):
        world.say(peer, "left", set())
    assert [world.availability.count(piece) for piece in ALL] == [0] * PIECES


def test_single_pieces_are_counted_before_they_are_gathered_and_after() -> None:
    rng, availability = random.Random(3), Availability()
    counts = [0] * 10_000
    for _ in range(3 * MAX_PENDING):
        piece = rng.randrange(len(counts))
        if counts[piece] and rng.random() < 0.4:
            availability.remove_piece(piece)
            counts[piece] -= 1
        else:
            availability.add_piece(piece)
            counts[piece] += 1
    assert [availability.count(piece) for piece in range(len(counts))] == counts
    rarest = availability.rarest((1 << len(counts)) - 1)
    assert {piece for piece in range(len(counts)) if rarest >> piece & 1} == {
        piece for piece, count in enumerate(counts) if count == min(counts)
    }


def have(world: Swarm) -> None:
    for piece in range(0, 3 * 1_000, 3):
        world.swarm.has(world.peers[0], piece)


def lost(world: Swarm) -> None:
    for piece in range(1_000):
        world.swarm.lost(world.peers[1], piece)


def again(world: Swarm) -> None:
    for _ in range(1_000):
        world.swarm.replaced(world.peers[2], EVERYTHING)


@pytest.mark.parametrize("flood", [have, lost, again])
def test_f11_a_message_about_a_piece_takes_no_memory_of_the_size_of_all_pieces(
    flood: Callable[[Swarm], None],
) -> None:
    world = Swarm(MANY)
    world.swarm.replaced(world.peers[0], field_of({1}, MANY))
    world.swarm.replaced(world.peers[1], field_of(set(range(5_000)), MANY))
    world.swarm.replaced(world.peers[2], Bitfield.full(MANY))
    tracemalloc.start()
    try:
        flood(world)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MANY_BYTES * 0.9
