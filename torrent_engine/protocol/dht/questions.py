"""Owns what the lookups of nodes and peers ask, and what they take of an answer.

Source: BEP 5; BEP 32 (mixed lists of peers), BEP 33 (scrapes), BEP 51 (samples).
"""

from collections.abc import Iterator
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
from torrent_engine.protocol.dht.named_nodes import may_be_asked
from torrent_engine.protocol.dht.scrape_filter import FILTER_BYTES, ScrapeFilter

Arguments = dict[bytes, Encodable]

SCRAPE_PADDING: Final[Arguments] = {b"pad": bytes(200)}
"""Makes a query so large that an answer of three times its size has room for two filters (C1)."""
MAX_TOKEN_BYTES: Final = 128  # ours: eight are usual, and we send them back
MAX_PEERS_PER_RESPONSE: Final = 100  # ours: plenty, and no flood
MAX_PEERS: Final = 2_000  # ours: peers that one lookup tells, but for these:
MAX_LATE_PEERS: Final = 25  # ours: of each answer after them, lest few liars silence all others
MAX_SCRAPED_PEERS: Final = 6_000  # BEP 33: a filter says nothing about more
MAX_SAMPLES: Final = 70  # ours: what a datagram of 1,400 bytes has room for
MAX_SAMPLE_INTERVAL_S: Final = 21_600  # BEP 51
_PEER_BYTES: Final = (6, 18)


class Question:
    """A lookup of the closest nodes, and the base of the others."""

    kind = LookupKind.FIND_NODE
    method = b"find_node"
    writes = False
    """Whether something is given to the closest nodes at the end."""
    is_widened = False
    """Whether the lookup goes on where few of the closest have what is looked for."""
    is_single = False
    """Whether only the nodes are asked that the caller named."""

    def __init__(self, target: NodeId) -> None:
        self.target = target
        self.found = 0
        self.holders: set[PeerAddress] = set()
        """Nodes that had what is looked for."""
        self.is_enough = False
        """Whether the answers so far make more of them useless."""

    def arguments(self) -> Arguments:
        """Return what the query says, but for our own id."""
        return {b"target": self.target}

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Take one answer."""
        self.found += 1
        yield from ()

    def write(self, node: NodeInfo, token: bytes) -> tuple[bytes, Arguments]:
        """Return method and arguments of what is given to one of the closest nodes."""
        return b"ping", {}

    def begin(self, lookup: int) -> Iterator[DhtEvent]:
        """Yield what is known before anybody is asked."""
        yield from ()

    def end(self, lookup: int) -> Iterator[DhtEvent]:
        """Yield what is only known at the end."""
        yield from ()


class GetPeers(Question):
    """The peers of a torrent, and perhaps their number (BEP 33)."""

    kind = LookupKind.GET_PEERS
    method = b"get_peers"
    is_widened = True

    def __init__(self, info_hash: InfoHash, *, no_seed: bool = False, scrape: bool = False) -> None:
        super().__init__(NodeId(info_hash))
        self.info_hash = info_hash
        self._flags: Arguments = {}
        if no_seed:
            self._flags[b"noseed"] = 1
        if scrape:
            self._flags |= {b"scrape": 1, **SCRAPE_PADDING}
        self._peers: set[PeerAddress] = set()
        self._seeds, self._leeches = ScrapeFilter(), ScrapeFilter()
        self._filters = 0
        self.known: tuple[PeerAddress, ...] = ()
        """Peers that announced themselves to us: in a small network we are one of the closest."""

    def begin(self, lookup: int) -> Iterator[DhtEvent]:
        """Tell the peers that we keep for others."""
        self._peers.update(self.known)
        self.found = len(self._peers)
        if self.known:
            yield PeersFound(lookup, self.info_hash, self.known, None)

    def arguments(self) -> Arguments:
        """Return what the query says, but for our own id."""
        return {b"info_hash": self.info_hash, **self._flags}

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Tell the peers that are new."""
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
        """Tell the estimate that was asked for."""
        if b"scrape" in self._flags:
            yield ScrapeFound(
                lookup,
                self.info_hash,
                self._seeds.estimate(),
                self._leeches.estimate(),
                self._filters,
            )

    def _take_filters(self, response: Response) -> None:
        """Add both filters of an answer; those that say nothing, being full, are left out."""
        seeds = _filter(response.values.get(b"BFsd"))
        leeches = _filter(response.values.get(b"BFpe"))
        if seeds is not None and leeches is not None:
            self._seeds.update(seeds)
            self._leeches.update(leeches)
            self._filters += 1


class Announce(GetPeers):
    """Peers of a torrent, and our own name for the closest nodes to remember."""

    kind = LookupKind.ANNOUNCE
    writes = True

    def __init__(self, info_hash: InfoHash, port: int | None, *, is_seed: bool) -> None:
        super().__init__(info_hash)
        self._port = port
        self._is_seed = is_seed

    def write(self, node: NodeInfo, token: bytes) -> tuple[bytes, Arguments]:
        """Return an "announce_peer"; without a port that of the datagram counts (BEP 5)."""
        arguments: Arguments = {
            b"info_hash": self.info_hash,
            b"implied_port": int(self._port is None),
            b"port": self._port or 0,
            b"token": token,
        }
        if self._is_seed:
            arguments[b"seed"] = 1
        return b"announce_peer", arguments


class Sample(Question):
    """Some of the info-hashes that nodes store (BEP 51)."""

    kind = LookupKind.SAMPLE
    method = b"sample_infohashes"

    def __init__(self, target: NodeId, *, is_single: bool = False) -> None:
        super().__init__(target)
        self.is_single = is_single

    def take(self, lookup: int, node: NodeInfo, response: Response) -> Iterator[DhtEvent]:
        """Tell the samples of one node; a node that has none for anybody is left out."""
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
    """Return the token of an answer; None where there is none that we send back."""
    token = response.values.get(b"token")
    return token if isinstance(token, bytes) and 0 < len(token) <= MAX_TOKEN_BYTES else None


def _peers(response: Response, teller: PeerAddress) -> Iterator[PeerAddress]:
    values = response.values.get(b"values")
    if not isinstance(values, list):
        return
    for value in values[:MAX_PEERS_PER_RESPONSE]:
        if isinstance(value, bytes) and len(value) in _PEER_BYTES:
            peer = PeerAddress(host_text(value[:-2]), int.from_bytes(value[-2:], "big"))
            if may_be_asked(peer, teller, is_ipv6=":" in peer.host):
                yield peer


def _number(value: BencodeValue | None, highest: int) -> int:
    return min(max(value, 0), highest) if isinstance(value, int) else 0


def _filter(data: BencodeValue | None) -> ScrapeFilter | None:
    if not isinstance(data, bytes) or len(data) != FILTER_BYTES:
        return None
    scrape = ScrapeFilter(data)
    return scrape if scrape.estimate() <= MAX_SCRAPED_PEERS else None
