# ruff: noqa: ASYNC221, ASYNC240, PTH208 - a test may block
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.disk.helpers import CONFIG, opened, put_all, put_piece, read_all
from tests.support.swarm import content
from tests.support.torrents import make_torrent, payload_of, piece_hashes, write_files
from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import (
    DiskFullError,
    FileExistsStorageError,
    ForeignFileError,
    HiddenNameError,
    StorageError,
)
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.geometry import FileLayout, FileSlice
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk import home_folder
from torrent_engine.disk.files import disk_files, nowait
from torrent_engine.disk.files.file_storage import FileStorage
from torrent_engine.disk.files.last_seen import LastSeen
from torrent_engine.disk.files.open_files import OpenFiles
from torrent_engine.disk.files.part_file import PartFile
from torrent_engine.disk.filesystem import ReadMode, ReadModes, filesystem_type
from torrent_engine.disk.safe_open import Folder

pytestmark = pytest.mark.anyio

MANY = {
    "a": payload_of(40_000),
    "empty": b"",
    "b/c": payload_of(7),
    "b/d": payload_of(16_384),
    "b/e/f": payload_of(1),
    "g": payload_of(100_001),
}


def names_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_pieces_over_many_files_are_written_and_read_back(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(MANY)
    async with opened(metainfo, tmp_path) as storage:
        assert names_below(tmp_path) == ["payload/empty"]
        put_all(storage, metainfo, payload)
        storage.sync()
        assert await read_all(storage, metainfo) == payload
    assert {name: (tmp_path / "payload" / name).read_bytes() for name in MANY} == MANY


async def test_any_cut_of_views_and_any_range_reads_the_same(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(MANY)
    random, view = Random(3), memoryview(payload)
    async with opened(metainfo, tmp_path, open_files=OpenFiles(2)) as storage:
        at = 0
        while at < len(payload):
            ends = [min(at + random.randrange(30_000), len(payload)) for _ in range(4)]
            edges = sorted({at, *ends})
            views = [view[a:b] for a, b in pairwise(edges)]
            storage.write_views(at, views)
            at = edges[-1]
        for _ in range(200):
            start = random.randrange(len(payload))
            into = memoryview(bytearray(random.randrange(1, len(payload) - start + 1)))
            if not storage.read_now(start, into):
                await storage.read(start, into)
            assert into == view[start : start + len(into)]


async def test_a_range_of_very_many_files_is_left_to_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number:03}": payload_of(10, number) for number in range(200)}
    metainfo, payload = make_torrent(files)
    async with opened(metainfo, tmp_path, open_files=OpenFiles(200)) as storage:
        put_all(storage, metainfo, payload)
        few, many = memoryview(bytearray(640)), memoryview(bytearray(641))
        assert storage.read_now(0, few)
        assert few == payload[:640]
        real = FileLayout.slices
        sliced: list[int] = []

        def slices(layout: FileLayout, offset: int, length: int) -> list[FileSlice]:
            sliced.append(length)
            return real(layout, offset, length)

        monkeypatch.setattr(FileLayout, "slices", slices)
        assert not storage.read_now(0, many)
        assert not storage.has_doubts(0, 641)
        assert not sliced
        await storage.read(0, many)
        assert many == payload[:641]


async def test_files_are_sparse_and_have_their_length_from_the_first_write(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(4_000_000), name="big")
    async with opened(metainfo, tmp_path) as storage:
        put_piece(storage, metainfo, payload, metainfo.piece_count - 1)
        status = (tmp_path / "big").stat()
    assert status.st_size == 4_000_000
    assert status.st_blocks * 512 < 1_000_000


async def test_preallocation_takes_the_room_at_once(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(400_000), name="big")
    async with opened(metainfo, tmp_path, config=DiskConfig(preallocate=True)) as storage:
        put_piece(storage, metainfo, payload, 3)
        assert (tmp_path / "big").stat().st_blocks * 512 >= 400_000


async def test_opening_without_create_makes_nothing(tmp_path: Path) -> None:
    metainfo, _ = make_torrent(MANY)
    async with opened(metainfo, tmp_path / "new", create=False) as storage:
        assert not storage.has_data(0, 1)
        assert not storage.read_now(0, memoryview(bytearray(1)))
        with pytest.raises(StorageError, match="no such folder"):
            await storage.read(0, memoryview(bytearray(1)))
    assert list(tmp_path.iterdir()) == []


async def test_bep47_pads_links_and_modes(tmp_path: Path) -> None:
    data = payload_of(30_000)
    files = [
        {"length": 10_000, "path": ["run"], "attr": "x"},
        {"length": 6_384, "path": [".pad", "6384"], "attr": "p"},
        {"length": 0, "path": ["link"], "attr": "l", "symlink path": ["run"]},
        {"length": 13_616, "path": ["end"]},
    ]
    payload = data[:10_000] + bytes(6_384) + data[16_384:]
    info: dict[str, Any] = {"name": "payload", "piece length": 16_384, "files": files}
    info["pieces"] = piece_hashes(payload)
    metainfo = Metainfo.from_bytes(encode({"info": info}))
    async with opened(metainfo, tmp_path) as storage:
        dirty = memoryview(data)  # what is in a pad is not kept
        storage.write_views(0, [dirty[:16_384]])
        storage.write_views(16_384, [dirty[16_384:]])
        assert await read_all(storage, metainfo) == payload
        into = memoryview(bytearray(b"\xff" * 6_384))
        assert storage.read_now(10_000, into)
        assert into == bytes(6_384)
    assert names_below(tmp_path) == ["payload/end", "payload/run"]
    assert os.access(tmp_path / "payload" / "run", os.X_OK)
    assert not (tmp_path / "payload" / "end").stat().st_mode & 0o111


async def test_renamed_files_lie_where_they_were_put(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(5)})
    async with opened(metainfo, tmp_path, renames={1: ("other", "name")}) as storage:
        put_all(storage, metainfo, payload)
    assert names_below(tmp_path) == ["other/name", "payload/a"]


