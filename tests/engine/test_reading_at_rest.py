"""Torrents of a manager that rest: a reader wakes them, and what was changed of them is kept."""

import threading
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.managers import manager_config
from tests.support.swarm import content, reach, seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from tests.support.web_server import web_server
from torrent_engine.base.config import DormancyConfig, WebSeedConfig
from torrent_engine.base.errors import StateTransitionError, UnknownFileError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.session_table import load_sessions
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

PAYLOAD = payload_of(300_000)
TORRENT, _ = make_torrent(PAYLOAD, tiers=[["http://127.0.0.1:9/announce"]])
RESTS = DormancyConfig(after_s=0.3, max_announces_per_s=1_000.0)
PATIENCE_S = 50.0


def manager(folder: Path) -> TorrentManager:
    """Return a manager whose torrents rest soon, and which may ask web seeds on loopback."""
    config = manager_config(folder, dormancy=RESTS)
    shared = replace(config.shared, web_seed=WebSeedConfig(allow_local=True))
    return TorrentManager(replace(config, shared=shared))


async def resting(session: Session) -> None:
    await until(lambda: session.is_resting)


async def read(session: Session, count: int = -1) -> bytes:
    with anyio.fail_after(PATIENCE_S):
        async with session.open(0) as reader:
            return await reader.read(count)


async def test_a_seed_at_rest_is_read_and_rests_again(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await resting(session)
        assert await read(session) == PAYLOAD
        await resting(session)
        assert await read(session, 1_000) == PAYLOAD[:1_000]


async def test_a_torrent_that_is_read_does_not_rest(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path) as many:
        session = await many.add_torrent(TORRENT)
        await resting(session)
        async with session.open(0) as reader:
            assert await reader.read(10) == PAYLOAD[:10]
            await anyio.sleep(4 * RESTS.after_s)
            assert not session.is_resting
        await resting(session)


async def test_a_read_of_a_torrent_at_rest_waits_for_who_has_it(tmp_path: Path) -> None:
    found: list[bytes] = []

    async def read_all(session: Session) -> None:
        found.append(await read(session))

    async with (
        seed(tmp_path / "seed", TORRENT, PAYLOAD) as (_, address),
        manager(tmp_path) as many,
    ):
        session = await many.add_torrent(TORRENT)
        assert session.is_resting
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_all, session)
            await until(lambda: not session.is_resting)
            await session.add_peer(*address)
    assert found == [PAYLOAD]


async def test_what_is_here_of_a_paused_torrent_at_rest_is_read(tmp_path: Path) -> None:
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path) as many:
        session = await many.add_torrent(TORRENT)
        await reach(session, State.SEEDING)
        await session.pause()
        await resting(session)
        assert await read(session) == PAYLOAD
        assert session.state is State.PAUSED


async def test_the_metainfo_of_a_torrent_at_rest_is_read_in_a_thread_and_once_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []
    real = SessionCore.read_stored

    def read_stored(core: SessionCore) -> Metainfo | None:
        readers.append(threading.current_thread())
        return real(core)

    monkeypatch.setattr(SessionCore, "read_stored", read_stored)
    write_files(TORRENT, PAYLOAD, tmp_path / "files")
    async with manager(tmp_path) as many:
        session = await many.add_torrent(TORRENT)
        await resting(session)
        readers.clear()
        with pytest.raises(StateTransitionError, match="not run"):
            session.set_piece_deadline(0, 1.0)
        with pytest.raises(TypeError):
            session.open(None)  # type: ignore[arg-type]
        opened, absent = session.open("payload"), session.open(1)
        with pytest.raises(StateTransitionError):
            _ = opened.size
        assert not readers
        with pytest.raises(UnknownFileError):
            async with absent:
                pass
        async with opened as reader:
            assert reader.size == len(PAYLOAD)
            assert await reader.read(10) == PAYLOAD[:10]
        assert readers
        assert threading.main_thread() not in readers


async def test_changes_are_in_the_database_before_the_manager_ends(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        session = await many.add_torrent(TORRENT)
        await many.flush()
        session.set_sequential(True)
        session.set_super_seeding(True)
        session.set_rate_limits(upload_bytes_per_s=1_000)
        session.remove_tracker("http://127.0.0.1:9/announce")
        await session.set_file_priorities([7])
        await many.flush()
        (record,) = await load_sessions(many.shared.store)
    assert record.settings["config"] == {
        "sequential": True,
        "super_seeding": True,
        "max_upload_bytes_per_s": 1_000,
        "file_priorities": [7],
    }
    assert record.settings["extras"] == {"no_trackers": ["http://127.0.0.1:9/announce"]}


async def test_a_web_seed_wakes_a_torrent_at_rest_and_changes_outlive_the_manager(
    tmp_path: Path,
) -> None:
    tracker = "http://127.0.0.1:9/announce"
    async with web_server({"/pub/payload": PAYLOAD}) as server:
        url = f"{server.base}/pub/"
        async with manager(tmp_path) as many:
            session = await many.add_torrent(TORRENT)
            assert session.is_resting
            assert session.remove_tracker(tracker)
            assert session.add_web_seed(url)
            await reach(session, State.SEEDING)
            assert session.trackers() == []
        async with manager(tmp_path) as many:
            (again,) = many.sessions
            assert again.admin.extras() == {"no_trackers": [tracker], "web_seeds": {url: 19}}
            await reach(again, State.SEEDING)
            assert again._settings.known_trackers() == set()
    assert content(TORRENT, tmp_path / "files") == PAYLOAD
