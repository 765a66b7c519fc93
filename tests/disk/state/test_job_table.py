"""Rows of jobs: what is written is read, and a damaged row costs one job (row F6)."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.disk.row_damage import flip_a_field
from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.job_table import (
    INTERRUPTED,
    Job,
    JobFilter,
    JobKind,
    JobStatus,
    OwnedJob,
    clean,
    interrupt,
    job_row,
    read_job_row,
    read_jobs,
    read_unfinished,
    remove_jobs,
    write_changes,
)
from torrent_engine.disk.state.records import row_checksum
from torrent_engine.disk.state.schema import migrate

OWNER = "0" * 32
HASH = InfoHash(bytes(range(20)))
JOB = Job(
    "id-0", JobKind.DOWNLOAD, HASH, "näme", JobStatus.RUNNING, 1_000.0, 1_001.5, None, 0.5, 8, 4
)
JOBS = [
    JOB,
    replace(JOB, id="id-6", kind=JobKind.CREATE, info_hash=None, created_s=2_000.0),
    replace(
        JOB,
        id="other",
        status=JobStatus.FAILED,
        created_s=3_000.0,
        completed_s=3_001.0,
        error="disk full",
        reason="x",
    ),
]


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.text_factory = lambda data: data.decode("utf-8", "replace")
        migrate(database, may_change=True)
        put(database, JOBS)
        yield database


def put(db: sqlite3.Connection, jobs: list[Job], owner: str = OWNER) -> None:
    marks = ", ".join("?" * 15)
    rows = [job_row(OwnedJob(job, owner)) for job in jobs]
    db.executemany(f"INSERT OR REPLACE INTO jobs VALUES ({marks})", rows)


def ids_of(found: list[OwnedJob]) -> list[str]:
    return [owned.job.id for owned in found]


def test_jobs_are_read_as_they_were_written_the_newest_first(db: sqlite3.Connection) -> None:
    assert read_jobs(db, JobFilter()) == [OwnedJob(job, OWNER) for job in JOBS[::-1]]


FILTERS = {
    "status": (JobFilter(statuses=frozenset({JobStatus.FAILED})), ["other"]),
    "two statuses": (
        JobFilter(statuses=frozenset({JobStatus.FAILED, JobStatus.RUNNING})),
        ["other", "id-6", "id-0"],
    ),
    "kind": (JobFilter(kinds=frozenset({JobKind.CREATE})), ["id-6"]),
    "torrent": (JobFilter(info_hash=HASH), ["other", "id-0"]),
    "prefix": (JobFilter(id_prefix="id-"), ["id-6", "id-0"]),
    "no pattern": (JobFilter(id_prefix="id_"), []),
    "newest": (JobFilter(limit=2), ["other", "id-6"]),
    "all at once": (
        JobFilter(frozenset({JobStatus.RUNNING}), frozenset({JobKind.DOWNLOAD}), HASH, "i", 1),
        ["id-0"],
    ),
}


@pytest.mark.parametrize(("wanted", "ids"), FILTERS.values(), ids=FILTERS.keys())
def test_a_filter_lets_through_what_it_says(
    db: sqlite3.Connection, wanted: JobFilter, ids: list[str]
) -> None:
    assert ids_of(read_jobs(db, wanted)) == ids


def test_a_change_touches_its_fields_only_and_takes_the_job_over(db: sqlite3.Connection) -> None:
    changes: dict[str, dict[str, Any]] = {
        "id-0": {"status": JobStatus.PAUSED, "updated_s": 5.0},
        "gone": {"status": JobStatus.PAUSED, "updated_s": 5.0},
    }
    write_changes(db, "1" * 32, changes)
    changed = replace(JOB, status=JobStatus.PAUSED, updated_s=5.0)
    assert read_jobs(db, JobFilter(id_prefix="id-0")) == [OwnedJob(changed, "1" * 32)]
    assert len(read_jobs(db, JobFilter())) == 3


def test_interrupted_jobs_say_so(db: sqlite3.Connection) -> None:
    interrupt(db, read_jobs(db, JobFilter(id_prefix="id-")))
    found = [owned.job for owned in read_jobs(db, JobFilter(id_prefix="id-0"))]
    assert [(job.error, job.reason, job.completed_s) for job in found] == [
        (INTERRUPTED, INTERRUPTED, JOB.updated_s)
    ]


def test_what_may_go_on_is_what_is_unfinished_or_interrupted_and_of_a_torrent(
    db: sqlite3.Connection,
) -> None:
    paused = replace(JOB, id="paused", status=JobStatus.PAUSED, updated_s=1.0)
    dead = replace(JOBS[2], id="dead", reason=INTERRUPTED, updated_s=2.0)
    put(db, [paused, dead])
    assert [one.id for one in read_unfinished(db)] == ["paused", "dead", "id-0"]


def test_old_and_superfluous_finished_jobs_are_cleaned_away(db: sqlite3.Connection) -> None:
    old = replace(JOBS[2], id="old", completed_s=10.0)
    many = [replace(JOBS[2], id=f"n{n}", completed_s=4_000.0 + n) for n in range(5)]
    put(db, [old, *many])
    clean(db, finished_before_s=3_000.0, max_finished=3)
    assert set(ids_of(read_jobs(db, JobFilter()))) == {"n4", "n3", "n2", "id-0", "id-6"}


def test_removing_says_how_many_there_were(db: sqlite3.Connection) -> None:
    assert remove_jobs(db, ["id-0", "other", "unknown"]) == 2
    assert ids_of(read_jobs(db, JobFilter())) == ["id-6"]


def test_what_sqlite_cannot_take_is_cut_to_what_it_can(db: sqlite3.Connection) -> None:
    wild = replace(
        JOB,
        name="\udcff" + "n" * 1_000,
        error="e" * 5_000,
        progress=float("nan"),
        total_bytes=2**80,
        done_bytes=-1,
    )
    put(db, [wild])
    found = read_jobs(db, JobFilter(id_prefix="id-0"))[0].job
    assert (found.progress, found.total_bytes, found.done_bytes) == (0.0, 2**63 - 1, 0)
    assert (len(found.name), len(found.error or "")) == (255, 1_000)


# -- F6 -------------------------------------------------------------------------------------------

ROW = job_row(OwnedJob(JOB, OWNER))


def with_right_checksum(number: int, value: object) -> tuple[Any, ...]:
    """A row with a right checksum and an impossible field: of a bug, or a newer program."""
    fields = [*ROW[:-1]]
    fields[number] = value
    return (*fields, row_checksum(fields))


MALFORMED: dict[str, tuple[Any, ...]] = {
    "other checksum": (*ROW[:-1], b"x" * 16),
    "no checksum": (*ROW[:-1], None),
    "other name": (*ROW[:4], "other", *ROW[5:]),
    "number as name": (*ROW[:4], 7, *ROW[5:]),
    "other progress": (*ROW[:9], 1.0, *ROW[10:]),
    "unknown kind": with_right_checksum(2, "dig"),
    "no kind": with_right_checksum(2, None),
    "unknown status": with_right_checksum(5, "lost"),
    "short info-hash": with_right_checksum(3, b"x" * 19),
    "number as info-hash": with_right_checksum(3, 7),
}


@pytest.mark.parametrize("row", MALFORMED.values(), ids=MALFORMED.keys())
def test_f6_a_malformed_row_is_refused(row: tuple[Any, ...]) -> None:
    with pytest.raises(StateDatabaseError, match="damaged"):
        read_job_row(row)


_VALUES = st.none() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=24)


@given(st.lists(_VALUES, min_size=15, max_size=15), st.booleans())
def test_f6_reading_a_row_raises_nothing_but_its_own_error(
    values: list[Any], has_checksum: bool
) -> None:
    found = None
    if has_checksum:
        values[-1] = row_checksum(values[:-1])
    with suppress(StateDatabaseError):
        found = read_job_row(tuple(values))
    assert found is None or found.job.kind in set(JobKind)


@given(
    st.builds(
        Job,
        id=st.uuids().map(str),
        kind=st.sampled_from(JobKind),
        info_hash=st.none() | st.binary(min_size=20, max_size=20).map(InfoHash),
        name=st.text(st.characters(codec="utf-8"), max_size=255),
        status=st.sampled_from(JobStatus),
        created_s=st.floats(0, 2e9),
        updated_s=st.floats(0, 2e9),
        completed_s=st.none() | st.floats(0, 2e9),
        progress=st.floats(0, 1),
        total_bytes=st.integers(0, 2**63 - 1),
        done_bytes=st.integers(0, 2**63 - 1),
        error=st.none() | st.text(st.characters(codec="utf-8"), max_size=1_000),
        reason=st.none() | st.text(st.characters(codec="utf-8"), max_size=1_000),
    )
)
def test_every_job_is_read_back_from_its_row(job: Job) -> None:
    assert read_job_row(job_row(OwnedJob(job, OWNER))) == OwnedJob(job, OWNER)


def test_f6_ten_thousand_flipped_bits_in_rows_cost_one_job_each(
    db: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    random, whole = Random(6), {OwnedJob(job, OWNER) for job in JOBS}
    losses = 0
    for _ in range(10_000):
        flip_a_field(db, "jobs", random)
        found = set(read_jobs(db, JobFilter()))
        assert found <= whole
        losses += len(whole - found)
        db.execute("DELETE FROM jobs")
        db.execute("DELETE FROM quarantine")
        put(db, JOBS)
    assert losses == 10_000
