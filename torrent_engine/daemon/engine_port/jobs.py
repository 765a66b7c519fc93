"""The records of work, from the manager's job log."""

from collections.abc import Sequence

from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.conversion import job_of
from torrent_engine.daemon.engine_port.facts import JobFacts, JobQuery
from torrent_engine.daemon.engine_port.opened import OpenManager
from torrent_engine.engine.jobs.job_log import JobFilter, JobKind, JobStatus


class ManagerJobs:
    """A :class:`JobKeeping` of the open manager."""

    def __init__(self, opened: OpenManager) -> None:
        self._opened = opened

    def begin(self, kind: str, name: str) -> str:
        """Begin a job that runs, and return its id."""
        return self._opened.manager.jobs.begin(kind, name=name)

    def identify(self, job_id: str, info_hash: InfoHash, name: str) -> None:
        """Set the torrent of a job, where it was not known at the start."""
        self._opened.manager.jobs.identify(job_id, info_hash, name)

    def update(self, job_id: str, *, done_bytes: int, total_bytes: int) -> None:
        """Record the progress of a job."""
        self._opened.manager.jobs.update(job_id, done_bytes=done_bytes, total_bytes=total_bytes)

    def finish(
        self, job_id: str, status: str, *, error: str | None = None, reason: str | None = None
    ) -> None:
        """End a job: completed, failed or cancelled."""
        self._opened.manager.jobs.finish(job_id, status, error=error, reason=reason)

    async def list(self, query: JobQuery) -> list[JobFacts]:
        """Return jobs, the newest first. Raises ValueError for an unknown status or kind."""
        wanted = JobFilter(
            statuses=frozenset(map(JobStatus, query.statuses)),
            kinds=frozenset(map(JobKind, query.kinds)),
            info_hash=query.info_hash,
            id_prefix=query.id_prefix,
            limit=query.limit,
        )
        return list(map(job_of, await self._opened.manager.jobs.list(wanted)))

    async def get(self, job_id: str) -> JobFacts | None:
        """Return one job; None if there is none of this id."""
        job = await self._opened.manager.jobs.get(job_id)
        return None if job is None else job_of(job)

    async def clear(self, ids: Sequence[str] | None = None) -> int:
        """Delete finished jobs, of these ids only if given; return how many."""
        return await self._opened.manager.jobs.clear(ids=ids)
