"""The queue of waiting addresses, with access to the best due one and to the worst."""

from collections.abc import Container
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from torrent_engine.base.ids import PeerAddress


@dataclass(frozen=True, slots=True)
class _QueueEntry:
    """The valid entry of an address; heap entries with another ticket are stale."""

    ticket: int
    rank: int
    priority: int
    due: float
    kind: int


class DialQueue:
    """Addresses with a rank (0 is best), a priority (more is better), a due time and a kind.

    Kinds are a few small numbers, the best first. All changes cost O(log n).
    """

    def __init__(self) -> None:
        self._entries: dict[PeerAddress, _QueueEntry] = {}
        self._by_rank: dict[tuple[int, int], dict[PeerAddress, None]] = {}
        """By rank and kind."""
        self._ready: dict[int, list[tuple[int, int, int, PeerAddress]]] = {}
        """By kind."""
        self._later: list[tuple[float, int, PeerAddress]] = []
        self._tickets = 0

    def __len__(self) -> int:
        """Return the number of queued addresses."""
        return len(self._entries)

    def __contains__(self, address: object) -> bool:
        """Return whether an address is queued."""
        return address in self._entries

    def put(
        self, address: PeerAddress, rank: int, priority: int, due: float, *, kind: int = 0
    ) -> None:
        """Queue an address until ``due``; replace an entry that it already has."""
        self.discard(address)
        self._tickets += 1
        self._entries[address] = _QueueEntry(self._tickets, rank, priority, due, kind)
        self._by_rank.setdefault((rank, kind), {})[address] = None
        heappush(self._later, (due, self._tickets, address))
        self._compact()

    def discard(self, address: PeerAddress) -> None:
        """Remove an address, if it is queued."""
        if (entry := self._entries.pop(address, None)) is not None:
            bucket = self._by_rank[entry.rank, entry.kind]
            del bucket[address]
            if not bucket:
                del self._by_rank[entry.rank, entry.kind]

    def due(self, address: PeerAddress) -> float | None:
        """Return the due time of an address, None if it is not queued."""
        entry = self._entries.get(address)
        return None if entry is None else entry.due

    def pop(self, now: float, *, last: int | None = None) -> PeerAddress | None:
        """Remove and return the best due address: by rank, then by priority, then by age.

        Those of the kind ``last`` come after all others.
        """
        self._collect_due(now)
        if not self._ready:
            return None
        kind = min(self._ready, key=lambda each: (each == last, self._ready[each][0]))
        address = self._ready[kind][0][-1]
        self.discard(address)
        self._drop_stale(kind)
        return address

    def worst(self, kinds: Container[int] | None = None) -> tuple[int, PeerAddress] | None:
        """Return the worst rank and the address that has waited longest with it.

        Of these kinds only, the worst kind if the rank is the same.
        """
        place = max(
            (each for each in self._by_rank if kinds is None or each[1] in kinds), default=None
        )
        return None if place is None else (place[0], next(iter(self._by_rank[place])))

    def count_of(self, kind: int) -> int:
        """Return how many addresses of a kind are queued."""
        return sum(len(bucket) for place, bucket in self._by_rank.items() if place[1] == kind)

    def next_due(self, now: float) -> float | None:
        """Return when :meth:`pop` will return an address, None if the queue is empty."""
        self._collect_due(now)
        if self._ready:
            return now
        while self._later and not self._is_valid(*self._later[0][1:]):
            heappop(self._later)
        return self._later[0][0] if self._later else None

    def _collect_due(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, ticket, address = heappop(self._later)
            if self._is_valid(ticket, address):
                entry = self._entries[address]
                ready = self._ready.setdefault(entry.kind, [])
                heappush(ready, (entry.rank, -entry.priority, ticket, address))
        for kind in tuple(self._ready):
            self._drop_stale(kind)

    def _drop_stale(self, kind: int) -> None:
        """Have a valid entry, or none, first among those of a kind that are due."""
        ready = self._ready[kind]
        while ready and not self._is_valid(*ready[0][2:]):
            heappop(ready)
        if not ready:
            del self._ready[kind]

    def _is_valid(self, ticket: int, address: PeerAddress) -> bool:
        entry = self._entries.get(address)
        return entry is not None and entry.ticket == ticket

    def _compact(self) -> None:
        """Rebuild the heaps when stale entries outnumber the valid ones."""
        count = len(self._later) + sum(map(len, self._ready.values()))
        if count > 2 * len(self._entries) + 100:
            self._later = [entry for entry in self._later if self._is_valid(*entry[1:])]
            heapify(self._later)
            for kind, ready in tuple(self._ready.items()):
                self._ready[kind] = [entry for entry in ready if self._is_valid(*entry[2:])]
                heapify(self._ready[kind])
                self._drop_stale(kind)
