"""Moving a torrent's files, and renaming one, while it downloads, seeds, rests or is stopped."""

import shutil
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from tests.disk.helpers import mounted_tmpfs
from tests.support.disks import folder_on_other_disk
from tests.support.session_parts import allow_rest
from tests.support.swarm import (
    address_of,
    content,
    download,
    files_below,
    kinds,
    reach,
    record,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import DormancyConfig, SessionConfig
from torrent_engine.base.errors import (
    ConfigError,
    FileExistsStorageError,
    LocalProtocolError,
    SessionError,
    StateTransitionError,
    StorageError,
)
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.moves import relocation
from torrent_engine.disk.moves.table import load_plan
from torrent_engine.disk.state.job_table import IN_HAND
from torrent_engine.engine.events import (
    FileRenamed,
    PieceCompleted,
    StorageMoved,
    StorageMoveFailed,
)
from torrent_engine.engine.jobs.job_log import JobFilter, JobKind, JobStatus
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

FILES = {
    "a.bin": payload_of(300_000, 1),
    "sub/b.bin": payload_of(200_000, 2),
    "c": payload_of(9, 3),
}
METAINFO, PAYLOAD = make_torrent(FILES)


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    with folder_on_other_disk(tmp_path) as folder:
        yield folder


@asynccontextmanager
async def seeding(
    tmp_path: Path, metainfo: Metainfo = METAINFO, payload: bytes = PAYLOAD
) -> AsyncIterator[tuple[SharedResources, Session]]:
    """Run a seed of files below ``old``."""
    write_files(metainfo, payload, tmp_path / "old")
    async with resources(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "old")
        async with session:
            await reach(session, State.SEEDING)
            yield shared, session


async def move_jobs(shared: SharedResources) -> list[JobStatus]:
    wanted = JobFilter(kinds=frozenset({JobKind.MOVE}))
    return [job.status for job in await shared.jobs.list(wanted)]


async def progressed(session: Session, pieces: int) -> None:
    """Wait until so many more pieces are here."""
    wanted = session.stats().pieces_have + pieces
    await until(lambda: session.stats().pieces_have >= wanted)


# -- moving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("disks", ["one", "two"])
async def test_a_seed_goes_on_from_the_new_place_and_hashes_nothing(
    tmp_path: Path, other_disk: Path, disks: str
) -> None:
    target = (other_disk if disks == "two" else tmp_path) / "new"
    async with seeding(tmp_path) as (shared, session):
        events = record(session)
        await session.move_storage(target)
        await reach(session, State.SEEDING)
        assert session.save_path == target
        assert files_below(tmp_path / "old") == set()
        async with resources(tmp_path / "leech") as other:
            await download(other, METAINFO, tmp_path / "out", address_of(shared))
        assert await move_jobs(shared) == [JobStatus.COMPLETED]
        await until(lambda: "storage.moved" in kinds(events))
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert content(METAINFO, target) == PAYLOAD
    assert "check.progress" not in kinds(events)
    assert [each.path for each in events if isinstance(each, StorageMoved)] == [str(target)]


@pytest.mark.parametrize("disks", ["one", "two"])
async def test_a_download_goes_on_at_the_new_place_and_no_piece_comes_twice(
    tmp_path: Path, other_disk: Path, disks: str
) -> None:
    metainfo, payload = make_torrent({"x": payload_of(900_000, 5), "y/z": payload_of(700_000, 6)})
    base = other_disk if disks == "two" else tmp_path
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await Session.create(
            metainfo,
            shared,
            save_path=tmp_path / "old",
            config=SessionConfig(peers=(address,), max_download_bytes_per_s=700_000),
        )
        events = record(session)
        async with session:
            for number in range(3):
                await progressed(session, 10)
                await session.move_storage(base / f"new{number}")
            session.set_rate_limits(download_bytes_per_s=0)
            await reach(session, State.SEEDING)
            assert session.save_path == base / "new2"
            assert session.stats().wasted_bytes == 0
    # All events are handed out once the Session is closed.
    pieces = [each.piece_index for each in events if isinstance(each, PieceCompleted)]
    assert sorted(pieces) == list(range(metainfo.piece_count))
    assert content(metainfo, base / "new2") == payload
    assert {*files_below(tmp_path / "old"), *files_below(base / "new0")} == set()
    assert "check.progress" not in kinds(events)


@pytest.mark.parametrize("state", ["stopped", "paused", "never started", "in error", "checking"])
async def test_the_files_move_whatever_the_session_does(tmp_path: Path, state: str) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "old")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "old")
        if state not in {"never started", "in error"}:
            await session.start()
        if state in {"stopped", "paused"}:
            await reach(session, State.SEEDING)
            await (session.stop() if state == "stopped" else session.pause())
        if state == "in error":
            (tmp_path / "old/payload/c").unlink()
            (tmp_path / "old/payload/c").mkdir()
            await session.start()
            await reach(session, State.ERROR)
            (tmp_path / "old/payload/c").rmdir()
        before = state_of(session)
        await session.move_storage(tmp_path / "new")
        assert state_of(session) in {before, State.SEEDING}
        if state == "paused":
            await session.resume()
        elif state != "checking":
            await session.start()
        await reach(session, State.SEEDING, State.DOWNLOADING)
        lost = 1 if state == "in error" else 0
        await until(lambda: session.stats().pieces_have == METAINFO.piece_count - lost)
        await session.close()
    assert files_below(tmp_path / "old") == set()


