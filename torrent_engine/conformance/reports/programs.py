"""Several runs of several programs: a column for each program, and how steady it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from torrent_engine.conformance.errors import ConformanceError
from torrent_engine.conformance.reports.matrix import (
    MatrixCell,
    MatrixColumn,
    load_column,
    safe_html,
)
from torrent_engine.conformance.verdicts import Verdict

EXCERPT_LINES: Final = 14
EXCERPT_CHARACTERS: Final = 160
DISAGREE: Final = "runs disagree"


@dataclass(frozen=True, slots=True)
class TimedRun:
    """One run of one program, and how long it took."""

    column: MatrixColumn
    seconds: float
    load: float
    """Of the machine when it began, as ``uptime`` prints it."""


@dataclass(frozen=True, slots=True)
class ProgramSummary:
    """What the runs of one program have in common."""

    column: MatrixColumn
    """Verdicts of all runs; where they differ, inconclusive."""
    verdicts: Mapping[str, tuple[Verdict, ...]]
    """Of each run, by rule."""
    runs: tuple[TimedRun, ...]

    @property
    def compared(self) -> int:
        """Number of the rules that ran more than once."""
        return sum(len(each) > 1 for each in self.verdicts.values())

    @property
    def steady(self) -> int:
        """Number of those that had the same verdict every time."""
        return sum(len(each) > 1 == len(set(each)) for each in self.verdicts.values())

    @property
    def unsure_share(self) -> float:
        """The share of inconclusive verdicts of all runs."""
        every = [each for verdicts in self.verdicts.values() for each in verdicts]
        return every.count(Verdict.INCONCLUSIVE) / max(len(every), 1)

    @property
    def seconds(self) -> float:
        """How long the longest run took."""
        return max(each.seconds for each in self.runs)

    @property
    def name(self) -> str:
        """The name, without the version."""
        return self.column.subject


def load_run(path: Path) -> TimedRun:
    """Read the JSON of a run, with its ``seconds`` and ``load``. Raises ConformanceError."""
    column = load_column(path)
    record = json.loads(path.read_bytes())
    seconds, load = record.get("seconds", 0), record.get("load", 0)
    if not isinstance(seconds, int | float) or not isinstance(load, int | float):
        raise ConformanceError(f"{path}: seconds or load is no number")
    return TimedRun(column, float(seconds), float(load))


def summary_of(runs: Sequence[TimedRun], *, withholds_crashes: bool = False) -> ProgramSummary:
    """Return what runs of one program have in common.

    ``withholds_crashes`` leaves every rule out in which the program ended in one of the tries.
    """
    first = runs[0].column
    cells: dict[str, MatrixCell] = {}
    verdicts: dict[str, tuple[Verdict, ...]] = {}
    for rule_id in dict.fromkeys(rule_id for each in runs for rule_id in each.column.cells):
        found = [each.column.cells[rule_id] for each in runs if rule_id in each.column.cells]
        if withholds_crashes and any(map(_has_crashed, found)):
            continue
        cells[rule_id] = _common(found)
        verdicts[rule_id] = tuple(each.verdict for each in found)
    return ProgramSummary(replace(first, cells=cells), verdicts, tuple(runs))


def _has_crashed(cell: MatrixCell) -> bool:
    return Verdict.CRASH in (cell.verdict, *cell.tries)


def _common(cells: Sequence[MatrixCell]) -> MatrixCell:
    first = cells[0]
    log = _excerpt(first.log) if first.verdict is Verdict.FAIL else ""
    if len({each.verdict for each in cells}) == 1:
        return replace(first, log=log)
    detail = ", ".join(f"{each.verdict.value} {each.outcome}" for each in cells)
    return MatrixCell(Verdict.INCONCLUSIVE, DISAGREE, detail, log)


def _excerpt(log: str) -> str:
    """Return the end of a wire log, with long lines cut."""
    lines = [each[:EXCERPT_CHARACTERS] for each in log.splitlines()]
    return "\n".join(lines[-EXCERPT_LINES:])


def stability_html(summaries: Sequence[ProgramSummary]) -> str:
    """Return a table: verdicts, steadiness, time and load of each program."""
    kinds = [each for each in Verdict if any(_count(one, each) for one in summaries)]
    names = ("Program", "Runs", *(each.value for each in kinds), "same verdict each time")
    heads = (*names, "inconclusive", "longest run", "load at the start")
    lines = ["<h2>Steadiness</h2><table><thead><tr>", *(f"<th>{each}</th>" for each in heads)]
    lines.append("</tr></thead><tbody>")
    for each in summaries:
        loads = ", ".join(f"{run.load:.0f}" for run in each.runs)
        cells = (
            each.column.version or each.name,
            str(len(each.runs)),
            *(str(_count(each, kind)) for kind in kinds),
            f"{each.steady} of {each.compared}",
            f"{each.unsure_share:.1%}",
            f"{each.seconds / 60:.1f} min" if each.seconds else "not timed",
            loads,
        )
        lines.append("<tr>" + "".join(f"<td>{safe_html(cell)}</td>" for cell in cells) + "</tr>")
    return "\n".join((*lines, "</tbody></table><h2>Rules</h2>"))


def _count(summary: ProgramSummary, kind: Verdict) -> int:
    return sum(each.verdict is kind for each in summary.column.cells.values())


def matrix_record(summaries: Sequence[ProgramSummary]) -> dict[str, Any]:
    """Return the matrix as JSON knows it."""
    return {
        "kit": max(each.column.kit for each in summaries),
        "programs": [_program_record(each) for each in summaries],
    }


def _program_record(summary: ProgramSummary) -> dict[str, Any]:
    return {
        "subject": summary.name,
        "version": summary.column.version,
        "command": summary.column.command,
        "runs": [
            {"started": each.column.started, "seconds": each.seconds, "load": each.load}
            for each in summary.runs
        ],
        "compared": summary.compared,
        "steady": summary.steady,
        "unsure_share": round(summary.unsure_share, 4),
        "rules": {
            rule_id: _cell_record(cell, summary.verdicts[rule_id])
            for rule_id, cell in summary.column.cells.items()
        },
    }


def _cell_record(cell: MatrixCell, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    record: dict[str, Any] = {"verdict": cell.verdict.value}
    if len(verdicts) > 1:
        record["runs"] = "".join(each.value for each in verdicts)
    if cell.verdict is not Verdict.PASS:
        record["outcome"] = cell.outcome + (f" ({cell.detail})" if cell.detail else "")
    return record
