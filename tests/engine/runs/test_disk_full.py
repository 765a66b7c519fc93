"""Row F1 in a Session: a full disk is waited for, seeding goes on, nothing is lost."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Event as ThreadEvent
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.disk.helpers import fill_disk, mounted_tmpfs
from tests.support.swarm import (
    address_of,
    content,
    kinds,
    reach,
    record,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import DiskConfig, SessionConfig
from torrent_engine.base.errors import (
    DiskFullError,
    SessionError,
    StateDatabaseError,
    StorageError,
)
from torrent_engine.disk.files.file_storage import FileStorage
from torrent_engine.disk.files.part_file import PartFile
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.engine.runs.disk_full import DiskFull
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from torrent_engine.engine.events import Event
    from torrent_engine.engine.resources.shared_resources import SharedResources

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
METAINFO, PAYLOAD = make_torrent(payload_of(6 * MIB), name="big", piece_bytes=256 * 1024)
LARGE, LARGE_PAYLOAD = make_torrent(payload_of(6 * MIB), name="big", piece_bytes=MIB)
LATER, SOON = 3_600.0, 0.05


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB with about 4 of them taken by ``filler``."""
    for mount in mounted_tmpfs(tmp_path / "mount", "8m"):
        (mount / "filler").write_bytes(bytes(4 * MIB))
        yield mount


@asynccontextmanager
async def leeching(
    disk: Path, *peers: tuple[str, int], retry_s: float = LATER, **changes: Any
) -> "AsyncIterator[tuple[Session, SharedResources, list[Event]]]":
    """Download onto the small disk, with the state there too; gives all events as well."""
    config = DiskConfig(
        state_reserve_bytes=256 * 1024, retry_after_disk_full_s=retry_s, sync_interval_s=0.1
    )
    metainfo = changes.pop("metainfo", METAINFO)
    async with resources(disk, disk=config) as shared:
        session = await Session.create(
            metainfo, shared, save_path=disk / "out", config=SessionConfig(peers=peers)
        )
        events = record(session)
        async with session:
            yield session, shared, events


async def becomes(session: Session, state: State) -> None:
    """Wait for a state; unlike ``reach`` through ERROR, too."""
    await until(lambda: session.state is state)


@pytest.mark.parametrize("what", ["rename", "recheck"])
async def test_f1_a_run_that_ends_while_its_state_cannot_be_saved_is_followed_by_another(
    tmp_path: Path, disk: Path, what: str
) -> None:
    """What a user asks for ends the run, whose last save fails; the torrent waits for room."""
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leeching(disk, address, retry_s=SOON) as (session, _, _),
    ):
        await becomes(session, State.ERROR)
        (disk / "state/reserve").unlink(missing_ok=True)
        fill_disk(disk / "rest")
        with suppress(DiskFullError):
            if what == "rename":
                await session.rename_file(0, "renamed")
            else:
                await session.recheck()
        for name in ("rest", "filler"):
            (disk / name).unlink()
        await becomes(session, State.SEEDING)
    assert (disk / "out/big").read_bytes() == PAYLOAD


def completed(events: list[Any]) -> list[int]:
    return [event.piece_index for event in events if event.type == "piece.completed"]