async def test_a_resting_torrent_moves_and_rests_on(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "old")
    async with resources(tmp_path, dormancy=DormancyConfig(after_s=0.0)) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "old")
        allow_rest(session, shared.config.dormancy)
        async with session:
            await until(lambda: session.is_resting)
            await session.move_storage(tmp_path / "new")
            await until(lambda: session.is_resting)
            async with resources(tmp_path / "leech") as other:
                await download(other, METAINFO, tmp_path / "out", address_of(shared))
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert content(METAINFO, tmp_path / "new") == PAYLOAD
    assert files_below(tmp_path / "old") == set()


async def test_a_link_without_metadata_only_changes_its_save_path(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        link = Magnet(METAINFO.info_hash)
        async with await Session.create(link, shared, save_path=tmp_path / "old") as session:
            await session.move_storage(tmp_path / "new")
            assert session.save_path == tmp_path / "new"
            with pytest.raises(StateTransitionError, match="metadata"):
                await session.rename_file(0, "x")
    assert not (tmp_path / "new").exists()


async def test_a_kept_magnet_torrent_moves_before_it_is_started(tmp_path: Path) -> None:
    async with seeding(tmp_path) as (shared, session):
        await session.close()
        again = await Session.create(Magnet(METAINFO.info_hash), shared, save_path=tmp_path / "old")
        await again.move_storage(tmp_path / "new")
        await again.close()
    assert content(METAINFO, tmp_path / "new") == PAYLOAD


async def test_what_stands_in_the_way_fails_the_move_and_the_torrent_goes_on(
    tmp_path: Path,
) -> None:
    async with seeding(tmp_path) as (shared, session):
        events = record(session)
        (tmp_path / "new/payload").mkdir(parents=True)
        (tmp_path / "new/payload/c").write_bytes(b"theirs")
        with pytest.raises(FileExistsStorageError, match="already exists"):
            await session.move_storage(tmp_path / "new")
        await reach(session, State.SEEDING)
        assert session.save_path == tmp_path / "old"
        async with resources(tmp_path / "leech") as other:
            await download(other, METAINFO, tmp_path / "out", address_of(shared))
        assert await move_jobs(shared) == [JobStatus.FAILED]
        await until(lambda: any(isinstance(each, StorageMoveFailed) for each in events))
    assert (tmp_path / "new/payload/c").read_bytes() == b"theirs"
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_f1_a_download_that_filled_its_disk_goes_on_at_a_larger_one(tmp_path: Path) -> None:
    metainfo, payload = make_torrent(payload_of(6_000_000, 4), piece_bytes=64 * 1024, name="big")
    for small in mounted_tmpfs(tmp_path / "small", "3m"):
        async with (
            seed(tmp_path / "seed", metainfo, payload) as (_, address),
            resources(tmp_path / "leech") as shared,
        ):
            session = await Session.create(
                metainfo, shared, save_path=small, config=SessionConfig(peers=(address,))
            )
            events = record(session)
            async with session:
                await reach(session, State.ERROR)
                await session.move_storage(tmp_path / "new")
                await reach(session, State.SEEDING)
                pieces = [each.piece_index for each in events if isinstance(each, PieceCompleted)]
        assert files_below(small) == set()
    assert content(metainfo, tmp_path / "new") == payload
    # What was written when the disk was full is found again, with or without its event.
    assert len(set(pieces)) == len(pieces)
    assert len(pieces) * 64 * 1024 >= 6_000_000 - 3 * 1024 * 1024


@pytest.fixture
def go_on(monkeypatch: pytest.MonkeyPatch, other_disk: Path) -> threading.Event:
    """Hold a move in its middle, where it looks whether it is to stop, until this is set."""
    is_over = threading.Event()

    def some(steps: Iterator[None]) -> bool:
        if files_below(other_disk) and not is_over.wait(0.005):
            return False
        return next(steps, steps) is steps

    monkeypatch.setattr(relocation, "_some", some)
    return is_over


BIG, BIG_PAYLOAD = make_torrent(
    {"x": payload_of(5_000_000, 7), "y": payload_of(5_000_000, 8)}, piece_bytes=256 * 1024
)


@pytest.mark.usefixtures("go_on")
async def test_a_cancelled_move_is_undone_and_the_torrent_goes_on(
    tmp_path: Path, other_disk: Path
) -> None:
    async with seeding(tmp_path, BIG, BIG_PAYLOAD) as (shared, session):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_soon, session, other_disk)
            with pytest.raises(SessionError, match="cancelled"):
                await session.move_storage(other_disk / "new")
        assert not session.cancel_move()
        await reach(session, State.SEEDING)
        assert await move_jobs(shared) == [JobStatus.CANCELLED]
        assert session.save_path == tmp_path / "old"
    assert content(BIG, tmp_path / "old") == BIG_PAYLOAD
    assert files_below(other_disk) == set()


