"""All fuzz targets by name.

A module is imported when its target is asked for: one target begins in a second, all in fourteen.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from fuzz.runner import FuzzTarget
from fuzz.subjects import MODULES


class Targets(Mapping[str, FuzzTarget]):
    """Targets by their names; a module is imported when one of its targets is wanted."""

    def __getitem__(self, name: str) -> FuzzTarget:
        """Return a target; KeyError if there is none of that name."""
        module = import_module(f"fuzz.{MODULES[name]}")
        target: FuzzTarget = module.TARGETS[name]
        return target

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(MODULES)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(MODULES)


TARGETS: Final = Targets()
