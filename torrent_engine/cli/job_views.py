"""Jobs as tables, lines, JSON and CSV."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from torrent_engine.cli.render import print_lines, safe
from torrent_engine.cli.sizes import format_percent, format_size
from torrent_engine.disk.job_table import Job, JobStatus

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
ID_CHARS: Final = 8  # ours: enough to tell a day's jobs apart
NO_WIDTH: Final = 10_000  # ours: lines of a file are not cut
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_STYLES: Final = {
    JobStatus.RUNNING: "cyan",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
}


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


def detail_lines(job: Job) -> list[str]:
    """Return all that is known of a job, a fact a line."""
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
    return [safe(f"{name + ':':<11}{value}") for name, value in facts if value]


def print_table(jobs: Sequence[Job], *, no_color: bool) -> None:
    """Print a line a job; as wide as the terminal, or as needed where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not jobs:
        return print_lines(["no jobs"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("ID", "KIND", "STATUS", "DONE", "SIZE", "UPDATED"):
        table.add_column(
            name, no_wrap=True, justify="right" if name in {"DONE", "SIZE"} else "left"
        )
    table.add_column("NAME", overflow="ellipsis", no_wrap=True)
    for job in jobs:
        status = Text(job.status, style=_STYLES.get(job.status, ""))
        size = format_size(job.total_bytes) if job.total_bytes else "-"
        done = format_percent(job.progress, 1.0)
        when = _local(job.updated_s)
        title = Text(_title(job))
        table.add_row(job.id[:ID_CHARS], str(job.kind), status, done, size, when, title)
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    text = io.StringIO()
    console = Console(
        file=text,
        width=None if is_terminal else NO_WIDTH,
        force_terminal=is_terminal,
        no_color=no_color or None,
        highlight=False,
    )
    console.print(table)
    return print_lines([line.rstrip() for line in text.getvalue().splitlines()])


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
