"""Fuzz target of the DHT: any datagram raises declared errors only, and memory is bounded.

One node lives through many inputs, and always has lookups of every kind under way, so that a
response can be the answer to one of its queries. How to run it: ``python -m fuzz --help``.
"""

import random
from collections import deque
from itertools import count
from typing import Final

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import InfoHash, NodeId, PeerAddress
from torrent_engine.codec.bencode import BencodeValue, decode, encode
from torrent_engine.protocol.dht.events import LookupEnded
from torrent_engine.protocol.dht.hosts import packed_host
from torrent_engine.protocol.dht.items import immutable_target, sign_item
from torrent_engine.protocol.dht.krpc import (
    Bencoded,
    NodeInfo,
    Query,
    decode_message,
    encode_failure,
    encode_nodes,
    encode_query,
    encode_response,
)
from torrent_engine.protocol.dht.node import DhtNode
from torrent_engine.protocol.dht.security import node_id_for

OWN_ID = NodeId(b"own-id-own-id-own-id")
OTHER_ID = NodeId(b"mnopqrstuvwxyz123456")
TARGET = bytes(20)
MARK: Final = b"TTTT"
"""Stands for the transaction id of a query that the node sent and waits for."""
TOKEN: Final = b"12345678"
"""Stands for a write token that the node gives to the sender."""
NODES = [NodeInfo(NodeId(bytes([n]) * 20), PeerAddress(f"50.0.{n}.1", 6881)) for n in range(40)]
NODES6 = [NodeInfo(node.id, PeerAddress(f"2a00:{n:x}::1", 1)) for n, node in enumerate(NODES)]
ITEM = sign_item(b"k" * 32, Bencoded(b"5:value"), 7)
KEYS = (TARGET, ITEM.target, immutable_target(ITEM.value))
LIVES: Final = 50_000
"""Inputs after which the node is replaced."""
LOOKUPS: Final = 6
STEP_S: Final = 0.05
CONFIG = DhtConfig(
    max_queries_per_ip_per_s=0,
    max_upload_bytes_per_s=0,
    max_outstanding_queries=200,
    max_torrents=50,
    max_peers_per_torrent=20,
    max_items=50,
    max_throttled_ips=100,
)

QUERIES = (
    (b"ping", {}),
    (b"find_node", {b"target": TARGET, b"want": [b"n4", b"n6"]}),
    (b"get_peers", {b"info_hash": TARGET, b"scrape": 1, b"noseed": 1}),
    (b"announce_peer", {b"info_hash": TARGET, b"port": 6881, b"token": TOKEN, b"seed": 1}),
    (b"get", {b"target": ITEM.target, b"seq": 3}),
    (b"put", {b"v": Bencoded(b"5:value"), b"token": TOKEN}),
    (
        b"put",
        {
            b"v": ITEM.value,
            b"k": ITEM.key,
            b"sig": ITEM.signature,
            b"seq": 7,
            b"cas": 6,
            b"token": TOKEN,
        },
    ),
    (b"sample_infohashes", {b"target": TARGET}),
)
ANSWERS = (
    {},
    {b"nodes": encode_nodes(NODES[:8], is_ipv6=False), b"token": TOKEN},
    {b"nodes": encode_nodes(NODES[8:], is_ipv6=False), b"token": b"t"},
    {b"nodes6": encode_nodes(NODES6[:8], is_ipv6=True), b"token": TOKEN},
    {b"values": [b"\x32\0\0\1\x1a\xe1", b"\x32\0\0\2\x1a\xe1", bytes(18)], b"token": TOKEN},
    {b"BFsd": b"\1" * 256, b"BFpe": b"\xff" * 256, b"values": [b"\x32\0\0\1\x1a\xe1"]},
    {b"v": ITEM.value, b"token": TOKEN},
    {b"v": ITEM.value, b"k": ITEM.key, b"sig": ITEM.signature, b"seq": 7, b"token": TOKEN},
    {b"samples": bytes(60), b"num": 3, b"interval": 60, b"nodes": bytes(26)},
)
TRACE = (
    *(encode_query(b"ab", method, OTHER_ID, arguments) for method, arguments in QUERIES),
    encode_query(b"ab", b"ping", OTHER_ID, {}, is_read_only=True, client=b"XX01"),
    *(
        encode_response(MARK, OTHER_ID, values, external=external, client=b"XX01")
        for values in ANSWERS
        for external in (b"", b"\x63\1\1\1\x1a\xe1", bytes(18))
    ),
    encode_failure(MARK, 203, "no"),
    encode_failure(MARK, 301, "compared"),
    encode_failure(b"ab", 201, "to nobody"),
)
"""One of each message that a good node could send."""
ODD_VALUES: tuple[BencodeValue, ...] = (
    *(0, 1, -1, 65_536, 2**63 - 1, -(2**63)),
    *(b"", b"x", bytes(20), bytes(26), bytes(38), bytes(256), bytes(1_200), b"\xff" * 6),
    *([], {}, [b"x"] * 60, [[[]]], {b"id": bytes(20)}, [b"\1\2\3\4\5\6", 7, []]),
)