async def cancel_soon(session: Session, target: Path) -> None:
    await until(lambda: files_below(target))
    assert session.cancel_move()


@pytest.mark.parametrize("was_running", [True, False])
async def test_a_session_that_is_closed_in_the_middle_goes_on_at_its_next_start(
    tmp_path: Path, other_disk: Path, go_on: threading.Event, was_running: bool
) -> None:
    async with seeding(tmp_path, BIG, BIG_PAYLOAD) as (shared, session):
        if not was_running:
            await session.stop()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close_soon, session, other_disk)
            with pytest.raises(SessionError, match="next start"):
                await session.move_storage(other_disk / "new")
        go_on.set()
        assert content(BIG, tmp_path / "old") == BIG_PAYLOAD
        again = await Session.create(BIG, shared, save_path=tmp_path / "old")
        events = record(again)
        async with again:
            await reach(again, State.SEEDING)
            assert again.save_path == other_disk / "new"
            assert await move_jobs(shared) == [JobStatus.COMPLETED]
    assert content(BIG, other_disk / "new") == BIG_PAYLOAD
    assert files_below(tmp_path / "old") == set()
    assert "check.progress" not in kinds(events)


async def test_files_with_raw_names_are_the_torrents_after_a_move_and_a_rename(
    tmp_path: Path,
) -> None:
    names = ["photo\u202egpj.exe", "new\nline", "back\\slash"]
    metainfo, payload = make_torrent({name: payload_of(40_000, len(name)) for name in names})
    for entry in metainfo.files:
        assert (entry.path[-1] in names) is (entry.path[-1] == "back\\slash")
    folder = tmp_path / "old" / metainfo.name
    folder.mkdir(parents=True)
    for name, entry in zip(names, metainfo.files, strict=True):
        data = payload[entry.offset_bytes : entry.offset_bytes + entry.length_bytes]
        (folder / name).write_bytes(data)
    async with resources(tmp_path) as shared:
        session = await Session.create(metainfo, shared, save_path=tmp_path / "old")
        async with session:
            await reach(session, State.SEEDING)
            await session.move_storage(tmp_path / "new")
            await reach(session, State.SEEDING)
            assert files_below(tmp_path / "new") == {f"{metainfo.name}/{name}" for name in names}
            await session.rename_folder(metainfo.name, "other")
            await reach(session, State.SEEDING)
            await session.recheck()
            await reach(session, State.SEEDING)
            await session.cancel(delete_files=True)
    assert files_below(tmp_path / "new") == set()


