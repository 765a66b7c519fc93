"""Results of a run, and what they add up to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from torrent_engine.conformance.expectations import Difference, ExpectedVerdict, differences
from torrent_engine.conformance.rule import ConformanceRule
from torrent_engine.conformance.verdicts import Verdict, is_failure

MAX_INCONCLUSIVE: Final = 0.1


class KitExit(IntEnum):
    """Exit codes of the commands of the kit."""

    OK = 0
    FAILURES = 1
    USAGE = 2
    NO_SUBJECT = 3
    INCOMPLETE = 4
    CRASH = 5


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule came to."""

    rule: ConformanceRule
    verdict: Verdict
    outcome: str
    detail: str = ""
    seconds: float = 0.0
    verdicts: tuple[Verdict, ...] = ()
    """Of each run, when there was more than one."""
    log: str = ""
    """What was sent and received in the run that counts."""
    runs: tuple[Verdict, ...] = ()
    """Of each repeat of the whole run, with ``--repeat``."""


@dataclass(slots=True)
class RunReport:
    """Everything that a run found out, and with whom."""

    subject: str
    version: str
    command: str
    started: str
    """Date and time, ISO 8601."""
    environment: str
    results: list[RuleResult] = field(default_factory=list)
    strict: bool = False
    differences: list[Difference] | None = None
    """From the file of expectations; None without one."""
    repeats: int = 1
    """So many whole runs are merged here."""

    def failures(self) -> list[RuleResult]:
        """Return the results that count as failures."""
        return [each for each in self.results if self.is_failure(each)]

    def is_failure(self, result: RuleResult) -> bool:
        """Return whether a result counts as a failure."""
        return is_failure(result.rule.level, result.verdict, strict=self.strict)

    def counts(self) -> dict[Verdict, int]:
        """Return how many results have each verdict."""
        return {kind: _count(self.results, kind) for kind in Verdict}

    def compare(self, expected: Mapping[str, ExpectedVerdict]) -> None:
        """Note what is not as a file of expectations has it."""
        found = {each.rule.rule_id: (each.verdict, each.outcome) for each in self.results}
        self.differences = list(differences(found, expected))

    def exit_code(self) -> KitExit:
        """Return the code of the process: with a file of expectations, differences are failures."""
        if self.differences is not None:
            return KitExit.FAILURES if self.differences else KitExit.OK
        if _count(self.results, Verdict.CRASH):
            return KitExit.CRASH
        if self.failures():
            return KitExit.FAILURES
        unsure = _count(self.results, Verdict.INCONCLUSIVE)
        return KitExit.INCOMPLETE if unsure > MAX_INCONCLUSIVE * len(self.results) else KitExit.OK


def merged(reports: Sequence[RunReport]) -> RunReport:
    """Return the report of several runs of the same rules, from the first of them.

    A rule whose verdicts differ is inconclusive.
    """
    found: dict[str, list[RuleResult]] = {}
    for each in (each for report in reports for each in report.results):
        found.setdefault(each.rule.rule_id, []).append(each)
    results = [_of_repeats(each) for each in found.values()]
    return replace(reports[0], results=results, repeats=len(reports))


def _of_repeats(results: Sequence[RuleResult]) -> RuleResult:
    if len(results) == 1:
        return results[0]
    first, runs = results[0], tuple(each.verdict for each in results)
    if Verdict.CRASH in runs:
        first = next(each for each in results if each.verdict is Verdict.CRASH)
    elif len(set(runs)) > 1:
        other = next(each for each in results if each.verdict is not first.verdict)
        detail = f"{first.outcome}, then {other.outcome}"
        first = replace(other, verdict=Verdict.INCONCLUSIVE, outcome="runs disagree", detail=detail)
    return replace(first, runs=runs)


def _count(results: Sequence[RuleResult], verdict: Verdict) -> int:
    return sum(each.verdict is verdict for each in results)
