"""Files of expectations: the verdicts that are known, each with its reason, in TOML."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torrent_engine.conformance.errors import ConformanceError
from torrent_engine.conformance.plan import GROUPS
from torrent_engine.conformance.rule import REGISTRY
from torrent_engine.conformance.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Difference:
    """A verdict that is not the expected one: worse, or better."""

    rule_id: str
    expected: str
    found: str
    outcome: str


@dataclass(frozen=True, slots=True)
class ExpectedVerdict:
    """What is known of one rule, and why."""

    verdicts: frozenset[Verdict]
    reason: str


def load_expected(path: Path) -> dict[str, ExpectedVerdict]:
    """Read a file of expectations; what it does not name is expected to pass.

    ``[rules.BEP3-HS-09]`` with ``verdict = "N"`` (or a list of verdicts) and ``reason = "..."``;
    ``[rules.TRK-HT]`` is for all rules of a group that are not named.
    Raises ConformanceError.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConformanceError(f"{path}: {error}") from error
    rules = table.get("rules", {})
    if not isinstance(rules, dict):
        raise ConformanceError(f"{path}: rules is not a table")
    return {rule_id: _read(path, rule_id, value) for rule_id, value in rules.items()}


def _read(path: Path, rule_id: str, value: Any) -> ExpectedVerdict:  # noqa: ANN401 - outside data
    if rule_id not in REGISTRY and rule_id not in GROUPS:
        raise ConformanceError(f"{path}: there is no rule {rule_id}")
    if not isinstance(value, dict) or not isinstance(value.get("reason"), str):
        raise ConformanceError(f"{path}: {rule_id} needs a verdict and a reason")
    verdicts = value.get("verdict")
    listed = verdicts if isinstance(verdicts, list) else [verdicts]
    try:
        return ExpectedVerdict(frozenset(map(Verdict, listed)), value["reason"])
    except ValueError as error:
        letters = ", ".join(Verdict)
        raise ConformanceError(f"{path}: {rule_id}: a verdict is one of {letters}") from error


def differences(
    found: Mapping[str, tuple[Verdict, str]], expected: Mapping[str, ExpectedVerdict]
) -> Iterator[Difference]:
    """Yield what is not as expected, of the rules that were run.

    ``found`` has the verdict and the outcome by rule.
    """
    usual = frozenset({Verdict.PASS})
    for rule_id, (verdict, outcome) in found.items():
        known = expected.get(rule_id) or expected.get(rule_id.rpartition("-")[0])
        wanted = known.verdicts if known is not None else usual
        if verdict not in wanted:
            yield Difference(rule_id, "/".join(sorted(wanted)), verdict, outcome)
