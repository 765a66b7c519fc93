"""Pieces that are wanted by a time: their order, who may be asked for them, how they are picked."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.picking import Download, asked_of_nobody, bits_of, pieces_of
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.pieces.deadlines import (
    MIN_QUEUE_BLOCKS,
    Deadlines,
    SenderRates,
    is_duplicate_worthwhile,
    queue_blocks,
    wait_s,
)

MIB = 1024 * 1024


def with_deadlines(**owners: dict[int, float]) -> Deadlines:
    deadlines = Deadlines()
    for owner, by_s in owners.items():
        deadlines.want(owner, by_s)
    return deadlines


def test_the_earliest_comes_first_and_among_equals_the_lowest() -> None:
    deadlines = with_deadlines(a={7: 30.0, 2: 10.0, 9: 20.0, 3: 10.0})
    assert list(deadlines.order) == [2, 3, 9, 7]
    assert deadlines.bits == bits_of(2, 3, 7, 9)
    assert deadlines.due_before(20.0) == bits_of(2, 3)


def test_of_several_owners_the_earliest_time_counts() -> None:
    deadlines = with_deadlines(a={1: 30.0, 2: 5.0}, b={1: 3.0, 4: 9.0})
    assert list(deadlines.order) == [1, 2, 4]
    assert deadlines.due_s(1) == 3.0
    deadlines.drop("b")
    assert list(deadlines.order) == [2, 1]
    assert deadlines.due_s(1) == 30.0


def test_what_an_owner_wants_anew_takes_the_place_of_what_it_wanted() -> None:
    deadlines = with_deadlines(a={1: 1.0, 2: 2.0}, b={3: 3.0})
    deadlines.want("a", {5: 5.0})
    assert list(deadlines.order) == [3, 5]
    deadlines.add("a", 1, 0.5)
    assert list(deadlines.order) == [1, 3, 5]
    deadlines.forget("a", 5)
    assert list(deadlines.order) == [1, 3]
    deadlines.forget("nobody", 1)
    deadlines.drop("nobody")
    assert list(deadlines.order) == [1, 3]


def test_what_is_here_has_no_deadline() -> None:
    deadlines = with_deadlines(a={1: 1.0, 2: 2.0}, b={1: 3.0})
    deadlines.done(1)
    deadlines.done(9)
    assert (deadlines.order, deadlines.bits) == ((2,), bits_of(2))
    deadlines.drop("a")
    assert not deadlines.bits


def test_one_deadline_among_very_many_is_set_without_a_look_at_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadlines = with_deadlines(a={piece: float(piece) for piece in range(10_000)})
    assert deadlines.order[-1] == 9_999
    ranked, real = list[int](), Deadlines._rank

    def rank(deadlines: Deadlines, piece: int) -> tuple[float, int]:
        ranked.append(piece)
        return real(deadlines, piece)

    monkeypatch.setattr(Deadlines, "_rank", rank)
    deadlines.add("a", 5_000, -1.0)
    deadlines.add("b", 20_000, 0.5)
    deadlines.forget("a", 3)
    deadlines.done(4)
    assert deadlines.order[:4] == (5_000, 0, 20_000, 1)
    assert len(deadlines.order) == 9_999
    assert len(ranked) < 40


class Plain:
    """The same as Deadlines, without a thought for speed."""

    def __init__(self) -> None:
        self.owners: dict[str, dict[int, float]] = {}

    def want(self, owner: str, by_s: dict[int, float]) -> None:
        self.owners[owner] = dict(by_s)

    def add(self, owner: str, piece: int, by_s: float) -> None:
        self.owners.setdefault(owner, {})[piece] = by_s

    def drop(self, owner: str) -> None:
        self.owners.pop(owner, None)

    def forget(self, owner: str, piece: int) -> None:
        self.owners.get(owner, {}).pop(piece, None)

    def done(self, piece: int) -> None:
        for wanted in self.owners.values():
            wanted.pop(piece, None)

    def due(self) -> dict[int, float]:
        pairs = [pair for wanted in self.owners.values() for pair in wanted.items()]
        return {piece: min(by_s for other, by_s in pairs if other == piece) for piece, _ in pairs}


OWNERS, PIECES, TIMES = st.sampled_from("abc"), st.integers(0, 9), st.floats(0, 100)
STEPS = st.one_of(
    st.tuples(st.just("want"), OWNERS, st.dictionaries(PIECES, TIMES, max_size=4)),
    st.tuples(st.just("add"), OWNERS, PIECES, TIMES),
    st.tuples(st.just("drop"), OWNERS),
    st.tuples(st.just("forget"), OWNERS, PIECES),
    st.tuples(st.just("done"), PIECES),
)


@given(st.lists(STEPS, max_size=20))
def test_any_life_of_deadlines_agrees_with_a_plain_model(steps: list[tuple[Any, ...]]) -> None:
    deadlines, plain = Deadlines(), Plain()
    for verb, *arguments in steps:
        getattr(deadlines, verb)(*arguments)
        getattr(plain, verb)(*arguments)
        due = plain.due()
        if verb != "forget":  # so that more is changed in between, too
            assert list(deadlines.order) == sorted(due, key=lambda piece: (due[piece], piece))
    due = plain.due()
    assert list(deadlines.order) == sorted(due, key=lambda piece: (due[piece], piece))
    assert deadlines.bits == bits_of(*due)
    assert all(deadlines.due_s(piece) == due[piece] for piece in due)


# -- who is fast enough -------------------------------------------------------------------------


def test_the_slow_leave_what_the_far_faster_have() -> None:
    speeds = SenderRates(
        [(1 * MIB, bits_of(1, 2)), (8 * MIB, bits_of(2, 3)), (100_000, bits_of(4))]
    )
    assert speeds.of_faster_senders(100_000) == bits_of(1, 2, 3)
    assert speeds.of_faster_senders(1 * MIB) == bits_of(2, 3)
    assert speeds.of_faster_senders(3 * MIB) == 0
    assert speeds.of_faster_senders(0.0) == bits_of(1, 2, 3)  # nobody knows how slow it is


def test_among_equals_nobody_waits_for_another() -> None:
    assert SenderRates([(MIB, bits_of(1)), (2 * MIB, bits_of(1))]).of_faster_senders(MIB) == 0
    assert SenderRates().of_faster_senders(0.0) == 0


def test_queues_are_short_while_something_is_due_but_not_empty() -> None:
    assert queue_blocks(0.0) == MIN_QUEUE_BLOCKS
    assert queue_blocks(10 * MIB) == 10 * MIB // BLOCK_BYTES
    assert wait_s(10, 10 * BLOCK_BYTES) == 1.0
    assert 0 < wait_s(1, 0.0) < 10


def test_a_block_is_asked_for_twice_only_where_that_is_much_sooner() -> None:
    assert is_duplicate_worthwhile(10.0, 1.0)
    assert not is_duplicate_worthwhile(1.0, 0.9)


# -- the picker -----------------------------------------------------------------------------------


def due(
    download: Download, count: int, *, bits: int | None = None, key: object = "me"
) -> list[int]:
    bits = download.all if bits is None else bits
    return pieces_of(download.picker.pick_due(bits, count, key=key, only_for=None))


def test_pieces_with_a_deadline_are_picked_in_its_order_begun_or_not() -> None:
    download = Download(10)
    download.picker.pick(bits_of(5), 1)
    download.picker.deadlines.want("a", {8: 3.0, 5: 2.0, 1: 1.0})
    assert due(download, 99) == [1, 5, 8]
    assert due(download, 99) == []
    assert not download.picker.has_due(download.all)


def test_as_many_blocks_are_picked_as_asked_for_and_only_of_what_the_peer_has() -> None:
    download = Download(10)
    download.picker.deadlines.want("a", {8: 1.0, 5: 2.0})
    picker = download.picker
    assert len(picker.pick_due(bits_of(5), 3, key="me", only_for=None)) == 3
    assert picker.has_due(bits_of(5))
    assert due(download, 0) == []
    assert due(download, 99, bits=bits_of(5, 1)) == [5]
    assert picker.has_due(bits_of(8))
    assert not picker.has_due(bits_of(5))


def test_what_is_here_or_not_wanted_is_not_picked() -> None:
    download = Download(4, have=1)
    download.picker.set_priorities([1, 0, 1, 1])
    download.picker.deadlines.want("a", {0: 1.0, 1: 2.0, 2: 3.0})
    assert due(download, 99) == [2]


def test_b6_a_piece_that_is_reserved_for_one_peer_stays_its_own() -> None:
    download = Download(3)
    download.picker.deadlines.want("a", {1: 1.0})
    taken = download.picker.pick_due(download.all, 2, key="bad", only_for="bad")
    assert pieces_of(taken) == [1]
    assert due(download, 99, key="good") == []
    assert due(download, 99, key="bad") == [1]


def test_bep19_a_web_seed_gets_the_stretch_that_begins_with_the_earliest() -> None:
    download = Download(20)
    download.picker.deadlines.want("a", {12: 1.0, 13: 2.0, 14: 3.0, 2: 9.0})

    def stretch(count: int) -> list[int]:
        blocks = download.picker.pick_range(download.all, count, key="web", only_for=None, last=5)
        return pieces_of(blocks)

    assert stretch(8) == [12, 13]
    assert stretch(12) == [14]
    assert stretch(8) == [2]
    assert stretch(8) == [6, 7]  # as if nothing had a deadline: on from where it was


def test_blocks_are_asked_for_again_by_name_once_each() -> None:
    download = Download(4)
    blocks = download.picker.pick(bits_of(2), 3)
    again = download.picker.duplicate([blocks[0], blocks[2], (3, 0, BLOCK_BYTES)])
    assert sorted(again) == [blocks[0], blocks[2]]
    partial = download.picker.partials[2]
    assert partial.has_duplicates
    assert partial.receive(0)
    partial.release(2)
    assert not partial.has_duplicates
    assert download.picker.pick(bits_of(2), 99) == [(2, 3 * BLOCK_BYTES, BLOCK_BYTES)]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_has_deadlines_every_block_is_picked_once(seed: int) -> None:
    rng = random.Random(seed)
    download = Download(12, seed=seed)
    seen: list[tuple[int, int, int]] = []
    while len(seen) < 48:
        chosen = rng.sample(range(12), 3)
        download.picker.deadlines.want("a", {piece: rng.random() for piece in chosen})
        count = rng.randrange(1, 9)
        seen += download.picker.pick_due(download.all, count, key="me", only_for=None)
        if rng.random() < 0.3:
            seen += download.picker.pick(download.all, count)
    assert len(set(seen)) == len(seen) == 48
    assert not download.picker.pick_duplicates(0, 9, asked_of_nobody)
