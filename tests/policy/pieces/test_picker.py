"""What the picker picks, by scenario; test_picker_model.py holds it against a naive model."""

import random
from functools import partial

import pytest

from tests.support.counting import CountingBits
from tests.support.picking import Download, asked_of_nobody, bits_of, numbers, pieces_of
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.pieces.picker import (
    FEW_PIECES,
    LOW_WORD,
    RANDOM_FIRST_PIECES,
    Picker,
)
from torrent_engine.policy.pieces.piece_table import PieceState, PieceTable

# -- what is picked -------------------------------------------------------------------------


def test_bep3_piece_is_picked_only_of_a_peer_that_has_it() -> None:
    download = Download(10)
    assert pieces_of(download.picker.pick(bits_of(3, 7), 99)) in ([3, 7], [7, 3])
    assert download.picker.pick(bits_of(3, 7), 99) == []
    assert download.picker.pick(0, 99) == []


@pytest.mark.parametrize("count", [0, -1, -64])
def test_picking_no_blocks_marks_none(count: int) -> None:
    download = Download(3)
    download.picker.pick(download.all, 1)
    assert download.picker.pick(download.all, count) == []
    assert download.picker.pick_duplicates(download.all, count, asked_of_nobody) == []
    assert len(download.picker.pick(download.all, 99)) == 11


def test_begun_pieces_are_finished_before_new_ones_begin() -> None:
    download = Download(20)
    first = download.picker.pick(download.all, 3)
    second = download.picker.pick(download.all, 3)
    assert numbers(second)[0] == (first[0][0], 3)
    assert len(pieces_of(first + second)) == 2
    assert set(download.picker.partials) == set(pieces_of(first + second))


def test_rarest_piece_is_begun_first() -> None:
    download = Download(8, have=RANDOM_FIRST_PIECES)
    for bits in (bits_of(4, 5, 6, 7), bits_of(4, 6, 7), bits_of(4, 7)):
        download.picker.availability.add(bits)
    order = download.order_of_new_pieces(download.all)
    assert [order[:2], set(order[2:])] == [[5, 6], {4, 7}]


def test_ties_of_rarity_are_broken_at_random() -> None:
    firsts = set()
    for seed in range(40):
        download = Download(12, have=RANDOM_FIRST_PIECES, seed=seed)
        download.picker.availability.add(bits_of(4, 5))
        firsts.add(pieces_of(download.picker.pick(download.all, 1))[0])
    assert firsts <= set(range(6, 12))
    assert len(firsts) >= 4


def test_first_pieces_are_random_whatever_their_rarity() -> None:
    firsts = set()
    for seed in range(60):
        download = Download(8, have=RANDOM_FIRST_PIECES - 1, seed=seed)
        download.picker.availability.add(download.all ^ bits_of(3))  # 3 is the rarest
        firsts.add(pieces_of(download.picker.pick(download.all, 1))[0])
    assert len(firsts) >= 4


def test_pieces_that_are_here_or_on_their_way_to_the_disk_are_not_picked() -> None:
    download = Download(4, have=1)
    download.picker.begin(1)
    download.picker.finished(1)
    download.table.hash_passed(1)
    assert sorted(pieces_of(download.picker.pick(download.all, 99))) == [2, 3]


def test_failed_piece_is_fetched_again() -> None:
    download = Download(1)
    assert len(download.picker.pick(1, 9)) == 4
    download.picker.finished(0)
    download.table.abandoned(0)
    assert numbers(download.picker.pick(1, 9)) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_short_last_piece_has_its_own_lengths() -> None:
    geometry = Geometry(2 * BLOCK_BYTES + 5, 2 * BLOCK_BYTES)
    picker = Picker(geometry, PieceTable(geometry), random.Random(1))
    assert picker.pick(bits_of(1), 9) == [(1, 0, 5)]


# -- sequence and priorities ----------------------------------------------------------------


def test_sequential_mode_goes_from_the_first_piece_to_the_last() -> None:
    download = Download(150, have=1, sequential=True)
    download.picker.availability.add(download.all ^ bits_of(90))
    order = numbers(download.picker.pick(download.all, 999))
    assert order == [(piece, block) for piece in range(1, 150) for block in range(4)]


def test_sequential_mode_skips_what_the_peer_lacks() -> None:
    download = Download(200, sequential=True)
    assert pieces_of(download.picker.pick(bits_of(2, 70, 199), 99)) == [2, 70, 199]


def test_sequential_mode_returns_to_the_lowest_begun_piece() -> None:
    download = Download(20, sequential=True)
    download.picker.pick(download.all, 10)  # 0 and 1, and half of 2
    download.picker.release(0, 3)
    download.picker.release(1, 2)
    download.picker.release(0, 1)
    expected = [(0, 1), (0, 3), (1, 2), (2, 2), (2, 3), (3, 0)]
    assert numbers(download.picker.pick(download.all, 6)) == expected


