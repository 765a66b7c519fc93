"""Bit-plane counts against a Counter."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.policy.pieces.availability import Availability

PIECES = 70  # more than a machine word
ALL = (1 << PIECES) - 1
some_bits = st.integers(0, ALL)
any_number = st.integers(0, 255)


def pieces_of(bits: int) -> list[int]:
    return [piece for piece in range(bits.bit_length()) if bits >> piece & 1]


def bits_of(*pieces: int) -> int:
    return sum(1 << piece for piece in set(pieces))


def test_rarest_keeps_all_pieces_of_the_lowest_count() -> None:
    availability = Availability()
    for bits in (bits_of(0, 1, 2, 3), bits_of(0, 1, 2), bits_of(0, 2), bits_of(0)):
        availability.add(bits)
    assert [availability.count(piece) for piece in range(5)] == [4, 2, 3, 1, 0]
    assert availability.rarest(bits_of(0, 1, 2)) == bits_of(1)
    assert availability.rarest(bits_of(0, 2, 3)) == bits_of(3)
    assert availability.rarest(bits_of(0, 3, 4, 5)) == bits_of(4, 5)
    assert availability.rarest(0) == 0


def test_seeds_count_everywhere_and_change_no_order() -> None:
    availability = Availability()
    availability.add(bits_of(1))
    availability.seeds = 3
    assert (availability.count(0), availability.count(1)) == (3, 4)
    assert availability.rarest(bits_of(0, 1)) == bits_of(0)
    assert availability.missing_everywhere(bits_of(0, 1)) == 0


def test_pieces_that_nobody_has_are_told() -> None:
    availability = Availability()
    availability.add(bits_of(1, 2))
    availability.add(bits_of(2, 3))
    assert availability.missing_everywhere(bits_of(0, 1, 2, 3, 4)) == bits_of(0, 4)


@pytest.mark.parametrize("taken_back", [bits_of(5), bits_of(1, 5), bits_of(69), bits_of(1, 2)])
def test_taking_back_a_piece_that_was_not_counted_raises(taken_back: int) -> None:
    availability = Availability()
    availability.add(bits_of(1))
    with pytest.raises(LocalProtocolError):
        availability.remove(taken_back)


def test_taking_back_too_often_raises() -> None:
    availability = Availability()
    for _ in range(4):
        availability.add(bits_of(1))
    for _ in range(4):
        availability.remove(bits_of(1))
    with pytest.raises(LocalProtocolError):
        availability.remove(bits_of(1))


@given(st.lists(some_bits, max_size=40), st.randoms(use_true_random=False))
def test_peers_that_leave_in_any_order_leave_nothing(peers: list[int], rng) -> None:
    availability = Availability()
    for bits in peers:
        availability.add(bits)
    rng.shuffle(peers)
    for bits in peers:
        availability.remove(bits)
    assert availability.missing_everywhere(ALL) == ALL
    assert availability.rarest(ALL) == ALL
    assert availability._planes == []


class CounterModel(RuleBasedStateMachine):
    """Bit planes against a Counter, over joins, HAVEs, leaves and seeds."""

    def __init__(self) -> None:
        super().__init__()
        self.availability = Availability()
        self.counts: Counter[int] = Counter()
        self.peers: list[int] = []

    @rule(bits=some_bits)
    def join(self, bits: int) -> None:
        self.peers.append(bits)
        self.counts.update(pieces_of(bits))
        self.availability.add(bits)

    @precondition(lambda self: self.peers)
    @rule(which=any_number, piece=st.integers(0, PIECES - 1))
    def have(self, which: int, piece: int) -> None:
        peer = which % len(self.peers)
        if not self.peers[peer] >> piece & 1:
            self.peers[peer] |= 1 << piece
            self.counts[piece] += 1
            self.availability.add(1 << piece)

    @precondition(lambda self: self.peers)
    @rule(which=any_number)
    def leave(self, which: int) -> None:
        bits = self.peers.pop(which % len(self.peers))
        self.counts.subtract(pieces_of(bits))
        self.availability.remove(bits)

    @rule(change=st.sampled_from([1, -1]))
    def seed(self, change: int) -> None:
        self.availability.seeds = max(0, self.availability.seeds + change)

    @rule(candidates=some_bits)
    def rarest(self, candidates: int) -> None:
        lowest = min((self.counts[piece] for piece in pieces_of(candidates)), default=0)
        expected = [piece for piece in pieces_of(candidates) if self.counts[piece] == lowest]
        assert pieces_of(self.availability.rarest(candidates)) == expected

    @rule(candidates=some_bits)
    def missing(self, candidates: int) -> None:
        nowhere = [p for p in pieces_of(candidates) if not self.counts[p]]
        expected = [] if self.availability.seeds else nowhere
        assert pieces_of(self.availability.missing_everywhere(candidates)) == expected

    @invariant()
    def counts_agree(self) -> None:
        seeds = self.availability.seeds
        for piece in range(PIECES):
            assert self.availability.count(piece) == self.counts[piece] + seeds


TestCounterModel = CounterModel.TestCase
TestCounterModel.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)


@given(st.lists(some_bits, max_size=20), st.integers(0, 300), some_bits)
def test_counts_and_copies_are_those_of_each_piece(peers: list[int], seeds: int, have: int) -> None:
    availability = Availability()
    availability.seeds = seeds
    for bits in peers:
        availability.add(bits)
    single = [availability.count(piece) for piece in range(PIECES)]
    assert list(availability.counts(PIECES)) == [min(count, 255) for count in single]
    copies = [count + (have >> piece & 1) for piece, count in enumerate(single)]
    more = sum(count > min(copies) for count in copies)
    assert availability.distributed_copies(PIECES, have) == min(copies) + more / PIECES
    assert [availability.count(piece) for piece in range(PIECES)] == single


@pytest.mark.parametrize("peers", [255, 256, 300, 511, 1_000])
def test_counts_of_more_peers_than_a_byte_has_room_for(peers: int) -> None:
    availability = Availability()
    for _ in range(peers):
        availability.add(bits_of(1))
    availability.add_piece(0)
    assert list(availability.counts(3)) == [1, 255, 0]


def test_a_torrent_without_pieces_has_no_counts() -> None:
    assert (Availability().counts(0), Availability().distributed_copies(0, 0)) == (b"", 0.0)
