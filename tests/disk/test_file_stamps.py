"""What is believed of a file that somebody else may have changed (row F4, and mtime, inode)."""

# ruff: noqa: ASYNC240 - a test may block
import errno
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.disk.helpers import CONFIG, kept, put_piece
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.errors import DiskFullError
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.disk.file_stamps import (
    IN_DOUBT_NS,
    FileStamp,
    StampBook,
    StampMatch,
    compare,
    stamp_of,
)
from torrent_engine.disk.files.open_files import OpenFiles
from torrent_engine.disk.files.owned_files import OwnedFiles
from torrent_engine.disk.files.stamps import FileLooks, FileStamps
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.resume import keeper as resume
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.resume.start_plan import StartPlan
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.anyio

FILES = {"a": payload_of(48 * 1024), "b": payload_of(32 * 1024), "c": payload_of(48 * 1024)}
METAINFO, PAYLOAD = make_torrent(FILES)  # a: 0-2, b: 3-4, c: 5-7
STAMP = FileStamp(0, 100, 5_000, 7, 1, 6_000)
HOUR_NS = 3_600_000_000_000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as opened:
        yield opened


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return tmp_path / "save/payload/b"


async def download_and_kill(
    store: StateStore, save_path: Path, *, settled: Any, noted: Any = ()
) -> None:
    """Write pieces, commit some, and leave as a kill would; ``noted`` were on their way."""
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        for piece in settled:  # each with a commit of its own
            put_piece(storage, METAINFO, PAYLOAD, piece)
            keeper.piece_written(piece)
            await keeper.commit()
        for piece in noted:
            put_piece(storage, METAINFO, PAYLOAD, piece)


async def plan_again(store: StateStore, save_path: Path) -> StartPlan:
    async with kept(METAINFO, save_path, store) as (_, keeper):
        return await keeper.plan()


def edit(path: Path, *, back_to: os.stat_result | None = None) -> None:
    path.write_bytes(bytes(path.stat().st_size))
    if back_to is not None:
        os.utime(path, ns=(back_to.st_atime_ns, back_to.st_mtime_ns))


async def test_f4_an_honest_kill_hashes_only_what_was_being_written(
    store: StateStore, tmp_path: Path
) -> None:
    await download_and_kill(store, tmp_path / "save", settled=range(6), noted=[6])
    plan = await plan_again(store, tmp_path / "save")
    assert list(plan.verified.present()) == [0, 1, 2, 3, 4, 5]
    assert plan.to_check == [6]
    assert plan.doubtful_files == {2}  # c: the noted piece changed it after its stamp


async def test_f4_a_file_edited_after_a_kill_is_hashed(
    store: StateStore, tmp_path: Path, b: Path
) -> None:
    await download_and_kill(store, tmp_path / "save", settled=range(6), noted=[6])
    edit(b)
    for _ in range(2):  # a kill before anything is hashed changes nothing
        plan = await plan_again(store, tmp_path / "save")
        assert list(plan.verified.present()) == [0, 1, 2, 5]
        assert plan.to_check == [3, 4, 6]


async def test_f4_a_file_edited_after_a_kill_whose_time_is_set_back_is_in_doubt(
    store: StateStore, tmp_path: Path, b: Path
) -> None:
    await download_and_kill(store, tmp_path / "save", settled=range(6))
    edit(b, back_to=b.stat())
    for _ in range(2):
        plan = await plan_again(store, tmp_path / "save")
        assert plan.to_check == []
        assert plan.doubtful_files == {1}


async def test_f4_a_half_written_file_edited_long_after_a_kill_is_hashed(
    store: StateStore, tmp_path: Path, b: Path
) -> None:
    await download_and_kill(store, tmp_path / "save", settled=[0, 3], noted=[4])
    journal = tmp_path / "state/journals" / METAINFO.info_hash.hex()
    now = journal.stat()
    os.utime(journal, ns=(now.st_atime_ns, now.st_mtime_ns - HOUR_NS))
    edit(b)
    for _ in range(2):
        plan = await plan_again(store, tmp_path / "save")
        assert list(plan.verified.present()) == [0]
        assert plan.to_check == [3, 4]


