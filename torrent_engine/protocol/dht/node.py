"""Owns one node of the distributed hash table, without sockets and clock.

Datagrams go in, datagrams and events come out. Source: BEP 5, 32, 33, 42, 43, 44, 51. One node
serves one address family.
"""

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.protocol.dht.endpoint import Endpoint, Traffic
from torrent_engine.protocol.dht.events import (
    Bootstrapped,
    DhtEvent,
    ExternalAddressChanged,
    LookupEnded,
    PingEnded,
)
from torrent_engine.protocol.dht.external import ExternalAddress
from torrent_engine.protocol.dht.item_questions import GetItem, PutImmutable, PutMutable
from torrent_engine.protocol.dht.items import MutableItem
from torrent_engine.protocol.dht.krpc import (
    Bencoded,
    Failure,
    NodeInfo,
    Query,
    Response,
    decode_message,
)
from torrent_engine.protocol.dht.lookup import Lookup, Start
from torrent_engine.protocol.dht.lookup_queue import LookupQueue
from torrent_engine.protocol.dht.named_nodes import may_be_asked
from torrent_engine.protocol.dht.pings import Ping
from torrent_engine.protocol.dht.questions import (
    Announce,
    Arguments,
    GetPeers,
    Question,
    Sample,
)
from torrent_engine.protocol.dht.responder import Responder
from torrent_engine.protocol.dht.routing import RoutingTable
from torrent_engine.protocol.dht.security import is_valid_node_id, node_id_for
from torrent_engine.protocol.dht.transactions import Asker, Outstanding
from torrent_engine.protocol.dht.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class SavedTable:
    """What is worth keeping for the next start."""

    node_id: NodeId
    nodes: tuple[NodeInfo, ...]