async def test_a6_renames_from_outside_are_checked_again(tmp_path: Path) -> None:
    metainfo, _ = make_torrent(payload_of(20_000))
    with pytest.raises(StorageError, match="below the save path"):
        async with opened(metainfo, tmp_path, renames={0: ("..", "name")}):
            pass


@pytest.mark.parametrize("what", ["longer", "folder", "link", "fifo"])
async def test_a8_what_is_in_the_way_is_an_error_and_stays(tmp_path: Path, what: str) -> None:
    metainfo, _ = make_torrent(payload_of(20_000), name="f")
    path = tmp_path / "f"
    if what == "longer":
        path.write_bytes(bytes(20_001))
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("nowhere")
    else:
        os.mkfifo(path)
    before, descriptors = path.lstat(), len(os.listdir("/dev/fd"))
    with pytest.raises(FileExistsStorageError, match="f: "):
        async with opened(metainfo, tmp_path):
            pass
    assert len(os.listdir("/dev/fd")) == descriptors
    assert path.lstat().st_mode == before.st_mode
    assert path.lstat().st_size == before.st_size


@pytest.mark.parametrize("what", ["folder", "file"])
async def test_a_link_at_the_top_is_written_through_and_stays(tmp_path: Path, what: str) -> None:
    content = payload_of(50_000)
    metainfo, payload = make_torrent({"d/f": content} if what == "folder" else content)
    (tmp_path / "save").mkdir()
    far = tmp_path / "far"
    far.mkdir() if what == "folder" else far.touch()
    (tmp_path / "save" / "payload").symlink_to("../far")
    async with opened(metainfo, tmp_path / "save") as storage:
        put_all(storage, metainfo, payload)
        assert await read_all(storage, metainfo) == payload
        assert (far / "d/f" if what == "folder" else far).read_bytes() == payload
        await storage.delete_files()
    assert (tmp_path / "save" / "payload").is_symlink()
    assert far.exists()
    assert names_below(far) == []


async def test_a_link_further_in_is_read_but_written_through_only_if_allowed(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(16_384), "in/b": payload_of(16_384, 2)})
    (tmp_path / "save/payload").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    (tmp_path / "save/payload/in").symlink_to("../../far")
    async with opened(metainfo, tmp_path / "save") as storage:
        put_piece(storage, metainfo, payload, 0)
        with pytest.raises(FileExistsStorageError, match="follow_links"):
            put_piece(storage, metainfo, payload, 1)
    assert names_below(tmp_path / "far") == []
    async with opened(metainfo, tmp_path / "save", follow_links=True) as storage:
        put_piece(storage, metainfo, payload, 1)
    assert (tmp_path / "far/b").read_bytes() == payload[16_384:]
    async with opened(metainfo, tmp_path / "save") as storage:
        assert await read_all(storage, metainfo) == payload


async def test_a8_a_link_that_is_planted_while_it_is_open_is_not_followed(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(16_384), "in/b": payload_of(16_384, 2)})
    (tmp_path / "save").mkdir()
    (tmp_path / "far").mkdir()
    async with opened(metainfo, tmp_path / "save", follow_links=True) as storage:
        put_piece(storage, metainfo, payload, 0)
        (tmp_path / "save/payload/in").symlink_to("../../far")
        with pytest.raises(FileExistsStorageError):
            put_piece(storage, metainfo, payload, 1)
    assert names_below(tmp_path / "far") == []


