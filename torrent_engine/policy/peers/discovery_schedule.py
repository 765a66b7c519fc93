"""The announce schedule of one peer source, over all torrents.

Every torrent has one round an interval, torrents that need peers sooner; the rounds of many
torrents are spread evenly, however many join at once. A torrent is in one round at a time. Each
method costs O(log n).
"""

import random
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from torrent_engine.base.ids import InfoHash

JITTER: Final = (0.9, 1.0)  # ours: of an interval, so that clients started together drift apart
URGENT_ROUNDS: Final = 3  # ours: rounds in which a torrent that needs peers has precedence
BATCH_SHARE: Final = 0.5  # ours: of the interval; torrents due within it share a batch
MAX_DOUBLINGS: Final = 30
NEVER: Final = float("inf")
_ROUNDING: Final = 1e-6  # tolerance of float times


@dataclass(frozen=True, slots=True)
class RoundIntervals:
    """The intervals of a source."""

    interval_s: float
    """From the start of one round of a torrent to the start of the next."""
    min_interval_s: float
    """The minimum, for a torrent that needs peers."""
    retry_s: float
    """After a round without a result; doubled each time, up to the interval."""
    rejoin_s: float
    """The minimum for a torrent that left in between."""
    turn_s: float
    """Mean time between batches, over all torrents."""
    burst_turns: int
    """Batches allowed at once after a pause."""
    gather_s: float = 0.0
    """How long a joining torrent waits for others to share its batch."""
    per_turn: int = 1
    """Torrents in one batch."""


@dataclass(slots=True)
class _Entry:
    """The schedule of one torrent; heap entries with another ticket are stale."""

    ticket: int
    due: float
    needs_peers: bool
    began: float = -NEVER
    rounds: int = 0
    empty_rounds: int = 0
    is_busy: bool = False

    @property
    def rank(self) -> int:
        """0 goes first: needs peers and had few rounds; then torrents without any round."""
        if self.needs_peers and self.rounds < URGENT_ROUNDS:
            return 0
        return 2 if self.rounds else 1