@pytest.mark.parametrize(
    ("metainfo", "payload"), [(METAINFO, PAYLOAD), (LARGE, LARGE_PAYLOAD)], ids=["small", "large"]
)
async def test_f1_a_full_disk_keeps_links_and_seeds_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: Path, metainfo: Any, payload: bytes
) -> None:
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        leeching(disk, address, retry_s=SOON, metainfo=metainfo) as (session, shared, events),
        resources(tmp_path / "other") as others,
    ):
        await reach(session, State.ERROR)
        assert isinstance(session.error, DiskFullError)
        assert session.error.path == str(disk / "out/big")
        have = session.stats().pieces_have
        assert 0 < have < metainfo.piece_count
        third = await Session.create(
            metainfo,
            others,
            save_path=tmp_path / "third",
            config=SessionConfig(peers=(address_of(shared),)),
        )
        async with third:
            await until(lambda: third.stats().pieces_have >= have)
            assert state_of(session) is State.ERROR
            assert kinds(events).count("session.error") == 1  # no try without room
            (disk / "filler").unlink()
            await becomes(session, State.SEEDING)
            await reach(third, State.SEEDING)
        assert session.error is None
        assert (disk / "state/reserve").exists()
    told = kinds(events)
    assert told.index("session.error") < told.index("session.resumed")
    until_whole = told[: told.index("session.completed")]
    assert "peer.disconnected" not in until_whole
    assert sorted(completed(events)) == list(range(metainfo.piece_count))  # none of them twice
    assert content(metainfo, disk / "out") == payload
    assert content(metainfo, tmp_path / "third") == payload


async def leeched_from(folder: Path, shared: "SharedResources") -> int:
    """Return how many pieces a new peer gets of a node within some seconds, or all."""
    async with resources(folder) as others:
        config = SessionConfig(peers=(address_of(shared),))
        third = await Session.create(METAINFO, others, save_path=folder / "out", config=config)
        async with third:
            with anyio.move_on_after(5):
                await third.wait(State.SEEDING)
            return third.stats().pieces_have


async def test_f1_a_new_peer_is_served_where_neither_data_nor_state_can_be_written(
    tmp_path: Path, disk: Path
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leeching(disk, address, retry_s=SOON) as (session, shared, _),
    ):
        await reach(session, State.ERROR)
        (disk / "state/reserve").unlink(missing_ok=True)
        fill_disk(disk / "rest")
        have = session.stats().pieces_have
        assert await leeched_from(tmp_path / "third", shared) >= have > 0
        assert state_of(session) is State.ERROR
        (disk / "rest").unlink()
        (disk / "filler").unlink()
        await becomes(session, State.SEEDING)
    assert content(METAINFO, disk / "out") == PAYLOAD


@pytest.mark.parametrize("is_known", [True, False], ids=["again", "first"])
async def test_f1_a_torrent_that_starts_with_its_state_on_a_full_disk_is_seeded(
    tmp_path: Path, disk: Path, is_known: bool
) -> None:
    config = DiskConfig(state_reserve_bytes=64 * 1024, retry_after_disk_full_s=SOON)
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with resources(disk, disk=config) as shared:
        for is_last in (False, True) if is_known else (True,):
            if is_last:
                fill_disk(disk / "rest")
                (disk / "state/reserve").unlink(missing_ok=True)
                fill_disk(disk / "rest")
            session = await Session.create(METAINFO, shared, save_path=tmp_path / "files")
            async with session:
                if not is_last:
                    await reach(session, State.SEEDING)
                    continue
                assert await leeched_from(tmp_path / "leech", shared) == METAINFO.piece_count
                (disk / "rest").unlink()
                await becomes(session, State.SEEDING)
                await session.stop()
        record = await shared.store.load(METAINFO.info_hash)
        assert record is not None
        assert record.progress is not None
        assert record.progress.is_clean
        assert record.progress.have == record.progress.durable == b"\xff" * 3


@pytest.mark.parametrize("method", ["resume", "start"])
async def test_f1_resume_tries_again_at_once_room_or_not(
    tmp_path: Path, disk: Path, method: str
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leeching(disk, address) as (session, _, events),
    ):
        await reach(session, State.ERROR)
        await getattr(session, method)()
        assert state_of(session) is State.DOWNLOADING
        await reach(session, State.ERROR)
        (disk / "filler").unlink()
        await getattr(session, method)()
        await reach(session, State.SEEDING)
    assert kinds(events).count("session.error") == 2
    assert content(METAINFO, disk / "out") == PAYLOAD


