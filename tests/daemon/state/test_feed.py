"""Rows follow the engine: by events, by ticks, over restarts of the engine."""

from typing import Any

import anyio
import pytest

from tests.daemon.fake_port import FakeEngine, info_hash_of
from tests.support.swarm import until
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import AddedNotice, EngineState, FactGroup, JobFacts
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.rows import StateRow, TorrentStatus
from torrent_engine.daemon.state.store import DaemonStore

pytestmark = pytest.mark.anyio
S = EngineState


class Scene:
    """A fake engine and the state of a daemon over it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.engine = FakeEngine()
        self.state = DaemonState(
            self.engine.port,
            DaemonStore(),
            clock=lambda: self.now_s,
            wall_clock=lambda: self.engine.now_at,
            epoch="e",
        )

    def row(self, one: InfoHash) -> StateRow:
        row = self.state.torrents.get(one)
        assert row is not None
        return row

    def changed(self, since: str) -> dict[InfoHash, set[FactGroup]]:
        delta = self.state.delta(since)
        assert not delta.is_full
        return {row.info_hash: set(groups) for row, groups in delta.torrents.changed}


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_what_is_there_at_the_start_is_loaded_in_the_order_of_the_queue(
    scene: Scene,
) -> None:
    hashes = [scene.engine.put(name=name) for name in "abc"]
    await scene.state.reload()
    rows = scene.state.torrents.rows()
    assert [row.info_hash for row in rows] == hashes
    assert [row.id for row in rows] == [1, 2, 3]
    assert [row.settings.queue_position for row in rows] == [0, 1, 2]


async def test_events_bring_rows_up_to_date_without_a_tick(scene: Scene) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.state.run)
        await anyio.wait_all_tasks_blocked()
        one = scene.engine.put(name="a", total_bytes=100)
        await until(lambda: one in scene.state.torrents)
        since = scene.state.revisions.text()
        scene.engine.change(one, name="b")
        await until(lambda: scene.row(one).about.name == "b")
        assert scene.changed(since) == {one: {FactGroup.ABOUT}}
        scene.engine.take(one)
        await until(lambda: one not in scene.state.torrents)
        tasks.cancel_scope.cancel()
    assert scene.state.delta(since).torrents.removed == [one]
    assert scene.engine.listeners == []


async def test_a_look_shows_a_change_at_once(scene: Scene) -> None:
    one = scene.engine.put(name="a", total_bytes=100, state=S.DOWNLOADING)
    scene.state.look(one)
    await scene.engine.port.control.pause(one)
    scene.state.look(one)
    assert scene.row(one).status is TorrentStatus.PAUSED


async def test_a_tick_tells_numbers_of_running_torrents_only(scene: Scene) -> None:
    now_at = scene.engine.now_at
    runs = scene.engine.put(name="a", total_bytes=100, state=S.DOWNLOADING, started_at=now_at)
    rests = scene.engine.put(name="b", total_bytes=100, state=S.SEEDING, is_resting=True)
    await scene.state.reload()
    since = scene.state.revisions.text()
    for one in (runs, rests):
        scene.engine.change(one, upload_bytes_per_s=9)  # rates are not reported
    assert scene.changed(since) == {}
    await scene.state.tick()
    assert scene.changed(since) == {runs: {FactGroup.RATES}}


async def test_the_last_numbers_of_a_torrent_that_comes_to_rest_are_told(scene: Scene) -> None:
    one = scene.engine.put(name="a", total_bytes=100, state=S.SEEDING, upload_bytes_per_s=7)
    await scene.state.reload()
    await scene.state.tick()
    torrent = scene.engine.torrents[one]
    listeners = list(scene.engine.listeners)
    scene.engine.listeners.clear()  # the engine tells nobody of that
    scene.engine.change(one, is_resting=True, upload_bytes_per_s=0)
    scene.engine.listeners.extend(listeners)
    await scene.state.tick()
    assert scene.row(one).rates.upload_bytes_per_s == 0
    assert scene.row(one).progress == torrent.facts.progress


async def test_a_quiet_tick_changes_nothing(scene: Scene) -> None:
    scene.engine.put(name="a", total_bytes=100, state=S.SEEDING)
    await scene.state.reload()
    await scene.state.tick()
    number = scene.state.revisions.number
    await scene.state.tick()
    assert scene.state.revisions.number == number


async def test_a_torrent_stalls_by_the_clock(scene: Scene) -> None:
    one = scene.engine.put(
        name="a", total_bytes=100, state=S.DOWNLOADING, started_at=scene.engine.now_at
    )
    await scene.state.reload()
    assert not scene.row(one).is_stalled
    scene.engine.now_at += 60.0
    since = scene.state.revisions.text()
    await scene.state.tick()
    assert scene.row(one).is_stalled
    assert scene.changed(since) == {one: {FactGroup.PROGRESS}}


async def test_places_in_the_queue_follow_with_the_next_tick(scene: Scene) -> None:
    one, two = scene.engine.put(name="a"), scene.engine.put(name="b")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.state.run)
        await anyio.wait_all_tasks_blocked()
        await scene.state.reload()
        scene.engine.port.control.move_to(two, 0)
        await scene.state.queue_changed()
        places = [scene.row(each).settings.queue_position for each in (one, two)]
        assert places == [1, 0]
        since = scene.state.revisions.text()
        scene.engine.port.control.move_to(one, 0)
        await scene.state.tick()
        assert scene.changed(since) == {key: {FactGroup.SETTINGS} for key in (one, two)}
        tasks.cancel_scope.cancel()


async def test_rows_stay_while_the_engine_is_restarted(scene: Scene) -> None:
    one, two = scene.engine.put(name="a"), scene.engine.put(name="b")
    await scene.state.reload()
    scene.engine.is_open = False
    scene.state.look(one)
    await scene.state.tick()
    assert len(scene.state.torrents) == 2
    scene.engine.is_open = True
    scene.engine.take(two)  # the new engine does not have it
    since = scene.state.revisions.text()
    await scene.state.reload()
    assert scene.state.delta(since).torrents.removed == [two]
    assert scene.row(one).id == 1


async def test_jobs_are_told_like_torrents(scene: Scene) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.state.run)
        await anyio.wait_all_tasks_blocked()
        since = scene.state.revisions.text()
        job = JobFacts("j1", "download", "running", info_hash_of(1), "a")
        scene.engine.put_job(job)
        assert scene.state.delta(since).jobs.changed == [job]
        middle = scene.state.revisions.text()
        scene.engine.put_job(JobFacts("j1", "download", "completed"))
        assert await scene.engine.port.jobs.clear() == 1
        assert scene.state.delta(middle).jobs.removed == ["j1"]
        assert scene.state.delta(since).jobs.removed == ["j1"]  # it may have been told meanwhile
        tasks.cancel_scope.cancel()


async def test_jobs_of_earlier_processes_are_loaded_newest_first(scene: Scene) -> None:
    for number in range(3):
        scene.engine.put_job(JobFacts(f"j{number}", "add", "completed"))
    await scene.state.reload()
    assert [job.id for job in scene.state.delta(None).jobs.changed] == ["j2", "j1", "j0"]


async def test_a_client_of_another_process_loads_everything(scene: Scene) -> None:
    scene.engine.put(name="a")
    await scene.state.reload()
    delta = scene.state.delta("other.1")
    assert delta.is_full
    assert delta.torrents.is_full
    assert delta.jobs.is_full
    assert delta.revision == scene.state.revisions.text()


async def test_a_wait_ends_with_a_change_and_at_once_for_a_stranger(scene: Scene) -> None:
    assert await scene.state.wait("other.1", 60.0)
    assert not await scene.state.wait(scene.state.revisions.text(), 0.0)
    scene.engine.put(name="a")
    since = scene.state.revisions.text()
    await scene.state.reload()
    assert await scene.state.wait(since, 0.0)


async def test_recent_changes_are_those_of_a_minute(scene: Scene) -> None:
    one, two = scene.engine.put(name="a"), scene.engine.put(name="b")
    await scene.state.reload()
    scene.now_s += 61.0
    assert scene.state.recently_active() == ([], [])
    scene.engine.change(two, name="c")
    scene.state.look(two)
    scene.engine.take(one)
    scene.state.look(one)
    assert scene.state.recently_active() == ([two], [1])


async def test_totals_and_history_grow_with_ticks(scene: Scene) -> None:
    scene.engine.put(name="a", total_bytes=9, state=S.DOWNLOADING, download_bytes_per_s=100)
    for _ in range(3):
        await scene.state.tick()
        scene.now_s += 1.0
        scene.engine.now_at += 1.0
    assert [each.download_bytes_per_s for each in scene.state.history.samples(1)] == [100, 100]
    assert scene.state.totals.current.active_s == 2.0
    assert scene.state.total_facts.torrents == 1


async def test_added_torrents_are_counted_but_for_restored_ones(scene: Scene) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.state.run)
        await anyio.wait_all_tasks_blocked()
        scene.engine.report(AddedNotice(info_hash_of(7), is_restored=True))
        scene.engine.put(name="a")
        await until(lambda: len(scene.state.torrents) == 1)
        assert scene.state.totals.ever.torrents_added == 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("facts", [{"name": "b"}, {"save_path": "/x"}])
async def test_nothing_is_kept_of_shapes_of_torrents_that_went(
    scene: Scene, facts: dict[str, Any]
) -> None:
    one = scene.engine.put(name="a")
    await scene.state.reload()
    shape = scene.state.shapes.get("names", lambda row: row.name.encode())
    assert await shape.many(scene.state.torrents) == [b"a"]
    scene.engine.change(one, **facts)
    scene.state.look(one)
    assert shape.one(scene.row(one)) == facts.get("name", "a").encode()
    scene.engine.take(one)
    scene.state.look(one)
    assert scene.state.shapes.kept_bytes == 0
