"""The piece table and the blocks of a begun piece, by table, by scenario and against a model."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.support.v2_torrents import hybrid_info, torrent_around
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.policy.pieces.piece_table import (
    MAX_REQUESTS,
    Block,
    PartialPiece,
    PieceState,
    PieceTable,
)

S = PieceState
HYBRID = Metainfo.from_bytes(
    torrent_around(
        *hybrid_info({"a": b"a" * 70_000, "b": b"b" * 65_536, "c": b"c" * 5}, piece_bytes=65_536)
    )
)
"""Piece 1 has 4,464 bytes of a file, piece 3 has five; pads follow both."""


def received_bits(partial: PartialPiece) -> int:
    return sum(1 << block for block in range(partial.block_count) if partial.has(block))


REACHED_BY: dict[PieceState, tuple[str, ...]] = {
    S.MISSING: (),
    S.PARTIAL: ("begun",),
    S.WRITING: ("begun", "hash_passed"),
    S.HAVE: ("begun", "hash_passed", "written"),
}
MOVES: dict[str, tuple[PieceState, PieceState]] = {
    "begun": (S.MISSING, S.PARTIAL),
    "abandoned": (S.PARTIAL, S.MISSING),
    "hash_passed": (S.PARTIAL, S.WRITING),
    "written": (S.WRITING, S.HAVE),
    "write_failed": (S.WRITING, S.MISSING),
    "found": (S.MISSING, S.HAVE),
    "lost": (S.HAVE, S.MISSING),
}


def table_with(state: PieceState, *, piece: int = 3, pieces: int = 9) -> PieceTable:
    table = PieceTable(Geometry(pieces * BLOCK_BYTES, BLOCK_BYTES))
    for verb in REACHED_BY[state]:
        getattr(table, verb)(piece)
    return table


def shows(table: PieceTable, state: PieceState) -> bool:
    assert table.state(3) is state
    assert bool(table.missing >> 3 & 1) == (state is S.MISSING)
    assert table.have.has(3) == (state is S.HAVE)
    assert table.have.count == (state is S.HAVE)
    return table.missing | 1 << 3 == (1 << 9) - 1  # the others stay missing


@pytest.mark.parametrize("verb", MOVES)
def test_legal_move_shows_in_state_and_sets(verb: str) -> None:
    before, after = MOVES[verb]
    table = table_with(before)
    assert shows(table, before)
    getattr(table, verb)(3)
    assert shows(table, after)


@pytest.mark.parametrize(
    ("verb", "state"),
    [(verb, state) for verb in MOVES for state in S if state is not MOVES[verb][0]],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_illegal_move_raises_and_changes_nothing(verb: str, state: PieceState) -> None:
    table = table_with(state)
    with pytest.raises(LocalProtocolError, match=f"piece 3 is {state.name}"):
        getattr(table, verb)(3)
    assert shows(table, state)


@given(st.lists(st.tuples(st.sampled_from(sorted(MOVES)), st.integers(0, 8)), max_size=60))
def test_any_moves_keep_the_sets_with_the_states(moves: list[tuple[str, int]]) -> None:
    table, model = table_with(S.MISSING), dict.fromkeys(range(9), S.MISSING)
    for verb, piece in moves:
        before, after = MOVES[verb]
        if model[piece] is before:
            getattr(table, verb)(piece)
            model[piece] = after
        else:
            with pytest.raises(LocalProtocolError):
                getattr(table, verb)(piece)
    assert [table.state(piece) for piece in range(9)] == list(model.values())
    assert list(table.have.present()) == [p for p in model if model[p] is S.HAVE]
    assert table.missing == sum(1 << p for p in model if model[p] is S.MISSING)


# -- blocks of one piece --------------------------------------------------------------------

TAIL_BYTES = 1_234


def partial_of(blocks: int, *, is_exhausted: bool = True) -> PartialPiece:
    length = (blocks - 1) * BLOCK_BYTES + (TAIL_BYTES if is_exhausted else BLOCK_BYTES)
    return PartialPiece(Geometry(length, blocks * BLOCK_BYTES), 0)


def numbers(blocks: list[Block]) -> list[int]:
    return [begin // BLOCK_BYTES for _, begin, _ in blocks]


def asked_of_nobody(_block: Block) -> bool:
    return False


RUNS = Geometry(total_bytes=16 * BLOCK_BYTES, piece_bytes=16 * BLOCK_BYTES)


def test_bep3_blocks_are_taken_lowest_first_and_the_last_is_short() -> None:
    partial = partial_of(5)
    assert partial.take(3) == [
        (0, 0, BLOCK_BYTES),
        (0, BLOCK_BYTES, BLOCK_BYTES),
        (0, 2 * BLOCK_BYTES, BLOCK_BYTES),
    ]
    assert partial.has_free
    assert partial.take(99) == [(0, 3 * BLOCK_BYTES, BLOCK_BYTES), (0, 4 * BLOCK_BYTES, TAIL_BYTES)]
    assert not partial.has_free
    assert partial.take(1) == []


@pytest.mark.parametrize("count", [0, -1, -5])
def test_taking_no_blocks_takes_none(count: int) -> None:
    partial = partial_of(5)
    assert partial.take(count) == []
    assert partial.take_duplicates(count, asked_of_nobody) == []
    assert len(partial.take(9)) == 5


@given(st.permutations(range(8)), st.integers(1, 8))
def test_released_blocks_are_taken_lowest_first_with_their_own_lengths(
    order: list[int], count: int
) -> None:
    partial = partial_of(8)
    partial.take(8)
    for block in order:
        partial.release(block)
    assert partial.take(count) == [partial.block(block) for block in range(count)]
    rest = partial.take(8)
    assert numbers(rest) == list(range(count, 8))
    if rest:
        assert rest[-1][2] == TAIL_BYTES


def test_release_of_a_block_that_nobody_is_asked_for_changes_nothing() -> None:
    partial = partial_of(3)
    partial.take(1)
    partial.release(2)
    partial.release(0)
    partial.release(0)
    partial.receive(1)
    partial.release(1)
    assert numbers(partial.take(9)) == [0, 2]


def test_block_comes_once_and_a_second_copy_is_told_apart() -> None:
    partial = partial_of(3)
    partial.take(2)
    assert partial.request_count(1)
    assert partial.receive(1)
    assert (partial.left, partial.has(1), partial.has(0)) == (2, True, False)
    assert not partial.request_count(1)
    assert not partial.receive(1)
    assert partial.left == 2
    assert received_bits(partial) == 0b010


def test_block_that_comes_after_its_request_was_given_up_is_not_asked_for_again() -> None:
    partial = partial_of(4)
    partial.take(4)
    for block in (3, 1, 2):
        partial.release(block)
    assert partial.receive(2)
    assert numbers(partial.take(9)) == [1, 3]


def test_block_that_comes_late_while_another_peer_is_asked_leaves_no_trace() -> None:
    partial = partial_of(2)
    partial.take(1)
    partial.release(0)
    partial.take(1)  # of another peer
    assert partial.receive(0)  # from the first one
    assert not partial.receive(0)  # from the other
    partial.release(0)  # if that was choked instead
    assert numbers(partial.take(9)) == [1]


def test_end_game_asks_the_least_asked_for_and_of_those_the_last() -> None:
    partial = partial_of(5)
    partial.take(5)
    partial.receive(0)
    assert numbers(partial.take_duplicates(2, asked_of_nobody)) == [4, 3]
    assert numbers(partial.take_duplicates(2, asked_of_nobody)) == [2, 1]
    assert numbers(partial.take_duplicates(9, asked_of_nobody)) == [4, 3, 2, 1]
    assert partial.take_duplicates(9, asked_of_nobody)[0] == (0, 4 * BLOCK_BYTES, TAIL_BYTES)


def test_end_game_passes_over_blocks_that_the_peer_was_asked_for() -> None:
    partial = partial_of(4)
    mine = set(partial.take(4)[:2])
    assert numbers(partial.take_duplicates(9, mine.__contains__)) == [3, 2]


def test_end_game_takes_free_blocks_first_and_they_are_free_no_more() -> None:
    partial = partial_of(4)
    partial.take(2)
    assert numbers(partial.take_duplicates(3, asked_of_nobody)) == [3, 2, 1]
    assert not partial.has_free
    partial.release(3)
    assert numbers(partial.take(9)) == [3]


def test_release_after_an_end_game_duplicate_keeps_the_block_asked_for() -> None:
    partial = partial_of(1)
    partial.take(1)
    partial.take_duplicates(1, asked_of_nobody)
    partial.release(0)
    assert partial.request_count(0)
    assert not partial.has_free
    partial.release(0)
    assert partial.has_free
    assert not partial.request_count(0)


def test_no_block_is_asked_of_more_peers_than_can_be_counted() -> None:
    partial = partial_of(1)
    asked = sum(len(partial.take_duplicates(1, asked_of_nobody)) for _ in range(2 * MAX_REQUESTS))
    assert asked == MAX_REQUESTS
    for _ in range(MAX_REQUESTS):
        assert not partial.has_free
        partial.release(0)
    assert partial.has_free


@settings(max_examples=50)
@given(st.integers(1, 1024), st.randoms(use_true_random=False))
def test_received_bits_are_the_blocks_that_are_here(count: int, rng) -> None:
    partial = partial_of(count)
    here = {block for block in range(count) if rng.random() < 0.5}
    for block in here:
        assert partial.receive(block)
    assert received_bits(partial) == sum(1 << block for block in here)
    assert partial.left == count - len(here)
    assert numbers(partial.take(count)) == sorted(set(range(count)) - here)


any_number = st.integers(0, 255)


class PartialModel(RuleBasedStateMachine):
    """A begun piece against a dictionary of who was asked for each block."""

    @initialize(count=st.integers(1, 12), is_exhausted=st.booleans())
    def begin(self, count: int, is_exhausted: bool) -> None:
        self.partial = partial_of(count, is_exhausted=is_exhausted)
        self.asked: dict[int, list[int]] = {block: [] for block in range(count)}
        self.given_up: set[tuple[int, int]] = set()
        self.here: set[int] = set()

    def free(self) -> list[int]:
        return [b for b, peers in self.asked.items() if not peers and b not in self.here]

    @rule(peer=st.integers(0, 3), count=st.integers(0, 5))
    def take(self, peer: int, count: int) -> None:
        expected = self.free()[:count]
        assert self.partial.take(count) == [self.partial.block(block) for block in expected]
        for block in expected:
            self.asked[block].append(peer)

    @rule(peer=st.integers(0, 3), count=st.integers(0, 5))
    def take_duplicates(self, peer: int, count: int) -> None:
        open_to_peer = [b for b in self.asked if b not in self.here and peer not in self.asked[b]]
        mine = {self.partial.block(b) for b, peers in self.asked.items() if peer in peers}
        again = numbers(self.partial.take_duplicates(count, mine.__contains__))
        assert len(set(again)) == len(again) == min(count, len(open_to_peer))
        counts = sorted(len(self.asked[block]) for block in open_to_peer)
        assert [len(self.asked[block]) for block in again] == counts[: len(again)]
        assert set(again) <= set(open_to_peer)
        for block in again:
            self.asked[block].append(peer)

    def one_request(self, which: int) -> tuple[int, int]:
        requests = [(b, p) for b, peers in self.asked.items() for p in peers]
        return requests[which % len(requests)]

    @precondition(lambda self: any(self.asked.values()))
    @rule(which=any_number)
    def give_up(self, which: int) -> None:
        block, peer = self.one_request(which)
        self.asked[block].remove(peer)
        self.partial.release(block)
        self.given_up.add((block, peer))

    @precondition(lambda self: any(self.asked.values()))
    @rule(which=any_number)
    def receive(self, which: int) -> None:
        block, peer = self.one_request(which)
        self.asked[block].remove(peer)
        assert self.partial.receive(block) == (block not in self.here)
        self.here.add(block)

    @precondition(lambda self: self.given_up)
    @rule(which=any_number)
    def receive_late(self, which: int) -> None:
        block, peer = sorted(self.given_up)[which % len(self.given_up)]
        self.given_up.remove((block, peer))
        assert self.partial.receive(block) == (block not in self.here)
        self.here.add(block)
        self.asked[block] = self.asked[block][1:]  # one request less is owed, whose is not known

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "partial"):
            return
        assert self.partial.has_free == bool(self.free())
        assert self.partial.left == len(self.asked) - len(self.here)
        assert all(self.partial.has(block) == (block in self.here) for block in self.asked)
        assert all(
            self.partial.request_count(block) == len(peers) for block, peers in self.asked.items()
        )


TestPartialModel = PartialModel.TestCase
TestPartialModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_run_of_blocks_is_received_as_if_one_by_one() -> None:
    runs, singles = PartialPiece(RUNS, 0), PartialPiece(RUNS, 0)
    for partial in (runs, singles):
        partial.take(10)
    assert runs.receive_run(2, 5)
    for block in range(2, 7):
        assert singles.receive(block)
    assert runs.left == singles.left == 11
    assert received_bits(runs) == received_bits(singles)
    assert not runs.receive_run(6, 2)  # one of them is here
    assert not runs.receive_run(8, 3)  # one of them is asked of nobody
    runs.take_duplicates(16, lambda _: False)
    assert not runs.receive_run(0, 2)  # asked of two peers
    assert runs.left == 11


@given(st.sets(st.integers(0, 299)))
def test_pieces_found_together_are_as_if_found_one_by_one(found: set[int]) -> None:
    together, alone = (PieceTable(Geometry(300 * BLOCK_BYTES, BLOCK_BYTES)) for _ in range(2))
    together.found(*found)
    for piece in found:
        alone.found(piece)
    assert together.missing == alone.missing
    assert together.have == alone.have
    assert [together.state(piece) for piece in range(300)] == [
        alone.state(piece) for piece in range(300)
    ]


@pytest.mark.parametrize(("piece", "real_bytes"), [(1, 4_464), (3, 5)])
def test_bep52_the_end_of_a_file_of_a_hybrid_is_asked_for_as_its_swarm_has_it(
    piece: int, real_bytes: int
) -> None:
    by_v1, by_v2 = HYBRID.geometry, HYBRID.known_by(HYBRID.v2_swarm or HYBRID.info_hash).geometry
    in_full, cut = (piece, 0, BLOCK_BYTES), (piece, 0, real_bytes)
    assert PartialPiece(by_v1, piece).take(10) == [in_full]  # and no block of zeros alone
    assert PartialPiece(by_v2, piece).take(10) == [cut]
    for geometry in (by_v1, by_v2):
        for _, begin, length in (in_full, cut, (piece, 65_536 - BLOCK_BYTES, BLOCK_BYTES)):
            assert begin + length <= geometry.span_length(piece)  # so a seed answers it
