"""A node of the DHT that obeys the BEPs, or breaks the rules that it is told to break."""

import hashlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.conformance.scripted_extensions import Quirks
from tests.conformance.scripted_seed import TORRENT, MemoryBytes, memory_pair
from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.dht.items import immutable_target, signed_bytes
from torrent_engine.conformance.dht.krpc import (
    ID_BYTES,
    KrpcMessage,
    NodeAddress,
    cut,
    failure,
    parse_krpc,
    query,
    response,
)
from torrent_engine.conformance.dht.secure_ids import fits, fitting_id
from torrent_engine.conformance.frames import (
    HEADER,
    FrameReader,
    FrameType,
    HandshakeBytes,
    message,
)
from torrent_engine.conformance.rules.bep33_dht_scrapes import bloom_filter

GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
TOKEN_S = 600.0
FLOOD = 100
BLOCK_S = 30.0
RETRY_S = 5.0
OTHER_ID = bytes(range(20))
Values = dict[bytes, Bencodable]


class MemoryDatagrams:
    """Sockets by address, kept in memory."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self._ports = itertools.count(20_000)
        self._tasks = tasks
        self.takers: dict[NodeAddress, Callable[[bytes, NodeAddress], None]] = {}

    async def open(self, host: str) -> "MemorySocket":
        return MemorySocket(self, (host, next(self._ports)))

    def deliver(self, data: bytes, sender: NodeAddress, to: NodeAddress) -> None:
        if (take := self.takers.get(to)) is not None:
            take(data, sender)


class MemorySocket:
    """A socket of a node of the kit."""

    def __init__(self, network: MemoryDatagrams, address: NodeAddress) -> None:
        self.address = address
        self._network = network
        self._put, self._get = anyio.create_memory_object_stream[tuple[bytes, NodeAddress]](10_000)
        network.takers[address] = lambda data, sender: self._put.send_nowait((data, sender))

    async def send(self, data: bytes, to: NodeAddress) -> None:
        self._network.deliver(data, self.address, to)

    async def receive(self) -> tuple[bytes, NodeAddress]:
        return await self._get.receive()

    async def aclose(self) -> None:
        self._network.takers.pop(self.address, None)
        self._put.close()
        self._get.close()


def packed(address: NodeAddress) -> bytes:
    host = address[0]
    raw = b"\0" * 15 + b"\1" if ":" in host else bytes(int(each) for each in host.split("."))
    return raw + address[1].to_bytes(2, "big")


class ScriptedNode:
    """The program: a table, peers, values, and a torrent that it announces."""

    name = "scripted"

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        network: MemoryDatagrams,
        port: int,
        quirks: Quirks,
    ) -> None:
        self._tasks = tasks
        self._network = network
        self.quirks = quirks
        self.address: NodeAddress = ("11.0.0.1", port)
        self.address6: NodeAddress = ("::1", port)
        self.own_id = random.randbytes(ID_BYTES)
        self.runs = False
        self.torrent = TORRENT
        self.store = ScriptedStore(quirks)
        self.known: dict[bytes, NodeAddress] = {}
        self.asked: dict[bytes, tuple[NodeAddress, str]] = {}
        self.tried: dict[NodeAddress, int] = {}
        self.silent_until: dict[str, float] = {}
        self.heard: dict[str, list[float]] = {}
        self._scope = anyio.CancelScope()

    async def start(self, bootstrap: Sequence[NodeAddress]) -> None:
        self.runs = True
        self._network.takers[self.address] = lambda data, sender: self.take(data, sender, 4)
        if "no IPv6" not in self.quirks:
            self._network.takers[self.address6] = lambda data, sender: self.take(data, sender, 6)
        self._tasks.start_soon(self._ask_around, list(bootstrap))

    def is_running(self) -> bool:
        return self.runs

    async def connect(self, source: str) -> MemoryBytes:
        """Take a connection of a peer."""
        ours, theirs = memory_pair()
        self._tasks.start_soon(self._meet, theirs, source)
        return ours

    async def _meet(self, stream: MemoryBytes, source: str) -> None:
        """Exchange handshakes and ports, until the other side ends."""
        try:
            with suppress(*GONE):
                await self._talk(stream, source)
        finally:
            with anyio.CancelScope(shield=True):
                await stream.aclose()

    async def _talk(self, stream: MemoryBytes, source: str) -> None:
        reader, data = FrameReader(), b""
        while len(data) < 68:
            data += await stream.receive()
        bits = bytes(7) + (b"\0" if "no DHT bit" in self.quirks else b"\1")
        greeting = HandshakeBytes(HEADER, bits, self.torrent.info_hash, OTHER_ID)
        await stream.send(greeting.encode())
        port = self.address[1] + ("wrong port" in self.quirks)
        if "tells no port" not in self.quirks:
            await stream.send(message(FrameType.PORT, port.to_bytes(2, "big")))
        data = data[68:]
        while True:
            for frame in reader.feed(data):
                if frame.number == FrameType.PORT and "ignores ports" not in self.quirks:
                    self.ask((source, int.from_bytes(frame.payload, "big")), "ping", {})
            data = await stream.receive()

    async def stop(self) -> None:
        self.runs = False
        self._scope.cancel()
        for each in (self.address, self.address6):
            self._network.takers.pop(each, None)

    # -- its own queries

    async def _ask_around(self, bootstrap: Sequence[NodeAddress]) -> None:
        with self._scope:
            while True:
                for each in [*bootstrap, *self.known.values()] if self._is_looked_up else []:
                    if self.tried.get(each, 0) < 2 or "hammers" in self.quirks:
                        for info_hash in self._info_hashes:
                            self.ask(each, "get_peers", {b"info_hash": info_hash})
                await anyio.sleep(0.2 if "hammers" in self.quirks else RETRY_S)

    @property
    def _info_hashes(self) -> Sequence[bytes]:
        hashes = self.torrent.info_hashes
        return hashes[-1:] if "one hash" in self.quirks else hashes

    @property
    def _is_looked_up(self) -> bool:
        return b"7:privatei1e" not in self.torrent.info or "looks up all" in self.quirks

    def ask(self, to: NodeAddress, method: str, arguments: Mapping[bytes, Bencodable]) -> None:
        self.tried[to] = self.tried.get(to, 0) + 1
        transaction = random.randbytes(2)
        self.asked[transaction] = to, method
        own_id = self.own_id[:19] if "short id" in self.quirks else self.own_id
        data = query(transaction, method, {b"id": own_id, **arguments})
        self._network.deliver(data, self.address, to)

    def _answered(self, message: KrpcMessage) -> None:
        place = self.asked.pop(message.transaction, None)
        if "any transaction" in self.quirks:
            place = place or (message.sender, "ping")
        if place is None or place[0] != message.sender or message.kind != b"r":
            return
        told = message.content.get(b"ip")
        if isinstance(told, bytes) and "keeps its id" not in self.quirks:
            self.own_id = fitting_id(".".join(map(str, told[:4])))
        if len(message.text(b"nodes")) % 26 and "stops on odd nodes" in self.quirks:
            self._tasks.start_soon(self.stop)
        self.tried[message.sender] = 0
        if len(node_id := message.text(b"id")) == ID_BYTES:
            self.known[node_id] = message.sender
        for each in cut(message.text(b"nodes"), 26):
            host, port = ".".join(map(str, each[20:24])), int.from_bytes(each[24:], "big")
            if "never asks further" not in self.quirks and (host, port) not in self.tried:
                self.ask((host, port), "get_peers", {b"info_hash": self.torrent.info_hash})
        if place[1] == "get_peers" and message.text(b"token"):
            self._announce(message)

    def _announce(self, message: KrpcMessage) -> None:
        if "never announces" in self.quirks or not self._may_hold(message):
            return
        token = b"mine" if "own token" in self.quirks else message.text(b"token")
        arguments: Values = {b"info_hash": self.torrent.info_hash, b"port": 1, b"token": token}
        self.ask(message.sender, "announce_peer", arguments)

    def _may_hold(self, message: KrpcMessage) -> bool:
        """Return whether a node may be announced to: its id fits, or it knows of no such rule."""
        if b"ip" not in message.content or "announces to all" in self.quirks:
            return True
        return fits(message.text(b"id"), message.sender[0])

    # -- what others ask

    def take(self, data: bytes, sender: NodeAddress, family: int) -> None:
        message = parse_krpc(data, sender, anyio.current_time())
        if message is None:
            if "stops on junk" in self.quirks:
                self._tasks.start_soon(self.stop)
            return
        if message.kind != b"q":
            self._answered(message)
            return
        if "mute" in self.quirks or self._is_flooding(sender[0]):
            return
        answer = self._answer(message, family)
        if answer is not None:
            source = self.address if family == 4 else self.address6
            self._network.deliver(answer, source, sender)

    def _is_flooding(self, host: str) -> bool:
        now = anyio.current_time()
        if now < self.silent_until.get(host, 0):
            return True
        recent = [each for each in self.heard.get(host, []) if each > now - 1] + [now]
        self.heard[host] = recent
        if len(recent) > FLOOD:
            is_long = "blocks for ever" in self.quirks
            self.silent_until[host] = now + (3600.0 if is_long else BLOCK_S)
        return False

    def _answer(self, asked: KrpcMessage, family: int) -> bytes | None:
        transaction = (
            asked.transaction[:2] if "short transactions" in self.quirks else (asked.transaction)
        )
        if "sorted only" in self.quirks and transaction == b"us":
            return None
        if "id must fit" in self.quirks and asked.argument(b"id") == bytes(20):
            return failure(transaction, 203)
        if asked.content.get(b"ro") == 1 and "refuses read-only" in self.quirks:
            return failure(transaction, 203)
        if "keeps read-only" in self.quirks:
            self.known[asked.argument(b"id")] = asked.sender
        found = self._handle(asked, family)
        if isinstance(found, int):
            return self._failure(transaction, found)
        found[b"id"] = OTHER_ID[:19] if "short id" in self.quirks else self.own_id
        extra: dict[str, Bencodable] = {}
        if "no ip" not in self.quirks:
            place = (asked.sender[0], 1) if "wrong ip" in self.quirks else asked.sender
            extra["ip"] = packed(place)
        data = response(transaction, found, **extra)
        return data.replace(b"1:v4:TC01", b"") if "no version" in self.quirks else data

    def _failure(self, transaction: bytes, code: int) -> bytes | None:
        if "no errors" in self.quirks:
            return None
        return failure(transaction, 201 if "generic errors" in self.quirks else code)

    def _handle(self, asked: KrpcMessage, family: int) -> Values | int:
        if "lax" not in self.quirks and len(asked.argument(b"id")) != ID_BYTES:
            return 203
        simple = {"ping": self._ping, "put": self._put, "announce_peer": self._announced}
        if (answer := simple.get(asked.method)) is not None:
            return answer(asked, family)
        has_target = bool(asked.argument(b"target") or asked.argument(b"info_hash"))
        is_known = asked.method in {"find_node", "get_peers", "get", "sample_infohashes"}
        if not is_known and ("no future" in self.quirks or not has_target):
            return 204
        if asked.method == "get" and "no storage" in self.quirks:
            return 204
        return self._about_a_target(asked, family)

    def _ping(self, asked: KrpcMessage, family: int) -> Values | int:
        return {}

    def _put(self, asked: KrpcMessage, family: int) -> Values | int:
        return self.store.put(asked, self._token(asked))

    def _announced(self, asked: KrpcMessage, family: int) -> Values | int:
        return self.store.announce(asked, self._token(asked), family)

    def _about_a_target(self, asked: KrpcMessage, family: int) -> Values | int:
        target = asked.argument(b"target") or asked.argument(b"info_hash")
        if "lax" not in self.quirks and len(target) != ID_BYTES:
            return 203
        values = self._nodes(asked, family)
        if asked.method in {"get_peers", "get"} and "no token" not in self.quirks:
            values[b"token"] = self._token(asked)
        if asked.method == "get_peers":
            values |= self.store.peers_of(asked, family)
        if asked.method == "get":
            values |= self.store.item(target, asked)
        if asked.method == "sample_infohashes":
            values |= self.store.samples()
        return values

    def _token(self, asked: KrpcMessage) -> bytes:
        """Return the token that a sender has now; half an hour old ones are forgotten."""
        life_s = 60.0 if "short tokens" in self.quirks else TOKEN_S
        host = "" if "shared tokens" in self.quirks else asked.sender[0]
        age = int(anyio.current_time() / life_s)
        return hashlib.sha256(f"{host} {age}".encode()).digest()[:8]

    def _nodes(self, asked: KrpcMessage, family: int) -> Values:
        want = asked.arguments.get(b"want")
        if "ignores want" in self.quirks or not isinstance(want, list):
            want = [b"n6" if family == 6 and "n4 always" not in self.quirks else b"n4"]
        if "no nodes6" in self.quirks:
            want = [each for each in want if each != b"n6"]
        nodes = b"".join(node_id + packed(place) for node_id, place in list(self.known.items())[:8])
        if "odd nodes" in self.quirks:
            nodes += b"odd"
        if "no nodes" in self.quirks:
            return {}
        if "amplifies" in self.quirks:
            nodes = bytes(26 * 60)
        return {key: nodes for name, key in ((b"n4", b"nodes"), (b"n6", b"nodes6")) if name in want}


class ScriptedStore:
    """The peers and values that others left."""

    def __init__(self, quirks: Quirks) -> None:
        self.quirks = quirks
        self.peers: dict[bytes, dict[object, tuple[NodeAddress, int, bool]]] = {}
        self.items: dict[bytes, Values] = {}

    def announce(self, asked: KrpcMessage, token: bytes, family: int) -> Values | int:
        if asked.argument(b"token") != token and "any token" not in self.quirks:
            return 203
        port = asked.arguments.get(b"port")
        if asked.arguments.get(b"implied_port") and "no implied port" not in self.quirks:
            port = asked.sender[1]
        if not isinstance(port, int) or (not 0 < port < 2**16 and "any port" not in self.quirks):
            return 203
        host = asked.sender[0]
        key: object = (host, port) if "all ports" in self.quirks else host
        is_seed = asked.arguments.get(b"seed") == 1
        place = (host, port % 2**16)
        self.peers.setdefault(asked.argument(b"info_hash"), {})[key] = (place, family, is_seed)
        return {}

    def peers_of(self, asked: KrpcMessage, family: int) -> Values:
        stored = self.peers.get(asked.argument(b"info_hash"), {}).values()
        if not stored:
            return {}
        no_seed = asked.arguments.get(b"noseed") == 1 and "seeds always" not in self.quirks
        chosen: list[bytes] = [
            packed(place)
            for place, kind, is_seed in stored
            if (kind == family or "hybrid" in self.quirks) and not (no_seed and is_seed)
        ]
        values: Values = {}
        if chosen and "forgets peers" not in self.quirks:
            joined = "joined values" in self.quirks
            values[b"values"] = [b"".join(chosen)] if joined else [*chosen[: self._most]]
        if asked.arguments.get(b"scrape") == 1 and "no filters" not in self.quirks:
            for key, kind in ((b"BFsd", True), (b"BFpe", False)):
                hosts = [place[0] for place, _, is_seed in stored if is_seed is kind]
                values[key] = bloom_filter(hosts[1:] if "wrong filters" in self.quirks else hosts)
        return values

    @property
    def _most(self) -> int:
        return 200 if "long answers" in self.quirks or "all ports" in self.quirks else 25

    def samples(self) -> Values:
        blob = b"".join(self.peers)
        if "odd samples" in self.quirks:
            blob += b"odd"
        if "new samples" in self.quirks:
            blob += random.randbytes(20)
        return {b"samples": blob, b"num": len(blob) // 20, b"interval": 60}

    def put(self, asked: KrpcMessage, token: bytes) -> Values | int:
        if asked.argument(b"token") != token and "any token" not in self.quirks:
            return 203
        value = asked.arguments[b"v"]
        if len(bencode(value)) > 1_000 and "any size" not in self.quirks:
            return 205
        if "strings only" in self.quirks and not isinstance(value, bytes):
            return 203
        if b"k" not in asked.arguments:
            self.items[immutable_target(value)] = {b"v": value}
            return {}
        return self._put_mutable(asked, value)

    def _put_mutable(self, asked: KrpcMessage, value: Bencodable) -> Values | int:
        salt, key = asked.argument(b"salt"), asked.argument(b"k")
        sequence, cas = asked.arguments.get(b"seq"), asked.arguments.get(b"cas")
        assert isinstance(sequence, int)
        if len(salt) > 64 and "any salt" not in self.quirks:
            return 207
        if "any signature" not in self.quirks:
            try:
                public = Ed25519PublicKey.from_public_bytes(key)
                public.verify(asked.argument(b"sig"), signed_bytes(value, sequence, salt))
            except InvalidSignature:
                return 206
        named = key if "ignores salt" in self.quirks else key + salt
        target = hashlib.sha1(named, usedforsecurity=False).digest()
        item: Values = {b"k": key, b"seq": sequence, b"sig": asked.argument(b"sig"), b"v": value}
        if "no key" in self.quirks:
            del item[b"k"]
        if (code := self._refusal(self.items.get(target), sequence, cas, value)) is not None:
            return code
        self.items[target] = item
        return {}

    def _refusal(
        self, old: Values | None, sequence: int, cas: "Bencodable | None", value: Bencodable
    ) -> int | None:
        if old is None or "any sequence" in self.quirks:
            return None
        stored = old[b"seq"]
        assert isinstance(stored, int)
        if cas is not None and "no cas" in self.quirks:
            return 301
        if cas is not None and cas != stored and "ignores cas" not in self.quirks:
            return 301
        is_same = sequence == stored and value == old[b"v"] and "strict" not in self.quirks
        if "never updates" in self.quirks:
            return 302
        return 302 if sequence <= stored and not is_same else None

    def item(self, target: bytes, asked: KrpcMessage) -> Values:
        found = dict(self.items.get(target, {}))
        if "forgets items" in self.quirks:
            return {}
        wanted, stored = asked.arguments.get(b"seq"), found.get(b"seq")
        if not (isinstance(wanted, int) and isinstance(stored, int)):
            return found
        is_known = stored <= wanted and "sends always" not in self.quirks
        return {b"seq": stored} if is_known else found


@asynccontextmanager
async def scripted_node(
    tasks: anyio.abc.TaskGroup,
    network: MemoryDatagrams,
    ports: "itertools.count[int]",
    quirks: Quirks,
) -> AsyncIterator[ScriptedNode]:
    node = ScriptedNode(tasks, network, next(ports), quirks)
    try:
        yield node
    finally:
        await node.stop()
