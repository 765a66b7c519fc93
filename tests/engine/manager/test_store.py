"""What a manager writes down: the order, what its user said, and all of it when something fails."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.managers import manager, manager_config
from tests.support.swarm import reach, resources, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import ManagerConfig, QueueConfig
from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.disk.state.session_table import SessionRecord, load_sessions
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.manager import store as manager_store
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.lifecycle import Lifecycle
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PAYLOADS = [payload_of(100_000, number) for number in range(7)]
TORRENTS = [
    make_torrent(payload, name=f"torrent {number}")[0] for number, payload in enumerate(PAYLOADS)
]
FIRST, SECOND = TORRENTS[:2]


async def _fail(_store: StateStore, _records: Sequence[SessionRecord]) -> None:
    raise StateDatabaseError("disk I/O error")


async def _refuse(*_args: Any, **_options: Any) -> None:
    raise StateDatabaseError("the database is locked")


async def test_the_order_outlives_a_restart_whoever_came_and_went(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        for torrent in TORRENTS[:5]:
            await many.add_torrent(torrent)
        await many.flush()
        for torrent in TORRENTS[:3]:
            await many.remove_torrent(torrent.info_hash)
        await many.add_torrent(TORRENTS[5])
    names = ["torrent 3", "torrent 4", "torrent 5"]
    async with manager(tmp_path) as many:
        assert [each.name for each in many.sessions] == names
        await many.add_torrent(TORRENTS[6])
        await many.add_torrent(FIRST, position=1)
    async with manager(tmp_path) as many:
        names = ["torrent 3", "torrent 0", "torrent 4", "torrent 5", "torrent 6"]
        assert [each.name for each in many.sessions] == names


async def test_what_is_added_again_while_it_is_removed_is_not_forgotten(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(FIRST)
        await many.flush()
        async with many._registry.store._lock, anyio.create_task_group() as tasks:
            tasks.start_soon(many.remove_torrent, FIRST.info_hash)
            await until(lambda: not many.sessions)
            await many.add_torrent(FIRST)
            many._registry.store._lock.release()
            await many._registry.store._lock.acquire()
    async with manager(tmp_path) as many:
        assert [each.info_hash for each in many.sessions] == [FIRST.info_hash]


async def test_who_is_paused_while_the_queue_holds_it_is_paused_after_a_restart(
    tmp_path: Path,
) -> None:
    queue = QueueConfig(max_active_downloads=1, count_slow_torrents=True)
    async with manager(tmp_path, queue=queue) as many:
        first, second = [await many.add_torrent(each) for each in (FIRST, SECOND)]
        await until(lambda: not first.is_held)
        await many.flush()
        await second.pause()
    async with manager(tmp_path) as many:
        assert [each.is_paused_by_user for each in many.sessions] == [False, True]


async def test_who_was_paused_at_the_start_and_resumed_is_not_paused_by_its_next_start(
    tmp_path: Path,
) -> None:
    write_files(FIRST, PAYLOADS[0], tmp_path / "files")
    async with manager(tmp_path) as many:
        session = await many.add_torrent(FIRST)
        await reach(session, State.SEEDING)
        await session.pause()
    async with manager(tmp_path) as many:
        (session,) = many.sessions
        await session.resume()
        await reach(session, State.SEEDING)
        await session.stop()
        await session.start()
        assert await reach(session, State.SEEDING, State.PAUSED) is State.SEEDING


async def test_the_peers_of_a_link_are_known_once_after_many_restarts(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(Magnet(FIRST.info_hash, peers=(("127.0.0.1", 9),)))
    for _ in range(2):
        async with manager(tmp_path) as many:
            (session,) = many.sessions
            assert session.config.peers == (("127.0.0.1", 9),)


@pytest.mark.parametrize("owns_shared", [True, False])
async def test_a_database_that_fails_at_the_end_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, owns_shared: bool
) -> None:
    async with resources(tmp_path) as shared:
        config = ManagerConfig(save_path=str(tmp_path / "files"))
        many = TorrentManager(config, shared=shared)
        if owns_shared:
            many = TorrentManager(manager_config(tmp_path / "own"))
        with anyio.fail_after(30):
            await many.__aenter__()
            session = await many.add_torrent(FIRST)
            monkeypatch.setattr(manager_store, "save_sessions", _fail)
            with pytest.raises(StateDatabaseError, match="disk I/O error"):
                await many.__aexit__(None, None, None)
        assert session._core.ended.is_set()
        assert many.shared.references == (0 if owns_shared else 1)
        monkeypatch.undo()
        async with TorrentManager(many.config, shared=None if owns_shared else shared) as again:
            assert again.sessions == ()


async def test_a_torrent_that_could_not_be_started_again_is_not_taken_for_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(FIRST, PAYLOADS[0], tmp_path / "files")
    async with manager(tmp_path) as many:
        await reach(await many.add_torrent(FIRST), State.SEEDING)
        await many.add_torrent(SECOND)
        await many.sessions[1].pause()
    monkeypatch.setattr(Lifecycle, "start", _refuse)
    monkeypatch.setattr(Lifecycle, "begin_dormant", _refuse)
    async with manager(tmp_path) as many:
        assert [each.state for each in many.sessions] == [State.STOPPED, State.STOPPED]
    monkeypatch.undo()
    async with manager(tmp_path) as many:
        first, second = many.sessions
        await reach(first, State.SEEDING)
        assert (second.state, second.is_paused_by_user) == (State.PAUSED, True)


async def test_a_torrent_that_changed_and_was_removed_leaves_nobody_awake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_store, "GATHER_S", 0.0)
    flushes, flush = 0, manager_store.ManagerStore.flush

    async def counted(store: manager_store.ManagerStore) -> None:
        nonlocal flushes
        flushes += 1
        await flush(store)

    async with resources(tmp_path) as shared:
        saved = manager_store.ManagerStore(shared.store, lambda _: None, lambda _: None, list)
        saved.appended(FIRST.info_hash)
        saved.changed(FIRST.info_hash)
        saved.forget(FIRST.info_hash)
        monkeypatch.setattr(manager_store.ManagerStore, "flush", counted)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(saved.run)
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert flushes == 1


async def remove_in_vain(many: TorrentManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a torrent, and remove it while the database refuses that."""
    await many.add_torrent(FIRST)
    await many.flush()
    with monkeypatch.context() as patched:
        patched.setattr(StateStore, "remove", _refuse)
        patched.setattr(manager_store, "remove_sessions", _refuse)
        with pytest.raises(StateDatabaseError, match="the database is locked"):
            await many.remove_torrent(FIRST.info_hash)
        assert many.sessions == ()
        assert len(await load_sessions(many.shared.store)) == 1