def test_released_block_is_asked_for_before_the_piece_begun_after_it() -> None:
    download = Download(20)
    old = download.picker.pick(download.all, 4)[0][0]
    download.picker.pick(download.all, 1)
    download.picker.release(old, 2)
    assert numbers(download.picker.pick(download.all, 1)) == [(old, 2)]


def test_higher_priority_is_begun_first_and_0_is_skipped() -> None:
    download = Download(6, have=0)
    download.picker.set_priorities([4, 0, 7, 1, 7, 0])
    order = download.order_of_new_pieces(download.all)
    assert [set(order[:2]), order[2:]] == [{2, 4}, [0, 3]]
    assert download.picker.wanted == bits_of(0, 2, 3, 4)


def test_rarity_counts_within_one_priority_only() -> None:
    download = Download(8, have=RANDOM_FIRST_PIECES)
    download.picker.set_priorities([1, 1, 1, 1, 1, 7, 7, 1])
    download.picker.availability.add(bits_of(5, 6))
    download.picker.availability.add(bits_of(5))
    assert download.order_of_new_pieces(download.all)[:2] == [6, 5]


def test_sequence_counts_within_one_priority_only() -> None:
    download = Download(5, sequential=True)
    download.picker.set_priorities([1, 1, 7, 1, 7])
    assert download.order_of_new_pieces(download.all) == [2, 4, 0, 1, 3]


def test_piece_skipped_after_it_was_begun_gets_no_request_until_it_is_wanted_again() -> None:
    download = Download(2)
    picker = download.picker
    (piece,) = pieces_of(picker.pick(download.all, 1))
    other = 1 - piece
    picker.set_priorities([int(number == other) for number in range(2)])
    assert picker.interesting_piece(1 << piece) < 0
    picker.release(piece, 0)
    assert pieces_of(picker.pick(download.all, 99)) == [other]
    assert pieces_of(picker.pick_duplicates(download.all, 99, asked_of_nobody)) == [other]
    picker.set_priorities([1, 1])
    assert picker.interesting_piece(1 << piece) >= 0
    assert numbers(picker.pick(download.all, 99)) == [(piece, block) for block in range(4)]


@pytest.mark.parametrize("count", [0, 2, 4])
def test_priorities_of_another_number_of_pieces_raise(count: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"{count} priorities for 3 pieces"):
        Download(3).picker.set_priorities([1] * count)


def test_piece_begun_from_the_resume_data_is_finished_first() -> None:
    download = Download(9, have=RANDOM_FIRST_PIECES)
    partial = download.picker.begin(7)
    for block in (0, 2):
        assert partial.receive(block)
    assert numbers(download.picker.pick(download.all, 2)) == [(7, 1), (7, 3)]


def test_piece_whose_last_free_block_came_late_is_passed_over() -> None:
    download = Download(2)
    (piece,) = pieces_of(download.picker.pick(download.all, 4))
    download.picker.release(piece, 3)
    download.picker.partials[piece].receive(3)
    assert pieces_of(download.picker.pick(download.all, 4)) == [1 - piece]


def with_late_block(download: Download, blocks: int, key: object = None) -> int:
    """Begin a piece of which all is asked for but one block, which came when it was free again."""
    picked = download.picker.pick(download.all, blocks, key=key, is_exclusive=key is not None)
    piece = picked[0][0]
    download.picker.release(piece, blocks - 1)
    download.picker.partials[piece].receive(blocks - 1)
    return piece


def test_piece_that_failed_after_its_last_block_came_late_is_asked_for_again() -> None:
    download = Download(1, blocks=2)
    piece = with_late_block(download, 2)
    download.picker.partials[piece].receive(0)
    download.picker.finished(piece)
    download.table.abandoned(piece)
    assert len(download.picker.pick(download.all, 2)) == 2
    download.picker.release(piece, 0)
    assert numbers(download.picker.pick(download.all, 2)) == [(piece, 0)]


def test_web_seed_passes_over_pieces_that_late_blocks_completed() -> None:
    download = Download(2, blocks=2)
    piece = with_late_block(download, 2)
    download.picker.partials[piece].receive(0)
    download.picker.finished(piece)
    picked = download.picker.pick_range(download.all, 2, key="w", only_for=None, last=piece)
    assert pieces_of(picked) == [1 - piece]


def test_f11_a_web_seed_is_chosen_a_piece_without_a_copy_of_all_pieces_for_each_begun_one() -> None:
    download = Download(100, blocks=2)
    for piece in range(99):
        download.picker.begin(piece).take(1)
    bits = CountingBits(download.all)
    CountingBits.copies = 0
    picked = download.picker.pick_range(bits, 1, key="w", only_for=None, last=98)
    assert numbers(picked) == [(98, 1)]
    assert CountingBits.copies == 1  # it was one for each begun piece


def test_web_seed_passes_over_a_piece_without_free_blocks() -> None:
    download = Download(2, blocks=2)
    piece = with_late_block(download, 2)
    picked = download.picker.pick_range(download.all, 2, key="w", only_for=None, last=piece)
    assert pieces_of(picked) == [1 - piece]


