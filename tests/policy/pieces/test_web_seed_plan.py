"""The ranges requested from a web seed, and the blocks in its responses."""

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import WebSeedConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import Block, PieceTable
from torrent_engine.policy.pieces.web_seed_plan import (
    FEW_BLOCKS,
    MAX_BAD_FILES,
    MAX_VIEWS,
    BlockCutter,
    ServedPieces,
    choose_range,
    contiguous_runs,
    range_blocks,
)

KIB = 1024
MIB = 1024 * KIB
ALL = (1 << 100) - 1
ME, PEER = "web seed", "peer"


def make_picker(
    pieces: int = 100, piece_blocks: int = 4, *, is_sequential: bool = False, seed: int = 1
) -> Picker:
    piece_bytes = piece_blocks * BLOCK_BYTES
    geometry = Geometry(pieces * piece_bytes, piece_bytes)
    table = PieceTable(geometry)
    return Picker(geometry, table, random.Random(seed), is_sequential=is_sequential)


def pick(
    picker: Picker,
    count: int,
    *,
    bits: int = ALL,
    last: int | None = None,
    key: str = ME,
    only_for: str | None = None,
) -> list[Block]:
    return picker.pick_range(bits, count, key=key, only_for=only_for, last=last)


def pieces_of(blocks: list[Block]) -> list[int]:
    return list(dict.fromkeys(piece for piece, _, _ in blocks))


# How much


def test_a_range_holds_some_seconds_of_the_rate_within_its_bounds() -> None:
    config = WebSeedConfig(
        range_s=4.0, max_requests=4, min_range_bytes=MIB, max_range_bytes=8 * MIB
    )
    plenty = 10**12
    assert range_blocks(config, 0.0, plenty) == MIB // BLOCK_BYTES
    assert range_blocks(config, 4 * MIB, plenty) == 4 * MIB // BLOCK_BYTES
    assert range_blocks(config, 10**10, plenty) == 8 * MIB // BLOCK_BYTES
    assert range_blocks(replace(config, max_requests=1), MIB, plenty) == 4 * MIB // BLOCK_BYTES


def test_ranges_become_shorter_towards_the_end() -> None:
    config = WebSeedConfig(max_requests=4)
    assert range_blocks(config, 10**10, 16 * MIB) == 2 * MIB // BLOCK_BYTES
    assert range_blocks(config, 10**10, 0) == FEW_BLOCKS


# Where


@given(st.integers(1, ALL), st.integers(1, 40), st.none() | st.integers(0, 120), st.randoms())
def test_a_stretch_is_a_run_of_candidates(
    candidates: int, most: int, start: int | None, rng: random.Random
) -> None:
    first, length = choose_range(candidates, most, start, rng)
    assert 1 <= length <= most
    assert all(candidates >> piece & 1 for piece in range(first, first + length))
    if start is not None and candidates >> start & 1:
        assert first == start


def test_bep19_the_longest_gaps_are_filled_first() -> None:
    gaps = 0b1111_0000_0011_0001  # of 1, 2 and 4 pieces
    found = {choose_range(gaps, 4, None, random.Random(seed)) for seed in range(50)}
    assert found == {(12, 4)}
    assert {choose_range(0b110001, 2, None, random.Random(n)) for n in range(50)} == {(4, 2)}


def test_bep19_the_first_stretch_is_at_a_random_place() -> None:
    firsts = {pick(make_picker(seed=seed), 8)[0][0] for seed in range(30)}
    assert len(firsts) > 10


def test_a_stretch_goes_on_where_the_last_one_ended() -> None:
    picker = make_picker()
    first = pieces_of(pick(picker, 12))
    assert len(first) == 3
    if first[-1] < 99:
        again = pieces_of(pick(picker, 12, last=first[-1]))
        assert again[0] == first[-1] + 1


def test_every_block_is_picked_once_and_the_whole_torrent_in_few_stretches() -> None:
    picker, picked, last, runs = make_picker(), list[Block](), None, 0
    while blocks := pick(picker, 40, last=last):
        runs += len(contiguous_runs(blocks, 4 * BLOCK_BYTES))
        picked += blocks
        last = blocks[-1][0]
    assert sorted(picked) == [
        (p, b * BLOCK_BYTES, BLOCK_BYTES) for p in range(100) for b in range(4)
    ]
    assert runs <= 13


def test_a_long_piece_is_asked_for_in_parts_one_after_the_other() -> None:
    picker = make_picker(pieces=3, piece_blocks=64)
    first = pick(picker, 16, bits=0b111)
    second = pick(picker, 16, bits=0b111, last=first[-1][0])
    assert pieces_of(first) == pieces_of(second)
    assert first[-1][1] + BLOCK_BYTES == second[0][1]


def test_pieces_that_no_peer_has_come_first() -> None:
    picker = make_picker()
    picker.availability.add(ALL ^ (0b11 << 40))
    assert pieces_of(pick(picker, 100)) == [40, 41]


def test_the_highest_priority_comes_first_and_skipped_pieces_never() -> None:
    picker = make_picker()
    picker.set_priorities([0] * 50 + [4] * 48 + [7] * 2)
    assert pieces_of(pick(picker, 100)) == [98, 99]
    rest: list[Block] = []
    while blocks := pick(picker, 100):
        rest += blocks
    assert sorted(pieces_of(rest)) == list(range(50, 98))


def test_in_sequence_the_lowest_comes_first() -> None:
    picker = make_picker(is_sequential=True)
    assert pieces_of(pick(picker, 8)) == [0, 1]
    assert pieces_of(pick(picker, 8, last=70)) == [2, 3]


