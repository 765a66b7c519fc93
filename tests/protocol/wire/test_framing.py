"""The receive buffer: it suits the peer's rate, and what it lent is never written again."""

from collections.abc import Iterator

import pytest

from tests.support.peer_pair import feed, open_connection
from torrent_engine.base.config import KIB, MIB
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.protocol.wire.buffers import MAX_RETIRED_BYTES, BufferPool
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.framing import MAX_AGE_S, ReceiveBuffer
from torrent_engine.protocol.wire.messages import (
    BlockReceived,
    BlockRequest,
    MessageId,
    encode_block_message,
    encode_extended,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
)

SMALL = 32 * KIB
LARGE = MIB


def blocks(count: int) -> list[BlockRequest]:
    return [BlockRequest(at % 10, at // 10, BLOCK_BYTES) for at in range(count)]


def peer(count: int) -> PeerConnection:
    connection = open_connection()
    feed(connection, encode_plain(MessageId.UNCHOKE))
    connection.sender.request_blocks(blocks(count))
    return connection


def stream(count: int) -> bytes:
    return b"".join(encode_piece_header(*each) + bytes(BLOCK_BYTES) for each in blocks(count))


def run(
    connection: PeerConnection, data: bytes, *, bytes_per_s: float, read_bytes: int, now: float
) -> Iterator[tuple[float, BlockReceived]]:
    """Deliver ``data`` at a rate, in reads of one size; yield the blocks and when they came."""
    for start in range(0, len(data), read_bytes):
        part = data[start : start + read_bytes]
        now += len(part) / bytes_per_s
        for event in connection.receive_data(part, now=now):
            assert isinstance(event, BlockReceived)
            yield now, event


def buffer_of(event: BlockReceived) -> int:
    """Return the bytes of memory that the last view of a block keeps alive."""
    owner = event.views[-1].obj
    assert isinstance(owner, bytearray)
    return len(owner)


@pytest.mark.parametrize("read_bytes", [1_448, 16_384, 262_144])
def test_fast_peer_gets_the_large_buffer_whatever_its_reads(read_bytes: int) -> None:
    connection = peer(200)
    seen = list(run(connection, stream(200), bytes_per_s=5e7, read_bytes=read_bytes, now=0.0))
    assert len(seen) == 200
    assert buffer_of(seen[0][1]) == SMALL
    assert buffer_of(seen[-1][1]) == LARGE


@pytest.mark.parametrize("read_bytes", [500, 1_448, 16_384])
def test_slow_peer_keeps_the_small_buffer(read_bytes: int) -> None:
    connection = peer(60)
    seen = list(run(connection, stream(60), bytes_per_s=20_000, read_bytes=read_bytes, now=0.0))
    assert {buffer_of(event) for _, event in seen} == {SMALL}


@pytest.mark.parametrize("read_bytes", [500, 1_448, 16_384])
def test_peer_that_becomes_slow_pins_little_memory_soon(read_bytes: int) -> None:
    connection = peer(400)
    fast, slow = stream(400)[: 200 * 16_397], stream(400)[200 * 16_397 :]
    *_, (now, event) = run(connection, fast, bytes_per_s=5e7, read_bytes=262_144, now=0.0)
    assert buffer_of(event) == LARGE
    for at_s, event in run(connection, slow, bytes_per_s=20_000, read_bytes=read_bytes, now=now):
        if at_s > now + 3 * MAX_AGE_S:
            assert buffer_of(event) == SMALL


def test_peer_that_falls_silent_gives_the_large_buffer_back() -> None:
    connection = peer(200)
    for _ in run(connection, stream(200), bytes_per_s=5e7, read_bytes=262_144, now=0.0):
        pass
    connection.timed_out(0.5)
    assert len(connection.receive_buffer()) > SMALL
    connection.timed_out(10.0)
    assert len(connection.receive_buffer()) == SMALL


def test_half_a_message_survives_a_change_of_buffer_by_the_timer() -> None:
    connection = peer(201)
    data = stream(201)
    for _ in run(connection, data[:-5_000], bytes_per_s=5e7, read_bytes=262_144, now=0.0):
        pass
    connection.timed_out(10.0)
    (event,) = connection.receive_data(data[-5_000:], now=11.0)
    assert isinstance(event, BlockReceived)
    assert len(event.views) == 2
    header = encode_piece_index(MessageId.HAVE, 3)
    assert connection.receive_data(header[:3], now=12.0) == []
    connection.timed_out(30.0)
    assert len(connection.receive_data(header[3:], now=31.0)) == 1


def test_b4_requests_and_control_messages_never_get_a_large_buffer() -> None:
    connection = open_connection()
    data = encode_block_message(MessageId.CANCEL, BlockRequest(0, 0, 1)) * 100_000
    feed(connection, data, chunk_bytes=262_144)
    assert len(connection.receive_buffer()) <= SMALL


def test_b1_long_message_takes_memory_only_as_it_comes() -> None:
    connection = open_connection(extensions={"ut_pex": 1})
    message = encode_extended(1, bytes(500 * KIB))
    for received in range(1, len(message) + 1, 10_000):
        assert feed(connection, message[received - 1 : received + 9_999]) == [] or (
            received + 9_999 >= len(message)
        )
        assert len(connection.receive_buffer()) <= max(SMALL, 2 * received + 20_000)
    assert len(feed(connection, bytes(4))) == 1


def test_free_is_never_empty_however_small_the_buffer() -> None:
    buffer = ReceiveBuffer(1, min_bytes=1, now=0.0)
    for _ in range(100):
        assert len(buffer.free()) >= 1
        buffer.filled(1)
        buffer.make_room(0.0)
    assert buffer.end - buffer.start == 100


def test_buffer_that_lent_nothing_is_used_again_from_its_start() -> None:
    buffer = ReceiveBuffer(LARGE, min_bytes=SMALL, now=0.0)
    before = buffer.view
    buffer.filled(1_000)
    buffer.start = 1_000
    buffer.make_room(0.0)
    assert (buffer.start, buffer.end) == (0, 0)
    assert buffer.view is before


def test_buffer_that_lent_a_view_goes_on_behind_it_and_is_replaced_when_full() -> None:
    buffer = ReceiveBuffer(LARGE, min_bytes=SMALL, now=0.0)
    before = buffer.view
    buffer.filled(SMALL - 4_000)
    buffer.start = buffer.end
    buffer.has_views = True
    buffer.make_room(0.0)
    assert buffer.view is before
    assert len(buffer.free()) == 4_000
    buffer.filled(3_000)
    buffer.make_room(0.0)
    assert buffer.view is not before
    assert bytes(buffer.view[:3_000]) == bytes(3_000)
    assert (buffer.start, buffer.end, buffer.has_views) == (0, 3_000, False)


def test_pool_gives_a_buffer_out_again_only_when_its_last_view_is_gone() -> None:
    pool = BufferPool(1_000)
    buffer = pool.take()
    views = [memoryview(buffer)[:10], memoryview(buffer)[500:]]
    pool.retire(buffer)
    while views:
        assert pool.take() is not buffer
        views.pop()
    assert pool.take() is buffer
    assert len(buffer) == 1_000
    assert pool.take() is not buffer


def test_pool_keeps_no_more_than_its_bound_of_buffers_in_use() -> None:
    pool = BufferPool(MAX_RETIRED_BYTES // 4)
    buffers = [bytearray(10) for _ in range(5)]
    views = [memoryview(buffer) for buffer in buffers]
    for buffer in buffers:
        pool.retire(buffer)
    views.clear()
    assert pool.take() is buffers[1]  # the oldest was dropped


def test_block_that_came_in_part_is_named_until_it_is_whole() -> None:
    connection = peer(1)
    data = stream(1)
    assert connection.incoming_block is None
    feed(connection, data[:5_000])
    assert connection.incoming_block == (0, 0, BLOCK_BYTES)
    assert not connection.outstanding
    feed(connection, data[5_000:])
    assert connection.incoming_block is None
