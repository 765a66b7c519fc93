"""A whole run: the program, its rules, and the report.

The calls that test suites of other projects need.
"""

import platform
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from torrent_engine.conformance.adapters.programs import builder_named
from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.errors import ConformanceError
from torrent_engine.conformance.program_run import ProgramRun
from torrent_engine.conformance.results import RuleResult, RunReport
from torrent_engine.conformance.rule import ConformanceRule
from torrent_engine.conformance.runner import RuleRunner, RunPlan
from torrent_engine.conformance.subject import RemoteSubject, SubjectPort
from torrent_engine.conformance.torrent_set import basic_torrent
from torrent_engine.conformance.verdicts import Role, SampleName


def _silent(_: RuleResult) -> None:
    """Show no progress."""


async def run_program(
    name: str,
    prefixes: Sequence[str] = (),
    *,
    rules: Sequence[ConformanceRule] | None = None,
    plan: RunPlan | None = None,
    progress: Callable[[RuleResult], None] = _silent,
) -> RunReport:
    """Start a program, run the rules whose ids begin with ``prefixes``, and end it.

    ``name`` is a name of ``adapters.programs.BUILDERS`` or the path of a TOML file. Raises
    SubjectUnreachableError if it cannot be started, ConformanceError for a wrong name or prefix.
    """
    chosen = list(rules) if rules is not None else choose(prefixes)
    report = _new_report(name, "", "")
    async with _folder() as folder:
        run = ProgramRun(
            report, builder_named(name), basic_torrent(), folder, plan or RunPlan(), progress
        )
        await run.run(chosen)
    order = [each.rule_id for each in chosen]
    report.results.sort(key=lambda each: order.index(each.rule.rule_id))
    return report


async def run_remote(
    host: str,
    port: int,
    *,
    rules: Sequence[ConformanceRule],
    plan: RunPlan | None = None,
    progress: Callable[[RuleResult], None] = _silent,
) -> RunReport:
    """Run the rules of seeds against a program that seeds the sample torrent at an address."""
    subject = RemoteSubject(host, port)
    report = _new_report(subject.name, "", "started by hand")
    of_seeds = [
        each for each in rules if each.role is Role.SEED and each.sample is SampleName.BASIC
    ]
    if not of_seeds:
        raise ConformanceError("these rules are not about seeds of `prepare`: use `run --subject`")
    await _run_into(report, subject, of_seeds, plan, progress)
    return report


async def _run_into(
    report: RunReport,
    subject: SubjectPort,
    rules: Sequence[ConformanceRule],
    plan: RunPlan | None,
    progress: Callable[[RuleResult], None],
) -> None:
    runner = RuleRunner(subject, basic_torrent(), plan or RunPlan(), progress)
    report.results += await runner.run(rules)


def _new_report(name: str, version: str, command: str) -> RunReport:
    environment = f"Python {platform.python_version()}, {platform.platform()}"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return RunReport(name, version, command, now, environment)


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    with TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as path:
        yield Path(path)
