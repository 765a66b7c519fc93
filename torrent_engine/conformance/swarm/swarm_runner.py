"""Runs rules of downloads: a fresh process for each run, three runs of what fails."""

from collections.abc import Sequence
from typing import Final

import anyio

from torrent_engine.conformance.judging import (
    RuleSlots,
    judged,
    kit_failure,
    not_run,
    run_beside,
    tried_thrice,
)
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import ConformanceRule, Outcome
from torrent_engine.conformance.runner import ResultCallback, RunPlan
from torrent_engine.conformance.swarm.network import SwarmLab
from torrent_engine.conformance.swarm.subject import DownloaderFactory
from torrent_engine.conformance.swarm.swarm_case import SwarmCase
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.verdicts import Level, Role, Verdict

GRACE_S: Final = 150.0
"""On top of a rule's own time: for the start of the process and its first connection."""
COMPLETES: Final = "completes"


async def _sanity(case: SwarmCase) -> str:
    """Download a torrent from one seed."""
    await case.link_to(await case.seed())
    return COMPLETES if await case.completes() else "does not complete"


SANITY: Final = ConformanceRule(
    "SANITY-LEECH", Level.MUST, Role.LEECH, 60.0, {COMPLETES: Verdict.PASS}, _sanity
)


class SwarmRunner:
    """Runs each rule with a process and a folder of its own."""

    def __init__(
        self,
        create: DownloaderFactory,
        torrent: SampleTorrent,
        plan: RunPlan,
        progress: ResultCallback,
        lab: SwarmLab | None = None,
    ) -> None:
        self._create = create
        self._torrent = torrent
        self._plan = plan
        self._progress = progress
        self._lab = lab or SwarmLab.on(plan.addresses)
        self._slots = RuleSlots(plan.downloads)

    async def run(self, rules: Sequence[ConformanceRule]) -> list[RuleResult]:
        """Run rules; return their results in the order of ``rules``.

        All are inconclusive if the program does not download from an honest seed.
        """
        sane = await self._run_once(SANITY)
        if sane.verdict not in {Verdict.PASS, Verdict.UNSUPPORTED}:
            sane = await self._run_once(SANITY)
        if sane.verdict is not Verdict.PASS:
            return [self._told(_not_run(each, sane)) for each in rules]
        return await run_beside(rules, self._run)

    def _told(self, result: RuleResult) -> RuleResult:
        self._progress(result)
        return result

    async def _run(self, rule: ConformanceRule) -> RuleResult:
        return self._told(await tried_thrice(rule, self._slots, lambda: self._run_once(rule)))

    async def _run_once(self, rule: ConformanceRule) -> RuleResult:
        patience, start = self._plan.patience, anyio.current_time()
        outcome, verdict, log = Outcome("took too long"), Verdict.INCONCLUSIVE, ""
        async with self._create() as program:
            try:
                async with anyio.create_task_group() as tasks:
                    case = SwarmCase(
                        rule.limit_s, self._torrent, program, self._lab, tasks, patience=patience
                    )
                    with anyio.move_on_after(case.limit_s + GRACE_S * patience):
                        outcome, verdict = await judged(rule, case)
                    if case.has_started and not program.is_running():
                        outcome, verdict = Outcome("the process ended", outcome.name), Verdict.CRASH
                    log = case.log.text()
                    tasks.cancel_scope.cancel()
            except* Exception as errors:  # of a task that speaks with the program
                outcome, verdict = kit_failure(errors)
        seconds = anyio.current_time() - start
        return RuleResult(rule, verdict, outcome.name, outcome.detail, seconds, log=log)


def _not_run(rule: ConformanceRule, sane: RuleResult) -> RuleResult:
    if sane.verdict is Verdict.UNSUPPORTED:
        return not_run(rule, sane.detail, Verdict.UNSUPPORTED)
    reason = f"an honest seed is not downloaded from: {sane.outcome} {sane.detail}"
    return not_run(rule, reason.strip())
