"""Who has how many entries of a bounded store, and which of them must go for another.

What is full takes from who has most, so one address, however fast it comes, displaces only itself.
"""

from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class Crowd(Generic[Entry]):
    """Entries by operator, those first that were quiet longest.

    Every step takes the same time, however many there are.
    """

    __slots__ = ("_most", "_of", "_with")

    def __init__(self) -> None:
        self._of: dict[str, dict[Entry, None]] = {}
        self._with: dict[int, dict[str, None]] = {}  # operators by the number of their entries
        self._most = 0

    def count(self, operator: str) -> int:
        """Return how many entries an operator has."""
        return len(self._of.get(operator, ()))

    def add(self, operator: str, entry: Entry) -> None:
        """Add an entry, or note that it was heard of again."""
        entries = self._of.setdefault(operator, {})
        before = len(entries)
        entries.pop(entry, None)
        entries[entry] = None
        if len(entries) > before:
            self._recount(operator, before, before + 1)

    def remove(self, operator: str, entry: Entry) -> None:
        """Forget an entry; twice is harmless."""
        entries = self._of.get(operator, {})
        if entry not in entries:
            return
        del entries[entry]
        self._recount(operator, len(entries) + 1, len(entries))
        if not entries:
            del self._of[operator]

    def surplus(self, operator: str) -> Entry | None:
        """Return the entry that must go for another one of an operator, if there is no room.

        It is the oldest of who has most, or of the operator itself if nobody has more. None if no
        operator has more than one: then none of them is more to blame than the others.
        """
        own = self.count(operator)
        if own < self._most and self._most > 1:
            operator = next(iter(self._with[self._most]))
        return self.oldest(operator)

    def oldest(self, operator: str) -> Entry | None:
        """Return which entry of an operator was quiet longest; None if it has none."""
        return next(iter(self._of.get(operator, ())), None)

    def _recount(self, operator: str, before: int, after: int) -> None:
        if before:
            alike = self._with[before]
            del alike[operator]
            if not alike:
                del self._with[before]
        if after:
            self._with.setdefault(after, {})[operator] = None
        if after > self._most or (before == self._most and before not in self._with):
            self._most = after
