"""The jobs that interfaces show: those that changed lately, with revisions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from torrent_engine.daemon.engine_port.facts import JobFacts, JobQuery
from torrent_engine.daemon.engine_port.port import JobKeeping
from torrent_engine.daemon.state.revisions import ChangeIndex, RevisionCounter

MAX_JOBS: Final = 2_000  # ours: older finished ones are in the engine's job log only


@dataclass(frozen=True, slots=True)
class JobDelta:
    """What changed among the jobs since a revision."""

    is_full: bool
    """All jobs that are shown are in :attr:`changed`."""
    changed: list[JobFacts]
    """The newest change first."""
    removed: list[str]
    """Ids."""


class JobRecords:
    """The newest jobs by their ids."""

    def __init__(self, revisions: RevisionCounter, *, max_jobs: int = MAX_JOBS) -> None:
        self._revisions = revisions
        self._max_jobs = max_jobs
        self._jobs: dict[str, JobFacts] = {}
        self._index: ChangeIndex[str] = ChangeIndex()

    def __len__(self) -> int:
        """Return how many jobs are shown."""
        return len(self._jobs)

    def __contains__(self, job_id: str) -> bool:
        """Return whether a job is shown."""
        return job_id in self._jobs

    def __iter__(self) -> Iterator[JobFacts]:
        """Iterate over the jobs that are shown."""
        return iter(self._jobs.values())

    def get(self, job_id: str) -> JobFacts | None:
        """Return a job; None if it is not shown, though the job log may have it."""
        return self._jobs.get(job_id)

    def put(self, job: JobFacts) -> None:
        """Add a job, or take its change."""
        if self._jobs.get(job.id) == job:
            return
        self._jobs[job.id] = job
        self._index.changed(job.id, self._revisions.next())
        if len(self._jobs) > self._max_jobs:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = next((job for job in self._jobs.values() if job.is_finished), None)
        if oldest is not None:
            self.remove(oldest.id)

    def remove(self, job_id: str) -> None:
        """Show a job no more."""
        if self._jobs.pop(job_id, None) is not None:
            self._index.removed(job_id, self._revisions.next())

    def delta(self, since: int | None) -> JobDelta:
        """Return what changed since a revision; None, or one that is too old: everything."""
        if since is None or not self._index.can_tell(since):
            return JobDelta(is_full=True, changed=list(self._jobs.values())[::-1], removed=[])
        changed = [self._jobs[each] for each in self._index.changed_since(since)]
        return JobDelta(is_full=False, changed=changed, removed=self._index.gone_since(since))

    async def reload(self, jobs: JobKeeping) -> None:
        """Compare with the job log; after a start and a restart of the engine."""
        found = await jobs.list(JobQuery(limit=self._max_jobs))
        there = {job.id for job in found}
        for job_id in [each for each in self._jobs if each not in there]:
            self.remove(job_id)
        for job in reversed(found):
            self.put(job)
