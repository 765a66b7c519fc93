"""Table of all fuzz targets by name.

A module is imported when its target is asked for: one target begins in a second, all in fourteen.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from fuzz.runner import FuzzTarget

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "addresses": ("compact", "ip-filter", "ip-filter-p2b"),
    "codec": ("bencode", "metainfo", "tolerant"),
    "dht": ("dht",),
    "encryption": ("encryption",),
    "exchange": ("exchange",),
    "hash_trees": ("hash-trees",),
    "holepunch": ("holepunch",),
    "lsd": ("lsd",),
    "magnet": ("magnet",),
    "metadata": ("metadata",),
    "models": (
        "model-availability",
        "model-bandwidth",
        "model-discovery",
        "model-partial",
        "model-picker",
    ),
    "names": ("names",),
    "nat": ("nat",),
    "proxies": ("connect", "socks"),
    "rows": ("rows",),
    "tracker": (
        "tracker-http-answer",
        "tracker-http-request",
        "tracker-udp-answer",
        "tracker-udp-request",
        "tracker-url",
    ),
    "utp": ("utp",),
    "web": ("body", "web-seed"),
    "wire": ("wire",),
}
"""Modules of this folder, and the targets in each."""
MODULES: Final = {name: module for module, names in NAMES.items() for name in names}


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
