"""Job records of commands; a command does not fail if its job cannot be recorded.

The database is open only briefly at the start and the end; a lock marks the job as running.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torrent_engine.base.ids import InfoHash
    from torrent_engine.disk.state.job_owner import JobOwner
    from torrent_engine.engine.jobs.job_log import JobLog

logger = logging.getLogger(__name__)


class JobRecord:
    """What is to be written of a job at its end."""

    def __init__(self) -> None:
        self.info_hash: InfoHash | None = None
        self.name = ""
        self.total_bytes = 0
        self.is_kept = False
        """Whether somebody may ever read it."""
        self.failure: str | None = None
        """Set it if the job failed although nothing was raised."""

    def describe(self, torrent: bytes) -> None:
        """Say which torrent it was about, if anybody may ever read it."""
        if self.is_kept:
            from torrent_engine.codec.metainfo import Metainfo

            metainfo = Metainfo.from_bytes(torrent)
            self.info_hash, self.name = metainfo.info_hash, metainfo.name
            self.total_bytes = metainfo.content_bytes


@contextmanager
def recorded(
    kind: str, *, name: str, info_hash: "InfoHash | None" = None, state_dir: Path | None = None
) -> Iterator[JobRecord]:
    """Record the block as a job of a state folder; of the default one only if it is in use."""
    record = JobRecord()
    record.name, record.info_hash = name, info_hash
    run = _begin(kind, record, state_dir)
    record.is_kept = run is not None
    try:
        yield record
    except Exception as error:
        _end(run, record, "failed", error=str(error) or type(error).__name__)
        raise
    except BaseException:
        _end(run, record, "cancelled", reason="interrupted")
        raise
    if record.failure is None:
        _end(run, record, "completed")
    else:
        _end(run, record, "failed", error=record.failure)


class _Run:
    """A job that has begun."""

    def __init__(self, folder: Path, owner: "JobOwner", job_id: str) -> None:
        self.folder = folder
        self.owner = owner
        self.job_id = job_id


def _begin(kind: str, record: JobRecord, state_dir: Path | None) -> _Run | None:
    from torrent_engine.engine.resources.state_folder import default_state_dir

    folder = state_dir or default_state_dir()
    if state_dir is None and not (folder / "state.db").exists():
        return None
    try:
        return _written_begin(kind, record, folder)
    except Exception as error:
        logger.debug("no job: %s", error)
        return None


def _written_begin(kind: str, record: JobRecord, folder: Path) -> _Run:
    from torrent_engine.disk.state.job_owner import JobOwner

    owner = JobOwner(folder)

    def begin(log: "JobLog") -> str:
        return log.begin(kind, info_hash=record.info_hash, name=record.name)

    try:
        return _Run(folder, owner, str(_in_log(folder, owner, begin)))
    except BaseException:
        owner.free()
        raise


def _end(run: _Run | None, record: JobRecord, status: str, **why: str) -> None:
    if run is None:
        return
    job_id = run.job_id

    def end(log: "JobLog") -> None:
        done_bytes = record.total_bytes if status == "completed" else None
        log.update(job_id, total_bytes=record.total_bytes, done_bytes=done_bytes)
        if record.info_hash is not None:
            log.identify(job_id, record.info_hash, record.name)
        log.finish(job_id, status, **why)

    try:
        _in_log(run.folder, run.owner, end)
    except Exception as error:
        logger.debug("the end of a job is not recorded: %s", error)
    finally:
        run.owner.free()


def _in_log(folder: Path, owner: "JobOwner", work: Any) -> object:  # noqa: ANN401
    from torrent_engine.base.config import JobConfig
    from torrent_engine.disk.state.store import NO_RESERVE, StateStore
    from torrent_engine.engine.jobs.job_log import JobLog
    from torrent_engine.service import loop

    async def write() -> object:
        async with await StateStore.open(folder, config=NO_RESERVE) as store:
            log = JobLog(store, JobConfig(), time.time, owner)
            result = work(log)
            await log.flush()
            return result

    return loop.run(write)