@pytest.mark.usefixtures("go_on")
@pytest.mark.parametrize("was_running", [True, False])
@pytest.mark.parametrize("delete_files", [True, False])
async def test_a_removal_undoes_the_move_under_way_and_refuses_those_that_wait(
    tmp_path: Path, other_disk: Path, was_running: bool, delete_files: bool
) -> None:
    refused: list[str] = []

    async def move(name: str) -> None:
        with pytest.raises((SessionError, StateTransitionError)):
            await session.move_storage(other_disk / name)
        refused.append(name)

    async with seeding(tmp_path, BIG, BIG_PAYLOAD) as (shared, session):
        if not was_running:
            await session.stop()
        async with anyio.create_task_group() as tasks:
            for name in ("first", "second", "third"):
                tasks.start_soon(move, name)
            await until(lambda: files_below(other_disk))
            await session.cancel(delete_files=delete_files)
        assert sorted(refused) == ["first", "second", "third"]
        assert files_below(other_disk) == set()
        assert await load_plan(shared.store, BIG.info_hash) is None
        assert await shared.store.load(BIG.info_hash) is None
        if delete_files:
            assert files_below(tmp_path / "old") == set()
        else:
            assert content(BIG, tmp_path / "old") == BIG_PAYLOAD


async def close_soon(session: Session, target: Path) -> None:
    await until(lambda: files_below(target))
    await session.close()


@pytest.mark.usefixtures("go_on")
async def test_a_torrent_that_is_cancelled_in_the_middle_leaves_nothing(
    tmp_path: Path, other_disk: Path
) -> None:
    async with seeding(tmp_path, BIG, BIG_PAYLOAD) as (shared, session):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(delete_soon, session, other_disk)
            with pytest.raises(SessionError, match="next start"):
                await session.move_storage(other_disk / "new")
        assert await load_plan(shared.store, BIG.info_hash) is None
    assert files_below(other_disk) == set()


async def delete_soon(session: Session, target: Path) -> None:
    await until(lambda: files_below(target))
    await session.cancel(delete_files=True)


async def test_who_stops_waiting_for_a_move_does_not_stop_it(
    tmp_path: Path, other_disk: Path, go_on: threading.Event
) -> None:
    async with seeding(tmp_path, BIG, BIG_PAYLOAD) as (_, session):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.move_storage, other_disk / "new")
            await until(lambda: files_below(other_disk))
            tasks.cancel_scope.cancel()
        go_on.set()
        await until(lambda: session.save_path == other_disk / "new")
        await reach(session, State.SEEDING)
    assert content(BIG, other_disk / "new") == BIG_PAYLOAD
    assert files_below(tmp_path / "old") == set()


async def test_a_second_move_begins_when_nobody_waits_for_the_first_any_more(
    tmp_path: Path, other_disk: Path, go_on: threading.Event
) -> None:
    async with seeding(tmp_path, BIG, BIG_PAYLOAD) as (_, session):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.move_storage, other_disk / "new")
            await until(lambda: files_below(other_disk))
            tasks.cancel_scope.cancel()
        go_on.set()
        with anyio.fail_after(30):
            await session.move_storage(tmp_path / "third")
        await reach(session, State.SEEDING)
        assert session.save_path == tmp_path / "third"
    assert content(BIG, tmp_path / "third") == BIG_PAYLOAD
    assert files_below(tmp_path / "old") == files_below(other_disk) == set()


async def test_a_torrent_that_was_never_anywhere_moves_too(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "old")
        await session.move_storage(tmp_path / "new")
        assert session.save_path == tmp_path / "new"
        assert await load_plan(shared.store, METAINFO.info_hash) is None
        assert await move_jobs(shared) == [JobStatus.COMPLETED]
        async with session:
            await reach(session, State.DOWNLOADING)
    assert not (tmp_path / "old").exists()


@pytest.mark.usefixtures("go_on")
async def test_who_gives_up_finishing_an_old_move_leaves_no_job_that_runs(
    tmp_path: Path, other_disk: Path
) -> None:
    async def begin_and_leave(
        work: Callable[[], Coroutine[object, object, None]], has_begun: Callable[[], object]
    ) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await until(has_begun)
            tasks.cancel_scope.cancel()

    async with seeding(tmp_path, BIG, BIG_PAYLOAD) as (shared, session):
        await session.stop()
        await begin_and_leave(
            partial(session.move_storage, other_disk / "new"), lambda: files_below(other_disk)
        )
        await begin_and_leave(
            partial(session.rename_file, 0, "other"),
            lambda: session._relocation._move is not None and session._relocation._move._job_id,
        )
        jobs = await move_jobs(shared)
        assert jobs
        assert IN_HAND.isdisjoint(jobs)


