"""Adding: what is returned, and what it costs the database."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.swarm import PATIENCE_S
from torrent_engine.base.config import ManagerConfig, SessionConfig, SharedConfig
from torrent_engine.base.errors import ConfigError, StateDatabaseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.mutable_link import MutableKey
from torrent_engine.disk.state.session_table import SessionRecord, load_sessions, save_sessions
from torrent_engine.engine.manager import store as store_module
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.runs.user_data import MAX_BYTES
from torrent_engine.engine.session.metadata import Metadata

pytestmark = pytest.mark.anyio

COUNT = 1_000


def manager_in(folder: Path) -> TorrentManager:
    shared = SharedConfig.local(state_dir=folder / "state")
    session = SessionConfig(paused=True)
    return TorrentManager(ManagerConfig(shared=shared, save_path=folder, session=session))


async def test_a_torrent_that_is_there_is_returned_and_is_not_new(tmp_path: Path) -> None:
    added = []
    async with manager_in(tmp_path) as manager:

        async def add() -> None:
            added.append(await manager.add("1" * 40))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(add)
        assert len(manager.sessions) == 1
        assert {id(each.session) for each in added} == {id(manager.sessions[0])}
    assert sorted(each.is_new for each in added) == [False] * 4 + [True]


async def test_a_thousand_are_saved_in_a_few_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    async def counted(store, records) -> None:
        saved.append(len(records))
        await save_sessions(store, records)

    monkeypatch.setattr(store_module, "save_sessions", counted)
    async with manager_in(tmp_path) as manager:
        began_s = anyio.current_time()
        for number in range(COUNT):
            await manager.add(f"{number:040x}")
        await manager.flush()
        took_s = anyio.current_time() - began_s
        assert sum(saved) >= COUNT
        # one each time that changes are gathered, however slow the machine is, and the last
        assert len(saved) <= took_s / store_module.GATHER_S + COUNT // store_module.BATCH + 1


async def test_an_add_whose_texts_became_too_long_leaves_nothing(tmp_path: Path) -> None:
    link = replace(Magnet(InfoHash(b"1" * 20)), updates=MutableKey(bytes(32)))
    async with manager_in(tmp_path) as manager:
        for _ in range(2):
            with anyio.fail_after(PATIENCE_S), pytest.raises(ConfigError):
                await manager.add(link, user_data={"text": "x" * (MAX_BYTES - 4)})
            assert manager.sessions == ()
        await manager.add(link)


@pytest.mark.parametrize("fails", [False, True], ids=["cancelled", "failed"])
async def test_f4_what_could_not_be_added_does_not_come_back_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    scope = anyio.CancelScope()

    async def save_then_fail(_metadata: Metadata) -> None:
        await manager.flush()
        saved.extend(await load_sessions(manager.shared.store))
        if fails:
            raise StateDatabaseError("database is locked")
        scope.cancel()
        await anyio.sleep_forever()

    saved: list[SessionRecord] = []
    async with manager_in(tmp_path) as manager:
        monkeypatch.setattr(Metadata, "recall", save_then_fail)
        with scope, suppress(StateDatabaseError):
            await manager.add("1" * 40, user_data={"label": "a"})
        assert len(saved) == 1
        assert await load_sessions(manager.shared.store) == []
        monkeypatch.undo()
    async with manager_in(tmp_path) as manager:
        assert manager.sessions == ()
