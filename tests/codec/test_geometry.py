import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import FileLayout, FileSlice, Geometry

LENGTHS = st.lists(st.integers(0, 50_000), min_size=1, max_size=20)


def test_bep3_only_the_last_piece_and_block_are_short() -> None:
    geometry = Geometry(total_bytes=100_000, piece_bytes=40_000)
    assert geometry.piece_count == 3
    assert [geometry.piece_length(piece) for piece in range(3)] == [40_000, 40_000, 20_000]
    assert geometry.last_piece_bytes == 20_000
    assert geometry.blocks_per_piece == 3
    assert [geometry.block_count(piece) for piece in range(3)] == [3, 3, 2]
    assert geometry.total_blocks == 8
    assert [geometry.block_length(0, block) for block in range(3)] == [16_384, 16_384, 7_232]
    assert [geometry.block_length(2, block) for block in range(2)] == [16_384, 3_616]
    assert geometry.piece_offset(2) == 80_000
    assert [geometry.piece_at(at) for at in (0, 39_999, 40_000, 99_999)] == [0, 0, 1, 2]


def test_geometry_of_nothing_has_no_pieces() -> None:
    geometry = Geometry(0, 16_384)
    assert (geometry.piece_count, geometry.last_piece_bytes, geometry.total_blocks) == (0, 0, 0)


def test_geometry_is_a_frozen_fact() -> None:
    geometry = Geometry(10, 16_384)
    assert geometry == Geometry(10, 16_384) != Geometry(11, 16_384)
    assert hash(geometry) == hash(Geometry(10, 16_384))
    with pytest.raises(AttributeError):
        geometry.total_bytes = 11  # type: ignore[misc]