async def test_f1_stopped_while_full_it_starts_again_with_every_verified_piece(
    tmp_path: Path, disk: Path
) -> None:
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        async with leeching(disk, address) as (session, shared, _):
            with pytest.raises(SessionError) as caught:
                await session.wait_stopped()  # at once: who waits may not want to wait for room
            assert isinstance(caught.value.__cause__, DiskFullError)
            have = session.stats().have
            await session.stop()
            assert state_of(session) is State.STOPPED
            assert await session.wait_stopped() == "stopped"
            found = await shared.store.load(METAINFO.info_hash)
            assert found is not None
            assert found.progress is not None
            assert found.progress.have == found.progress.durable == have
        (disk / "filler").unlink()
        async with leeching(disk, address) as (again, _, events):
            await reach(again, State.SEEDING)
    kept = sum(byte.bit_count() for byte in have)
    assert len(completed(events)) == METAINFO.piece_count - kept
    assert content(METAINFO, disk / "out") == PAYLOAD


async def test_f1_the_command_ends_at_once_with_exit_code_9(tmp_path: Path, disk: Path) -> None:
    (tmp_path / "a.torrent").write_bytes(METAINFO.source)
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, (host, port)):
        with anyio.fail_after(45):  # less than the minute until it would be tried again
            done = await anyio.run_process(
                [
                    sys.executable,
                    "-m",
                    "torrent_engine",
                    "download",
                    str(tmp_path / "a.torrent"),
                    "-d",
                    str(disk / "out"),
                    "--peer",
                    f"{host}:{port}",
                    "--port",
                    "0",
                ],
                check=False,
                env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
            )
    assert done.returncode == 9, done.stderr
    assert b"No space left on device" in done.stderr
    assert str(disk / "out/big").encode() in done.stderr.replace(b"\n", b"")


async def test_f1_recheck_while_full_hashes_and_fails_again(tmp_path: Path, disk: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leeching(disk, address) as (session, _, _events),
    ):
        await reach(session, State.ERROR)
        await session.recheck()
        assert state_of(session) is State.CHECKING
        assert session.error is None
        with suppress(DiskFullError):  # the database lies there too: what was saved last failed
            await reach(session, State.DOWNLOADING)
        assert await reach(session, State.ERROR) is State.ERROR


async def test_f1_what_waits_for_room_can_be_paused_and_does_not_go_on_by_itself(
    tmp_path: Path, disk: Path
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leeching(disk, address, retry_s=0.05) as (session, _, events),
    ):
        await becomes(session, State.ERROR)
        assert session.can_pause
        await session.pause()
        assert (state_of(session), session.error) == (State.PAUSED, None)
        await until(lambda: not session.peers())
        (disk / "filler").unlink()
        await anyio.sleep(0.5)  # ten times as long as it waits before it looks for room
        assert state_of(session) is State.PAUSED
        await session.resume()
        await reach(session, State.SEEDING)
    assert kinds(events).count("session.paused") == 1
    assert content(METAINFO, disk / "out") == PAYLOAD


async def test_f1_what_waits_for_room_at_its_start_and_is_paused_is_checked_and_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = StorageManager.open
    is_full = True

    async def fails(storage: StorageManager, **options: Any) -> None:
        if is_full:
            raise DiskFullError(tmp_path, "full")
        await opened(storage, **options)

    monkeypatch.setattr(StorageManager, "open", fails)
    async with leeching(tmp_path, retry_s=0.05) as (session, _, _events):
        await becomes(session, State.ERROR)
        await session.pause()
        assert state_of(session) is State.PAUSED
        await becomes(session, State.ERROR)  # its files are opened all the same
        is_full = False
        await becomes(session, State.PAUSED)
        await session.resume()
        await reach(session, State.DOWNLOADING)


