"""The job log: records of work, written behind in small transactions.

In memory is only what is not written yet. A job whose process died is found when the log is opened
and shown as failed, interrupted; whoever goes on with it says so, and it runs again with the same
id.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, Self, TypeAlias
from uuid import uuid4

import anyio

from torrent_engine.base.config import JobConfig
from torrent_engine.base.errors import DiskFullError, TorrentEngineError
from torrent_engine.base.ids import NO_TORRENT, InfoHash
from torrent_engine.disk.state.job_owner import JobOwner
from torrent_engine.disk.state.job_table import (
    FINISHED,
    IN_HAND,
    INTERRUPTED,
    Job,
    JobFilter,
    JobKind,
    JobStatus,
    OwnedJob,
    UnfinishedJob,
    clean,
    interrupt,
    interrupted,
    read_jobs,
    read_unfinished,
    remove_jobs,
    write_changes,
)
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.events import JobChanged, JobsRemoved

__all__ = ["INTERRUPTED", "Job", "JobFilter", "JobKind", "JobLog", "JobStatus"]

_Jobs: TypeAlias = list[Job]  # the class has a method of that name
_Ids: TypeAlias = list[str]
_Owned: TypeAlias = list[OwnedJob]
_Left: TypeAlias = list[UnfinishedJob]
_Listener: TypeAlias = Callable[[JobChanged | JobsRemoved], object]
MAX_UNWRITTEN: Final = 100_000  # ours: while the database cannot be written, the oldest are lost
_EVERYTHING: Final = JobFilter()
logger = logging.getLogger(__name__)


class JobLog:
    """The jobs of one resume database; open it with :meth:`open`, and let :meth:`run` write."""

    def __init__(
        self,
        store: StateStore,
        config: JobConfig,
        wall_clock: Callable[[], float],
        owner: JobOwner | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._wall_clock = wall_clock
        self._owner = owner or JobOwner(store.folder)
        self._changes: dict[str, dict[str, Any]] = {}
        self._changed = anyio.Event()
        self._lock = anyio.Lock()
        """One transaction at a time: a job is never changed before it is there."""
        self._cleaned_s = 0.0
        self._listeners: list[_Listener] = []
        self._resumable: _Left = []

    @classmethod
    async def open(
        cls,
        store: StateStore,
        config: JobConfig | None = None,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the log: find what was running when its process died, clean away what is old.

        ``wall_clock`` gives seconds since 1970. Raises what StateStore raises.
        """
        log = cls(store, config or JobConfig(), wall_clock)
        log._resumable = await store.run(log._recover)
        return log

    def take_resumable(self) -> _Left:
        """Return the jobs that this process may go on with, the first time; then none.

        They were not finished when the log was opened, or interrupted, and no other process has
        them.
        """
        taken, self._resumable = self._resumable, []
        return taken

    async def close(self) -> None:
        """Write everything; jobs of this log that did not end become interrupted.

        A database that cannot be written is a line in the log.
        """
        try:
            await self.flush()
        except TorrentEngineError as error:
            logger.warning("%d jobs were not written: %s", len(self._changes), error)
        finally:
            self._owner.free()

    def listen(self, listener: _Listener) -> Callable[[], None]:
        """Call ``listener`` with what the database has anew; what is returned ends that.

        It is called in the event loop, after the transaction, and must not raise.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _report_changed(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._report(JobChanged(job.info_hash or NO_TORRENT, job))

    def _report_removed(self, job_ids: _Ids) -> None:
        if job_ids:
            self._report(JobsRemoved(NO_TORRENT, tuple(job_ids)))

    def _report(self, event: JobChanged | JobsRemoved) -> None:
        for listener in self._listeners:
            listener(event)

    # -- what is done -----------------------------------------------------------------------

    def begin(
        self,
        kind: JobKind | str,
        *,
        info_hash: InfoHash | None = None,
        name: str,
        total_bytes: int = 0,
        status: JobStatus | str = JobStatus.RUNNING,
    ) -> str:
        """Begin a job, and return its id; ValueError for an unknown kind or status."""
        job_id = str(uuid4())
        self._note(
            job_id,
            kind=JobKind(kind),
            info_hash=info_hash,
            name=name,
            status=JobStatus(status),
            created_s=self._wall_clock(),
            total_bytes=total_bytes,
        )
        return job_id

    def update(
        self,
        job_id: str,
        *,
        done_bytes: int | None = None,
        total_bytes: int | None = None,
        progress: float | None = None,
    ) -> None:
        """Record the progress of a job; by default done bytes over total bytes."""
        if progress is None and done_bytes is not None and total_bytes:
            progress = done_bytes / total_bytes
        changes = {
            "done_bytes": done_bytes,
            "total_bytes": total_bytes,
            "progress": progress,
        }
        self._note(job_id, **{key: value for key, value in changes.items() if value is not None})

    def identify(self, job_id: str, info_hash: InfoHash, name: str) -> None:
        """Set the torrent of a job, where it was not known at the start."""
        self._note(job_id, info_hash=info_hash, name=name)

    def pause(
        self, job_id: str, *, reason: str | None = None, status: JobStatus = JobStatus.PAUSED
    ) -> None:
        """Mark a job as waiting: paused by the user, or pending in the queue."""
        self._note(job_id, status=status, reason=reason)

    def resume(self, job_id: str) -> None:
        """Mark a job as running."""
        self._note(job_id, status=JobStatus.RUNNING, completed_s=None, error=None, reason=None)

    def finish(
        self,
        job_id: str,
        status: JobStatus | str = JobStatus.COMPLETED,
        *,
        error: str | None = None,
        reason: str | None = None,
    ) -> None:
        """End a job: completed, failed or cancelled; ValueError for another status."""
        end = JobStatus(status)
        if end not in FINISHED:
            raise ValueError(f"{end} is not the end of a job")
        changed: dict[str, Any] = {"progress": 1.0} if end is JobStatus.COMPLETED else {}
        changed |= {"status": end, "error": error, "reason": reason}
        self._note(job_id, completed_s=self._wall_clock(), **changed)

    @contextmanager
    def recorded(
        self, kind: JobKind | str, *, info_hash: InfoHash | None = None, name: str
    ) -> Iterator[str]:
        """Begin a job, and end it with the block: an exception fails it, cancellation cancels."""
        job_id = self.begin(kind, info_hash=info_hash, name=name)
        try:
            yield job_id
        except Exception as error:
            self.finish(job_id, JobStatus.FAILED, error=str(error) or type(error).__name__)
            raise
        except BaseException:
            self.finish(job_id, JobStatus.CANCELLED, reason="cancelled")
            raise
        self.finish(job_id)

    def _note(self, job_id: str, **changed: Any) -> None:  # noqa: ANN401 - fields of a Job
        changed["updated_s"] = self._wall_clock()
        self._changes.setdefault(job_id, {}).update(changed)
        if len(self._changes) > MAX_UNWRITTEN:
            self._changes.pop(next(iter(self._changes)))
        self._changed.set()

    # -- what was done ----------------------------------------------------------------------

    async def list(self, wanted: JobFilter = _EVERYTHING) -> _Jobs:
        """Return jobs of all processes that use the database, the newest first.

        On a full disk they are as they were when there was room.
        """
        with suppress(DiskFullError):
            await self.flush()
        found = await self._store.run(lambda db: self._read(db, wanted))
        return [owned.job for owned in found]

    def _read(self, db: sqlite3.Connection, wanted: JobFilter) -> _Owned:
        """Read jobs, those of dead processes as they are to be seen."""
        if not wanted.statuses:
            return self._seen(read_jobs(db, wanted))
        asked = wanted.statuses | (IN_HAND if JobStatus.FAILED in wanted.statuses else frozenset())
        found = self._seen(read_jobs(db, replace(wanted, statuses=asked, limit=0)))
        found = [one for one in found if one.job.status in wanted.statuses]
        return found[: wanted.limit or None]

    def _seen(self, jobs: _Owned) -> _Owned:
        owners = {one.owner for one in jobs if one.job.status in IN_HAND}
        dead = {owner for owner in owners if not self._owner.is_alive(owner)}
        return [
            OwnedJob(interrupted(one.job), one.owner)
            if one.owner in dead and one.job.status in IN_HAND
            else one
            for one in jobs
        ]

    async def get(self, job_id: str) -> Job | None:
        """Return one job; None if there is none of this id."""
        found = await self.list(JobFilter(id_prefix=job_id))
        return next((job for job in found if job.id == job_id), None)

    async def clear(
        self, wanted: JobFilter = _EVERYTHING, *, ids: Collection[str] | None = None
    ) -> int:
        """Delete finished jobs that pass the filter; return how many.

        With ``ids`` only those, and of them also the unfinished ones that no process works on.
        """
        await self.flush()

        def remove(db: sqlite3.Connection) -> _Ids:
            found = self._read(db, wanted)
            if ids is None:
                gone = [owned.job.id for owned in found if owned.job.is_finished]
            else:
                gone = [owned.job.id for owned in found if self._is_idle(owned, ids)]
            remove_jobs(db, gone)
            return gone

        removed = await self._store.run(remove)
        self._report_removed(removed)
        return len(removed)

    def _is_idle(self, owned: OwnedJob, ids: Collection[str]) -> bool:
        job = owned.job
        return job.id in ids and (job.is_finished or not self._owner.is_alive(owned.owner))

    # -- the database -----------------------------------------------------------------------

    async def run(self) -> None:
        """Write what changes, until cancelled; a database that fails is tried again later."""
        while True:
            with anyio.move_on_after(self._config.clean_interval_s):
                await self._changed.wait()
            try:
                await self.flush()
                await self._clean_if_due()
            except TorrentEngineError as error:
                logger.warning("jobs are not written: %s", error)
                await anyio.sleep(self._config.retry_interval_s)
            else:
                await anyio.sleep(self._config.write_interval_s)

    async def flush(self) -> None:
        """Write what changed, in one transaction; raises what StateStore raises."""
        async with self._lock:
            if self._changes:
                changes, self._changes, self._changed = self._changes, {}, anyio.Event()
                await self._write_or_keep(changes)

    async def _write_or_keep(self, changes: dict[str, dict[str, Any]]) -> None:
        try:
            written = await self._store.run(lambda db: self._write(db, changes))
        except BaseException:
            for job_id, newer in self._changes.items():
                changes.setdefault(job_id, {}).update(newer)
            self._changes = changes
            self._changed.set()
            raise
        self._report_changed(written)

    def _write(self, db: sqlite3.Connection, changes: dict[str, dict[str, Any]]) -> _Jobs:
        self._owner.take()
        return write_changes(db, self._owner.id, changes)

    async def _clean_if_due(self) -> None:
        if abs(self._wall_clock() - self._cleaned_s) >= self._config.clean_interval_s:
            dead, removed = await self._store.run(self._clean)
            self._report_changed(interrupted(one.job) for one in dead)
            self._report_removed(removed)

    def _clean(self, db: sqlite3.Connection) -> tuple[_Owned, _Ids]:
        """Write down which processes died, then forget what is old; return both."""
        found = read_jobs(db, JobFilter(statuses=IN_HAND))
        alive = self._alive(found)
        dead = [one for one in found if one.owner not in alive]
        interrupt(db, dead)
        return dead, self._forget(db)

    def _forget(self, db: sqlite3.Connection) -> _Ids:
        """Forget what is old, and return its ids."""
        now_s, config = self._wall_clock(), self._config
        self._cleaned_s = now_s
        before_s = now_s - config.keep_s
        finished = clean(db, finished_before_s=before_s, max_finished=config.max_finished)
        old = [
            one
            for one in read_unfinished(db)
            if one.status == JobStatus.PAUSED and one.updated_s < now_s - config.keep_paused_s
        ]
        alive = self._alive(old)
        left_over = [one.id for one in old if one.owner not in alive]
        remove_jobs(db, left_over)
        return finished + left_over

    def _recover(self, db: sqlite3.Connection) -> _Left:
        """Return the jobs that may be resumed; no other process resumes them."""
        self._forget(db)
        found = read_unfinished(db)
        alive = self._alive(found)
        return [one for one in found if one.owner not in alive]

    def _alive(self, jobs: Iterable[OwnedJob | UnfinishedJob]) -> set[str]:
        return {owner for owner in {one.owner for one in jobs} if self._owner.is_alive(owner)}
