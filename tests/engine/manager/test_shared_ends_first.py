"""A manager whose shared resources are left before it is closed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.managers import manager_config
from tests.support.swarm import until
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import SharedConfig
from torrent_engine.base.errors import ClosedError, StateDatabaseError
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio
TORRENTS = [make_torrent(payload_of(50_000, n), name=f"torrent {n}")[0] for n in range(3)]


@asynccontextmanager
async def opened(config: SharedConfig, how: str) -> AsyncIterator[SharedResources]:
    shared = SharedResources(config)
    if how == "async with":
        async with shared:
            yield shared
        return
    await shared.start()
    try:
        yield shared
    finally:
        await shared.close()


@pytest.mark.parametrize("how", ["async with", "close"])
async def test_dormant_torrents_end_with_the_shared_resources(tmp_path: Path, how: str) -> None:
    config = manager_config(tmp_path)
    async with opened(config.shared, how) as shared:
        manager = TorrentManager(config, shared=shared)
        await manager.start()
        sessions = [await manager.add_torrent(each) for each in TORRENTS]
        await until(lambda: all(session.is_resting for session in sessions))
    assert [session.state for session in sessions] == [State.STOPPED] * 3
    with pytest.raises(ClosedError):
        await sessions[0].start()
    with pytest.raises(StateDatabaseError, match="is closed"):
        await manager.close()  # it has something to save


async def test_a_bug_in_a_task_of_a_torrent_ends_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    config = manager_config(tmp_path)
    async with SharedResources(config.shared) as shared:
        shared.start_task(fail)
        await until(lambda: "a bug ended a task" in caplog.text)
        assert shared.listen_port
