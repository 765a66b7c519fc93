"""Runs rules of trackers against one process that they share."""

import itertools
from collections.abc import Sequence
from typing import Final

import anyio

from torrent_engine.conformance.dht.network import DhtLab
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.judging import (
    RuleSlots,
    ended_by,
    judged,
    not_run,
    run_beside,
    tried_thrice,
)
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import ConformanceRule, Outcome
from torrent_engine.conformance.runner import ResultCallback, RunPlan
from torrent_engine.conformance.tracker.tracker_case import TrackerCase, known_hashes
from torrent_engine.conformance.tracker.tracker_subject import TrackerFactory, TrackerPort
from torrent_engine.conformance.verdicts import Level, Role, Verdict

GRACE_S: Final = 60.0
"""On top of a rule's own time."""
READY_S: Final = 60.0
POLL_S: Final = 0.2
TAKES: Final = "takes an announce"


async def _sanity(case: TrackerCase) -> str:
    """Take an announce over HTTP."""
    with anyio.move_on_after(case.limit_s):
        while case.program.is_running():
            try:
                if (await case.announce(case.peer())).is_success:
                    return TAKES
            except ConformanceError:
                pass
            await anyio.sleep(POLL_S)
    return "takes none" if case.program.is_running() else "the program ended"


SANITY: Final = ConformanceRule(
    "SANITY-TRACKER", Level.MUST, Role.TRACKER, READY_S, {TAKES: Verdict.PASS}, _sanity
)


class TrackerRunner:
    """Runs rules against a tracker; each announces torrents of its own."""

    def __init__(
        self,
        create: TrackerFactory,
        plan: RunPlan,
        progress: ResultCallback,
        lab: DhtLab | None = None,
    ) -> None:
        self._create = create
        self._plan = plan
        self._progress = progress
        self._lab = lab or DhtLab.on(plan.addresses)
        self._slots = RuleSlots(plan.jobs)
        self._hashes = itertools.cycle(known_hashes())

    async def run(self, rules: Sequence[ConformanceRule]) -> list[RuleResult]:
        """Run rules; return their results in the order of ``rules``.

        All are unsupported if the program is no tracker, and inconclusive if it takes no announce.
        """
        async with self._create() as program:
            try:
                await program.start(known_hashes())
            except NotOfferedError as error:
                return [self._told(not_run(each, error, Verdict.UNSUPPORTED)) for each in rules]
            except ConformanceError as error:
                return [self._told(not_run(each, error)) for each in rules]
            sane = await self._run_once(SANITY, program)
            if sane.verdict is not Verdict.PASS:
                return [self._told(not_run(each, sane.outcome)) for each in rules]

            async def run(rule: ConformanceRule) -> RuleResult:
                return self._told(await self._run(rule, program))

            return await run_beside(rules, run)

    def _told(self, result: RuleResult) -> RuleResult:
        self._progress(result)
        return result

    async def _run(self, rule: ConformanceRule, program: TrackerPort) -> RuleResult:
        async def run_once() -> RuleResult:
            if not program.is_running():
                return not_run(rule, "the program does not run any more")
            return ended_by(await self._run_once(rule, program), program)

        return await tried_thrice(rule, self._slots, run_once)

    async def _run_once(self, rule: ConformanceRule, program: TrackerPort) -> RuleResult:
        start, patience = anyio.current_time(), self._plan.patience
        outcome, verdict = Outcome("took too long"), Verdict.INCONCLUSIVE
        case = TrackerCase(rule.limit_s, program, self._lab, self._hashes, patience=patience)
        try:
            with anyio.move_on_after(case.limit_s + GRACE_S * patience):
                outcome, verdict = await judged(rule, case)
        finally:
            await case.close()
        seconds, log = anyio.current_time() - start, case.log.text()
        return RuleResult(rule, verdict, outcome.name, outcome.detail, seconds, log=log)
