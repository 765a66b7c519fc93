"""Torrents of a manager whose owner moves on, while the database or the system fails."""

from pathlib import Path

import anyio
import pytest

from tests.support.managers import manager, manager_config
from tests.support.session_parts import removal
from tests.support.swarm import PATIENCE_S, reach, resources, state_of, until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import ManagerConfig, SessionConfig
from torrent_engine.base.errors import BusyError, DiskFullError, StateDatabaseError
from torrent_engine.base.ids import InfoHash, OwnerTie
from torrent_engine.disk.state.session_table import load_sessions
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session import ownership
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.metadata import Metadata
from torrent_engine.engine.session.removal import Removal
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

OWNED, OTHER = [make_torrent(payload_of(50_000, seed), name=f"t{seed}")[0] for seed in (1, 2)]
TIE = OwnerTie("ui", 1)
FAULTS = {
    "database": StateDatabaseError("database is locked"),
    "full disk": DiskFullError("/state", "No space left on device"),
    "threads": RuntimeError("can't start new thread"),
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "RETRY_S", 0.0)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_f10_a_removal_for_an_owner_that_fails_ends_nothing_and_is_done_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    failed, remove = 0, StateStore.remove

    async def fail(store: StateStore, info_hash: InfoHash) -> None:
        nonlocal failed
        failed += 1
        if failed < 5:
            raise fault
        await remove(store, info_hash)

    async with manager(tmp_path) as many:
        other = await many.add_torrent(OTHER)
        session = await many.add_torrent(OWNED, owner=TIE)
        await many.flush()
        monkeypatch.setattr(StateStore, "remove", fail)
        assert many.owners.advance("ui", 2) == 1
        await until(lambda: many.get_session(OWNED.info_hash) is None)
        assert failed >= 5
        assert (state_of(session), state_of(other)) == (State.STOPPED, State.DOWNLOADING)
        await until(lambda: session._core.is_closed)
        await many.flush()
        assert [each.info_hash for each in await load_sessions(many.shared.store)] == [
            OTHER.info_hash
        ]


@pytest.mark.parametrize("fault", [StateDatabaseError("locked"), ZeroDivisionError("a bug")])
async def test_f10_an_owned_torrent_that_the_manager_cannot_remove_ends_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    async def fail(_session: Session, *, delete_files: bool) -> None:
        raise fault

    async with manager(tmp_path) as many:
        other = await many.add_torrent(OTHER)
        await many.add_torrent(OWNED, owner=TIE)
        monkeypatch.setattr(Session, "cancel", fail)
        many.owners.advance("ui", 2)
        message = f"torrent {OWNED.info_hash.hex()}: not all was removed: {fault}"
        await until(lambda: message in caplog.messages)
        assert many.sessions == (other,)
        assert state_of(other) is State.DOWNLOADING


async def test_f10_a_bug_in_a_removal_for_an_owner_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_core: SessionCore) -> None:
        raise ZeroDivisionError

    async with manager(tmp_path) as many:
        other = await many.add_torrent(OTHER)
        await many.add_torrent(OWNED, owner=TIE)
        monkeypatch.setattr(SessionCore, "load_metainfo", fail)
        many.owners.advance("ui", 2)
        await until(lambda: many.sessions == (other,))
        assert state_of(other) is State.DOWNLOADING


async def test_a_removal_for_an_owner_that_failed_to_the_end_is_done_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_store: StateStore, _info_hash: InfoHash) -> None:
        raise StateDatabaseError("database is locked")

    async with manager(tmp_path) as many:
        session = await many.add_torrent(OWNED, owner=TIE)
        monkeypatch.setattr(StateStore, "remove", fail)
        many.owners.advance("ui", 2)
        first = removal(session)
        await until(lambda: removal(session) is not first)
        assert many.sessions == (session,)
    monkeypatch.undo()
    async with manager(tmp_path) as many:
        assert [state_of(each) for each in many.sessions] == [State.STOPPED]
        many.owners.advance("ui", 2)
        await until(lambda: not many.sessions)


async def test_a_torrent_whose_owner_moved_on_before_it_was_restored_is_removed(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path) as many:
        await reach(await many.add_torrent(OWNED, owner=TIE), State.DOWNLOADING)
        await reach(await many.add_torrent(OTHER), State.DOWNLOADING)
    config = ManagerConfig(save_path=manager_config(tmp_path).save_path)
    async with resources(tmp_path) as shared:
        shared.owners.advance("ui", 2)
        async with TorrentManager(config, shared=shared) as many:
            await until(lambda: len(many.sessions) == 1)
            assert many.sessions[0].info_hash == OTHER.info_hash


async def test_an_owner_that_moves_on_after_the_end_of_all_does_not_hang_the_end_of_a_session(
    tmp_path: Path,
) -> None:
    async with resources(tmp_path) as shared:
        config = SessionConfig(owner=TIE)
        session = await Session.create(OWNED, shared, save_path=tmp_path / "out", config=config)
        await session.start()
        await session.stop()
    assert shared.owners.advance("ui", 2) == 1
    with anyio.fail_after(60):
        await session.close()


async def nothing() -> None:
    """End nothing: the Session of a test that is not there."""


async def test_an_add_that_failed_leaves_no_watch_and_no_task(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        many.shared.sessions.add(OWNED.info_hash, nothing)
        with pytest.raises(BusyError):
            await many.add_torrent(OWNED, owner=TIE)
        many.shared.sessions.remove(OWNED.info_hash)
        session = await many.add_torrent(OWNED)
        assert many.owners.advance("ui", 2) == 0
        await anyio.wait_all_tasks_blocked()
        assert many.sessions == (session,)
        assert state_of(session) is State.DOWNLOADING


async def test_an_owner_that_moves_on_while_an_add_fails_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Session] = []

    async def fail(_metadata: Metadata) -> None:
        made.extend(many.sessions)
        many.owners.advance("ui", 2)
        raise StateDatabaseError("database is locked")

    removed: list[Removal] = []

    async def remove(removal: Removal, _end: object) -> None:
        removed.append(removal)

    async with manager(tmp_path) as many:
        monkeypatch.setattr(Metadata, "recall", fail)
        monkeypatch.setattr(Removal, "remove", remove)
        with pytest.raises(StateDatabaseError):
            await many.add_torrent(OWNED, owner=TIE)
        monkeypatch.undo()
        (first,) = made
        ended = removal(first)
        assert ended is not None
        session = await many.add_torrent(OWNED)
        with anyio.fail_after(PATIENCE_S):
            await ended.wait()
        await anyio.wait_all_tasks_blocked()
        assert many.sessions == (session,)
        assert removed == []


async def test_a_start_that_failed_leaves_the_watch_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_metadata: Metadata) -> None:
        raise StateDatabaseError("database is locked")

    async with manager(tmp_path) as many:
        session = await many.add_torrent(OWNED, owner=TIE)
        await session.stop()
        monkeypatch.setattr(Metadata, "recall", fail)
        with pytest.raises(StateDatabaseError):
            await session.start()
        monkeypatch.undo()
        assert many.owners.advance("ui", 2) == 1
        await until(lambda: not many.sessions)


async def test_a_session_that_was_removed_takes_none_along_that_came_after_it(
    tmp_path: Path,
) -> None:
    async with manager(tmp_path) as many:
        old = await many.add_torrent(OWNED, owner=TIE)
        await many.remove_torrent(OWNED.info_hash)
        new = await many.add_torrent(OWNED)
        await many._owner_gone(old)
        assert many.sessions == (new,)
