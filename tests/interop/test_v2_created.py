"""Torrents of v2 and of both versions are made as libtorrent makes them."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import libtorrent
import pytest

from tests.support.torrents import payload_of
from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.bencode import decode
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.create.create import CreateOptions, TorrentFormat, create_torrent

pytestmark = pytest.mark.interop

KIB = 1024
NO_ATTRIBUTES, EXECUTABLE = 256, 4
FLAGS: dict[TorrentFormat, int] = {"v2": 32, "hybrid": 0}
FOLDERS: dict[str, dict[str, bytes]] = {
    "many": {
        "a": payload_of(40_000),
        "d/b": b"",
        "d/c": payload_of(5),
        "d/e": payload_of(65_536),
        "f": payload_of(16_384),
        "g": payload_of(1_300_000),
        "h": payload_of(16_385),
        "i": payload_of(40_000),
    },
    "ends_with_empty": {"a": payload_of(70_000), "z": b""},
    "one_in_a_folder": {"d/only": payload_of(100_000)},
}


@pytest.fixture(autouse=True)
def _old_names() -> Iterator[None]:
    """Let libtorrent say that a name of it is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def made_by_libtorrent(
    path: Path, piece_bytes: int, kind: TorrentFormat, flags: int = NO_ATTRIBUTES
) -> bytes:
    files = libtorrent.list_files(str(path), flags=flags)
    made = libtorrent.create_torrent(files, piece_bytes, FLAGS[kind] | flags)
    libtorrent.set_piece_hashes(made, str(path.parent))
    return bytes(libtorrent.bencode(made.generate()))


def parts_of(torrent: bytes) -> tuple[object, ...]:
    """Return what two programs must agree about."""
    fields, read = decode(torrent), Metainfo.from_bytes(torrent)
    assert isinstance(fields, dict)
    return fields[b"info"], fields[b"piece layers"], read.info_hash, read.info_hash_v2


@pytest.mark.parametrize("piece_bytes", [16 * KIB, 64 * KIB, 2048 * KIB])
@pytest.mark.parametrize("kind", FLAGS)
@pytest.mark.parametrize("name", FOLDERS)
def test_bep52_a_folder_gives_the_torrent_of_libtorrent(
    name: str, kind: TorrentFormat, piece_bytes: int, tmp_path: Path
) -> None:
    folder = tmp_path / "payload"
    for path, data in FOLDERS[name].items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    options = CreateOptions(piece_bytes=piece_bytes, format=kind, threads=2)
    ours, theirs = create_torrent([folder], options), made_by_libtorrent(folder, piece_bytes, kind)
    assert parts_of(ours) == parts_of(theirs)


@pytest.mark.parametrize("size", [1, 16 * KIB, 64 * KIB, 64 * KIB + 1, 1_300_000])
@pytest.mark.parametrize("kind", FLAGS)
def test_bep52_a_file_gives_the_torrent_of_libtorrent(
    kind: TorrentFormat, size: int, tmp_path: Path
) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(payload_of(size))
    options = CreateOptions(piece_bytes=64 * KIB, format=kind, threads=2)
    ours, theirs = create_torrent([file], options), made_by_libtorrent(file, 64 * KIB, kind)
    assert parts_of(ours) == parts_of(theirs)


@pytest.mark.parametrize("has_attributes", [True, False])
@pytest.mark.parametrize("is_folder", [True, False])
@pytest.mark.parametrize("kind", FLAGS)
def test_bep47_executable_files_are_marked_as_by_libtorrent(
    kind: TorrentFormat, tmp_path: Path, *, is_folder: bool, has_attributes: bool
) -> None:
    folder = tmp_path / "payload"
    folder.mkdir()
    for name, mode in {"run": 0o755, "only-group": 0o654, ".run": 0o700, "data": 0o644}.items():
        (folder / name).write_bytes(payload_of(100_000))
        (folder / name).chmod(mode)
    path = folder if is_folder else folder / "run"
    options = CreateOptions(piece_bytes=64 * KIB, format=kind, attributes=has_attributes)
    ours = create_torrent([path], options)
    flags = 0 if has_attributes else NO_ATTRIBUTES
    assert parts_of(ours) == parts_of(made_by_libtorrent(path, 64 * KIB, kind, flags))
    loaded = libtorrent.load_torrent_buffer(ours).ti
    assert loaded is not None
    files = loaded.files()
    names = [files.file_name(index) for index in range(files.num_files())]
    is_marked = [bool(files.file_flags(index) & EXECUTABLE) for index in range(len(names))]
    marked = {name for name, flag in zip(names, is_marked, strict=True) if flag}
    assert marked == ({"run", ".run"} & {path.name, *names} if has_attributes else set())


@pytest.mark.parametrize("kind", FLAGS)
def test_bep52_pieces_are_a_power_of_two(kind: TorrentFormat, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(ConfigError, match="power of two"):
        create_torrent([tmp_path / "x"], CreateOptions(piece_bytes=48 * KIB, format=kind))