@given(st.integers(1, 10**7), st.integers(1, 300_000))
def test_blocks_cover_every_piece_and_pieces_the_payload(total: int, piece_bytes: int) -> None:
    piece_bytes = max(piece_bytes, total // 50 + 1)
    geometry = Geometry(total, piece_bytes)
    for piece in range(geometry.piece_count):
        blocks = [geometry.block_length(piece, b) for b in range(geometry.block_count(piece))]
        assert sum(blocks) == geometry.piece_length(piece)
        assert all(0 < length <= BLOCK_BYTES for length in blocks)
        assert blocks[:-1] == [BLOCK_BYTES] * (len(blocks) - 1)
    lengths = [geometry.piece_length(piece) for piece in range(geometry.piece_count)]
    assert sum(lengths) == total
    assert all(lengths)


def test_slices_skip_empty_files() -> None:
    layout = FileLayout([0, 10, 0, 0, 20, 0])
    assert list(layout.offsets) == [0, 0, 10, 10, 10, 30]
    assert layout.slices(0, 30) == [FileSlice(1, 0, 10), FileSlice(4, 0, 20)]
    assert layout.slices(5, 10) == [FileSlice(1, 5, 5), FileSlice(4, 0, 5)]
    assert layout.slices(10, 1) == [FileSlice(4, 0, 1)]
    assert layout.slices(25, 100) == [FileSlice(4, 15, 5)]
    assert layout.slices(30, 1) == layout.slices(4, 0) == []


@given(LENGTHS, st.sampled_from([1, 16_384]), st.data())
def test_a_range_touches_the_files_of_its_slices_and_the_empty_ones_between(
    lengths: list[int], alignment: int, data: st.DataObject
) -> None:
    layout = FileLayout(lengths, alignment)
    if not layout.total_bytes:
        return
    start = data.draw(st.integers(0, layout.end_bytes - 1))
    length = data.draw(st.integers(1, layout.end_bytes - start))
    touched = [part.file_index for part in layout.slices(start, length)]
    if touched and not layout.has_gaps:
        assert layout.file_count(start, length) == touched[-1] - touched[0] + 1
    assert len(touched) <= layout.file_count(start, length) <= len(lengths)


@given(LENGTHS, st.data())
def test_slices_are_the_bytes_of_the_range(lengths: list[int], data: st.DataObject) -> None:
    layout = FileLayout(lengths)
    total = sum(lengths)
    start = data.draw(st.integers(0, total))
    length = data.draw(st.integers(0, total - start))
    position = start
    for index, offset, run in layout.slices(start, length):
        assert run > 0
        assert layout.offsets[index] + offset == position
        assert offset + run <= lengths[index]
        position += run
    assert position == start + length


@given(LENGTHS.filter(any), st.integers(1_000, 60_000))
def test_pieces_of_files_and_files_of_pieces_agree(lengths: list[int], piece_bytes: int) -> None:
    layout = FileLayout(lengths)
    geometry = Geometry(sum(lengths), piece_bytes)
    for piece in range(geometry.piece_count):
        runs = layout.slices(geometry.piece_offset(piece), geometry.piece_length(piece))
        touched = {run.file_index for run in runs}
        files = layout.files_of_piece(piece, geometry)
        assert touched == {index for index in files if lengths[index]}
        assert {files[0], files[-1]} <= touched
    for index, length in enumerate(lengths):
        pieces = layout.pieces_of(index, geometry)
        holders = [
            p
            for p in range(geometry.piece_count)
            if length and _touches(layout, geometry, p, index)
        ]
        assert list(pieces) == holders


def _touches(layout: FileLayout, geometry: Geometry, piece: int, index: int) -> bool:
    return index in layout.files_of_piece(piece, geometry)


def test_layouts_compare_by_their_lengths() -> None:
    layout = FileLayout([1, 2])
    assert layout == FileLayout((1, 2)) != FileLayout([2, 1])
    assert hash(layout) == hash(FileLayout([1, 2]))
    assert layout != [1, 2]
    assert len(layout) == 2
    assert layout.total_bytes == 3
    assert repr(layout) == "FileLayout(2 files, 3 bytes)"


def test_empty_file_is_in_no_piece() -> None:
    layout = FileLayout([5, 0, 5])
    assert list(layout.pieces_of(1, Geometry(10, 4))) == []
    assert list(layout.pieces_of(2, Geometry(10, 4))) == [1, 2]


ALIGNED = FileLayout([40_000, 0, 5, 65_536, 1], alignment=32_768)


def test_bep52_gaps_between_files_are_zeros_and_count_for_nothing() -> None:
    geometry = Geometry(ALIGNED.end_bytes, 32_768, ALIGNED)
    assert [geometry.piece_length(piece) for piece in range(6)] == [
        *(32_768, 7_232),
        *(5, 32_768, 32_768, 1),
    ]
    assert [geometry.span_length(piece) for piece in range(6)] == [32_768] * 6
    assert geometry.missing_bytes(b"\1" * 6) == 6 * 32_768 - ALIGNED.total_bytes
    assert geometry.missing_bytes(b"\0\0\1\0\0\0") == 32_763
    assert geometry.missing_bytes(b"\1\1\1\1\1\0") == 32_763 + 32_768 - 7_232
    assert geometry.missing_bytes(bytes(6)) == geometry.missing_bytes(b"") == 0
    into = memoryview(bytearray(b"x" * 65_536))
    for run, share in ALIGNED.placed(32_768, into):
        share[:] = bytes((run.file_index + 1,)) * run.length_bytes
    assert bytes(into) == b"\x01" * 7_232 + bytes(25_536) + b"\x03" * 5 + bytes(32_763)


def test_bep3_pieces_without_gaps_end_with_the_payload() -> None:
    geometry = Geometry(100_000, 32_768)
    assert geometry.span_length(3) == geometry.piece_length(3) == 1_696
    assert geometry.missing_bytes(b"\1" * 4) == 31_072
    assert geometry.missing_bytes(b"\1\1\1\0") == geometry.missing_bytes(bytes(4)) == 0
    assert Geometry(0, 32_768).missing_bytes(b"") == 0
