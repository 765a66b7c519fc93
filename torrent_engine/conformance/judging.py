"""How runners judge rules: the outcome of one run, three runs of what fails, the order."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import anyio

from torrent_engine.conformance.errors import ConformanceError, NotOfferedError
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import ConformanceRule, Outcome
from torrent_engine.conformance.verdicts import Verdict

TRIES: Final = 3
"""So often a rule has to fail."""


async def judged(rule: ConformanceRule, case: Any) -> tuple[Outcome, Verdict]:  # noqa: ANN401
    """Run the function of a rule with the case of its role; look its outcome up in its table."""
    try:
        found = await rule.run(case)
    except NotOfferedError as error:
        return Outcome("not offered", str(error)), Verdict.UNSUPPORTED
    except ConformanceError as error:
        return Outcome("undecided", str(error)), Verdict.INCONCLUSIVE
    outcome = Outcome(found) if isinstance(found, str) else found
    return outcome, rule.outcomes.get(outcome.name, Verdict.INCONCLUSIVE)


async def tried_thrice(run_once: Callable[[], Awaitable[RuleResult]]) -> RuleResult:
    """Run a rule, three times if it fails; it is inconclusive if one of them does not."""
    result = await run_once()
    verdicts = [result.verdict]
    while result.verdict is Verdict.FAIL and len(verdicts) < TRIES:
        again = await run_once()
        verdicts.append(again.verdict)
        if again.verdict is not Verdict.FAIL:
            detail = f"{again.outcome} after {result.outcome}"
            result = replace(again, verdict=Verdict.INCONCLUSIVE, detail=detail)
    return replace(result, verdicts=tuple(verdicts) if len(verdicts) > 1 else ())


def not_run(rule: ConformanceRule, reason: object, verdict: Verdict | None = None) -> RuleResult:
    """Return the result of a rule that was not run; inconclusive, unless a verdict is given."""
    return RuleResult(rule, verdict or Verdict.INCONCLUSIVE, "not run", str(reason))


async def run_beside(
    rules: Sequence[ConformanceRule],
    jobs: int,
    run: Callable[[ConformanceRule], Awaitable[RuleResult]],
) -> list[RuleResult]:
    """Run so many rules at a time, then those that run alone; return results in their order."""
    found: dict[str, RuleResult] = {}
    limiter = anyio.CapacityLimiter(jobs)

    async def run_one(rule: ConformanceRule) -> None:
        async with limiter:
            found[rule.rule_id] = await run(rule)

    async with anyio.create_task_group() as tasks:
        for each in (each for each in rules if not each.is_alone):
            tasks.start_soon(run_one, each)
    for each in (each for each in rules if each.is_alone):
        await run_one(each)
    return [found[each.rule_id] for each in rules]
