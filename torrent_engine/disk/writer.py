"""Owns the queue of verified bytes that wait for the disk, and its bound.

The bound is the only back-pressure of a download: past ``write_queue_high_bytes`` ``full`` is
true and peers are not read until the queue is below ``write_queue_low_bytes`` again.
"""

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Final, Protocol

import anyio

from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.disk.storage import StorageManager
from torrent_engine.disk.threads import run_in_thread

_BATCH_BYTES: Final = 8 * 1024 * 1024  # what is noted at once before it is written
_TURN_S: Final = 0.1  # ours: then others who wait for a disk thread have theirs
_REPORT_INTERVAL_S: Final = 0.005  # how far reports lag behind the thread
_MERGED_BYTES: Final = 1024 * 1024  # small pieces are written together up to this
_VIEWS_PER_UPDATE: Final = 64  # about 1 MiB: joined and hashed in one go


class WriteJob:
    """Bytes that belong at one offset of the payload; ``tag`` is the submitter's own.

    With ``sha1`` they are written only if they match it; :attr:`is_right` tells.
    """

    __slots__ = ("is_right", "length_bytes", "offset_bytes", "sha1", "tag", "views")

    def __init__(
        self,
        offset_bytes: int,
        views: list[memoryview],
        tag: object = None,
        *,
        sha1: bytes | None = None,
    ) -> None:
        self.offset_bytes = offset_bytes
        self.views = views
        """Emptied as soon as they are written, so that the receive buffers are free again."""
        self.length_bytes = sum(map(len, views))
        self.tag = tag
        self.sha1 = sha1
        self.is_right: bool | None = None
        """Whether the bytes matched ``sha1``; None: not looked at, or nothing to compare with."""

    def check(self) -> bool:
        """Return whether the bytes may be written; in a worker thread."""
        if self.sha1 is not None and self.is_right is None:
            self.is_right = _digest(self.views) == self.sha1
        return self.is_right is not False


def _digest(views: list[memoryview]) -> bytes:
    # Each call of update() hands the interpreter lock over and back; by the design's figures that
    # costs three times the hashing if done for every block. Joining is a copy of 31 us a MiB
    # (measured), and then there is one hand-over.
    sha1 = hashlib.sha1(usedforsecurity=False)
    if len(views) == 1:
        sha1.update(views[0])
        return sha1.digest()
    for start in range(0, len(views), _VIEWS_PER_UPDATE):
        sha1.update(b"".join(views[start : start + _VIEWS_PER_UPDATE]))
    return sha1.digest()


class OnFailed(Protocol):
    """What is told of jobs that could not be written; their views are still there."""

    def __call__(self, error: StorageError, jobs: list[WriteJob], /) -> None:
        """Take the jobs back; they may be submitted again once there is room."""


class PieceWriter:
    """Checks and writes submitted jobs, in threads that go on while there are any.

    With one thread a fast download waits for it a third of its time: hashing and writing take
    longer than receiving (measured: 2 GiB over loopback take 3.9 s with one, 3.1 s with two).
    After a failure all jobs that are not written are handed to ``on_failed``, and the writer waits
    for new ones.
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
        self._done: deque[WriteJob] = deque()
        self._failures: deque[tuple[StorageError, list[WriteJob]]] = deque()
        self._threads = config.write_threads
        self._active = 0
        self._work = anyio.Event()
        self._unreported = anyio.Event()
        self._room = anyio.Event()
        self._empty = anyio.Event()

    def submit(self, job: WriteJob) -> None:
        """Queue a job; never blocks, even when ``full``."""
        self._jobs.append(job)
        self.queued_bytes += job.length_bytes
        if self.queued_bytes >= self._high:
            self.full = True
        self._work.set()
        self._unreported.set()

    async def wait_for_room(self) -> None:
        """Return when the queue is not full."""
        while self.full:
            await self._room.wait()

    async def drain(self) -> None:
        """Return when all that was submitted is written or has failed; needs :meth:`run`."""
        while self.queued_bytes:
            await self._empty.wait()

    async def run(self) -> None:
        """Write what is submitted, until cancelled; what was begun is finished and reported."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._report_forever)
                for _ in range(self._threads):
                    tasks.start_soon(self._work_forever)
        finally:
            self._report()

    async def _work_forever(self) -> None:
        """Keep one thread going while there are jobs."""
        while True:
            await self._work.wait()
            if self._jobs and not self._failures:
                self._active += 1
                try:
                    if self._storage.until_saved is not None:
                        await self._storage.until_saved()
                    await self._write_in_thread()
                finally:
                    self._active -= 1
                self._report()
            elif self._work.is_set():
                self._work = anyio.Event()

    async def _write_in_thread(self) -> None:
        failure = partial(StorageError, self._storage.save_path)
        try:
            await run_in_thread(self._write_all, limiter=self._limiter, failure=failure)
        except StorageError as error:
            self._failures.append((error, []))

    async def _report_forever(self) -> None:
        """Report while the threads work: they may go on for as long as a download lasts."""
        while True:
            await self._unreported.wait()
            await anyio.sleep(_REPORT_INTERVAL_S)
            self._report()

    # -- in the worker thread ---------------------------------------------------------------

    def _write_all(self) -> None:
        """Write until no job is left, one fails in whichever thread, or the turn is over."""
        stop_s = time.monotonic() + _TURN_S
        while not self._failures and (batch := self._take(_BATCH_BYTES)):
            try:
                if self._storage.before_writes is not None:
                    self._storage.before_writes([(j.offset_bytes, j.length_bytes) for j in batch])
                while batch:
                    for _ in range(self._write_some(batch)):
                        self._done.append(batch.popleft())
            except StorageError as error:
                self._failures.append((error, list(batch)))
            if time.monotonic() >= stop_s:
                return

    def _take(self, limit_bytes: float) -> deque[WriteJob]:
        """Take jobs off the queue: as many as there are, up to a limit."""
        batch: list[WriteJob] = []
        length = 0
        with suppress(IndexError):  # another thread took the last one
            while length < limit_bytes:
                job = self._jobs.popleft()
                batch.append(job)
                length += job.length_bytes
        batch.sort(key=attrgetter("offset_bytes"))
        return deque(batch)

    def _write_some(self, batch: deque[WriteJob]) -> int:
        """Write the first job and those that follow it on the disk; return how many it did."""
        if not batch[0].check():
            return 1
        start = end = batch[0].offset_bytes
        group: list[WriteJob] = []
        for job in batch:
            if job.offset_bytes != end or end - start >= _MERGED_BYTES or not job.check():
                break
            group.append(job)
            end += job.length_bytes
        try:
            self._storage.write_views(start, [view for job in group for view in job.views])
        except StorageError:
            if len(group) == 1:
                raise
            group = group[:1]  # on a full disk: what has room is kept
            self._storage.write_views(start, group[0].views)
        for job in group:
            job.views.clear()
        return len(group)

    # -- on the loop ------------------------------------------------------------------------

    def _report(self) -> None:
        """Tell what the thread has done since the last time."""
        done: list[WriteJob] = []
        while self._done:
            done.append(self._done.popleft())
        if done:
            self._release(done)
            self._on_written(done)
        if self._failures and not self._active:  # told once, when no thread writes any more
            error, failed = self._failures[0][0], list(self._take(math.inf))
            while self._failures:
                failed += self._failures.popleft()[1]
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
            self._empty.set()
            self._empty = anyio.Event()
            self._unreported = anyio.Event()
