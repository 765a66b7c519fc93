# ruff: noqa: ASYNC240 - a test may block
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.disk.helpers import CONFIG, FakeClock, kept, put_all, put_piece
from tests.support.torrents import PIECE_BYTES, make_torrent, payload_of, write_files
from torrent_engine.base.errors import (
    DiskFullError,
    ForeignFileError,
    StateDatabaseError,
    StorageError,
)
from torrent_engine.disk.file_stamps import FileStamp, stamp_of
from torrent_engine.disk.files import disk_files
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.resume import keeper as resume
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.resume.start_plan import Planner, StartPlan
from torrent_engine.disk.state.store import StateStore

pytestmark = pytest.mark.anyio

FILES = {"a": payload_of(40_000), "b": payload_of(50_000), "c": payload_of(60_000)}
METAINFO, PAYLOAD = make_torrent(FILES)
BLOCK = 16_384
HOUR_NS = 3_600_000_000_000
COUNT = METAINFO.piece_count  # 10; a: 0-2, b: 2-5, c: 5-9


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[StateStore]:
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as opened:
        yield opened


@pytest.fixture
def save_path(tmp_path: Path) -> Path:
    return tmp_path / "save"


def write_pieces(storage: StorageManager, keeper: ResumeKeeper, pieces: Any) -> None:
    for piece in pieces:
        put_piece(storage, METAINFO, PAYLOAD, piece)
        keeper.piece_written(piece)


async def plan_again(store: StateStore, save_path: Path, **options: Any):
    async with kept(METAINFO, save_path, store, **options) as (_, keeper):
        return await keeper.plan()


def reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system run anew; what is there was made before."""
    began_ns = time.time_ns()
    monkeypatch.setattr(resume, "read_boot_id", lambda: "another boot")
    monkeypatch.setattr(resume, "read_boot_time_ns", lambda: began_ns)


async def download(store: StateStore, save_path: Path, pieces: Any = range(COUNT)) -> None:
    """Write pieces and close cleanly."""
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, pieces)
        await keeper.close()


# -- starts without a record ----------------------------------------------------------------------


async def test_nothing_known_and_nothing_there_starts_empty(
    store: StateStore, save_path: Path
) -> None:
    plan = await plan_again(store, save_path)
    assert (plan.verified.count, plan.to_check, plan.partial) == (0, [], {})


async def test_files_of_which_nothing_is_known_are_hashed_first(
    store: StateStore, save_path: Path
) -> None:
    write_files(METAINFO, PAYLOAD, save_path)
    (save_path / "payload" / "b").unlink()
    for _ in range(2):  # and again, as they were not hashed
        plan = await plan_again(store, save_path)
        assert plan.verified.none()
        assert plan.to_check == [0, 1, 6, 7, 8, 9]


async def test_the_results_of_a_check_are_kept(store: StateStore, save_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, save_path)
    async with kept(METAINFO, save_path, store) as (_, keeper):
        for piece in (await keeper.plan()).to_check:
            if piece != 9:
                keeper.piece_checked(piece, piece != 4)
        await keeper.commit()
    plan = await plan_again(store, save_path)
    assert list(plan.verified.missing()) == [4, 9]
    assert plan.to_check == [9]


async def test_another_save_path_is_another_download(
    store: StateStore, save_path: Path, tmp_path: Path
) -> None:
    await download(store, save_path)
    plan = await plan_again(store, tmp_path / "elsewhere")
    assert (plan.verified.count, plan.to_check) == (0, [])


async def test_a_distrusted_record_means_that_all_is_hashed(
    store: StateStore, save_path: Path
) -> None:
    await download(store, save_path)
    async with kept(METAINFO, save_path, store) as (_, keeper):
        plan = await keeper.plan(trust=False)
    assert plan.verified.none()
    assert plan.to_check == list(range(COUNT))


# -- clean starts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("is_rebooted", [False, True])
async def test_f4_a_clean_stop_is_believed_without_hashing(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch, is_rebooted: bool
) -> None:
    await download(store, save_path, range(7))
    if is_rebooted:
        reboot(monkeypatch)
    plan = await plan_again(store, save_path)
    assert list(plan.verified.present()) == list(range(7))
    assert plan.to_check == []


CHANGES = {
    "touched": lambda path: os.utime(path, (1, 1)),
    "edited": lambda path: path.write_bytes(bytes(50_000)),
    "replaced": lambda path: (path.unlink(), path.write_bytes(bytes(50_000))),
    "cut": lambda path: os.truncate(path, 10_000),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_f3_only_the_pieces_of_a_changed_file_are_hashed(
    store: StateStore, save_path: Path, change: Any
) -> None:
    await download(store, save_path)
    change(save_path / "payload" / "b")
    plan = await plan_again(store, save_path)
    assert list(plan.verified.present()) == [0, 1, 6, 7, 8, 9]
    is_exhausted = (save_path / "payload" / "b").stat().st_size < 50_000
    assert plan.to_check == ([2] if is_exhausted else [2, 3, 4, 5])


@pytest.mark.parametrize("keeps_times", [True, False])
async def test_a_copy_of_a_file_from_a_backup_is_the_torrents_if_it_kept_its_times(
    store: StateStore, save_path: Path, keeps_times: bool
) -> None:
    """It has no whole piece, so nothing but its stamp says whose it is."""
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        storage.write_views(0, [memoryview(PAYLOAD)[:1_000]])
        await keeper.close()
    path = save_path / "payload" / "a"
    (shutil.copy2 if keeps_times else shutil.copy)(path, save_path / "copy")
    (save_path / "copy").replace(path)
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        assert storage.owned.is_own(0) is keeps_times


async def test_f3_a_missing_file_costs_its_own_pieces(store: StateStore, save_path: Path) -> None:
    await download(store, save_path)
    (save_path / "payload" / "b").unlink()
    plan = await plan_again(store, save_path)
    assert list(plan.verified.present()) == [0, 1, 6, 7, 8, 9]
    assert plan.to_check == []


async def test_f3_a_disk_that_is_not_mounted_is_not_started_over(
    store: StateStore, small_tmpfs: Path
) -> None:
    import subprocess

    await download(store, small_tmpfs)
    mount = small_tmpfs
    subprocess.run(["umount", str(mount)], check=True)  # noqa: ASYNC221
    try:
        async with kept(METAINFO, mount, store) as (_, keeper):
            with pytest.raises(StorageError, match="mounted"):
                await keeper.plan()
            async with await StateStore.open(store.folder, config=CONFIG) as other:
                other.claim(METAINFO.info_hash)  # it was let go of
    finally:
        command = ["mount", "-t", "tmpfs", "none", str(mount)]
        subprocess.run(command, check=True)  # noqa: ASYNC221


async def test_skipped_files_and_the_part_file_survive_a_restart(
    store: StateStore, save_path: Path
) -> None:
    skipped = frozenset({1})
    pieces = [0, 1, 2, 5, 6, 7, 8, 9]
    async with kept(METAINFO, save_path, store, skipped=skipped) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, pieces)
        await keeper.close()
    plan = await plan_again(store, save_path, skipped=skipped)
    assert list(plan.verified.present()) == pieces
    next(save_path.glob(".*.parts")).unlink()
    plan = await plan_again(store, save_path, skipped=skipped)
    assert list(plan.verified.present()) == [0, 1, 6, 7, 8, 9]


# -- kills ----------------------------------------------------------------------------------------


async def test_f4_a_kill_costs_no_committed_piece_and_no_hashing(
    store: StateStore, save_path: Path
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [3, 1, 8])
        await keeper.commit()
    plan = await plan_again(store, save_path)
    assert list(plan.verified.present()) == [1, 3, 8]
    assert plan.to_check == []


async def test_f4_a_kill_before_the_commit_leaves_the_written_pieces_to_be_hashed(
    store: StateStore, save_path: Path
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [3])
        await keeper.commit()
        put_all(storage, METAINFO, PAYLOAD)  # and killed before anybody was told
    for _ in range(2):
        plan = await plan_again(store, save_path)
        assert list(plan.verified.present()) == [3]
        assert plan.to_check == [0, 1, 2, *range(4, COUNT)]


async def test_f5_after_a_power_cut_only_durable_pieces_are_believed(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [0, 1])
        await keeper.sync()
        write_pieces(storage, keeper, [2, 3])
        keeper.partial_written(4, 0b1)
        await keeper.commit()
    reboot(monkeypatch)
    plan = await plan_again(store, save_path)
    assert list(plan.verified.present()) == [0, 1]
    assert plan.to_check == [2, 3]
    assert plan.partial == {}


async def test_f5_durable_follows_the_sync_and_never_leads_it(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_sync, real_save = StorageManager.sync, StateStore.save_progress

    def sync(storage: StorageManager) -> None:
        real_sync(storage)
        calls.append("synced")

    async def save(self: StateStore, info_hash: Any, progress: Any, **more: Any) -> None:
        calls.append(progress.durable.hex())
        await real_save(self, info_hash, progress, **more)

    monkeypatch.setattr(StorageManager, "sync", sync)
    monkeypatch.setattr(StateStore, "save_progress", save)
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [0, 1])
        await keeper.commit()
        await keeper.sync()
    assert calls == ["0000", "synced", "c000"]  # the first is the begin, too


async def test_f4_what_a_killed_process_did_not_sync_is_synced_by_the_next(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, range(COUNT))
        await keeper.commit()
    synced: list[int] = []
    real = disk_files.DiskFiles._sync_file

    def sync_file(self: disk_files.DiskFiles, index: int) -> None:
        synced.append(index)
        real(self, index)

    monkeypatch.setattr(disk_files.DiskFiles, "_sync_file", sync_file)
    async with kept(METAINFO, save_path, store) as (_, keeper):
        await keeper.plan()
        await keeper.sync()
    assert synced == [0, 1, 2]
    reboot(monkeypatch)
    assert (await plan_again(store, save_path)).verified.all()


async def test_f6_a_record_that_cannot_be_planned_from_is_set_aside(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await download(store, save_path)

    def fails(*_: object, **__: object) -> StartPlan:
        raise TypeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Planner, "from_record", fails)
        plan = await plan_again(store, save_path)
    assert (plan.verified.count, plan.to_check) == (0, list(range(COUNT)))
    query = "SELECT info_hash, reason FROM quarantine"
    found = await store.run(lambda db: db.execute(query).fetchall())
    assert found == [(METAINFO.info_hash, "TypeError: a bug")]
    assert (await plan_again(store, save_path)).to_check == list(range(COUNT))


# -- partial pieces -------------------------------------------------------------------------------


async def test_partial_pieces_are_kept_until_they_are_whole_or_wrong(
    store: StateStore, save_path: Path
) -> None:
    big, payload = make_torrent(payload_of(300_000), piece_bytes=65_536)

    async def plan() -> Any:
        async with kept(big, save_path, store) as (_, keeper):
            return await keeper.plan()

    async with kept(big, save_path, store) as (storage, keeper):
        await keeper.plan()
        storage.write_views(0, [memoryview(payload)[:16_384]])
        for piece, blocks in ((0, 0b1), (1, 0b1010), (2, 0b1), (3, 0b11)):
            keeper.partial_written(piece, blocks)
        await keeper.commit()
        put_piece(storage, big, payload, 1)
        keeper.piece_written(1)
        keeper.partial_written(2, 0)
        keeper.partial_written(3, 0b111)
        keeper.partial_written(4, 1 << 40)  # more blocks than there are: damage
        await keeper.commit()
    assert (await plan()).partial == {0: 0b1, 3: 0b111}
    assert (await plan()).partial == {0: 0b1, 3: 0b111}


# -- running --------------------------------------------------------------------------------------


async def test_run_commits_soon_and_syncs_by_time_or_volume(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "COMMIT_INTERVAL_S", 0.0)
    clock, saved = FakeClock(), anyio.create_memory_object_stream[str](100)
    real = StateStore.save_progress

    async def save(self: StateStore, info_hash: Any, progress: Any, **more: Any) -> None:
        await real(self, info_hash, progress, **more)
        saved[0].send_nowait(f"{progress.have.hex()} {progress.durable.hex()}")

    monkeypatch.setattr(StateStore, "save_progress", save)
    with saved[0], saved[1]:
        async with kept(METAINFO, save_path, store, clock=clock) as (storage, keeper):
            await keeper.plan()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(keeper.run)
                write_pieces(storage, keeper, [0])
                with anyio.fail_after(30):
                    assert await saved[1].receive() == "8000 0000"
                clock.now_s += CONFIG.sync_interval_s
                with anyio.fail_after(30):
                    assert await saved[1].receive() == "8000 8000"
                tasks.cancel_scope.cancel()


async def test_f2_a_failed_sync_drops_what_came_since_the_last_good_one(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [0, 1])
        await keeper.sync()
        write_pieces(storage, keeper, [7, 8])
        await keeper.commit()

        def broken(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(disk_files, "_DATASYNC", broken)
        with pytest.raises(StorageError, match="Input/output error"):
            await keeper.sync()
        monkeypatch.undo()
        await keeper.commit()
    plan = await plan_again(store, save_path)
    assert list(plan.verified.present()) == [0, 1]
    assert plan.to_check == [7, 8]


async def test_a_failed_commit_is_made_up_for_by_the_next(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [4])
        keeper.partial_written(5, 0b1)

        async def broken(*_: Any, **__: Any) -> None:
            raise StateDatabaseError("broken")

        with monkeypatch.context() as patch:
            patch.setattr(StateStore, "save_progress", broken)
            with pytest.raises(StateDatabaseError):
                await keeper.commit()
        await keeper.commit()
    plan = await plan_again(store, save_path)
    assert list(plan.verified.present()) == [4]
    assert plan.partial == {5: 0b1}


async def test_f1_run_makes_up_for_a_commit_that_failed_elsewhere(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "COMMIT_INTERVAL_S", 0.0)
    real, is_full, saved = StateStore.save_progress, True, anyio.Event()

    async def save(self: StateStore, info_hash: Any, progress: Any, **more: Any) -> None:
        if is_full:
            raise DiskFullError(save_path, "full")
        await real(self, info_hash, progress, **more)
        saved.set()

    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        await keeper.flush()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.run)
            await anyio.wait_all_tasks_blocked()  # it waits for something to save
            monkeypatch.setattr(StateStore, "save_progress", save)
            with pytest.raises(DiskFullError):
                await keeper.commit()  # as before the first write
            is_full = False
            write_pieces(storage, keeper, [0])
            with anyio.fail_after(30):
                await saved.wait()
            tasks.cancel_scope.cancel()
        found = await store.load(METAINFO.info_hash)
    assert found is not None
    assert found.progress is not None
    assert found.progress.have == b"\x80\x00"


async def test_f7_a_torrent_in_use_elsewhere_is_refused(
    store: StateStore, save_path: Path, tmp_path: Path
) -> None:
    async with (
        kept(METAINFO, save_path, store) as (_, keeper),
        await StateStore.open(tmp_path / "state", config=CONFIG) as other,
    ):
        await keeper.plan()
        with pytest.raises(StateDatabaseError, match="in use by another process"):
            await plan_again(other, save_path)


async def test_f8_a_wall_clock_that_jumps_changes_nothing(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 4e9)
    await download(store, save_path, range(5))
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert (await plan_again(store, save_path)).verified.count == 5


async def test_f6_deleting_spares_foreign_files_also_after_a_restart(
    store: StateStore, save_path: Path
) -> None:
    write_files(METAINFO, bytes(len(PAYLOAD)), save_path)
    (save_path / "payload" / "a").unlink()
    for _ in range(2):
        async with kept(METAINFO, save_path, store) as (storage, keeper):
            for piece in (await keeper.plan()).to_check:
                keeper.piece_checked(piece, False)
            write_pieces(storage, keeper, [0, 1])
            await keeper.close()
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        await storage.delete_files()
    assert sorted(path.name for path in (save_path / "payload").iterdir()) == ["b", "c"]


async def test_without_a_boot_id_only_durable_is_believed(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resume, "_BOOT_ID", tmp_path / "none")
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [0])
        await keeper.commit()
    plan = await plan_again(store, save_path)
    assert plan.verified.none()
    assert plan.to_check == [0]


async def test_f3_pieces_inside_a_skipped_file_are_gone_with_the_part_file(tmp_path: Path) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(100_000)})
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as store:
        seen = []
        for piece in (3, None):
            options = {"skipped": frozenset({1})}
            async with kept(metainfo, tmp_path / "save", store, **options) as (storage, keeper):
                plan = await keeper.plan()
                seen.append(list(plan.verified.present()))
                if piece is not None:
                    put_piece(storage, metainfo, payload, piece)
                    keeper.piece_written(piece)
                await keeper.close()
            if piece is None:
                (tmp_path / f"save/.{metainfo.info_hash.hex()}.parts").unlink()
        async with kept(metainfo, tmp_path / "save", store, skipped={1}) as (_, keeper):
            plan = await keeper.plan()
    assert seen == [[], [3]]
    assert list(plan.verified.present()) == []


async def test_a_file_that_is_wanted_since_the_last_run_has_what_the_part_file_had(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(20_000), "b": payload_of(500_000)})
    save_path = tmp_path / "save"
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as store:
        async with kept(metainfo, save_path, store, skipped={1}) as (storage, keeper):
            await keeper.plan()
            for piece in (0, 1, 7):
                put_piece(storage, metainfo, payload, piece)
                keeper.piece_written(piece)
            await keeper.close()
        async with kept(metainfo, save_path, store) as (storage, keeper):
            plan = await keeper.plan()
            assert list(plan.verified.present()) == [0, 1, 7]
            assert plan.to_check == []
            for piece in (0, 1, 7):
                start, length = metainfo.geometry.piece_offset(piece), 16_384
                into = memoryview(bytearray(length))
                await storage.read(start, into)
                assert into == payload[start : start + length]
            storage.claim_files()
            assert not (save_path / f".{metainfo.info_hash.hex()}.parts").exists()
            await storage.read(start, into)
            assert into == payload[start : start + length]


async def test_f3_a_lost_file_does_not_come_back_from_a_part_file_that_it_is_not_in(
    tmp_path: Path,
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(70_000), "b": payload_of(90_000)})
    save_path = tmp_path / "save"
    async with await StateStore.open(tmp_path / "state", config=CONFIG) as store:
        async with kept(metainfo, save_path, store, skipped={1}) as (storage, keeper):
            await keeper.plan()
            for piece in range(7):
                put_piece(storage, metainfo, payload, piece)
                keeper.piece_written(piece)
            await keeper.close()
        (save_path / "payload/a").unlink()
        async with kept(metainfo, save_path, store, skipped={1}) as (_, keeper):
            plan = await keeper.plan()
    assert list(plan.verified.present()) == [5, 6]
    assert not (save_path / "payload/a").exists()


@pytest.mark.parametrize(("pieces", "is_precious"), [(range(5), True), (range(COUNT), False)])
async def test_f5_before_files_change_it_is_durable_that_they_are_not_clean(
    store: StateStore,
    save_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pieces: range,
    is_precious: bool,
) -> None:
    await download(store, save_path, pieces)
    seen: list[bool] = []
    run = store.run

    async def watched(work: Any, *, is_precious: bool = False) -> Any:
        seen.append(is_precious)
        return await run(work, is_precious=is_precious)

    monkeypatch.setattr(store, "run", watched)
    await plan_again(store, save_path)
    assert any(seen) is is_precious


async def test_f5_what_was_synced_is_durable_in_the_database_too(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    save = store.save_progress

    async def watched(*arguments: Any, is_precious: bool = False, **options: Any) -> None:
        seen.append(is_precious)
        await save(*arguments, is_precious=is_precious, **options)

    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, range(3))
        monkeypatch.setattr(store, "save_progress", watched)
        await keeper.commit()
        await keeper.sync()
    assert seen == [False, True]


async def test_a_file_made_just_before_a_kill_is_the_torrents_and_one_made_after_it_is_not(
    store: StateStore, save_path: Path
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        await keeper.commit()
        put_piece(storage, METAINFO, PAYLOAD, 0)  # killed before the next commit
    made = {path.name for path in (save_path / "payload").iterdir()}
    other = next(entry for entry in METAINFO.files if entry.path[-1] not in made)
    mine = save_path.joinpath(*other.path)
    mine.write_bytes(b"mine")
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        put_piece(storage, METAINFO, PAYLOAD, 0)
        with pytest.raises(ForeignFileError, match=mine.name):
            put_all(storage, METAINFO, PAYLOAD)
        with pytest.raises(ForeignFileError, match=mine.name):
            storage.claim_files()
        await storage.delete_files()
    assert [path.name for path in (save_path / "payload").iterdir()] == [mine.name]


async def test_without_progress_the_record_says_which_files_were_found(
    store: StateStore, save_path: Path
) -> None:
    (save_path / "payload").mkdir(parents=True)
    mine = save_path.joinpath(*METAINFO.files[0].path)
    mine.write_bytes(b"mine")
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        await keeper.commit()
        put_piece(storage, METAINFO, PAYLOAD, METAINFO.piece_count - 1)
        await keeper.close()

    def forget(db: sqlite3.Connection) -> None:
        for table in ("torrents", "progress", "stamps"):
            db.execute(f"DELETE FROM {table}")

    await store.run(forget)
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        put_piece(storage, METAINFO, PAYLOAD, METAINFO.piece_count - 1)
        with pytest.raises(ForeignFileError, match=mine.name):
            storage.claim_files()
        await storage.delete_files()
    assert [path.name for path in (save_path / "payload").iterdir()] == [mine.name]


async def test_a_file_of_the_torrent_that_is_skipped_now_is_found_where_it_is(
    store: StateStore, save_path: Path
) -> None:
    async with kept(METAINFO, save_path, store, skipped={1, 2}) as (storage, keeper):
        await keeper.plan()
        storage.claim_files()
        write_pieces(storage, keeper, [0, 1, 2, 5])  # the part-file has the ends of b, and some c
        await storage.set_skipped({2})
        write_pieces(storage, keeper, [3, 4])
        await keeper.flush()
    async with kept(METAINFO, save_path, store, skipped={1, 2}) as (storage, keeper):
        plan = await keeper.plan()
        assert plan.verified.count == 6
        found = bytearray(2 * PIECE_BYTES)
        await storage.read(3 * PIECE_BYTES, memoryview(found))
        assert found == PAYLOAD[3 * PIECE_BYTES : 5 * PIECE_BYTES]
    os.utime(save_path / "payload" / "b", ns=(1, 1))
    plan = await plan_again(store, save_path, skipped={1, 2})
    assert {3, 4} <= set(plan.to_check)


@pytest.mark.parametrize("end", ["clean", "killed", "power cut"])
@pytest.mark.parametrize("change", ["none", "content", "replaced"])
async def test_what_lies_in_a_part_file_that_was_changed_is_hashed(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, end: str
) -> None:
    async with kept(METAINFO, save_path, store, skipped={1}) as (storage, keeper):
        await keeper.plan()
        storage.claim_files()
        write_pieces(storage, keeper, [0, 1, 2, 5, 6, 7, 8, 9])  # 2 and 5 have ends of b
        await (keeper.close() if end == "clean" else keeper.flush())
        if end != "clean":
            await keeper.commit()
    parts = save_path / f".{METAINFO.info_hash.hex()}.parts"
    data = parts.read_bytes()
    if change == "content":
        parts.write_bytes(data[:-1] + b"x")
        os.utime(parts, ns=(parts.stat().st_atime_ns, parts.stat().st_mtime_ns + HOUR_NS))
    elif change == "replaced":
        parts.with_name("copy").write_bytes(data)
        parts.with_name("copy").chmod(0o600)
        parts.with_name("copy").replace(parts)
    if end == "power cut":
        reboot(monkeypatch)
    plan = await plan_again(store, save_path, skipped={1})
    is_ours = change == "none" or (change, end) == ("content", "power cut")  # times say nothing
    assert plan.to_check == ([] if is_ours else [2, 5])
    assert plan.verified.count == (8 if is_ours else 6)


@pytest.mark.parametrize("has_stamps", [True, False])
async def test_no_file_of_others_is_taken_behind_a_database_from_a_backup(
    store: StateStore, save_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_stamps
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        if has_stamps:
            write_pieces(storage, keeper, [0, 1, 2])
        await keeper.commit()
        assert storage.write_hooks.before_writes is not None
        storage.owned.taking(2, 0)  # as the journal of the backup says
    shutil.rmtree(save_path, ignore_errors=True)
    (save_path / "payload").mkdir(parents=True)
    for name, data in FILES.items():
        (save_path / "payload" / name).write_bytes(b"mine" * (len(data) // 4))
    copy = tmp_path / f"state/torrents/{METAINFO.info_hash.hex()}.json"
    os.utime(copy, (1.6e9, 1.6e9))
    reboot(monkeypatch)
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        assert not storage.owned.own()
        with pytest.raises(ForeignFileError):
            storage.claim_files()
        await storage.delete_files()
    assert {path.read_bytes()[:4] for path in (save_path / "payload").iterdir()} == {b"mine"}
    assert len(list((save_path / "payload").iterdir())) == 3


@pytest.mark.parametrize("is_saved", [False, True])
async def test_f5_a_file_that_was_made_after_a_power_cut_is_somebody_elses(
    store: StateStore,
    save_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_saved: bool,
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        if is_saved:
            write_pieces(storage, keeper, [0, 1])
        await keeper.flush()
        await keeper.commit()  # unclean
    shutil.rmtree(tmp_path / "state" / "journals")
    reboot(monkeypatch)
    wait_for_a_tick(tmp_path / "tick")
    put_theirs(save_path / "payload" / "c")
    assert await refuses_and_keeps_theirs(store, save_path)


async def test_f5_a_file_of_another_length_from_before_a_power_cut_is_somebody_elses(
    store: StateStore, save_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The torrent gives each file its length first of all."""
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [0, 1])
        await keeper.flush()
        await keeper.commit()  # unclean
    put_theirs(save_path / "payload" / "c")
    reboot(monkeypatch)
    assert await refuses_and_keeps_theirs(store, save_path)


