"""Owns the queue of verified bytes that wait for the disk, and its bound.

The bound is the only back-pressure of a download: past ``write_queue_high_bytes`` ``full`` is
true and peers are not read until the queue is below ``write_queue_low_bytes`` again.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import anyio
import anyio.to_thread

from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.disk.storage import StorageManager

_HOP_BYTES: Final = 8 * 1024 * 1024  # what one trip to a worker thread takes: some milliseconds


class WriteJob:
    """Bytes that belong at one offset of the payload; ``tag`` is the submitter's own."""

    __slots__ = ("length_bytes", "offset_bytes", "tag", "views")

    def __init__(self, offset_bytes: int, views: list[memoryview], tag: object = None) -> None:
        self.offset_bytes = offset_bytes
        self.views = views
        """Emptied as soon as they are written, so that the receive buffers are free again."""
        self.length_bytes = sum(map(len, views))
        self.tag = tag


class OnFailed(Protocol):
    """What is told of jobs that could not be written; their views are still there."""

    def __call__(self, error: StorageError, jobs: list[WriteJob], /) -> None:
        """Take the jobs back; they may be submitted again once there is room."""


class PieceWriter:
    """Writes submitted jobs in order, several per trip to a worker thread.

    After a failure all jobs that are not written are handed to ``on_failed``, and the writer
    waits for new ones.
    """

    def __init__(
        self,
        storage: StorageManager,
        *,
        config: DiskConfig,
        limiter: anyio.CapacityLimiter,
        on_written: Callable[[list[WriteJob]], None],
        on_failed: OnFailed,
    ) -> None:
        self.full = False
        """Whether peers should not be read now."""
        self.queued_bytes = 0
        """Bytes submitted and neither written nor failed."""
        self._storage = storage
        self._high = config.write_queue_high_bytes
        self._low = config.write_queue_low_bytes
        self._limiter = limiter
        self._on_written = on_written
        self._on_failed = on_failed
        self._jobs: deque[WriteJob] = deque()
        self._work = anyio.Event()
        self._room = anyio.Event()
        self._idle = anyio.Event()

    def submit(self, job: WriteJob) -> None:
        """Queue a job; never blocks, even when ``full``."""
        self._jobs.append(job)
        self.queued_bytes += job.length_bytes
        if self.queued_bytes >= self._high:
            self.full = True
        if len(self._jobs) == 1:
            self._work.set()

    async def wait_for_room(self) -> None:
        """Return when the queue is not full."""
        while self.full:
            await self._room.wait()

    async def drain(self) -> None:
        """Return when all that was submitted is written or has failed; needs :meth:`run`."""
        while self.queued_bytes:
            await self._idle.wait()

    async def run(self) -> None:
        """Write what is submitted, until cancelled; what was begun is finished and reported."""
        while True:
            if not self._jobs:
                self._work = anyio.Event()
                await self._work.wait()
            await self._write_some(self._take())

    def _take(self) -> list[WriteJob]:
        """Take the jobs of one hop off the queue."""
        jobs, length = [], 0
        while self._jobs and length < _HOP_BYTES:
            job = self._jobs.popleft()
            jobs.append(job)
            length += job.length_bytes
        return jobs

    async def _write_some(self, jobs: list[WriteJob]) -> None:
        written: list[WriteJob] = []
        try:
            await anyio.to_thread.run_sync(self._write_all, jobs, written, limiter=self._limiter)
        except StorageError as error:
            self._report_written(written)
            self._report_failed(error, jobs[len(written) :])
        except BaseException:  # cancelled while waiting for a thread: nothing is begun
            self._report_written(written)
            self._jobs.extendleft(reversed(jobs[len(written) :]))
            raise
        else:
            self._report_written(written)

    def _write_all(self, jobs: list[WriteJob], written: list[WriteJob]) -> None:
        """Write jobs one after the other; runs in a worker thread."""
        storage = self._storage
        if storage.before_writes is not None:
            storage.before_writes([(job.offset_bytes, job.length_bytes) for job in jobs])
        for job in jobs:
            storage.write_views(job.offset_bytes, job.views)
            job.views.clear()
            written.append(job)

    def _report_written(self, jobs: list[WriteJob]) -> None:
        if jobs:
            self._release(jobs)
            self._on_written(jobs)

    def _report_failed(self, error: StorageError, jobs: list[WriteJob]) -> None:
        failed = [*jobs, *self._jobs]
        self._jobs.clear()
        self._release(failed)
        self._on_failed(error, failed)

    def _release(self, jobs: list[WriteJob]) -> None:
        """Take jobs out of the account and wake who waits for that."""
        self.queued_bytes -= sum(job.length_bytes for job in jobs)
        if self.full and self.queued_bytes <= self._low:
            self.full = False
            self._room.set()
            self._room = anyio.Event()
        if not self.queued_bytes:
            self._idle.set()
            self._idle = anyio.Event()