async def test_a_linked_home_folder_takes_no_hidden_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "save").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "save/payload").symlink_to("../home")
    metainfo, _ = make_torrent({".bashrc": payload_of(5)})
    async with opened(metainfo, tmp_path / "save") as storage:
        with pytest.raises(HiddenNameError):
            storage.claim_files()
    assert names_below(tmp_path / "home") == []


async def test_home_folders_are_looked_up_once_however_many_files_and_links_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, real = 0, home_folder._homes

    def homes() -> Iterator[str]:
        nonlocal looks
        looks += 1
        return real()

    monkeypatch.setattr(home_folder, "_homes", homes)
    (tmp_path / "save/payload").mkdir(parents=True)
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / "save/payload" / folder).symlink_to(tmp_path / folder)
    names = [f"{folder}/{number}" for folder in "abc" for number in range(20)]
    metainfo, _ = make_torrent({name: payload_of(5, seed) for seed, name in enumerate(names)})
    skipped = frozenset(range(60))
    options: dict[str, Any] = {"skipped": skipped, "follow_links": True}
    async with opened(metainfo, tmp_path / "save", **options) as storage:
        storage.claim_files()
        looks = 0
        await storage.set_skipped(frozenset())
        assert looks == 1


async def test_a_shorter_file_that_is_there_grows_and_keeps_its_bytes(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(50_000), name="f")
    (tmp_path / "f").write_bytes(payload[:20_000])
    async with opened(metainfo, tmp_path) as storage:
        assert storage.has_data(0, 20_000)
        assert not storage.has_data(0, 20_001)
        storage.adopt_piece(0)
        put_piece(storage, metainfo, payload, 3)
    found = (tmp_path / "f").read_bytes()
    assert (found[:20_000], len(found)) == (payload[:20_000], 50_000)


# -- deleting ---------------------------------------------------------------------------------


async def test_delete_removes_the_torrents_files_and_emptied_folders_only(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(MANY)
    (tmp_path / "payload" / "b").mkdir(parents=True)
    (tmp_path / "payload" / "b" / "mine").write_bytes(b"user's")
    async with opened(metainfo, tmp_path) as storage:
        put_all(storage, metainfo, payload)
        await storage.delete_files()
    assert names_below(tmp_path) == ["payload/b/mine"]
    assert not (tmp_path / "payload" / "b" / "e").exists()
    assert tmp_path.is_dir()


async def test_delete_spares_a_file_that_was_there_and_never_was_the_torrents(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(16_384), "b": payload_of(16_384)})
    write_files(metainfo, bytes(len(payload)), tmp_path)
    async with opened(metainfo, tmp_path) as storage:
        put_piece(storage, metainfo, payload, 0)
        await storage.delete_files()
    assert names_below(tmp_path) == ["payload/b"]


# -- skipped files ------------------------------------------------------------------------------


async def test_skipped_files_do_not_appear_and_their_boundary_bytes_are_kept(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent(
        {"a": payload_of(20_000), "s/b": payload_of(60_000), "s/z": b"", "c": payload_of(30_000)}
    )
    pieces = [0, 1, 4, 5, 6]
    async with opened(metainfo, tmp_path, skipped=frozenset({1, 2})) as storage:
        for piece in pieces:
            put_piece(storage, metainfo, payload, piece)
        storage.sync()
        assert names_below(tmp_path / "payload") == ["a", "c"]
        parts = [path for path in tmp_path.iterdir() if path.is_file()]
        assert [path.name for path in parts] == [f".{metainfo.info_hash.hex()}.parts"]
        into = memoryview(bytearray(16_384))
        await storage.read(16_384, into)
        assert into == payload[16_384:32_768]
        assert not storage.read_now(16_384, into)
    async with opened(metainfo, tmp_path, skipped=frozenset({1, 2})) as storage:
        storage.adopt_files({0, 3})
        assert storage.has_data(16_384, 16_384)
        before = names_below(tmp_path)
        await storage.set_skipped(frozenset({2}))
        assert names_below(tmp_path) == before  # the place of s/b may be another torrent's
        await storage.read(16_384, into)
        assert into == payload[16_384:32_768]
        storage.claim_files()
        assert names_below(tmp_path) == ["payload/a", "payload/c", "payload/s/b"]
        for piece in pieces:
            into = memoryview(bytearray(metainfo.geometry.piece_length(piece)))
            start = metainfo.geometry.piece_offset(piece)
            await storage.read(start, into)
            assert into == payload[start : start + len(into)]
        await storage.set_skipped(frozenset())
        assert not any(path.name.endswith(".parts") for path in tmp_path.iterdir())
        put_all(storage, metainfo, payload)
        assert await read_all(storage, metainfo) == payload


async def test_pieces_inside_a_skipped_file_that_come_late_are_kept_when_it_is_wanted_again(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(3_000_000)})
    inner = [5, 6, 90]
    async with opened(metainfo, tmp_path, skipped=frozenset({1})) as storage:
        storage.claim_files()
        for piece in inner:  # they were asked for before it was skipped
            put_piece(storage, metainfo, payload, piece)
        await storage.set_skipped(frozenset())
        for piece in inner:
            start, into = metainfo.geometry.piece_offset(piece), memoryview(bytearray(16_384))
            await storage.read(start, into)
            assert into == payload[start : start + 16_384]
    assert names_below(tmp_path) == ["payload/b"]
    assert (tmp_path / "payload/b").stat().st_blocks * 512 < 200_000  # holes stay holes


