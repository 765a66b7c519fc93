"""A whole run: the program, its rules, and the report.

The calls that test suites of other projects need.
"""

import platform
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from torrent_engine.conformance.adapters.download import DownloaderLauncher
from torrent_engine.conformance.adapters.launch import (
    LaunchBuilder,
    LaunchCommand,
    builder_named,
)
from torrent_engine.conformance.adapters.nodes import NodeLauncher, node_builder_named
from torrent_engine.conformance.adapters.process import started, version_printed
from torrent_engine.conformance.adapters.trackers import TrackerLauncher, tracker_builder_named
from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.dht.dht_runner import DhtRunner
from torrent_engine.conformance.dht.network import LoopbackDatagrams
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.results import RuleResult, RunReport
from torrent_engine.conformance.rule import ConformanceRule
from torrent_engine.conformance.runner import RuleRunner, RunPlan
from torrent_engine.conformance.subject import RemoteSubject, SubjectPort
from torrent_engine.conformance.swarm.swarm_runner import SwarmRunner
from torrent_engine.conformance.torrent_set import basic_torrent
from torrent_engine.conformance.tracker.tracker_runner import TrackerRunner
from torrent_engine.conformance.utp.over_utp import SubjectOverUtp
from torrent_engine.conformance.verdicts import Role, Verdict

ALONE: Final = frozenset({Role.SEED, Role.DHT, Role.UTP, Role.TRACKER})
"""Roles whose rules share a program; each rule of the others gets one of its own."""


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

    ``name`` is a name of ``adapters.launch.BUILDERS`` or the path of a TOML file. Raises
    SubjectUnreachableError if it cannot be started, ConformanceError for a wrong name or prefix.
    """
    chosen = list(rules) if rules is not None else choose(prefixes)
    of_seeds = [each for each in chosen if each.role is Role.SEED]
    of_nodes = [each for each in chosen if each.role is Role.DHT]
    over_utp = [each for each in chosen if each.role is Role.UTP]
    of_trackers = [each for each in chosen if each.role is Role.TRACKER]
    of_downloads = [each for each in chosen if each.role not in ALONE]
    builder, torrent = builder_named(name), basic_torrent()
    report = _new_report(name, "", "")
    async with _folder() as folder:
        if of_seeds or not (of_downloads or of_nodes or over_utp or of_trackers):
            async with started(name, builder, torrent, folder) as subject:
                report.version, report.command = subject.version(), subject.command
                await _run_into(report, subject, of_seeds, plan, progress)
        if of_downloads:
            launcher = DownloaderLauncher(name, builder, folder)
            swarms = SwarmRunner(launcher.create, torrent, plan or RunPlan(), progress)
            report.results += await swarms.run(of_downloads)
            _note_command(report, launcher.command)
        if of_nodes:
            nodes = NodeLauncher(name, node_builder_named(name), torrent, folder)
            runner = DhtRunner(nodes.create, plan or RunPlan(), progress)
            report.results += await runner.run(of_nodes)
            _note_command(report, nodes.command)
        if over_utp:
            await _run_over_utp(report, builder, folder / "utp", over_utp, plan, progress)
        if of_trackers:
            trackers = TrackerLauncher(name, tracker_builder_named(name), folder)
            tracking = TrackerRunner(trackers.create, plan or RunPlan(), progress)
            report.results += await tracking.run(of_trackers)
            _note_command(report, trackers.command)
    order = [each.rule_id for each in chosen]
    report.results.sort(key=lambda each: order.index(each.rule.rule_id))
    return report


async def _run_over_utp(
    report: RunReport,
    builder: LaunchBuilder,
    folder: Path,
    rules: Sequence[ConformanceRule],
    plan: RunPlan | None,
    progress: Callable[[RuleResult], None],
) -> None:
    """Start the program with uTP, and run rules; they are unsupported if it has none."""
    torrent = basic_torrent()
    try:
        async with started(report.subject, builder, torrent, folder, over_utp=True) as program:
            subject = SubjectOverUtp(program, LoopbackDatagrams(), program.address)
            await _run_into(report, subject, rules, plan, progress)
            if not report.command:
                report.version, report.command = program.version(), program.command
    except ConformanceError as error:
        is_missing = isinstance(error, NotOfferedError)
        verdict = Verdict.UNSUPPORTED if is_missing else Verdict.INCONCLUSIVE
        for each in rules:
            report.results.append(RuleResult(each, verdict, "not run", str(error)))
            progress(report.results[-1])


def _note_command(report: RunReport, command: LaunchCommand | None) -> None:
    """Note how the program was started, unless that is known."""
    if command is not None and not report.command:
        report.version = version_printed(command)
        report.command = " ".join(command.argv)


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
    of_seeds = [each for each in rules if each.role is Role.SEED]
    if not of_seeds:
        raise ConformanceError("these rules are not about seeds: `run --subject` tries them")
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
