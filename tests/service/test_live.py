"""Control of the torrents of a running manager: checks of paused and of queued ones."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.managers import manager
from tests.support.swarm import until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import QueueConfig
from torrent_engine.base.errors import ConfigError, DiskFullError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.pieces.hasher import check_pieces
from torrent_engine.disk.state.session_table import load_sessions
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.saved import SavedSession, read_settings
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.service.adding import Adder
from torrent_engine.service.live import LiveTorrents
from torrent_engine.service.new_torrent import NewTorrent
from torrent_engine.service.torrents import (
    Change,
    Failure,
    QueuePlace,
    TorrentAction,
    TorrentDetail,
)

pytestmark = pytest.mark.anyio

TORRENTS = [make_torrent(payload_of(100_000, number), name=f"t{number}") for number in range(2)]


class Gate:
    """Holds checks back until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_reached = anyio.Event()
        self.opened = anyio.Event()
        monkeypatch.setattr("torrent_engine.engine.runs.recheck.check_pieces", self._wait)

    async def _wait(self, *arguments: Any, **named: Any) -> None:
        self.is_reached.set()
        await self.opened.wait()
        await check_pieces(*arguments, **named)


async def saved(torrents: TorrentManager, info_hash: InfoHash) -> SavedSession:
    """Return what the database has of a torrent: what a process that is killed leaves."""
    await torrents.flush()
    for record in await load_sessions(torrents.shared.store):
        if record.info_hash == info_hash and (found := read_settings(record.settings)):
            return found
    raise AssertionError("the torrent is not in the database")


class Silent:
    """A listener to what is added."""

    def added(self, session: Session, source: str, *, is_new: bool) -> None:
        pass

    def refused(self, error: Exception, source: str) -> None:
        raise error


def live(torrents: TorrentManager) -> LiveTorrents:
    return LiveTorrents(torrents, Adder(torrents, Silent()))


async def recheck(torrents: TorrentManager, info_hash: InfoHash) -> None:
    failed = await live(torrents).change(Change(TorrentAction.RECHECK, (info_hash,)))
    assert list(failed) == []


@asynccontextmanager
async def seeding(folder: Path, **limits: Any) -> AsyncIterator[tuple[TorrentManager, Session]]:
    """Run a manager with complete torrents; the second one is given back."""
    for metainfo, payload in TORRENTS:
        write_files(metainfo, payload, folder / "files")
    async with manager(folder, **limits) as torrents:
        sessions = [await torrents.add_torrent(metainfo) for metainfo, _ in TORRENTS]
        await until(lambda: State.CHECKING not in {each.state for each in sessions})
        yield torrents, sessions[1]


async def test_a_paused_torrent_stays_paused_in_the_database_while_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeding(tmp_path) as (torrents, session):
        await session.pause()
        gate = Gate(monkeypatch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recheck, torrents, session.info_hash)
            await gate.is_reached.wait()
            assert session.state is State.CHECKING
            during = await saved(torrents, session.info_hash)
            gate.opened.set()
        assert (session.state, session.paused_state) == (State.PAUSED, State.SEEDING)
        after = await saved(torrents, session.info_hash)
    assert (during.is_paused, after.is_paused, after.state) == (True, True, State.PAUSED)


async def test_a_torrent_whose_process_was_killed_in_a_check_is_paused_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeding(tmp_path) as (torrents, session):
        await session.pause()
        gate = Gate(monkeypatch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recheck, torrents, session.info_hash)
            await gate.is_reached.wait()
            await torrents.flush()
            state_dir = torrents.shared.state_dir
            copy = tmp_path / "copy" / state_dir.relative_to(tmp_path)
            copy.mkdir(parents=True)
            for file in state_dir.glob("state.db*"):
                shutil.copy(file, copy)
            gate.opened.set()
    async with manager(tmp_path / "copy") as torrents:
        again = torrents.get_session(session.info_hash)
        assert again is not None
        assert (again.state, again.is_paused_by_user) == (State.PAUSED, True)


async def test_a_torrent_that_is_resumed_while_it_is_checked_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeding(tmp_path) as (torrents, session):
        await session.pause()
        gate = Gate(monkeypatch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recheck, torrents, session.info_hash)
            await gate.is_reached.wait()
            change = Change(TorrentAction.RESUME, (session.info_hash,))
            assert list(await live(torrents).change(change)) == []
            gate.opened.set()
        assert session.state is State.SEEDING
        assert not (await saved(torrents, session.info_hash)).is_paused


