"""The order and the repeats of rules: slots, three runs of what fails, crashes among them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio
import pytest

from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.judging import RuleSlots, run_beside, tried_thrice
from torrent_engine.conformance.results import RuleResult
from torrent_engine.conformance.rule import ConformanceRule
from torrent_engine.conformance.verdicts import Verdict

pytestmark = pytest.mark.anyio
RULE = choose(["BEP3-BF-03"])[0]


def rule(name: str, limit_s: float, *, is_alone: bool = False) -> ConformanceRule:
    return replace(RULE, rule_id=name, limit_s=limit_s, is_alone=is_alone)


def coming(*verdicts: Verdict, lasting_s: float = 10.0) -> Callable[[], Awaitable[RuleResult]]:
    """Return what runs a rule: each run takes its time, and has the next verdict."""
    left = list(verdicts)

    async def run_once() -> RuleResult:
        verdict = left.pop(0)
        await anyio.sleep(lasting_s)
        return RuleResult(RULE, verdict, verdict.value)

    return run_once


async def test_the_rule_with_most_time_goes_first_and_those_alone_last() -> None:
    rules = [rule("short", 5), rule("alone", 99, is_alone=True), rule("long", 60), rule("mid", 20)]
    slots, begun = RuleSlots(1), []

    async def run(each: ConformanceRule) -> RuleResult:
        async with slots.taken(each):
            begun.append(each.rule_id)
            await anyio.sleep(1)
        return RuleResult(each, Verdict.PASS, "-")

    async def hold_the_slot() -> None:
        async with slots.taken(RULE):
            await anyio.sleep(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold_the_slot)
        await anyio.wait_all_tasks_blocked()
        results = await run_beside(rules, run)
    assert begun == ["long", "mid", "short", "alone"]
    assert [each.rule.rule_id for each in results] == ["short", "alone", "long", "mid"]


async def test_a_repeat_of_a_long_rule_goes_before_short_ones_that_wait() -> None:
    slots, begun = RuleSlots(1), []

    async def run(each: ConformanceRule) -> None:
        async with slots.taken(each):
            begun.append(each.rule_id)
            await anyio.sleep(1)
        if begun == ["long"]:
            await run(replace(each, rule_id="again"))

    async with anyio.create_task_group() as tasks:
        for each in (rule("long", 60), rule("short", 5), rule("shorter", 4)):
            tasks.start_soon(run, each)
            await anyio.wait_all_tasks_blocked()
    assert begun == ["long", "short", "again", "shorter"]


async def test_a_slot_comes_back_from_whoever_is_cancelled() -> None:
    slots = RuleSlots(1)
    async with anyio.create_task_group() as tasks:

        async def wait() -> None:
            async with slots.taken(RULE):
                pytest.fail("it has no slot")

        async with slots.taken(RULE):
            tasks.start_soon(wait)
            await anyio.sleep(1)
            tasks.cancel_scope.cancel()
    with anyio.fail_after(30):
        async with slots.taken(RULE):
            pass


@pytest.mark.parametrize(("is_alone", "seconds"), [(False, 20), (True, 30)])
async def test_repeats_are_side_by_side_unless_the_rule_runs_alone(
    is_alone: bool, seconds: float
) -> None:
    run_once, start = coming(*[Verdict.FAIL] * 3), anyio.current_time()
    result = await tried_thrice(rule("fails", 5, is_alone=is_alone), RuleSlots(4), run_once)
    assert anyio.current_time() - start == pytest.approx(seconds)
    assert (result.verdict, result.verdicts) == (Verdict.FAIL, (Verdict.FAIL,) * 3)


async def test_repeats_take_no_more_slots_than_there_are() -> None:
    run_once, start = coming(*[Verdict.FAIL] * 3), anyio.current_time()
    await tried_thrice(RULE, RuleSlots(1), run_once)
    assert anyio.current_time() - start == pytest.approx(30)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((Verdict.PASS,), Verdict.PASS),
        ((Verdict.FAIL, Verdict.PASS, Verdict.FAIL), Verdict.INCONCLUSIVE),
        ((Verdict.FAIL, Verdict.FAIL, Verdict.CRASH), Verdict.CRASH),
        ((Verdict.FAIL, Verdict.NON_STRICT, Verdict.CRASH), Verdict.CRASH),
    ],
    ids=["pass", "one of three passes", "crash", "crash beside another"],
)
async def test_runs_that_disagree_are_inconclusive_but_a_crash_is_one(
    verdicts: tuple[Verdict, ...], expected: Verdict
) -> None:
    result = await tried_thrice(RULE, RuleSlots(4), coming(*verdicts))
    assert result.verdict is expected
    assert sorted(result.verdicts) == sorted(verdicts if len(verdicts) > 1 else ())
