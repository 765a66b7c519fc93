"""Runs rules of downloads: a fresh process for each run, three runs of what fails."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import anyio

from torrent_engine.conformance.errors import (
    ConformanceError,
    NotOfferedError,
)
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import ConformanceRule, Outcome
from torrent_engine.conformance.runner import TRIES, ResultCallback, RunPlan
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
        self._lab = lab or SwarmLab.on_loopback()

    async def run(self, rules: Sequence[ConformanceRule]) -> list[RuleResult]:
        """Run rules; return their results in the order of ``rules``.

        All are inconclusive if the program does not download from an honest seed.
        """
        sane = await self._run_once(SANITY)
        if sane.verdict not in {Verdict.PASS, Verdict.UNSUPPORTED}:
            sane = await self._run_once(SANITY)
        if sane.verdict is not Verdict.PASS:
            return [self._told(_not_run(each, sane)) for each in rules]
        found: dict[str, RuleResult] = {}
        limiter = anyio.CapacityLimiter(self._plan.jobs)

        async def run_one(rule: ConformanceRule) -> None:
            async with limiter:
                found[rule.rule_id] = await self._run(rule)
            self._told(found[rule.rule_id])

        async with anyio.create_task_group() as tasks:
            for each in rules:
                tasks.start_soon(run_one, each)
        return [found[each.rule_id] for each in rules]

    def _told(self, result: RuleResult) -> RuleResult:
        self._progress(result)
        return result

    async def _run(self, rule: ConformanceRule) -> RuleResult:
        """Run a rule, three times if it fails."""
        result = await self._run_once(rule)
        verdicts = [result.verdict]
        while result.verdict is Verdict.FAIL and len(verdicts) < TRIES:
            again = await self._run_once(rule)
            verdicts.append(again.verdict)
            if again.verdict is not Verdict.FAIL:
                detail = f"{again.outcome} after {result.outcome}"
                result = replace(again, verdict=Verdict.INCONCLUSIVE, detail=detail)
        return replace(result, verdicts=tuple(verdicts) if len(verdicts) > 1 else ())

    async def _run_once(self, rule: ConformanceRule) -> RuleResult:
        patience, start = self._plan.patience, anyio.current_time()
        outcome, verdict, log = Outcome("took too long"), Verdict.INCONCLUSIVE, ""
        async with self._create() as program, anyio.create_task_group() as tasks:
            case = SwarmCase(
                rule.limit_s, self._torrent, program, self._lab, tasks, patience=patience
            )
            with anyio.move_on_after(case.limit_s + GRACE_S * patience):
                outcome, verdict = await judged_download(rule, case)
            if case.has_started and not program.is_running():
                outcome, verdict = Outcome("the process ended", outcome.name), Verdict.CRASH
            log = case.log.text()
            tasks.cancel_scope.cancel()
        seconds = anyio.current_time() - start
        return RuleResult(rule, verdict, outcome.name, outcome.detail, seconds, log=log)


def _not_run(rule: ConformanceRule, sane: RuleResult) -> RuleResult:
    is_missing = sane.verdict is Verdict.UNSUPPORTED
    verdict = Verdict.UNSUPPORTED if is_missing else Verdict.INCONCLUSIVE
    reason = f"an honest seed is not downloaded from: {sane.outcome} {sane.detail}".strip()
    return RuleResult(rule, verdict, "not run", sane.detail if is_missing else reason)


async def judged_download(rule: ConformanceRule, case: SwarmCase) -> tuple[Outcome, Verdict]:
    """Run the function of a rule and look its outcome up in its table."""
    try:
        found = await rule.run(case)
    except NotOfferedError as error:
        return Outcome("not offered", str(error)), Verdict.UNSUPPORTED
    except ConformanceError as error:
        return Outcome("undecided", str(error)), Verdict.INCONCLUSIVE
    outcome = Outcome(found) if isinstance(found, str) else found
    return outcome, rule.outcomes.get(outcome.name, Verdict.INCONCLUSIVE)
