"""The kit for test suites: run rules against a program, and fail with what it did wrong."""

from collections.abc import Sequence
from pathlib import Path

import anyio

from torrent_engine.conformance.expectations import load_expected
from torrent_engine.conformance.reports.text import ending_lines
from torrent_engine.conformance.results import KitExit, RunReport
from torrent_engine.conformance.runner import RunPlan
from torrent_engine.conformance.session import run_program


def run(
    subject: str,
    prefixes: Sequence[str] = (),
    *,
    expected: str | Path | None = None,
    patience: float = 1.0,
    jobs: int = 6,
    strict: bool = False,
) -> RunReport:
    """Start a program, run the rules whose ids begin with ``prefixes``, and return the report.

    ``subject`` is a name such as ``libtorrent`` or the path of a TOML file, ``expected`` the path
    of a file of known verdicts. ``patience`` is a factor of all time limits, ``jobs`` the number of
    rules that run at the same time. Nothing of it needs an event loop of the caller. Raises
    SubjectUnreachableError if the program cannot be started, ConformanceError for a wrong name.
    """
    known = load_expected(Path(expected)) if expected is not None else None
    plan = RunPlan(patience, jobs)

    async def run_it() -> RunReport:
        return await run_program(subject, prefixes, plan=plan)

    report = anyio.run(run_it)
    report.strict = strict
    if known is not None:
        report.compare(known)
    return report


def check(report: RunReport) -> None:
    """Raise AssertionError with requirement, source and bytes of every failure, if there is one.

    Also if a program crashed, if more than a tenth is inconclusive, and, with a file of
    expectations, for every difference from it.
    """
    if report.exit_code() is not KitExit.OK:
        raise AssertionError("\n".join(ending_lines(report)))
