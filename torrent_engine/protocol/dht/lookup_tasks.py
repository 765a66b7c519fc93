"""The tasks of lookups of nodes and peers: their queries, and the parsing of responses.

Source: BEP 5; BEP 32 (mixed lists of peers), BEP 33 (scrapes), BEP 51 (samples).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.codec.bencode import BencodeValue, Encodable
from torrent_engine.protocol.dht.events import (
    DhtEvent,
    LookupKind,
    PeersFound,
    SamplesFound,
    ScrapeFound,
)
from torrent_engine.protocol.dht.hosts import host_text
from torrent_engine.protocol.dht.krpc import NODE_ID_BYTES, NodeInfo, Response
from torrent_engine.protocol.dht.response_nodes import may_query
from torrent_engine.protocol.dht.scrape_filter import FILTER_BYTES, ScrapeFilter

Arguments = dict[bytes, Encodable]

SCRAPE_PADDING: Final[Arguments] = {b"pad": bytes(200)}
"""Padding for room in the response, which is limited to three times the query, for two filters."""
MAX_TOKEN_BYTES: Final = 128  # ours: eight are usual; we return them
MAX_PEERS_PER_RESPONSE: Final = 100  # ours: a bound, more than enough
MAX_PEERS: Final = 2_000  # ours: peers reported by one lookup; in addition:
MAX_LATE_PEERS: Final = (
    25  # ours: of each later response, so that a few nodes cannot suppress the others
)
MAX_SCRAPED_PEERS: Final = 6_000  # BEP 33: the limit of a filter
MAX_SAMPLES: Final = 70  # ours: what fits into 1,400 bytes
MAX_SAMPLE_INTERVAL_S: Final = 21_600  # BEP 51
_PEER_BYTES: Final = (6, 18)


class LookupTask:
    """The task of a lookup: here to find the closest nodes; the base of the others."""

    kind = LookupKind.FIND_NODE
    method = b"find_node"
    writes = False
    """Whether it writes to the closest nodes at the end."""
    is_widened = False
    """Whether the search is extended if few of the closest nodes have a result."""
    is_single = False
    """Whether only the given nodes are queried."""

    def __init__(self, target: NodeId) -> None:
        self.target = target
        self.found = 0
        self.holders: set[PeerAddress] = set()
        """Nodes that had a result."""
        self.is_enough = False
        """Whether further responses are not needed."""

    def arguments(self) -> Arguments:
        """Return the arguments of the query, without our own id."""
        return {b"target": self.target}

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Process one response."""
        self.found += 1
        yield from ()

    def write(self, node: NodeInfo, token: bytes) -> tuple[bytes, Arguments]:
        """Return the method and arguments of the write to one of the closest nodes."""
        return b"ping", {}

    def begin(self, lookup: int) -> Iterator[DhtEvent]:
        """Yield the events before the first query."""
        yield from ()

    def end(self, lookup: int) -> Iterator[DhtEvent]:
        """Yield the events at the end."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Announcement:
    """The arguments of "announce_peer" queries."""

    port: int | None
    """None: the source port of the datagram, "implied_port" (BEP 5)."""
    is_seed: bool = False


class GetPeers(LookupTask):
    """Get the peers of a torrent, optionally with a scrape (BEP 33) or an announce."""

    kind = LookupKind.GET_PEERS
    method = b"get_peers"
    is_widened = True

    def __init__(
        self,
        info_hash: InfoHash,
        *,
        no_seed: bool = False,
        scrape: bool = False,
        announcement: Announcement | None = None,
    ) -> None:
        super().__init__(NodeId(info_hash))
        self.info_hash = info_hash
        self._announcement = announcement
        if announcement is not None:
            self.kind, self.writes = LookupKind.ANNOUNCE, True
        self._flags: Arguments = {}
        if no_seed:
            self._flags[b"noseed"] = 1
        if scrape:
            self._flags |= {b"scrape": 1, **SCRAPE_PADDING}
        self._peers: set[PeerAddress] = set()
        self._seeds, self._leeches = ScrapeFilter(), ScrapeFilter()
        self._filters = 0
        self.known: tuple[PeerAddress, ...] = ()
        """Peers in our own store: in a small network we are one of the closest nodes."""

    def begin(self, lookup: int) -> Iterator[DhtEvent]:
        """Yield the peers of our own store."""
        self._peers.update(self.known)
        self.found = len(self._peers)
        if self.known:
            yield PeersFound(lookup, self.info_hash, self.known, None)

    def arguments(self) -> Arguments:
        """Return the arguments of the query, without our own id."""
        return {b"info_hash": self.info_hash, **self._flags}

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Yield new peers."""
        if b"scrape" in self._flags:
            self._take_filters(response)
        peers = dict.fromkeys(_peers(response, node.address))
        if peers:
            self.holders.add(node.address)
        room = max(MAX_PEERS - len(self._peers), MAX_LATE_PEERS)
        new = [peer for peer in peers if peer not in self._peers][:room]
        if new:
            self._peers.update(new)
            self.found = len(self._peers)
            yield PeersFound(lookup, self.info_hash, tuple(new), node.address)

    def end(self, lookup: int) -> Iterator[DhtEvent]:
        """Yield the estimate, if it was requested."""
        if b"scrape" in self._flags:
            yield ScrapeFound(
                lookup,
                self.info_hash,
                self._seeds.estimate(),
                self._leeches.estimate(),
                self._filters,
            )

    def write(self, node: NodeInfo, token: bytes) -> tuple[bytes, Arguments]:
        """Return the method and the arguments of an "announce_peer" query."""
        if self._announcement is None:
            return super().write(node, token)
        port = self._announcement.port
        arguments: Arguments = {
            b"info_hash": self.info_hash,
            b"implied_port": int(port is None),
            b"port": port or 0,
            b"token": token,
        }
        if self._announcement.is_seed:
            arguments[b"seed"] = 1
        return b"announce_peer", arguments

    def _take_filters(self, response: Response) -> None:
        """Add both filters of a response; full ones are ignored."""
        seeds = _filter(response.values.get(b"BFsd"))
        leeches = _filter(response.values.get(b"BFpe"))
        if seeds is not None and leeches is not None:
            self._seeds.update(seeds)
            self._leeches.update(leeches)
            self._filters += 1


