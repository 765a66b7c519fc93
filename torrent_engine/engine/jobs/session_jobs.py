"""Jobs of Sessions, derived from their state changes.

A torrent that is at rest costs one entry of a dictionary here and no time. A job that was paused,
failed or interrupted goes on with the same id when its torrent does.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from torrent_engine.base.config import JobConfig, SessionConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.job_table import UnfinishedJob
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.jobs.job_log import JobKind, JobLog, JobStatus
from torrent_engine.engine.states import State

CHECKING_REASON: Final = "checking"
CANCEL_REASONS: Final = frozenset({"cancelled", "removed", "owner_changed"})
_PAUSE_REASONS: Final = frozenset({"stopped", "checked"})  # of the end of a run
_WORK: Final = {
    State.FETCHING_METADATA: JobKind.ADD,
    State.DOWNLOADING: JobKind.DOWNLOAD,
    State.SEEDING: JobKind.SEED,
}


@dataclass(frozen=True, slots=True)
class WorkDone:
    """How far a Session's present or last run is; all 0 before the first."""

    size_bytes: int = 0
    """Of the whole torrent."""
    wanted_bytes: int = 0
    completed_bytes: int = 0
    uploaded_bytes: int = 0
    """Over all runs."""
    pieces_to_check: int = 0
    checked_pieces: int = 0

    @property
    def checked_bytes(self) -> int:
        """How much was hashed, about."""
        return self.size_bytes * self.checked_pieces // max(self.pieces_to_check, 1)