@pytest.mark.parametrize("is_reopened", [False, True])
async def test_a_small_file_of_zeros_is_made_when_it_is_wanted_again(
    tmp_path: Path, is_reopened: bool
) -> None:
    """Its pieces are here as parts of its neighbours: nobody writes to it any more."""
    files = {"a": payload_of(20_000), "z": bytes(5_000), "zz": bytes(100), "c": payload_of(90_000)}
    metainfo, payload = make_torrent(files)
    skipped = frozenset({1, 2})
    async with opened(metainfo, tmp_path, skipped=skipped) as storage:
        storage.claim_files()
        put_all(storage, metainfo, payload)
        assert names_below(tmp_path / "payload") == ["a", "c"]
        if not is_reopened:
            await storage.set_skipped(frozenset())
    async with opened(metainfo, tmp_path) as storage:
        storage.adopt_files(storage.owned.present)
        assert await read_all(storage, metainfo) == payload
        storage.claim_files()
        assert await read_all(storage, metainfo) == payload
    assert names_below(tmp_path) == ["payload/a", "payload/c", "payload/z", "payload/zz"]
    assert (tmp_path / "payload/z").read_bytes() == files["z"]
    assert (tmp_path / "payload/zz").read_bytes() == files["zz"]


async def test_a_file_of_which_nothing_came_is_not_made_when_it_is_wanted_again(
    tmp_path: Path,
) -> None:
    files = {"a": payload_of(20_000), "b": payload_of(5_000), "c": payload_of(90_000)}
    metainfo, payload = make_torrent({**files, "d": payload_of(100), "e": payload_of(90_000)})
    async with opened(metainfo, tmp_path, skipped=frozenset({1, 3})) as storage:
        storage.claim_files()
        put_piece(storage, metainfo, payload, 1)  # some of b
        await storage.set_skipped(frozenset())
    assert names_below(tmp_path) == ["payload/a", "payload/b", "payload/c"]


async def test_a_skipped_file_that_is_on_disk_is_used_as_it_is(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(60_000)})
    write_files(metainfo, payload, tmp_path)
    async with opened(metainfo, tmp_path, skipped=frozenset({1})) as storage:
        assert storage.is_file(1)
        assert await read_all(storage, metainfo) == payload
        await storage.set_skipped(frozenset({0, 1}))
        assert await read_all(storage, metainfo) == payload
    assert names_below(tmp_path) == ["payload/a", "payload/b"]


@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize("when", ["after a failure", "meanwhile"])
async def test_a_file_that_somebody_else_makes_is_not_replaced_when_it_is_wanted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, was_there: bool
) -> None:
    """Neither while its data is copied out of the part-file, nor once that failed."""
    files = {"a": payload_of(40_000, 1), "b": payload_of(50_000, 2), "c": payload_of(60_000, 3)}
    metainfo, payload = make_torrent(files)
    theirs = tmp_path / "payload/b"
    theirs.parent.mkdir()
    if was_there:
        theirs.write_bytes(bytes(50_000))  # blank: it may be written to

    def copy_out(part_file: PartFile, offset: int, length: int, target: int) -> None:
        real(part_file, offset, length, target)
        theirs.write_bytes(b"theirs" * 8_000)
        if when == "after a failure":
            raise OSError(errno.ENOSPC, "No space left on device")

    async with opened(metainfo, tmp_path, skipped={1}) as storage:
        storage.claim_files()
        for piece in (0, 1, 2, 5, 6):
            put_piece(storage, metainfo, payload, piece)
        real = PartFile.copy_out
        with monkeypatch.context() as patches:
            patches.setattr(PartFile, "copy_out", copy_out)
            expected = DiskFullError if when == "after a failure" else ForeignFileError
            with pytest.raises(expected):
                await storage.set_skipped(frozenset())
        with pytest.raises(ForeignFileError, match="/b"):
            await storage.set_skipped(frozenset())
        assert theirs.read_bytes() == b"theirs" * 8_000
        theirs.unlink()
        await storage.set_skipped(frozenset())
        put_all(storage, metainfo, payload)
        assert await read_all(storage, metainfo) == payload


