"""Fuzz target of ut_metadata: any messages of peers raise declared errors only.

Honest peers are among them, and are never blamed. How to run it: ``python -m fuzz --help``.
"""

import random
from contextlib import suppress
from functools import lru_cache
from hashlib import sha1
from types import SimpleNamespace

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import MetadataConfig, PoolConfig
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.engine.extensions.metadata_download import MetadataDownload
from torrent_engine.engine.extensions.metadata_upload import MetadataUpload
from torrent_engine.protocol.wire.metadata import (
    METADATA_PIECE_BYTES,
    UT_METADATA,
    MetadataData,
    MetadataReject,
    MetadataRequest,
    decode_metadata_message,
    encode_metadata_message,
)

INFO = random.Random(0).randbytes(2 * METADATA_PIECE_BYTES + 999)
JUNK = random.Random(1).randbytes(METADATA_PIECE_BYTES + 1)
CONFIG = MetadataConfig(
    max_bytes=5 * METADATA_PIECE_BYTES,
    max_held_bytes=6 * METADATA_PIECE_BYTES,
    max_strikes=3,
    max_queued_requests=4,
    max_upload_bytes_per_s=16 * 1024,
)
TORRENT = SimpleNamespace(info_bytes=INFO, is_private=False)
PEERS = 6
SIZES = (len(INFO), None, 0, -1, 1, METADATA_PIECE_BYTES, len(INFO) - 1, CONFIG.max_bytes, 2**31)
STEP_BYTES = 4


# Messages are few, and half of the time went into them.
encoded = lru_cache(4_096)(encode_metadata_message)
decoded = lru_cache(4_096)(decode_metadata_message)


class FakePeer:
    """A connected peer: keeps what it was asked, and whether it ever did what is not right."""

    def __init__(self, number, world):
        self.identity = number
        self.address = PeerAddress(f"8.8.8.{number % 3}", 6881)
        self.upload_throttle = None
        self.metadata_bytes = None
        self.peer_extensions = {UT_METADATA: 1}
        self.connection = self.state = self.sender = self.link = self
        self.close_reason = None
        self.has_our_metadata = False
        self.asked = []
        self.sent_bytes = 0
        self.has_lied = False
        self._world = world

    @property
    def has_data_to_send(self):
        """Whether the peer reads nothing at the moment."""
        return self._world.is_stuck and self.sent_bytes > 0

    def send_extension(self, name, payload):
        message = decoded(payload)
        assert name == UT_METADATA
        assert self._world.peers.get(self.identity) is self
        if isinstance(message, MetadataRequest):
            assert self.close_reason is None
            self.asked.append(message.piece)
        elif isinstance(message, MetadataData):
            start = message.piece * METADATA_PIECE_BYTES
            assert message.data == INFO[start : start + METADATA_PIECE_BYTES]
        self.sent_bytes = self.sent_bytes + len(payload) if self._world.is_stuck else 0
        assert self.sent_bytes < 3 * METADATA_PIECE_BYTES

    def flush(self):
        """Nothing waits here."""