class WorkingSession(Protocol):
    """What the job log reads of a Session."""

    @property
    def config(self) -> SessionConfig:
        """The present configuration."""

    @property
    def error(self) -> TorrentEngineError | None:
        """Why the state is ERROR."""

    @property
    def is_held(self) -> bool:
        """Whether it is paused by the queue only."""

    @property
    def info_hash(self) -> InfoHash:
        """Which torrent."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def state(self) -> State:
        """What it does."""

    @property
    def stop_reason(self) -> str:
        """Why its run ended, or ends."""

    @property
    def is_resting(self) -> bool:
        """Whether nothing of it runs, so that nothing of it changes."""

    def work_done(self) -> WorkDone:
        """Return how far it is; cheap."""


class SessionJobs:
    """Turns the states of Sessions into jobs of the log that is attached; without one nothing."""

    def __init__(self, config: JobConfig | None = None) -> None:
        self._interval_s = (config or JobConfig()).progress_interval_s
        self._log: JobLog | None = None
        self._works: dict[InfoHash, tuple[JobKind, str]] = {}
        self._checks: dict[InfoHash, str | None] = {}
        """Torrents that check; None: nothing to hash was seen yet, so there is no job."""
        self._old_checks: dict[InfoHash, str] = {}
        """Checks that were interrupted by the death of a process."""
        self._active: dict[InfoHash, WorkingSession] = {}
        """Sessions whose progress is looked at now and then."""
        self._seen: dict[InfoHash, WorkDone] = {}
        """What was seen of them last; not of those that rest."""
        self._has_active = anyio.Event()

    def attach(self, log: JobLog) -> None:
        """Write to this log; go on with what it found."""
        self._log = log
        self._take_over(log.take_resumable())

    def detach(self) -> None:
        """Write nowhere; the log is about to be closed."""
        self._log = None
        for known in (self._works, self._checks, self._old_checks, self._active, self._seen):
            known.clear()

    def _take_over(self, jobs: Iterable[UnfinishedJob]) -> None:
        """Know what torrents may go on with; of two works of one torrent the later one."""
        works = frozenset(_WORK.values())
        for job in jobs:
            if job.kind is JobKind.CHECK:
                self._old_checks[job.info_hash] = job.id
            elif job.kind in works:
                self._works[job.info_hash] = (job.kind, job.id)

    # -- what is recorded -----------------------------------------------------------------------

    def added(self, torrent: Metainfo | Magnet) -> None:
        """Record that a torrent was added; that of a magnet link begins with its Session."""
        if self._log is not None and isinstance(torrent, Metainfo):
            job_id = self._log.begin(
                JobKind.ADD,
                info_hash=torrent.info_hash,
                name=torrent.name,
                total_bytes=torrent.total_bytes,
            )
            self._log.finish(job_id)

    def removed(self, info_hash: InfoHash, *, reason: str = "removed") -> None:
        """Cancel what a torrent that does not run would have gone on with."""
        work = self._works.pop(info_hash, None)
        self._active.pop(info_hash, None)
        self._seen.pop(info_hash, None)
        job_ids = [self._checks.pop(info_hash, None), self._old_checks.pop(info_hash, None)]
        for job_id in [work[1] if work is not None else None, *job_ids]:
            if self._log is not None and job_id is not None:
                self._log.finish(job_id, JobStatus.CANCELLED, reason=reason)

    def moved(self, session: WorkingSession, old: State, new: State) -> None:
        """Process a state change of a Session; cheap, raises nothing."""
        log = self._log
        if log is None or old is new:
            return
        self._watch(session, new)
        if new is State.CHECKING:
            self._begin_check(log, session, is_asked_for=old in {State.DOWNLOADING, State.SEEDING})
        elif new is State.PAUSED:
            self._pause(log, session)
        else:
            self._end_check(log, session, new)
            self._end_or_work(log, session, new)

    def _end_or_work(self, log: JobLog, session: WorkingSession, new: State) -> None:
        if new is State.ERROR:
            self._fail(log, session)
        elif new is State.STOPPED:
            self._stop(log, session)
        else:
            self._end_other(log, session, _WORK[new])
            if not _is_over_already(session, new):
                self._work(log, session, _WORK[new])

    # -- checks -----------------------------------------------------------------------------

    def _begin_check(self, log: JobLog, session: WorkingSession, *, is_asked_for: bool) -> None:
        info_hash = session.info_hash
        kind, job_id = self._works.get(info_hash, (None, ""))
        if kind is JobKind.ADD:
            del self._works[info_hash]
            log.finish(job_id)
        elif is_asked_for and kind is not None:
            log.pause(job_id, reason=CHECKING_REASON)
        check_id = self._checks.setdefault(info_hash, None)
        if check_id is not None:
            log.resume(check_id)
        elif is_asked_for:
            self._checks[info_hash] = self._new_check(log, session)

    def _new_check(self, log: JobLog, session: WorkingSession) -> str:
        if (old := self._old_checks.pop(session.info_hash, None)) is not None:
            log.resume(old)
            return old
        done = session.work_done()
        return log.begin(
            JobKind.CHECK,
            info_hash=session.info_hash,
            name=session.name,
            total_bytes=done.size_bytes,
        )

    def _end_check(self, log: JobLog, session: WorkingSession, new: State) -> None:
        """End the check of a torrent, if it had one: a start that hashes nothing is none."""
        info_hash = session.info_hash
        if info_hash not in self._checks:
            return
        job_id, done = self._checks.pop(info_hash), session.work_done()
        if job_id is None and (done.pieces_to_check or new is State.ERROR):
            job_id = self._new_check(log, session)
        if job_id is None:
            return
        log.update(job_id, done_bytes=done.checked_bytes, total_bytes=done.size_bytes)
        if new is State.ERROR:
            log.finish(job_id, JobStatus.FAILED, error=_error_of(session))
        elif new is State.STOPPED:
            log.finish(job_id, JobStatus.CANCELLED, reason=session.stop_reason)
        else:
            log.finish(job_id)

    # -- download, seed, metadata -----------------------------------------------------------

    def _end_other(self, log: JobLog, session: WorkingSession, kind: JobKind) -> None:
        """Complete the torrent's job of another kind: it came to where this kind begins."""
        old_kind, job_id = self._works.get(session.info_hash, (None, ""))
        if old_kind is not None and old_kind is not kind and not session.config.check_only:
            self._record_progress(log, session)
            del self._works[session.info_hash]
            log.finish(job_id)

    def _work(self, log: JobLog, session: WorkingSession, kind: JobKind) -> None:
        """Go on with the torrent's job of this kind, or begin one."""
        info_hash, done = session.info_hash, session.work_done()
        if (work := self._works.get(info_hash)) is not None:
            log.resume(work[1])
            return
        total_bytes = done.wanted_bytes or done.size_bytes
        job_id = log.begin(kind, info_hash=info_hash, name=session.name, total_bytes=total_bytes)
        self._works[info_hash] = (kind, job_id)

    def _pause(self, log: JobLog, session: WorkingSession) -> None:
        self._record_progress(log, session)
        status = JobStatus.PENDING if session.is_held else JobStatus.PAUSED
        work = self._works.get(session.info_hash)
        for job_id in (work[1] if work is not None else None, self._checks.get(session.info_hash)):
            if job_id is not None:
                log.pause(job_id, status=status)

    def _fail(self, log: JobLog, session: WorkingSession) -> None:
        """Mark the job as failed; it resumes with its id if its torrent does in this process."""
        self._record_progress(log, session)
        if (work := self._works.get(session.info_hash)) is not None:
            log.finish(work[1], JobStatus.FAILED, error=_error_of(session))

    def _stop(self, log: JobLog, session: WorkingSession) -> None:
        self._record_progress(log, session)
        info_hash, reason = session.info_hash, session.stop_reason
        if reason in CANCEL_REASONS:
            self.removed(info_hash, reason=reason)
        elif (work := self._works.get(info_hash)) is None:
            return
        elif reason in _PAUSE_REASONS:
            log.pause(work[1], reason=reason)
        else:
            del self._works[info_hash]
            log.finish(work[1], reason=reason)

    # -- progress ---------------------------------------------------------------------------

    def _watch(self, session: WorkingSession, new: State) -> None:
        """Look at the progress of what checks or downloads from now on, and of nothing else."""
        if new in {State.CHECKING, State.DOWNLOADING}:
            self._active[session.info_hash] = session
            self._has_active.set()
        else:
            self._active.pop(session.info_hash, None)
            self._seen.pop(session.info_hash, None)

    async def run(self) -> None:
        """Look at the progress of what is under way, until cancelled."""
        while True:
            await self._has_active.wait()
            self._has_active = anyio.Event()
            while self._active:
                self.look()
                await anyio.sleep(self._interval_s)

    def look(self) -> None:
        """Record the progress of all running jobs."""
        if self._log is None:
            return
        for info_hash, session in self._active.items():
            if session.is_resting:
                self._seen.pop(info_hash, None)
                continue
            done = session.work_done()
            if done != self._seen.get(info_hash):
                self._seen[info_hash] = done
                self._record_check(self._log, session, done)
                self._record_progress(self._log, session)

    def _record_check(self, log: JobLog, session: WorkingSession, done: WorkDone) -> None:
        info_hash = session.info_hash
        if info_hash not in self._checks or not done.pieces_to_check:
            return
        job_id = self._checks[info_hash] = self._checks[info_hash] or self._new_check(log, session)
        log.update(job_id, done_bytes=done.checked_bytes, total_bytes=done.size_bytes)

    def _record_progress(self, log: JobLog, session: WorkingSession) -> None:
        kind, job_id = self._works.get(session.info_hash, (None, ""))
        done = session.work_done()
        if kind is JobKind.DOWNLOAD and done.wanted_bytes:
            log.update(job_id, done_bytes=done.completed_bytes, total_bytes=done.wanted_bytes)
        elif kind is JobKind.SEED and done.wanted_bytes:
            log.update(job_id, done_bytes=done.uploaded_bytes, progress=1.0)


@asynccontextmanager
async def open_jobs(
    store: StateStore,
    session_jobs: SessionJobs,
    config: JobConfig,
    wall_clock: Callable[[], float],
) -> AsyncIterator[JobLog]:
    """Open the log of a database for the jobs of Sessions; closed with all of it written."""
    log = await JobLog.open(store, config, wall_clock=wall_clock)
    session_jobs.attach(log)
    try:
        yield log
    finally:
        session_jobs.detach()
        with anyio.CancelScope(shield=True):
            await log.close()


def _error_of(session: WorkingSession) -> str:
    return str(session.error or "") or "unknown"


def _is_over_already(session: WorkingSession, new: State) -> bool:
    """Return whether a state is passed through without work."""
    config = session.config
    is_seeding = new is State.SEEDING
    return config.check_only or (is_seeding and 0 in {config.seed_ratio, config.seed_time_s})
