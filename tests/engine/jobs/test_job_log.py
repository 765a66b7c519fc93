"""The log of jobs: written soon and together, and what a dead process left behind is found."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from threading import Event
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.disk.helpers import CONFIG
from tests.disk.row_damage import flip_a_field
from tests.support.clock import ManualClock
from tests.support.swarm import until
from torrent_engine.base.config import JobConfig
from torrent_engine.base.errors import DiskFullError, StateDatabaseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.jobs.job_log import (
    INTERRUPTED,
    Job,
    JobFilter,
    JobKind,
    JobLog,
    JobStatus,
)

pytestmark = pytest.mark.anyio

HASH = InfoHash(b"h" * 20)
DAY_S = 86_400.0


@asynccontextmanager
async def log_in(
    folder: Path, clock: ManualClock | None = None, config: JobConfig | None = None
) -> AsyncIterator[JobLog]:
    async with await StateStore.open(folder, config=CONFIG) as store:
        log = await JobLog.open(store, config, wall_clock=clock or ManualClock())
        try:
            yield log
        finally:
            await log.close()


async def only(log: JobLog) -> Job:
    (job,) = await log.list()
    return job


async def test_a_job_from_its_begin_to_its_end(tmp_path: Path) -> None:
    clock = ManualClock(50_000.0)
    async with log_in(tmp_path, clock) as log:
        job_id = log.begin("download", info_hash=HASH, name="n", total_bytes=100)
        begun = await log.get(job_id)
        assert begun == Job(
            job_id,
            JobKind.DOWNLOAD,
            HASH,
            "n",
            JobStatus.RUNNING,
            50_000.0,
            50_000.0,
            None,
            0.0,
            100,
        )
        clock.advance(5)
        log.update(job_id, done_bytes=25, total_bytes=100)
        log.pause(job_id, reason="checking")
        paused = await log.get(job_id)
        assert paused is not None
        assert (paused.status, paused.reason, paused.progress) == ("paused", "checking", 0.25)
        log.resume(job_id)
        log.finish(job_id, "failed", error="disk full")
        failed = await log.get(job_id)
        assert failed is not None
        assert (failed.status, failed.error, failed.completed_s) == (
            "failed",
            "disk full",
            50_005.0,
        )
        log.resume(job_id)
        log.finish(job_id)
    async with log_in(tmp_path, clock) as log:
        done = await only(log)
        assert (done.status, done.progress, done.error) == (JobStatus.COMPLETED, 1.0, None)
        assert done.is_finished
        assert await log.get(job_id[:8]) is None


@pytest.mark.parametrize(
    ("arguments", "message"), [(("dig", "running"), "dig"), (("seed", "lost"), "lost")]
)
async def test_an_unknown_kind_or_status_is_a_mistake(
    tmp_path: Path, arguments: tuple[str, str], message: str
) -> None:
    async with log_in(tmp_path) as log:
        with pytest.raises(ValueError, match=message):
            log.begin(arguments[0], name="n", status=arguments[1])
        with pytest.raises(ValueError, match="not the end"):
            log.finish(log.begin("seed", name="n"), "running")
        assert len(await log.list()) == 1


async def test_what_is_recorded_ends_with_its_block(tmp_path: Path) -> None:
    async with log_in(tmp_path) as log:
        with log.recorded("move", info_hash=HASH, name="good"):
            pass
        with pytest.raises(OSError, match="gone"), log.recorded("move", name="bad"):
            raise OSError("gone")
        with anyio.CancelScope() as scope, log.recorded("move", name="cut"):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
        found = {job.name: (job.status, job.error) for job in await log.list()}
    assert found == {
        "good": ("completed", None),
        "bad": ("failed", "gone"),
        "cut": ("cancelled", None),
    }


# -- writing --------------------------------------------------------------------------------------


class CountingStore:
    """A store that counts its transactions, and fails when told to."""

    def __init__(self, store: StateStore) -> None:
        self.folder = store.folder
        self.transactions = 0
        self.fails = False
        self.written = anyio.Event()
        self._store = store

    async def run(self, work: Any, *, is_precious: bool = False) -> Any:
        if self.fails:
            raise StateDatabaseError("no luck")
        self.transactions += 1
        result = await self._store.run(work, is_precious=is_precious)
        self.written.set()
        return result


@asynccontextmanager
async def counted(folder: Path, config: JobConfig) -> AsyncIterator[tuple[JobLog, CountingStore]]:
    async with await StateStore.open(folder, config=CONFIG) as store:
        counting = CountingStore(store)
        log = await JobLog.open(counting, config)  # type: ignore[arg-type]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.run)
            counting.transactions = 0
            yield log, counting
            tasks.cancel_scope.cancel()
        await log.close()


async def test_many_changes_are_few_transactions(tmp_path: Path) -> None:
    config = JobConfig(write_interval_s=0.05, clean_interval_s=1e9)
    async with counted(tmp_path, config) as (log, store):
        started = anyio.current_time()
        while (passed := anyio.current_time() - started) < 0.5:
            log.update(log.begin("seed", name="n"), done_bytes=1, total_bytes=2)
            await anyio.lowlevel.checkpoint()
        assert 1 <= store.transactions <= passed / 0.05 + 2  # and one that cleans


async def test_without_changes_nothing_is_written(tmp_path: Path) -> None:
    config = JobConfig(write_interval_s=0.001, clean_interval_s=1e12)
    async with counted(tmp_path, config) as (log, store):
        log.begin("seed", name="n")
        store.written = anyio.Event()
        with anyio.fail_after(30):
            await store.written.wait()
        await anyio.sleep(0.1)
        assert store.transactions <= 2
        assert not log._changes


async def test_who_asks_for_jobs_while_nothing_changes_delays_no_later_change(
    tmp_path: Path,
) -> None:
    config = JobConfig(write_interval_s=0.001, clean_interval_s=1e12)
    async with counted(tmp_path, config) as (log, store):
        await anyio.wait_all_tasks_blocked()
        assert await log.list() == []
        store.written = anyio.Event()
        log.begin("seed", name="n")
        with anyio.fail_after(30):
            await store.written.wait()
        assert not log._changes


async def test_a_change_never_comes_before_what_it_changes(tmp_path: Path) -> None:
    gate, asking = Event(), anyio.CancelScope()

    async def ask(log: JobLog) -> None:
        with asking:
            await log.list()

    async with log_in(tmp_path) as log, anyio.create_task_group() as tasks:
        tasks.start_soon(log._store.run, lambda _db: gate.wait(10))
        await anyio.wait_all_tasks_blocked()
        job_id = log.begin("seed", name="n")
        tasks.start_soon(ask, log)  # takes the job to the database, and waits for that
        await anyio.wait_all_tasks_blocked()
        log.finish(job_id)
        tasks.start_soon(log.flush)
        await anyio.wait_all_tasks_blocked()
        asking.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.set()
        assert (await only(log)).status is JobStatus.COMPLETED


async def test_a_database_that_fails_is_tried_again_and_nothing_is_lost(tmp_path: Path) -> None:
    config = JobConfig(write_interval_s=0.001, retry_interval_s=0.01)
    async with counted(tmp_path, config) as (log, store):
        store.fails = True
        job_id = log.begin("download", name="n", total_bytes=10)
        with pytest.raises(StateDatabaseError):
            await log.flush()
        log.update(job_id, done_bytes=5, total_bytes=10)
        await anyio.sleep(0.05)
        store.fails, store.written = False, anyio.Event()
        with anyio.fail_after(30):
            await store.written.wait()
        assert (await only(log)).done_bytes == 5


async def test_a_log_that_cannot_write_at_its_end_says_so_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with await StateStore.open(tmp_path, config=CONFIG) as store:
        log = await JobLog.open(store)
        log.begin("seed", name="n")
    await log.close()
    assert "1 jobs were not written" in caplog.text


async def test_what_cannot_be_written_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torrent_engine.engine.jobs.job_log.MAX_UNWRITTEN", 10)
    async with log_in(tmp_path) as log:
        for number in range(25):
            log.begin("seed", name=str(number))
        assert sorted(int(job.name) for job in await log.list()) == list(range(15, 25))


# -- cleaning and clearing ------------------------------------------------------------------------


async def test_finished_jobs_are_kept_for_a_day(tmp_path: Path) -> None:
    clock = ManualClock(1_000_000.0)
    async with log_in(tmp_path, clock) as log:
        log.finish(log.begin("add", name="old"))
        clock.advance(DAY_S / 2)
        log.finish(log.begin("add", name="new"), JobStatus.CANCELLED)
        paused = log.begin("download", info_hash=HASH, name="paused")
        log.pause(paused)
    clock.advance(DAY_S / 2 + 1)
    async with log_in(tmp_path, clock) as log:
        assert {job.name for job in await log.list()} == {"new", "paused"}
        clock.advance(31 * DAY_S)
    async with log_in(tmp_path, clock) as log:
        assert await log.list() == []


async def test_a_long_run_cleans_too_but_not_what_is_only_paused(tmp_path: Path) -> None:
    clock = ManualClock(1_000_000.0)
    config = JobConfig(clean_interval_s=0.01, write_interval_s=0.001)
    async with log_in(tmp_path, clock, config) as log, anyio.create_task_group() as tasks:
        log.finish(log.begin("add", name="old"))
        log.pause(log.begin("download", name="paused"))
        await log.flush()
        clock.advance(40 * DAY_S)
        tasks.start_soon(log.run)
        await until(lambda: log._cleaned_s == clock.now)
        assert (await only(log)).name == "paused"  # this process may go on with it
        tasks.cancel_scope.cancel()


async def test_clearing_forgets_finished_jobs_that_pass(tmp_path: Path) -> None:
    async with log_in(tmp_path) as log:
        done = log.begin("add", name="done")
        log.finish(done)
        log.finish(log.begin("seed", name="failed"), "failed", error="x")
        running = log.begin("download", name="running")
        failed = JobFilter(statuses=frozenset({JobStatus.FAILED}))
        assert await log.clear(failed) == 1
        assert await log.clear(ids={running}) == 0  # somebody works on it
        assert await log.clear(ids={done, "unknown"}) == 1
        assert await log.clear() == 0
        assert (await only(log)).name == "running"


async def test_what_nobody_works_on_can_be_cleared_by_its_id(tmp_path: Path) -> None:
    async with log_in(tmp_path) as log:
        paused = log.begin("download", name="paused")
        log.pause(paused)
    async with log_in(tmp_path) as log:
        assert await log.clear() == 0
        assert await log.clear(ids={paused}) == 1


# -- processes ------------------------------------------------------------------------------------


async def test_what_was_running_at_a_clean_end_is_interrupted_and_can_go_on(tmp_path: Path) -> None:
    async with log_in(tmp_path) as log:
        job_id = log.begin("download", info_hash=HASH, name="n")
    assert list((tmp_path / "locks").glob("jobs-*")) == []
    async with log_in(tmp_path) as log:
        assert [job.id for job in log.take_resumable()] == [job_id]
        job = await only(log)
        assert (job.status, job.error) == (JobStatus.FAILED, INTERRUPTED)
        log.resume(job_id)
        job = await only(log)
        assert (job.status, job.error, job.completed_s) == (JobStatus.RUNNING, None, None)


async def test_jobs_of_a_living_process_are_left_alone(tmp_path: Path) -> None:
    async with log_in(tmp_path) as log:
        log.begin("download", info_hash=HASH, name="n")
        await log.flush()
        async with log_in(tmp_path) as other:
            assert other.take_resumable() == []
            assert (await only(other)).status is JobStatus.RUNNING
            await other.close()
            assert (await only(log)).status is JobStatus.RUNNING


KILLED_PROGRAM = """
import sys, anyio
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.jobs.job_log import JobLog
async def main():
    async with await StateStore.open(sys.argv[1]) as store:
        log = await JobLog.open(store)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(log.run)
            for number in range(50):
                job = log.begin("download", info_hash=InfoHash(bytes([number]) * 20), name="n")
                log.update(job, done_bytes=number, total_bytes=100)
            await log.flush()
            print("written", flush=True)
            while True:
                log.update(job, done_bytes=60, total_bytes=100)
                log.finish(log.begin("add", name="n"))
                await anyio.sleep(0.0005)
