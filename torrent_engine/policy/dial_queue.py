"""Owns one order: which waiting address is due first and best, and which is the worst."""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from torrent_engine.base.ids import PeerAddress


@dataclass(frozen=True, slots=True)
class _Place:
    """An address's one valid entry; heap entries with another ticket are stale."""

    ticket: int
    rank: int
    priority: int
    due: float


class DialQueue:
    """Addresses with a rank (0 is best), a priority (more is better) and a time to wait for.

    Putting, taking and dropping cost O(log n).
    """

    def __init__(self) -> None:
        self._places: dict[PeerAddress, _Place] = {}
        self._by_rank: dict[int, dict[PeerAddress, None]] = {}
        self._ready: list[tuple[int, int, int, PeerAddress]] = []
        self._later: list[tuple[float, int, PeerAddress]] = []
        self._tickets = 0

    def __len__(self) -> int:
        """Return how many addresses wait."""
        return len(self._places)

    def __contains__(self, address: object) -> bool:
        """Tell whether an address waits."""
        return address in self._places

    def put(self, address: PeerAddress, rank: int, priority: int, due: float) -> None:
        """Let an address wait until ``due``; one that waits already gets a new place."""
        self.discard(address)
        self._tickets += 1
        self._places[address] = _Place(self._tickets, rank, priority, due)
        self._by_rank.setdefault(rank, {})[address] = None
        heappush(self._later, (due, self._tickets, address))
        self._sweep()

    def discard(self, address: PeerAddress) -> None:
        """Take an address out, if it is there."""
        if (place := self._places.pop(address, None)) is not None:
            bucket = self._by_rank[place.rank]
            del bucket[address]
            if not bucket:
                del self._by_rank[place.rank]

    def due(self, address: PeerAddress) -> float | None:
        """Return what time an address waits for, None if it does not wait."""
        place = self._places.get(address)
        return None if place is None else place.due

    def pop(self, now: float) -> PeerAddress | None:
        """Take out the best of those that are due: by rank, then by priority, then by age."""
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
        """Return when :meth:`pop` will have an answer, None if nobody waits."""
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
                place = self._places[address]
                heappush(self._ready, (place.rank, -place.priority, ticket, address))

    def _is_valid(self, ticket: int, address: PeerAddress) -> bool:
        place = self._places.get(address)
        return place is not None and place.ticket == ticket

    def _sweep(self) -> None:
        """Rebuild the heaps when stale entries outnumber the valid ones."""
        if len(self._ready) + len(self._later) > 2 * len(self._places) + 100:
            self._ready = [entry for entry in self._ready if self._is_valid(*entry[2:])]
            self._later = [entry for entry in self._later if self._is_valid(*entry[1:])]
            heapify(self._ready)
            heapify(self._later)
