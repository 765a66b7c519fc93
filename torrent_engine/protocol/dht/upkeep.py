"""Owns what a node does unasked: filling its table, refreshing it, pinging who may be gone.

Source: BEP 5; row C1: who only asked us something may be forged, and is pinged within bounds.
"""

from collections.abc import Callable, Iterable
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.endpoint import Endpoint
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.lookup import Lookup, Start
from torrent_engine.protocol.dht.lookup_queue import LookupQueue
from torrent_engine.protocol.dht.maintenance import Maintenance
from torrent_engine.protocol.dht.pings import SilentPing
from torrent_engine.protocol.dht.questions import Question
from torrent_engine.protocol.dht.routing import RoutingTable

MAX_BOOTSTRAP_ADDRESSES: Final = 200  # ours
MAX_SILENT_PINGS: Final = 50  # ours: nodes that others told us of, pinged at a time
START_FACTOR: Final = 2  # ours: a lookup knows this many times the nodes that it wants to hear
PING_BYTES: Final = 80  # a ping of ours has fewer
MAX_PING_CREDIT_BYTES: Final = 10 * PING_BYTES  # ours: for pings that follow in the next seconds

NewLookup = Callable[[Question], Lookup]


class Upkeep:
    """The chores of one node, and the addresses from which an empty table is filled."""

    def __init__(self, config: DhtConfig, table: RoutingTable, now: float) -> None:
        self._config = config
        self._table = table
        self._maintenance = Maintenance(config, now)
        self._addresses: dict[PeerAddress, None] = {}
        self._silent_ping = SilentPing()
        self._ping_credit_bytes = 0
        self._newcomers = float(config.max_newcomers_per_s)
        self._newcomers_s = now
        self._bootstrap: Lookup | None = None
        self._refreshes: set[int] = set()

    @property
    def is_bootstrapped(self) -> bool:
        """Whether the table was filled since it was last empty."""
        return self._maintenance.is_bootstrapped

    def remember(self, addresses: Iterable[PeerAddress], now: float) -> None:
        """Take addresses from which the table is filled while it is empty."""
        self._addresses.update(dict.fromkeys(addresses))
        while len(self._addresses) > MAX_BOOTSTRAP_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]
        self._maintenance.bootstrap_now(now)

    def hurry(self, addresses: Iterable[PeerAddress], now: float) -> None:
        """Ask these at once where the table is being filled, perhaps from nodes that are gone."""
        if self._bootstrap is not None:
            first = list(addresses)[: self._config.lookup_width]
            self._bootstrap.ask_at_once(first, now=now)

    def where_to_start(self, lookup: Lookup) -> Start:
        """Return the closest that we know; where few answered, those that we were given as well.

        Who never answered may be gone or forged, and keeps nobody from being asked (row C2).
        """
        target, count = lookup.question.target, START_FACTOR * self._config.wide_lookup_width
        nodes = self._table.closest(target, count, include_unverified=True)
        are_few = len(self._table) < self._config.lookup_width
        return Start(tuple(nodes), tuple(self._addresses) if are_few else ())

    def do(self, endpoint: Endpoint, lookups: LookupQueue, new: NewLookup, *, now: float) -> None:
        """Do what is due."""
        due = self._maintenance.due(self._table, now, knows_addresses=bool(self._addresses))
        if due.ping is not None:
            self.ping(endpoint, due.ping.address, due.ping.id, now=now)
        if due.bootstrap:
            lookups.is_held = True
            lookup = new(Question(self._table.own_id))
            self._bootstrap = lookup
            lookups.start(lookup, self.where_to_start(lookup), now=now)
        if due.refresh is not None:
            lookup = new(Question(due.refresh))
            self._refreshes.add(lookup.number)
            lookups.start(lookup, self.where_to_start(lookup), now=now)

    def is_chore(self, number: int) -> bool:
        """Tell whether a lookup is one of ours, of which nobody wants to hear."""
        is_bootstrap = self._bootstrap is not None and self._bootstrap.number == number
        return is_bootstrap or number in self._refreshes

    def ended(self, number: int, lookups: LookupQueue, now: float) -> bool:
        """Know that a lookup of ours is over; tell whether the table is filled now."""
        self._refreshes.discard(number)
        if self._bootstrap is None or self._bootstrap.number != number:
            return False
        target, self._bootstrap = self._bootstrap.question.target, None
        self._maintenance.bootstrap_ended(len(self._table), now)
        if target != self._table.own_id:  # it changed meanwhile
            self._maintenance.look_around(now)
        lookups.is_held = False
        return self.is_bootstrapped

    def change_id(self, own_id: NodeId, now: float) -> None:
        """Take another id, and make ourselves known to its neighbours soon."""
        self._table.change_id(own_id)
        self._maintenance.look_around(now)

    def heard_of(self, nodes: Iterable[NodeInfo], now: float) -> None:
        """Take nodes that were named when the table was to be filled."""
        for node in nodes:
            self._table.insert(node, now)

    def answered(self, node: NodeInfo, now: float) -> None:
        """Take a node that answered a query of ours."""
        self._table.seen(node, now)
        self._maintenance.bootstrap_now(now)

    def queried(self, node: NodeInfo, request_bytes: int, reply_bytes: int, now: float) -> None:
        """Take a node that asked us something: before it is told to others it is pinged, soon.

        It may be forged (C1): what it is pinged at once for is paid by what our replies left of
        their bound; else its turn comes with the others, once, and it is forgotten if silent.
        """
        if node in self._table:
            self._table.queried(node, now)
            return
        if not self._may_look_at_newcomer(now) or not self._table.queried(node, now):
            return
        earned = int(request_bytes * self._config.max_amplification) - reply_bytes
        self._ping_credit_bytes = min(self._ping_credit_bytes + earned, MAX_PING_CREDIT_BYTES)
        if self._ping_credit_bytes >= PING_BYTES:
            self._ping_credit_bytes -= PING_BYTES
            self._maintenance.check_soon(now)

    def _may_look_at_newcomer(self, now: float) -> bool:
        """Count one; many may come at once, as long as they are few in the long run."""
        rate = self._config.max_newcomers_per_s
        self._newcomers = min(self._newcomers + (now - self._newcomers_s) * rate, rate)
        self._newcomers_s = now
        if self._newcomers < 1:
            return False
        self._newcomers -= 1
        return True

    def ping(
        self, endpoint: Endpoint, address: PeerAddress, node_id: NodeId | None, *, now: float
    ) -> None:
        """Ping a node for what the table learns of it; not too many at a time."""
        ping = self._silent_ping
        if ping.outstanding < MAX_SILENT_PINGS and endpoint.send_query(
            (address, node_id), b"ping", {}, ping, now=now
        ):
            ping.outstanding += 1

    def next_timer(self) -> float:
        """Return when something may be due."""
        return self._maintenance.next_timer()