def test_only_pieces_that_the_web_seed_has_are_picked() -> None:
    assert pieces_of(pick(make_picker(), 400, bits=0b1100)) == [2, 3]


def test_what_peers_left_behind_is_finished_before_something_new() -> None:
    picker = make_picker()
    left = picker.pick(1 << 7, 4, key=PEER)
    for piece, begin, _ in left[2:]:
        picker.release(piece, begin // BLOCK_BYTES)
    assert pieces_of(pick(picker, 4)) != [7]  # the peer still owes two of it
    for piece, begin, _ in left[:2]:
        picker.release(piece, begin // BLOCK_BYTES)
    assert pick(picker, 4) == left


def test_pieces_that_others_work_on_come_last() -> None:
    picker = make_picker(pieces=2)
    picker.pick(0b01, 1, key=PEER)
    assert pieces_of(pick(picker, 8, bits=0b11)) == [1]
    assert pieces_of(pick(picker, 8, bits=0b11)) == [0]
    assert pick(picker, 8, bits=0b11) == []


def test_b6_on_parole_a_web_seed_gets_pieces_of_its_own() -> None:
    picker = make_picker(pieces=3)
    picker.pick(0b001, 1, key=PEER)
    own = pick(picker, 6, bits=0b111, only_for=ME)
    assert 0 not in pieces_of(own)
    assert {picker.partials[piece].exclusive_to for piece in pieces_of(own)} == {ME}
    assert all(piece not in pieces_of(own) for piece in pieces_of(picker.pick(ALL, 3, key=PEER)))


def test_b6_a_piece_reserved_for_a_peer_is_left_to_it() -> None:
    picker = make_picker(pieces=1)
    picker.pick(0b1, 1, key=PEER, only_for=PEER)
    assert pick(picker, 4, bits=0b1) == []


# What comes


@given(st.lists(st.integers(1, 3 * BLOCK_BYTES), max_size=40), st.integers(1, BLOCK_BYTES))
def test_bytes_are_cut_into_blocks_whatever_their_chunks(chunks: list[int], tail: int) -> None:
    blocks = [(p, b * BLOCK_BYTES, BLOCK_BYTES) for p in range(3) for b in range(4)]
    blocks.append((3, 0, tail))
    payload = random.Random(tail).randbytes(12 * BLOCK_BYTES + tail)
    cutter, start, got = BlockCutter(blocks), 0, dict[Block, bytes]()
    for size in [*chunks, len(payload)]:
        data = memoryview(payload)[start : start + size]
        for block, views in cutter.feed(data):
            got[block] = b"".join(views)
        start += len(data)
    assert not cutter.left
    assert list(got) == blocks
    assert b"".join(got.values()) == payload


def test_a_block_in_crumbs_is_joined() -> None:
    cutter = BlockCutter([(0, 0, BLOCK_BYTES)])
    done: list[tuple[Block, tuple[memoryview, ...]]] = []
    for _ in range(BLOCK_BYTES):
        done += cutter.feed(memoryview(b"x"))
    ((block, views),) = done
    assert block == (0, 0, BLOCK_BYTES)
    assert len(views) <= MAX_VIEWS + 1
    assert b"".join(views) == b"x" * BLOCK_BYTES


def test_blocks_become_stretches() -> None:
    size = 2 * BLOCK_BYTES
    first, second = (0, BLOCK_BYTES, BLOCK_BYTES), (1, 0, BLOCK_BYTES)
    alone = (2, 0, BLOCK_BYTES)
    assert contiguous_runs([alone, second, first], size) == [[first, second], [alone]]
    assert contiguous_runs([], size) == []


def test_a_stretch_among_very_many_pieces() -> None:
    picker, last = make_picker(pieces=100_000, piece_blocks=1), None
    for _ in range(200):
        last = pick(picker, 64, bits=(1 << 100_000) - 1, last=last)[-1][0]
    assert len(picker.partials) == 200 * 64


def served_pieces() -> ServedPieces:
    """Pieces of 10 bytes: files of 25, 5 and 70 bytes, then a pad of 5 and a file of 10."""
    lengths = [25, 5, 70, 5, 10]
    geometry = Geometry(sum(lengths), 10)
    layout = FileLayout(lengths)
    return ServedPieces(layout, geometry, lambda index: index != 3, forget_after_s=60.0)


def test_files_that_a_web_seed_lacks_are_asked_for_again_later() -> None:
    served = served_pieces()
    served.lacks(0, now=1.0)
    assert served.bits == 0b1111_1111_1000
    served.lacks(2, now=2.0)
    assert served.bits == 0b1100_0000_0000
    served.forget(61.0)
    assert served.bits == 0b1100_0000_0000
    served.forget(62.0)
    assert served.bits == 0b1111_1111_1111


def test_b6_a_wrong_file_is_never_asked_for_again() -> None:
    served = served_pieces()
    assert not served.was_wrong(4)
    assert not served.was_wrong(5), "it was under way"
    assert served.bits == 0b1100_0000_0111
    served.lacks(0, now=0.0)
    served.forget(60.0)
    assert served.bits == 0b1100_0000_0111


def test_b6_of_a_wrong_piece_of_several_files_only_that_is_left_out() -> None:
    served = served_pieces()
    assert not served.was_wrong(2)
    assert served.bits == 0b1111_1111_1011


def test_b6_many_wrong_files_are_no_older_versions() -> None:
    lengths = [10] * 8
    served = ServedPieces(FileLayout(lengths), Geometry(80, 10), lambda _: True, forget_after_s=1.0)
    verdicts = [served.was_wrong(piece) for piece in range(MAX_BAD_FILES + 1)]
    assert verdicts == [False] * MAX_BAD_FILES + [True]
