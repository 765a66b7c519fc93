"""The lookups of one node: numbered, queued and run, with their events."""

from collections.abc import Collection, Iterable

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.protocol.dht.endpoint import Endpoint
from torrent_engine.protocol.dht.events import Bootstrapped, DhtEvent, LookupEnded
from torrent_engine.protocol.dht.external import ExternalAddress
from torrent_engine.protocol.dht.krpc import NodeInfo
from torrent_engine.protocol.dht.lookup import Lookup, Start
from torrent_engine.protocol.dht.lookup_queue import LookupQueue
from torrent_engine.protocol.dht.lookup_tasks import Arguments, LookupTask
from torrent_engine.protocol.dht.routing import RoutingTable
from torrent_engine.protocol.dht.transactions import Outstanding, QueryOwner
from torrent_engine.protocol.dht.upkeep import Upkeep


class LookupRunner:
    """Starts lookups and reports their events; the :class:`LookupHost` of each."""

    def __init__(
        self,
        config: DhtConfig,
        table: RoutingTable,
        endpoint: Endpoint,
        upkeep: Upkeep,
        external: ExternalAddress,
        *,
        is_ipv6: bool,
    ) -> None:
        self.config = config
        self.is_ipv6 = is_ipv6
        self._table = table
        self._endpoint = endpoint
        self._upkeep = upkeep
        self._external = external
        self.queue = LookupQueue(config, upkeep.starting_nodes)
        self._last_number = 0
        self._events: list[DhtEvent] = []

    def look_up(self, task: LookupTask, now: float) -> int:
        """Start a lookup, or queue it; return its number."""
        lookup = self.new_lookup(task)
        if not self.queue.add(lookup, now=now):
            lookup.start(Start(), now=now)
        return lookup.number

    def query_node(self, task: LookupTask, addresses: Iterable[PeerAddress], now: float) -> int:
        """Start a lookup that queries these nodes first; return its number."""
        lookup = self.new_lookup(task)
        self.queue.start(lookup, Start(addresses=tuple(addresses)), now=now)
        return lookup.number

    def new_lookup(self, task: LookupTask) -> Lookup:
        """Create a lookup without starting it."""
        return Lookup(self.next_number(), task, self)

    def next_number(self) -> int:
        """Return a number for a lookup or a ping."""
        self._last_number += 1
        return self._last_number

    def cancel(self, number: int, *, now: float) -> None:
        """End a lookup without further events; the next one in the queue may start."""
        lookup = self.queue.cancel(number)
        if lookup is not None:
            self._endpoint.transactions.forget([lookup])
            self.queue.start_waiting(now)

    def run_maintenance(self, now: float) -> None:
        """Start the maintenance that is due."""
        self._upkeep.do(self._endpoint, self.queue, self.new_lookup, now=now)

    def take_events(self) -> list[DhtEvent]:
        """Remove and return the events, oldest first."""
        events, self._events = self._events, []
        return events

    def add_event(self, event: DhtEvent) -> None:
        """Add an event that belongs to no lookup."""
        self._events.append(event)

    # LookupHost

    def send_query(
        self,
        node: tuple[PeerAddress, NodeId | None],
        method: bytes,
        arguments: Arguments,
        owner: QueryOwner,
        *,
        now: float,
    ) -> Outstanding | None:
        """Queue a query; None if it cannot be sent."""
        return self._endpoint.send_query(node, method, arguments, owner, now=now)

    def own_identities(self) -> Collection[NodeId | PeerAddress]:
        """Return our node id and, if it is known, our external address."""
        own_id, external = self._table.own_id, self._external.believed
        return (own_id,) if external is None else (own_id, external)

    def report(self, event: DhtEvent, *, now: float) -> None:
        """Add an event of a lookup; the end of a maintenance lookup is not reported."""
        if not isinstance(event, LookupEnded):
            self._events.append(event)
            return
        self.queue.ended(event.lookup)
        if not self._upkeep.is_maintenance(event.lookup):
            self._events.append(event)
        elif self._upkeep.ended(event.lookup, self.queue, now):
            self._events.append(Bootstrapped(len(self._table)))

    def nodes_found(self, nodes: Iterable[NodeInfo], lookup: int, *, now: float) -> None:
        """Add the nodes of a response to the table if it was a bootstrap lookup."""
        if self._upkeep.is_maintenance(lookup):
            self._upkeep.nodes_found(nodes, now)