def no_room(*_arguments: object, **_options: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("is_first_moved", [False, True])
async def test_f1_without_room_at_the_opening_files_stay_in_the_part_file_until_they_are_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first_moved: bool
) -> None:
    files = {"a": payload_of(20_000), "b": payload_of(60_000), "c": payload_of(30_000)}
    metainfo, payload = make_torrent(files)
    boundaries = [0, 1, 4, 5, 6]
    async with opened(metainfo, tmp_path, skipped={0, 2}) as storage:
        for piece in boundaries:
            put_piece(storage, metainfo, payload, piece)
    real, fits = PartFile.copy_out, [is_first_moved]

    def copy_out(part_file: PartFile, offset: int, length: int, target: int) -> None:
        if not fits.pop():
            fits.append(False)
            no_room()
        fits.append(False)
        real(part_file, offset, length, target)

    async def check_boundaries() -> None:
        for piece in boundaries:
            start, length = metainfo.geometry.piece_offset(piece), 16_384
            into = memoryview(bytearray(min(length, len(payload) - start)))
            assert storage.has_data(start, len(into))
            await storage.read(start, into)
            assert into == payload[start : start + len(into)]

    monkeypatch.setattr(PartFile, "copy_out", copy_out)
    moved = ["payload/a"] if is_first_moved else []
    part_file = f".{metainfo.info_hash.hex()}.parts"
    async with opened(metainfo, tmp_path) as storage:
        storage.adopt_files({1})
        storage.look_again()
        await check_boundaries()
        with pytest.raises(DiskFullError, match="payload/"):
            storage.claim_files()
        await check_boundaries()
        assert names_below(tmp_path) == [part_file, *moved, "payload/b"]
        fits[:] = [True]
        monkeypatch.setattr(PartFile, "copy_out", real)
        storage.claim_files()
        await check_boundaries()
        put_all(storage, metainfo, payload)
    assert names_below(tmp_path) == ["payload/a", "payload/b", "payload/c"]
    assert content(metainfo, tmp_path) == payload


async def test_f1_a_claim_without_room_for_what_matches_of_a_skipped_file_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(60_000)})
    write_files(metainfo, payload[:40_000] + bytes(40_000), tmp_path)
    into = memoryview(bytearray(16_384))
    async with opened(metainfo, tmp_path, skipped={1}) as storage:
        storage.adopt_files({0})
        storage.owned.adopt_piece(1, lambda _: True)
        assert not storage.owned.is_own(1)
        with monkeypatch.context() as patches:
            patches.setattr("torrent_engine.disk.files.part_file.write_at", no_room)
            with pytest.raises(DiskFullError):
                storage.claim_files()
        for is_claimed in (False, True):
            if is_claimed:
                storage.claim_files()
            assert storage.is_file(1) is not is_claimed
            await storage.read(16_384, into)
            assert into == payload[16_384:32_768]


async def test_f1_a_selection_without_room_for_an_empty_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "e": b"", "c": payload_of(30_000)})
    async with opened(metainfo, tmp_path, skipped={1, 2}) as storage:
        storage.claim_files()
        with monkeypatch.context() as patches:
            patches.setattr(Folder, "open_file", no_room)
            with pytest.raises(DiskFullError, match="/e"):
                await storage.set_skipped({0})
        assert storage.skipped == {1, 2}
        put_all(storage, metainfo, payload)
        assert names_below(tmp_path / "payload") == ["a"]


async def test_deleting_removes_the_part_file_too(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(60_000)})
    async with opened(metainfo, tmp_path, skipped=frozenset({1})) as storage:
        put_piece(storage, metainfo, payload, 1)
        await storage.delete_files()
    assert list(tmp_path.iterdir()) == []


async def test_f4_what_a_kill_left_of_a_file_from_the_part_file_is_removed(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"s/a": payload_of(20_000), "s/b": payload_of(60_000)})
    for deletes in (False, True):
        async with opened(metainfo, tmp_path, skipped=frozenset({0})) as storage:
            put_piece(storage, metainfo, payload, 1)
        half = tmp_path / f"payload/s/.{metainfo.info_hash.hex()}.0.tmp"
        half.write_bytes(b"half of it")
        async with opened(metainfo, tmp_path, skipped=frozenset({0})) as storage:
            storage.adopt_files({1})
            if not deletes:
                storage.claim_files()
                await storage.set_skipped(frozenset())
                assert names_below(tmp_path) == ["payload/s/a", "payload/s/b"]
            await storage.delete_files()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("deletes", [False, True])
