"""Those who lie in a simulated network: each answers every query, and stores nothing.

They know each other, and take every write with a friendly word.
"""

import random
from collections.abc import Iterable, Sequence
from enum import Enum

from torrent_engine.base.errors import KrpcError
from torrent_engine.base.ids import NodeId, PeerAddress
from torrent_engine.codec.bencode import Encodable
from torrent_engine.protocol.dht.krpc import (
    NodeInfo,
    Query,
    compact_address,
    decode_message,
    encode_nodes,
    encode_response,
)
from torrent_engine.protocol.dht.response_nodes import distance
from torrent_engine.protocol.dht.security import node_id_for

NAMED = 8
POOL = 2_000


class Lie(Enum):
    """What a liar does."""

    DEAD = "dead"
    """Names nodes near the target that do not exist, with ids that fit their addresses."""
    SYBIL = "sybil"
    """Is itself next to every target, and so are its friends, whom it names: false ids."""
    CLIQUE = "clique"
    """Has a right id, and names none but its friends: those closest to the target."""
    FRAMING = "framing"
    """Names honest nodes under ids next to the target."""


class Conspiracy:
    """What all liars of a network know."""

    def __init__(self, rng: random.Random, addresses: Iterable[PeerAddress]) -> None:
        self.rng = rng
        self.friends: list[NodeInfo] = []
        self.victims: list[PeerAddress] = []
        self.nowhere = [NodeInfo(node_id_for(each.host, rng), each) for each in addresses]
        self._chosen: dict[tuple[int, bytes], list[NodeInfo]] = {}

    def closest(self, nodes: Sequence[NodeInfo], target: bytes) -> list[NodeInfo]:
        """Return those of ``nodes``, one of the lists above, that are closest to a target."""
        key = id(nodes), target
        if key not in self._chosen:
            near = sorted(nodes, key=lambda node: distance(node.id, target))
            self._chosen[key] = near[:NAMED]
        return self._chosen[key]

    def next_to(self, target: bytes) -> NodeId:
        """Return an id that nobody honest is closer to the target than."""
        number = int.from_bytes(target, "big") ^ self.rng.getrandbits(40)
        return NodeId(number.to_bytes(20, "big"))


class Liar:
    """Plays a node."""

    def __init__(self, lie: Lie, node_id: NodeId, conspiracy: Conspiracy) -> None:
        self._lie = lie
        self._node_id = node_id
        self._conspiracy = conspiracy
        self._outgoing: list[tuple[bytes, PeerAddress]] = []

    def receive_datagram(self, data: bytes, address: PeerAddress, *, now: float) -> None:
        """Answer a query; be silent on the rest."""
        try:
            query = decode_message(data)
        except KrpcError:
            return
        if isinstance(query, Query):
            reply = self._answer(query, address)
            self._outgoing.append((reply, address))

    def handle_timer(self, *, now: float) -> None:
        """Have nothing to do."""

    def next_timer(self) -> float | None:
        """Return that nothing is ever due."""
        return None

    def datagrams_to_send(self) -> list[tuple[bytes, PeerAddress]]:
        """Return the answers."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def _answer(self, query: Query, address: PeerAddress) -> bytes:
        target = query.arguments.get(b"info_hash") or query.arguments.get(b"target")
        own_id, values = self._node_id, dict[bytes, Encodable]()
        if isinstance(target, bytes) and query.method != b"announce_peer":
            key = b"nodes6" if ":" in address.host else b"nodes"
            values[key] = encode_nodes(self._named(target), is_ipv6=":" in address.host)
            values[b"token"] = b"welcome"
            if self._lie is Lie.SYBIL:
                own_id = self._conspiracy.next_to(target)
        return encode_response(query.transaction, own_id, values, external=compact_address(address))

    def _named(self, target: bytes) -> list[NodeInfo]:
        known = self._conspiracy
        if self._lie is Lie.DEAD:
            return known.closest(known.nowhere, target)
        if self._lie is Lie.CLIQUE:
            return known.closest(known.friends, target)
        if self._lie is Lie.FRAMING:
            named = known.rng.sample(known.victims, min(NAMED, len(known.victims)))
            return [NodeInfo(known.next_to(target), each) for each in named]
        friends = known.rng.sample(known.friends, NAMED)
        return [NodeInfo(known.next_to(target), friend.address) for friend in friends]