@pytest.mark.parametrize("has_its_number", [False, True])
async def test_f4_a_file_that_was_made_after_a_kill_is_somebody_elses(
    store: StateStore,
    save_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_its_number: bool,
) -> None:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [0, 1])
        await keeper.commit()
        put_piece(storage, METAINFO, PAYLOAD, 9)  # killed before the next commit
    path = save_path / "payload" / "c"
    inode = path.stat().st_ino
    wait_for_a_tick(tmp_path / "tick")
    if has_its_number:
        path.unlink()
        put_theirs(path)
        give_inode(monkeypatch, path, inode)
    else:
        put_theirs(path.with_name("theirs"))
        path.with_name("theirs").replace(path)
    assert await refuses_and_keeps_theirs(store, save_path)


def give_inode(monkeypatch: pytest.MonkeyPatch, path: Path, inode: int) -> None:
    """Let a file have the inode number of one that was removed, as it often has."""
    its = path.stat().st_ino

    def stamp(index: int, seen: os.stat_result) -> FileStamp:
        found = stamp_of(index, seen)
        return found._replace(inode=inode) if found.inode == its else found

    monkeypatch.setattr(disk_files, "stamp_of", stamp)


@pytest.mark.parametrize("data", ["theirs", "the same"])
async def test_a_file_of_equal_size_and_times_is_the_torrents_if_its_pieces_are(
    store: StateStore, save_path: Path, tmp_path: Path, data: str
) -> None:
    await download(store, save_path)
    path, copy = save_path / "payload" / "c", tmp_path / "copy"
    status = path.stat()
    copy.write_bytes(path.read_bytes() if data == "the same" else b"theirs" * 10_000)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(path)
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        plan = await keeper.plan()
        assert plan.to_check == [5, 6, 7, 8, 9]
        assert storage.owned.proved() == {0, 1}
        for piece in plan.to_check:
            keeper.piece_checked(piece, data == "the same")
        assert storage.owned.is_own(2) is (data == "the same")
        if data == "theirs":
            with pytest.raises(ForeignFileError, match="/c"):
                storage.claim_files()
        await keeper.commit()  # now no verified piece of it is known that could prove anything
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        assert storage.owned.is_own(2) is (data == "the same")
        await storage.delete_files()
    assert path.exists() is (data == "theirs")


