"""Folders of over forty kinds: made into torrents by five programs, read and checked by two."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import libtorrent
import pytest
import torf
from click.testing import CliRunner

from tests.support.odd_folders import NAMES, SHAPES, make_folders
from torrent_engine.cli.main import cli
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.create.create import CreateOptions, create_torrent

pytestmark = pytest.mark.interop

PIECE_BYTES = 32 * 1024


def _ours(folder: Path, output: Path) -> None:
    options = CreateOptions(piece_bytes=PIECE_BYTES, format="v1")
    output.write_bytes(create_torrent([folder], options))


def _our_hybrid(folder: Path, output: Path) -> None:
    output.write_bytes(create_torrent([folder], CreateOptions(piece_bytes=PIECE_BYTES)))


def _libtorrent(folder: Path, output: Path) -> None:
    files = libtorrent.list_files(str(folder))
    made = libtorrent.create_torrent(files, PIECE_BYTES, libtorrent.create_torrent.v1_only)
    libtorrent.set_piece_hashes(made, str(folder.parent))
    output.write_bytes(encode(made.generate()))


def _torf(folder: Path, output: Path) -> None:
    made = torf.Torrent(folder, piece_size=PIECE_BYTES)
    made.generate(threads=1)
    made.write(output)


def _mktorrent(folder: Path, output: Path) -> None:
    command = ["mktorrent", "-l", "15", "-o", str(output), f"./{folder.name}"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder.parent)


def _transmission(folder: Path, output: Path) -> None:
    command = ["transmission-create", "-s", "32", "-o", str(output), str(folder)]
    subprocess.run(command, check=True, capture_output=True)


MAKERS: dict[str, Callable[[Path, Path], None]] = {
    "ours": _ours,
    "our hybrid": _our_hybrid,
    "libtorrent": _libtorrent,
    "torf": _torf,
    "mktorrent": _mktorrent,
    "transmission-create": _transmission,
}
PROGRAMS = {"mktorrent", "transmission-create"}


def check(torrent: Path, folder: Path) -> str:
    """Return what our ``verify`` says of a folder."""
    return CliRunner().invoke(cli, ["verify", str(torrent), "-d", str(folder.parent)]).output


@pytest.mark.parametrize("maker", MAKERS)
def test_a_folder_of_any_kind_that_a_program_made_a_torrent_of_is_right_for_us(
    tmp_path: Path, maker: str
) -> None:
    if maker in PROGRAMS and shutil.which(maker) is None:
        pytest.skip(f"needs {maker}")
    (tmp_path / "kinds").mkdir()
    kinds = make_folders(tmp_path / "kinds")
    output = tmp_path / "o.torrent"
    wrong: dict[str, str] = {}
    refused: dict[str, str] = {}
    for kind, folder in kinds.items():
        output.unlink(missing_ok=True)
        try:
            MAKERS[maker](folder, output)
        except Exception as error:
            refused[kind] = repr(error)
            continue
        said = check(output, folder)
        if ": all right; " not in said:
            wrong[kind] = said
    assert len(kinds) == len(NAMES) + len(SHAPES) > 40
    assert set(refused) == LIMITS[maker][0], refused
    assert set(wrong) == LIMITS[maker][1], wrong


NO_UTF8 = {"latin1", "broken_utf8"}
LIMITS: dict[str, tuple[set[str], set[str]]] = {
    "ours": (set(), set()),
    "our hybrid": (set(), set()),
    "libtorrent": (NO_UTF8, set()),  # its Python binding takes text only
    "torf": (set(), NO_UTF8),  # it writes a question mark for each such byte
    "mktorrent": (set(), set()),
    "transmission-create": (set(), set()),
}
"""Kinds of which a program makes no torrent, and those whose names or bytes it does not keep."""


@pytest.mark.parametrize("make", [_ours, _our_hybrid], ids=["v1", "hybrid"])
def test_what_is_created_of_any_kind_is_the_same_for_libtorrent(
    make: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    (tmp_path / "kinds").mkdir()
    output = tmp_path / "o.torrent"
    for kind, folder in make_folders(tmp_path / "kinds").items():
        make(folder, output)
        theirs, ours = libtorrent.torrent_info(str(output)), Metainfo.read(output)
        hashes = theirs.info_hashes()
        assert hashes.v1.to_bytes() == ours.info_hash, kind
        assert hashes.has_v2() == ours.is_hybrid, kind
        if ours.info_hash_v2 is not None:
            assert hashes.v2.to_bytes() == ours.info_hash_v2, kind
        assert theirs.num_files() == len(ours.files), kind
        on_disk = {path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
        raw = {folder.parent / Path(*map(os.fsdecode, each.raw_path)) for each in ours.files}
        assert on_disk <= raw, kind
