"""Runs rules against one program: sanity cases, repeats, and which rule ended the process."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import anyio

from torrent_engine.conformance.case import WORKS, Case
from torrent_engine.conformance.errors import (
    ConformanceError,
    SubjectUnreachableError,
)
from torrent_engine.conformance.judging import (
    RuleSlots,
    again,
    judged,
    judged_again,
    longest_first,
    not_run,
)
from torrent_engine.conformance.lab import LOOPBACK, KitAddresses
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import ConformanceRule, Outcome
from torrent_engine.conformance.subject import SubjectPort
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.verdicts import Level, Role, Verdict

GRACE_S: Final = 90.0
"""On top of a rule's own time: for handshakes, unchokes and answers before and after it."""
MAX_GROWTH_BYTES: Final = 256 * 1024 * 1024
SETTLE_S: Final = 0.2
DOWNLOADS_PER_JOB: Final = 2
ResultCallback = Callable[[RuleResult], None]


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How rules are run."""

    patience: float = 1.0
    jobs: int = 6
    allows_destructive: bool = False
    addresses: KitAddresses = LOOPBACK

    @property
    def downloads(self) -> int:
        """Downloads at a time: most of their time is waiting, each for a program of its own."""
        return self.jobs * DOWNLOADS_PER_JOB if self.jobs > 1 else 1


async def _sanity(case: Case) -> str:
    """Exchange handshakes, be unchoked, and get one right block."""
    return await case.reaction(await case.greet())


SANITY: Final = ConformanceRule(
    "SANITY",
    Level.MUST,
    Role.SEED,
    60.0,
    {WORKS: Verdict.PASS},
    _sanity,
)


class RuleRunner:
    """Runs rules group by group, or all at once; those that measure or restart run alone."""

    def __init__(
        self,
        subject: SubjectPort,
        torrent: SampleTorrent,
        plan: RunPlan,
        progress: ResultCallback,
        addresses: Iterator[str] | None = None,
        *,
        in_groups: bool = True,
    ) -> None:
        self._in_groups = in_groups
        self._slots = RuleSlots(plan.jobs)
        self._subject = subject
        self._torrent = torrent
        self._plan = plan
        self._progress = progress
        self._addresses = addresses if addresses is not None else plan.addresses.each()
        self._suspects: list[ConformanceRule] = []
        """Rules that ran when the process ended."""

    async def run(self, rules: Sequence[ConformanceRule]) -> list[RuleResult]:
        """Run rules; return their results in the order of ``rules``.

        Raises SubjectUnreachableError if the program does not pass the sanity case at first.
        """
        if (reason := await self._insanity()) is not None:
            raise SubjectUnreachableError(f"{self._subject.name} is not ready: {reason}")
        found: dict[str, RuleResult] = {}
        for _, group in groupby(rules, key=lambda each: each.group if self._in_groups else ""):
            for result in await self._run_group(list(group), is_sane=not found):
                found[result.rule.rule_id] = result
        return [found[each.rule_id] for each in rules if each.rule_id in found]

    async def _run_group(
        self, rules: Sequence[ConformanceRule], *, is_sane: bool
    ) -> list[RuleResult]:
        """Run rules of a group; ``is_sane``: the sanity case has just passed."""
        reason = None if is_sane else await self._insanity()
        if reason is not None and not await self._revived():
            return [self._told(not_run(each, reason)) for each in rules]
        results: list[RuleResult] = []

        async def run_one(rule: ConformanceRule) -> None:
            result = await self._run(rule)
            if result is not None:
                results.append(self._told(result))

        async with anyio.create_task_group() as tasks:
            for each in longest_first(each for each in rules if not each.is_alone):
                tasks.start_soon(run_one, each)
        suspects, self._suspects = self._suspects, []
        alone = (*suspects, *(each for each in rules if each.is_alone))
        return [*results, *[self._told(await self._run_alone(each)) for each in alone]]

    async def _run_alone(self, rule: ConformanceRule) -> RuleResult:
        """Run a rule while nothing else runs: whatever happens is its doing."""
        if not self._subject.is_running() and not await self._revived():
            return not_run(rule, "the program does not run any more")
        before = self._subject.rss_bytes()
        result = await self._run(rule)
        self._suspects.clear()
        if result is None:
            await self._revived()
            return RuleResult(rule, Verdict.CRASH, "the process ended")
        grown = (self._subject.rss_bytes() or 0) - (before or 0)
        if before is not None and grown > MAX_GROWTH_BYTES:
            detail = f"by {grown // 2**20} MiB"
            return replace(result, verdict=Verdict.CRASH, outcome="memory grew", detail=detail)
        return result

    async def _run(self, rule: ConformanceRule) -> RuleResult | None:
        """Run a rule, three times if it fails; None if the process ended meanwhile."""
        if rule.is_destructive and not self._may_destroy():
            return not_run(rule, "needs --destructive, or a program that the kit starts")
        async with self._slots.taken(rule):
            result = await self._run_once(rule)
        if result.verdict is Verdict.FAIL:
            if not self._is_there(rule):
                return None
            others = await again(rule, self._slots, lambda: self._run_once(rule))
            result = judged_again(result, others)
        if not self._is_there(rule):
            return None
        return await self._doubted(result)

    async def _doubted(self, result: RuleResult) -> RuleResult:
        """Return a result; after any but a pass, only if the sanity case still passes."""
        if result.verdict is Verdict.PASS or (reason := await self._insanity()) is None:
            return result
        detail = f"{result.outcome}; and the sanity case failed after it: {reason}"
        return replace(result, verdict=Verdict.INCONCLUSIVE, detail=detail)

    def _may_destroy(self) -> bool:
        return self._subject.can_restart or self._plan.allows_destructive

    def _is_there(self, rule: ConformanceRule) -> bool:
        """Return whether the process runs; if not, note the rule as one that may have ended it."""
        if self._subject.is_running():
            return True
        self._suspects.append(rule)
        return False

    async def _revived(self) -> bool:
        """Start the program again if that is ours to do; return whether it works."""
        if not self._subject.can_restart:
            return await self._insanity() is None
        try:
            await self._subject.restart()
        except ConformanceError:
            return False
        return await self._insanity() is None

    async def _insanity(self) -> str | None:
        """Run the sanity case, twice if it fails; return what was wrong with it."""
        result = await self._run_once(SANITY)
        if result.verdict is not Verdict.PASS:
            result = await self._run_once(SANITY)
        return None if result.verdict is Verdict.PASS else result.detail or result.outcome

    async def _run_once(self, rule: ConformanceRule) -> RuleResult:
        patience = self._plan.patience
        case = Case(rule.limit_s, self._subject, self._torrent, self._addresses, patience=patience)
        start = anyio.current_time()
        outcome, verdict = Outcome("took too long"), Verdict.INCONCLUSIVE
        try:
            with anyio.move_on_after(case.limit_s + GRACE_S * self._plan.patience):
                outcome, verdict = await judged(rule, case)
        finally:
            await case.close()
        await anyio.sleep(SETTLE_S)  # for the process to end, if it does
        seconds = anyio.current_time() - start
        return RuleResult(rule, verdict, outcome.name, outcome.detail, seconds, log=case.log.text())

    def _told(self, result: RuleResult) -> RuleResult:
        self._progress(result)
        return result