async def test_f4_a_removal_that_the_database_refused_is_made_when_the_manager_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many:
        await remove_in_vain(many, monkeypatch)
    async with manager(tmp_path) as many:
        assert many.sessions == ()


async def test_a_removal_that_the_database_refused_is_tried_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_store, "GATHER_S", 0.0)
    monkeypatch.setattr(manager_store, "RETRY_S", 0.0)
    async with manager(tmp_path) as many:
        await remove_in_vain(many, monkeypatch)
        with anyio.fail_after(30):
            while await load_sessions(many.shared.store):  # noqa: ASYNC110 - no event tells
                await anyio.sleep(0.01)
    async with manager(tmp_path) as many:
        assert not many.sessions


async def test_what_is_added_again_before_its_removal_was_made_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many:
        await remove_in_vain(many, monkeypatch)
        await many.add_torrent(FIRST, priority=4)
    async with manager(tmp_path) as many:
        (session,) = many.sessions
        assert session.metainfo == FIRST
        assert many.priority(FIRST.info_hash) == 4


async def test_changes_are_saved_while_a_removal_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager(tmp_path) as many:
        await many.add_torrent(FIRST)
        await many.flush()
        with monkeypatch.context() as patched:
            patched.setattr(manager_store, "remove_sessions", _refuse)
            with pytest.raises(StateDatabaseError):
                await many.remove_torrent(FIRST.info_hash)
            await many.add_torrent(SECOND)
            with pytest.raises(StateDatabaseError):
                await many.flush()
            saved = [each.info_hash for each in await load_sessions(many.shared.store)]
            assert SECOND.info_hash in saved