def test_shared_blocks_are_of_a_piece_that_has_free_ones() -> None:
    download = Download(2, blocks=4)
    with_late_block(download, 4, "a")
    (piece,) = pieces_of(download.picker.pick(download.all, 3, key="b", is_exclusive=True))
    for block in (0, 1):
        download.picker.partials[piece].receive(block)
    assert numbers(download.picker.pick_shared(download.all, 1)) == [(piece, 3)]


def test_peer_owns_no_piece_whose_last_free_block_came_late() -> None:
    download = Download(1, blocks=2)
    piece = with_late_block(download, 2, "a")
    assert not download.picker.owns("a")
    download.picker.release(piece, 0)
    assert download.picker.owns("a")


def test_release_of_a_piece_that_is_finished_is_ignored() -> None:
    download = Download(2)
    (piece,) = pieces_of(download.picker.pick(download.all, 4))
    download.complete(piece)
    download.picker.release(piece, 0)
    assert piece not in pieces_of(download.picker.pick(download.all, 99))
    assert download.table.state(piece) is PieceState.HAVE


# -- interest -------------------------------------------------------------------------------


def test_bep3_peer_is_interesting_while_it_has_what_we_want_and_lack() -> None:
    download = Download(4, have=1)
    picker = download.picker
    picker.set_priorities([1, 1, 1, 0])
    assert picker.interesting_piece(0) < 0
    assert picker.interesting_piece(bits_of(0, 3)) < 0
    assert picker.interesting_piece(bits_of(1) >= 0)
    picker.pick(bits_of(1), 99)
    assert picker.interesting_piece(bits_of(1) >= 0)  # begun, not here
    download.complete(1)
    assert picker.interesting_piece(bits_of(1)) < 0
    download.table.lost(1)
    assert picker.interesting_piece(bits_of(1) >= 0)


# -- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [1, FEW_PIECES, FEW_PIECES + 1, 300])
def test_begun_pieces_are_found_however_many_there_are(begun: int) -> None:
    download = Download(1000, blocks=2)
    rng = random.Random(begun)
    pieces = rng.sample(range(1000), begun)
    for piece in pieces:
        download.picker.begin(piece).take(1)
    peer = bits_of(*rng.sample(pieces, -(-begun // 2)))
    low = peer.bit_length() // 2
    for bits in (peer & (1 << low) - 1, peer):
        picked = download.picker.pick(bits, 999)
        assert all(bits >> piece & 1 for piece in pieces_of(picked))
    assert all(
        download.picker.partials[piece].has_free != bool(peer >> piece & 1) for piece in pieces
    )


def test_piece_far_above_the_lowest_word_is_found() -> None:
    pieces = 40 * LOW_WORD.bit_length()
    for sequential in (False, True):
        download = Download(pieces, sequential=sequential)
        far = bits_of(pieces - 1, pieces // 2)
        assert set(pieces_of(download.picker.pick(far, 99))) == {pieces - 1, pieces // 2}


# -- order ----------------------------------------------------------------------------------


def test_sequential_mode_begins_at_a_piece_and_comes_round() -> None:
    download = Download(8, sequential=True)
    download.picker.sequential_from = 5
    assert download.order_of_new_pieces(download.all) == [5, 6, 7, 0, 1, 2, 3, 4]


def test_sequential_mode_goes_on_with_begun_pieces_in_its_order() -> None:
    download = Download(8, sequential=True)
    for piece in (1, 6, 4):
        download.picker.begin(piece)
    download.picker.sequential_from = 4
    assert pieces_of(download.picker.pick(download.all, 12)) == [4, 6, 1]


def test_sequential_mode_from_a_piece_behind_the_end_is_from_the_first() -> None:
    download = Download(4, sequential=True)
    download.picker.sequential_from = 99
    assert download.order_of_new_pieces(download.all) == [0, 1, 2, 3]


def test_a_web_seed_keeps_to_the_order_from_a_piece() -> None:
    download = Download(8, sequential=True)
    download.picker.sequential_from = 5
    pick = partial(download.picker.pick_range, download.all, 4, key="w", only_for=None)
    found = [pieces_of(pick(last=None)) for _ in range(4)]
    assert found == [[5], [6], [7], [0]]


def test_edges_come_before_higher_priorities_but_not_if_they_are_skipped() -> None:
    download = Download(6)
    download.picker.set_priorities([0, 1, 7, 7, 1, 1])
    download.picker.set_edges(bits_of(0, 4))
    assert download.order_of_new_pieces(download.all)[0] == 4
    assert set(download.order_of_new_pieces(download.all)) == set()
    assert 0 not in download.picker.partials


def test_edges_stay_first_when_priorities_change_and_can_be_taken_back() -> None:
    download = Download(6)
    download.picker.set_edges(bits_of(5))
    download.picker.set_priorities([7, 7, 1, 1, 1, 1])
    assert pieces_of(download.picker.pick(download.all, 4)) == [5]
    download.picker.set_edges(0)
    assert set(pieces_of(download.picker.pick(download.all, 8))) == {0, 1}
