"""What is wanted and how much of it is here, against a plain count."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.torrents import PIECE_BYTES, make_torrent, payload_of
from tests.support.v2_torrents import torrent_around, v2_info
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.transfer.progress import DownloadProgress, edge_pieces, skipped_by

SIZES = {
    f"f{n}": payload_of(size) for n, size in enumerate((20_000, 0, 5, 40_000, 16_384, 1, 30_000))
}
METAINFO, _ = make_torrent(SIZES)
COUNT = METAINFO.piece_count
V2 = Metainfo.from_bytes(torrent_around(*v2_info(SIZES)))


def naive(metainfo: Metainfo, priorities: tuple[int, ...], have: set[int]) -> tuple[int, int, int]:
    """Return wanted bytes, completed bytes and wanted pieces that are missing."""
    wanted = {
        piece
        for index, priority in enumerate(priorities)
        if priority
        for piece in metainfo.layout.pieces_of(index, metainfo.geometry)
    }
    length = metainfo.geometry.piece_length
    return sum(map(length, wanted)), sum(map(length, wanted & have)), len(wanted - have)


PADDED = Metainfo.from_info_bytes(
    encode(
        {
            "name": "padded",
            "piece length": PIECE_BYTES,
            "files": [
                {"length": 5, "path": ["a"]},
                {"length": PIECE_BYTES - 5, "path": [".pad", "1"], "attr": "p"},
                {"length": 0, "path": ["empty"]},
                {"length": PIECE_BYTES + 7, "path": ["b"]},
                {"length": 4 * PIECE_BYTES, "path": [".pad", "2"], "attr": "p"},
                {"length": 3, "path": ["c"]},
                {"length": 9, "path": [".pad", "3"], "attr": "p"},
                {"length": 2 * PIECE_BYTES, "path": ["d"]},
                {"length": 11, "path": [".pad", "4"], "attr": "p"},
            ],
            "pieces": bytes(20 * 9),
        }
    )
)
"""Pads of less than a piece, of several, inside of one, and at the end."""


def real_bytes(metainfo: Metainfo, pieces: set[int]) -> int:
    """Return how many bytes of files, not of pads, these pieces have."""
    geometry = metainfo.geometry
    return sum(
        each.length_bytes
        for piece in pieces
        for each in metainfo.layout.slices(
            geometry.piece_offset(piece), geometry.piece_length(piece)
        )
        if not metainfo.files.is_pad(each.file_index)
    )


@given(
    st.sets(st.integers(0, PADDED.piece_count - 1)),
    st.tuples(*[st.integers(0, 1)] * len(PADDED.files)),
    st.randoms(use_true_random=False),
)
def test_bep47_padding_that_is_missing_is_known_in_any_order(
    have: set[int], priorities: tuple[int, ...], rng: random.Random
) -> None:
    progress, here = DownloadProgress(PADDED), Bitfield(PADDED.piece_count)
    for found in have:
        here.set(found)
    progress.set_priorities(priorities)
    progress.recount(here)
    order = sorted(set(range(PADDED.piece_count)) - have)
    rng.shuffle(order)
    missing = set(order)
    for piece in [None, *order]:
        if piece is not None:
            progress.piece_here(piece)
            missing.remove(piece)
        assert progress.left_bytes - progress.missing_pad_bytes == real_bytes(PADDED, missing)
    assert (progress.left_bytes, progress.missing_pad_bytes) == (0, 0)


@given(
    st.tuples(*[st.integers(0, 7)] * len(METAINFO.files)),
    st.sets(st.integers(0, COUNT - 1)),
    st.randoms(use_true_random=False),
)
def test_pieces_in_any_order_are_counted_as_a_recount_counts_them(
    priorities: tuple[int, ...], have: set[int], rng
) -> None:
    progress = DownloadProgress(METAINFO)
    of_pieces = progress.set_priorities(priorities)
    here = Bitfield(COUNT)
    for found in have:
        here.set(found)
    progress.recount(here)
    order = sorted(set(range(COUNT)) - have)
    rng.shuffle(order)
    completed: list[int] = []
    for piece in [None, *order]:
        if piece is not None:
            have.add(piece)
            completed += progress.piece_here(piece)
        expected = naive(METAINFO, priorities, have)
        assert (progress.wanted_bytes, progress.completed_bytes, progress.wanted_left) == expected
        assert progress.is_complete == (not expected[2])
    assert progress.have_bytes == METAINFO.total_bytes
    assert len(completed) == len(set(completed))  # each file is told once, empty ones never
    assert {1} & set(completed) == set()
    assert [bool(priority) for priority in of_pieces] == [
        bool(naive(METAINFO, priorities, set(range(COUNT)) - {piece})[2]) for piece in range(COUNT)
    ]


@given(st.tuples(*[st.integers(0, 1)] * len(V2.files)), st.sets(st.integers(0, V2.piece_count - 1)))
def test_bep52_short_pieces_within_a_torrent_are_counted_as_they_are(
    priorities: tuple[int, ...], have: set[int]
) -> None:
    progress, here = DownloadProgress(V2), Bitfield(V2.piece_count)
    progress.set_priorities(priorities)
    for found in have:
        here.set(found)
    progress.recount(here)
    expected = naive(V2, priorities, have)
    assert (progress.wanted_bytes, progress.completed_bytes, progress.wanted_left) == expected
    assert progress.have_bytes == sum(map(V2.geometry.piece_length, have))


class Passes(list[int]):
    """Numbers that count how often somebody goes through them."""

    passes = 0

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        return super().__iter__()


@pytest.mark.parametrize(("have", "passes"), [(set(), 0), ({0, 3}, 1), (None, 0)])
def test_bep52_a_recount_goes_through_the_files_once_at_most_if_all_are_wanted(
    have: set[int] | None, passes: int
) -> None:
    metainfo = Metainfo.from_bytes(torrent_around(*v2_info(SIZES)))
    progress, here = DownloadProgress(metainfo), Bitfield(metainfo.piece_count)
    progress.set_priorities(None)
    for piece in range(metainfo.piece_count) if have is None else have:
        here.set(piece)
    layout = metainfo.geometry.aligned
    assert layout is not None
    counted = layout.lengths = Passes(layout.lengths)
    progress.recount(here)
    assert counted.passes == passes


def test_a_piece_of_very_many_files_is_counted_in_a_pass_in_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metainfo, _ = make_torrent({f"{number:04}": b"x" for number in range(2_000)})
    progress, looks = DownloadProgress(metainfo), list[int]()
    progress.set_priorities(None)
    progress.recount(Bitfield(1))
    real = FileLayout.pieces_of

    def pieces_of(layout: FileLayout, index: int, geometry: Geometry) -> range:
        looks.append(index)
        return real(layout, index, geometry)

    monkeypatch.setattr(FileLayout, "pieces_of", pieces_of)
    assert progress.piece_here(0) == list(range(2_000))
    assert len(looks) <= 2


@given(st.lists(st.integers(0, 7), max_size=20))
def test_skipped_files_are_those_of_priority_0(priorities: list[int]) -> None:
    assert skipped_by(priorities) == {i for i, priority in enumerate(priorities) if priority == 0}


def test_edges_are_one_percent_of_each_end_or_a_piece() -> None:
    size = METAINFO.geometry.piece_bytes
    sizes = {"a": 300 * size, "b": 0, "c": 3 * size}
    metainfo, _ = make_torrent(
        {name: payload_of(length) for name, length in sizes.items()}, piece_bytes=size
    )
    edges = edge_pieces(metainfo)
    assert [piece for piece in range(303) if edges >> piece & 1] == [
        *range(4),
        *range(296, 300),
        300,
        302,
    ]


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=5).filter(any))
def test_every_file_has_edges_in_it(lengths: list[int]) -> None:
    metainfo, _ = make_torrent(
        {f"f{number}": payload_of(length) for number, length in enumerate(lengths)}
    )
    edges, geometry = edge_pieces(metainfo), metainfo.geometry
    assert edges < 1 << metainfo.piece_count
    for index, length in enumerate(lengths):
        if length:
            pieces = metainfo.layout.pieces_of(index, geometry)
            assert edges >> pieces.start & 1
            assert edges >> pieces.stop - 1 & 1