async def test_f1_no_room_at_a_sync_drops_what_was_written_since_and_hashes_it(
    tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (disk / "filler").unlink()
    sync, refusals = StorageManager.sync, [DiskFullError(disk / "out/big", "full")]

    def fails_once(storage: StorageManager) -> None:
        if refusals and storage.save_path == disk / "out":  # the seed syncs, too
            raise refusals.pop()
        sync(storage)

    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):
        monkeypatch.setattr(StorageManager, "sync", fails_once)
        async with leeching(disk, address, retry_s=SOON) as (session, _, events):
            await until(lambda: "session.error" in kinds(events))  # for a moment
            await becomes(session, State.SEEDING)
            assert session.stats().checked_fraction == 1.0
    assert kinds(events).count("session.error") == 1
    assert content(METAINFO, disk / "out") == PAYLOAD


async def test_f1_no_room_at_the_start_is_waited_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, refusals = StorageManager.open, [DiskFullError(tmp_path, "full")] * 2

    async def refused_at_first(storage: StorageManager, **options: Any) -> None:
        if refusals:
            raise refusals.pop()
        await opened(storage, **options)

    monkeypatch.setattr(StorageManager, "open", refused_at_first)
    async with leeching(tmp_path, retry_s=SOON) as (session, _, events):
        await until(lambda: "session.error" in kinds(events))  # for a moment
        await becomes(session, State.DOWNLOADING)
    assert not refusals


@pytest.mark.parametrize("what", ["part-file", "claim"])
@pytest.mark.parametrize("is_resumed", [True, False], ids=["resumed", "waited for"])
async def test_f1_no_room_for_a_file_that_is_wanted_again_at_the_start_keeps_no_other_from_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, is_resumed: bool
) -> None:
    metainfo, payload = make_torrent({"a": payload_of(300_000, 1), "b": payload_of(900_000, 2)})
    config = DiskConfig(
        state_reserve_bytes=0, retry_after_disk_full_s=LATER if is_resumed else SOON
    )
    is_full = True

    copy_out, claim = PartFile.copy_out, FileStorage.claim

    def copies(part_file: PartFile, *arguments: int) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "full")
        copy_out(part_file, *arguments)

    def claims(storage: FileStorage) -> None:
        if is_full and storage.paths.save_path == tmp_path / "out":
            raise DiskFullError(tmp_path, "full")
        claim(storage)

    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path, disk=config) as shared,
        resources(tmp_path / "other") as others,
    ):
        first = SessionConfig(peers=(address,), file_priorities=(4, 0))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=first)
        events = record(session)
        async with session:
            await reach(session, State.SEEDING)
            await session.stop()
            await session.set_file_priorities((4, 4))
            if what == "part-file":
                monkeypatch.setattr(PartFile, "copy_out", copies)
            else:
                monkeypatch.setattr(FileStorage, "claim", claims)
            await session.start()
            await becomes(session, State.ERROR)
            second = SessionConfig(peers=(address_of(shared),), file_priorities=(4, 0))
            third = await Session.create(
                metainfo, others, save_path=tmp_path / "third", config=second
            )
            async with third:
                await reach(third, State.SEEDING)
            if is_resumed:
                assert isinstance(session.error, DiskFullError)
                assert kinds(events).count("session.error") == 1
            is_full = False
            if is_resumed:
                await session.resume()
            await becomes(session, State.SEEDING)
    assert content(metainfo, tmp_path / "out") == payload
    assert (tmp_path / "third/payload/a").read_bytes() == payload[:300_000]