anyio.run(main)
"""


def started(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", KILLED_PROGRAM, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_f2_a_killed_process_leaves_its_jobs_to_the_next(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "written"
            async with log_in(tmp_path) as log:  # it lives: nothing is taken from it
                assert log.take_resumable() == []
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
    async with log_in(tmp_path) as log:
        assert len(log.take_resumable()) == 50
        assert log.take_resumable() == []
        downloads = await log.list(JobFilter(kinds=frozenset({JobKind.DOWNLOAD})))
        assert {job.status for job in downloads} == {JobStatus.FAILED}
        assert {job.error for job in downloads} == {INTERRUPTED}
        adds = await log.list(JobFilter(kinds=frozenset({JobKind.ADD})))
        assert {job.status for job in adds} <= {JobStatus.COMPLETED}
    assert list((tmp_path / "locks").glob("jobs-*")) == []


# -- F6 -------------------------------------------------------------------------------------------


async def test_f6_damaged_jobs_never_stop_a_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("ERROR")
    random = Random(4)
    async with log_in(tmp_path) as log:
        for number in range(300):
            log.begin("download", info_hash=InfoHash(random.randbytes(20)), name=str(number))
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        damaged = {flip_a_field(database, "jobs", random) for _ in range(60)}
        database.commit()
    async with log_in(tmp_path) as log:
        assert len(await log.list()) == 300 - len(damaged)
        resumable = log.take_resumable()
        assert len(resumable) >= 300 - len(damaged)
        for one in resumable:
            log.resume(one.id)
        running = await log.list(JobFilter(statuses=frozenset({JobStatus.RUNNING})))
        assert len(running) == 300 - len(damaged)


async def test_f6_a_table_of_jobs_that_is_gone_stops_no_start(tmp_path: Path) -> None:
    async with log_in(tmp_path) as log:
        log.begin("seed", name="n")
    with closing(sqlite3.connect(tmp_path / "state.db")) as database:
        database.execute("DROP TABLE jobs")
        database.commit()
    async with log_in(tmp_path) as log:
        log.begin("seed", name="new")
        names = {job.name for job in await log.list()}
    assert "new" in names


async def test_f1_jobs_are_listed_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with log_in(tmp_path) as log:
        first = log.begin(JobKind.ADD, info_hash=HASH, name="first")
        assert [job.id for job in await log.list()] == [first]
        with monkeypatch.context() as full:

            def fail(*_: object) -> None:
                raise DiskFullError(tmp_path / "state.db", "database or disk is full")

            full.setattr(log, "_write", fail)
            second = log.begin(JobKind.ADD, info_hash=HASH, name="second")
            assert [job.id for job in await log.list()] == [first]
        assert {job.id for job in await log.list()} == {first, second}
