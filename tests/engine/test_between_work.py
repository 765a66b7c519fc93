"""What is to be done between two runs is done, also when the last run is just ending."""

from pathlib import Path

import anyio
import pytest

from tests.support.swarm import content, reach, resources, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.engine.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PAYLOAD = payload_of(100_000)
TORRENT, _ = make_torrent(PAYLOAD)


async def test_a_move_that_is_asked_for_while_the_session_ends_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with resources(tmp_path) as shared:
        session = await Session.create(TORRENT, shared, save_path=tmp_path / "files")
        await session.start()
        await reach(session, State.SEEDING)
        gate, release = anyio.Event(), shared.release

        async def release_late() -> None:
            await gate.wait()
            await release()

        monkeypatch.setattr(shared, "release", release_late)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(session.stop)
                await until(lambda: session.state is State.STOPPED)
                tasks.start_soon(session.move_storage, tmp_path / "other")
                await anyio.wait_all_tasks_blocked()
                gate.set()
        assert session.save_path == tmp_path / "other"
        assert content(TORRENT, tmp_path / "other") == PAYLOAD
        await session.close()
