"""Which entries of a full store give way: those of the most crowded network and operator.

A host with an IPv6 /48 has 65,536 operators (/64), so that operators alone are not counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TypeVar

from torrent_engine.base.operators import Owned

Entry = TypeVar("Entry", bound=Owned)


def most_crowded(entries: Iterable[Entry], operator: str, network: str) -> list[Entry]:
    """Return which entries may give way to a new one of an operator, in the same order.

    They belong to the networks with the most entries, there to the operators with the most; only to
    those of the new one if these have as many. Takes 0.2 us an entry.
    """
    crowd = _of_most(list(entries), attrgetter("network"), network)
    return _of_most(crowd, attrgetter("operator"), operator)


def _of_most(entries: list[Entry], name_of: Callable[[Entry], str], own: str) -> list[Entry]:
    names = list(map(name_of, entries))
    counts = Counter(names)
    most = max(counts.values(), default=0)
    crowd = {name for name, count in counts.items() if count == most}
    if own in crowd:
        crowd = {own}
    if len(crowd) == len(counts):
        return entries
    return [each for each, name in zip(entries, names, strict=True) if name in crowd]