class Sample(LookupTask):
    """Samples of the info-hashes that nodes store (BEP 51)."""

    kind = LookupKind.SAMPLE
    method = b"sample_infohashes"

    def __init__(self, target: NodeId, *, is_single: bool = False) -> None:
        super().__init__(target)
        self.is_single = is_single

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Yield the samples of one node; skip a node that does not support BEP 51."""
        samples = response.values.get(b"samples")
        if not isinstance(samples, bytes) or len(samples) % NODE_ID_BYTES:
            return
        samples = samples[: MAX_SAMPLES * NODE_ID_BYTES]
        info_hashes = tuple(
            InfoHash(samples[start : start + NODE_ID_BYTES])
            for start in range(0, len(samples), NODE_ID_BYTES)
        )
        self.found += len(info_hashes)
        stored = _number(response.values.get(b"num"), 1 << 31)
        interval_s = _number(response.values.get(b"interval"), MAX_SAMPLE_INTERVAL_S)
        yield SamplesFound(lookup, node, info_hashes, stored, interval_s)


def token_of(response: Response) -> bytes | None:
    """Return the write token of a response; None if it is missing or invalid."""
    token = response.values.get(b"token")
    return token if isinstance(token, bytes) and 0 < len(token) <= MAX_TOKEN_BYTES else None


def _peers(response: Response, sender: PeerAddress) -> Iterator[PeerAddress]:
    values = response.values.get(b"values")
    if not isinstance(values, list):
        return
    for value in _split_peers(values)[:MAX_PEERS_PER_RESPONSE]:
        if isinstance(value, bytes) and len(value) in _PEER_BYTES:
            peer = PeerAddress(host_text(value[:-2]), int.from_bytes(value[-2:], "big"))
            if may_query(peer, sender, is_ipv6=":" in peer.host):
                yield peer


def _split_peers(values: list[BencodeValue]) -> list[BencodeValue]:
    """Split a list of peers; old nodes send a single string with all of them (IPv4)."""
    only, size = values[0] if len(values) == 1 else None, min(_PEER_BYTES)
    if not isinstance(only, bytes) or len(only) in _PEER_BYTES:
        return values
    return [only[start : start + size] for start in range(0, len(only), size)]


def _number(value: BencodeValue | None, highest: int) -> int:
    return min(max(value, 0), highest) if isinstance(value, int) else 0


def _filter(data: BencodeValue | None) -> ScrapeFilter | None:
    if not isinstance(data, bytes) or len(data) != FILTER_BYTES:
        return None
    scrape = ScrapeFilter(data)
    return scrape if scrape.estimate() <= MAX_SCRAPED_PEERS else None