async def test_f4_after_a_power_cut_what_is_durable_is_believed_but_in_doubt(
    store: StateStore, tmp_path: Path, b: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(METAINFO, tmp_path / "save", store) as (storage, keeper):
        await keeper.plan()
        for piece in (0, 3):
            put_piece(storage, METAINFO, PAYLOAD, piece)
            keeper.piece_written(piece)
        await keeper.commit()
        await keeper.sync()
        put_piece(storage, METAINFO, PAYLOAD, 4)
    journal = tmp_path / "state/journals" / METAINFO.info_hash.hex()
    journal.write_bytes(b"")  # it need not have reached the disk
    monkeypatch.setattr(resume, "read_boot_id", lambda: "another boot")
    monkeypatch.setattr(resume, "read_boot_time_ns", time.time_ns)
    plan = await plan_again(store, tmp_path / "save")
    assert list(plan.verified.present()) == [0, 3]
    assert plan.doubtful_files == {1}
    assert plan.to_check == []


async def test_f4_a_sync_stamps_what_was_written(store: StateStore, tmp_path: Path) -> None:
    async with kept(METAINFO, tmp_path / "save", store) as (storage, keeper):
        await keeper.plan()
        put_piece(storage, METAINFO, PAYLOAD, 3)
        keeper.piece_written(3)
        await keeper.commit()
        put_piece(storage, METAINFO, PAYLOAD, 4)  # not settled: as blocks of an unfinished piece
        await keeper.sync()
    record = await store.load(METAINFO.info_hash)
    assert record is not None
    assert record.stamps[1].mtime_ns == storage.path_of(1).stat().st_mtime_ns


async def test_f3_a_clean_stop_does_not_hide_a_file_that_changed_before(
    store: StateStore, tmp_path: Path, b: Path
) -> None:
    async with kept(METAINFO, tmp_path / "save", store) as (storage, keeper):
        await keeper.plan()
        for piece in range(8):
            put_piece(storage, METAINFO, PAYLOAD, piece)
            keeper.piece_written(piece)
        await keeper.flush()
        edit(b)
        await keeper.close()
    plan = await plan_again(store, tmp_path / "save")
    assert list(plan.verified.present()) == [0, 1, 2, 5, 6, 7]
    assert plan.to_check == [3, 4]


async def save_first_piece(storage: StorageManager, keeper: ResumeKeeper) -> None:
    put_piece(storage, METAINFO, PAYLOAD, 0)
    keeper.piece_written(0)
    await keeper.flush()


def edit_piece(path: Path, offset_bytes: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset_bytes)
        file.write(bytes(16 * 1024))


@pytest.mark.parametrize("is_whole", [True, False])
async def test_f3_an_edit_before_our_own_write_is_noticed(
    store: StateStore, tmp_path: Path, is_whole: bool
) -> None:
    """Our write changes the times of the file, too: afterwards nothing tells of the edit."""
    async with kept(METAINFO, tmp_path / "save", store) as (storage, keeper):
        await keeper.plan()
        await save_first_piece(storage, keeper)
        edit_piece(tmp_path / "save/payload/a", 0)
        put_piece(storage, METAINFO, PAYLOAD, 1)
        if is_whole:
            keeper.piece_written(1)
        else:
            keeper.partial_written(1, 1)
        await keeper.commit()
        assert storage.stamps.take_doubts() == {0}
    assert 0 in (await plan_again(store, tmp_path / "save")).to_check


@pytest.mark.parametrize("preallocate", [False, True])
async def test_f3_an_edit_before_the_first_write_of_a_run_is_noticed(
    store: StateStore, tmp_path: Path, preallocate: bool
) -> None:
    config = replace(CONFIG, preallocate=preallocate)
    async with kept(METAINFO, tmp_path / "save", store, config=config) as (storage, keeper):
        await keeper.plan()
        await save_first_piece(storage, keeper)
    async with kept(METAINFO, tmp_path / "save", store, config=config) as (storage, keeper):
        await keeper.plan()
        edit_piece(tmp_path / "save/payload/a", 0)
        put_piece(storage, METAINFO, PAYLOAD, 1)
        keeper.piece_written(1)
        await keeper.close()
        assert storage.stamps.take_doubts() == {0}
    assert 0 in (await plan_again(store, tmp_path / "save")).to_check


async def test_f3_blocks_of_a_begun_piece_leave_the_file_its_stamp(
    store: StateStore, tmp_path: Path
) -> None:
    async with kept(METAINFO, tmp_path / "save", store) as (storage, keeper):
        await keeper.plan()
        await save_first_piece(storage, keeper)
        put_piece(storage, METAINFO, PAYLOAD, 1)
        keeper.partial_written(1, 1)
        await keeper.commit()
        await storage.read(0, memoryview(bytearray(1)))
        assert not storage.has_doubts(0, 1)
        edit_piece(tmp_path / "save/payload/a", 0)
        assert storage.has_doubts(0, 1)


async def test_f3_a_change_of_one_of_very_many_files_is_noticed_by_whoever_reads_them(
    store: StateStore, tmp_path: Path
) -> None:
    metainfo, payload = make_torrent({f"{at:03}": payload_of(100, at) for at in range(100)})
    pool = OpenFiles(100)
    async with kept(metainfo, tmp_path / "save", store, open_files=pool) as (storage, keeper):
        await keeper.plan()
        put_piece(storage, metainfo, payload, 0)
        keeper.piece_written(0)
        await keeper.commit()
        await keeper.sync()
        into = memoryview(bytearray(10_000))
        await storage.read(0, into)
        assert not storage.has_doubts(0, 10_000)
        (tmp_path / "save/payload/050").write_bytes(bytes(100))
        assert not storage.has_doubts(0, 10_000)
        await storage.read(0, into)
        assert storage.has_doubts(0, 10_000)
        assert storage.stamps.take_doubts() == {50}


async def test_f4_a_file_that_gets_its_length_is_no_change_by_somebody_else(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks meanwhile, as before each upload, sees other times than those of the stamp."""
    config = replace(CONFIG, preallocate=True)
    async with kept(METAINFO, tmp_path / "save", store, config=config) as (storage, keeper):
        await keeper.plan()
        await save_first_piece(storage, keeper)
        await keeper.close()
    real = os.posix_fallocate
    looks = []

    def allocate(descriptor: int, offset: int, length: int) -> None:
        real(descriptor, offset, length)
        os.utime(descriptor, ns=(1, 1))  # as ext4 does of what is allocated already
        looks.append(storage.has_doubts(0, 1))

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    async with kept(METAINFO, tmp_path / "save", store, config=config) as (storage, keeper):
        await keeper.plan()
        put_piece(storage, METAINFO, PAYLOAD, 1)
        keeper.piece_written(1)
        await keeper.commit()
    assert looks == [False]
    plan = await plan_again(store, tmp_path / "save")
    assert list(plan.verified.present()) == [0, 1]


async def test_f2_an_error_of_a_write_that_only_closing_tells_fails_the_next_sync(
    store: StateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of network file systems; whoever closes the file is not who wrote to it."""
    async with kept(METAINFO, tmp_path / "save", store) as (storage, keeper):
        await keeper.plan()
        await save_first_piece(storage, keeper)
        put_piece(storage, METAINFO, PAYLOAD, 1)
        keeper.piece_written(1)
        await keeper.commit()
        real = os.close

        def close(descriptor: int) -> None:
            is_it = Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path / "save/payload/a"
            real(descriptor)
            if is_it:
                raise OSError(errno.EDQUOT, "Disk quota exceeded")

        monkeypatch.setattr(os, "close", close)
        storage.stamps._reopen([0])  # as when another program changed it
        monkeypatch.undo()
        with pytest.raises(DiskFullError, match=r"a: .*quota"):
            await keeper.sync()
        await keeper.commit()
    plan = await plan_again(store, tmp_path / "save")
    assert list(plan.verified.present()) == [0]
    assert plan.to_check == [1]


def test_a_stamp_that_was_taken_during_a_write_is_to_be_saved_again() -> None:
    owned = OwnedFiles(FileLayout([1]), Geometry(1, 1))
    owned.made(0)
    owned.book.begin_write(0)
    owned.saved([0])
    assert owned.unstamped() == {0}
    owned.end_write(0)
    owned.book.take(STAMP, owned.book.writes)
    owned.saved([0])
    assert not owned.unstamped()


SEEN = {
    "same": (STAMP, None, StampMatch.SAME),
    "other size": (STAMP._replace(size_bytes=99), None, StampMatch.CHANGED),
    "other inode": (STAMP._replace(inode=8), 9_000.0, StampMatch.CHANGED),
    "chmod": (STAMP._replace(ctime_ns=7_000), None, StampMatch.IN_DOUBT),
    "written, not by us": (STAMP._replace(mtime_ns=5_500), None, StampMatch.CHANGED),
    "written in time": (STAMP._replace(mtime_ns=5_500), 6_000.0, StampMatch.IN_DOUBT),
    "written too late": (STAMP._replace(mtime_ns=8_000), 6_500.0, StampMatch.CHANGED),
    "time set back": (STAMP._replace(mtime_ns=4_000), 6_500.0, StampMatch.CHANGED),
    "time set back, seen": (STAMP._replace(mtime_ns=5_500, ctime_ns=9_000), 7_000.0,
                            StampMatch.CHANGED),
    "power cut": (STAMP._replace(mtime_ns=4_000), float("inf"), StampMatch.IN_DOUBT),
}  # fmt: skip


@pytest.mark.parametrize(("now", "last_write_ns", "expected"), SEEN.values(), ids=SEEN)
def test_a_stamp_and_a_look_are_compared(
    now: FileStamp, last_write_ns: float | None, expected: StampMatch
) -> None:
    assert compare(STAMP, now, last_write_ns=last_write_ns) is expected


def test_a_stamp_of_an_older_version_says_nothing_of_the_change_time() -> None:
    assert compare(STAMP._replace(ctime_ns=0), STAMP, last_write_ns=None) is StampMatch.SAME
    assert compare(None, STAMP, last_write_ns=None) is StampMatch.CHANGED


def looked_at(**changes: int) -> Any:
    status = {"st_size": 100, "st_mtime_ns": 5_000, "st_ino": 7, "st_ctime_ns": 6_000}
    return SimpleNamespace(**(status | changes))


LOOKS: dict[str, tuple[dict[str, int], Callable[[FileStamp], FileStamp]]] = {
    "same": ({}, lambda now: now),
    "chmod": ({"st_ctime_ns": 9}, lambda now: now._replace(ctime_ns=IN_DOUBT_NS)),
    "edited": ({"st_mtime_ns": 9}, lambda now: now._replace(mtime_ns=-1, ctime_ns=IN_DOUBT_NS)),
}


@pytest.mark.parametrize(("changes", "saved"), LOOKS.values(), ids=LOOKS)
def test_a_change_by_somebody_else_is_noticed_once_and_saved_until_it_is_trusted(
    changes: dict[str, int], saved: Callable[[FileStamp], FileStamp]
) -> None:
    book = StampBook(1)
    assert book.take(STAMP) == STAMP
    book.saved([0])
    book.look(0, looked_at(**changes), book.writes)
    assert book.fresh == ({0} if changes else set())
    book.fresh.clear()
    book.look(0, looked_at(**changes), book.writes)
    assert not book.fresh
    now = STAMP._replace(**{name[3:]: value for name, value in changes.items()})
    assert book.take(now) == saved(now)
    book.trust(0)
    assert book.take(now) == now


def test_our_own_writes_are_no_change() -> None:
    book = StampBook(1)
    book.take(STAMP)
    book.wrote(0)
    book.saved([0])  # taken before the write: of no use any more
    assert not book.is_known(0)
    book.look(0, looked_at(st_mtime_ns=9), book.writes)
    assert not book.fresh


def test_a_stamp_that_was_seen_before_our_write_is_not_taken_for_the_file() -> None:
    book = StampBook(1)
    before = book.writes
    book.wrote(0)  # between the look at the file and what follows
    assert book.take(STAMP, before) == STAMP
    book.saved([0])
    assert not book.is_known(0)
    after = STAMP._replace(mtime_ns=9)
    assert book.take(after, book.writes) == after, "our own write passed for somebody else's"
    book.saved([0])
    assert book.is_known(0)
    book.look(0, looked_at(), before)
    assert not book.fresh
    book.look(0, looked_at(), book.writes)
    assert book.fresh == {0}


def test_a_file_has_no_stamp_while_we_write_to_it() -> None:
    book = StampBook(1)
    book.begin_write(0)
    book.begin_write(0)  # two threads
    book.end_write(0)
    assert book.take(STAMP, book.writes) == STAMP  # from before the slow one changes the file
    book.saved([0])
    assert not book.is_known(0)
    after = STAMP._replace(mtime_ns=9)
    assert book.take(after, book.writes) == after, "our own write passed for somebody else's"
    book.end_write(0)
    book.saved([0])  # another write may have followed what was seen
    assert not book.is_known(0)
    book.take(after, book.writes)
    book.saved([0])
    assert book.is_known(0)


def test_a_write_while_the_files_are_looked_at_is_no_change(tmp_path: Path) -> None:
    path, layout, geometry = tmp_path / "film", FileLayout([1]), Geometry(1, 1)
    path.write_bytes(b"a")
    owned = OwnedFiles(layout, geometry)
    owned.made(0)

    def look(indices: Iterable[int]) -> Iterator[FileStamp]:
        for index in indices:
            seen = stamp_of(index, path.stat())
            if not owned.book.writes:  # another thread is faster than this one, once
                owned.wrote(index)
                path.write_bytes(b"b")
                os.utime(path, ns=(9, 9))
                owned.wrote(index)
            yield seen

    looks = FileLooks(look, lambda _: None, lambda *_: False, lambda: None)
    stamps = FileStamps(layout, geometry, owned, looks)
    assert stamps.own()[0].mtime_ns != 9
    stamps.saved([0])
    assert stamps.own()[0] == stamp_of(0, path.stat())
    assert not stamps.take_doubts()


def test_a_stamp_on_a_file_system_with_whole_seconds_is_in_doubt_for_a_while() -> None:
    second = 1_000_000_000
    coarse = STAMP._replace(mtime_ns=10 * second, ctime_ns=10 * second)
    assert StampBook(1, lambda: 11 * second).take(coarse).ctime_ns == IN_DOUBT_NS
    assert StampBook(1, lambda: 20 * second).take(coarse) == coarse
    assert StampBook(1, lambda: 10 * second + 5_000).take(STAMP) == STAMP
