"""The write queue, with its limit.

The limit is the only backpressure of a download: above ``write_queue_high_bytes`` ``full`` is True,
and peers are not read until the queue is below ``write_queue_low_bytes`` again.
"""

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
from torrent_engine.codec.piece_hashes import PieceHashes
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces.cores import HASHING_CORES
from torrent_engine.disk.threads import run_in_thread

_BATCH_BYTES: Final = 8 * 1024 * 1024  # written with one journal entry
_TURN_S: Final = 0.1  # ours: time limit of one job of a thread
_REPORT_INTERVAL_S: Final = 0.005  # delay of reports
_IDLE_REPORT_INTERVAL_S: Final = 0.1  # the same while nothing completes
_MERGED_BYTES: Final = 1024 * 1024  # small pieces are written together up to this


class WriteJob:
    """Bytes to write at an offset of the payload; ``tag`` is for the submitter.

    Those of a whole ``piece`` with ``hashes`` are written only if they match; see
    :attr:`is_right`.
    """

    __slots__ = ("hashes", "is_right", "length_bytes", "offset_bytes", "piece", "tag", "views")

    def __init__(
        self,
        offset_bytes: int,
        views: list[memoryview],
        tag: object = None,
        *,
        piece: int = 0,
        hashes: PieceHashes | None = None,
    ) -> None:
        self.offset_bytes = offset_bytes
        self.views = views
        """Cleared after the write, which releases the receive buffers."""
        self.length_bytes = sum(map(len, views))
        self.tag = tag
        self.piece = piece
        self.hashes = hashes
        self.is_right: bool | None = None
        """Whether the bytes matched ``hashes``; None: not checked, or without ``hashes``."""

    def check(self) -> bool:
        """Return whether the bytes may be written; in a worker thread."""
        if self.hashes is not None and self.is_right is None:
            digest = self.hashes.digest_of(self.piece, self.views)
            self.is_right = digest == self.hashes.expected(self.piece)
        return self.is_right is not False


class OnFailed(Protocol):
    """Callback for jobs that could not be written; their views are kept."""

    def __call__(self, error: StorageError, jobs: list[WriteJob], /) -> None:
        """Handle jobs that failed; they may be submitted again once there is room."""


class PieceWriter:
    """Verifies and writes submitted jobs in worker threads.

    Hashing and writing take longer than receiving: 2 GiB over loopback take 3.9 s with one thread
    and 3.1 s with two. After a failure all unwritten jobs are passed to ``on_failed``, and the
    writer waits for new ones.
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
        self._hooks = storage.write_hooks
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
        """Wait until the queue is not full."""
        while self.full:
            await self._room.wait()

    async def drain(self) -> None:
        """Wait until all submitted jobs are written or have failed; needs :meth:`run`."""
        while self.queued_bytes:
            await self._empty.wait()

    async def run(self) -> None:
        """Write submitted jobs until cancelled; started ones are finished and reported."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._report_forever)
                for _ in range(self._threads):
                    tasks.start_soon(self._work_forever)
        finally:
            self._report()

    async def _work_forever(self) -> None:
        """Run one worker thread while there are jobs."""
        while True:
            await self._work.wait()
            if self._jobs and not self._failures:
                self._active += 1
                try:
                    if self._hooks.until_saved is not None:
                        await self._hooks.until_saved()
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
        """Report periodically while the threads work.

        With 60 torrents waiting for a thread, polling every 5 ms took a third of the CPU time.
        """
        pause_s = _REPORT_INTERVAL_S
        while True:
            await self._unreported.wait()
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, _IDLE_REPORT_INTERVAL_S)
            if self._done or self._failures:
                pause_s = _REPORT_INTERVAL_S
                self._report()

    # -- in the worker thread ---------------------------------------------------------------

    def _write_all(self) -> None:
        """Write what is queued, on a share of the cores for this thread."""
        with HASHING_CORES.hold(self._threads):
            self._write_queued()

    def _write_queued(self) -> None:
        """Write until no job is left, one fails in any thread, or the time limit is reached."""
        stop_s = time.monotonic() + _TURN_S
        while not self._failures and (batch := self._take(_BATCH_BYTES)):
            try:
                if self._hooks.before_writes is not None:
                    self._hooks.before_writes([(j.offset_bytes, j.length_bytes) for j in batch])
                while batch:
                    for _ in range(self._write_some(batch)):
                        self._done.append(batch.popleft())
            except StorageError as error:
                self._failures.append((error, list(batch)))
            except MemoryError:
                lack = StorageError(self._storage.save_path, "out of memory")
                self._failures.append((lack, list(batch)))
            if time.monotonic() >= stop_s:
                return

    def _take(self, limit_bytes: float) -> deque[WriteJob]:
        """Remove and return queued jobs, up to a limit in bytes."""
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
        """Write the first job and contiguous following ones; return their number."""
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
            group = group[:1]  # on a full disk: as many jobs as fit
            self._storage.write_views(start, group[0].views)
        for job in group:
            job.views.clear()
        return len(group)

    # -- on the loop ------------------------------------------------------------------------

    def _report(self) -> None:
        """Report what the threads have done since the last report."""
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
        """Subtract jobs from the queued bytes and wake the tasks that wait for room."""
        self.queued_bytes -= sum(job.length_bytes for job in jobs)
        if self.full and self.queued_bytes <= self._low:
            self.full = False
            self._room.set()
            self._room = anyio.Event()
        if not self.queued_bytes:
            self._empty.set()
            self._empty = anyio.Event()
            if self._unreported.is_set():  # else somebody waits for it
                self._unreported = anyio.Event()