@pytest.mark.parametrize("theirs", [[], ["payload/s/theirs"]])
async def test_f4_what_a_kill_left_of_a_file_that_was_renamed_since_is_removed(
    tmp_path: Path, deletes: bool, theirs: list[str]
) -> None:
    metainfo, payload = make_torrent({"s/a": payload_of(20_000), "s/b": payload_of(60_000)})
    async with opened(metainfo, tmp_path, skipped={0}) as storage:
        put_piece(storage, metainfo, payload, 1)
    (tmp_path / f"payload/s/.{metainfo.info_hash.hex()}.0.tmp").write_bytes(b"half of it")
    (tmp_path / "payload/s/b").rename(tmp_path / "b")
    for name in theirs:
        (tmp_path / name).touch()
    renames = {0: ("n", "a"), 1: ("b",)}
    async with opened(metainfo, tmp_path, skipped={0}, renames=renames) as storage:
        storage.adopt_files({1})
        storage.owned.found_folders = frozenset()  # as the database says
        if not deletes:
            storage.claim_files()
            await storage.set_skipped(frozenset())
            assert names_below(tmp_path) == ["b", "n/a", *theirs]
        await storage.delete_files()
    assert names_below(tmp_path) == theirs
    assert (tmp_path / "payload/s").exists() is bool(theirs)


# -- reading on the loop --------------------------------------------------------------------------


async def test_read_now_reads_memory_file_systems_directly(small_tmpfs: Path) -> None:
    metainfo, payload = make_torrent(payload_of(300_000))
    async with opened(metainfo, small_tmpfs) as storage:
        put_all(storage, metainfo, payload)
        into = memoryview(bytearray(256 * 1024))
        assert filesystem_type(small_tmpfs.stat().st_dev) == "tmpfs"
        assert storage.read_now(1, into)
        assert into == payload[1 : 1 + len(into)]


@pytest.mark.parametrize("mode", ReadMode)
async def test_read_now_in_every_mode_is_right_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: ReadMode
) -> None:
    monkeypatch.setattr(nowait._modes, "of", lambda device: mode)
    metainfo, payload = make_torrent(payload_of(300_000))
    async with opened(metainfo, tmp_path) as storage:
        put_all(storage, metainfo, payload)
        for _ in range(2):  # the second time by the short way
            into = memoryview(bytearray(100_000))
            if storage.read_now(50_000, into):
                assert into == payload[50_000:150_000]
            else:
                assert mode is not ReadMode.DIRECT


def test_a_refusal_is_decided_once_per_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = ReadModes()
    monkeypatch.setattr("torrent_engine.disk.filesystem.filesystem_type", lambda device: "tmpfs")
    assert modes.refuse(1) is ReadMode.DIRECT
    monkeypatch.setattr("torrent_engine.disk.filesystem.filesystem_type", lambda device: "ext2")
    assert modes.refuse(2) is ReadMode.THREAD
    assert [modes.of(device) for device in (1, 2)] == [ReadMode.DIRECT, ReadMode.THREAD]


def test_without_nowait_a_worker_thread_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "RWF_NOWAIT")
    assert ReadModes().of(1) is ReadMode.THREAD


# -- faults ----------------------------------------------------------------------------------


async def test_f1_a_full_disk_is_named_and_nothing_written_is_lost(small_tmpfs: Path) -> None:
    metainfo, payload = make_torrent(payload_of(6 * 1024 * 1024), name="big", piece_bytes=1 << 20)
    async with opened(metainfo, small_tmpfs) as storage:
        with pytest.raises(DiskFullError) as caught:
            put_all(storage, metainfo, payload)
        assert caught.value.path == str(small_tmpfs / "big")
        into = memoryview(bytearray(2 << 20))
        await storage.read(0, into)
        assert into == payload[: 2 << 20]


async def test_f1_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(200_000), name="big")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with opened(metainfo, tmp_path) as storage:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
        try:
            with pytest.raises(DiskFullError, match="big"):
                put_all(storage, metainfo, payload)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        put_all(storage, metainfo, payload)
        assert await read_all(storage, metainfo) == payload


