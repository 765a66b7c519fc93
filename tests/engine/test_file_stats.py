"""Files of a torrent: how much of each is verified, counted against byte by byte."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.torrents import make_torrent, payload_of
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.file_stats import VerifiedBytes, file_stats

PIECE = 16 * 1024
METAINFO, _ = make_torrent(
    {"a": payload_of(40_000), "empty": b"", "c/d": payload_of(70_000, 1), "e": payload_of(5, 2)},
    piece_bytes=PIECE,
)


def bitfield(*pieces: int) -> bytes:
    have = Bitfield(METAINFO.piece_count)
    for piece in pieces:
        have.set(piece)
    return have.to_bytes()


@given(
    st.integers(1, 7),
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.integers(0, 300),
    st.integers(0, 300),
)
def test_any_part_counts_as_byte_by_byte(
    piece_bytes: int, have: list[bool], first: int, second: int
) -> None:
    total = piece_bytes * len(have)
    begin, end = sorted((min(first, total), min(second, total)))
    bits = "".join(str(int(each)) for each in have).ljust(-(-len(have) // 8) * 8, "0")
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    expected = sum(have[at // piece_bytes] for at in range(begin, end))
    assert VerifiedBytes(piece_bytes, packed).between(begin, end) == expected


def test_files_have_what_is_verified_of_them() -> None:
    files = file_stats(METAINFO, bitfield(0, 2), None, {})
    name = METAINFO.name
    assert [each.path for each in files] == [
        Path(name, "a"), Path(name, "empty"), Path(name, "c", "d"), Path(name, "e"),
    ]  # fmt: skip
    assert [each.size_bytes for each in files] == [40_000, 0, 70_000, 5]
    of_a = PIECE + 40_000 - 2 * PIECE
    assert [each.completed_bytes for each in files] == [of_a, 0, 3 * PIECE - 40_000, 0]
    assert [each.is_complete for each in files] == [False, True, False, False]
    assert [each.pieces for each in files] == [range(3), range(0), range(2, 7), range(6, 7)]
    assert {each.priority for each in files} == {4}


def test_files_without_any_piece_and_with_other_names_and_priorities() -> None:
    files = file_stats(METAINFO, b"", (0, 1, 7, 4), {2: ("other", "name")})
    assert [each.completed_bytes for each in files] == [0, 0, 0, 0]
    assert [each.priority for each in files] == [0, 1, 7, 4]
    assert files[2].path == Path("other/name")


def test_a9_files_are_listed_by_the_names_that_the_system_has() -> None:
    odd, _ = make_torrent({"a:b": b"1", "nul": b"2", "c": b"3"}, name="x")
    names = {2: ("x", "d:e")}
    listed = file_stats(odd, b"", None, names, windows=True)
    assert [each.path.as_posix() for each in listed] == ["x/a_b", "x/_nul", "x/d_e"]
    listed = file_stats(odd, b"", None, names, windows=False)
    assert [each.path.as_posix() for each in listed] == ["x/a:b", "x/nul", "x/d:e"]


def test_bep47_pad_files_are_left_out_and_keep_their_numbers() -> None:
    info: dict[Any, Any] = {
        b"name": b"p",
        b"piece length": PIECE,
        b"pieces": bytes(20 * 2),
        b"files": [
            {b"length": 10, b"path": [b"a"]},
            {b"length": PIECE - 10, b"path": [b".pad", b"0"], b"attr": b"p"},
            {b"length": 20, b"path": [b"b"]},
        ],
    }
    padded = Metainfo.from_bytes(encode({b"info": info}))
    files = file_stats(padded, b"\x40", None, {})
    assert [(each.index, each.path.name) for each in files] == [(0, "a"), (2, "b")]
    assert [each.completed_bytes for each in files] == [0, 20]
