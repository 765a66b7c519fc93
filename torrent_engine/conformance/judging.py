"""How runners judge rules: the outcome of one run, three runs of what fails, the order."""

import heapq
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, Protocol

import anyio

from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import ConformanceRule, Outcome
from torrent_engine.conformance.verdicts import Verdict

TRIES: Final = 3
"""So often a rule has to fail."""
logger = logging.getLogger(__name__)


async def judged(rule: ConformanceRule, case: Any) -> tuple[Outcome, Verdict]:  # noqa: ANN401
    """Run the function of a rule with the case of its role; look its outcome up in its table."""
    try:
        found = await rule.run(case)
    except NotOfferedError as error:
        return Outcome("not offered", str(error)), Verdict.UNSUPPORTED
    except ConformanceError as error:
        return Outcome("undecided", str(error)), Verdict.INCONCLUSIVE
    except Exception as error:
        return kit_failure(error)
    outcome = Outcome(found) if isinstance(found, str) else found
    return outcome, rule.outcomes.get(outcome.name, Verdict.INCONCLUSIVE)


def kit_failure(error: Exception) -> tuple[Outcome, Verdict]:
    """Return the outcome of a rule that a fault of the kit ended; other rules go on."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    logger.error("a rule ended with an error", exc_info=error)
    return Outcome("the kit failed", f"{type(error).__name__}: {error}"), Verdict.INCONCLUSIVE


class RuleSlots:
    """So many runs of rules at a time; of those that wait, the rule with most time goes first.

    What takes longest does not begin last then, when everything else is over.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, anyio.Event]] = []

    @asynccontextmanager
    async def taken(self, rule: ConformanceRule) -> AsyncIterator[None]:
        """Wait for a slot, and have it while the block runs."""
        await self._take(rule.limit_s)
        try:
            yield
        finally:
            self._give_back()

    async def _take(self, limit_s: float) -> None:
        if self._free:
            self._free -= 1
            return
        entry = (-limit_s, next(self._numbers), anyio.Event())
        heapq.heappush(self._waiting, entry)
        try:
            await entry[-1].wait()
        except BaseException:
            if entry in self._waiting:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            else:  # it was given one at the same time
                self._give_back()
            raise

    def _give_back(self) -> None:
        if self._waiting:
            heapq.heappop(self._waiting)[-1].set()
        else:
            self._free += 1


async def tried_thrice(
    rule: ConformanceRule, slots: RuleSlots, run_once: Callable[[], Awaitable[RuleResult]]
) -> RuleResult:
    """Run a rule, three times if it fails; it is inconclusive if one of them does not.

    The second and the third run are side by side, unless the rule runs alone.
    """
    async with slots.taken(rule):
        first = await run_once()
    if first.verdict is not Verdict.FAIL:
        return first
    return judged_again(first, await again(rule, slots, run_once))


async def again(
    rule: ConformanceRule, slots: RuleSlots, run_once: Callable[[], Awaitable[RuleResult]]
) -> list[RuleResult]:
    """Run a rule that failed as often as it takes to make up three runs."""
    found: list[RuleResult] = []
    lanes = anyio.CapacityLimiter(1 if rule.is_alone else TRIES - 1)

    async def run_one() -> None:
        async with lanes, slots.taken(rule):
            found.append(await run_once())

    async with anyio.create_task_group() as tasks:
        for _ in range(TRIES - 1):
            tasks.start_soon(run_one)
    return found


def judged_again(first: RuleResult, others: Sequence[RuleResult]) -> RuleResult:
    """Return the result of a rule that failed, and of its other runs."""
    verdicts = (first.verdict, *(each.verdict for each in others))
    crash = next((each for each in others if each.verdict is Verdict.CRASH), None)
    if crash is not None:
        return replace(crash, verdicts=verdicts)
    differing = next((each for each in others if each.verdict is not Verdict.FAIL), None)
    if differing is None:
        return replace(others[-1], verdicts=verdicts)
    detail = f"{differing.outcome} after {first.outcome}"
    result = replace(differing, verdict=Verdict.INCONCLUSIVE, detail=detail)
    return replace(result, verdicts=verdicts)


class _Running(Protocol):
    def is_running(self) -> bool: ...


def ended_by(result: RuleResult, program: _Running) -> RuleResult:
    """Return a result: a crash, if the program that rules share has ended."""
    if program.is_running():
        return result
    detail = f"during this rule or one beside it: {result.outcome}"
    return replace(result, verdict=Verdict.CRASH, outcome="the process ended", detail=detail)


def not_run(rule: ConformanceRule, reason: object, verdict: Verdict | None = None) -> RuleResult:
    """Return the result of a rule that was not run; inconclusive, unless a verdict is given."""
    return RuleResult(rule, verdict or Verdict.INCONCLUSIVE, "not run", str(reason))


async def run_beside(
    rules: Sequence[ConformanceRule], run: Callable[[ConformanceRule], Awaitable[RuleResult]]
) -> list[RuleResult]:
    """Run rules beside each other, then those that run alone; return results in their order.

    ``run`` waits for a slot. Those that may take longest are the first.
    """
    found: dict[str, RuleResult] = {}

    async def run_one(rule: ConformanceRule) -> None:
        found[rule.rule_id] = await run(rule)

    async with anyio.create_task_group() as tasks:
        for each in longest_first(each for each in rules if not each.is_alone):
            tasks.start_soon(run_one, each)
    for each in (each for each in rules if each.is_alone):
        await run_one(each)
    return [found[each.rule_id] for each in rules]


def longest_first(rules: Iterable[ConformanceRule]) -> list[ConformanceRule]:
    """Return rules in the order of their time limits."""
    return sorted(rules, key=lambda each: -each.limit_s)
