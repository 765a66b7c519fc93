"""Jobs as tables, lines, JSON and CSV."""

import csv
import io
import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from torrent_engine.cli.output.render import print_lines, print_wrapped
from torrent_engine.cli.output.sizes import format_percent, format_short, format_size
from torrent_engine.cli.output.text import safe
from torrent_engine.cli.output.text_table import Column, is_drawn_on, print_table, table
from torrent_engine.disk.state.job_table import Job, JobStatus

if TYPE_CHECKING:
    from rich.text import Text

COLUMNS: Final = (
    "id",
    "kind",
    "status",
    "info_hash",
    "name",
    "progress",
    "total_bytes",
    "done_bytes",
    "created",
    "updated",
    "completed",
    "error",
    "reason",
)
MIN_ID_CHARS: Final = 8  # ours: enough to tell a day's jobs apart
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_STYLES: Final = {
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
}


_FIRST_TO_GO: Final = ("UPDATED", "SIZE", "DONE", "KIND", "STATUS")


def as_record(job: Job) -> dict[str, object]:
    """Return a job for a program: times are ISO 8601 in UTC, sizes bytes."""
    return {
        "id": job.id,
        "kind": str(job.kind),
        "status": str(job.status),
        "info_hash": None if job.info_hash is None else job.info_hash.hex(),
        "name": job.name,
        "progress": round(job.progress, 4),
        "total_bytes": job.total_bytes,
        "done_bytes": job.done_bytes,
        "created": _iso(job.created_s),
        "updated": _iso(job.updated_s),
        "completed": None if job.completed_s is None else _iso(job.completed_s),
        "error": job.error,
        "reason": job.reason,
    }


def as_json(jobs: Sequence[Job]) -> str:
    """Return an array with a job a line."""
    lines = [json.dumps(as_record(job), allow_nan=False) for job in jobs]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def as_csv(jobs: Sequence[Job]) -> str:
    """Return a table with a header; no cell is a formula, whatever a torrent is called."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for job in jobs:
        record = as_record(job)
        writer.writerow([_cell(record[name]) for name in COLUMNS])
    return text.getvalue()


def detail_fields(job: Job) -> list[tuple[str, str]]:
    """Return all that is known of a job, ``field: `` and value for each line."""
    facts: list[tuple[str, str | None]] = [
        ("Id", job.id),
        ("Kind", job.kind),
        ("Status", job.status),
        ("Name", job.name),
        ("Info-hash", None if job.info_hash is None else job.info_hash.hex()),
        ("Progress", _progress(job)),
        ("Created", _local(job.created_s)),
        ("Updated", _local(job.updated_s)),
        ("Ended", None if job.completed_s is None else _local(job.completed_s)),
        ("Error", job.error),
        ("Reason", job.reason),
    ]
    return [(f"{name + ':':<11}", safe(value)) for name, value in facts if value]


def print_details(job: Job) -> None:
    """Print all that is known of a job."""
    for field, value in detail_fields(job):
        print_wrapped(value, first=field, indent=" " * len(field))


def print_jobs(jobs: Sequence[Job], *, id_chars: int, no_color: bool) -> None:
    """Print a line a job; as wide as the terminal, or as needed where there is none.

    ``id_chars`` digits of an id tell all jobs apart.
    """
    if not jobs:
        return print_lines(["no jobs"])
    now_s = time.time() if is_drawn_on() else None
    return print_table(
        lambda width: jobs_table(jobs, id_chars=id_chars, width=width, now_s=now_s),
        no_color=no_color,
    )


def jobs_table(jobs: Sequence[Job], *, id_chars: int, width: int, now_s: float | None) -> "Text":
    """Return a head and a line a job, at most ``width`` wide; only names are cut.

    Times are short, those of the day of ``now_s`` without date; None: all have both.
    """
    columns = (
        Column("ID", [job.id[:id_chars] for job in jobs]),
        Column("KIND", [str(job.kind) for job in jobs]),
        Column(
            "STATUS",
            [str(job.status) for job in jobs],
            styles=[_STYLES.get(job.status, "") for job in jobs],
        ),
        Column("DONE", [format_percent(job.progress, 1.0) for job in jobs], is_right=True),
        Column("SIZE", [format_short(job.total_bytes or 0) for job in jobs], is_right=True),
        Column("UPDATED", [_moment(job.updated_s, now_s) for job in jobs]),
    )
    return table(columns, [_title(job) for job in jobs], width=width, first_to_go=_FIRST_TO_GO)


def _title(job: Job) -> str:
    why = job.error or job.reason
    return safe(f"{job.name} ({why})" if why else job.name)


def _progress(job: Job) -> str:
    share = format_percent(job.progress, 1.0)
    if not job.total_bytes:
        return share
    return f"{share}, {format_size(job.done_bytes)} of {format_size(job.total_bytes)}"


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _iso(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None  # a clock that was wrong beyond a calendar


def _local(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "-"


def _moment(seconds: float, now_s: float | None) -> str:
    """Return the time of a moment of today, else its date and time without the year."""
    text = _local(seconds)
    if now_s is None:
        return text
    today = _local(now_s)[:10]
    if text.startswith(today):
        return text[11:]
    return text[5:16] if text[:4] == today[:4] else text[:10]


def unambiguous_chars(ids: Iterable[str]) -> int:
    """Return how many of the first digits tell these ids apart, at least MIN_ID_CHARS."""
    alike = (_alike_chars(one, two) for one, two in pairwise(sorted(ids)))
    return max(MIN_ID_CHARS, max(alike, default=0) + 1)


def _alike_chars(one: str, two: str) -> int:
    pairs = enumerate(zip(one, two, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(two)))