async def test_a_move_that_is_given_up_before_its_plan_is_saved_is_cancelled(
    tmp_path: Path,
) -> None:
    """No later start continues it, so that its job would wait for ever."""
    async with seeding(tmp_path) as (shared, session):
        await session.stop()
        limiter = shared.disk_limiter
        borrowers = [object() for _ in range(int(limiter.total_tokens))]
        for each in borrowers:  # so that nothing looks at the files
            await limiter.acquire_on_behalf_of(each)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.move_storage, tmp_path / "new")
            await until(lambda: limiter.statistics().tasks_waiting)
            assert await move_jobs(shared) == [JobStatus.RUNNING]
            tasks.cancel_scope.cancel()
        for each in borrowers:
            limiter.release_on_behalf_of(each)
        assert await load_plan(shared.store, METAINFO.info_hash) is None
        assert await move_jobs(shared) == [JobStatus.CANCELLED]
        assert content(METAINFO, tmp_path / "old") == PAYLOAD


async def test_a_stopped_session_moves_no_files_under_another_that_runs(tmp_path: Path) -> None:
    async with seeding(tmp_path) as (shared, session):
        twin = await Session.create(METAINFO, shared, save_path=tmp_path / "old")
        with pytest.raises(LocalProtocolError):
            await twin.move_storage(tmp_path / "new")
        await twin.close()
        with pytest.raises(StateTransitionError, match="closed"):
            await twin.move_storage(tmp_path / "new")
        assert state_of(session) is State.SEEDING
    assert content(METAINFO, tmp_path / "old") == PAYLOAD


