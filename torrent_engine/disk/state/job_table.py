"""Table ``jobs`` of the resume database: records of what was done, as rows and back.

Each row carries a checksum over its fields: a damaged row costs one job (row F6). Functions that
take a connection are for StateStore.run; they raise nothing of their own.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash
from torrent_engine.disk.state.database import insert_rows
from torrent_engine.disk.state.records import check_types, row_checksum

MAX_NAME_CHARS: Final = 255
MAX_TEXT_CHARS: Final = 1_000
_MAX_INTEGER: Final = 2**63 - 1  # SQLite's
_log = logging.getLogger(__name__)


class JobKind(StrEnum):
    """What is done."""

    ADD = "add"
    """A torrent is taken on; of a magnet link its metadata is fetched."""
    CHECK = "check"
    """Data on the disk is hashed."""
    DOWNLOAD = "download"
    SEED = "seed"
    MOVE = "move"
    """Files move to another folder."""
    CREATE = "create"
    """A .torrent is made."""


class JobStatus(StrEnum):
    """How far it is."""

    PENDING = "pending"
    """Waits for its turn."""
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED: Final = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
IN_HAND: Final = frozenset({JobStatus.PENDING, JobStatus.RUNNING})
"""A process works on it."""
INTERRUPTED: Final = "interrupted"
"""Error and reason of a job whose process died."""


@dataclass(frozen=True, slots=True)
class Job:
    """One record; times are seconds since 1970, for people: nothing is timed by them."""

    id: str
    """A UUID."""
    kind: JobKind
    info_hash: InfoHash | None
    """None: no torrent yet, as while one is made."""
    name: str
    status: JobStatus
    created_s: float
    updated_s: float
    completed_s: float | None = None
    """When it came to its end, good or bad."""
    progress: float = 0.0
    """0.0 to 1.0."""
    total_bytes: int = 0
    """0: not known."""
    done_bytes: int = 0
    """Of a seed: sent to peers, over all its runs."""
    error: str | None = None
    """Why it failed."""
    reason: str | None = None
    """Why it is paused, cancelled or ended."""

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end."""
        return self.status in FINISHED


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; an empty field lets all pass."""

    statuses: frozenset[JobStatus] = frozenset()
    kinds: frozenset[JobKind] = frozenset()
    info_hash: InfoHash | None = None
    id_prefix: str = ""
    limit: int = 0
    """The newest of them; 0: all."""


@dataclass(frozen=True, slots=True)
class OwnedJob:
    """A job, and the process that works or worked on it."""

    job: Job
    owner: str


@dataclass(frozen=True, slots=True)
class UnfinishedJob:
    """As much of a job as is needed to go on with it."""

    id: str
    owner: str
    kind: JobKind
    info_hash: InfoHash
    status: str
    updated_s: float


# -- rows -----------------------------------------------------------------------------------------


def job_row(owned: OwnedJob) -> tuple[object, ...]:
    """Return the row of a job; what SQLite could not take is cut to what it can."""
    job = owned.job
    row = [
        owned.owner if name == "owner" else encode(getattr(job, name))
        for name, encode in _ENCODERS.items()
    ]
    return (*row, row_checksum(row))


def read_job_row(row: tuple[Any, ...]) -> OwnedJob:
    """Return the job of a row; StateDatabaseError if the row is damaged."""
    *values, stored = row
    if row_checksum(values) != stored:
        raise StateDatabaseError("a job's row is damaged")
    check_types("a job's row", values, _TYPES)
    job_id, owner, kind, info_hash, name, status, *rest = values
    if info_hash is not None and len(info_hash) != SHA1_BYTES:
        raise StateDatabaseError("a job's row is damaged")
    try:
        key = None if info_hash is None else InfoHash(info_hash)
        job = Job(job_id, JobKind(kind), key, name, JobStatus(status), *rest)
    except ValueError as error:
        raise StateDatabaseError(f"a job's row is damaged: {error}") from error
    return OwnedJob(job, owner)


def _text(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    return str(text)[:max_chars].encode("utf-8", "replace").decode()


def _text_or_none(text: str | None) -> str | None:
    return None if text is None else _text(text, MAX_TEXT_CHARS)


def _time(value: float) -> float:
    return float(value) + 0.0  # -0.0 is not read as it was written


def _time_or_none(value: float | None) -> float | None:
    return None if value is None else _time(value)


def _bytes_or_none(value: bytes | None) -> bytes | None:
    return None if value is None else bytes(value)


def _share(value: float) -> float:
    return min(max(float(value), 0.0), 1.0) + 0.0 if value == value else 0.0


def _count(value: int) -> int:
    return min(max(int(value), 0), _MAX_INTEGER)


_ENCODERS: Final[dict[str, Callable[[Any], object]]] = {
    "id": _text,
    "owner": _text,
    "kind": str,
    "info_hash": _bytes_or_none,
    "name": _text,
    "status": str,
    "created_s": _time,
    "updated_s": _time,
    "completed_s": _time_or_none,
    "progress": _share,
    "total_bytes": _count,
    "done_bytes": _count,
    "error": _text_or_none,
    "reason": _text_or_none,
}
"""The columns in their order; the checksum follows."""
_TYPES: Final = (
    *(str, str, str, bytes | None, str, str),
    *(float, float, float | None, float, int, int, str | None, str | None),
)
"""What they hold."""
_PLACES: Final = {name: place for place, name in enumerate(_ENCODERS)}
_NAMES: Final = (*_ENCODERS, "checksum")
_COLUMNS: Final = ", ".join(_NAMES)
_FIXED: Final = frozenset({"id", "kind", "created_s"})
_UPDATE: Final = (
    "UPDATE jobs SET "  # noqa: S608
    + ", ".join(f"{name} = :{name}" for name in _NAMES if name not in _FIXED)
    + " WHERE id = :id"
)


# -- reading --------------------------------------------------------------------------------------


def read_jobs(db: sqlite3.Connection, wanted: JobFilter) -> list[OwnedJob]:
    """Return jobs, the newest first; a damaged row is set aside."""
    where, values = _condition(wanted)
    query = f"SELECT rowid, {_COLUMNS} FROM jobs {where} ORDER BY created_s DESC, rowid DESC"  # noqa: S608
    if wanted.limit > 0:
        query, values = f"{query} LIMIT ?", [*values, wanted.limit]
    found: list[OwnedJob] = []
    for row in db.execute(query, values).fetchall():
        try:
            found.append(read_job_row(row[1:]))
        except StateDatabaseError as error:
            _quarantine(db, row, error)
    return found


def read_unfinished(db: sqlite3.Connection) -> list[UnfinishedJob]:
    """Return what somebody may go on with, oldest first; quick, their rows are not checked yet."""
    query = (
        "SELECT id, owner, kind, info_hash, status, updated_s FROM jobs"
        " WHERE status IN (?, ?, ?) OR reason = ? ORDER BY updated_s"
    )
    rows = db.execute(query, (*sorted(IN_HAND), JobStatus.PAUSED, INTERRUPTED))
    kinds = set(JobKind)
    return [
        UnfinishedJob(job_id, owner, JobKind(kind), InfoHash(info_hash), status, updated_s)
        for job_id, owner, kind, info_hash, status, updated_s in rows
        if kind in kinds and isinstance(info_hash, bytes)
        if isinstance(job_id, str) and isinstance(owner, str) and isinstance(updated_s, float)
    ]


def _condition(wanted: JobFilter) -> tuple[str, list[object]]:
    parts: list[str] = []
    values: list[object] = []
    for column, choices in (("status", wanted.statuses), ("kind", wanted.kinds)):
        if choices:
            parts.append(f"{column} IN ({', '.join('?' * len(choices))})")
            values += map(str, choices)
    if wanted.info_hash is not None:
        parts.append("info_hash = ?")
        values.append(bytes(wanted.info_hash))
    if wanted.id_prefix:
        parts.append("substr(id, 1, ?) = ?")
        values += [len(wanted.id_prefix), wanted.id_prefix]
    return (f"WHERE {' AND '.join(parts)}" if parts else ""), values


def _quarantine(db: sqlite3.Connection, row: tuple[Any, ...], error: StateDatabaseError) -> None:
    key = row[4] if isinstance(row[4], bytes) else b""
    _log.warning("a job is set aside: %s", error)
    insert_rows(db, "quarantine", [(key, str(error), time.time())])
    db.execute("DELETE FROM jobs WHERE rowid = ?", row[:1])


# -- writing --------------------------------------------------------------------------------------


def write_changes(
    db: sqlite3.Connection, owner: str, changes: Mapping[str, Mapping[str, Any]]
) -> list[Job]:
    """Write new jobs, and what changed of old ones, by id and field; a job that is gone stays so.

    Whose job changes becomes the job of ``owner``. Returns the jobs as they are now.
    """
    new: list[tuple[object, ...]] = []
    old: list[tuple[object, ...]] = []
    for job_id, changed in changes.items():
        if "created_s" in changed:
            new.append(job_row(OwnedJob(Job(id=job_id, **changed), owner)))
        elif (row := _changed_row(db, job_id, {"owner": owner, **changed})) is not None:
            old.append(row)
    insert_rows(db, "jobs", new)
    _update(db, old)
    return _readable([*new, *old])


def _readable(rows: Iterable[tuple[object, ...]]) -> list[Job]:
    jobs: list[Job] = []
    for row in rows:
        with suppress(StateDatabaseError):  # of another version
            jobs.append(read_job_row(row).job)
    return jobs


def _update(db: sqlite3.Connection, rows: Iterable[tuple[object, ...]]) -> None:
    """Write rows in the place of those of the same jobs."""
    db.executemany(_UPDATE, (dict(zip(_NAMES, row, strict=True)) for row in rows))


def _changed_row(
    db: sqlite3.Connection, job_id: str, changed: Mapping[str, Any]
) -> tuple[object, ...] | None:
    """Return the row of a job with some fields changed; None if it is gone, or damaged."""
    row = db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()  # noqa: S608
    if row is None:
        return None
    *values, stored = row
    if row_checksum(values) != stored:
        return None  # set aside when it is read
    for name, value in changed.items():
        values[_PLACES[name]] = _ENCODERS[name](value)
    return (*values, row_checksum(values))


def interrupted(job: Job) -> Job:
    """Return the job of a dead process as it is to be seen: failed when last heard of."""
    return replace(
        job,
        status=JobStatus.FAILED,
        completed_s=job.updated_s,
        error=INTERRUPTED,
        reason=INTERRUPTED,
    )


def interrupt(db: sqlite3.Connection, jobs: Iterable[OwnedJob]) -> None:
    """Write that the processes of these jobs died."""
    rows = [job_row(OwnedJob(interrupted(one.job), one.owner)) for one in jobs]
    _update(db, rows)


def remove_jobs(db: sqlite3.Connection, ids: Sequence[str]) -> int:
    """Forget jobs; return how many there were."""
    before = db.total_changes
    db.executemany("DELETE FROM jobs WHERE id = ?", [(job_id,) for job_id in ids])
    return db.total_changes - before


def clean(db: sqlite3.Connection, *, finished_before_s: float, max_finished: int) -> list[str]:
    """Forget finished jobs that are old or too many; return their ids."""
    finished = ", ".join(f"'{status}'" for status in sorted(FINISHED))
    query = (
        f"SELECT id, completed_s < ? FROM jobs WHERE status IN ({finished})"  # noqa: S608
        " ORDER BY completed_s DESC"
    )
    rows = db.execute(query, (finished_before_s,)).fetchall()
    gone = [
        job_id for place, (job_id, is_old) in enumerate(rows) if is_old or place >= max_finished
    ]
    remove_jobs(db, gone)
    return gone
