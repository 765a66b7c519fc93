"""A run against one program: the rules of each role, several roles at the same time."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.conformance.adapters.download import DownloaderLauncher
from torrent_engine.conformance.adapters.launch import LaunchBuilder, LaunchCommand
from torrent_engine.conformance.adapters.nodes import NodeLauncher, node_builder_named
from torrent_engine.conformance.adapters.process import StartedSubject, started, version_printed
from torrent_engine.conformance.adapters.trackers import TrackerLauncher, tracker_builder_named
from torrent_engine.conformance.dht.dht_runner import DhtRunner
from torrent_engine.conformance.dht.network import LoopbackDatagrams
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.judging import not_run
from torrent_engine.conformance.results import RuleResult, RunReport
from torrent_engine.conformance.rule import ConformanceRule
from torrent_engine.conformance.runner import RuleRunner, RunPlan
from torrent_engine.conformance.samples import sample_torrent
from torrent_engine.conformance.subject import SubjectPort
from torrent_engine.conformance.swarm.swarm_runner import SwarmRunner
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.tracker.tracker_runner import TrackerRunner
from torrent_engine.conformance.utp.over_utp import SubjectOverUtp
from torrent_engine.conformance.verdicts import Role, SampleName, Verdict

SHARED: Final = frozenset({Role.SEED, Role.DHT, Role.UTP, Role.TRACKER})
"""Roles whose rules share a program; each rule of the others gets one of its own."""
SLOW_S: Final = 60.0
"""Rules of seeds that may take longer have a program of their own, so that no group waits."""
SAMPLE_READY_S: Final = 60.0
"""Until then a program shows that it seeds a torrent that not every program takes."""
Rules = Sequence[ConformanceRule]


class ProgramRun:
    """The program of one name, and the report that its roles fill."""

    def __init__(
        self,
        report: RunReport,
        builder: LaunchBuilder,
        torrent: SampleTorrent,
        folder: Path,
        plan: RunPlan,
        progress: Callable[[RuleResult], None],
    ) -> None:
        self._report = report
        self._name = report.subject
        self._builder = builder
        self._torrent = torrent
        self._folder = folder
        self._plan = plan
        self._host = plan.addresses.host
        self._progress = progress

    async def run(self, rules: Rules) -> None:
        """Run rules; without any, start the program once. Raises ConformanceError.

        With one job for the plan, one role after the other.
        """
        roles = self._roles(rules)
        limiter = anyio.CapacityLimiter(1 if self._plan.jobs == 1 else len(roles))

        async def run_one(try_role: Callable[[Rules], Awaitable[None]], its_rules: Rules) -> None:
            async with limiter:
                await try_role(its_rules)

        error: ConformanceError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                for try_role, its_rules in roles:
                    tasks.start_soon(run_one, try_role, its_rules)
        except* ConformanceError as group:
            error = _first_of(group)
        if error is not None:  # Python before 3.11.4 makes a group of what is raised above
            raise error

    def _roles(self, rules: Rules) -> list[tuple[Callable[[Rules], Awaitable[None]], Rules]]:
        """Return what tries the rules of each role that has some."""
        seeding = {
            sample: [each for each in rules if each.role is Role.SEED and each.sample is sample]
            for sample in SampleName
        }
        basic = seeding.pop(SampleName.BASIC)
        slow = [each for each in basic if each.limit_s > SLOW_S and not each.is_alone]
        quick = [each for each in basic if each not in slow]
        by_role: list[tuple[Callable[[Rules], Awaitable[None]], Rules]] = [
            (self._try_seed, quick),
            (partial(self._try_seed, is_slow=True), slow),
            (self._try_downloads, [each for each in rules if each.role not in SHARED]),
            (self._try_node, [each for each in rules if each.role is Role.DHT]),
            (self._try_over_utp, [each for each in rules if each.role is Role.UTP]),
            (self._try_tracker, [each for each in rules if each.role is Role.TRACKER]),
        ]
        by_role += [(partial(self._try_sample, sample), its) for sample, its in seeding.items()]
        return [each for each in by_role if each[1]] or [by_role[0]]

    async def _try_seed(self, rules: Rules, *, is_slow: bool = False) -> None:
        folder = self._folder / "slow" if is_slow else self._folder
        async with started(
            self._name, self._builder, self._torrent, folder, addresses=self._plan.addresses
        ) as subject:
            await self._run_seed(subject, subject, self._torrent, rules, in_groups=not is_slow)

    async def _try_downloads(self, rules: Rules) -> None:
        launcher = DownloaderLauncher(self._name, self._builder, self._folder, self._host)
        runner = SwarmRunner(launcher.create, self._torrent, self._plan, self._progress)
        self._report.results += await runner.run(rules)
        await self._note_command(launcher.command)

    async def _try_node(self, rules: Rules) -> None:
        builder = node_builder_named(self._name)
        launcher = NodeLauncher(self._name, builder, self._torrent, self._folder, self._host)
        runner = DhtRunner(launcher.create, self._plan, self._progress)
        self._report.results += await runner.run(rules)
        await self._note_command(launcher.command)

    async def _try_tracker(self, rules: Rules) -> None:
        builder = tracker_builder_named(self._name)
        launcher = TrackerLauncher(self._name, builder, self._folder, self._host)
        runner = TrackerRunner(launcher.create, self._plan, self._progress)
        self._report.results += await runner.run(rules)
        await self._note_command(launcher.command)

    async def _try_over_utp(self, rules: Rules) -> None:
        """Start the program with uTP, and run rules; they are unsupported if it has none."""
        folder = self._folder / "utp"
        try:
            async with started(
                self._name,
                self._builder,
                self._torrent,
                folder,
                over_utp=True,
                addresses=self._plan.addresses,
            ) as program:
                subject = SubjectOverUtp(program, LoopbackDatagrams(), program.address)
                await self._run_seed(program, subject, self._torrent, rules)
        except ConformanceError as error:
            is_missing = isinstance(error, NotOfferedError)
            self._tell_all(rules, Verdict.UNSUPPORTED if is_missing else None, error)

    async def _try_sample(self, sample: SampleName, rules: Rules) -> None:
        """Let the program seed another torrent, and run rules; they are unsupported if it fails."""
        torrent = await anyio.to_thread.run_sync(sample_torrent, sample)
        try:
            async with started(
                self._name,
                self._builder,
                torrent,
                self._folder / sample,
                addresses=self._plan.addresses,
                ready_s=SAMPLE_READY_S * self._plan.patience,
            ) as program:
                await self._run_seed(program, program, torrent, rules)
        except ConformanceError as error:
            self._tell_all(rules, Verdict.UNSUPPORTED, error)

    async def _run_seed(
        self,
        program: StartedSubject,
        subject: SubjectPort,
        torrent: SampleTorrent,
        rules: Rules,
        *,
        in_groups: bool = True,
    ) -> None:
        runner = RuleRunner(subject, torrent, self._plan, self._progress, in_groups=in_groups)
        self._report.results += await runner.run(rules)
        if not self._report.command:
            self._report.command = program.command
            self._report.version = await anyio.to_thread.run_sync(program.version)

    def _tell_all(self, rules: Rules, verdict: Verdict | None, error: ConformanceError) -> None:
        """Note that rules were not run."""
        for each in rules:
            self._report.results.append(not_run(each, error, verdict))
            self._progress(self._report.results[-1])

    async def _note_command(self, command: LaunchCommand | None) -> None:
        """Note how the program was started, unless that is known."""
        if command is not None and not self._report.command:
            self._report.command = " ".join(command.argv)
            self._report.version = await anyio.to_thread.run_sync(version_printed, command)


def _first_of(group: BaseExceptionGroup[ConformanceError]) -> ConformanceError:
    error = group.exceptions[0]
    return _first_of(error) if isinstance(error, BaseExceptionGroup) else error
