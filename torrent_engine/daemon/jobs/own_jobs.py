"""Work of the daemon itself that is recorded as jobs: torrents that are made, or fetched."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio

from torrent_engine.base.errors import OwnerChangedError, TorrentEngineError
from torrent_engine.base.ids import OwnerTie
from torrent_engine.daemon.engine_port.port import JobKeeping
from torrent_engine.daemon.errands import Errands
from torrent_engine.daemon.problems import Problem, ProblemError

MAX_RUNNING: Final = 100  # ours: each may hold a connection and a torrent in memory
CANCELLED: Final = "cancelled"
OWNER_CHANGED: Final = "owner_changed"
INTERRUPTED: Final = "interrupted"
logger = logging.getLogger(__name__)
JobWork = Callable[["RunningJob"], Awaitable[Any]]


class RunningJob:
    """One job of the daemon from its begin to its end."""

    def __init__(self, job_id: str, owner: OwnerTie | None) -> None:
        self.id = job_id
        self.owner = owner
        self.result: Any = None
        """What the work returned."""
        self.error: Exception | None = None
        """Why it failed."""
        self._scope = anyio.CancelScope()
        self._reason = ""
        self._ended = anyio.Event()

    async def wait(self, seconds: float) -> bool:
        """Wait for the end; False if it does not come in time. Raises :attr:`error`."""
        with anyio.move_on_after(seconds):
            await self._ended.wait()
        if self.error is not None:
            raise self.error
        return self._ended.is_set()

    def cancel(self, reason: str) -> None:
        """End it soon."""
        self._reason = reason
        self._scope.cancel()

    async def run(self, work: JobWork, jobs: JobKeeping) -> None:
        """Do the work, and record its end."""
        status, error, reason = "failed", None, INTERRUPTED  # the daemon stops
        try:
            with self._scope:
                self.result = await work(self)
            if self._scope.cancelled_caught:
                status, reason = "cancelled", self._reason
                if reason == OWNER_CHANGED:
                    self.error = OwnerChangedError("the owner of the job has moved on")
            else:
                status, reason = "completed", ""
        except (TorrentEngineError, ProblemError) as failure:
            self.error, error, reason = failure, text_of(failure), ""
        except Exception as failure:
            self.error, error, reason = failure, "internal error", ""
            logger.exception("job %s: failed by a bug", self.id)
        finally:
            jobs.finish(self.id, status, error=error, reason=reason or None)
            self._ended.set()


class OwnJobs:
    """The jobs of the daemon that run now."""

    def __init__(self, jobs: JobKeeping, errands: Errands) -> None:
        self._jobs = jobs
        self._errands = errands
        self._running: dict[str, RunningJob] = {}

    def start(
        self, kind: str, name: str, work: JobWork, *, owner: OwnerTie | None = None
    ) -> RunningJob:
        """Begin; ``work`` gets the job. Raises ClosedError while the engine is not open.

        Raises ProblemError if too many run.
        """
        self._errands.check()
        if len(self._running) >= MAX_RUNNING:
            detail = f"{MAX_RUNNING} jobs run already"
            raise ProblemError(Problem("too_many_requests", detail, headers={"Retry-After": "5"}))
        job = RunningJob(self._jobs.begin(kind, name), owner)
        self._running[job.id] = job

        async def run() -> None:
            try:
                await job.run(work, self._jobs)
            finally:
                del self._running[job.id]

        self._errands.start(f"{kind} job", run)
        return job

    def cancel(self, job_id: str) -> bool:
        """End a job; False if it is none of the daemon's that runs."""
        job = self._running.get(job_id)
        if job is not None:
            job.cancel(CANCELLED)
        return job is not None

    def owner_advanced(self, owner_id: str, generation: int) -> None:
        """Cancel what older generations of an owner began."""
        for job in tuple(self._running.values()):
            tie = job.owner
            if tie is not None and tie.owner_id == owner_id and tie.generation < generation:
                job.cancel(OWNER_CHANGED)


def text_of(error: Exception) -> str:
    """Return the text of an error, of a problem too."""
    if isinstance(error, ProblemError):
        return error.problem.detail or error.problem.code
    return str(error)
