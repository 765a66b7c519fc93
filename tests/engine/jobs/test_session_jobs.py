"""Jobs out of the states of Sessions: which begin and end when, and that they outlive a process."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import anyio
import anyio.to_thread
import pytest

from tests.disk.helpers import CONFIG
from tests.support.clock import ManualClock
from tests.support.managers import manager
from tests.support.swarm import content, download, reach, resources, seed, until
from tests.support.torrents import make_torrent, payload_of, write_files
from torrent_engine.base.config import JobConfig, SessionConfig
from torrent_engine.base.errors import SessionError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.jobs.job_log import INTERRUPTED, Job, JobFilter, JobKind, JobLog
from torrent_engine.engine.jobs.session_jobs import SessionJobs, WorkDone
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import TRANSITIONS, Signal, State, StateMachine

pytestmark = pytest.mark.anyio

HASH = InfoHash(b"h" * 20)
START = WorkDone(size_bytes=100, wanted_bytes=100)
METAINFO, PAYLOAD = make_torrent(payload_of(300_000), piece_bytes=32 * 1024)


@dataclass
class FakeSession:
    """What SessionJobs asks of a Session, and its state machine."""

    jobs: SessionJobs
    info_hash: InfoHash = HASH
    name: str = "n"
    config: SessionConfig = field(default_factory=SessionConfig)
    error: TorrentEngineError | None = None
    stop_reason: str = "stopped"
    is_held: bool = False
    is_resting: bool = False
    done: WorkDone = START

    def __post_init__(self) -> None:
        self.machine = StateMachine(lambda old, new: self.jobs.moved(self, old, new))

    @property
    def state(self) -> State:
        return self.machine.state

    def work_done(self) -> WorkDone:
        return self.done

    def fire(self, *signals: Signal) -> None:
        for signal in signals:
            if signal is Signal.FAIL:
                self.error = SessionError("broken")
            self.machine.fire(signal)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[JobLog, SessionJobs]]:
    async with await StateStore.open(folder, config=CONFIG) as store:
        log = await JobLog.open(store, wall_clock=ManualClock())
        jobs = SessionJobs()
        jobs.attach(log)
        yield log, jobs
        jobs.detach()
        await log.close()


async def told(log: JobLog) -> list[tuple[str, str, str | None]]:
    """Return kind, status and reason or error of each job, the oldest first."""
    return [(job.kind, job.status, job.error or job.reason) for job in (await log.list())[::-1]]


S = Signal
LIVES: dict[str, tuple[list[Signal], list[tuple[str, str, str | None]]]] = {
    "nothing to hash is no check": ([S.START], []),
    "download": ([S.START, S.CHECK_DONE_INCOMPLETE], [("download", "running", None)]),
    "download and seed": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.ALL_PIECES_PRESENT],
        [("download", "completed", None), ("seed", "running", None)],
    ),
    "seed": ([S.START, S.CHECK_DONE_COMPLETE], [("seed", "running", None)]),
    "metadata first": (
        [S.METADATA_NEEDED, S.METADATA_RECEIVED, S.CHECK_DONE_INCOMPLETE],
        [("add", "completed", None), ("download", "running", None)],
    ),
    "metadata is sought": ([S.METADATA_NEEDED], [("add", "running", None)]),
    "paused": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.PAUSE],
        [("download", "paused", None)],
    ),
    "paused and resumed": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.PAUSE, S.RESUME],
        [("download", "running", None)],
    ),
    "completed while paused": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.PAUSE, S.ALL_PIECES_PRESENT, S.RESUME],
        [("download", "completed", None), ("seed", "running", None)],
    ),
    "paused from the start": ([S.START, S.PAUSE], []),
    "checked while paused": (
        [S.START, S.PAUSE, S.CHECK_DONE_COMPLETE, S.RESUME],
        [("seed", "running", None)],
    ),
    "recheck of a download": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.RECHECK],
        [("download", "paused", "checking"), ("check", "running", None)],
    ),
    "recheck finds all": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.RECHECK, S.CHECK_DONE_COMPLETE],
        [("download", "completed", None), ("check", "completed", None), ("seed", "running", None)],
    ),
    "recheck of a seed finds damage": (
        [S.START, S.CHECK_DONE_COMPLETE, S.RECHECK, S.CHECK_DONE_INCOMPLETE],
        [("seed", "completed", None), ("check", "completed", None), ("download", "running", None)],
    ),
    "recheck is paused": (
        [S.START, S.CHECK_DONE_COMPLETE, S.RECHECK, S.PAUSE],
        [("seed", "paused", None), ("check", "paused", None)],
    ),
    "recheck goes on": (
        [S.START, S.CHECK_DONE_COMPLETE, S.RECHECK, S.PAUSE, S.RESUME, S.CHECK_DONE_COMPLETE],
        [("seed", "running", None), ("check", "completed", None)],
    ),
    "recheck is stopped": (
        [S.START, S.CHECK_DONE_COMPLETE, S.RECHECK, S.STOP],
        [("seed", "paused", "stopped"), ("check", "cancelled", "stopped")],
    ),
    "failed": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.FAIL],
        [("download", "failed", "broken")],
    ),
    "failed at the check": ([S.START, S.FAIL], [("check", "failed", "broken")]),
    "goes on after a fault": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.FAIL, S.RESUME],
        [("download", "running", None)],
    ),
    "starts again after a fault": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.FAIL, S.START, S.CHECK_DONE_INCOMPLETE],
        [("download", "running", None)],
    ),
    "stopped": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.STOP],
        [("download", "paused", "stopped")],
    ),
    "stopped and started": (
        [S.START, S.CHECK_DONE_INCOMPLETE, S.STOP, S.START, S.CHECK_DONE_INCOMPLETE],
        [("download", "running", None)],
    ),
}


@pytest.mark.parametrize(("signals", "expected"), LIVES.values(), ids=LIVES.keys())
async def test_the_jobs_of_a_life(
    tmp_path: Path, signals: list[Signal], expected: list[tuple[str, str, str | None]]
) -> None:
    async with opened(tmp_path) as (log, jobs):
        FakeSession(jobs).fire(*signals)
        assert await told(log) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stopped", ("seed", "paused", "stopped")),
        ("ratio", ("seed", "completed", "ratio")),
        ("cancelled", ("seed", "cancelled", "cancelled")),
        ("owner_changed", ("seed", "cancelled", "owner_changed")),
    ],
)
async def test_why_a_run_ended_decides_what_becomes_of_its_job(
    tmp_path: Path, reason: str, expected: tuple[str, str, str]
) -> None:
    async with opened(tmp_path) as (log, jobs):
        session = FakeSession(jobs, stop_reason=reason)
        session.fire(S.START, S.CHECK_DONE_COMPLETE, S.STOP)
        assert await told(log) == [expected]


async def test_who_waits_for_the_queue_is_pending(tmp_path: Path) -> None:
    async with opened(tmp_path) as (log, jobs):
        session = FakeSession(jobs, is_held=True)
        session.fire(S.START, S.CHECK_DONE_INCOMPLETE, S.PAUSE)
        assert await told(log) == [("download", "pending", None)]


async def test_what_ends_at_once_is_no_job(tmp_path: Path) -> None:
    async with opened(tmp_path) as (log, jobs):
        brief = FakeSession(jobs, config=SessionConfig(seed_time_s=0.0), stop_reason="time")
        brief.fire(S.START, S.CHECK_DONE_INCOMPLETE, S.ALL_PIECES_PRESENT, S.STOP)
        checks = SessionConfig(check_only=True)
        checker = FakeSession(jobs, InfoHash(b"c" * 20), config=checks, stop_reason="checked")
        checker.done = replace(START, pieces_to_check=4, checked_pieces=4)
        checker.fire(S.START, S.CHECK_DONE_INCOMPLETE, S.STOP)
        assert await told(log) == [("download", "completed", None), ("check", "completed", None)]


async def test_a_start_that_hashes_is_a_check(tmp_path: Path) -> None:
    async with opened(tmp_path) as (log, jobs):
        session = FakeSession(jobs)
        session.fire(S.START)
        session.done = replace(START, pieces_to_check=4, checked_pieces=1)
        jobs.look()
        (check,) = await log.list()
        assert (check.kind, check.status, check.progress, check.done_bytes) == (
            "check",
            "running",
            0.25,
            25,
        )
        session.fire(S.CHECK_DONE_INCOMPLETE)
        assert await told(log) == [("check", "completed", None), ("download", "running", None)]


async def test_progress_is_looked_at_while_something_is_under_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as (log, jobs):
        session = FakeSession(jobs)
        session.fire(S.START, S.CHECK_DONE_INCOMPLETE)
        session.done = replace(START, completed_bytes=40)
        jobs.look()
        (job,) = await log.list()
        assert (job.progress, job.done_bytes, job.total_bytes) == (0.4, 40, 100)
        jobs.look()
        assert not log._changes  # nothing new, nothing to write
        session.is_resting = True
        session.done = replace(START, completed_bytes=41)
        jobs.look()
        assert not log._changes  # it rests
        assert not jobs._seen
        session.is_resting = False
        session.done = replace(START, completed_bytes=100, uploaded_bytes=30)
        session.fire(S.ALL_PIECES_PRESENT)
        assert not jobs._active  # a seed costs nothing
        session.fire(S.PAUSE)
        seeding, downloading = await log.list()
        assert (downloading.done_bytes, downloading.progress) == (100, 1.0)
        assert (seeding.done_bytes, seeding.total_bytes, seeding.progress) == (30, 100, 1.0)


async def test_an_added_torrent_is_a_job_that_is_done_and_a_removed_one_has_none_to_go_on(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (log, jobs):
        session = FakeSession(jobs)
        jobs.added(METAINFO)
        jobs.added(Magnet(HASH))
        session.fire(S.START, S.CHECK_DONE_INCOMPLETE, S.STOP)
        jobs.removed(HASH)
        jobs.removed(HASH)
        assert await told(log) == [("add", "completed", None), ("download", "cancelled", "removed")]
        (added,) = await log.list(JobFilter(kinds=frozenset({JobKind.ADD})))
        assert (added.info_hash, added.total_bytes) == (METAINFO.info_hash, len(PAYLOAD))
        assert not jobs._works


async def test_without_a_log_nothing_is_recorded(tmp_path: Path) -> None:
    jobs = SessionJobs()
    session = FakeSession(jobs)
    jobs.added(METAINFO)
    session.fire(S.START, S.CHECK_DONE_COMPLETE, S.STOP)
    jobs.removed(HASH)
    jobs.look()
    assert not jobs._works
    assert not jobs._active


@pytest.mark.parametrize("seed_number", range(8))
async def test_whatever_happens_a_torrent_has_one_unfinished_job_of_its_work(
    tmp_path: Path, seed_number: int
) -> None:
    random = Random(seed_number)
    async with opened(tmp_path) as (log, jobs):
        session = FakeSession(jobs)
        for _ in range(400):
            session.stop_reason = random.choice(["stopped", "ratio", "cancelled"])
            session.is_held = random.random() < 0.3
            session.done = replace(START, pieces_to_check=random.choice([0, 0, 4]))
            can = [signal for signal in Signal if session.machine.can(signal)]
            session.fire(random.choice(can))
            if random.random() < 0.2:
                jobs.look()
        found = await log.list()
        open_work = [job for job in found if not job.is_finished and job.kind is not JobKind.CHECK]
        running = [job for job in found if job.status == "running"]
        assert len(open_work) <= 1
        assert len(running) <= 1
        if session.state in {State.DOWNLOADING, State.SEEDING}:
            assert {job.kind for job in running} == {session.state.value.removesuffix("ing")}
        if session.state is State.STOPPED:
            assert not running
    assert len({signal for _, signal in TRANSITIONS}) == len(Signal)


# -- the next process -----------------------------------------------------------------------------


async def test_interrupted_jobs_go_on_with_their_ids(tmp_path: Path) -> None:
    other = InfoHash(b"o" * 20)
    async with opened(tmp_path) as (log, jobs):
        FakeSession(jobs).fire(S.START, S.CHECK_DONE_INCOMPLETE)
        FakeSession(jobs, other).fire(S.START, S.CHECK_DONE_COMPLETE, S.RECHECK)
        before = {job.kind: job.id for job in await log.list()}
    async with opened(tmp_path) as (log, jobs):
        assert {job.error for job in await log.list(JobFilter(info_hash=HASH))} == {INTERRUPTED}
        FakeSession(jobs).fire(S.START, S.CHECK_DONE_INCOMPLETE)
        again = FakeSession(jobs, other)
        again.done = replace(START, pieces_to_check=4)
        again.fire(S.START)
        jobs.look()
        found = {job.kind: job for job in await log.list()}
        assert {kind: job.id for kind, job in found.items()} == before
        assert (found[JobKind.CHECK].status, found[JobKind.DOWNLOAD].status) == ("running",) * 2
        again.fire(S.CHECK_DONE_COMPLETE)
        seeding = await log.get(before[JobKind.SEED])
        assert seeding is not None
        assert (seeding.status, seeding.error, seeding.reason) == ("running", None, None)


async def test_a_download_that_was_complete_when_its_process_died_is_completed(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (log, jobs):
        FakeSession(jobs).fire(S.START, S.CHECK_DONE_INCOMPLETE)
    async with opened(tmp_path) as (log, jobs):
        FakeSession(jobs).fire(S.START, S.CHECK_DONE_COMPLETE)
        assert await told(log) == [("download", "completed", None), ("seed", "running", None)]


# -- real Sessions --------------------------------------------------------------------------------


async def jobs_in(folder: Path) -> list[Job]:
    async with await StateStore.open(folder / "state", config=CONFIG) as store:
        log = await JobLog.open(store)
        try:
            return (await log.list())[::-1]
        finally:
            await log.close()


async def test_a_real_download_leaves_one_completed_job(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        await download(shared, METAINFO, tmp_path / "out", address)
    (job,) = await jobs_in(tmp_path / "leech")
    assert (job.kind, job.status, job.info_hash) == ("download", "completed", METAINFO.info_hash)
    assert (job.name, job.total_bytes, job.done_bytes) == (
        METAINFO.name,
        len(PAYLOAD),
        len(PAYLOAD),
    )
    assert job.completed_s is not None
    checked, seeded = await jobs_in(tmp_path / "seed")
    assert (checked.kind, checked.status, checked.done_bytes) == (
        "check",
        "completed",
        len(PAYLOAD),
    )
    assert (seeded.kind, seeded.status, seeded.reason) == ("seed", "paused", "stopped")
    assert seeded.done_bytes == len(PAYLOAD)


async def test_progress_of_a_real_download_is_seen_while_it_runs(tmp_path: Path) -> None:
    jobs = JobConfig(progress_interval_s=0.01, write_interval_s=0.01)
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech", jobs=jobs) as shared,
    ):
        config = SessionConfig(peers=(address,), max_download_bytes_per_s=150_000)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: session.stats().pieces_have)
            found: list[Job] = []
            with anyio.fail_after(30):
                while not found or not found[0].done_bytes:
                    found = await shared.jobs.list()
                    await anyio.sleep(0.01)
            assert found[0].status == "running"
            await session.pause()
            assert [job.status for job in await shared.jobs.list()] == ["paused"]
            await session.cancel()
            (job,) = await shared.jobs.list()
            assert (job.status, job.reason) == ("cancelled", "cancelled")


async def test_the_metadata_of_a_link_is_an_add_job(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address),
        resources(tmp_path / "leech") as shared,
    ):
        config = SessionConfig(peers=(address,))
        magnet = Magnet(METAINFO.info_hash, name="link")
        session = await Session.create(magnet, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await reach(session, State.SEEDING)
            found = (await shared.jobs.list())[::-1]
    assert [(job.kind, job.status, job.name) for job in found] == [
        ("add", "completed", "link"),
        ("download", "completed", METAINFO.name),
        ("seed", "running", METAINFO.name),
    ]


async def test_a_torrent_that_is_forgotten_while_stopped_leaves_nothing_to_go_on_with(
    tmp_path: Path,
) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.DOWNLOADING)
            await session.stop()
            assert [job.status for job in await shared.jobs.list()] == ["paused"]
            await session.cancel()
            assert [job.status for job in await shared.jobs.list()] == ["cancelled"]


async def test_the_jobs_of_a_manager_go_on_after_a_restart(tmp_path: Path) -> None:
    other, _ = make_torrent(payload_of(100_000, 1), name="other")
    async with manager(tmp_path) as many:
        session = await many.add_torrent(METAINFO)
        await many.add_torrent(other)
        await reach(session, State.DOWNLOADING)
        before = {job.id: job.kind for job in await many.jobs.list()}
    assert sorted(before.values()) == ["add", "add", "download", "download"]
    async with manager(tmp_path) as many:
        again = many.get_session(METAINFO.info_hash)
        assert again is not None
        await reach(again, State.DOWNLOADING)
        await until(lambda: all(each.state is State.DOWNLOADING for each in many.sessions))
        found = await many.jobs.list(JobFilter(kinds=frozenset({JobKind.DOWNLOAD})))
        assert {job.id: job.status for job in found} == {
            job_id: "running" for job_id, kind in before.items() if kind == "download"
        }
        await many.remove_torrent(METAINFO.info_hash)
        ours = JobFilter(info_hash=METAINFO.info_hash, kinds=frozenset({JobKind.DOWNLOAD}))
        assert [(job.status, job.reason) for job in await many.jobs.list(ours)] == [
            ("cancelled", "cancelled")
        ]


async def test_a_fault_of_a_real_torrent_is_in_its_job(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file where the folder should be")
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            with pytest.raises(TorrentEngineError):
                await reach(session, State.DOWNLOADING)
            (job,) = await shared.jobs.list()
    assert (job.kind, job.status) == ("check", "failed")
    assert str(tmp_path / "out") in (job.error or "")


CHILD = """
import json, sys, anyio
from pathlib import Path
from tests.support.swarm import resources
from torrent_engine.base.config import JobConfig, SessionConfig
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
async def main(folder, host, port, rate):
    jobs = JobConfig(progress_interval_s=0.01, write_interval_s=0.01)
    async with resources(folder, jobs=jobs) as shared:
        config = SessionConfig(peers=((host, port),), max_download_bytes_per_s=rate)
        metainfo = Metainfo.read(folder / "a.torrent")
        session = await Session.create(metainfo, shared, save_path=folder / "out", config=config)
        async with session:
            while True:
                for job in await shared.jobs.list():
                    line = [job.id, job.kind, job.status, job.done_bytes]
                    print(json.dumps(line), flush=True)
                await anyio.sleep(0.02)
