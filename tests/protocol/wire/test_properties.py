"""Laws of the receiving half: only declared outcomes, and views that never change."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.wire import TRACE, fuzz_one, mutated
from tests.support.peer_pair import GEOMETRY, make_pair, open_connection, plain
from torrent_engine.base.config import KIB, TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.buffers import BufferPool
from torrent_engine.protocol.wire.messages import (
    KEEP_ALIVE,
    BlockReceived,
    BlockRequest,
    BlocksRequested,
    MessageId,
    PeerEvent,
    encode_extended,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
)

BIG = Geometry(total_bytes=1000 * 64 * KIB, piece_bytes=64 * KIB)
CONTROL = (
    KEEP_ALIVE,
    encode_piece_index(MessageId.HAVE, 3),
    encode_plain(MessageId.INTERESTED),
    encode_extended(1, bytes(1_000)),
    encode_piece_header(999, 0, 700) + bytes(700),  # nobody asked for it
)


@settings(deadline=None)
@given(settings_=st.binary(min_size=2, max_size=2), data=st.binary(max_size=400))
def test_b1_any_bytes_have_only_declared_outcomes(settings_: bytes, data: bytes) -> None:
    assert fuzz_one(settings_ + data) is None


@settings(deadline=None)
@given(
    settings_=st.binary(min_size=2, max_size=2),
    parts=st.lists(st.sampled_from(TRACE) | st.binary(max_size=20), max_size=20),
)
def test_b1_any_messages_in_any_order_have_only_declared_outcomes(
    settings_: bytes, parts: list[bytes]
) -> None:
    assert fuzz_one(settings_ + b"".join(parts)) is None


@pytest.mark.parametrize("seed", range(4))
def test_b1_mutated_conversations_have_only_declared_outcomes(seed: int) -> None:
    rng = random.Random(seed)
    assert [fuzz_one(mutated(rng)) for _ in range(250)] == [None] * 250


@pytest.mark.parametrize("largest", [1_000, 32 * KIB, 256 * KIB])
@pytest.mark.parametrize("seed", range(3))
def test_lent_views_are_never_overwritten(seed: int, largest: int) -> None:
    rng = random.Random(seed)
    transfer = TransferConfig(receive_buffer_bytes=largest, slow_receive_buffer_bytes=1_000)
    connection = open_connection(geometry=BIG, extensions={"ut_pex": 1}, transfer=transfer)
    connection.state.peer_choking = False
    stream, expected = bytearray(), {}
    for at in range(400):
        request = BlockRequest(at, 0, rng.choice((1, 13, 1_000, BLOCK_BYTES - 1, BLOCK_BYTES)))
        connection.sender.request_blocks([request])
        expected[at] = rng.randbytes(request.length_bytes)
        stream += encode_piece_header(*request) + expected[at]
        stream += rng.choice(CONTROL) if at % 8 == 0 else b""
    blocks, now, rest = [], 0.0, memoryview(bytes(stream))
    while rest:
        room = connection.receive_buffer()
        taken = min(len(room), len(rest), rng.choice((1, 100, 1_448, 20_000, 10**6)))
        room[:taken] = rest[:taken]
        rest = rest[taken:]
        now += rng.choice((0.0, 0.001, 2.0))
        events = connection.bytes_received(taken, now=now)
        blocks += [event for event in events if isinstance(event, BlockReceived)]
        connection.timed_out(now)
    received = {block.piece_index: b"".join(block.views) for block in blocks}
    assert received == expected
    assert len(blocks) == 400


class RecordingPool(BufferPool):
    """A pool that remembers, and so keeps alive, every buffer that it gave out."""

    def __init__(self, buffer_bytes: int) -> None:
        super().__init__(buffer_bytes)
        self.taken: list[bytearray] = []

    def take(self) -> bytearray:
        self.taken.append(super().take())
        return self.taken[-1]


@pytest.mark.parametrize("seed", range(3))
def test_connections_that_share_buffers_never_overwrite_a_view(seed: int) -> None:
    rng = random.Random(seed)
    pool = RecordingPool(64 * KIB)
    transfer = TransferConfig(receive_buffer_bytes=64 * KIB)
    peers = [open_connection(geometry=BIG, transfer=transfer, buffers=pool) for _ in range(4)]
    kept: list[tuple[BlockReceived, bytes]] = []
    for turn in range(1_000):
        connection = rng.choice(peers)
        connection.state.peer_choking = False
        request = BlockRequest(turn, 0, BLOCK_BYTES)
        connection.sender.request_blocks([request])
        data = rng.randbytes(BLOCK_BYTES)
        rest = memoryview(encode_piece_header(*request) + data)
        while rest:
            room = connection.receive_buffer()
            taken = min(len(room), len(rest), rng.choice((1_448, 20_000)))
            room[:taken] = rest[:taken]
            room.release()
            rest = rest[taken:]
            for event in connection.bytes_received(taken, now=0.0):
                assert isinstance(event, BlockReceived)
                kept.append((event, data))
        if len(kept) > 60:  # a piece is written: its views go, and not in the order they came
            rng.shuffle(kept)
            for event, expected in kept[20:]:
                assert b"".join(event.views) == expected
            del kept[20:], event
    assert all(b"".join(event.views) == expected for event, expected in kept)
    assert len({id(buffer) for buffer in pool.taken}) < len(pool.taken)  # some came again


@pytest.mark.no_cover
@settings(max_examples=40, deadline=None)
@given(
    chunks=st.lists(st.integers(1, 70_000), min_size=1, max_size=8),
    controls=st.lists(st.sampled_from(CONTROL), min_size=1, max_size=8),
    slow_bytes=st.sampled_from((17, 1_000, 32 * KIB)),
)
def test_any_interleaving_and_chunking_gives_the_same_events(
    chunks: list[int], controls: list[bytes], slow_bytes: int
) -> None:
    requests = [BlockRequest(at, 0, BLOCK_BYTES - at) for at in range(16)]
    stream = b"".join(
        controls[at % len(controls)] + encode_piece_header(*request) + bytes((at,)) * request[2]
        for at, request in enumerate(requests)
    )
    outcomes = []
    for sizes in (chunks, [len(stream)]):
        transfer = TransferConfig(slow_receive_buffer_bytes=slow_bytes)
        connection = open_connection(geometry=BIG, extensions={"ut_pex": 1}, transfer=transfer)
        connection.state.peer_choking = False
        connection.sender.request_blocks(requests)
        events: list[PeerEvent] = []
        at = turn = 0
        while at < len(stream):
            size = sizes[turn % len(sizes)]
            events += connection.receive_data(stream[at : at + size], now=0.0)
            at += size
            turn += 1
        outcomes.append(plain(events))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("chunk_bytes", [None, 1, 3, 4096])
def test_bep3_a_pair_transfers_a_whole_piece(chunk_bytes: int | None, fast: bool) -> None:
    pair = make_pair(fast=fast)
    data = random.Random(0).randbytes(64 * KIB)
    pair.theirs.sender.unchoke()
    pair.pump()
    wanted = [BlockRequest(2, begin, BLOCK_BYTES) for begin in range(0, 64 * KIB, BLOCK_BYTES)]
    pair.ours.sender.request_blocks(wanted)
    _, asked = pair.pump(chunk_bytes=chunk_bytes)
    assert [r for event in asked if isinstance(event, BlocksRequested) for r in event.requests] == (
        wanted
    )
    while pair.theirs.upload_requests:
        piece, begin, length = pair.theirs.upload_requests.popleft()
        pair.theirs.sender.send_block(piece, begin, memoryview(data)[begin : begin + length])
    got, _ = pair.pump(chunk_bytes=chunk_bytes)
    assert plain(got) == [
        (BlockReceived, *each, data[each.begin_bytes : each.begin_bytes + BLOCK_BYTES])
        for each in wanted
    ]
    assert GEOMETRY.piece_length(2) == len(data)
