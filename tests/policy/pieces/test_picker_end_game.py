"""Parole and end game of the picker, by scenario."""

from tests.support.picking import (
    Download,
    asked_of_nobody,
    bits_of,
    numbers,
    open_pieces,
    pieces_of,
)
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.pieces.picker import END_GAME_BLOCKS

# -- parole ---------------------------------------------------------------------------------


def test_b6_peer_on_parole_gets_whole_pieces_that_nobody_else_is_asked_for() -> None:
    download = Download(6)
    picker = download.picker
    shared = pieces_of(picker.pick(download.all, 2))
    own = pieces_of(picker.pick(download.all, 6, only_for="a"))
    assert len(own) == 2
    assert not set(own) & set(shared)
    assert pieces_of(picker.pick(download.all, 2)) == shared
    others = pieces_of(picker.pick(download.all, 99, only_for="b"))
    assert not set(others) & {*own, *shared}
    assert numbers(picker.pick(download.all, 99, only_for="a")) == [(own[1], 2), (own[1], 3)]


def test_b6_blocks_that_a_peer_on_parole_gives_back_wait_for_it() -> None:
    download = Download(2)
    picker = download.picker
    (own,) = pieces_of(picker.pick(download.all, 4, only_for="a"))
    picker.release(own, 1)
    assert pieces_of(picker.pick(download.all, 99)) == [1 - own]
    assert picker.pick(download.all, 99) == []
    assert numbers(picker.pick(download.all, 99, only_for="a")) == [(own, 1)]


def test_b6_pieces_of_a_peer_that_left_are_open_to_all() -> None:
    download = Download(1)
    picker = download.picker
    picker.pick(1, 4, only_for="a")
    picker.release(0, 2)
    open_pieces(picker, "b")
    assert picker.pick(1, 9) == []
    open_pieces(picker, "a")
    assert numbers(picker.pick(1, 9)) == [(0, 2)]


def test_b6_peer_on_parole_is_never_asked_for_what_others_work_on() -> None:
    download = Download(1)
    download.picker.pick(1, 1)
    assert download.picker.pick(1, 9, only_for="a") == []


def test_b6_end_game_and_helpers_leave_the_pieces_of_a_peer_on_parole_alone() -> None:
    download = Download(6, blocks=2)
    picker = download.picker
    (own,) = pieces_of(picker.pick(download.all, 1, only_for="a"))
    picker.pick(download.all, 99)
    assert picker.is_end_game
    again = pieces_of(picker.pick_duplicates(download.all, 99, asked_of_nobody))
    assert own not in again
    assert len(again) == 5
    assert picker.pick_shared(download.all, 99) == []
    assert picker.duplicate([(own, 0, BLOCK_BYTES)]) == []


def test_b6_a_piece_that_failed_is_begun_for_one_peer_alone() -> None:
    download = Download(2)
    picker = download.picker
    picker.suspects.hash_failed(0)
    assert pieces_of(picker.pick(1, 2, key="a")) == [0]
    assert picker.partials[0].is_single_source
    assert picker.pick(1, 9, key="b") == picker.pick_shared(1, 9) == []
    assert numbers(picker.pick(1, 9, key="a")) == [(0, 2), (0, 3)]
    picker.finished(0)
    download.table.abandoned(0)
    picker.suspects.hash_passed(0)
    assert 0 not in picker.suspects


# -- pieces of one peer ---------------------------------------------------------------------


def test_a_peer_alone_has_pieces_of_its_own_and_others_help_when_nothing_else_is_left() -> None:
    download = Download(2)
    picker = download.picker
    (own,) = pieces_of(picker.pick(download.all, 1, key="a", is_exclusive=True))
    (other,) = pieces_of(picker.pick(download.all, 4, key="b", is_exclusive=True))
    assert own != other
    assert picker.pick(download.all, 9, key="b", is_exclusive=True) == []
    assert numbers(picker.pick_shared(download.all, 2)) == [(own, 1), (own, 2)]
    assert numbers(picker.pick(download.all, 9)) == [(own, 3)]  # it is open to all now


def test_what_a_peer_left_behind_is_adopted_once_nobody_is_asked_for_it() -> None:
    download = Download(1)
    picker = download.picker
    picker.pick(1, 2, key="a", is_exclusive=True)
    open_pieces(picker, "a")
    assert picker.adopt(1, 9, "b") == []
    picker.release(0, 0)
    picker.release(0, 1)
    assert numbers(picker.adopt(1, 3, "b")) == [(0, 0), (0, 1), (0, 2)]
    assert picker.pick(1, 9, key="c") == []
    assert numbers(picker.pick(1, 9, key="b", is_exclusive=True)) == [(0, 3)]


def test_no_more_pieces_are_begun_than_a_peer_may_have() -> None:
    download = Download(9)
    for most in (0, 1, 3):
        picked = download.picker.pick(
            download.all, 99, key="a", is_exclusive=True, max_new_pieces=most
        )
        assert len(pieces_of(picked)) == most


# -- end game -------------------------------------------------------------------------------


def test_end_game_begins_when_every_wanted_piece_is_begun() -> None:
    download = Download(3, have=1)
    picker = download.picker
    picker.set_priorities([1, 1, 0])
    assert not picker.is_end_game
    picker.pick(download.all, 1)
    assert picker.is_end_game
    picker.finished(1)
    download.table.abandoned(1)
    assert not picker.is_end_game


def test_end_game_duplicates_are_bounded_and_of_pieces_that_the_peer_has() -> None:
    download = Download(40, blocks=4)
    picker = download.picker
    picker.pick(download.all, 999)
    even = bits_of(*range(0, 40, 2))
    again = picker.pick_duplicates(even, 999, asked_of_nobody)
    assert len(again) == len(set(again)) == END_GAME_BLOCKS
    assert all(piece % 2 == 0 for piece, _, _ in again)
    assert picker.pick_duplicates(0, 999, asked_of_nobody) == []


def test_end_game_asks_no_peer_twice_and_ends_when_all_is_asked() -> None:
    download = Download(3, blocks=8)
    picker = download.picker
    mine = set(picker.pick(download.all, 12))
    picker.pick(download.all, 99)  # another peer
    asked = 0
    while blocks := picker.pick_duplicates(download.all, 5, mine.__contains__):
        assert not mine & set(blocks)
        mine.update(blocks)
        asked += len(blocks)
    assert asked == 12
    assert len(mine) == 24


def test_end_game_passes_over_blocks_that_are_here() -> None:
    download = Download(1)
    download.picker.pick(1, 4)
    download.picker.partials[0].receive(3)
    assert numbers(download.picker.pick_duplicates(1, 9, asked_of_nobody)) == [
        (0, 2),
        (0, 1),
        (0, 0),
    ]


def test_duplicate_given_up_leaves_the_block_with_the_other_peer() -> None:
    download = Download(1)
    picker = download.picker
    picker.pick(1, 4)
    picker.pick_duplicates(1, 4, asked_of_nobody)
    for block in range(4):
        picker.release(0, block)
    assert picker.pick(1, 9) == []
    picker.release(0, 2)
    assert numbers(picker.pick(1, 9)) == [(0, 2)]


def test_block_that_end_game_asked_for_while_free_is_not_asked_for_by_a_pick() -> None:
    download = Download(1)
    picker = download.picker
    picker.begin(0)
    assert len(picker.pick_duplicates(1, 9, asked_of_nobody)) == 4
    assert picker.pick(1, 9) == []
