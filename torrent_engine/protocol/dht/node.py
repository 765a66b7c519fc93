"""One node of the distributed hash table, without sockets and clock.

Datagrams go in, datagrams and events come out. Source: BEP 5, 32, 33, 42, 43, 44, 51. One node
serves one address family.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.protocol.dht.endpoint import Endpoint, Traffic
from torrent_engine.protocol.dht.events import (
    DhtEvent,
    ExternalAddressChanged,
    PingEnded,
)
from torrent_engine.protocol.dht.external import ExternalAddress
from torrent_engine.protocol.dht.item_tasks import GetItem, PutImmutable, PutMutable
from torrent_engine.protocol.dht.items import MutableItem
from torrent_engine.protocol.dht.krpc import (
    Bencoded,
    ErrorReply,
    NodeInfo,
    Query,
    Response,
    decode_message,
)
from torrent_engine.protocol.dht.lookup_runner import LookupRunner
from torrent_engine.protocol.dht.lookup_tasks import (
    Announcement,
    GetPeers,
    LookupTask,
    Sample,
)
from torrent_engine.protocol.dht.pings import Ping
from torrent_engine.protocol.dht.responder import Responder
from torrent_engine.protocol.dht.response_nodes import may_query
from torrent_engine.protocol.dht.routing import RoutingTable
from torrent_engine.protocol.dht.security import is_valid_node_id, node_id_for
from torrent_engine.protocol.dht.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class SavedTable:
    """The state that is saved for the next run."""

    node_id: NodeId
    nodes: tuple[NodeInfo, ...]


@dataclass(frozen=True, slots=True)
class DhtStats:
    """Statistics of a node."""

    nodes: int
    """Nodes of the routing table that answer."""
    lookups: int
    lookups_waiting: int
    outstanding: int
    """Our queries without a response yet."""
    short_timeout_s: float
    """Seconds after which a query counts as slow."""
    is_bootstrapped: bool
    traffic: Traffic


class DhtNode:
    """A node: call :meth:`handle_timer` when :meth:`next_timer` says so, and drain both queues."""

    def __init__(
        self,
        config: DhtConfig,
        *,
        rng: random.Random,
        secret: bytes,
        is_ipv6: bool,
        node_id: NodeId | None = None,
        now: float,
    ) -> None:
        self.config = config
        self.is_ipv6 = is_ipv6
        self._rng = rng
        own_id = NodeId(rng.randbytes(20)) if node_id is None else node_id
        self._table = RoutingTable(own_id, config, rng, is_ipv6=is_ipv6)
        self._responder = Responder(self._table, config, rng=rng, secret=secret)
        self._peer_store = self._responder.handlers.peers
        self._endpoint = Endpoint(config, rng, lambda: self._table.own_id)
        self._upkeep = Upkeep(config, self._table, now)
        self._external = ExternalAddress(config, is_ipv6=is_ipv6)
        self._lookups = LookupRunner(
            config, self._table, self._endpoint, self._upkeep, self._external, is_ipv6=is_ipv6
        )
        self._id_changed_s = float("-inf")

    @property
    def node_id(self) -> NodeId:
        """Our id; it changes with our external address (BEP 42)."""
        return self._table.own_id

    @property
    def external(self) -> PeerAddress | None:
        """Our external address, if enough nodes agree; port 0 if they disagree on it."""
        return self._external.believed

    @property
    def node_count(self) -> int:
        """Number of good nodes in the routing table."""
        return len(self._table)

    def stats(self) -> DhtStats:
        """Return the current statistics."""
        return DhtStats(
            len(self._table),
            self._lookups.queue.running,
            self._lookups.queue.waiting,
            len(self._endpoint.transactions),
            self._endpoint.transactions.round_trips.short_timeout_s,
            self._upkeep.is_bootstrapped,
            self._endpoint.traffic,
        )

    @property
    def table(self) -> RoutingTable:
        """The routing table."""
        return self._table

    def pair_with(self, other: "DhtNode") -> None:
        """Respond with the nodes of ``other`` too if a query wants both families (BEP 32)."""
        self._responder.handlers.other_table = other.table

    def saved(self) -> SavedTable:
        """Return the state for :meth:`restore` at the next start."""
        return SavedTable(self.node_id, tuple(self._table.nodes()))

    def restore(self, saved: SavedTable, *, now: float) -> None:
        """Add the nodes of an earlier run as unverified; the id does not change.

        They are asked at the next :meth:`handle_timer`: nobody may want the DHT until then.
        """
        for node in saved.nodes:
            self._table.insert(node, now)
        self._remember((node.address for node in saved.nodes), now)

    # Requests

    def bootstrap(self, addresses: Iterable[PeerAddress], *, now: float) -> None:
        """Fill the table from these nodes, now and whenever it is empty again."""
        self._upkeep.query_at_once(self._begin_with(addresses, now), now)

    def add_node(self, address: PeerAddress, *, now: float) -> None:
        """Ping a node from a peer or a torrent file; it enters the table if it responds."""
        if not may_query(address, None, is_ipv6=self.is_ipv6):
            return
        if not self._upkeep.is_bootstrapped:
            self._begin_with([address], now)
        self._upkeep.ping(self._endpoint, address, now=now)

    def ping(self, address: PeerAddress, *, now: float) -> int:
        """Ping a node; ends with ``PingEnded``."""
        number = self._lookups.next_number()
        ping = Ping(number, self._lookups.add_event)
        if not may_query(address, None, is_ipv6=self.is_ipv6) or not self._endpoint.send_query(
            (address, None), b"ping", {}, ping, now=now
        ):
            self._lookups.add_event(PingEnded(number, address, None, None))
        return number

    def find_node(self, target: NodeId, *, now: float) -> int:
        """Look up the nodes closest to an id; ends with ``LookupEnded`` like all lookups."""
        return self._lookups.look_up(LookupTask(target), now)

    def get_peers(
        self, info_hash: InfoHash, *, now: float, no_seed: bool = False, scrape: bool = False
    ) -> int:
        """Look up peers (``PeersFound``), optionally without seeds, or with a scrape."""
        task = GetPeers(info_hash, no_seed=no_seed, scrape=scrape)
        task.known = self._peer_store.addresses(info_hash, now=now, no_seed=no_seed)
        return self._lookups.look_up(task, now)

    def announce(self, info_hash: InfoHash, port: int | None, *, is_seed: bool, now: float) -> int:
        """Look up peers and announce ourselves to the closest nodes; None: our UDP port."""
        announcement = Announcement(port, is_seed=is_seed)
        task = GetPeers(info_hash, announcement=announcement)
        task.known = self._peer_store.addresses(info_hash, now=now)
        return self._lookups.look_up(task, now)

    def get(
        self, target: NodeId, *, salt: bytes = b"", min_seq: int | None = None, now: float
    ) -> int:
        """Look up a value (``ItemFound``); a mutable one only if newer than ``min_seq``."""
        return self._lookups.look_up(GetItem(target, salt=salt, min_seq=min_seq), now)

    def put_immutable(self, value: Bencoded, *, now: float) -> int:
        """Store a value at the nodes closest to its hash, which is the lookup's target."""
        return self._lookups.look_up(PutImmutable(value), now)

    def put_mutable(self, item: MutableItem, *, cas: int | None = None, now: float) -> int:
        """Store a version at the closest nodes; with ``cas`` only in place of that version."""
        return self._lookups.look_up(PutMutable(item, cas=cas), now)

    def sample(self, where: NodeId | PeerAddress, *, now: float) -> int:
        """Request samples (``SamplesFound``) of a node, or of the nodes around an id."""
        if not isinstance(where, PeerAddress):
            return self._lookups.look_up(Sample(where), now)
        addresses = (where,) if may_query(where, None, is_ipv6=self.is_ipv6) else ()
        task = Sample(self.node_id, is_single=True)
        return self._lookups.query_node(task, addresses, now)

    def cancel(self, number: int, *, now: float) -> None:
        """End a lookup without further events; a waiting one may start."""
        self._lookups.cancel(number, now=now)

    # Driver

    def receive_datagram(self, data: bytes, address: PeerAddress, *, now: float) -> None:
        """Process a datagram; never raises."""
        self._endpoint.received(data)
        try:
            message = decode_message(data)
        except KrpcError as error:
            self._endpoint.traffic.malformed += 1
            reply = self._responder.refuse(error, address, request_bytes=len(data), now=now)
            self._send_reply(reply, address)
            return
        if isinstance(message, Query):
            self._take_query(message, len(data), address, now)
        elif isinstance(message, Response):
            self._take_response(message, address, now)
        else:
            self._take_failure(message, address, now)

    def handle_timer(self, *, now: float) -> None:
        """Handle a few timeouts, start due maintenance and a few waiting lookups.

        The rest is due at once, so that no call takes long.
        """
        timeouts = self._endpoint.timed_out(now)
        for query in timeouts.slow:
            query.owner.slow(query, now=now)
        for query in timeouts.failed:
            if query.node_id is not None:
                self._table.failed(NodeInfo(query.node_id, query.address), now)
            query.owner.failed(query, now=now)
        self._lookups.run_maintenance(now)
        self._lookups.queue.start_waiting(now)

    def next_timer(self) -> float | None:
        """Return when to call :meth:`handle_timer`."""
        timeout = self._endpoint.transactions.next_timer()
        chore = self._upkeep.next_timer()
        if self._lookups.queue.can_start:
            return float("-inf")
        return chore if timeout is None else min(timeout, chore)

    def datagrams_to_send(self) -> list[tuple[bytes, PeerAddress]]:
        """Remove and return the datagrams to send, oldest first."""
        return self._endpoint.drain()

    def events(self) -> list[DhtEvent]:
        """Remove and return the events, oldest first."""
        return self._lookups.take_events()

    # Datagrams

    def _take_query(self, query: Query, size: int, address: PeerAddress, now: float) -> None:
        self._endpoint.traffic.queries_in += 1
        if query.sender == self.node_id:
            return
        reply = self._responder.answer(query, address, request_bytes=size, now=now)
        self._send_reply(reply, address)
        if reply is not None and not query.is_read_only:
            self._upkeep.queried(NodeInfo(query.sender, address), size, len(reply), now)

    def _send_reply(self, reply: bytes | None, address: PeerAddress) -> None:
        if reply is not None:
            self._endpoint.send(reply, address)

    def _take_response(self, response: Response, address: PeerAddress, now: float) -> None:
        query = self._endpoint.close(response, address, now=now)
        if query is None:
            return
        if response.sender == self.node_id:
            query.owner.failed(query, now=now)
            return
        self._responder.prove(address.host, now)
        self._upkeep.answered(NodeInfo(response.sender, address), now)
        if response.external is not None:
            self._take_external(response.external, address, now)
        query.owner.answered(query, response, now=now)
        self._lookups.queue.is_held = False  # a node responds: lookups can start
        self._lookups.queue.start_waiting(now)

    def _take_failure(self, failure: ErrorReply, address: PeerAddress, now: float) -> None:
        query = self._endpoint.close(failure, address, now=now)
        if query is not None:
            query.owner.refused(query, failure, now=now)
            self._lookups.queue.start_waiting(now)

    def set_gateway_address(self, address: PeerAddress, *, now: float) -> None:
        """Use the external address of the gateway until enough nodes have voted (BEP 42)."""
        self._fit_id(now, changed=self._external.set_hint(address))

    def _take_external(self, told: PeerAddress, sender: PeerAddress, now: float) -> None:
        """Count the vote of a node that answered."""
        self._fit_id(now, changed=self._external.add_vote(told, sender))

    def _fit_id(self, now: float, *, changed: bool) -> None:
        """Change to an id valid for the accepted address, at most once an interval (BEP 42)."""
        believed = self._external.believed
        if believed is None:
            return
        if not is_valid_node_id(self.node_id, believed.host):
            if now - self._id_changed_s < self.config.id_change_interval_s:
                return
            self._id_changed_s = now
            self._upkeep.change_id(node_id_for(believed.host, self._rng), now)
            changed = True
        if changed:
            self._lookups.add_event(ExternalAddressChanged(believed, self.node_id))

    # Lookups and maintenance

    def _begin_with(self, addresses: Iterable[PeerAddress], now: float) -> list[PeerAddress]:
        """Begin with bootstrap addresses; return those that may be queried."""
        usable = self._remember(addresses, now)
        self._lookups.run_maintenance(now)
        return usable

    def _remember(self, addresses: Iterable[PeerAddress], now: float) -> list[PeerAddress]:
        """Remember bootstrap addresses; return those that may be queried."""
        usable = [each for each in addresses if may_query(each, None, is_ipv6=self.is_ipv6)]
        self._upkeep.remember(usable, now)
        return usable
