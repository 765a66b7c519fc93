"""Torrents that the daemon makes of files below its folders, and keeps until their jobs go."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.metainfo_edit import write_whole
from torrent_engine.daemon.engine_port.facts import JobQuery
from torrent_engine.daemon.engine_port.port import JobKeeping
from torrent_engine.disk.create.create import CreateOptions, create_torrent
from torrent_engine.disk.create.scan import ScanRules
from torrent_engine.disk.os_errors import storage_errors

FOLDER: Final = "created"
SUFFIX: Final = ".torrent"
LIMITER: Final = 1  # ours: torrents that are hashed at once; more would only seek
PROGRESS_S: Final = 0.5


class _AbandonedError(Exception):
    """Nobody waits for the torrent any more."""


class TorrentMaker:
    """Hashes files in a thread; results are files of the state folder, named by their jobs."""

    def __init__(self, jobs: JobKeeping, state_dir: Callable[[], Path]) -> None:
        self._jobs = jobs
        self._state_dir = state_dir
        self._turn = anyio.CapacityLimiter(LIMITER)

    def path(self, job_id: str) -> Path:
        """Return where the result of a job is."""
        return self._state_dir() / FOLDER / f"{job_id}{SUFFIX}"

    async def make(self, job_id: str, path: Path, options: CreateOptions) -> Metainfo:
        """Make a torrent of a file or folder; links in it are left out.

        Raises StorageError, ConfigError and what Metainfo raises. A cancelled call ends the thread.
        """
        ended = threading.Event()
        counted = [0, 0]

        def count(done: int, total: int) -> None:
            if ended.is_set():
                raise _AbandonedError
            counted[:] = done, total

        def work() -> bytes:
            try:
                rules = ScanRules(follow_links=False)
                data = create_torrent(path, options, on_progress=count, rules=rules)
            except _AbandonedError:
                return b""
            self._write(job_id, data)
            return data

        failure: TorrentEngineError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._report, job_id, counted)
            try:
                data = await anyio.to_thread.run_sync(
                    work, abandon_on_cancel=True, limiter=self._turn
                )
            except TorrentEngineError as error:  # as itself, in no group
                failure = error
            finally:
                ended.set()
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return await anyio.to_thread.run_sync(partial(Metainfo.from_bytes, data))

    async def _report(self, job_id: str, counted: list[int]) -> None:
        while True:
            await anyio.sleep(PROGRESS_S)
            done, total = counted
            if total:
                self._jobs.update(job_id, done_bytes=done, total_bytes=total)

    def _write(self, job_id: str, data: bytes) -> None:
        path = self.path(job_id)
        with storage_errors(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, data)

    async def read(self, job_id: str) -> bytes | None:
        """Return the result of a job; None if there is none."""
        try:
            return await anyio.to_thread.run_sync(self.path(job_id).read_bytes)
        except OSError:
            return None

    async def clean(self) -> None:
        """Delete the results of jobs that are not recorded any more."""
        folder = self._state_dir() / FOLDER
        found = await anyio.to_thread.run_sync(_results_in, folder)
        # A job that begins after that has no result among them.
        kept = {job.id for job in await self._jobs.list(JobQuery(kinds=frozenset({"create"})))}
        if gone := [each for each in found if each.name.removesuffix(SUFFIX) not in kept]:
            await anyio.to_thread.run_sync(_delete, gone)


def _results_in(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder) if name.endswith(SUFFIX)]  # noqa: PTH208
    except OSError:
        return []


def _delete(paths: Sequence[Path]) -> None:
    for each in paths:
        with suppress(OSError):
            each.unlink(missing_ok=True)
