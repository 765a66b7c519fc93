"""Differences of two configurations, and taking over some of them."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

Config = TypeVar("Config")


def changed_fields(old: Any, new: Any, prefix: str = "") -> tuple[str, ...]:  # noqa: ANN401
    """Return the fields in which two configurations differ, such as "pool.ban_s"."""
    found: list[str] = []
    for each in fields(old):
        before, after = getattr(old, each.name), getattr(new, each.name)
        if is_dataclass(before) and type(before) is type(after):
            found += changed_fields(before, after, f"{prefix}{each.name}.")
        elif before != after:
            found.append(f"{prefix}{each.name}")
    return tuple(found)


def with_fields(old: Config, new: Config, names: Iterable[str]) -> Config:
    """Return ``old`` with the named fields, as :func:`changed_fields` names them, of ``new``."""
    inner: dict[str, list[str]] = {}
    for name in names:
        first, _, rest = name.partition(".")
        inner.setdefault(first, []).append(rest)
    changes = {
        first: getattr(new, first)
        if "" in rests
        else with_fields(getattr(old, first), getattr(new, first), rests)
        for first, rests in inner.items()
    }
    return replace(old, **changes) if changes else old  # type: ignore[type-var]
