"""Fuzz target of hash messages: any of them raise declared errors only, and answers are proven.

How to run it: ``python -m fuzz --help``.
"""

import struct
from hashlib import sha256

from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.ids import InfoHash, InfoHashV2, PeerId
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.codec.hash_trees import HashTrees
from torrent_engine.codec.merkle import is_proven, layers_of, levels_above
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import HashesRequested, encode_handshake

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
LEVELS = {root: levels_above(count) for (root, _), count in FILES.items()}


@in_time
def fuzz_one(data):
    """Check one input: what a peer sends behind its handshake."""
    connection = PeerConnection(geometry=GEOMETRY, info_hash=INFO_HASH, peer_id=PeerId(b"o" * 20))
    trees = HashTrees(PART)
    for event in connection.receive_data(HANDSHAKE + data, now=0.0):
        if isinstance(event, HashesRequested):
            answer(connection, trees, event.wanted)
    assert connection.state.queue.unsent_bytes < 64 * 1024 + 49 + 32 * 4_200 + 53 * len(data)


def answer(connection, trees, wanted):
    """Answer one request, and check a proof that goes up to the root."""
    found = trees.hashes(wanted)
    connection.sender.answer_hash_request(wanted, found)
    levels = LEVELS.get(wanted.root, 0)
    if found is None or wanted.base_layer != 2 or wanted.proof_layers != levels - 1:
        return
    hashes, uncles = found[: 32 * wanted.length], found[32 * wanted.length :]
    if wanted.length > 1 and wanted.proof_layers:
        index = wanted.start
        assert is_proven(hashes, uncles, index=index, levels=levels, root=wanted.root)


def mutated(rng):
    """Return a few requests, mostly good ones, some with damaged bytes."""
    data = bytearray(b"".join(_request(rng) for _ in range(rng.choice((1, 2, 3, 20)))))
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _request(rng):
    root = rng.choice(ROOTS)
    levels = LEVELS[root]
    length = 1 << rng.randrange(levels + 1)
    start = length * rng.randrange(max((1 << levels) // length, 1) + rng.randrange(2))
    proof = rng.choice((0, levels - 1, levels - 1, rng.randrange(levels + 2)))
    base = rng.choice((2, 2, 2, rng.randrange(14)))
    return b"\0\0\0\x31\x15" + root + struct.pack(">4I", base, start, length, proof)


TARGETS = {
    "hash-trees": FuzzTarget(fuzz_one, mutated),
}
