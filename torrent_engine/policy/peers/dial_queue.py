"""The queue of waiting addresses, with access to the best due one and to the worst."""

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


class DialQueue:
    """Addresses with a rank (0 is best), a priority (more is better) and a due time.

    All changes cost O(log n).
    """

    def __init__(self) -> None:
        self._entries: dict[PeerAddress, _QueueEntry] = {}
        self._by_rank: dict[int, dict[PeerAddress, None]] = {}
        self._ready: list[tuple[int, int, int, PeerAddress]] = []
        self._later: list[tuple[float, int, PeerAddress]] = []
        self._tickets = 0

    def __len__(self) -> int:
        """Return the number of queued addresses."""
        return len(self._entries)

    def __contains__(self, address: object) -> bool:
        """Return whether an address is queued."""
        return address in self._entries

    def put(self, address: PeerAddress, rank: int, priority: int, due: float) -> None:
        """Queue an address until ``due``; replace an entry that it already has."""
        self.discard(address)
        self._tickets += 1
        self._entries[address] = _QueueEntry(self._tickets, rank, priority, due)
        self._by_rank.setdefault(rank, {})[address] = None
        heappush(self._later, (due, self._tickets, address))
        self._compact()

    def discard(self, address: PeerAddress) -> None:
        """Remove an address, if it is queued."""
        if (entry := self._entries.pop(address, None)) is not None:
            bucket = self._by_rank[entry.rank]
            del bucket[address]
            if not bucket:
                del self._by_rank[entry.rank]

    def due(self, address: PeerAddress) -> float | None:
        """Return the due time of an address, None if it is not queued."""
        entry = self._entries.get(address)
        return None if entry is None else entry.due

    def pop(self, now: float) -> PeerAddress | None:
        """Remove and return the best due address: by rank, then by priority, then by age."""
        self._collect_due(now)
        while self._ready:
            _, _, ticket, address = heappop(self._ready)
            if self._is_valid(ticket, address):
                self.discard(address)
                return address
        return None

    def worst(self) -> tuple[int, PeerAddress] | None:
        """Return the worst rank and the address that has waited longest with it."""
        if not self._by_rank:
            return None
        rank = max(self._by_rank)
        return rank, next(iter(self._by_rank[rank]))

    def next_due(self, now: float) -> float | None:
        """Return when :meth:`pop` will return an address, None if the queue is empty."""
        self._collect_due(now)
        while self._ready and not self._is_valid(*self._ready[0][2:]):
            heappop(self._ready)
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
                heappush(self._ready, (entry.rank, -entry.priority, ticket, address))

    def _is_valid(self, ticket: int, address: PeerAddress) -> bool:
        entry = self._entries.get(address)
        return entry is not None and entry.ticket == ticket

    def _compact(self) -> None:
        """Rebuild the heaps when stale entries outnumber the valid ones."""
        if len(self._ready) + len(self._later) > 2 * len(self._entries) + 100:
            self._ready = [entry for entry in self._ready if self._is_valid(*entry[2:])]
            self._later = [entry for entry in self._later if self._is_valid(*entry[1:])]
            heapify(self._ready)
            heapify(self._later)