async def test_f3_a_move_that_can_neither_be_done_nor_undone_keeps_the_torrent_from_running(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeding(tmp_path) as (_, session):
        await session.stop()
        monkeypatch.setattr("torrent_engine.disk.moves.relocation.save_placed", refuse)
        monkeypatch.setattr("torrent_engine.disk.moves.move.FileMover.undo", refuse_at_once)
        with pytest.raises(StorageError, match="broken"):
            await session.move_storage(other_disk / "new")
        await session.start()
        await reach(session, State.ERROR)
        assert "broken" in str(session.error)
        monkeypatch.undo()
        await session.start()
        await reach(session, State.SEEDING)
        assert session.save_path == other_disk / "new"
    assert content(METAINFO, other_disk / "new") == PAYLOAD
    assert files_below(tmp_path / "old") == set()


@pytest.mark.parametrize("parts", [("n" * 300,), ("not there", "n" * 300)])
async def test_f3_a_move_to_where_no_folder_can_be_changes_nothing(
    tmp_path: Path, parts: tuple[str, ...]
) -> None:
    async with seeding(tmp_path) as (_, session):
        with pytest.raises(StorageError, match="nnn: File name too long"):
            await session.move_storage(tmp_path.joinpath("other", *parts))
        await reach(session, State.SEEDING)
        assert session.save_path == tmp_path / "old"
    assert content(METAINFO, tmp_path / "old") == PAYLOAD
    assert not (tmp_path / "other").exists()


async def refuse(*_: object) -> None:
    raise StorageError("disk", "broken")


def refuse_at_once(*_: object) -> None:
    raise StorageError("disk", "broken")


# -- renaming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["seeding", "downloading", "paused", "stopped"])
async def test_a_file_gets_another_name_and_keeps_it(tmp_path: Path, state: str) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        limit = 200_000 if state == "downloading" else 0
        session = await Session.create(
            METAINFO,
            shared,
            save_path=tmp_path / "out",
            config=SessionConfig(peers=(address,), max_download_bytes_per_s=limit),
        )
        events = record(session)
        async with session:
            if state == "downloading":
                await until(lambda: session.stats().pieces_have >= 3)
            else:
                await reach(session, State.SEEDING)
            if state in {"paused", "stopped"}:
                await (session.pause() if state == "paused" else session.stop())
            await session.rename_file(1, "other\\./place/b\x07.new")
            session.set_rate_limits(download_bytes_per_s=0)
            if state == "paused":
                await session.resume()
            elif state == "stopped":
                await session.start()
            await reach(session, State.SEEDING)
            wasted_bytes = session.stats().wasted_bytes
            path = tmp_path / "out/other/place/b_.new"
            assert path.read_bytes() == FILES["sub/b.bin"]
            assert not (tmp_path / "out/payload/sub").exists()
            await until(lambda: "file.renamed" in kinds(events))
        told = [each for each in events if isinstance(each, FileRenamed)]
        assert [(each.file_index, each.path) for each in told] == [(1, str(path))]
        assert wasted_bytes == 0
        assert "check.progress" not in kinds(events)
        async with await Session.create(METAINFO, shared, save_path=tmp_path / "out") as again:
            await reach(again, State.SEEDING)
            await again.rename_file(1, "payload/sub/b.bin")
            await reach(again, State.SEEDING)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert files_below(tmp_path / "out") == {"payload/a.bin", "payload/sub/b.bin", "payload/c"}


TAKEN = {
    "another file": "payload/a.bin",
    "a file as a folder": "payload/c/x",
    "a folder of the torrent": "payload/sub",
    "a file of others": "payload/theirs",
    "a link of others": "payload/link",
    "a link on the way": "payload/link/x",
}


@pytest.mark.parametrize("path", TAKEN.values(), ids=TAKEN)
async def test_a_taken_name_is_refused(tmp_path: Path, path: str) -> None:
    async with seeding(tmp_path) as (_, session):
        (tmp_path / "old/payload/theirs").write_bytes(b"theirs")
        (tmp_path / "old/payload/link").symlink_to(tmp_path)
        with pytest.raises(FileExistsStorageError):
            await session.rename_file(1, path)
        await reach(session, State.SEEDING)
    assert content(METAINFO, tmp_path / "old") == PAYLOAD
    assert (tmp_path / "old/payload/theirs").read_bytes() == b"theirs"


@pytest.mark.parametrize("path", ["", "/", "/etc/x", "../x", "a/../../x", "\\..\\x", "."])
async def test_a6_a_name_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    async with seeding(tmp_path) as (_, session):
        with pytest.raises(ConfigError):
            await session.rename_file(1, path)
    assert content(METAINFO, tmp_path / "old") == PAYLOAD


@pytest.mark.parametrize("index", [-1, 3, 1 << 40])
async def test_a_file_that_is_not_there_cannot_be_renamed(tmp_path: Path, index: int) -> None:
    async with seeding(tmp_path) as (_, session):
        with pytest.raises(ConfigError, match="no file"):
            await session.rename_file(index, "x")
        assert await reach(session, State.SEEDING) is State.SEEDING


async def test_a_renamed_file_moves_with_its_name(tmp_path: Path) -> None:
    async with seeding(tmp_path) as (_, session):
        await session.rename_file(0, "x/y")
        await session.move_storage(tmp_path / "new")
        await reach(session, State.SEEDING)
    assert files_below(tmp_path / "new") == {"x/y", "payload/sub/b.bin", "payload/c"}
    assert files_below(tmp_path / "old") == set()


async def test_a_file_that_is_not_begun_is_made_under_its_new_name(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.DOWNLOADING)
            await session.rename_file(0, "first")
            await session.add_peer(*address)
            await reach(session, State.SEEDING)
    assert (tmp_path / "out/first").read_bytes() == FILES["a.bin"]
    assert not (tmp_path / "out/payload/a.bin").exists()


async def test_an_old_folder_of_ours_with_a_foreign_file_stays(tmp_path: Path) -> None:
    async with seeding(tmp_path) as (_, session):
        (tmp_path / "old/payload/sub/mine").write_bytes(b"mine")
        await session.move_storage(tmp_path / "new")
        shutil.rmtree(tmp_path / "new")
    assert files_below(tmp_path / "old") == {"payload/sub/mine"}


@pytest.mark.parametrize("name", ["bad\udcff", "bad\0"])
async def test_a_path_that_cannot_be_kept_changes_nothing(tmp_path: Path, name: str) -> None:
    async with seeding(tmp_path) as (_, session):
        before = session.save_path
        for call in (session.move_storage, session.set_save_path, session.set_incomplete_dir):
            with pytest.raises(ConfigError, match="path: "):
                await call(tmp_path / name)
        assert session.save_path == before
        assert state_of(session) is State.SEEDING
        assert content(METAINFO, before) == PAYLOAD
