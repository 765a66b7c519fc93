"""The queue with real Sessions: who runs, who waits, and what both look like."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.swarm import content, reach, seed, shared_config, state_of, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import DormancyConfig, ManagerConfig, QueueConfig, SessionConfig
from torrent_engine.base.ids import OwnerTie
from torrent_engine.engine.manager.queue import QueueController
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.resources.owners import OWNER_CHANGED
from torrent_engine.engine.session.lifecycle import Lifecycle
from torrent_engine.engine.states import State

pytestmark = pytest.mark.anyio

TORRENTS = [make_torrent(payload_of(100_000, number), name=f"t{number}") for number in range(3)]
SLOW = 20_000  # bytes per second: five seconds


@asynccontextmanager
async def managed(folder: Path, **limits: float) -> AsyncIterator[TorrentManager]:
    """Run a manager with a queue."""
    queue = QueueConfig(**limits)  # type: ignore[arg-type]
    config = ManagerConfig(shared_config(folder), save_path=str(folder / "out"), queue=queue)
    async with TorrentManager(config) as manager:
        yield manager


def running(manager: TorrentManager) -> list[str]:
    """Return the names of those that are not held back."""
    return [each.name for each in manager.sessions if not each.is_held]


async def test_downloads_run_one_after_the_other_in_the_order_of_the_queue(
    tmp_path: Path,
) -> None:
    done: list[bytes] = []
    first, second, third = (metainfo for metainfo, _ in TORRENTS)
    async with (
        seed(tmp_path / "0", *TORRENTS[0]) as (_, at_0),
        seed(tmp_path / "1", *TORRENTS[1]) as (_, at_1),
        seed(tmp_path / "2", *TORRENTS[2]) as (_, at_2),
        managed(tmp_path, max_active_downloads=1) as manager,
    ):
        sessions = []
        for metainfo, address in ((first, at_0), (second, at_1), (third, at_2)):
            config = SessionConfig(peers=(address,), max_download_bytes_per_s=SLOW)
            sessions.append(await manager.add_torrent(metainfo, config=config))
        manager.events.subscribe("session.completed", lambda each: done.append(each.info_hash))
        await until(lambda: running(manager) == ["t0"])  # all were checked
        assert [each.state for each in sessions[1:]] == [State.PAUSED] * 2
        manager.move_to(third.info_hash, 1)
        for session in sessions:
            session.set_rate_limits(download_bytes_per_s=0)
        await until(lambda: len(done) == 3, timeout_s=40.0)
        assert [each.name for each in manager.sessions] == ["t0", "t2", "t1"]
        await until(lambda: running(manager) == ["t0", "t2", "t1"])
    assert done == [first.info_hash, third.info_hash, second.info_hash]
    assert all(content(*pair) for pair in [(first, tmp_path / "out"), (second, tmp_path / "out")])


async def test_the_user_pauses_and_resumes_within_the_queue(tmp_path: Path) -> None:
    async with managed(tmp_path, max_active_downloads=1) as manager:
        first, second = [await manager.add_torrent(metainfo) for metainfo, _ in TORRENTS[:2]]
        await until(lambda: running(manager) == ["t0"])
        await first.pause()
        await until(lambda: not second.is_held)  # a place is free
        await reach(second, State.DOWNLOADING)
        await first.resume()
        await until(lambda: second.is_held)
        assert (state_of(first), state_of(second)) == (State.DOWNLOADING, State.PAUSED)
        await manager.remove_torrent(first.info_hash)
        await reach(second, State.DOWNLOADING)


async def test_seeds_take_turns(tmp_path: Path) -> None:
    for metainfo, payload in TORRENTS:
        write_files(metainfo, payload, tmp_path / "out")
    had: set[str] = set()
    limits = {"max_active_seeds": 1, "seed_turn_s": 0.1, "check_interval_s": 0.05}
    async with managed(tmp_path, count_slow_torrents=True, **limits) as manager:
        for metainfo, _ in TORRENTS:
            await manager.add_torrent(metainfo)
        await until(lambda: _saw(had, manager))
    assert had == {"t0", "t1", "t2"}


def _saw(had: set[str], manager: TorrentManager) -> bool:
    """Note who seeds now; tell whether all had their turn."""
    seeding = [each.name for each in manager.sessions if each.state is State.SEEDING]
    had.update(seeding)
    return len(had) == len(TORRENTS)


async def test_a_torrent_of_an_owner_that_moves_on_makes_room(tmp_path: Path) -> None:
    async with managed(tmp_path, max_active_downloads=1) as manager:
        first = await manager.add_torrent(TORRENTS[0][0], owner=OwnerTie("ui", 1))
        second = await manager.add_torrent(TORRENTS[1][0])
        await until(lambda: running(manager) == ["t0"])
        manager.owners.advance("ui", 2)
        await reach(second, State.DOWNLOADING)
        await until(lambda: manager.get_session(first.info_hash) is None)
        assert (state_of(first), first.stop_reason) == (State.STOPPED, OWNER_CHANGED)
        assert manager.sessions == (second,)
    async with managed(tmp_path) as manager:
        assert [each.name for each in manager.sessions] == ["t1"]


async def test_a_torrent_that_is_started_now_runs_beside_those_of_the_queue(
    tmp_path: Path,
) -> None:
    async with managed(tmp_path, max_active_downloads=1) as manager:
        first, second, third = [await manager.add_torrent(metainfo) for metainfo, _ in TORRENTS]
        await until(lambda: running(manager) == ["t0"])
        await third.start_now()
        await reach(third, State.DOWNLOADING)
        assert third.is_forced
        await until(lambda: running(manager) == ["t0", "t2"])
        await third.recheck()  # the end of a check is where the queue looks again
        await until(lambda: state_of(third) is State.DOWNLOADING)
        await first.pause()
        await until(lambda: running(manager) == ["t0", "t1", "t2"])
        await second.stop()
        assert state_of(third) is State.DOWNLOADING
        await first.start_now()
        assert not first.is_paused_by_user
        await reach(first, State.DOWNLOADING)
        await second.start_now()
        await reach(second, State.DOWNLOADING)
        second.set_forced(False)
        third.set_forced(False)
        await until(lambda: [each.is_held for each in manager.sessions] == [False, False, True])


async def test_who_runs_outside_of_the_queue_does_so_after_a_restart(tmp_path: Path) -> None:
    async with managed(tmp_path, max_active_downloads=1) as manager:
        sessions = [await manager.add_torrent(metainfo) for metainfo, _ in TORRENTS]
        await sessions[1].start_now()
        await sessions[2].start_now()
        await sessions[2].pause()  # ends it
        await reach(sessions[1], State.DOWNLOADING)
    async with managed(tmp_path, max_active_downloads=1) as manager:
        assert [each.is_forced for each in manager.sessions] == [False, True, False]
        await reach(manager.sessions[1], State.DOWNLOADING)
        await until(lambda: not manager.sessions[0].is_held)
        assert not manager.sessions[1].is_held


@pytest.mark.parametrize("is_stopped", [False, True], ids=["paused", "stopped"])
async def test_who_waited_neither_for_its_turn_nor_to_run_runs_once_there_are_no_limits(
    tmp_path: Path, *, is_stopped: bool
) -> None:
    async with managed(tmp_path, max_active_downloads=1) as manager:
        _, second = [await manager.add_torrent(metainfo) for metainfo, _ in TORRENTS[:2]]
        await until(lambda: running(manager) == ["t0"])
        await (second.stop() if is_stopped else second.pause())
        assert second.is_held
        manager.set_queue_limits(max_active_downloads=0)
        await until(lambda: not second.is_held)
        assert state_of(second) is (State.STOPPED if is_stopped else State.PAUSED)
        await (second.start() if is_stopped else second.resume())
        await reach(second, State.DOWNLOADING)


async def test_who_paused_a_barred_download_continues_it_when_it_is_barred_no_more(
    tmp_path: Path,
) -> None:
    async with managed(tmp_path) as manager:
        session = await manager.add_torrent(TORRENTS[0][0])
        await reach(session, State.DOWNLOADING)
        manager.bar_downloads([session.info_hash])
        await until(lambda: session.is_held)
        await session.pause()
        manager.bar_downloads([])
        await until(lambda: not session.is_held)
        assert (state_of(session), session.is_paused_by_user) == (State.PAUSED, True)
        await session.resume()
        await reach(session, State.DOWNLOADING)


@pytest.mark.parametrize("is_released", [True, False], ids=["released", "held"])
async def test_what_rested_is_restored_as_the_queue_has_it_when_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_released: bool
) -> None:
    shared = replace(shared_config(tmp_path), dormancy=DormancyConfig())
    config = ManagerConfig(
        shared, save_path=str(tmp_path / "out"), queue=QueueConfig(max_active_downloads=1)
    )
    async with TorrentManager(config) as manager:
        first = await manager.add_torrent(TORRENTS[0][0])
        await until(lambda: first.is_resting)
    open_now = Lifecycle._open

    async def open_late(lifecycle: Lifecycle, **options: Any) -> None:
        await open_now(lifecycle, **options)
        (lifecycle.unhold if is_released else lifecycle.hold)()

    monkeypatch.setattr(Lifecycle, "_open", open_late)
    monkeypatch.setattr(QueueController, "run", lambda _: anyio.sleep_forever())
    monkeypatch.setattr(QueueController, "has_limits", is_released)
    async with TorrentManager(config) as manager:
        (session,) = manager.sessions
        assert session.is_held is not is_released
        assert state_of(session) is (State.DOWNLOADING if is_released else State.PAUSED)
