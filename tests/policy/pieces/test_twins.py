"""Pieces of the same content wait for the one that is fetched, while it comes."""

import random

import pytest

from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceState, PieceTable
from torrent_engine.policy.pieces.twins import PATIENCE_TICKS

BLOCK = 16 * 1024
COUNT = 8  # two files of four pieces, of two blocks each
EVERYTHING = (1 << COUNT) - 1


class TwoFiles:
    """The second half of a torrent is the first one once more."""

    def twins(self, piece: int) -> int:
        return 1 << (piece + COUNT // 2) % COUNT


@pytest.fixture
def table() -> PieceTable:
    return PieceTable(Geometry(COUNT * 2 * BLOCK, 2 * BLOCK))


@pytest.fixture
def picker(table: PieceTable) -> Picker:
    made = Picker(Geometry(COUNT * 2 * BLOCK, 2 * BLOCK), table, random.Random(1))
    made.twins.watch(TwoFiles())
    return made


def tick(picker: Picker, table: PieceTable) -> bool:
    return picker.twins.tick(table.state, picker.partials)


def test_of_twins_only_one_is_begun_however_much_is_asked_for(picker: Picker) -> None:
    pieces = {block[0] for block in picker.pick(EVERYTHING, 100)}
    assert {piece % (COUNT // 2) for piece in pieces} == set(range(COUNT // 2))
    assert len(pieces) == COUNT // 2
    assert not picker.pick(EVERYTHING, 100)
    assert picker.is_end_game


def test_a_web_seed_is_asked_for_no_twins(picker: Picker) -> None:
    pieces = {
        block[0] for block in picker.pick_range(EVERYTHING, 100, key=1, only_for=None, last=None)
    }
    assert len({piece % (COUNT // 2) for piece in pieces}) == len(pieces)


def test_a_twin_waits_while_blocks_come_and_while_the_piece_is_verified(
    picker: Picker, table: PieceTable
) -> None:
    picker.pick(1, 2)
    for block in range(2):
        for _ in range(PATIENCE_TICKS - 1):
            assert not tick(picker, table)
        picker.partials[0].receive(block)
    picker.finished(0)
    assert table.state(0) is PieceState.PARTIAL
    assert not tick(picker, table)
    assert not picker.pick(1 << 4, 1)
    table.hash_passed(0)
    table.written(0)
    assert tick(picker, table)
    assert picker.pick(1 << 4, 1)


def test_a_twin_is_fetched_if_nothing_comes_of_the_piece(picker: Picker, table: PieceTable) -> None:
    picker.pick(1, 1)
    assert not any(tick(picker, table) for _ in range(PATIENCE_TICKS))
    assert tick(picker, table)
    assert picker.pick(1 << 4, 1)


def test_a_twin_is_fetched_if_the_piece_is_given_up(picker: Picker, table: PieceTable) -> None:
    picker.pick(1, 1)
    picker.restart(0)
    assert not picker.pick(1 << 4, 1)
    assert tick(picker, table)
    assert picker.pick(1 << 4, 1)


def test_a_deadline_does_not_wait(picker: Picker) -> None:
    picker.pick(1, 1)
    picker.deadlines.add("reader", 4, 1.0)
    assert picker.pick_due(EVERYTHING, 1, key=None, only_for=None) == [(4, 0, BLOCK)]
