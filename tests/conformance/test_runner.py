"""The runner: sanity, repeats, crashes, and what a report adds up to."""

import itertools
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.conformance.scripted_extensions import Quirks
from tests.conformance.scripted_seed import TORRENT, ScriptedSubject
from torrent_engine.conformance.case import Case
from torrent_engine.conformance.catalogue import choose
from torrent_engine.conformance.errors import ConformanceError, SubjectUnreachableError
from torrent_engine.conformance.expectations import load_expected
from torrent_engine.conformance.results import KitExit, RuleResult, RunReport
from torrent_engine.conformance.rule import REGISTRY, ConformanceRule
from torrent_engine.conformance.runner import RuleRunner, RunPlan
from torrent_engine.conformance.verdicts import Role, Verdict

pytestmark = pytest.mark.anyio


async def run(
    rules: list[ConformanceRule], *quirks: str, dies_on: int | None = None, can_restart: bool = True
) -> list[RuleResult]:
    addresses = (f"10.1.{number // 250}.{number % 250}" for number in itertools.count())
    async with anyio.create_task_group() as tasks:
        subject = ScriptedSubject(tasks, *quirks)
        subject.dies_on = dies_on
        subject.can_restart = can_restart
        runner = RuleRunner(subject, TORRENT, RunPlan(), lambda _: None, addresses)
        try:
            results = await runner.run(rules)
        finally:
            tasks.cancel_scope.cancel()
    return results


def report_of(results: list[RuleResult]) -> RunReport:
    return RunReport("scripted", "1", "-", "now", "here", results)


async def test_rules_that_pass_give_exit_code_0() -> None:
    results = await run(choose(["BEP3-RQ-0", "BEP3-BF"], role=Role.SEED))
    assert {each.verdict for each in results} == {Verdict.PASS}
    assert report_of(results).exit_code() is KitExit.OK


async def test_the_rule_that_ends_the_process_is_named_although_others_ran() -> None:
    results = await run(choose(["BEP3-FR-0"]), dies_on=25)
    crashed = [each.rule.rule_id for each in results if each.verdict is Verdict.CRASH]
    assert crashed == ["BEP3-FR-03"]
    assert len(results) == 9
    assert report_of(results).exit_code() is KitExit.CRASH


async def test_rules_after_an_end_for_good_are_inconclusive() -> None:
    results = await run(choose(["BEP3-FR-03", "BEP3-RQ-01"]), "stays dead", dies_on=25)
    assert [each.verdict for each in results] == [Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]


async def test_a_rule_fails_only_three_times_of_three() -> None:
    rule = REGISTRY["BEP3-BF-03"]
    (steady,) = await run([rule], "spare bits")
    assert steady.verdicts == (Verdict.FAIL,) * 3
    assert report_of([steady]).exit_code() is KitExit.FAILURES

    async def fails_once(case: Case) -> str:
        subject = case.subject
        assert isinstance(subject, ScriptedSubject)
        outcome = await rule.run(case)
        subject.quirks = Quirks()
        return str(outcome)

    (changing,) = await run([replace(rule, run=fails_once)], "spare bits")
    assert changing.verdict is Verdict.INCONCLUSIVE
    assert report_of([changing]).exit_code() is KitExit.INCOMPLETE


async def test_a_program_that_serves_nobody_is_not_tried() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await run(choose(["BEP3-BF"]), "silent")
    assert raised.group_contains(SubjectUnreachableError, match="is not ready")


async def test_destructive_rules_need_a_program_that_the_kit_started() -> None:
    (result,) = await run([REGISTRY["BEP3-FR-04"]], can_restart=False)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "--destructive" in result.detail


async def test_memory_that_grows_without_bound_is_a_crash() -> None:
    rule = REGISTRY["BEP3-FR-11"]

    async def grows(case: Case) -> str:
        subject = case.subject
        assert isinstance(subject, ScriptedSubject)
        subject.memory += 300 * 2**20
        return "closed"

    (result,) = await run([replace(rule, run=grows)])
    assert (result.verdict, result.outcome) == (Verdict.CRASH, "memory grew")


async def test_differences_from_a_file_of_expectations_go_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    path.write_text('[rules.BEP3-BF-02]\nverdict = "N"\nreason = "lazy"\n')
    report = report_of(await run(choose(["BEP3-BF-02", "BEP3-BF-03"]), "spare bits"))
    report.compare(load_expected(path))
    found = [(each.rule_id, each.expected, each.found) for each in report.differences or ()]
    assert found == [("BEP3-BF-02", "N", "P"), ("BEP3-BF-03", "P", "F")]
    assert report.exit_code() is KitExit.FAILURES


async def test_expectations_of_a_group_are_for_the_rules_that_are_not_named(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    group = '[rules.BEP3-BF]\nverdict = "F"\nreason = "lazy"\n'
    path.write_text(group + '[rules.BEP3-BF-02]\nverdict = "P"\nreason = "not here"\n')
    report = report_of(await run(choose(["BEP3-BF-02", "BEP3-BF-03"]), "spare bits"))
    report.compare(load_expected(path))
    assert report.differences == []


@pytest.mark.parametrize(
    "text",
    [
        "rules = 3",
        "[rules.BEP3-XX-01]\nverdict = 'N'\nreason = ''",
        "[rules.BEP3-BF-02]\nverdict = 'Q'\nreason = ''",
        "[rules.BEP3-BF-02]\nverdict = 'N'",
        "no toml",
    ],
)
def test_wrong_files_of_expectations_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "expected.toml"
    path.write_text(text)
    with pytest.raises(ConformanceError):
        load_expected(path)