class DiscoverySchedule:
    """The choice of the torrents whose round starts next."""

    def __init__(self, intervals: RoundIntervals, rng: random.Random) -> None:
        self._intervals = intervals
        self._rng = rng
        self._entries: dict[InfoHash, _Entry] = {}
        self._later: list[tuple[float, int, InfoHash]] = []
        self._ready: list[tuple[int, float, int, InfoHash]] = []
        self._tickets = 0
        self._turns = float(intervals.burst_turns)
        self._counted_at: float | None = None
        self._left: dict[InfoHash, float] = {}
        """Torrent that left -> start of its last round, while ``rejoin_s`` lasts."""

    def __len__(self) -> int:
        """Return the number of torrents."""
        return len(self._entries)

    def __contains__(self, info_hash: object) -> bool:
        """Return whether a torrent takes part."""
        return info_hash in self._entries

    def join(self, info_hash: InfoHash, *, needs_peers: bool, now: float) -> None:
        """Add a torrent: its first round begins soon, or ``rejoin_s`` after its last one."""
        self._forget_left(now)
        began = self._left.pop(info_hash, -NEVER)
        due = max(now + self._intervals.gather_s, began + self._intervals.rejoin_s)
        self._entries[info_hash] = _Entry(0, due, needs_peers, began=began)
        self._wait(info_hash, due)

    def leave(self, info_hash: InfoHash, *, now: float) -> None:
        """Remove a torrent."""
        if (entry := self._entries.pop(info_hash, None)) is not None:
            self._forget_left(now)
            if entry.began > now - self._intervals.rejoin_s:
                self._left[info_hash] = entry.began

    def hurry(self, info_hash: InfoHash, *, now: float) -> None:
        """Start the next round of a torrent as soon as its minimum interval allows."""
        entry = self._entries.get(info_hash)
        if entry is None or entry.is_busy or not entry.rounds:  # its first round is soon anyway
            return
        due = max(now, entry.began + self._intervals.min_interval_s)
        if due < entry.due:
            self._wait(info_hash, due)

    def begin(self, *, now: float) -> list[InfoHash]:
        """Start a batch and return its torrents.

        Empty if none is due, or it is too early for another batch. A batch includes torrents that
        are due soon. Call :meth:`ended` for each.
        """
        self._collect(now)
        if not self._ready or not self._take_turn(now):
            return []
        begun: list[InfoHash] = []
        while self._ready and len(begun) < self._intervals.per_turn:
            begun.append(self._begin(heappop(self._ready)[-1], now))
        while len(begun) < self._intervals.per_turn and self._soonest_may_begin(now):
            begun.append(self._begin(heappop(self._later)[-1], now))
        return begun

    def ended(self, info_hash: InfoHash, *, is_empty: bool, needs_peers: bool, now: float) -> None:
        """Record the end of a round and schedule the next; sooner if it had no result."""
        entry = self._entries.get(info_hash)
        if entry is None or not entry.is_busy:
            return
        entry.is_busy = False
        entry.rounds += 1
        entry.needs_peers = needs_peers
        entry.empty_rounds = entry.empty_rounds + 1 if is_empty else 0
        pause_s = self._intervals.interval_s * self._rng.uniform(*JITTER)
        if is_empty:
            doubled = 2.0 ** min(entry.empty_rounds - 1, MAX_DOUBLINGS)
            pause_s = min(pause_s, self._intervals.retry_s * doubled)
        self._wait(info_hash, max(entry.began + pause_s, now))

    def next_timer(self, *, now: float) -> float:
        """Return when :meth:`begin` may return torrents; infinite if none waits."""
        self._collect(now)
        if self._ready:
            return now + self._turn_in_s(now)
        return self._later[0][0] if self._later else NEVER

    # -- order ------------------------------------------------------------------------------

    def _begin(self, info_hash: InfoHash, now: float) -> InfoHash:
        entry = self._entries[info_hash]
        entry.is_busy = True
        entry.began = now
        self._drop_stale()
        return info_hash

    def _wait(self, info_hash: InfoHash, due: float) -> None:
        entry = self._entries[info_hash]
        self._tickets += 1
        entry.ticket, entry.due = self._tickets, due
        heappush(self._later, (due, self._tickets, info_hash))
        if len(self._later) + len(self._ready) > 2 * len(self._entries) + 100:
            self._compact()

    def _collect(self, now: float) -> None:
        """Move due torrents to the heap of ready ones."""
        self._drop_stale()
        while self._later and self._later[0][0] <= now:
            due, ticket, info_hash = heappop(self._later)
            if self._is_valid(ticket, info_hash):
                heappush(self._ready, (self._entries[info_hash].rank, due, ticket, info_hash))
        self._drop_stale()

    def _soonest_may_begin(self, now: float) -> bool:
        """Return whether the next waiting torrent may join the batch early."""
        if not self._later:
            return False
        entry, intervals = self._entries[self._later[0][-1]], self._intervals
        is_near = entry.due <= now + intervals.interval_s * BATCH_SHARE
        return is_near and entry.began + intervals.min_interval_s <= now

    def _drop_stale(self) -> None:
        while self._ready and not self._is_valid(*self._ready[0][2:]):
            heappop(self._ready)
        while self._later and not self._is_valid(*self._later[0][1:]):
            heappop(self._later)

    def _is_valid(self, ticket: int, info_hash: InfoHash) -> bool:
        entry = self._entries.get(info_hash)
        return entry is not None and entry.ticket == ticket and not entry.is_busy

    def _compact(self) -> None:
        """Rebuild the heaps when stale entries outnumber the valid ones."""
        self._ready = [each for each in self._ready if self._is_valid(*each[2:])]
        self._later = [each for each in self._later if self._is_valid(*each[1:])]
        heapify(self._ready)
        heapify(self._later)

    def _forget_left(self, now: float) -> None:
        horizon = now - self._intervals.rejoin_s
        self._left = {each: began for each, began in self._left.items() if began > horizon}

    # -- turns ------------------------------------------------------------------------------

    def _take_turn(self, now: float) -> bool:
        if self._turn_in_s(now) > 0:
            return False
        self._turns -= 1
        return True

    def _turn_in_s(self, now: float) -> float:
        """Return the seconds until the next batch is allowed."""
        if self._counted_at is not None:
            earned = max(now - self._counted_at, 0.0) / self._intervals.turn_s
            self._turns = min(self._turns + earned, float(self._intervals.burst_turns))
        self._counted_at = now
        missing = 1.0 - self._turns
        return missing * self._intervals.turn_s if missing > _ROUNDING else 0.0