class Life:
    """One node, and what it sent lately."""

    def __init__(self, options: int) -> None:
        self.is_ipv6 = bool(options & 1)
        self.now = 1_000.0
        self.inputs = 0
        self.running: set[int] = set()
        self.asked: deque[tuple[bytes, PeerAddress]] = deque(maxlen=64)
        self._kinds = count()
        self.node = DhtNode(
            CONFIG,
            rng=random.Random(options),
            secret=bytes(32),
            is_ipv6=self.is_ipv6,
            node_id=OWN_ID,
            now=self.now,
        )
        nodes = NODES6 if self.is_ipv6 else NODES
        self.node.bootstrap([node.address for node in nodes[:5]], now=self.now)
        self.drain()

    def start_lookups(self) -> None:
        """Keep lookups of every kind under way."""
        node, now = self.node, self.now
        starts = (
            lambda: node.find_node(NodeId(TARGET), now=now),
            lambda: node.get_peers(InfoHash(TARGET), scrape=True, now=now),
            lambda: node.announce(InfoHash(TARGET), 6881, is_seed=True, now=now),
            lambda: node.get(NodeId(ITEM.target), now=now),
            lambda: node.put_immutable(ITEM.value, now=now),
            lambda: node.put_mutable(ITEM, cas=6, now=now),
            lambda: node.sample(NodeId(TARGET), now=now),
        )
        for _ in range(LOOKUPS - len(self.running)):
            self.running.add(starts[next(self._kinds) % len(starts)]())

    def source(self, choice: int, data: bytes) -> tuple[bytes, PeerAddress]:
        """Return the datagram with its mark replaced, and an address for it to come from."""
        if MARK in data and self.asked:
            transaction, address = self.asked[choice % len(self.asked)]
            return data.replace(MARK, transaction, 1), address
        host = f"2a01:{choice:x}::1" if self.is_ipv6 else f"60.{choice}.1.1"
        tokens = self.node._responder.handlers._tokens
        token = tokens.token(packed_host(host), KEYS[choice % len(KEYS)], self.now)
        return data.replace(TOKEN, token, 1), PeerAddress(host, 6881)

    def receive(self, choice: int, data: bytes) -> None:
        """Give the node one datagram; check what must hold after it."""
        self.inputs += 1
        self.now += STEP_S
        datagram, address = self.source(choice, data)
        self.node.receive_datagram(datagram, address, now=self.now)
        self.drain()
        due = self.node.next_timer()
        if due is not None and due <= self.now:
            self.node.handle_timer(now=self.now)
            self.drain()
        self.start_lookups()
        self.drain()

    def drain(self) -> None:
        """Take what the node sends and tells."""
        outgoing = self.node.datagrams_to_send()
        assert len(outgoing) <= 300, "too much is sent for one datagram"
        for data, address in outgoing:
            assert len(data) <= CONFIG.max_reply_bytes
            # What a node once stored may hold these bytes too, so that an answer has them.
            if b"1:y1:q" in data and isinstance(message := decode_message(data), Query):
                self.asked.append((message.transaction, address))
        events = self.node.events()
        assert len(events) <= 300
        for event in events:
            if isinstance(event, LookupEnded):
                self.running.discard(event.lookup)

    def check_memory(self) -> None:
        """Check everything whose size the sender of datagrams drives."""
        node = self.node
        stats = node.stats()
        assert stats.outstanding <= CONFIG.max_outstanding_queries
        assert stats.lookups + stats.lookups_waiting <= LOOKUPS + 3
        assert len(node._endpoint.transactions._deadlines) <= 5_000
        known = sum(len(bucket.nodes) + len(bucket.replacements) for bucket in node._table._buckets)
        assert known <= 160 * (CONFIG.bucket_nodes + CONFIG.max_replacements)
        assert len(node._table._by_id) == known
        answers = node._responder.handlers
        assert len(answers.peers) <= CONFIG.max_torrents
        assert len(answers.items) <= CONFIG.max_items
        assert len(node._upkeep._addresses) <= 200
        for lookup in node._lookups.queue._running.values():
            assert len(lookup._search._order) <= CONFIG.max_lookup_candidates
            assert len(lookup._search._known) <= 2 * CONFIG.max_lookup_candidates


