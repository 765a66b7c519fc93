"""Moving a torrent's files, on one file system and between two; nobody else's file is touched."""

import errno
import os
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.disk.helpers import CONFIG, kept, put_all, put_piece
from tests.support.disks import folder_on_other_disk
from tests.support.swarm import files_below
from tests.support.torrents import PIECE_BYTES, make_torrent, payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around, v2_info
from torrent_engine.base.errors import (
    DiskFullError,
    FileExistsStorageError,
    StateDatabaseError,
    StorageError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_stamps import NotedFiles, stamp_of
from torrent_engine.disk.moves.move import FileMover
from torrent_engine.disk.moves.plan import (
    MoveItem,
    MovePlan,
    MoveSpec,
    draw_plan,
    plan_text,
    read_plan,
)
from torrent_engine.disk.moves.relocation import MoveAttempt, MoveHooks, finish_move
from torrent_engine.disk.moves.table import drop_plan, load_plan, save_plan
from torrent_engine.disk.safe_open import Folder
from torrent_engine.disk.state.records import Progress, TorrentRecord
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.anyio

FILES = {
    "a": payload_of(40_000, 1),
    "sub/b": payload_of(9_000, 2),
    "sub/deep/c": payload_of(70_000, 3),
    "empty": b"",
    "skipped": payload_of(50_000, 4),
}
METAINFO, PAYLOAD = make_torrent(FILES)
SORTED = dict(sorted(FILES.items()))
V2 = Metainfo.from_bytes(torrent_around(*v2_info(SORTED)))
HYBRID = Metainfo.from_bytes(torrent_around(*hybrid_info(SORTED)))
SKIPPED = 4
PART_NAME = f".{METAINFO.info_hash.hex()}.parts"
ALL_PIECES = (METAINFO.piece_count, 0)


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than ``tmp_path``."""
    with folder_on_other_disk(tmp_path) as folder:
        yield folder


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as opened:
        yield opened


def hooks(**options: Any) -> MoveHooks:
    return MoveHooks(anyio.CapacityLimiter(4), **options)


def paths(metainfo: Metainfo = METAINFO) -> dict[int, tuple[str, ...]]:
    return {index: entry.path for index, entry in enumerate(metainfo.files)}


def request(source: Path, target: Path, new: dict[int, tuple[str, ...]] | None = None) -> MoveSpec:
    return MoveSpec(METAINFO, source, target, paths(), {**paths(), **(new or {})}, new or {})


async def downloaded(save_path: Path, store: StateStore) -> None:
    """Have the torrent complete but for a skipped file, and cleanly saved."""
    async with kept(METAINFO, save_path, store, skipped={SKIPPED}) as (storage, keeper):
        await keeper.plan()
        put_all(storage, METAINFO, PAYLOAD)
        for piece in range(METAINFO.piece_count):
            keeper.piece_written(piece)
        await keeper.close()


async def move(store: StateStore, what: MoveSpec, **options: Any) -> bool:
    plan = draw_plan(what, await store.load(METAINFO.info_hash))
    return await MoveAttempt(store, plan, hooks(**options)).begin()


async def start_at(save_path: Path, store: StateStore, **options: Any) -> tuple[int, int]:
    """Return how many pieces a start there believes at once, and how many it would hash."""
    async with kept(METAINFO, save_path, store, skipped={SKIPPED}, **options) as (_, keeper):
        plan = await keeper.plan()
    return plan.verified.count, len(plan.to_check)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every name below a folder, and the content of each file."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
    }


# -- all goes well ------------------------------------------------------------------------------


@pytest.mark.parametrize("disks", ["one", "two"])
async def test_all_files_move_and_no_piece_is_hashed_again(
    store: StateStore, tmp_path: Path, other_disk: Path, disks: str
) -> None:
    source, target = tmp_path / "old", (other_disk if disks == "two" else tmp_path) / "x/new"
    await downloaded(source, store)
    (source / "payload/a").chmod(0o640)
    before = tree(source)
    times = {name: (source / name).stat().st_mtime_ns for name in files_below(source)}
    seen: list[tuple[int, int]] = []
    assert await move(
        store, request(source, target), on_progress=lambda done, total: seen.append((done, total))
    )
    assert PART_NAME in before
    assert tree(target) == before
    assert tree(source) == {}
    assert {name: (target / name).stat().st_mtime_ns for name in files_below(target)} == times
    assert stat.S_IMODE((target / "payload/a").stat().st_mode) == 0o640
    assert seen[-1][0] == seen[-1][1] > 0
    assert await load_plan(store, METAINFO.info_hash) is None
    assert await start_at(target, store) == ALL_PIECES


async def test_holes_stay_holes_on_another_disk(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    metainfo, payload = make_torrent(payload_of(4_000_000), name="big")
    last = metainfo.piece_count - 1
    async with kept(metainfo, tmp_path / "old", store) as (storage, keeper):
        await keeper.plan()
        put_piece(storage, metainfo, payload, 100)
        put_piece(storage, metainfo, payload, last)
        await keeper.close()
    before = (tmp_path / "old/big").read_bytes()
    what = MoveSpec(metainfo, tmp_path / "old", other_disk, {0: ("big",)}, {0: ("big",)})
    plan = draw_plan(what, await store.load(metainfo.info_hash))
    await MoveAttempt(store, plan, hooks()).begin()
    assert (other_disk / "big").read_bytes() == before
    assert (other_disk / "big").stat().st_blocks * 512 < 200_000


async def test_preallocated_files_have_no_holes_there(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    await downloaded(tmp_path / "old", store)
    (tmp_path / "old/payload/a").write_bytes(b"")
    os.truncate(tmp_path / "old/payload/a", 40_000)
    await move(store, request(tmp_path / "old", other_disk), preallocate=True)
    assert (other_disk / "payload/a").stat().st_blocks * 512 >= 40_000


async def test_the_torrent_goes_on_where_it_was_in_the_middle_of_a_download(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    async with kept(METAINFO, tmp_path / "old", store) as (storage, keeper):
        await keeper.plan()
        for piece in (0, 3):
            put_piece(storage, METAINFO, PAYLOAD, piece)
            keeper.piece_written(piece)
        keeper.partial_written(5, 0)
        await keeper.close()
    await move(store, request(tmp_path / "old", other_disk))
    async with kept(METAINFO, other_disk, store) as (storage, keeper):
        plan = await keeper.plan()
        assert list(plan.verified.present()) == [0, 3]
        assert plan.to_check == []
        for piece in range(METAINFO.piece_count):
            put_piece(storage, METAINFO, PAYLOAD, piece)
    assert b"".join((other_disk / "payload" / name).read_bytes() for name in FILES) == PAYLOAD


async def test_pieces_that_wait_for_their_check_move_with_their_files(
    store: StateStore, tmp_path: Path
) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    for name, data in FILES.items():
        (source / "payload" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "payload" / name).write_bytes(data)
    async with kept(METAINFO, source, store) as (_, keeper):
        plan = await keeper.plan()
        keeper.piece_checked(0, True)
        await keeper.close()
    assert len(plan.to_check) == METAINFO.piece_count
    await move(store, request(source, target))
    async with kept(METAINFO, target, store) as (_, keeper):
        plan = await keeper.plan()
    assert plan.verified.count + len(plan.to_check) == METAINFO.piece_count
    assert files_below(source) == set()


async def test_a_file_gets_another_name_and_no_piece_is_hashed_again(
    store: StateStore, tmp_path: Path
) -> None:
    await downloaded(tmp_path, store)
    before = (tmp_path / "payload/sub/deep/c").stat()
    assert await move(store, request(tmp_path, tmp_path, {2: ("other", "place", "x")}))
    after = (tmp_path / "other/place/x").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_nlink) == (
        before.st_ino,
        before.st_mtime_ns,
        1,
    )
    assert not (tmp_path / "payload/sub/deep").exists()
    assert (tmp_path / "payload/sub/b").exists()
    renames = {2: ("other", "place", "x")}
    assert await start_at(tmp_path, store, renames=renames) == ALL_PIECES
    record = await store.load(METAINFO.info_hash)
    assert record is not None
    assert record.renames == renames


async def test_the_same_folder_by_another_name_is_no_move(
    store: StateStore, tmp_path: Path
) -> None:
    await downloaded(tmp_path / "old", store)
    (tmp_path / "alias").symlink_to(tmp_path / "old")
    plan = draw_plan(request(tmp_path / "old", tmp_path / "alias"), None)
    assert plan.items == ()
    assert plan.is_rename


async def test_a_folder_in_the_old_place_may_be_the_new_place(
    store: StateStore, tmp_path: Path
) -> None:
    await downloaded(tmp_path, store)
    await move(store, request(tmp_path, tmp_path / "payload/sub/inner"))
    assert await start_at(tmp_path / "payload/sub/inner", store) == ALL_PIECES
    assert not (tmp_path / "payload/a").exists()


# -- what is not ours ---------------------------------------------------------------------------


async def test_files_of_others_stay_on_both_sides(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    source, target = tmp_path / "old", other_disk / "new"
    await downloaded(source, store)
    (source / "payload/sub/mine.txt").write_text("mine")
    (target / "payload").mkdir(parents=True)
    (target / "payload/b").write_text("theirs")
    await move(store, request(source, target))
    assert tree(source) == {
        "payload": None,
        "payload/sub": None,
        "payload/sub/mine.txt": b"mine",
    }
    assert (target / "payload/b").read_text() == "theirs"
    assert await start_at(target, store) == ALL_PIECES


async def test_a_file_that_was_there_first_and_is_no_part_of_the_torrent_stays(
    store: StateStore, tmp_path: Path
) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    (source / "payload").mkdir(parents=True)
    (source / "payload/a").write_bytes(b"x" * 40_000)
    async with kept(METAINFO, source, store) as (storage, keeper):
        plan = await keeper.plan()
        for piece in plan.to_check:
            keeper.piece_checked(piece, False)
        put_piece(storage, METAINFO, PAYLOAD, 5)
        keeper.piece_written(5)
        await keeper.close()
    await move(store, request(source, target))
    assert (source / "payload/a").read_bytes() == b"x" * 40_000
    assert not (target / "payload/a").exists()
    assert (target / "payload/sub/deep/c").exists()


IN_THE_WAY = {
    "file": lambda path: path.write_bytes(b"theirs"),
    "same file": lambda path: path.write_bytes(FILES["sub/b"]),
    "folder": lambda path: path.mkdir(),
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "fifo": os.mkfifo,
}


@pytest.mark.parametrize("kind", IN_THE_WAY)
@pytest.mark.parametrize("name", ["payload/sub/b", "payload/skipped", PART_NAME])
async def test_a_taken_name_is_refused_before_anything_moves(
    store: StateStore, tmp_path: Path, kind: str, name: str
) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    await downloaded(source, store)
    (target / name).parent.mkdir(parents=True)
    IN_THE_WAY[kind](target / name)
    names = sorted(map(str, target.rglob("*")))
    before = tree(source)
    with pytest.raises(FileExistsStorageError, match=name.rpartition("/")[2]):
        await move(store, request(source, target))
    assert tree(source) == before
    assert sorted(map(str, target.rglob("*"))) == names
    assert await load_plan(store, METAINFO.info_hash) is None


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
async def test_a8_no_link_in_the_place_of_a_folder_is_followed(
    store: StateStore, tmp_path: Path, kind: str
) -> None:
    source, target, outside = tmp_path / "old", tmp_path / "new", tmp_path / "outside"
    await downloaded(source, store)
    outside.mkdir()
    (target / "payload").mkdir(parents=True)
    if kind == "file":
        (target / "payload/sub").write_bytes(b"")
    else:
        (target / "payload/sub").symlink_to(outside if kind == "link" else "nowhere")
    with pytest.raises(FileExistsStorageError, match="sub"):
        await move(store, request(source, target))
    assert tree(outside) == {}
    assert await start_at(source, store) == ALL_PIECES


@pytest.mark.parametrize("disks", ["one", "two"])
@pytest.mark.parametrize("what", ["file", "link", "folder link"])
async def test_a8_what_is_planted_while_it_moves_is_never_replaced_or_followed(
    store: StateStore, tmp_path: Path, other_disk: Path, disks: str, what: str
) -> None:
    source, target = tmp_path / "old", (other_disk if disks == "two" else tmp_path) / "new"
    outside = tmp_path / "outside"
    outside.mkdir()
    await downloaded(source, store)
    before = tree(source)
    plan = draw_plan(request(source, target), await store.load(METAINFO.info_hash))
    (target / "payload").mkdir(parents=True)
    if what == "folder link":
        (target / "payload/sub").symlink_to(outside)
    else:
        (target / "payload/sub/deep").mkdir(parents=True)
        place = target / "payload/sub/deep/c"
        place.write_bytes(b"theirs") if what == "file" else place.symlink_to(outside / "x")
    with pytest.raises(FileExistsStorageError):
        await MoveAttempt(store, plan, hooks()).begin()
    assert tree(source) == before
    assert tree(outside) == {}
    assert await load_plan(store, METAINFO.info_hash) is None
    assert not (target / "payload/a").exists()
    if what == "file":
        assert (target / "payload/sub/deep/c").read_bytes() == b"theirs"
    assert await start_at(source, store) == ALL_PIECES


@pytest.mark.parametrize("disks", ["one", "two"])
async def test_what_takes_the_place_of_a_file_that_vanished_is_not_the_torrents(
    store: StateStore, tmp_path: Path, other_disk: Path, disks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes the source of a file and makes another one where it should come."""
    source, target = tmp_path / "old", (other_disk if disks == "two" else tmp_path) / "new"
    await downloaded(source, store)
    real, vanished = FileMover._place, list[MoveItem]()

    def place(mover: FileMover, item: MoveItem) -> Iterator[None]:
        if item.file == 1 and not vanished:
            vanished.append(item)
            source.joinpath(*item.old).unlink()
            target.joinpath(*item.new).parent.mkdir(parents=True, exist_ok=True)
            target.joinpath(*item.new).write_bytes(b"theirs")
        yield from real(mover, item)

    monkeypatch.setattr(FileMover, "_place", place)
    with pytest.raises(FileExistsStorageError):
        await move(store, request(source, target))
    (item,) = vanished
    assert target.joinpath(*item.new).read_bytes() == b"theirs"
    assert not source.joinpath(*item.old).exists()
    assert {path for path in target.rglob("*") if path.is_file()} == {target.joinpath(*item.new)}


@pytest.mark.parametrize("later_ns", [1_000_000, 1_900_000_000])
async def test_a_source_that_changes_after_it_was_copied_stays(
    store: StateStore,
    tmp_path: Path,
    other_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    later_ns: int,
) -> None:
    await downloaded(tmp_path / "old", store)
    source = tmp_path / "old/payload/a"
    os.utime(source, ns=(1_234_567_891, 1_234_567_891))
    real = FileMover.clear

    def clear(mover: FileMover, kept: Any = ()) -> Iterator[None]:
        source.write_bytes(b"edited".ljust(source.stat().st_size))
        os.utime(source, ns=(1, 1_234_567_891 + later_ns))
        yield from real(mover, kept)

    monkeypatch.setattr(FileMover, "clear", clear)
    await move(store, request(tmp_path / "old", other_disk))
    assert source.read_bytes().startswith(b"edited")
    assert (other_disk / "payload/a").exists()


async def test_a8_a_hard_link_planted_under_the_temporary_name_is_not_written_through(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    await downloaded(tmp_path / "old", store)
    (other_disk / "victim").write_bytes(b"keep me")
    (other_disk / "payload").mkdir()
    temporary = other_disk / "payload" / f".{METAINFO.info_hash.hex()}.0.moving"
    os.link(other_disk / "victim", temporary)
    await move(store, request(tmp_path / "old", other_disk))
    assert (other_disk / "victim").read_bytes() == b"keep me"
    assert (other_disk / "payload/a").read_bytes() == FILES["a"]
    assert not temporary.exists()


# -- errors -------------------------------------------------------------------------------------


async def test_f1_without_room_nothing_begins(
    store: StateStore, tmp_path: Path, small_tmpfs: Path
) -> None:
    metainfo, payload = make_torrent(payload_of(5_000_000), name="big")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/big").write_bytes(payload)
    what = MoveSpec(metainfo, tmp_path / "old", small_tmpfs, {0: ("big",)}, {0: ("big",)})
    with pytest.raises(DiskFullError, match="no room"):
        draw_plan(what, None)
    assert tree(small_tmpfs) == {}


async def test_f1_a_disk_that_gets_full_half_way_leaves_all_where_it_was(
    store: StateStore, tmp_path: Path, small_tmpfs: Path
) -> None:
    await downloaded(tmp_path / "old", store)
    before = tree(tmp_path / "old")
    plan = draw_plan(
        request(tmp_path / "old", small_tmpfs / "x"), await store.load(METAINFO.info_hash)
    )
    (small_tmpfs / "filler").write_bytes(bytes(4 * 1024 * 1024 - 80_000))
    with pytest.raises(DiskFullError):
        await MoveAttempt(store, plan, hooks()).begin()
    assert tree(tmp_path / "old") == before
    assert set(tree(small_tmpfs)) == {"filler"}
    assert await load_plan(store, METAINFO.info_hash) is None
    assert await start_at(tmp_path / "old", store) == ALL_PIECES


async def test_f3_files_that_are_gone_with_their_disk_are_not_moved(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    await downloaded(other_disk / "old", store)
    record = await store.load(METAINFO.info_hash)
    (tmp_path / "bare").mkdir()
    with pytest.raises(StorageError, match="mounted"):
        draw_plan(request(tmp_path / "bare", tmp_path / "new"), record)


async def test_f3_a_move_does_not_go_on_to_another_disk_in_the_same_place(
    store: StateStore, tmp_path: Path
) -> None:
    await downloaded(tmp_path / "old", store)
    record = await store.load(METAINFO.info_hash)
    plan = draw_plan(request(tmp_path / "old", tmp_path / "new"), record)
    plan = replace(plan, device=plan.device + 1)
    await save_plan(store, plan)
    outcome = await finish_move(store, plan, hooks())
    assert "mounted" in str(outcome.error)
    assert not (tmp_path / "new").exists()
    assert await start_at(tmp_path / "old", store) == ALL_PIECES


async def test_a_file_that_changed_since_it_was_saved_is_hashed_at_the_new_place(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    await downloaded(tmp_path, store)
    path = tmp_path / "payload/a"
    path.rename(tmp_path / "kept")
    path.write_bytes(FILES["a"][:PIECE_BYTES].ljust(40_000, b"y"))
    await move(store, request(tmp_path, other_disk))
    record = await store.load(METAINFO.info_hash)
    assert record is not None
    assert record.stamps[0].inode == 0  # fits nothing, not even a file of the same number there
    verified, to_check = await start_at(other_disk, store)
    assert (verified, to_check) == (METAINFO.piece_count - 3, 3)


async def test_a_file_that_took_the_place_of_the_torrents_stays(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    await downloaded(tmp_path, store)
    path = tmp_path / "payload/a"
    path.rename(tmp_path / "kept")
    path.write_bytes(b"y" * 40_000)
    await move(store, request(tmp_path, other_disk))
    assert path.read_bytes() == b"y" * 40_000
    assert not (other_disk / "payload/a").exists()
    record = await store.load(METAINFO.info_hash)
    assert record is not None
    assert record.stamps[0].inode == 0  # fits nothing, not even a file of the same number there
    assert await start_at(other_disk, store) == (METAINFO.piece_count - 3, 0)


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("metainfo", [METAINFO, V2, HYBRID], ids=["v1", "v2", "hybrid"])
async def test_what_was_never_hashed_moves_if_a_piece_of_it_matches(
    store: StateStore,
    tmp_path: Path,
    metainfo: Metainfo,
    is_known: bool,  # to the database, as files to be hashed
) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    lies = {
        "a": FILES["a"][: 2 * PIECE_BYTES].ljust(40_000, b"y"),
        "skipped": b"mine" * 5_000,
        "sub/b": b"x" * 9_000,
        "sub/deep/c": FILES["sub/deep/c"],
    }
    for name, data in lies.items():
        (source / "payload" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "payload" / name).write_bytes(data)
    if is_known:
        async with kept(metainfo, source, store) as (_, keeper):
            await keeper.plan()
            await keeper.close()
    record = await store.load(metainfo.info_hash)
    names = {
        index: path for index, path in paths(metainfo).items() if metainfo.files.is_stored(index)
    }
    plan = draw_plan(MoveSpec(metainfo, source, target, names, names), record)
    await MoveAttempt(store, plan, hooks()).begin()
    assert files_below(target) - {"payload/empty"} == {"payload/a", "payload/sub/deep/c"}
    assert files_below(source) == {"payload/skipped", "payload/sub/b"}


async def test_an_empty_file_moves_with_the_others_only(store: StateStore, tmp_path: Path) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    (source / "payload").mkdir(parents=True)
    (source / "payload/empty").touch()
    await move(store, request(source, target))
    assert files_below(source) == {"payload/empty"}
    (source / "payload/a").write_bytes(FILES["a"])
    await move(store, request(source, target))
    assert files_below(target) == {"payload/a", "payload/empty"}


def test_a_file_that_was_being_made_at_a_kill_moves_though_nothing_matches(tmp_path: Path) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    (source / "payload").mkdir(parents=True)
    (source / "payload/a").write_bytes(bytes(40_000))
    inode = (source / "payload/a").stat().st_ino
    plan = draw_plan(request(source, target), None, NotedFiles({0: inode}))
    assert [item.file for item in plan.items] == [0]
    (source / "payload/mine").write_bytes(bytes(40_000))
    (source / "payload/mine").replace(source / "payload/a")
    assert not draw_plan(request(source, target), None, NotedFiles({0: inode})).items


def test_a_like_file_moves_only_if_a_verified_piece_matches(tmp_path: Path) -> None:
    """It may be a copy, or somebody else's of the same size and times."""
    source, target = tmp_path / "old", tmp_path / "new"
    (source / "payload").mkdir(parents=True)
    path, metainfo = source / "payload/a", request(source, target).metainfo
    path.write_bytes(FILES["a"])
    stamp = stamp_of(0, path.stat())
    record = TorrentRecord(metainfo.info_hash, "a", str(source), stamps={0: stamp})
    full, none = Bitfield.full(metainfo.piece_count), Bitfield(metainfo.piece_count)
    copy = source / "copy"
    for data, have, is_moved in (
        (FILES["a"], full, True),
        (bytes(len(FILES["a"])), full, False),
        (bytes(len(FILES["a"])), none, True),  # a download that had no whole piece of it
    ):
        bits = have.to_bytes()
        progress = Progress(metainfo.piece_count, bits, bits, none.to_bytes(), "", is_clean=True)
        copy.write_bytes(data)
        os.utime(copy, ns=(stamp.mtime_ns, stamp.mtime_ns))
        copy.replace(path)
        plan = draw_plan(request(source, target), replace(record, progress=progress))
        assert [item.file for item in plan.items] == ([0] if is_moved else [])


@pytest.mark.parametrize("what", ["a pipe", "a folder", "too long", "unreadable", "holes"])
def test_what_cannot_be_hashed_stays(tmp_path: Path, what: str) -> None:
    source, path = tmp_path / "old", tmp_path / "old/payload/a"
    path.parent.mkdir(parents=True)
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what == "too long":
        path.write_bytes(FILES["a"] + b"y")
    elif what == "unreadable":
        path.write_bytes(FILES["a"][:10_000])
    else:
        path.touch()
        os.truncate(path, 40_000)
    assert draw_plan(request(source, tmp_path / "new"), None).items == ()


async def test_a_file_that_is_gone_is_gone_at_the_new_place(
    store: StateStore, tmp_path: Path, other_disk: Path
) -> None:
    await downloaded(tmp_path, store)
    for name in ("a", "sub/b", "sub/deep/c"):
        (tmp_path / "payload" / name).unlink()
    await move(store, request(tmp_path, other_disk))
    assert await start_at(other_disk, store) == (3, 0)  # those in the part-file alone


async def test_a_file_that_changes_while_it_is_copied_undoes_the_move(
    store: StateStore, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await downloaded(tmp_path / "old", store)
    real = os.ftruncate

    def change(descriptor: int, length: int) -> None:
        real(descriptor, length)
        os.utime(tmp_path / "old/payload/a", ns=(1, 1))

    monkeypatch.setattr("torrent_engine.disk.file_copy.os.ftruncate", change)
    with pytest.raises(StorageError, match="changed while"):
        await move(store, request(tmp_path / "old", other_disk))
    assert tree(other_disk) == {}


# -- stopping and going on ----------------------------------------------------------------------


@pytest.mark.parametrize("disks", ["one", "two"])
async def test_a_move_that_was_ended_early_goes_on_later(
    store: StateStore, tmp_path: Path, other_disk: Path, disks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.disk.moves.relocation.STEP_S", 0.0)
    source, target = tmp_path / "old", (other_disk if disks == "two" else tmp_path) / "new"
    await downloaded(source, store)
    before = tree(source)
    plan = draw_plan(request(source, target), await store.load(METAINFO.info_hash))
    await save_plan(store, plan)
    is_finished, attempts = False, 0
    while not is_finished:
        assert tree(source) == before
        attempts += 1
        steps = iter(range(attempts))
        stopping = hooks(is_stopping=lambda steps=steps: next(steps, None) is None)
        is_finished = (await finish_move(store, plan, stopping)).is_finished
    assert attempts > 3
    assert tree(target) == before
    assert await start_at(target, store) == ALL_PIECES


async def test_f1_old_names_that_must_stay_go_when_they_may(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    await downloaded(source, store)
    before = tree(source)
    unlink = Folder.unlink

    def refuse(folder: Folder, parts: Any) -> None:
        if folder.path == source:
            raise PermissionError(errno.EACCES, "Permission denied")
        unlink(folder, parts)

    monkeypatch.setattr(Folder, "unlink", refuse)
    await move(store, request(source, target))
    assert tree(source) == tree(target) == before
    monkeypatch.undo()
    plan = await load_plan(store, METAINFO.info_hash)
    assert plan is not None
    assert (await finish_move(store, plan, hooks())).is_finished
    assert tree(source) == {}
    assert all(path.stat().st_nlink == 1 for path in target.rglob("*") if path.is_file())
    assert await load_plan(store, METAINFO.info_hash) is None
    assert await start_at(target, store) == ALL_PIECES


@pytest.mark.parametrize(
    ("mode", "user", "is_refused"),
    [(0o1777, 12_345, True), (0o777, 12_345, False), (0o1777, os.geteuid(), False)],
    ids=["others", "not sticky", "own"],
)
async def test_files_of_others_in_a_folder_like_tmp_are_not_moved(
    store: StateStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    user: int,
    is_refused: bool,
) -> None:
    source, target = tmp_path / "old", tmp_path / "new"
    await downloaded(source, store)
    before = tree(source)
    for folder in (source, *(each for each in source.rglob("*") if each.is_dir())):
        folder.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    if is_refused:
        with pytest.raises(StorageError, match="cannot be removed from its folder"):
            await move(store, request(source, target))
        assert (tree(source), tree(target)) == (before, {})
    else:
        await move(store, request(source, target))
        assert tree(target) == before


async def test_a_cancelled_move_keeps_its_plan(
    store: StateStore, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.disk.moves.relocation.STEP_S", 0.0)
    await downloaded(tmp_path / "old", store)
    before = tree(tmp_path / "old")
    with anyio.CancelScope() as scope:
        await move(
            store,
            request(tmp_path / "old", other_disk / "new"),
            on_progress=lambda done, _: scope.cancel() if done else None,
        )
    assert scope.cancelled_caught
    assert tree(tmp_path / "old") == before
    plan = await load_plan(store, METAINFO.info_hash)
    assert plan is not None
    assert (await finish_move(store, plan, hooks())).is_finished
    assert tree(other_disk / "new") == before


async def test_what_a_callback_raises_undoes_the_move(
    store: StateStore, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.disk.moves.relocation.STEP_S", 0.0)
    await downloaded(tmp_path / "old", store)
    before = tree(tmp_path / "old")

    def refuse(done: int, _: int) -> None:
        if done > 60_000:
            raise StorageError("x", "enough")

    with pytest.raises(StorageError, match="enough"):
        await move(store, request(tmp_path / "old", other_disk / "new"), on_progress=refuse)
    assert tree(tmp_path / "old") == before
    assert tree(other_disk) == {}
    assert await load_plan(store, METAINFO.info_hash) is None


async def test_f6_while_nobody_knows_what_the_database_says_all_files_stay_at_both_places(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StateDatabaseError("disk I/O error")

    await downloaded(tmp_path / "old", store)
    before, told = tree(tmp_path / "old"), list[str]()
    with monkeypatch.context() as patches:
        for name in ("save_placed", "load_plan"):
            patches.setattr(f"torrent_engine.disk.moves.relocation.{name}", fail)
        with pytest.raises(StateDatabaseError, match="I/O"):
            await move(
                store,
                request(tmp_path / "old", tmp_path / "new"),
                on_placed=lambda _: told.append("placed"),
                on_returned=lambda: told.append("returned"),
            )
    assert told == ["placed", "returned"]
    assert tree(tmp_path / "old") == tree(tmp_path / "new") == before
    plan = await load_plan(store, METAINFO.info_hash)
    assert plan is not None
    assert (await finish_move(store, plan, hooks())).is_finished
    assert (tree(tmp_path / "old"), tree(tmp_path / "new")) == ({}, before)


# -- the table ----------------------------------------------------------------------------------

PLAN = MovePlan(
    METAINFO.info_hash,
    "/old",
    "/new",
    ((0, ("a",), ("b", "c")), (-1, ("x",), ("x",))),  # type: ignore[arg-type]
    {0: ("b", "c")},
    (("b",),),
    ("/new",),
    7,
    10,
)


async def test_a_plan_comes_back_as_it_was_saved(store: StateStore) -> None:
    await save_plan(store, PLAN)
    assert await load_plan(store, METAINFO.info_hash) == PLAN
    await drop_plan(store, METAINFO.info_hash)
    assert await load_plan(store, METAINFO.info_hash) is None


@pytest.mark.parametrize(
    "change", ["plan = plan || ' '", "is_placed = 1", "checksum = x'00'", "plan = 7"]
)
async def test_f6_a_damaged_plan_is_forgotten(store: StateStore, change: str) -> None:
    await save_plan(store, PLAN)
    await store.run(lambda db: db.execute(f"UPDATE moves SET {change}"))
    assert await load_plan(store, METAINFO.info_hash) is None
    assert await store.run(lambda db: db.execute("SELECT * FROM moves").fetchall()) == []


async def test_a_plan_that_does_not_fit_to_where_the_torrent_is_is_forgotten(
    store: StateStore, tmp_path: Path
) -> None:
    await downloaded(tmp_path, store)
    await save_plan(store, PLAN)
    record = await store.load(METAINFO.info_hash)
    assert record is not None
    await store.save_torrent(replace(record, save_path="/elsewhere"))
    assert await load_plan(store, METAINFO.info_hash) is None


async def test_a_plan_says_where_the_torrent_is_whose_record_says_another_place(
    store: StateStore, tmp_path: Path
) -> None:
    await downloaded(tmp_path, store)
    await save_plan(store, PLAN)
    assert await load_plan(store, METAINFO.info_hash) == PLAN
    record = await store.load(METAINFO.info_hash)
    assert record is not None
    assert (record.save_path, record.progress, record.stamps) == (PLAN.source, None, {})


async def test_a_torrent_that_is_removed_has_no_move_left(store: StateStore) -> None:
    await save_plan(store, PLAN)
    await store.remove(METAINFO.info_hash)
    assert await load_plan(store, METAINFO.info_hash) is None


MALFORMED = {
    "nothing": "",
    "a list": "[]",
    "a number": "7",
    "no fields": "{}",
    "a path that leads out": plan_text(PLAN).replace('"c"', '".."'),
    "a path with a separator": plan_text(PLAN).replace('"c"', '"c/d"'),
    "an empty path": plan_text(PLAN).replace('["b", "c"]', "[]"),
    "a number for a path": plan_text(PLAN).replace('["b", "c"]', "5"),
    "a text for a number": plan_text(PLAN).replace("[0, ", '["x", '),
    "an item too short": plan_text(PLAN).replace('[0, ["a"], ', "[0, "),
    "folders that are none": plan_text(PLAN).replace('[["b"]]', "[3]"),
    "a size that is none": plan_text(PLAN).replace('"total_bytes": 10', '"total_bytes": null'),
    "a deep one": "[" * 100_000,
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_plan_raises_its_one_error(text: str) -> None:
    with pytest.raises(StateDatabaseError):
        read_plan(METAINFO.info_hash, text, is_placed=False)


@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list("abit")), inner),
    ).map(lambda value: plan_text(PLAN).replace('["b", "c"]', repr(value)))
)
def test_any_text_is_a_plan_or_raises_its_one_error(text: str) -> None:
    try:
        plan = read_plan(InfoHash(bytes(20)), text, is_placed=True)
    except StateDatabaseError:
        plan = None
    assert plan is None or read_plan(plan.info_hash, plan_text(plan), is_placed=True) == plan
