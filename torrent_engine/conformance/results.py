"""Results of a run, and what they add up to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


def _count(results: Sequence[RuleResult], verdict: Verdict) -> int:
    return sum(each.verdict is verdict for each in results)