@dataclass(frozen=True, slots=True)
class DhtStats:
    """How a node stands."""

    nodes: int
    """Nodes of the routing table that answer."""
    lookups: int
    lookups_waiting: int
    outstanding: int
    """Queries of ours that wait for an answer."""
    short_timeout_s: float
    """After how long an answer counts as late."""
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
        self._kept = self._responder.answers.peers
        self._endpoint = Endpoint(config, rng, lambda: self._table.own_id)
        self._upkeep = Upkeep(config, self._table, now)
        self._lookups = LookupQueue(config, self._upkeep.where_to_start)
        self._external = ExternalAddress(config, is_ipv6=is_ipv6)
        self._id_changed_s = float("-inf")
        self._last_number = 0
        self._events: list[DhtEvent] = []

    @property
    def node_id(self) -> NodeId:
        """Our id; it changes where enough others see us at another address (BEP 42)."""
        return self._table.own_id

    @property
    def external(self) -> PeerAddress | None:
        """Where the internet sees us, if enough nodes agree; port 0 if not on the port."""
        return self._external.believed

    @property
    def node_count(self) -> int:
        """How many nodes are in the routing table and answer."""
        return len(self._table)

    @property
    def is_bootstrapped(self) -> bool:
        """Whether the table was filled since it was last empty."""
        return self._upkeep.is_bootstrapped

    def stats(self) -> DhtStats:
        """Return how things stand; the counts go on."""
        return DhtStats(
            len(self._table),
            self._lookups.running,
            self._lookups.waiting,
            len(self._endpoint.transactions),
            self._endpoint.transactions.round_trips.short_timeout_s,
            self.is_bootstrapped,
            self._endpoint.traffic,
        )

    @property
    def table(self) -> RoutingTable:
        """The nodes that we know."""
        return self._table

    def serve_beside(self, other: "DhtNode") -> None:
        """Tell nodes of our node of the other family too, to who asks for both (BEP 32)."""
        self._responder.answers.other_table = other.table

    def saved(self) -> SavedTable:
        """Return what :meth:`restore` takes at the next start."""
        return SavedTable(self.node_id, tuple(self._table.nodes()))

    def restore(self, saved: SavedTable, *, now: float) -> None:
        """Take the nodes of an earlier start, which are asked again; the id stays as it is."""
        for node in saved.nodes:
            self._table.insert(node, now)
        self._begin_with((node.address for node in saved.nodes), now)

    # What may be asked

    def bootstrap(self, addresses: Iterable[PeerAddress], *, now: float) -> None:
        """Fill the table from these nodes; they are remembered for when it is empty again."""
        self._upkeep.hurry(self._begin_with(addresses, now), now)

    def add_node(self, address: PeerAddress, *, now: float) -> None:
        """Ping a node that a peer or a torrent named; it enters the table if it answers."""
        if not may_be_asked(address, None, is_ipv6=self.is_ipv6):
            return
        if not self.is_bootstrapped:
            self._begin_with([address], now)
        self._upkeep.ping(self._endpoint, address, None, now=now)

    def ping(self, address: PeerAddress, *, now: float) -> int:
        """Ping a node; ends with ``PingEnded``."""
        number = self._next_number()
        ping = Ping(number, self._tell_ping)
        if not may_be_asked(address, None, is_ipv6=self.is_ipv6) or not self.send_query(
            (address, None), b"ping", {}, ping, now=now
        ):
            self._tell_ping(PingEnded(number, address, None, None))
        return number

    def find_node(self, target: NodeId, *, now: float) -> int:
        """Look for the nodes closest to an id; ends with ``LookupEnded``, as all that follow."""
        return self._look_up(Question(target), now)

    def get_peers(
        self, info_hash: InfoHash, *, now: float, no_seed: bool = False, scrape: bool = False
    ) -> int:
        """Look for peers (``PeersFound``), perhaps no seeds, perhaps their number too."""
        question = GetPeers(info_hash, no_seed=no_seed, scrape=scrape)
        question.known = self._kept.addresses(info_hash, now=now, no_seed=no_seed)
        return self._look_up(question, now)

    def announce(self, info_hash: InfoHash, port: int | None, *, is_seed: bool, now: float) -> int:
        """Look for peers, and have the closest nodes remember us; no port: that of our socket."""
        question = Announce(info_hash, port, is_seed=is_seed)
        question.known = self._kept.addresses(info_hash, now=now)
        return self._look_up(question, now)

    def get(
        self, target: NodeId, *, salt: bytes = b"", min_seq: int | None = None, now: float
    ) -> int:
        """Look for a value (``ItemFound``), of a mutable one for newer than ``min_seq``."""
        return self._look_up(GetItem(target, salt=salt, min_seq=min_seq), now)

    def put_immutable(self, value: Bencoded, *, now: float) -> int:
        """Have the closest nodes keep a value under its hash, which is the target of the end."""
        return self._look_up(PutImmutable(value), now)

    def put_mutable(self, item: MutableItem, *, cas: int | None = None, now: float) -> int:
        """Have the closest nodes keep a version, perhaps only in place of version ``cas``."""
        return self._look_up(PutMutable(item, cas=cas), now)

    def sample(self, where: NodeId | PeerAddress, *, now: float) -> int:
        """Ask one node, or those around an id, which info-hashes they store (``SamplesFound``)."""
        if not isinstance(where, PeerAddress):
            return self._look_up(Sample(where), now)
        lookup = self._new_lookup(Sample(self.node_id, is_single=True))
        addresses = (where,) if may_be_asked(where, None, is_ipv6=self.is_ipv6) else ()
        self._lookups.start(lookup, Start(addresses=addresses), now=now)
        return lookup.number

    def cancel(self, number: int, *, now: float) -> None:
        """End a lookup without a further event of it; its place goes to one that waits."""
        lookup = self._lookups.cancel(number)
        if lookup is not None:
            self._endpoint.transactions.forget([lookup])
            self._lookups.go_on(now)

    # What the driver calls

    def receive_datagram(self, data: bytes, address: PeerAddress, *, now: float) -> None:
        """Take a datagram, whatever is in it; raises nothing."""
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
        """Do what is due."""
        timeouts = self._endpoint.timed_out(now)
        for query in timeouts.slow:
            query.asker.slow(query, now=now)
        for query in timeouts.failed:
            if query.node_id is not None:
                self._table.failed(NodeInfo(query.node_id, query.address), now)
            query.asker.failed(query, now=now)
        self._do_chores(now)
        self._lookups.go_on(now)

    def next_timer(self) -> float | None:
        """Return when :meth:`handle_timer` wants to be called."""
        timeout = self._endpoint.transactions.next_timer()
        chore = self._upkeep.next_timer()
        return chore if timeout is None else min(timeout, chore)

    def datagrams_to_send(self) -> list[tuple[bytes, PeerAddress]]:
        """Return what is to be sent, oldest first, and forget it."""
        return self._endpoint.drain()

    def events(self) -> list[DhtEvent]:
        """Return what happened, oldest first, and forget it."""
        events, self._events = self._events, []
        return events

    # What lookups need of us

    def send_query(
        self,
        node: tuple[PeerAddress, NodeId | None],
        method: bytes,
        arguments: Arguments,
        asker: Asker,
        *,
        now: float,
    ) -> Outstanding | None:
        """Queue a query; None if it cannot be sent."""
        return self._endpoint.send_query(node, method, arguments, asker, now=now)

    def own(self) -> Collection[NodeId | PeerAddress]:
        """Return the ids and addresses that are ourselves."""
        return (self.node_id,) if self.external is None else (self.node_id, self.external)

    def tell(self, event: DhtEvent, *, now: float) -> None:
        """Take an event of a lookup; those of our own chores are nobody's business."""
        if not isinstance(event, LookupEnded):
            self._events.append(event)
            return
        self._lookups.ended(event.lookup)
        if not self._upkeep.is_chore(event.lookup):
            self._events.append(event)
        elif self._upkeep.ended(event.lookup, self._lookups, now):
            self._events.append(Bootstrapped(len(self._table)))

    def heard_of(self, nodes: Iterable[NodeInfo], lookup: int, *, now: float) -> None:
        """Take nodes that others named, if it was to fill the table that they were asked."""
        if self._upkeep.is_chore(lookup):
            self._upkeep.heard_of(nodes, now)

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
            query.asker.failed(query, now=now)
            return
        self._responder.prove(address.host, now)
        self._upkeep.answered(NodeInfo(response.sender, address), now)
        if response.external is not None:
            self._take_external(response.external, address, now)
        query.asker.answered(query, response, now=now)
        self._lookups.is_held = False  # somebody is known: no need to wait for who is gone
        self._lookups.go_on(now)

    def _take_failure(self, failure: Failure, address: PeerAddress, now: float) -> None:
        query = self._endpoint.close(failure, address, now=now)
        if query is not None:
            query.asker.refused(query, failure, now=now)
            self._lookups.go_on(now)

    def told_by_gateway(self, address: PeerAddress, *, now: float) -> None:
        """Take what our gateway says of our address, until enough nodes have said it (BEP 42)."""
        self._fit_id(now, changed=self._external.hinted(address))

    def _take_external(self, told: PeerAddress, teller: PeerAddress, now: float) -> None:
        """Count the vote of a node that answered."""
        self._fit_id(now, changed=self._external.told(told, teller))

    def _fit_id(self, now: float, *, changed: bool) -> None:
        """Take an id that fits the address which is believed, now and then (BEP 42)."""
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
            self._events.append(ExternalAddressChanged(believed, self.node_id))

    # Lookups and chores

    def _begin_with(self, addresses: Iterable[PeerAddress], now: float) -> list[PeerAddress]:
        """Remember addresses to fill the table from; return those that may be asked."""
        usable = [each for each in addresses if may_be_asked(each, None, is_ipv6=self.is_ipv6)]
        self._upkeep.remember(usable, now)
        self._do_chores(now)
        return usable

    def _look_up(self, question: Question, now: float) -> int:
        lookup = self._new_lookup(question)
        if not self._lookups.add(lookup, now=now):
            lookup.start(Start(), now=now)
        return lookup.number

    def _new_lookup(self, question: Question) -> Lookup:
        return Lookup(self._next_number(), question, self)

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _do_chores(self, now: float) -> None:
        self._upkeep.do(self._endpoint, self._lookups, self._new_lookup, now=now)

    def _tell_ping(self, event: DhtEvent) -> None:
        self._events.append(event)