anyio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
"""


def run_until(folder: Path, address: tuple[str, int], rate: int, wanted: list[object]) -> str:
    """Run a download until a job of some kind and status has some bytes, then kill it."""
    command = [sys.executable, "-c", CHILD, str(folder), *map(str, address), str(rate)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                job_id, *seen, done_bytes = json.loads(line)
                if seen == wanted and (done_bytes or wanted[0] == "seed"):
                    return str(job_id)
        finally:
            process.kill()
            process.wait(60)
    raise AssertionError(f"it ended before {wanted}")


async def test_f2_a_killed_download_goes_on_as_the_same_job(tmp_path: Path) -> None:
    folder = tmp_path / "leech"
    folder.mkdir()
    (folder / "a.torrent").write_bytes(METAINFO.source)
    async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, address):

        async def run(rate: int, *wanted: object) -> str:
            work = anyio.to_thread.run_sync
            with anyio.fail_after(60):
                return await work(run_until, folder, address, rate, list(wanted))

        first = await run(100_000, "download", "running")
        (left,) = await jobs_in(folder)
        assert (left.id, left.status, left.error) == (first, "failed", INTERRUPTED)
        assert left.done_bytes
        again = await run(100_000, "download", "running")
        assert again == first
        seeding = await run(0, "seed", "running")
    found = {job.id: job for job in await jobs_in(folder)}
    assert (found[first].kind, found[first].status) == ("download", "completed")
    assert (found[seeding].status, found[seeding].reason) == ("failed", INTERRUPTED)
    assert content(METAINFO, folder / "out") == PAYLOAD


async def test_jobs_of_other_torrents_are_no_matter(tmp_path: Path) -> None:
    write_files(METAINFO, PAYLOAD, tmp_path / "files")
    async with resources(tmp_path) as shared:
        other = shared.jobs.begin("seed", info_hash=HASH, name="other")
        await download(shared, METAINFO, tmp_path / "files", check_only=True)
        found = {job.kind: job.status for job in await shared.jobs.list()}
        assert found == {"seed": "running", "check": "completed"}
        shared.jobs.finish(other)
        assert await shared.jobs.clear() == 2
