"""Owns the queries of ours that wait for an answer: each is answered, refused or timed out once.

Source: BEP 5; the short time-out follows the round trips that were seen, as RFC 6298 has it. An
answer counts only from the address that was asked, and with the random id of that query (row C2).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, Protocol

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.krpc import Failure, Response

TRANSACTION_BYTES: Final = 4  # row C2: 32 bits by chance; an answer repeats them
GAIN: Final = 0.125  # RFC 6298: what one round trip weighs in the mean
DEVIATION_GAIN: Final = 0.25
DEVIATIONS: Final = 4


class Asker(Protocol):
    """Who sent a query, and hears once how it ended."""

    def answered(self, query: "Outstanding", response: Response, *, now: float) -> None:
        """Take the response."""

    def refused(self, query: "Outstanding", failure: Failure, *, now: float) -> None:
        """Take the error that came instead."""

    def slow(self, query: "Outstanding", *, now: float) -> None:
        """Know that the short time-out passed; an answer may still come."""

    def failed(self, query: "Outstanding", *, now: float) -> None:
        """Know that no answer will be taken any more."""


@dataclass(slots=True, eq=False)
class Outstanding:
    """One query that was sent."""

    transaction: bytes
    address: PeerAddress
    node_id: NodeId | None
    """Who is said to be there; None where nobody said."""
    method: bytes
    asker: Asker
    sent_s: float
    is_slow: bool = False


@dataclass(slots=True)
class RoundTrips:
    """Owns the estimate of how long an answer takes."""

    short_timeout_s: float
    """Time after which an answer is late."""
    lowest_s: float
    highest_s: float
    mean_s: float | None = None
    deviation_s: float = 0.0

    def add(self, round_trip_s: float) -> None:
        """Count one answer."""
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
    """What the time has brought."""

    slow: list[Outstanding] = field(default_factory=list)
    failed: list[Outstanding] = field(default_factory=list)


class Transactions:
    """Owns the outstanding queries, at most ``config.max_outstanding_queries``."""

    def __init__(self, config: DhtConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._waiting: dict[bytes, Outstanding] = {}
        self._deadlines: list[tuple[float, bytes]] = []
        self.round_trips = RoundTrips(
            config.first_short_timeout_s, config.min_short_timeout_s, config.query_timeout_s / 2
        )

    def __len__(self) -> int:
        """Return how many queries wait."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many more queries may be sent now."""
        return self._config.max_outstanding_queries - len(self._waiting)

    def open(
        self,
        address: PeerAddress,
        method: bytes,
        asker: Asker,
        *,
        node_id: NodeId | None,
        now: float,
    ) -> Outstanding | None:
        """Note a query that is about to be sent; None if too many wait already."""
        if self.room < 1:
            return None
        transaction = self._rng.randbytes(TRANSACTION_BYTES)
        while transaction in self._waiting:
            transaction = self._rng.randbytes(TRANSACTION_BYTES)
        query = Outstanding(transaction, address, node_id, method, asker, now)
        self._waiting[transaction] = query
        heappush(self._deadlines, (now + self.round_trips.short_timeout_s, transaction))
        return query

    def close(self, transaction: bytes, address: PeerAddress, *, now: float) -> Outstanding | None:
        """Take the query that a datagram answers; None if nobody there was asked so."""
        query = self._waiting.get(transaction)
        if query is None or query.address != address:
            return None
        del self._waiting[transaction]
        self.round_trips.add(max(now - query.sent_s, 0.0))
        return query

    def forget(self, askers: Sequence[Asker]) -> None:
        """Drop the queries of somebody who is gone."""
        gone = [key for key, query in self._waiting.items() if query.asker in askers]
        for key in gone:
            del self._waiting[key]

    def timed_out(self, now: float) -> Timeouts:
        """Return who became late, and whose time is over; the latter are forgotten."""
        result = Timeouts()
        while self._deadlines and self._deadlines[0][0] <= now:
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
        """Return when :meth:`timed_out` has something to tell; None while nothing waits."""
        while self._deadlines and self._deadlines[0][1] not in self._waiting:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None
