"""Fuzz target of hash messages: any of them raise declared errors only, and answers are proven.

The peer asks for hashes, and answers what it was asked for: rightly, wrongly or not at all.

How to run it: ``python -m fuzz --help``.
"""

import random
import struct
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import MetadataConfig
from torrent_engine.base.ids import InfoHash, InfoHashV2, PeerId
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.codec.hash_trees import HashTrees
from torrent_engine.codec.merkle import is_proven, layers_of, levels_above, pad_hash
from torrent_engine.policy.metadata.fetch import BanPeer
from torrent_engine.policy.metadata.layers import LayerFetch, RequestHashes
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.hash_messages import encode_hash_reject, encode_hashes
from torrent_engine.protocol.wire.messages import (
    HashesReceived,
    HashesRejected,
    HashesRequested,
    encode_handshake,
)

PIECE_BYTES = 65_536
COUNTS = (2, 5, 513)
INFO_HASH = InfoHash(b"i" * 20)
HANDSHAKE = encode_handshake(INFO_HASH, PeerId(b"p" * 20), fast=True, extensions=False, dht=False)
FILES = {
    layers_of(b"".join(sha256(b"%d" % n).digest() for n in range(4 * count)), PIECE_BYTES): count
    for count in COUNTS
}
ROOTS = [root for root, _ in FILES]
LENGTHS = [count * PIECE_BYTES for count in COUNTS]
LAYOUT = FileLayout(LENGTHS, alignment=PIECE_BYTES)
GEOMETRY = Geometry(LAYOUT.end_bytes, PIECE_BYTES, LAYOUT)
PART = V2Part(InfoHashV2(bytes(32)), PIECE_BYTES, LENGTHS, b"".join(ROOTS), dict(FILES.keys()))
BARE = replace(PART, layers={})
TREES = HashTrees(PART)
LEVELS = {root: levels_above(count) for (root, _), count in FILES.items()}


def new_fetch():
    """Return what asks a peer for all layers, and its requests."""
    fetch = LayerFetch(BARE, MetadataConfig(), random.Random(1))
    return fetch, fetch.peer_joined("peer", 0.0)


ASKED = [action.wanted for action in new_fetch()[1]]
UNPROVEN = [each._replace(proof_layers=0) for each in ASKED if each.proof_layers]
"""What a peer is asked for that gives no proofs."""


@in_time
def fuzz_one(data):
    """Check one input: what a peer sends behind its handshake."""
    connection = PeerConnection(geometry=GEOMETRY, info_hash=INFO_HASH, peer_id=PeerId(b"o" * 20))
    connection.receive_data(HANDSHAKE, now=0.0)
    fetch, actions = new_fetch()
    ask(connection, actions)
    is_liar = False
    for part in parts_of(data):
        for event in () if is_liar else connection.receive_data(part, now=0.0):
            if isinstance(event, HashesRequested):
                answer(connection, event.wanted)
            elif isinstance(event, (HashesReceived, HashesRejected)):
                is_liar = is_liar or not take(connection, fetch, event)
    assert len(connection.state.hash_requests) <= len(ASKED)
    assert connection.state.queue.unsent_bytes < 64 * 1024 + 49 + 32 * 4_200 + 53 * len(data)


def parts_of(data):
    """Yield one message after the other, so that each is answered before the next."""
    while data:
        size = 4 + int.from_bytes(data[:4], "big")
        yield data[:size]
        data = data[size:]


def ask(connection, actions):
    """Send the requests among some actions."""
    for action in actions:
        if isinstance(action, RequestHashes):
            connection.sender.request_hashes(action.wanted)


def take(connection, fetch, event):
    """Give an answer to what asked for it, who believes nothing wrong; False: the liar is gone."""
    if isinstance(event, HashesRejected):
        ask(connection, fetch.rejected("peer", event.wanted, 0.0))
        return True
    is_late = event.wanted.root in fetch.found()
    actions = fetch.hashes_received("peer", event.wanted, event.hashes, 0.0)
    is_right = event.hashes == TREES.hashes(event.wanted)
    is_banned = any(isinstance(action, BanPeer) for action in actions)
    if is_late or event.wanted in UNPROVEN:  # these are judged once all of them are here
        is_right = not is_banned
    assert is_right != is_banned
    assert fetch.found().items() <= PART.layers.items()
    ask(connection, actions)
    return is_right


def answer(connection, wanted):
    """Answer one request, and check a proof that goes up to the root."""
    found = TREES.hashes(wanted)
    connection.sender.answer_hash_request(wanted, found)
    assert found is None or proves(wanted, found)


@lru_cache(4_096)
def proves(wanted, found):
    """Return whether what answers a request goes up to the root, if it asks for that.

    It is the same each time, and 500 hashes of SHA-256.
    """
    levels = LEVELS.get(wanted.root, 0)
    if wanted.base_layer != 2 or wanted.proof_layers != levels - 1:
        return True
    if not wanted.proof_layers:
        return True
    hashes, uncles = found[: 32 * wanted.length], found[32 * wanted.length :]
    hashes += pad_hash(2) * ((1 << max(levels_above(wanted.length), 1)) - wanted.length)
    return is_proven(hashes, uncles, index=wanted.start, levels=levels, root=wanted.root)


def mutated(rng):
    """Return a few requests and answers, mostly good ones, some with damaged bytes."""
    count = rng.choice((1, 2, 3, 20))
    data = bytearray(b"".join(rng.choice((_request, _reply))(rng) for _ in range(count)))
    if rng.random() < 0.2:
        data[:0] = _gives_no_proofs(rng)
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _gives_no_proofs(rng):
    """Return the answers of a peer that rejects what is to be proven, and gives the rest."""
    rejects = [encode_hash_reject(each) for each in ASKED if each.proof_layers]
    return b"".join(rejects + [_reply(rng, each, 0.0) for each in UNPROVEN])


def _reply(rng, wanted=None, rejected=0.2):
    wanted = wanted or rng.choice(ASKED)
    if rng.random() < rejected:
        return encode_hash_reject(wanted)
    hashes = bytearray(TREES.hashes(wanted))
    if rng.random() < 0.2:
        hashes[rng.randrange(len(hashes))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        del hashes[32 * rng.randrange(len(hashes) // 32) :]
    return encode_hashes(wanted, hashes)


def _request(rng):
    root = rng.choice(ROOTS)
    levels = LEVELS[root]
    length = 1 << rng.randrange(levels + 1)
    start = length * rng.randrange(max((1 << levels) // length, 1) + rng.randrange(2))
    proof = rng.choice((0, levels - 1, levels - 1, rng.randrange(levels + 2)))
    base = rng.choice((2, 2, 2, rng.randrange(14)))
    return b"\0\0\0\x31\x15" + root + struct.pack(">4I", base, start, length, proof)


TARGETS = {
    "hash-trees": FuzzTarget(fuzz_one, mutated, max_bytes=1_024),
}
