"""The record of executions: how many inputs each target has had, with coverage, over all runs.

It is kept in ``fuzz/executions.json``, so that a large number is reached in several sittings. What
was run counts for the code that drives and checks (the file of the target): if that changes, the
count begins anew. A change of the code under test does not set it back, or a corrected line would
cost hours; executions are kept apart by its version instead, so that it shows how many the code as
it is has had. Comments, docstrings and layout change no version (:mod:`fuzz.sources`).
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from fuzz.sources import target_version, tested_version

RECORD: Final = Path(__file__).parent / "executions.json"

Record = dict[str, Any]


class Totals(NamedTuple):
    """Executions of a target as it is: of all code that it tested, and of the code as it is."""

    executions: int
    of_this_code: int
    cpu_s: float
    edges: int
    last: str


class Version(NamedTuple):
    """Versions of the code of a target, and of the code that it tests."""

    target: str
    tested: str


def version(name: str) -> Version:
    """Return what the files of now are."""
    return Version(target_version(name), tested_version(name))


def read_record(path: Path = RECORD) -> Record:
    """Return the record: empty if there is none."""
    found: Record = json.loads(path.read_text()) if path.exists() else {}
    return found


def totals(name: str, now: Version, record: Record) -> Totals:
    """Return what a target has had since it last changed."""
    entry = record.get(name, {})
    runs = entry["runs"] if entry.get("target") == now.target else []
    return Totals(
        sum(run["executions"] for run in runs),
        sum(run["executions"] for run in runs if run["tested"] == now.tested),
        sum(run["cpu_s"] for run in runs),
        max((run["edges"] for run in runs), default=0),
        max((run["last"] for run in runs), default=""),
    )


def add_run(
    name: str, ran: Version, executions: int, *, cpu_s: float, edges: int, path: Path = RECORD
) -> None:
    """Add a run without a finding to the record, which other processes may write too."""
    with _alone(path):
        record = read_record(path)
        entry = record.get(name, {})
        if entry.get("target") != ran.target:
            entry = record[name] = {"target": ran.target, "runs": []}
        runs = {run["tested"]: run for run in entry["runs"]}
        before = runs.get(ran.tested, {"executions": 0, "cpu_s": 0, "edges": 0})
        runs[ran.tested] = {
            "tested": ran.tested,
            "executions": before["executions"] + executions,
            "cpu_s": round(before["cpu_s"] + cpu_s),
            "edges": max(before["edges"], edges),
            "last": f"{datetime.now(UTC):%Y-%m-%d}",
        }
        entry["runs"] = list(runs.values())
        new = path.with_suffix(".new")
        new.write_text(f"{json.dumps(dict(sorted(record.items())), indent=1)}\n")
        new.replace(path)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes out, by a lock on the folder."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def table(names: Iterable[str], record: Record) -> str:
    """Return the record as a table in Markdown."""
    lines = [
        "| target | executions | of the code as it is | a second of CPU | edges | last |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        had = totals(name, version(name), record)
        rate = round(had.executions / had.cpu_s) if had.cpu_s else 0
        numbers = f"{had.executions:,} | {had.of_this_code:,} | {rate:,} | {had.edges:,}"
        lines.append(f"| {name} | {numbers} | {had.last} |")
    return "\n".join(lines)
