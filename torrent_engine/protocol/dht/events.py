"""Owns what a node of the distributed hash table tells: each a fact, in the order they came."""

from dataclasses import dataclass
from enum import Enum

from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.protocol.dht.items import MutableItem
from torrent_engine.protocol.dht.krpc import Bencoded, NodeInfo


class LookupKind(Enum):
    """What a lookup is for."""

    FIND_NODE = "find_node"
    GET_PEERS = "get_peers"
    ANNOUNCE = "announce"
    GET = "get"
    PUT = "put"
    SAMPLE = "sample"


class DhtEvent:
    """Base of everything that a node tells."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class PeersFound(DhtEvent):
    """A node answered with peers of a torrent; those that this lookup told already are left out."""

    lookup: int
    info_hash: InfoHash
    peers: tuple[PeerAddress, ...]
    node: PeerAddress | None
    """Who said so; None: they announced themselves to us."""


@dataclass(frozen=True, slots=True)
class ScrapeFound(DhtEvent):
    """How many peers a torrent has, by the filters of all nodes that had one (BEP 33)."""

    lookup: int
    info_hash: InfoHash
    seeds: float
    """An estimate."""
    leeches: float
    """The same of those that are no seeds."""
    nodes: int
    """How many nodes had filters."""


@dataclass(frozen=True, slots=True)
class ItemFound(DhtEvent):
    """A node answered with an item that is proved right (BEP 44); a later one is newer."""

    lookup: int
    target: NodeId
    value: Bencoded
    item: MutableItem | None = None
    """All of it where it is mutable."""


@dataclass(frozen=True, slots=True)
class SamplesFound(DhtEvent):
    """A node told some of the info-hashes that it stores (BEP 51)."""

    lookup: int
    node: NodeInfo
    info_hashes: tuple[InfoHash, ...]
    stored: int
    """How many it says that it has."""
    interval_s: int
    """How long it wants to be left alone."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node did not do what it was asked (BEP 5, 44)."""

    node: PeerAddress
    code: int
    message: str
    """In its own words; not escaped."""


@dataclass(frozen=True, slots=True)
class LookupEnded(DhtEvent):
    """A lookup is over: always the last word of it."""

    lookup: int
    kind: LookupKind
    target: NodeId
    found: int
    """Peers, items, info-hashes, or nodes: what was looked for."""
    queried: int
    """Nodes that were asked."""
    responded: int
    """Nodes that answered."""
    hops: int
    """Answers on the way to the closest node that answered, its own included."""
    closest: tuple[NodeInfo, ...]
    """The closest that answered, closest first."""
    stored_at: tuple[NodeInfo, ...] = ()
    """Who confirmed what an announce or a put gave it."""
    refusals: tuple[Refusal, ...] = ()
    """Who did not take it, and why; at most a few."""
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PingEnded(DhtEvent):
    """A ping was answered, or never will be."""

    lookup: int
    address: PeerAddress
    node_id: NodeId | None
    """Who answered; None if nobody did."""
    round_trip_s: float | None
    client: bytes = b""
    """Which program it is, in its own words."""


@dataclass(frozen=True, slots=True)
class ExternalAddressChanged(DhtEvent):
    """Enough nodes of different networks agree where they see us (BEP 42)."""

    address: PeerAddress
    """Port 0 where they do not agree on the port."""
    node_id: NodeId
    """Our id from now on; it may be the old one."""


@dataclass(frozen=True, slots=True)
class Bootstrapped(DhtEvent):
    """The first look around our own id is over."""

    node_count: int