async def test_f1_files_that_have_no_room_at_the_start_can_be_given_up_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"a": 300_000, "b": 900_000, "c": 800_000}
    metainfo, payload = make_torrent({name: payload_of(size) for name, size in sizes.items()})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path, disk=DiskConfig(retry_after_disk_full_s=LATER)) as shared,
    ):
        config = SessionConfig(peers=(address,), file_priorities=(0, 4, 0))
        session = await Session.create(metainfo, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
            await session.stop()
            await session.set_file_priorities((4, 4, 4))
            with monkeypatch.context() as patch:
                patch.setattr(PartFile, "copy_out", full)
                await session.start()
                await becomes(session, State.ERROR)
                for priorities in [(4, 4, 0), (0, 4, 0), (0, 4, 4)]:
                    await session.set_file_priorities(priorities)
            await session.resume()
            await becomes(session, State.SEEDING)
    assert (tmp_path / "out/payload/c").read_bytes() == payload[-800_000:]
    assert not (tmp_path / "out/payload/a").exists()


async def test_f1_what_has_no_room_for_its_files_at_the_start_can_be_paused_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, is_full = FileStorage.claim, True  # who is resumed at once may try twice

    def fails(storage: FileStorage) -> None:
        if is_full and storage.paths.save_path == tmp_path / "leech/out":
            raise DiskFullError(tmp_path, "full")
        claim(storage)

    monkeypatch.setattr(FileStorage, "claim", fails)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leeching(tmp_path / "leech", address) as (session, _, events),
    ):
        for _ in range(2):
            await becomes(session, State.ERROR)
            await session.pause()
            assert state_of(session) is State.PAUSED
            await session.resume()
        await becomes(session, State.ERROR)
        await until(lambda: "peer.connected" in kinds(events))
        assert not completed(events)
        is_full = False
        await session.resume()
        await reach(session, State.SEEDING)
    assert content(METAINFO, tmp_path / "leech/out") == PAYLOAD


@pytest.mark.parametrize("method", ["resume", "start"])
async def test_f1_another_fault_while_it_is_full_ends_the_run_and_a_new_one_can_start(
    tmp_path: Path, method: str
) -> None:
    fault = StorageError(tmp_path / "leech/out/big", "EIO")
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leeching(tmp_path / "leech") as (session, _, _events),
    ):
        await reach(session, State.DOWNLOADING)
        run = session._core.run
        assert run is not None
        run._refused(DiskFullError(tmp_path / "leech/out/big", "full"))
        await becomes(session, State.ERROR)
        run._refused(fault)
        await until(lambda: session.error is fault)
        with pytest.raises(SessionError, match="EIO"):
            await session.wait_stopped()
        await getattr(session, method)()
        assert state_of(session) is State.CHECKING
        await reach(session, State.DOWNLOADING)
        await session.add_peer(*address)
        await reach(session, State.SEEDING)


@pytest.mark.parametrize("method", ["resume", "rename"])
async def test_f1_a_run_that_saves_for_the_last_time_looks_for_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    is_closing, may_close, close = anyio.Event(), anyio.Event(), ResumeKeeper.close

    async def slow(keeper: ResumeKeeper) -> None:
        is_closing.set()
        with anyio.CancelScope(shield=True):
            await may_close.wait()
        await close(keeper)

    fault = StorageError(tmp_path / "leech/out/big", "EIO")
    async with leeching(tmp_path / "leech") as (session, _, _events):
        await reach(session, State.DOWNLOADING)
        run = session._core.run
        assert run is not None
        run._refused(DiskFullError(tmp_path / "leech/out/big", "full"))
        await becomes(session, State.ERROR)
        monkeypatch.setattr(ResumeKeeper, "close", slow)
        run._refused(fault)
        await is_closing.wait()
        async with anyio.create_task_group() as tasks:
            if method == "resume":
                tasks.start_soon(session.resume)
            else:
                tasks.start_soon(session.rename_file, 0, "renamed")
            await anyio.wait_all_tasks_blocked()
            may_close.set()
        await until(lambda: session.error is fault)
        await session.resume()
        await reach(session, State.DOWNLOADING)


