"""The maintenance of a node: bootstrap, bucket refresh and pings of questionable nodes.

Source: BEP 5; row C1: addresses of incoming queries may be spoofed, so pings to them are limited.
"""

from collections.abc import Callable, Iterable
from typing import Final

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.endpoint import Endpoint
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.lookup import Lookup, Start
from torrent_engine.protocol.dht.lookup_queue import LookupQueue
from torrent_engine.protocol.dht.lookup_tasks import LookupTask
from torrent_engine.protocol.dht.maintenance import Maintenance
from torrent_engine.protocol.dht.pings import SilentPing
from torrent_engine.protocol.dht.routing import RoutingTable

MAX_BOOTSTRAP_ADDRESSES: Final = 200  # ours
MAX_SILENT_PINGS: Final = 50  # ours: at once, of the table's nodes; as many of those that are named
START_NODES_FACTOR: Final = 2  # ours: nodes at the start of a lookup, as a multiple of its width
PING_BYTES: Final = 80  # an upper bound of our pings
MAX_PING_CREDIT_BYTES: Final = 10 * PING_BYTES  # ours: for pings of the next seconds

NewLookup = Callable[[LookupTask], Lookup]


class Upkeep:
    """The maintenance of one node, and its bootstrap addresses."""

    def __init__(self, config: DhtConfig, table: RoutingTable, now: float) -> None:
        self._config = config
        self._table = table
        self._maintenance = Maintenance(config, now)
        self._addresses: dict[PeerAddress, None] = {}
        self._table_ping = SilentPing()
        self._named_ping = SilentPing()
        self._ping_credit_bytes = 0
        self._new_node_credit = float(config.max_new_nodes_per_s)
        self._new_node_credit_s = now
        self._bootstrap: Lookup | None = None
        self._refreshes: set[int] = set()

    @property
    def is_bootstrapped(self) -> bool:
        """Whether the table has been filled since it was last empty."""
        return self._maintenance.is_bootstrapped

    def remember(self, addresses: Iterable[PeerAddress], now: float) -> None:
        """Add bootstrap addresses."""
        self._addresses.update(dict.fromkeys(addresses))
        while len(self._addresses) > MAX_BOOTSTRAP_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]
        self._maintenance.bootstrap_now(now)

    def query_at_once(self, addresses: Iterable[PeerAddress], now: float) -> None:
        """Query these addresses at once during a bootstrap."""
        if self._bootstrap is not None:
            first = list(addresses)[: self._config.lookup_width]
            self._bootstrap.query_at_once(first, now=now)

    def starting_nodes(self, lookup: Lookup) -> Start:
        """Return the closest known nodes; if few are verified, the bootstrap addresses as well.

        Unverified nodes may be dead or forged, and must not crowd out the others (row C2).
        """
        target, count = lookup.task.target, START_NODES_FACTOR * self._config.wide_lookup_width
        nodes = self._table.closest(target, count, include_unverified=True)
        are_few = len(self._table) < self._config.lookup_width
        return Start(tuple(nodes), tuple(self._addresses) if are_few else ())

    def do(self, endpoint: Endpoint, lookups: LookupQueue, new: NewLookup, *, now: float) -> None:
        """Start the due maintenance."""
        due = self._maintenance.due(
            self._table,
            now,
            knows_addresses=bool(self._addresses),
            refreshes=len(self._refreshes),
        )
        if due.ping is not None:
            _ping(endpoint, due.ping.address, due.ping.id, self._table_ping, now=now)
        if due.bootstrap:
            lookups.is_held = True
            lookup = new(LookupTask(self._table.own_id))
            self._bootstrap = lookup
            lookups.start(lookup, self.starting_nodes(lookup), now=now)
        if due.refresh is not None:
            lookup = new(LookupTask(due.refresh))
            self._refreshes.add(lookup.number)
            lookups.start(lookup, self.starting_nodes(lookup), now=now)

    def is_maintenance(self, number: int) -> bool:
        """Return whether a lookup is for maintenance, so that its end is not reported."""
        is_bootstrap = self._bootstrap is not None and self._bootstrap.number == number
        return is_bootstrap or number in self._refreshes

    def ended(self, number: int, lookups: LookupQueue, now: float) -> bool:
        """Record the end of a maintenance lookup; return whether it was the bootstrap."""
        self._refreshes.discard(number)
        if self._bootstrap is None or self._bootstrap.number != number:
            return False
        target, self._bootstrap = self._bootstrap.task.target, None
        self._maintenance.bootstrap_ended(len(self._table), now)
        if target != self._table.own_id:  # our id has changed meanwhile
            self._maintenance.refresh_own_id(now)
        lookups.is_held = False
        return self.is_bootstrapped

    def change_id(self, own_id: NodeId, now: float) -> None:
        """Change our id and look it up soon, so that its neighbours learn about us."""
        self._table.change_id(own_id)
        self._maintenance.refresh_own_id(now)

    def nodes_found(self, nodes: Iterable[NodeInfo], now: float) -> None:
        """Add nodes found by a bootstrap lookup."""
        for node in nodes:
            self._table.insert(node, now)

    def answered(self, node: NodeInfo, now: float) -> None:
        """Record a node that responded to us."""
        self._table.seen(node, now)
        self._maintenance.bootstrap_now(now)

    def queried(self, node: NodeInfo, request_bytes: int, reply_bytes: int, now: float) -> None:
        """Record a node that queried us; it is pinged before it counts as verified.

        Its address may be spoofed (C1): it is pinged at once only within the bytes that our
        response left of its limit; otherwise it is pinged later, once, and dropped without a
        response.
        """
        if node in self._table:
            self._table.queried(node, now)
            return
        if not self._may_add_new_node(now) or not self._table.queried(node, now):
            return
        earned = int(request_bytes * self._config.max_amplification) - reply_bytes
        self._ping_credit_bytes = min(self._ping_credit_bytes + earned, MAX_PING_CREDIT_BYTES)
        if self._ping_credit_bytes >= PING_BYTES:
            self._ping_credit_bytes -= PING_BYTES
            self._maintenance.check_soon(now)

    def _may_add_new_node(self, now: float) -> bool:
        """Count a new node against the rate limit, which allows bursts."""
        rate = self._config.max_new_nodes_per_s
        self._new_node_credit = min(
            self._new_node_credit + (now - self._new_node_credit_s) * rate, rate
        )
        self._new_node_credit_s = now
        if self._new_node_credit < 1:
            return False
        self._new_node_credit -= 1
        return True

    def ping(self, endpoint: Endpoint, address: PeerAddress, *, now: float) -> None:
        """Ping an address that somebody named; it enters the table if it responds.

        Dead addresses that peers name keep no node of the table from being pinged.
        """
        _ping(endpoint, address, None, self._named_ping, now=now)

    def next_timer(self) -> float:
        """Return when maintenance may be due."""
        return self._maintenance.next_timer()


def _ping(
    endpoint: Endpoint,
    address: PeerAddress,
    node_id: NodeId | None,
    ping: SilentPing,
    *,
    now: float,
) -> None:
    """Ping a node to update the table, unless too many pings of its kind are outstanding."""
    if ping.outstanding < MAX_SILENT_PINGS and endpoint.send_query(
        (address, node_id), b"ping", {}, ping, now=now
    ):
        ping.outstanding += 1
