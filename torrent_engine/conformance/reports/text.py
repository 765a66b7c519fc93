"""Results as text: a line for each rule, the failures in full, and the sum."""

from collections.abc import Iterator
from typing import Final

from torrent_engine.conformance.plan import title_of
from torrent_engine.conformance.results import RuleResult, RunReport
from torrent_engine.conformance.rule import ConformanceRule
from torrent_engine.conformance.verdicts import WORDS, Verdict

LOG_LINES: Final = 8


def result_line(result: RuleResult) -> str:
    """Return the line of one rule."""
    detail = f" ({result.detail})" if result.detail else ""
    where = f"{result.verdict.value}  {result.rule.rule_id:12} {result.rule.level.value:6}"
    return f"{where} {result.seconds:6.1f} s  {printable(result.outcome + detail)}"


def rule_line(rule: ConformanceRule) -> str:
    """Return the line of a rule in a list."""
    return f"{rule.rule_id:12} {rule.level.value:6} {rule.role.value:6} {rule.requirement}"


def ending_lines(report: RunReport) -> Iterator[str]:
    """Yield the failures, the differences, and the sum."""
    for result in report.failures():
        yield ""
        yield from failure_lines(result)
    if report.differences is not None:
        yield ""
        yield f"not as expected: {len(report.differences)}"
        for each in report.differences:
            found = f"expected {each.expected}, found {each.found}"
            yield printable(f"  {each.rule_id}: {found} ({each.outcome})")
    if report.repeats > 1:
        steady = sum(len(set(each.runs)) == 1 for each in report.results)
        total = len(report.results)
        yield ""
        runs = f"{report.repeats} of {report.repeats} runs"
        yield f"the same verdict in {runs}: {steady} of {total} rules"
    yield ""
    counts = (f"{count} {WORDS[kind]}" for kind, count in report.counts().items() if count)
    yield f"{report.subject}: {len(report.results)} rules: {', '.join(counts) or 'none'}"


def failure_lines(result: RuleResult) -> Iterator[str]:
    """Yield a failure in full: requirement, source, what was expected and what came."""
    rule = result.rule
    word = WORDS[result.verdict].upper()
    yield f"{word} {rule.rule_id} ({title_of(rule.group)}, {rule.level.value})"
    yield f"  Requirement: {rule.requirement}"
    yield f"  Source:      {rule.source}"
    yield f"  Expected:    {rule.expected}"
    detail = f" ({result.detail})" if result.detail else ""
    tries = f", in {len(result.verdicts)} of {len(result.verdicts)} runs" * bool(result.verdicts)
    yield printable(f"  Actual:      {result.outcome}{detail}{tries}")
    if result.verdict is not Verdict.CRASH:
        yield from (f"    {line}" for line in result.log.splitlines()[-LOG_LINES:])


def printable(text: str) -> str:
    """Return a text without control characters: parts of it come from the other side."""
    return "".join(each if each.isprintable() else "?" for each in text)
