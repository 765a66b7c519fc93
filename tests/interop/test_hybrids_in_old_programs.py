"""Why two programs cannot download hybrids, whoever makes them: file trees have empty keys."""

import subprocess
from copy import deepcopy
from hashlib import sha1
from pathlib import Path
from typing import Any, Final

import bencodepy
import libtorrent
import pytest

from tests.support.processes import require_program
from tests.support.torrents import payload_of
from torrent_engine.disk.create.create import CreateOptions, create_torrent

pytestmark = pytest.mark.interop

PIECE_BYTES: Final = 16_384
TREE: Final = b"file tree"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "album"
    made.mkdir()
    for name, size in (("one", 100_000), ("two", 5)):
        (made / name).write_bytes(payload_of(size))
    return made


def ours(folder: Path) -> Any:
    options = CreateOptions(format="hybrid", piece_bytes=PIECE_BYTES)
    return bencodepy.decode(create_torrent(folder, options))


def theirs(folder: Path) -> Any:
    made = libtorrent.create_torrent(libtorrent.list_files(str(folder)), PIECE_BYTES, 0)
    libtorrent.set_piece_hashes(made, str(folder.parent))
    return bencodepy.decode(libtorrent.bencode(made.generate()))


def without_empty_keys(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: without_empty_keys(below) for key, below in value.items() if key}


@pytest.mark.parametrize("make", [ours, theirs], ids=["ours", "libtorrent"])
def test_bep52_transmission_3_refuses_dictionaries_with_an_empty_key(
    make: Any, folder: Path, tmp_path: Path
) -> None:
    program = require_program("transmission-show", "transmission-cli")
    torrent = make(folder)

    def loads(changed: Any) -> bool:
        path = tmp_path / "x.torrent"
        path.write_bytes(bencodepy.encode(changed))
        done = subprocess.run([program, str(path)], capture_output=True, check=False)
        return b"Error parsing" not in done.stdout + done.stderr

    changed = deepcopy(torrent)
    changed[b"info"][TREE] = without_empty_keys(torrent[b"info"][TREE])
    assert loads(changed)
    if version_of(program).startswith("3."):
        assert not loads(torrent)
    changed[b"info"][b"other"] = {b"": b"value"}
    assert loads(changed) == loads(torrent)


def version_of(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).split()[1]


@pytest.mark.parametrize("make", [ours, theirs], ids=["ours", "libtorrent"])
def test_bep52_aria2_leaves_empty_keys_out_of_the_info_hash(
    make: Any, folder: Path, tmp_path: Path
) -> None:
    program = require_program("aria2c", "aria2")
    torrent, path = make(folder), tmp_path / "x.torrent"
    path.write_bytes(bencodepy.encode(torrent))
    shown = subprocess.run([program, "-S", str(path)], capture_output=True, text=True, check=True)
    (line,) = [each for each in shown.stdout.splitlines() if each.startswith("Info Hash:")]
    info = torrent[b"info"]
    right, cut = (sha1(bencodepy.encode(each)) for each in (info, without_empty_keys(info)))
    assert line.split()[-1] == cut.hexdigest() != right.hexdigest()
