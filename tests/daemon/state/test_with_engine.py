"""The state of a daemon over a real engine: adds, changes, rest, removal, restarts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.support.managers import manager_config
from tests.support.swarm import until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.daemon.engine_port.manager_port import ManagerPort
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.rows import StateRow, TorrentStatus
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.service.add_options import AddOptions

pytestmark = pytest.mark.anyio

TORRENTS = [
    make_torrent(payload_of(50_000, number), name=f"t{number}", tiers=[["http://127.0.0.1:1/a"]])
    for number in range(2)
]
ONE, TWO = (metainfo.info_hash for metainfo, _ in TORRENTS)


@asynccontextmanager
async def running(state: DaemonState) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(state.run)
        await anyio.wait_all_tasks_blocked()
        yield
        tasks.cancel_scope.cancel()


def row(state: DaemonState, one: InfoHash) -> StateRow:
    found = state.torrents.get(one)
    assert found is not None
    return found


async def test_rows_follow_a_torrent_from_its_start_to_its_removal(tmp_path: Path) -> None:
    ports = ManagerPort()
    state = DaemonState(ports.port, DaemonStore())
    metainfo, payload = TORRENTS[0]
    write_files(metainfo, payload, tmp_path / "files")
    async with running(state), ports.open(manager_config(tmp_path)) as port:
        since = state.revisions.text()
        await port.engine.add(metainfo, AddOptions(category="films"))
        await until(lambda: ONE in state.torrents)
        await until(lambda: row(state, ONE).status is TorrentStatus.SEEDING)
        await until(lambda: row(state, ONE).progress.is_resting)
        told = row(state, ONE)
        assert (told.name, told.user.category, told.fraction) == ("t0", "films", 1.0)
        assert told.about.piece_count == metainfo.piece_count
        await port.control.pause(ONE)
        state.look(ONE)
        assert row(state, ONE).status is TorrentStatus.PAUSED
        assert [job.kind for job in state.jobs] != []
        await port.control.remove(ONE)
        await until(lambda: ONE not in state.torrents)
        assert state.delta(since).torrents.changed == []
        assert state.delta(since).torrents.removed == []  # that client never had it


async def test_a_list_of_torrents_at_rest_reads_no_metainfo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = ManagerPort()
    state = DaemonState(ports.port, DaemonStore())
    async with ports.open(manager_config(tmp_path)) as port:
        for metainfo, payload in TORRENTS:
            write_files(metainfo, payload, tmp_path / "files")
            await port.engine.add(metainfo, AddOptions())
        await port.engine.flush()
        hashes = list(port.torrents.hashes())
        await until(lambda: all(port.torrents.live(each)[0].is_resting for each in hashes))

        def refuse(*_: object, **__: object) -> Metainfo:
            raise AssertionError("the metainfo was read")

        monkeypatch.setattr(Metainfo, "from_bytes", refuse)
        await state.reload()
        assert [each.name for each in state.torrents.rows()] == ["t0", "t1"]
        assert {each.about.file_count for each in state.torrents} == {1}
        assert {each.settings.trackers for each in state.torrents} == {(("http://127.0.0.1:1/a",),)}


async def test_ids_and_texts_outlive_a_restart_of_the_engine(tmp_path: Path) -> None:
    ports = ManagerPort()
    state = DaemonState(ports.port, DaemonStore())
    async with running(state):
        async with ports.open(manager_config(tmp_path)) as port:
            for metainfo, _ in TORRENTS:
                await port.engine.add(metainfo, AddOptions(paused=True))
            await state.reload()
            state.labels.set_labels(TWO, ["kept"])
            await port.control.remove(ONE)
            await port.engine.flush()
            await until(lambda: ONE not in state.torrents)
        assert row(state, TWO).id == 2
        async with ports.open(manager_config(tmp_path)):
            await state.reload()
            assert row(state, TWO).id == 2
            assert row(state, TWO).user.labels == ("kept",)
            assert row(state, TWO).status is TorrentStatus.PAUSED
            assert state.totals.ever.torrents_added == 2


async def test_sources_of_jobs_that_are_gone_are_forgotten_at_the_start(tmp_path: Path) -> None:
    ports, store = ManagerPort(), DaemonStore()
    state, sources = DaemonState(ports.port, store), store.table("job_sources")
    async with ports.open(manager_config(tmp_path)) as port:
        kept = port.jobs.begin("add", "http://127.0.0.1/a.torrent")
        port.jobs.finish(kept, "failed", error="refused")
        for job_id in (kept, "gone"):
            sources.put(job_id, {"source": "http://127.0.0.1/a.torrent"})
        await state.reload()
        assert [job_id for job_id, _ in sources.items()] == [kept]
    async with ports.open(manager_config(tmp_path)) as port:
        await state.reload()
        assert kept in state.jobs
        assert [job_id for job_id, _ in sources.items()] == [kept]
