"""Paths of files where names are those of Windows, which no torrent may leave (row A9)."""

import ntpath
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.torrents import piece_hashes
from torrent_engine.base.errors import StorageError
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.file_paths import FilePaths, path_in_use

HOME = PureWindowsPath(r"D:\Downloads")
# Python 3.13 has a function of its own for it, which refuses more, and warns of the method.
IS_RESERVED: Callable[[PureWindowsPath], bool] = getattr(
    ntpath, "isreserved", PureWindowsPath.is_reserved
)
LEADING_OUT = {
    "share": (rb"\\evil.example\share\run.bat", "__evil.example_share_run.bat"),
    "drive": (rb"C:\Windows\System32\calc.exe", "C__Windows_System32_calc.exe"),
    "relative_drive": (b"C:calc.exe", "C_calc.exe"),
    "above": (rb"..\..\AppData\x.bat", ".._.._AppData_x.bat"),
    "device": (b"nul.txt", "_nul.txt"),
    "stream": (b"a:b", "a_b"),
    "dots": (b"a. .", "a"),
}


def named(*path: bytes) -> Metainfo:
    """Return a torrent of one file that has this path, the torrent's name included."""
    info: dict[str, Any] = {
        "name": path[0],
        "piece length": 16_384,
        "pieces": piece_hashes(b"abc"),
        **({"files": [{"length": 3, "path": path[1:]}]} if path[1:] else {"length": 3}),
    }
    return Metainfo.from_bytes(encode({"info": info}))


@pytest.mark.parametrize(("raw", "expected"), LEADING_OUT.values(), ids=LEADING_OUT)
@pytest.mark.parametrize("depth", [0, 1])
def test_a9_a_path_has_names_that_windows_reads_as_they_are(
    raw: bytes, expected: str, depth: int
) -> None:
    metainfo = named(*[b"n"] * depth, raw)
    assert path_in_use(metainfo, 0, {}, windows=True) == (*["n"] * depth, expected)
    assert path_in_use(metainfo, 0, {}, windows=False) == metainfo.files.path(0)
    given_name = {0: ("given", raw.decode())}
    assert path_in_use(metainfo, 0, given_name, windows=True) == ("given", expected)
    assert path_in_use(metainfo, 0, given_name, windows=False) == given_name[0]


ELEMENTS = st.text("aA.:\\ \x01/*$nulco1", max_size=9).map(str.encode)


@given(st.lists(ELEMENTS, min_size=1, max_size=3))
def test_a9_no_path_leads_out_of_the_save_path(elements: list[bytes]) -> None:
    path = path_in_use(named(b"n", *elements), 0, {}, windows=True)
    joined = HOME.joinpath(*path)
    assert joined.parts == (*HOME.parts, *path)
    assert not IS_RESERVED(joined)


def test_a9_the_paths_of_a_storage_are_those_of_the_system() -> None:
    metainfo = named(b"n", rb"\\evil\share")
    paths = FilePaths(metainfo, Path("/save"), {}, windows=True)
    assert paths.path(0) == Path("/save/n/__evil_share")
    assert FilePaths(metainfo, Path("/save"), {}, windows=False).parts(0) == ("n", r"\\evil\share")
    paths.rename({0: ("other", "name")})
    assert paths.parts(0) == ("other", "name")
    assert paths.folders() == [("other",)]
    with pytest.raises(StorageError, match="Windows reads otherwise"):
        paths.rename({0: ("C:", "name")})