@pytest.mark.parametrize("is_room", [True, False])
async def test_f1_who_looks_for_room_while_it_is_tried_again_leaves_the_rest_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_room: bool
) -> None:
    is_looking, may_answer, is_over = ThreadEvent(), ThreadEvent(), anyio.Event()
    tries: list[int] = []

    def looks(_path: Path, _needed_bytes: int) -> bool:
        is_looking.set()
        return may_answer.wait(10) and is_room

    async def wait() -> None:
        await disk_full.wait()
        is_over.set()

    monkeypatch.setattr("torrent_engine.engine.runs.disk_full.has_room", looks)
    config = DiskConfig(state_reserve_bytes=64 * 1024, retry_after_disk_full_s=SOON)
    async with resources(tmp_path, disk=config) as shared, anyio.create_task_group() as tasks:
        disk_full = DiskFull(shared)
        disk_full.begin(DiskFullError(tmp_path, "first"), lambda: tries.append(1))
        tasks.start_soon(wait)
        await until(is_looking.is_set)
        disk_full.retry()
        disk_full._retry_s = LATER
        disk_full.begin(DiskFullError(tmp_path, "second"), lambda: tries.append(2))
        may_answer.set()
        with anyio.fail_after(30):
            await is_over.wait()
        assert tries == [1]
        assert str(disk_full.error).endswith("second")


@pytest.mark.parametrize("deletes_files", [False, True])
async def test_f1_totals_that_cannot_be_saved_at_the_end_are_the_error_and_hide_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletes_files: bool
) -> None:
    async def fails(*_arguments: Any, **_options: Any) -> None:
        raise StateDatabaseError("state.db: disk I/O error")

    async with leeching(tmp_path) as (session, shared, _events):
        await reach(session, State.DOWNLOADING)
        monkeypatch.setattr(shared.store, "save_totals", fails)
        with suppress(StateDatabaseError):
            await session.cancel(delete_files=deletes_files)
        assert isinstance(session.error, StateDatabaseError)
        assert not deletes_files or not (tmp_path / "out/big").exists()
        await session.start()
        await reach(session, State.DOWNLOADING)
        fault = StorageError(tmp_path, "EIO")
        assert session._core.run is not None
        session._core.run.fail(fault)
        await until(lambda: session.error is fault)


@pytest.mark.parametrize("how", ["stop", "close"])
async def test_f1_a_session_that_waits_for_room_at_its_start_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async def fails(_storage: StorageManager, **_options: Any) -> None:
        raise DiskFullError(tmp_path, "full")

    monkeypatch.setattr(StorageManager, "open", fails)
    async with leeching(tmp_path) as (session, _, _events):
        await reach(session, State.ERROR)
        with anyio.fail_after(30):
            await getattr(session, how)()
        assert state_of(session) is State.STOPPED


async def test_f1_a_database_that_cannot_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        leeching(tmp_path / "leech", retry_s=SOON) as (session, shared, events),
    ):
        await reach(session, State.DOWNLOADING)
        # two of the first writes may try at once to save the torrent before they write
        save, refusals = shared.store.save_progress, [DiskFullError(tmp_path, "full")] * 4

        async def refused_at_first(*arguments: Any, **options: Any) -> None:
            if refusals:
                raise refusals.pop()
            await save(*arguments, **options)

        monkeypatch.setattr(shared.store, "save_progress", refused_at_first)
        await session.add_peer(*address)
        await until(lambda: "session.error" in kinds(events))  # for a moment
        await until(lambda: not refusals)
        await becomes(session, State.SEEDING)
        await session.stop()
        found = await shared.store.load(METAINFO.info_hash)
        assert found is not None
        assert found.progress is not None
        assert found.progress.durable == session.stats().have
    assert len(completed(events)) == METAINFO.piece_count


async def test_f1_resume_starts_a_session_again_that_another_fault_ended(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"in the way")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            with pytest.raises(SessionError) as caught:
                await session.wait_stopped()
            assert isinstance(caught.value.__cause__, StorageError)
            (tmp_path / "out").unlink()
            await session.resume()
            await reach(session, State.DOWNLOADING)