async def test_a_queued_torrent_is_checked_and_stays_in_the_queue(tmp_path: Path) -> None:
    async with seeding(tmp_path, queue=QueueConfig(max_active_seeds=1)) as (torrents, _):
        await until(lambda: any(each.is_held for each in torrents.sessions))
        queued = next(each for each in torrents.sessions if each.is_held)
        (tmp_path / "files" / queued.name).write_bytes(b"\0" * 100_000)
        await recheck(torrents, queued.info_hash)
        assert queued.stats().completed_bytes == 0
        assert not queued.is_paused_by_user
        await until(lambda: sum(not each.is_held for each in torrents.sessions) == 2)
        assert queued.state is State.DOWNLOADING  # a download has room of its own


async def test_a_torrent_that_is_paused_while_it_is_checked_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeding(tmp_path) as (torrents, session):
        gate = Gate(monkeypatch)
        failed: list[Failure] = []

        async def check() -> None:
            change = Change(TorrentAction.RECHECK, (session.info_hash,))
            failed.extend(await live(torrents).change(change))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(check)
            await gate.is_reached.wait()
            await session.pause()
        assert [each.code for each in failed] == ["state_conflict"]
        gate.opened.set()


async def test_torrents_are_added_limited_and_placed(tmp_path: Path) -> None:
    (one, _), (two, _) = TORRENTS
    async with manager(tmp_path) as torrents:
        control = live(torrents)
        new = NewTorrent(one.to_bytes(), save_path=str(tmp_path / "files"), paused=True)
        added = await control.add(new)
        assert (added.info_hash, added.name, added.is_new) == (str(one.info_hash), "t0", True)
        assert not (await control.add(new)).is_new
        await control.add(NewTorrent(two.to_bytes(), position=0, upload_bytes_per_s=9_000))
        names = lambda: [each.name for each in torrents.sessions]  # noqa: E731
        assert names() == ["t1", "t0"]
        key = one.info_hash
        place = Change(TorrentAction.QUEUE, (key,), place=QueuePlace.UP)
        assert await control.change(place) == []
        assert names() == ["t0", "t1"]
        limit = Change(TorrentAction.LIMIT, (key,), download_bytes_per_s=5_000, max_peers=7)
        assert await control.change(limit) == []
        session = torrents.get_session(key)
        assert session is not None
        assert session.config.max_download_bytes_per_s == 5_000
        assert session.config.max_connections == 7
        assert session.is_paused_by_user
        files = await control.details(key, TorrentDetail.FILES)
        assert [(each["path"], each["size_bytes"]) for each in files] == [("t0", 100_000)]
        assert await control.details(key, TorrentDetail.PEERS) == []
        assert await control.details(key, TorrentDetail.TRACKERS) == []
        assert (await control.stats())["torrents"] == 2


async def test_labels_are_refused_and_paths_of_others_are_not_read(tmp_path: Path) -> None:
    async with manager(tmp_path) as torrents:
        control = live(torrents)
        with pytest.raises(ConfigError, match="kept by `torrent-engine daemon`"):
            await control.add(NewTorrent(TORRENTS[0][0].to_bytes(), labels=("a",)))
        with pytest.raises(ConfigError, match="a magnet link or a URL is needed"):
            await control.add(NewTorrent("/etc/passwd"))
        await control.add(NewTorrent(TORRENTS[0][0].to_bytes()))
        change = Change(TorrentAction.LABEL, (TORRENTS[0][0].info_hash,), labels=("a",))
        (failure,) = await control.change(change)
        assert failure.code == "state_conflict"


async def test_f1_a_torrent_that_cannot_be_saved_is_refused_and_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metainfo, _ = TORRENTS[0]
    new = NewTorrent(metainfo.to_bytes(), paused=True)

    async def full(_: TorrentManager) -> None:
        raise DiskFullError("state.db", "No space left on device")

    async with manager(tmp_path) as torrents:
        with monkeypatch.context() as patches:
            patches.setattr(TorrentManager, "flush", full)
            with pytest.raises(DiskFullError):
                await live(torrents).add(new)
        assert torrents.get_session(metainfo.info_hash) is None
        assert (await live(torrents).add(new)).is_new
        await saved(torrents, metainfo.info_hash)
