"""Runs rules of DHT nodes: one process that they share, and some of their own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import anyio

from torrent_engine.conformance.dht.dht_case import ANSWERED, START_S, DhtCase
from torrent_engine.conformance.dht.kit_node import KitNode
from torrent_engine.conformance.dht.krpc import query
from torrent_engine.conformance.dht.network import DhtLab
from torrent_engine.conformance.dht.node_subject import NodeFactory, NodePort
from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.judging import (
    RuleSlots,
    ended_by,
    judged,
    kit_failure,
    not_run,
    run_beside,
    tried_thrice,
)
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import ConformanceRule, Outcome
from torrent_engine.conformance.runner import ResultCallback, RunPlan
from torrent_engine.conformance.verdicts import Level, Role, Verdict

GRACE_S: Final = 150.0
"""On top of a rule's own time: for the start of a process, and for queries before the first."""
NODES: Final = 3
PING_S: Final = 0.5


async def _sanity(case: DhtCase) -> str:
    """Answer a ping."""
    node = await case.node()
    data = query(b"sane", "ping", {b"id": node.node_id})
    with anyio.move_on_after(START_S * case.patience):
        while case.program.is_running():
            await node.send(data, case.target)
            if await node.wait(lambda each: each.transaction == b"sane", PING_S):
                return ANSWERED
    return "no answer" if case.program.is_running() else "the program ended"


SANITY: Final = ConformanceRule(
    "SANITY-DHT", Level.MUST, Role.DHT, START_S, {ANSWERED: Verdict.PASS}, _sanity
)


class DhtRunner:
    """Runs rules against a program that has some nodes of the kit in its table."""

    def __init__(
        self,
        create: NodeFactory,
        plan: RunPlan,
        progress: ResultCallback,
        lab: DhtLab | None = None,
    ) -> None:
        self._create = create
        self._plan = plan
        self._progress = progress
        self._lab = lab or DhtLab.on(plan.addresses)
        self._slots = RuleSlots(plan.jobs)

    async def run(self, rules: Sequence[ConformanceRule]) -> list[RuleResult]:
        """Run rules; return their results in the order of ``rules``.

        All are unsupported if the program cannot be started as a node, and inconclusive if it does
        not answer a ping.
        """
        async with self._create() as program, anyio.create_task_group() as tasks:
            keeper = self._case(SANITY, program, tasks)
            results = await self._start_and_run(program, keeper, rules)
            tasks.cancel_scope.cancel()
        return results

    async def _start_and_run(
        self, program: NodePort, keeper: DhtCase, rules: Sequence[ConformanceRule]
    ) -> list[RuleResult]:
        try:
            await program.start([each.address for each in await self._nodes(keeper)])
        except NotOfferedError as error:
            return [self._told(not_run(each, error, Verdict.UNSUPPORTED)) for each in rules]
        except ConformanceError as error:
            return [self._told(not_run(each, error)) for each in rules]
        return await self._run_all(program, rules)

    async def _nodes(self, case: DhtCase) -> list[KitNode]:
        """Return the nodes that the program knows first; each names the others."""
        nodes = [await case.node() for _ in range(NODES)]
        for each in nodes:
            each.contacts = [other for other in nodes if other is not each]
        return nodes

    async def _run_all(
        self, program: NodePort, rules: Sequence[ConformanceRule]
    ) -> list[RuleResult]:
        sane = await self._run_once(SANITY, program)
        if sane.verdict is not Verdict.PASS:
            reason = f"it does not answer a ping: {sane.outcome}"
            return [self._told(not_run(each, reason)) for each in rules]

        async def run(rule: ConformanceRule) -> RuleResult:
            return self._told(await self._run(rule, program))

        return await run_beside(rules, run)

    def _told(self, result: RuleResult) -> RuleResult:
        self._progress(result)
        return result

    async def _run(self, rule: ConformanceRule, program: NodePort) -> RuleResult:
        """Run a rule, three times if it fails; after a failure the program has to answer a ping."""

        async def run_once() -> RuleResult:
            if not program.is_running():
                return not_run(rule, "the program does not run any more")
            return ended_by(await self._run_once(rule, program), program)

        return await self._doubted(await tried_thrice(rule, self._slots, run_once), program)

    async def _doubted(self, result: RuleResult, program: NodePort) -> RuleResult:
        if result.verdict is not Verdict.FAIL:
            return result
        sane = await self._run_once(SANITY, program)
        if sane.verdict is Verdict.PASS:
            return result
        detail = f"{result.outcome}; and no ping was answered after it"
        return replace(result, verdict=Verdict.INCONCLUSIVE, detail=detail)

    def _case(
        self, rule: ConformanceRule, program: NodePort, tasks: anyio.abc.TaskGroup
    ) -> DhtCase:
        patience = self._plan.patience
        return DhtCase(rule.limit_s, program, self._create, self._lab, tasks, patience=patience)

    async def _run_once(self, rule: ConformanceRule, program: NodePort) -> RuleResult:
        start = anyio.current_time()
        outcome, verdict, log = Outcome("took too long"), Verdict.INCONCLUSIVE, ""
        try:
            async with anyio.create_task_group() as tasks:
                case = self._case(rule, program, tasks)
                try:
                    with anyio.move_on_after(case.limit_s + GRACE_S * case.patience):
                        outcome, verdict = await judged(rule, case)
                finally:
                    await case.close()
                log = case.log.text()
                tasks.cancel_scope.cancel()
        except* Exception as errors:  # of a task that speaks with the program
            outcome, verdict = kit_failure(errors)
        seconds = anyio.current_time() - start
        return RuleResult(rule, verdict, outcome.name, outcome.detail, seconds, log=log)
