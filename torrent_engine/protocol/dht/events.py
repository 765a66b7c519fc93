"""The events of a DHT node."""

from dataclasses import dataclass
from enum import Enum

from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.protocol.dht.items import MutableItem
from torrent_engine.protocol.dht.krpc import Bencoded, NodeInfo


class LookupKind(Enum):
    """The purpose of a lookup."""

    FIND_NODE = "find_node"
    GET_PEERS = "get_peers"
    ANNOUNCE = "announce"
    GET = "get"
    PUT = "put"
    SAMPLE = "sample"


class DhtEvent:
    """Base of all events of a node."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class PeersFound(DhtEvent):
    """A node responded with peers of a torrent; peers reported before are left out."""

    lookup: int
    info_hash: InfoHash
    peers: tuple[PeerAddress, ...]
    node: PeerAddress | None
    """The responding node; None: from our own store."""


@dataclass(frozen=True, slots=True)
class ScrapeFound(DhtEvent):
    """The estimated number of peers of a torrent, by the filters of all nodes (BEP 33)."""

    lookup: int
    info_hash: InfoHash
    seeds: float
    """Estimated."""
    leeches: float
    """Estimated."""
    nodes: int
    """Number of nodes that sent filters."""


@dataclass(frozen=True, slots=True)
class ItemFound(DhtEvent):
    """A node responded with a verified item (BEP 44); later events have newer versions."""

    lookup: int
    target: NodeId
    value: Bencoded
    item: MutableItem | None = None
    """The complete item, if it is mutable."""


@dataclass(frozen=True, slots=True)
class SamplesFound(DhtEvent):
    """A node sent a sample of its info-hashes (BEP 51)."""

    lookup: int
    node: NodeInfo
    info_hashes: tuple[InfoHash, ...]
    stored: int
    """The number it claims to store ("num")."""
    interval_s: int
    """Seconds until it may be queried again ("interval")."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that answered a write with an error (BEP 5, 44)."""

    node: PeerAddress
    code: int
    message: str
    """Its error message; not escaped."""


@dataclass(frozen=True, slots=True)
class LookupEnded(DhtEvent):
    """A lookup ended; its last event."""

    lookup: int
    kind: LookupKind
    target: NodeId
    found: int
    """Number of peers, items, info-hashes or nodes found, depending on the kind."""
    queried: int
    """Nodes queried."""
    responded: int
    """Nodes that responded."""
    hops: int
    """Hops to the closest node that responded, including itself."""
    closest: tuple[NodeInfo, ...]
    """The closest nodes that responded, closest first."""
    stored_at: tuple[NodeInfo, ...] = ()
    """Nodes that confirmed an announce_peer or put."""
    refusals: tuple[Refusal, ...] = ()
    """Nodes that refused it; a bounded number."""
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PingEnded(DhtEvent):
    """A ping was answered or timed out."""

    lookup: int
    address: PeerAddress
    node_id: NodeId | None
    """The id of the responding node; None without a response."""
    round_trip_s: float | None
    client: bytes = b""
    """The client version that it sent ("v")."""


@dataclass(frozen=True, slots=True)
class ExternalAddressChanged(DhtEvent):
    """Enough nodes of different networks agree on our external address (BEP 42)."""

    address: PeerAddress
    """Port 0 where they do not agree on the port."""
    node_id: NodeId
    """Our current id, perhaps unchanged."""


@dataclass(frozen=True, slots=True)
class Bootstrapped(DhtEvent):
    """The first lookup of our own id ended."""

    node_count: int
