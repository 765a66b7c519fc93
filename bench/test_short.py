"""A short benchmark of parsers and picker, a few seconds. Run by hand, not with the tests.

.venv/bin/python -m pytest bench/test_short.py
"""

import random
import struct

import bencodepy
import pytest

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bencode import decode, encode
from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceTable
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import BlockReceived

FILES = 20_000
PIECES = 100_000
PEERS = 200
BLOCKS_PARSED = 256


@pytest.fixture(scope="module")
def document() -> bytes:
    """The .torrent of many files with long names, about 3 MB."""
    generator = random.Random(1)
    files = [
        {
            b"length": generator.randrange(1 << 32),
            b"path": [b"some folder", b"file %d with quite a long name %d.bin" % (n, n)],
        }
        for n in range(FILES)
    ]
    info = {b"files": files, b"name": b"x", b"piece length": 1 << 22, b"pieces": bytes(20 * 20_000)}
    return bytes(bencodepy.encode({b"announce": b"http://t/a", b"info": info}))


@pytest.mark.parametrize("decoder", [decode, bencodepy.decode], ids=["ours", "bencode.py"])
def test_decode_large(benchmark, document: bytes, decoder) -> None:
    assert benchmark(decoder, document)[b"info"][b"name"] == b"x"


@pytest.mark.parametrize("decoder", [decode, bencodepy.decode], ids=["ours", "bencode.py"])
def test_decode_small(benchmark, decoder) -> None:
    message = encode(
        {b"m": {b"ut_metadata": 1, b"ut_pex": 2}, b"p": 6881, b"v": b"x", b"reqq": 500}
    )
    assert benchmark(decoder, message)[b"p"] == 6881


def test_wire_parser(benchmark) -> None:
    """4 MiB of blocks through PeerConnection, read in pieces of 64 KiB."""
    geometry = Geometry(BLOCKS_PARSED * BLOCK_BYTES, BLOCKS_PARSED * BLOCK_BYTES)
    handshake = b"\x13BitTorrent protocol" + bytes(8) + bytes(20) + b"-XX0001-" + bytes(12)
    header = struct.Struct(">IBII").pack
    payload = bytes(BLOCK_BYTES)
    data = b"".join(
        header(BLOCK_BYTES + 9, 7, 0, number * BLOCK_BYTES) + payload
        for number in range(BLOCKS_PARSED)
    )

    def parse() -> int:
        connection = PeerConnection(geometry=geometry, info_hash=bytes(20), peer_id=bytes(20))
        connection.sender.send_handshake()
        connection.receive_data(handshake + b"\x00\x00\x00\x01\x01", now=0.0)
        connection.sender.request_blocks(
            [(0, n * BLOCK_BYTES, BLOCK_BYTES) for n in range(BLOCKS_PARSED)]
        )
        blocks = 0
        for start in range(0, len(data), 65_536):
            events = connection.receive_data(data[start : start + 65_536], now=0.0)
            blocks += sum(isinstance(event, BlockReceived) for event in events)
        return blocks

    assert benchmark(parse) == BLOCKS_PARSED


def test_picker_with_many_pieces_and_peers(benchmark) -> None:
    """100,000 pieces, 200 peers: one peer asks for a request pipeline's worth of blocks."""
    generator = random.Random(2)
    geometry = Geometry(PIECES * 4 * BLOCK_BYTES, 4 * BLOCK_BYTES)
    picker = Picker(geometry, PieceTable(geometry), random.Random(3))
    peers = [generator.getrandbits(PIECES) for _ in range(PEERS)]
    for bits in peers:
        picker.availability.add(bits)
    turns = iter(range(10**9))

    def pick() -> int:
        return len(picker.pick(peers[next(turns) % PEERS], 64))

    assert benchmark.pedantic(pick, rounds=200, iterations=1) == 64
