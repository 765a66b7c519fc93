"""Results and rules as records that become JSON."""

from collections.abc import Mapping
from typing import Final

from torrent_engine.conformance.results import RuleResult, RunReport
from torrent_engine.conformance.rule import ConformanceRule

KIT_VERSION: Final = 5
"""Higher with every change of what a rule asks or accepts."""


def record_of(report: RunReport, logs: Mapping[str, str]) -> dict[str, object]:
    """Return a report as JSON knows it; ``logs`` has the name of the wire log by rule."""
    return {
        "kit": KIT_VERSION,
        "subject": report.subject,
        "version": report.version,
        "command": report.command,
        "started": report.started,
        "environment": report.environment,
        "repeats": report.repeats,
        "exit_code": int(report.exit_code()),
        "counts": {kind.value: count for kind, count in report.counts().items()},
        "rules": [_rule_record(each, logs.get(each.rule.rule_id)) for each in report.results],
    }


def _rule_record(result: RuleResult, log: str | None) -> dict[str, object]:
    return {
        "id": result.rule.rule_id,
        "level": result.rule.level.value,
        "verdict": result.verdict.value,
        "outcome": result.outcome,
        "detail": result.detail,
        "seconds": round(result.seconds, 2),
        "runs": [each.value for each in result.runs or result.verdicts] or [result.verdict.value],
        "log": log,
    }


def rule_record(rule: ConformanceRule) -> dict[str, object]:
    """Return a rule as JSON knows it."""
    return {
        "id": rule.rule_id,
        "level": rule.level.value,
        "role": rule.role.value,
        "requirement": rule.requirement,
        "source": rule.source,
        "outcomes": {name: verdict.value for name, verdict in rule.outcomes.items()},
        "limit_s": rule.limit_s,
        "destructive": rule.is_destructive,
    }
