"""Fair eviction from a bounded store, by the number of entries of each network and operator.

What is evicted belongs to the network with the most entries (an IPv4 /24, an IPv6 /48), there to
the operator with the most (an IPv4 address, an IPv6 /64), and is the oldest of those. So one host
can only displace its own entries, however many operators its network has.
"""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from torrent_engine.base.operators import Owned

LARGE: Final = 64  # ours: a plain dict takes less memory, and is as fast while it is small

Key = TypeVar("Key")
Entry = TypeVar("Entry", bound=Owned)


class FairShares(Generic[Entry]):
    """Entries by network and operator, the least recently updated first.

    All operations take constant time. Who has one entry, which is nearly everybody, takes less
    memory: a dict of one entry has 232 bytes.
    """

    __slots__ = ("_entries", "_operators", "_single_entry", "_single_operator", "_sizes")

    def __init__(self) -> None:
        self._single_entry: dict[str, Entry] = {}
        """Operator -> its entry, if it has one."""
        self._entries: dict[str, dict[Entry, None]] = {}
        """Operator -> its entries, if it has several."""
        self._single_operator: dict[str, str] = {}
        """Network -> its operator, if it has one."""
        self._operators: dict[str, Ranking] = {}
        """Network -> its operators, if it has several."""
        self._sizes = Ranking()
        """The networks."""

    def __len__(self) -> int:
        """Return the number of entries."""
        return self._sizes.total

    def count(self, operator: str) -> int:
        """Return the number of entries of an operator."""
        entries = self._entries.get(operator)
        return int(operator in self._single_entry) if entries is None else len(entries)

    def size(self, network: str) -> int:
        """Return the number of entries of a network."""
        operators = self._operators.get(network)
        if operators is None:
            return self.count(self._single_operator.get(network, ""))
        return operators.total

    def add(self, entry: Entry) -> None:
        """Add an entry, or mark it as the most recent one."""
        operator = entry.operator
        before = self.count(operator)
        single = self._single_entry.get(operator)
        if not before or single == entry:
            self._single_entry[operator] = entry
            self._recount(entry, before, 1)
            return
        if single is None:
            entries = self._entries[operator]
        else:
            del self._single_entry[operator]
            entries = {single: None}
        self._entries[operator] = entries = with_last(entries, entry)
        self._recount(entry, before, len(entries))

    def remove(self, entry: Entry) -> None:
        """Remove an entry; may be called twice."""
        operator = entry.operator
        entries = self._entries.get(operator)
        if entries is None:
            if self._single_entry.get(operator) == entry:
                del self._single_entry[operator]
                self._recount(entry, 1, 0)
        elif entry in entries:
            del entries[entry]
            if len(entries) == 1:
                self._single_entry[operator] = next(iter(entries))
                del self._entries[operator]
            self._recount(entry, len(entries) + 1, len(entries))

    def surplus(self, operator: str, network: str) -> Entry | None:
        """Return the entry to evict for a new one of an operator, if the store is full.

        Where no network has more entries than the operator's own, and there no operator more than
        the operator itself, it is one of the own. None if there are no entries.
        """
        is_own = self.size(network) >= self._sizes.highest > 0
        crowd = network if is_own else self._sizes.first()
        operators = self._operators.get(crowd)
        if operators is None:
            return self.oldest(self._single_operator.get(crowd, ""))
        if is_own and self.count(operator) >= operators.highest:
            return self.oldest(operator)
        return self.oldest(operators.first())

    def oldest(self, operator: str) -> Entry | None:
        """Return the least recent entry of an operator; None if it has none."""
        entries = self._entries.get(operator)
        return self._single_entry.get(operator) if entries is None else next(iter(entries))

    def has_fewer(self, operator: str, network: str, entry: Entry) -> bool:
        """Return whether others would have fewer entries with this one than its owners have."""
        if network == entry.network:
            return self.count(operator) + 1 < self.count(entry.operator)
        return self.size(network) + 1 < self.size(entry.network)

    def _recount(self, entry: Entry, before: int, after: int) -> None:
        """Record how many entries the operator of an entry had and has."""
        network, operator = entry.network, entry.operator
        operators = self._operators.get(network)
        if operators is None:
            single = self._single_operator.get(network, operator)
            if single == operator:
                self._recount_single(network, operator, before, after)
                return
            operators = self._operators[network] = Ranking()
            operators.move(single, 0, self.count(single))
            del self._single_operator[network]
        size = operators.total
        operators.move(operator, before, after)
        self._sizes.move(network, size, operators.total)
        if operators.is_single:
            self._single_operator[network] = operators.first()
            del self._operators[network]

    def _recount_single(self, network: str, operator: str, before: int, after: int) -> None:
        if after:
            self._single_operator[network] = operator
        else:
            del self._single_operator[network]
        self._sizes.move(network, before, after)


class Ranking:
    """Names by a number of each, which changes by one; all operations take constant time."""

    __slots__ = ("_alike", "highest", "total")

    def __init__(self) -> None:
        self._alike: dict[int, dict[str, None]] = {}
        """Number -> the names with that number, the least recently moved first."""
        self.highest = 0
        self.total = 0

    @property
    def is_single(self) -> bool:
        """Whether there is one name."""
        return len(self._alike) == 1 and len(next(iter(self._alike.values()))) == 1

    def first(self) -> str:
        """Return the least recently moved of the names with the highest number; "" without any."""
        return next(iter(self._alike.get(self.highest, ())), "")

    def move(self, name: str, before: int, after: int) -> None:
        """Change the number of a name, or mark it as the most recent one; 0 is none."""
        if before and before != after:
            alike = self._alike[before]
            del alike[name]
            if not alike:
                del self._alike[before]
        if after:
            self._alike[after] = with_last(self._alike.get(after, {}), name)
        if after > self.highest or (before == self.highest and before not in self._alike):
            self.highest = after
        self.total += after - before


def with_last(keys: dict[Key, None], key: Key) -> dict[Key, None]:
    """Return the keys, with one moved to the end or added there.

    Before the first key of a plain dict lie those that were removed, and finding it takes as long
    as there are of these: large ones become ordered dicts.
    """
    keys.pop(key, None)
    keys[key] = None
    if len(keys) == LARGE and type(keys) is dict:
        return OrderedDict(keys)
    return keys