@pytest.mark.parametrize("fault", ["removed", "cut short", "folder removed"])
async def test_f3_a_file_that_vanishes_in_use_is_an_error(tmp_path: Path, fault: str) -> None:
    metainfo, payload = make_torrent({"f": payload_of(100_000)})
    path = tmp_path / "save" / "payload" / "f"
    async with opened(metainfo, tmp_path / "save") as storage:
        put_all(storage, metainfo, payload)
        if fault == "cut short":
            os.truncate(path, 10)
        else:
            path.unlink()
        if fault == "folder removed":
            path.parent.rmdir()
        with pytest.raises(StorageError, match=r"truncated while in use|missing files"):
            storage.sync()
        assert isinstance(storage._files, FileStorage)
        disk_files = storage._files._files
        disk_files._pool.forget_owner(disk_files._owner)
        if fault != "cut short":
            with pytest.raises(StorageError):
                put_piece(storage, metainfo, payload, 0)
            assert not path.exists()
        else:
            with pytest.raises(StorageError, match="truncated"):
                await read_all(storage, metainfo)


async def test_f3_a_file_system_that_turns_read_only_is_an_error(small_tmpfs: Path) -> None:
    metainfo, payload = make_torrent({"f": payload_of(100_000), "g": payload_of(10)})
    async with opened(metainfo, small_tmpfs) as storage:
        put_piece(storage, metainfo, payload, 0)
    subprocess.run(["mount", "-o", "remount,ro", str(small_tmpfs)], check=True)
    async with opened(metainfo, small_tmpfs) as storage:
        storage.adopt_files({0})
        with pytest.raises(StorageError, match="Read-only"):
            put_all(storage, metainfo, payload)
        into = memoryview(bytearray(16_384))
        await storage.read(0, into)
        assert into == payload[:16_384]


async def test_f9_far_more_files_than_descriptors(tmp_path: Path) -> None:
    files = {f"{n % 10}/{n}": payload_of(100 + n) for n in range(90)}
    metainfo, payload = make_torrent(files)
    pool = OpenFiles(CONFIG.max_open_files)
    async with opened(metainfo, tmp_path, open_files=pool) as storage:
        put_all(storage, metainfo, payload)
        assert len(pool) <= 40
        storage.sync()
        assert await read_all(storage, metainfo) == payload
        assert len(storage.stamps.present()) == 90
    assert len(pool) == 0


@pytest.mark.parametrize("call", ["sync_folder", "unlink"])
async def test_f2_a_wanted_file_is_taken_out_again_after_a_failure_behind_its_naming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(30_000)})
    async with opened(metainfo, tmp_path, skipped=frozenset({1})) as storage:
        storage.claim_files()
        put_all(storage, metainfo, payload)
        real, left = getattr(Folder, call), [True]

        def fails_once(folder: Folder, *arguments: Any) -> Any:
            if left and (tmp_path / "payload" / "b").exists():
                left.clear()
                raise OSError(errno.EIO, "Input/output error")
            return real(folder, *arguments)

        monkeypatch.setattr(Folder, call, fails_once)
        with pytest.raises(StorageError, match="Input/output"):
            await storage.set_skipped(frozenset())
        assert not left
        await storage.set_skipped(frozenset())
        assert await read_all(storage, metainfo) == payload
        assert storage.owned.own() == {0, 1}
    assert sorted(path.name for path in (tmp_path / "payload").iterdir()) == ["a", "b"]


# -- another file in the place of one that was closed meanwhile -------------------------------

TWO = {"a": payload_of(100_000), "b": payload_of(30_000)}
MINE = b"by another program" * 500


def replace(path: Path, monkeypatch: pytest.MonkeyPatch, *, has_number: bool) -> None:
    """Put another file in the place of one, perhaps with its inode number."""
    if has_number:  # what it looks like; which number a file gets is not for us to say
        path.write_bytes(MINE)
        monkeypatch.setattr(disk_files, "born_after", lambda *_: True)
        monkeypatch.setattr(Folder, "is_born_after", lambda *_: True)
    else:
        other = path.with_name("other")
        other.write_bytes(MINE)
        other.replace(path)


@pytest.mark.parametrize("has_number", [False, True])
@pytest.mark.parametrize("is_written", [False, True])
async def test_a_file_that_was_replaced_while_it_was_closed_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool, has_number: bool
) -> None:
    metainfo, payload = make_torrent(TWO)
    write_files(metainfo, payload, tmp_path)
    path = tmp_path / "payload" / "a"
    async with opened(metainfo, tmp_path) as storage:
        storage.adopt_files([0, 1])
        if is_written:
            put_piece(storage, metainfo, payload, 0)
            storage.sync()
        storage.let_go()
        replace(path, monkeypatch, has_number=has_number)
        with pytest.raises(ForeignFileError, match="replaced"):
            put_piece(storage, metainfo, payload, 3)
        assert path.read_bytes() == MINE
        await storage.delete_files()
    assert names_below(tmp_path) == ["payload/a"]


