"""Fuzz target of the peer wire protocol: any bytes from a peer raise declared errors only.

How to run it: ``python -m fuzz --help``.
"""

import random
from collections.abc import Iterator

from fuzz.reads import reads
from fuzz.runner import FuzzTarget, in_time
from torrent_engine.base.config import TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES, InfoHash, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.connection_state import MAX_ABANDONED
from torrent_engine.protocol.wire.extension import ExtensionHandshake, encode_extension_handshake
from torrent_engine.protocol.wire.messages import (
    KEEP_ALIVE,
    BlockReceived,
    BlockRequest,
    BlocksRequested,
    MessageId,
    PeerEvent,
    ProtocolViolated,
    encode_bitfield,
    encode_block_message,
    encode_extended,
    encode_handshake,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
    encode_port,
)

INFO_HASH = InfoHash(b"\xaa" * 20)
PEER_ID = PeerId(b"-XX0100-" + b"f" * 12)
GEOMETRY = Geometry(total_bytes=1_000, piece_bytes=100)
TINY_BUFFERS = TransferConfig(receive_buffer_bytes=64, slow_receive_buffer_bytes=24)
CHUNKS = (0, 1, 2, 3, 5, 13, 17, 64)  # 0: all at once
BLOCKS = tuple(BlockRequest(piece, begin, 50) for piece in range(10) for begin in (0, 50))

M = MessageId
TRACE = (
    encode_extended(0, encode_extension_handshake(ExtensionHandshake({"ut_pex": 1}, "x", 80))),
    encode_bitfield(Bitfield.from_int(0b1011, 10)),
    encode_plain(M.HAVE_ALL),
    encode_plain(M.HAVE_NONE),
    encode_plain(M.UNCHOKE),
    encode_plain(M.CHOKE),
    encode_plain(M.INTERESTED),
    encode_plain(M.NOT_INTERESTED),
    encode_piece_index(M.HAVE, 3),
    encode_piece_index(M.SUGGEST_PIECE, 9),
    encode_piece_index(M.ALLOWED_FAST, 2),
    encode_port(6881),
    KEEP_ALIVE,
    encode_extended(1, b"payload"),
    encode_extended(2, bytes(4)),
    b"\0\0\0\x05\x15abcd",
    *(encode_piece_header(*block) + bytes(50) for block in BLOCKS[:6]),
    *(encode_block_message(M.REQUEST, block) for block in BLOCKS[:6]),
    *(encode_block_message(M.CANCEL, block) for block in BLOCKS[:3]),
    *(encode_block_message(M.REJECT_REQUEST, block) for block in BLOCKS[3:6]),
)
"""One of each message that a good peer of this tiny torrent could send."""


def make_connection(options: int) -> PeerConnection:
    """Return a connection in the middle of a transfer; each bit of ``options`` is a setting."""
    is_early = bool(options & 32)
    connection = PeerConnection(
        geometry=None if is_early else GEOMETRY,
        info_hash=INFO_HASH,
        peer_id=PEER_ID,
        fast_extension=bool(options & 1),
        extensions={"ut_pex": 1, "lt_donthave": 2} if options & 2 else None,
        transfer=TINY_BUFFERS if options & 4 else None,
    )
    if not options & 8:
        connection.receive_data(
            encode_handshake(INFO_HASH, PEER_ID, fast=True, extensions=True, dht=True), now=0.0
        )
    if options & 16:
        connection.sender.unchoke()
    if not is_early:
        connection.state.peer_choking = False
        connection.sender.request_blocks(BLOCKS[:8])
        connection.sender.cancel(BLOCKS[6])
    connection.data_to_send()
    return connection


def plain(events: list[PeerEvent]) -> Iterator[object]:
    """Yield events in a form that does not depend on how the bytes were cut into reads."""
    for event in events:
        if isinstance(event, BlockReceived):
            views = b"".join(event.views)
            assert len(views) == event.length_bytes <= BLOCK_BYTES
            yield event.piece_index, event.begin_bytes, views
        elif isinstance(event, BlocksRequested):
            yield from event.requests
        elif isinstance(event, ProtocolViolated):
            yield "violated", event.error.bep, str(event.error)
        else:
            yield event


def run(options: int, chunk_bytes: int, data: bytes) -> list[object]:
    """Feed ``data`` in chunks; check what must hold after each, return the events."""
    connection = make_connection(options)
    events: list[PeerEvent] = []
    for read in reads(data, chunk_bytes or len(data)):
        was_violated = connection.is_violated
        new = connection.receive_data(read, now=1.0)
        assert len(connection.receive_buffer()) >= 1
        is_violated = connection.is_violated
        if new or is_violated is not was_violated:
            assert not was_violated, "an event after a violation"
            ends = [at for at, event in enumerate(new) if isinstance(event, ProtocolViolated)]
            assert ends == ([len(new) - 1] if is_violated else [])
            check_bounds(connection)
            events += new
    check_bounds(connection)
    if connection.state.geometry is None:
        events += connection.metadata_received(GEOMETRY, now=2.0)
    connection.timed_out(2.0)
    return list(plain(events))


def check_bounds(connection: PeerConnection) -> None:
    """Check what a peer can make us keep."""
    limits, state = connection.limits, connection.state
    assert len(connection.upload_requests) <= limits.max_queued_requests
    assert len(state.abandoned_requests) <= MAX_ABANDONED
    assert state.pre_metadata.held_bytes <= limits.max_pre_metadata_pieces // 8


@in_time
def fuzz_one(data: bytes) -> None:
    """Check one input: its first two bytes choose the settings, the rest is what the peer sends."""
    if len(data) < 2:
        return
    options, chunk_bytes, stream = data[0], CHUNKS[data[1] % len(CHUNKS)], data[2:]
    events = run(options, chunk_bytes, stream)
    if chunk_bytes or options & 4:
        assert events == run(options & ~4, 0, stream)


def mutated(rng: random.Random) -> bytes:
    """Return settings and a random conversation, mostly with a few bytes damaged."""
    stream = bytearray(b"".join(rng.choices(TRACE, k=rng.randrange(1, 30))))
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        at = rng.randrange(len(stream))
        action = rng.randrange(4)
        if action == 0:
            stream[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            stream[at] = rng.randrange(256)
        elif action == 2:
            stream[at:at] = rng.randbytes(rng.randrange(1, 8))
        else:
            del stream[at : at + rng.randrange(1, 8)]
        if not stream:
            break
    return rng.randbytes(2) + bytes(stream)


TARGETS = {
    "wire": FuzzTarget(fuzz_one, mutated, max_bytes=512),
}
