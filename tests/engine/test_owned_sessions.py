"""Downloads for somebody who goes away: ended at once wherever they are, and nothing half-made."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.session_parts import allow_rest, nobody_is_found, removal
from tests.support.swarm import (
    PATIENCE_S,
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
from torrent_engine.base.errors import OwnerChangedError, StorageError
from torrent_engine.base.ids import OwnerTie
from torrent_engine.codec.magnet import Magnet
from torrent_engine.disk.files.disk_files import DiskFiles
from torrent_engine.engine.events import SessionStopped
from torrent_engine.engine.resources.owners import OWNER_CHANGED
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs import recheck as run_check
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer.piece_verifier import PieceFinisher

pytestmark = pytest.mark.anyio

METAINFO, PAYLOAD = make_torrent(
    {"a.bin": payload_of(200_000, 1), "sub/b.bin": payload_of(150_000, 2), "c.bin": b"c" * 50_000},
    piece_bytes=32 * 1024,
)
TIE = OwnerTie("a window", 3)
SLOW = 100_000  # bytes per second: the payload takes four seconds
FOREIGN = "payload/sub/mine.txt"


@asynccontextmanager
async def tied(
    folder: Path, *peers: tuple[str, int], **settings: Any
) -> AsyncIterator[tuple[SharedResources, Session]]:
    """Give a Session that is tied, not started, beside a file of somebody else."""
    mine = folder / "out" / FOREIGN
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine")
    config = SessionConfig(owner=TIE, peers=peers, **settings)
    async with resources(folder / "leech") as shared:
        session = await Session.create(METAINFO, shared, save_path=folder / "out", config=config)
        yield shared, session
        await session.close()


def move_on(shared: SharedResources) -> None:
    """Let the owner go away."""
    shared.owners.advance(TIE.owner_id, TIE.generation + 1)


async def ended(shared: SharedResources, session: Session) -> str:
    """Wait until a Session is over and forgotten; return why."""
    await until(lambda: removal(session) is not None or state_of(session) is State.STOPPED)
    with anyio.fail_after(PATIENCE_S):
        await session._core.ended.wait()
        if (removed := removal(session)) is not None:
            await removed.wait()
            await anyio.wait_all_tasks_blocked()
    assert await shared.store.load(METAINFO.info_hash) is None
    assert state_of(session) is State.STOPPED
    return session.stop_reason


# -- wherever it is -----------------------------------------------------------------------------


async def test_a_download_is_ended_while_it_streams_and_its_files_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "torrent_engine.engine.session.ownership")
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address, max_download_bytes_per_s=SLOW) as (shared, session),
    ):
        events = record(session)
        await session.start()
        await until(lambda: session.stats().pieces_have)
        assert files_below(tmp_path / "out") > {FOREIGN}
        move_on(shared)
        assert await ended(shared, session) == OWNER_CHANGED
        assert await session.wait_stopped() == OWNER_CHANGED
        await until(lambda: kinds(events)[-1:] == ["session.stopped"])
    assert files_below(tmp_path / "out") == {FOREIGN}
    assert "session.completed" not in kinds(events)
    assert [each.reason for each in events if isinstance(each, SessionStopped)] == [OWNER_CHANGED]
    message = (
        f"torrent {METAINFO.info_hash.hex()}: cancelled, its owner 'a window' has moved on"
        " from generation 3 to 4"
    )
    assert message in caplog.messages


async def test_nothing_that_comes_after_that_counts_any_more(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address, max_download_bytes_per_s=SLOW) as (shared, session),
    ):
        events = record(session)
        await session.start()
        await until(lambda: session.stats().pieces_have)
        run = session._core.run
        assert run is not None
        move_on(shared)
        before, pieces = len(run.transfer.finisher.assemblies), run.torrent.table.have.count
        assert (before, run.transfer.downloads.is_active) == (0, False)
        await anyio.wait_all_tasks_blocked()
        events.clear()
        assert await ended(shared, session) == OWNER_CHANGED
        assert run.torrent.table.have.count == pieces
    assert "piece.completed" not in kinds(events)


def last_piece_is_here(finisher: PieceFinisher) -> bool:
    """Return whether all other pieces are had."""
    table = finisher._torrent.table
    return table.have.count == METAINFO.piece_count - 1


async def test_the_owner_goes_between_the_verification_of_the_last_piece_and_its_announcement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have, moments = PieceFinisher._have, list[int]()
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address) as (shared, session),
    ):

        def move_on_before(finisher: PieceFinisher, piece: int) -> None:
            if last_piece_is_here(finisher) and finisher._torrent.config.owner is not None:
                moments.append(piece)
                move_on(shared)
            have(finisher, piece)

        monkeypatch.setattr(PieceFinisher, "_have", move_on_before)
        events = record(session)
        await session.start()
        assert await ended(shared, session) == OWNER_CHANGED
        await until(lambda: "session.stopped" in kinds(events))
    assert len(moments) == 1
    assert kinds(events).count("piece.completed") == METAINFO.piece_count - 1
    assert "session.completed" not in kinds(events)
    assert files_below(tmp_path / "out") == {FOREIGN}


@pytest.mark.parametrize("is_told", [True, False], ids=["is told", "looks itself"])
async def test_the_owner_goes_when_all_is_here_and_nobody_was_told_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    on_complete = TorrentRun._on_complete
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address) as (shared, session),
    ):

        def move_on_before(run: TorrentRun) -> None:
            if run.torrent.config.owner is not None and state_of(session) is State.DOWNLOADING:
                ownership = session._lifecycle._ownership
                if not is_told and ownership is not None:
                    ownership.cancel()
                if shared.owners.is_current(TIE):
                    move_on(shared)
            on_complete(run)

        monkeypatch.setattr(TorrentRun, "_on_complete", move_on_before)
        events = record(session)
        await session.start()
        assert await ended(shared, session) == OWNER_CHANGED
        await until(lambda: "session.stopped" in kinds(events))
    assert "session.completed" not in kinds(events)
    assert files_below(tmp_path / "out") == {FOREIGN}


async def begun(shared: SharedResources, session: Session) -> None:
    """Have a part of the download here."""
    del shared
    await session.start()
    await until(lambda: session.stats().pieces_have)


async def while_paused(shared: SharedResources, session: Session) -> None:
    await begun(shared, session)
    await session.pause()


async def while_held(shared: SharedResources, session: Session) -> None:
    await begun(shared, session)
    session.admin.hold()


async def while_stopped(shared: SharedResources, session: Session) -> None:
    await begun(shared, session)
    await session.stop()


async def while_stopping(shared: SharedResources, session: Session) -> None:
    await begun(shared, session)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.stop)
        await anyio.lowlevel.checkpoint()
        move_on(shared)


async def while_checking(shared: SharedResources, session: Session) -> None:
    await begun(shared, session)
    await session.recheck()
    assert state_of(session) is State.CHECKING


async def while_resting(shared: SharedResources, session: Session) -> None:
    allow_rest(session)
    with nobody_is_found():
        await begun(shared, session)
        session._core.run.stop("rest")  # type: ignore[union-attr]
        await until(lambda: session.is_resting)


async def as_it_starts(shared: SharedResources, session: Session) -> None:
    """The owner goes in the middle of :meth:`Session.start`."""
    await begun(shared, session)
    await session.stop()
    acquire = shared.acquire

    async def acquire_then_move_on() -> None:
        await acquire()
        shared.acquire = acquire  # type: ignore[method-assign]
        move_on(shared)

    shared.acquire = acquire_then_move_on  # type: ignore[method-assign]
    await session.start()


MOMENTS: dict[str, Callable[[SharedResources, Session], Awaitable[None]]] = {
    "paused": while_paused,
    "held": while_held,
    "stopped": while_stopped,
    "stopping": while_stopping,
    "checking": while_checking,
    "resting": while_resting,
    "starting": as_it_starts,
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
async def test_whatever_a_download_does_it_is_ended_and_its_files_go(
    tmp_path: Path, moment: Callable[[SharedResources, Session], Awaitable[None]]
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address, max_download_bytes_per_s=SLOW) as (shared, session),
    ):
        events = record(session)
        await moment(shared, session)
        if shared.owners.is_current(TIE):
            move_on(shared)
        reason = await ended(shared, session)
        assert files_below(tmp_path / "out") == {FOREIGN}
        with pytest.raises(OwnerChangedError):
            await session.start()
        assert shared.references == 1
    stopped = [each.reason for each in events if isinstance(each, SessionStopped)]
    assert (reason, OWNER_CHANGED in stopped) == (OWNER_CHANGED, True) or moment is while_stopping
    assert "session.completed" not in kinds(events)


async def test_a_torrent_that_would_begin_at_rest_does_not_when_its_owner_goes_meanwhile(
    tmp_path: Path,
) -> None:
    async with tied(tmp_path / "a") as (shared, session):
        session._core.save_path = tmp_path / "nothing"
        allow_rest(session, DormancyConfig())
        acquire = shared.acquire

        async def acquire_then_move_on() -> None:
            await acquire()
            shared.acquire = acquire  # type: ignore[method-assign]
            move_on(shared)

        shared.acquire = acquire_then_move_on  # type: ignore[method-assign]
        await session.start()
        assert not session.is_resting
        assert await ended(shared, session) == OWNER_CHANGED


async def test_metadata_is_looked_for_no_more(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(
            Magnet(METAINFO.info_hash),
            shared,
            save_path=tmp_path / "out",
            config=SessionConfig(owner=TIE),
        )
        async with session:
            await reach(session, State.FETCHING_METADATA)
            move_on(shared)
            with anyio.fail_after(PATIENCE_S):
                assert await session.wait_stopped() == OWNER_CHANGED


async def test_a_download_that_failed_is_removed_when_its_owner_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address, max_download_bytes_per_s=SLOW) as (shared, session),
    ):
        await begun(shared, session)
        run = session._core.run
        assert run is not None
        run.fail(StorageError("/a/file", "is broken"))
        await reach(session, State.ERROR)
        await session._core.ended.wait()
        move_on(shared)
        removed = removal(session)
        assert removed is not None
        await removed.wait()
        assert files_below(tmp_path / "out") == {FOREIGN}
        assert await shared.store.load(METAINFO.info_hash) is None


async def test_what_cannot_be_removed_is_logged_and_hurts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_files: DiskFiles, _keep: object = None, **_how: object) -> None:
        raise StorageError("/a/file", "Permission denied")

    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address, max_download_bytes_per_s=SLOW) as (shared, session),
    ):
        await begun(shared, session)
        await session.stop()
        monkeypatch.setattr(DiskFiles, "delete", refuse)
        move_on(shared)
        what = (
            f"torrent {METAINFO.info_hash.hex()}: not all was removed: /a/file: Permission denied"
        )
        await until(lambda: what in caplog.messages)
        monkeypatch.undo()
    assert files_below(tmp_path / "out") > {FOREIGN}


# -- what stays ---------------------------------------------------------------------------------


async def test_a_complete_download_is_ended_and_its_files_stay(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address) as (shared, session),
    ):
        await session.start()
        await reach(session, State.SEEDING)
        move_on(shared)
        assert await ended(shared, session) == OWNER_CHANGED
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


@pytest.mark.parametrize("moment", ["checking", "stopped"])
async def test_a_complete_download_stays_whatever_is_known_of_it_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    checks = anyio.Event()

    async def check_for_ever(*_: object, **__: object) -> None:
        checks.set()
        await anyio.sleep_forever()

    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address) as (shared, session),
    ):
        await session.start()
        await reach(session, State.SEEDING)
        if moment == "checking":
            monkeypatch.setattr(run_check, "check_pieces", check_for_ever)
            await session.recheck()
            with anyio.fail_after(PATIENCE_S):
                await checks.wait()
            assert session.stats().pieces_have == 0
        else:
            await session.stop()
        move_on(shared)
        assert await ended(shared, session) == OWNER_CHANGED
        assert await shared.store.load(METAINFO.info_hash) is None
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


@pytest.mark.parametrize("restarts", [False, True])
async def test_files_that_were_there_before_the_torrent_stay(
    tmp_path: Path, restarts: bool
) -> None:
    out = tmp_path / "out"
    write_files(METAINFO, PAYLOAD, out)
    (out / "payload/a.bin").unlink()
    found = files_below(out)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address, max_download_bytes_per_s=SLOW) as (shared, session),
    ):
        await session.start()
        await reach(session, State.DOWNLOADING)
        held = session.stats().pieces_have
        await until(lambda: session.stats().pieces_have > held)
        if restarts:
            await session.stop()
            await session.start()
            await reach(session, State.DOWNLOADING)
        assert "payload/a.bin" in files_below(out)
        move_on(shared)
        assert await ended(shared, session) == OWNER_CHANGED
    assert files_below(out) == found | {FOREIGN}
    assert (out / "payload/c.bin").read_bytes() == b"c" * 50_000


@pytest.mark.parametrize("is_there", [False, True])
async def test_an_empty_file_goes_too_unless_it_was_there_before(
    tmp_path: Path, is_there: bool
) -> None:
    metainfo, payload = make_torrent({"a.bin": payload_of(400_000, 1), "none": b""})
    none = tmp_path / "out/payload/none"
    if is_there:
        none.parent.mkdir(parents=True)
        none.touch()
    config = SessionConfig(owner=TIE, max_download_bytes_per_s=SLOW)
    async with (
        seed(tmp_path / "seed", metainfo, payload) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await Session.create(
            metainfo, shared, save_path=tmp_path / "out", config=replace(config, peers=(address,))
        )
        await session.start()
        await until(lambda: session.stats().pieces_have)
        assert none.exists()
        move_on(shared)
        await until(lambda: removal(session) is not None)
        await session.close()
    assert files_below(tmp_path / "out") == ({"payload/none"} if is_there else set())


async def test_who_is_tied_to_nobody_or_to_another_goes_on(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        shared.owners.advance(TIE.owner_id, 9)
        for number, owner in enumerate([None, OwnerTie("another", 0), OwnerTie(TIE.owner_id, 9)]):
            out = tmp_path / f"out{number}"
            session = await Session.create(
                METAINFO,
                shared,
                save_path=out,
                config=SessionConfig(owner=owner, peers=(address,), seed_time_s=0.0),
            )
            async with session:
                await reach(session, State.DOWNLOADING, State.SEEDING)
                if owner is None:
                    shared.owners.advance("whoever", 1)
                with anyio.fail_after(PATIENCE_S):
                    assert await session.wait_stopped() == "time"
            assert content(METAINFO, out) == PAYLOAD
            await shared.store.remove(METAINFO.info_hash)


# -- what is refused ----------------------------------------------------------------------------


async def test_an_old_tie_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    async with tied(tmp_path) as (shared, session):
        move_on(shared)
        with pytest.raises(OwnerChangedError, match="generation 3 is over, it is at 4 now"):
            await session.start()
        with pytest.raises(OwnerChangedError):
            await Session.create(
                METAINFO, shared, save_path=tmp_path, config=SessionConfig(owner=TIE)
            )
        assert (state_of(session), shared.references) == (State.STOPPED, 1)
    assert files_below(tmp_path / "out") == {FOREIGN}


async def test_an_older_generation_announced_later_is_refused_and_ends_nothing(
    tmp_path: Path,
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        tied(tmp_path, address, seed_time_s=0.0) as (shared, session),
    ):
        shared.owners.advance(TIE.owner_id, TIE.generation)
        await session.start()
        with pytest.raises(OwnerChangedError):
            shared.owners.advance(TIE.owner_id, TIE.generation - 1)
        with anyio.fail_after(PATIENCE_S):
            assert await session.wait_stopped() == "time"
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_a_closed_session_is_left_alone(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        session = await download(shared, METAINFO, tmp_path / "out", address, owner=TIE)
        assert shared.owners.advance(TIE.owner_id, 9) == 0
        assert session.stop_reason == "time"
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