async def test_a_copy_without_a_whole_verified_piece_is_still_the_torrents(
    store: StateStore, save_path: Path, tmp_path: Path
) -> None:
    """As all files after a restore of a backup, or on a disk without lasting inode numbers."""
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        write_pieces(storage, keeper, [0, 5])  # the last has the end of b and the start of c
        storage.write_views(6 * PIECE_BYTES, [memoryview(PAYLOAD)[:BLOCK]])
        keeper.partial_written(6, 1)
        await keeper.close()
    path, copy = save_path / "payload" / "c", tmp_path / "copy"
    shutil.copy2(path, copy)
    copy.replace(path)
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        assert storage.owned.is_own(2)


def wait_for_a_tick(path: Path) -> None:
    """Wait until files are born later than now: the kernel's clock for that is a coarse one."""
    now_ns = time.time_ns()
    while not path.exists() or path.stat().st_ctime_ns <= now_ns:
        path.write_bytes(b"")


def put_theirs(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"theirs" * 1_000)


async def refuses_and_keeps_theirs(store: StateStore, save_path: Path) -> bool:
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        assert not storage.owned.is_own(2)
        with pytest.raises(ForeignFileError, match="/c"):
            storage.claim_files()
        await storage.delete_files()
    return (save_path / "payload" / "c").read_bytes() == b"theirs" * 1_000


async def test_f5_files_that_were_made_before_a_power_cut_are_the_torrents(
    store: StateStore, save_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (save_path / "payload").mkdir(parents=True)
    (save_path / "payload" / "a").write_bytes(b"theirs" * 6_000)
    async with kept(METAINFO, save_path, store, skipped={0}) as (storage, keeper):
        await keeper.plan()
        await keeper.flush()
        await keeper.commit()
        for name in ("b", "c"):
            began = b"half of a page".ljust(len(FILES[name]), b"\0")
            (save_path / "payload" / name).write_bytes(began)
    shutil.rmtree(tmp_path / "state" / "journals")
    reboot(monkeypatch)
    async with kept(METAINFO, save_path, store) as (storage, keeper):
        await keeper.plan()
        with pytest.raises(ForeignFileError, match="/a"):
            storage.claim_files()
    async with kept(METAINFO, save_path, store, skipped={0}) as (storage, keeper):
        await keeper.plan()
        storage.claim_files()
