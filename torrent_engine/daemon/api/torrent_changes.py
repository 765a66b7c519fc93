"""Settings of one torrent that a request changes."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import Field

from torrent_engine.daemon.api.requests import Input
from torrent_engine.daemon.engine_port.facts import SeedRules
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.state.rows import StateRow

if TYPE_CHECKING:
    from torrent_engine.daemon.context import DaemonContext

MAX_RATE: Final = 2**40
_Rate = Field(default=0, ge=0, le=MAX_RATE)
Rule = float | Literal["never"] | None
_RULES: Final = ("ratio", "time_s", "idle_s")


class LimitsPatch(Input):
    """Limits in bytes per second, and of peers; 0 is unlimited or the general limit."""

    download_bytes_per_s: int = _Rate
    upload_bytes_per_s: int = _Rate
    peer_limit: int = Field(default=0, ge=0, le=10_000)


class SeedRulesPatch(Input):
    """When seeding ends: null is the general rule, "never" no end."""

    ratio: Rule = Field(default=None)
    time_s: Rule = Field(default=None)
    idle_s: Rule = Field(default=None)


class TorrentPatch(Input):
    """What may be changed of a torrent."""

    name: str | None = Field(default=None, max_length=1_024)
    """Displayed; null: the torrent's own."""
    comment: str | None = Field(default=None, max_length=1_024)
    category: str | None = None
    labels: list[str] | None = Field(default=None, max_length=64)
    priority: int | None = Field(default=None, ge=-1_000, le=1_000)
    limits: LimitsPatch | None = None
    seed_rules: SeedRulesPatch | None = None
    sequential: bool | None = None
    super_seeding: bool | None = None


async def apply_patch(context: "DaemonContext", row: StateRow, given: TorrentPatch) -> None:
    """Change what a patch names, after all of it was checked. Raises ProblemError."""
    said = given.model_fields_set
    settings, labels, key = context.port.settings, context.state.labels, row.info_hash
    rules = _rules(row.settings.seed_rules, given.seed_rules)
    if given.category and labels.category(given.category) is None:
        raise ProblemError(Problem("setting_invalid", "there is no such category"))
    if "labels" in said:
        labels.set_labels(key, given.labels or ())
    if "category" in said:
        labels.set_category(key, given.category or "")
    if shown := {name: getattr(given, name) for name in ("name", "comment") if name in said}:
        labels.set_user_data(key, **shown)
    if given.limits is not None:
        settings.set_limits(key, replace(row.settings.limits, **_limits(given.limits)))
    if given.seed_rules is not None:
        settings.set_seed_rules(key, rules)
    if given.sequential is not None:
        settings.set_sequential(key, is_sequential=given.sequential)
    if given.super_seeding is not None:
        settings.set_super_seeding(key, is_super_seeding=given.super_seeding)
    if given.priority is not None:
        context.port.control.set_priority(key, given.priority)
        await context.state.queue_changed()
    context.state.look(key)


def _limits(given: LimitsPatch) -> dict[str, Any]:
    names = {"peer_limit": "max_peers"}
    return {names.get(name, name): getattr(given, name) for name in given.model_fields_set}


def _rules(present: SeedRules, given: SeedRulesPatch | None) -> SeedRules:
    if given is None:
        return present
    changes: dict[str, float | None] = {}
    for name in _RULES:
        if name in given.model_fields_set:
            value = getattr(given, name)
            if isinstance(value, float | int) and not 0 <= value < math.inf:
                raise ProblemError(Problem("setting_invalid", f"seed_rules.{name} is out of range"))
            changes[name] = math.inf if value == "never" else value
    return replace(present, **changes)
