"""Our outstanding queries: each ends with a response, an error or a timeout.

Source: BEP 5; the short timeout follows the measured round trips as in RFC 6298. A response counts
only from the queried address and with the random transaction id of the query (row C2).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, Protocol

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import ErrorReply, Response

TRANSACTION_BYTES: Final = 4  # row C2: 32 random bits
GAIN: Final = 0.125  # RFC 6298: weight of one round trip in the mean
DEVIATION_GAIN: Final = 0.25
DEVIATIONS: Final = 4
MAX_TIMEOUTS: Final = 4  # ours: at once; after each a lookup may go through all it knows, 1 ms


class QueryOwner(Protocol):
    """The originator of a query, notified once of its result."""

    def answered(self, query: "Outstanding", response: Response, *, now: float) -> None:
        """Handle the response."""

    def refused(self, query: "Outstanding", failure: ErrorReply, *, now: float) -> None:
        """Handle the error response."""

    def slow(self, query: "Outstanding", *, now: float) -> None:
        """Handle the short timeout; a response may still arrive."""

    def failed(self, query: "Outstanding", *, now: float) -> None:
        """Handle the final timeout."""


@dataclass(slots=True, eq=False)
class Outstanding:
    """One outstanding query."""

    transaction: bytes
    address: PeerAddress
    node_id: NodeId | None
    """The expected node id; None if unknown."""
    method: bytes
    owner: QueryOwner
    sent_s: float
    is_slow: bool = False


@dataclass(slots=True)
class RoundTrips:
    """The estimated round-trip time."""

    short_timeout_s: float
    """Seconds after which a query is slow."""
    lowest_s: float
    highest_s: float
    mean_s: float | None = None
    deviation_s: float = 0.0

    def add(self, round_trip_s: float) -> None:
        """Add one measurement."""
        if self.mean_s is None:
            self.mean_s, self.deviation_s = round_trip_s, round_trip_s / 2
        else:
            error_s = round_trip_s - self.mean_s
            self.deviation_s += DEVIATION_GAIN * (abs(error_s) - self.deviation_s)
            self.mean_s += GAIN * error_s
        wanted_s = self.mean_s + DEVIATIONS * self.deviation_s
        self.short_timeout_s = min(max(wanted_s, self.lowest_s), self.highest_s)


@dataclass(slots=True)
class Timeouts:
    """Queries whose timeouts have passed."""

    slow: list[Outstanding] = field(default_factory=list)
    failed: list[Outstanding] = field(default_factory=list)


class Transactions:
    """The outstanding queries, at most ``config.max_outstanding_queries``."""

    def __init__(self, config: DhtConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._waiting: dict[bytes, Outstanding] = {}
        self._deadlines: list[tuple[float, bytes]] = []
        self.round_trips = RoundTrips(
            config.first_short_timeout_s, config.min_short_timeout_s, config.query_timeout_s / 2
        )

    def __len__(self) -> int:
        """Return the number of outstanding queries."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many more queries may be sent now."""
        return self._config.max_outstanding_queries - len(self._waiting)

    def open(
        self,
        address: PeerAddress,
        method: bytes,
        owner: QueryOwner,
        *,
        node_id: NodeId | None,
        now: float,
    ) -> Outstanding | None:
        """Record a query that is about to be sent; None if too many are outstanding."""
        if self.room < 1:
            return None
        transaction = self._rng.randbytes(TRANSACTION_BYTES)
        while transaction in self._waiting:
            transaction = self._rng.randbytes(TRANSACTION_BYTES)
        query = Outstanding(transaction, address, node_id, method, owner, now)
        self._waiting[transaction] = query
        heappush(self._deadlines, (now + self.round_trips.short_timeout_s, transaction))
        return query

    def close(self, transaction: bytes, address: PeerAddress, *, now: float) -> Outstanding | None:
        """Remove and return the query that a datagram responds to; None if there is none."""
        query = self._waiting.get(transaction)
        if query is None or query.address != address:
            return None
        del self._waiting[transaction]
        self.round_trips.add(max(now - query.sent_s, 0.0))
        return query

    def forget(self, owners: Sequence[QueryOwner]) -> None:
        """Drop the queries of owners that ended."""
        gone = [key for key, query in self._waiting.items() if query.owner in owners]
        for key in gone:
            del self._waiting[key]

    def timed_out(self, now: float) -> Timeouts:
        """Return a few queries that became slow or failed; the latter are removed.

        The others are returned by further calls: :meth:`next_timer` is not later than ``now``.
        """
        result = Timeouts()
        while self._deadlines and self._deadlines[0][0] <= now:
            if len(result.slow) + len(result.failed) >= MAX_TIMEOUTS:
                break
            query = self._waiting.get(heappop(self._deadlines)[1])
            if query is None:
                continue
            end_s = query.sent_s + self._config.query_timeout_s
            if end_s <= now:
                del self._waiting[query.transaction]
                result.failed.append(query)
            else:
                heappush(self._deadlines, (end_s, query.transaction))
                if not query.is_slow:
                    query.is_slow = True
                    result.slow.append(query)
        return result

    def next_timer(self) -> float | None:
        """Return the next timeout; None without outstanding queries."""
        while self._deadlines and self._deadlines[0][1] not in self._waiting:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None