_LIVES: dict[int, Life] = {}


@in_time
def fuzz_one(data: bytes) -> None:
    """Give one datagram to a node: the first byte chooses which, the second from where."""
    if len(data) < 2:
        return
    options = data[0] & 1
    life = _LIVES.get(options)
    if life is None or life.inputs >= LIVES:
        life = _LIVES[options] = Life(options)
    life.receive(data[1], data[2:])
    if life.inputs % 50 == 0:
        life.check_memory()


def mutated(rng: random.Random) -> bytes:
    """Return a choice of node and source, and a message, mostly damaged.

    The damage is to its bytes, or to what it says while it stays bencoding.
    """
    datagram = _message(rng)
    if rng.randrange(2):
        message = decode(datagram)
        assert isinstance(message, dict)
        for _ in range(rng.choice((1, 1, 2, 3))):
            key = rng.choice(
                [*message, *12 * [key for key in message if key in {b"a", b"r", b"e", b"ip"}]]
            )
            message[key] = _said_wrongly(message[key], rng)
        datagram = encode(message)
    else:
        datagram = _damaged(bytearray(datagram), rng)
    return rng.randbytes(2) + datagram


def _damaged(datagram: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(datagram))
        action = rng.randrange(5)
        if action == 0:
            datagram[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            datagram[at] = rng.randrange(256)
        elif action == 2:
            datagram[at:at] = rng.randbytes(rng.randrange(1, 8))
        elif action == 3:
            del datagram[at : at + rng.randrange(1, 8)]
        else:
            other = rng.choice(TRACE)
            start = rng.randrange(len(other))
            datagram[at:at] = other[start : start + rng.randrange(1, 80)]
        if not datagram:
            break
    return bytes(datagram)


def _said_wrongly(value: BencodeValue, rng: random.Random) -> BencodeValue:
    """Return a value with one part of it, somewhere inside, replaced, cut, or of another type."""
    if isinstance(value, dict) and value and rng.randrange(20):
        key = rng.choice([*value, *(key for key in value if key != b"id")])
        if rng.randrange(8) == 0:
            return {other: each for other, each in value.items() if other != key}
        return {**value, key: _said_wrongly(value[key], rng)}
    if isinstance(value, list) and value and rng.randrange(4):
        at = rng.randrange(len(value))
        return [*value[:at], _said_wrongly(value[at], rng), *value[at + 1 :]]
    if isinstance(value, bytes) and rng.randrange(2):
        return value[: rng.randrange(len(value) + 1)] + rng.randbytes(rng.randrange(3))
    return rng.choice(ODD_VALUES)


def _message(rng: random.Random) -> bytes:
    """Return one of the messages, or a new one with random ids and nodes."""
    if rng.randrange(2):
        return rng.choice(TRACE)
    sender = NodeId(rng.randbytes(20))
    if rng.randrange(2):
        method, arguments = rng.choice(QUERIES)
        return encode_query(rng.randbytes(rng.randrange(9)), method, sender, arguments)
    hosts = [f"{rng.randrange(256)}.{rng.randrange(256)}.1.1" for _ in range(rng.randrange(12))]
    nodes = [NodeInfo(node_id_for(host, rng), PeerAddress(host, 6881)) for host in hosts]
    values = {**rng.choice(ANSWERS), b"nodes": encode_nodes(nodes, is_ipv6=False)}
    values[b"v"] = Bencoded(encode(rng.choice([1, b"x", [b"y"], {b"z": []}])))
    return encode_response(MARK, sender, values)


TARGETS = {
    "dht": FuzzTarget(fuzz_one, mutated, max_bytes=1_024),
}
