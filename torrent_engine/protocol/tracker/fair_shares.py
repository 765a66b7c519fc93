"""Fair eviction from a bounded store, by the number of entries of each operator.

The oldest entry of the operator with the most entries is evicted, so that one address can only
displace its own entries.
"""

from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class FairShares(Generic[Entry]):
    """Entries by operator, the least recently updated first.

    All operations take constant time.
    """

    __slots__ = ("_by_count", "_by_operator", "_max_count")

    def __init__(self) -> None:
        self._by_operator: dict[str, dict[Entry, None]] = {}
        self._by_count: dict[int, dict[str, None]] = {}  # operators by the number of their entries
        self._max_count = 0

    def count(self, operator: str) -> int:
        """Return the number of entries of an operator."""
        return len(self._by_operator.get(operator, ()))

    def add(self, operator: str, entry: Entry) -> None:
        """Add an entry, or mark it as the most recent one."""
        entries = self._by_operator.setdefault(operator, {})
        before = len(entries)
        entries.pop(entry, None)
        entries[entry] = None
        if len(entries) > before:
            self._recount(operator, before, before + 1)

    def remove(self, operator: str, entry: Entry) -> None:
        """Remove an entry; may be called twice."""
        entries = self._by_operator.get(operator, {})
        if entry not in entries:
            return
        del entries[entry]
        self._recount(operator, len(entries) + 1, len(entries))
        if not entries:
            del self._by_operator[operator]

    def surplus(self, operator: str) -> Entry | None:
        """Return the entry to evict for a new one of an operator, if the store is full.

        It is the oldest entry of the operator with the most entries, or of the given operator if
        none has more. None if no operator has more than one entry.
        """
        own = self.count(operator)
        if own < self._max_count and self._max_count > 1:
            operator = next(iter(self._by_count[self._max_count]))
        return self.oldest(operator)

    def oldest(self, operator: str) -> Entry | None:
        """Return the least recent entry of an operator; None if it has none."""
        return next(iter(self._by_operator.get(operator, ())), None)

    def _recount(self, operator: str, before: int, after: int) -> None:
        if before:
            alike = self._by_count[before]
            del alike[operator]
            if not alike:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, {})[operator] = None
        if after > self._max_count or (before == self._max_count and before not in self._by_count):
            self._max_count = after