@pytest.mark.parametrize("has_number", [False, True])
async def test_a_scan_sees_that_a_file_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_number: bool
) -> None:
    metainfo, payload = make_torrent(TWO)
    path = tmp_path / "payload" / "a"
    async with opened(metainfo, tmp_path) as storage:
        put_all(storage, metainfo, payload)
        storage.sync()
        storage.let_go()
        replace(path, monkeypatch, has_number=has_number)
        storage.look_again()
        assert storage.owned.own() == {1}
        with pytest.raises(ForeignFileError):
            put_piece(storage, metainfo, payload, 3)
        await storage.delete_files()
    assert path.read_bytes() == MINE
    assert names_below(tmp_path) == ["payload/a"]


def keep_inodes(monkeypatch: pytest.MonkeyPatch, *, lasting: bool) -> None:
    """Let all file systems have inode numbers that last, or that do not."""
    monkeypatch.setattr(disk_files, "LastSeen", lambda count: LastSeen(count, lambda _: lasting))


async def test_a_file_that_others_changed_or_copied_is_written_to_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_inodes(monkeypatch, lasting=False)
    metainfo, payload = make_torrent(TWO)
    path = tmp_path / "payload" / "a"
    async with opened(metainfo, tmp_path, open_files=OpenFiles(1)) as storage:
        put_piece(storage, metainfo, payload, 0)
        put_all(storage, metainfo, payload)  # the pool closes a file for the other one
        storage.let_go()
        copy = tmp_path / "copy"
        status = path.stat()
        copy.write_bytes(path.read_bytes())
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
        copy.replace(path)
        put_piece(storage, metainfo, payload, 1)
        storage.let_go()
        with path.open("r+b") as file:
            file.write(b"another program")
        put_piece(storage, metainfo, payload, 0)
        storage.sync()
        assert await read_all(storage, metainfo) == payload


async def test_f9_a_scan_waits_for_a_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, payload = make_torrent(TWO)
    write_files(metainfo, payload, tmp_path)
    waits: list[float] = []
    open_file = os.open

    def crowded(path: Any, *arguments: Any, **options: Any) -> int:
        if path == "payload" and len(waits) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return open_file(path, *arguments, **options)

    pool = OpenFiles(sleep=waits.append)
    async with opened(metainfo, tmp_path, open_files=pool) as storage:
        monkeypatch.setattr(os, "open", crowded)
        storage.look_again()
        monkeypatch.undo()
        assert storage.owned.present == {0, 1}
    assert len(waits) == 3


async def test_a_file_that_was_replaced_by_one_of_equal_size_and_times_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As programs do that change the tags of music and keep the times."""
    keep_inodes(monkeypatch, lasting=True)
    metainfo, payload = make_torrent(TWO)
    path, copy = tmp_path / "payload" / "a", tmp_path / "copy"
    async with opened(metainfo, tmp_path) as storage:
        put_all(storage, metainfo, payload)
        storage.sync()
        storage.let_go()
        status = path.stat()
        copy.write_bytes(b"x" * status.st_size)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
        copy.replace(path)
        with pytest.raises(ForeignFileError, match="replaced"):
            put_piece(storage, metainfo, payload, 0)
        storage.look_again()
        assert storage.owned.own() == {1}
        with pytest.raises(ForeignFileError):
            put_piece(storage, metainfo, payload, 3)
        await storage.delete_files()
    assert path.read_bytes() == b"x" * status.st_size


async def test_files_that_have_got_another_hard_link_are_synced(tmp_path: Path) -> None:
    """A program that sorts what is complete makes them at once."""
    metainfo, payload = make_torrent(TWO)
    async with opened(metainfo, tmp_path) as storage:
        put_all(storage, metainfo, payload)
        for name in ("a", "b"):
            (tmp_path / name).hardlink_to(tmp_path / "payload" / name)
        storage.let_go()
        storage.sync()
        assert await read_all(storage, metainfo) == payload


@pytest.mark.parametrize("has_number", [False, True])
async def test_a_file_that_was_replaced_before_it_was_synced_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_number: bool
) -> None:
    metainfo, payload = make_torrent(TWO)
    path = tmp_path / "payload" / "a"
    async with opened(metainfo, tmp_path) as storage:
        put_all(storage, metainfo, payload)
        storage.let_go()
        replace(path, monkeypatch, has_number=has_number)
        with pytest.raises(ForeignFileError, match="replaced"):
            storage.sync()
        assert path.read_bytes() == MINE
