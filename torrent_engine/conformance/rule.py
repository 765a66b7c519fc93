"""Rules: what a program must do, the sentence it rests on, and what each outcome means."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torrent_engine.conformance.verdicts import Level, Role, SampleName, Verdict

RuleFunction = Callable[..., Awaitable["Outcome | str"]]
"""Takes the case of its role: Case, or SwarmCase."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of a rule saw: a name of its table, and details."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class ConformanceRule:
    """One rule."""

    rule_id: str
    level: Level
    role: Role
    limit_s: float
    """How long it waits for what it wants to see, at patience 1."""
    outcomes: Mapping[str, Verdict]
    """What the function may return, and what that means."""
    run: RuleFunction
    is_alone: bool = False
    """Nothing else runs meanwhile: it measures, restarts, or takes many connections."""
    is_destructive: bool = False
    """Only against programs that the kit started, unless its user allows it."""
    sample: SampleName = SampleName.BASIC
    """What a seed has."""

    @property
    def group(self) -> str:
        """The id without its number."""
        return self.rule_id.rpartition("-")[0]

    @property
    def requirement(self) -> str:
        """What the program is asked to do, in one sentence."""
        return inspect.cleandoc(self.run.__doc__ or "").split("\n", 1)[0]

    @property
    def source(self) -> str:
        """The sentence that it rests on, and where that is."""
        lines = inspect.cleandoc(self.run.__doc__ or "").split("\n")[1:]
        return " ".join(line.strip() for line in lines).strip()

    @property
    def expected(self) -> str:
        """The outcomes that pass."""
        return " or ".join(name for name, v in self.outcomes.items() if v is Verdict.PASS)


REGISTRY: Final[dict[str, ConformanceRule]] = {}
"""Every rule by its id, filled when the modules of rules are imported."""


def rule(  # noqa: PLR0913 - the facts of a rule, on one line above its function
    rule_id: str,
    level: Level,
    limit_s: float,
    outcomes: Mapping[str, Verdict],
    *,
    role: Role = Role.SEED,
    is_alone: bool = False,
    is_destructive: bool = False,
    sample: SampleName = SampleName.BASIC,
) -> Callable[[RuleFunction], RuleFunction]:
    """Register the function below as a rule; its docstring is the requirement and its source."""

    def register(function: RuleFunction) -> RuleFunction:
        if rule_id in REGISTRY:
            raise ValueError(f"two rules {rule_id}")
        REGISTRY[rule_id] = ConformanceRule(
            rule_id, level, role, limit_s, outcomes, function, is_alone, is_destructive, sample
        )
        return function

    return register