class World:
    """A swarm that has the metadata or not, and one torrent that has it."""

    def __init__(self):
        self.info_hash = sha1(INFO, usedforsecurity=False).digest()
        self.shared_config = SimpleNamespace(metadata=CONFIG, pool=PoolConfig())
        self.now, self.rng, self.is_stuck = 0.0, random.Random(1), False
        self.found, self.peers, self.liars = [], {}, set()
        self.exchange = MetadataDownload(
            self, self.info_hash, on_metadata=self.found.append, on_liar=self._on_liar
        )
        self.serving = MetadataUpload(TORRENT, CONFIG, self.clock, PoolConfig())

    def clock(self):
        return self.now

    def _on_liar(self, identity, _reason):
        assert identity in self.liars
        if identity in self.peers:
            self.peers[identity].close_reason = "banned"

    def step(self, who, what, one, two, rest):
        """Do one thing; return what is left of the input."""
        peer = self.peers.get(who % PEERS) or self._join(who % PEERS)
        payload = rest[:two] if what % len(ACTIONS) == HEARS else b""
        try:
            ACTIONS[what % len(ACTIONS)](self, peer, one, payload or two)
        except RemoteProtocolError:
            self.leave(peer, 0, 0)
        self._check()
        return rest[len(payload) :]

    def _join(self, number):
        self.peers[number] = peer = FakePeer(number, self)
        return peer

    def _lie(self, peer):
        self.liars.add(peer.identity)

    # what a peer may do: two bytes say how

    def change(self, peer, one, _two):
        size = SIZES[one % len(SIZES)]
        if peer.metadata_bytes not in {None, size} or size not in {None, len(INFO)}:
            self._lie(peer)
        peer.metadata_bytes = size or peer.metadata_bytes
        self.exchange.on_extension_handshake(peer)

    def leave(self, peer, _one, _two):
        if self.peers.pop(peer.identity, None) is not None:
            self.exchange.on_left(peer)
            self.serving.on_left(peer)

    def answer(self, peer, one, _two):
        if peer.asked:
            piece = peer.asked.pop(one % len(peer.asked))
            data = INFO[piece * METADATA_PIECE_BYTES :][:METADATA_PIECE_BYTES]
            size = None if one & 64 else len(INFO)
            if data:
                self._hear(peer, encoded(MetadataData(piece, size, data)))
            else:
                self._hear(peer, encoded(MetadataReject(piece)))

    def deceive(self, peer, one, two):
        self._lie(peer)
        piece = peer.asked.pop(one % len(peer.asked)) if peer.asked else two
        size = (SIZES[two % len(SIZES)] if one & 2 else peer.metadata_bytes) or 7
        most = CONFIG.max_bytes if one & 1 else size - piece * METADATA_PIECE_BYTES
        length = max(1, min(most, METADATA_PIECE_BYTES + (two == 255)))
        message = MetadataData(piece, abs(size), JUNK[:length])
        for _ in range(1 + 5 * (one == 255)):
            self._hear(peer, encoded(message))

    def reject(self, peer, one, _two):
        if peer.asked:
            piece = peer.asked.pop(one % len(peer.asked))
            self._hear(peer, encoded(MetadataReject(piece)))

    def junk(self, peer, _one, payload):
        self._lie(peer)
        self._hear(peer, payload if isinstance(payload, bytes) else b"")

    def wait(self, _peer, one, _two):
        for _ in range(1 + (one & 7)):
            self.now += one / 64
            self.exchange.tick(self.now)
            self.serving.tick(self.now)

    def request(self, peer, one, two):
        self.is_stuck = bool(one & 128)
        request = encoded(MetadataRequest(one & 15))
        for _ in range(1 + 15 * (one & 112 == 112)):
            self.exchange.on_message(peer, request)
            self.serving.on_message(peer, request)
        self.wait(peer, two, one)

    def _hear(self, peer, payload):
        self._serving_takes(peer, payload)
        self.exchange.on_message(peer, payload)

    def _serving_takes(self, peer, payload):
        """Let the torrent that has the metadata hear it too; it may well be one too many."""
        with suppress(RemoteProtocolError):
            self.serving.on_message(peer, payload)

    def _check(self):
        fetch = self.exchange._fetch
        assert fetch.held_bytes <= CONFIG.max_held_bytes
        assert self.found in ([], [INFO])
        for known in fetch._peers.values():
            assert len(known.asked) <= CONFIG.max_requests_per_peer
        for owner in self.serving._askers.values():
            assert len(owner.waiting) <= CONFIG.max_queued_requests
            assert owner.operator.asked_bytes <= CONFIG.max_copies_per_address * len(INFO)


ACTIONS = (
    World.change,
    World.leave,
    World.answer,
    World.deceive,
    World.reject,
    World.junk,
    World.wait,
    World.request,
)
HEARS = ACTIONS.index(World.junk)


@in_time
def fuzz_one(data):
    """Check one input: steps of four bytes, some with a message behind them."""
    world = World()
    while len(data) >= STEP_BYTES:
        who, what, one, two = data[:STEP_BYTES]
        data = world.step(who, what, one, two, data[STEP_BYTES:])


def mutated(rng):
    """Return steps, most of them those of peers that get on with it."""
    return b"".join(_step(rng) for _ in range(rng.choice((1, 5, 20, 40))))


def _step(rng):
    who, what = rng.randrange(PEERS), rng.choice((0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 3, 4, 5, 6, 7))
    one, two = rng.choice((0, 0, 0, rng.randrange(256))), rng.randrange(256)
    if what != 5:
        return bytes((who, what, one, two))
    message = bytearray(_message(rng))
    for _ in range(rng.choice((0, 1, 1, 2))):
        at = rng.randrange(len(message) + 1)
        if rng.randrange(2):
            message[at : at + rng.randrange(1, 4)] = rng.randbytes(rng.randrange(4))
        elif at < len(message):
            message[at] ^= 1 << rng.randrange(8)
    return bytes((who, what, one, len(message) & 255)) + bytes(message[:255])


def _message(rng):
    piece = rng.choice((0, 1, 2, 3, 2**31, 2**63 - 1))
    kind = rng.randrange(3)
    if kind == 0:
        return encoded(MetadataRequest(piece))
    if kind == 1:
        return encoded(MetadataReject(piece))
    data = rng.randbytes(rng.randrange(1, 99))
    return encoded(MetadataData(piece, rng.choice((None, 5, len(INFO))), data))


TARGETS = {
    "metadata": FuzzTarget(fuzz_one, mutated, max_bytes=80),
}
