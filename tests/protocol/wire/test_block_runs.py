"""Blocks that came in a row, joined: the same blocks as without, whatever the stream is like."""

import random
from collections.abc import Callable, Iterable

import pytest

from tests.support.peer_pair import feed, open_connection
from torrent_engine.base.config import KIB, MIB, TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.block_runs import FRAME_BYTES, count_neighbours
from torrent_engine.protocol.wire.connection import JOINED_BLOCKS, PeerConnection
from torrent_engine.protocol.wire.messages import (
    BlockReceived,
    BlocksReceived,
    MessageId,
    PeerEvent,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
)

GEOMETRY = Geometry(total_bytes=4 * MIB - 100, piece_bytes=MIB)
PER_PIECE = MIB // BLOCK_BYTES
Block = tuple[int, int, int]


def blocks_of(piece: int, first: int = 0, count: int = PER_PIECE) -> list[Block]:
    return [
        (piece, number * BLOCK_BYTES, GEOMETRY.block_length(piece, number))
        for number in range(first, first + count)
    ]


def payload(block: Block) -> bytes:
    piece, begin, length = block
    return bytes(((piece + 1) * 7 + begin // BLOCK_BYTES) % 256 for _ in range(1)) * length


def frames(blocks: Iterable[Block]) -> bytes:
    return b"".join(encode_piece_header(*block) + payload(block) for block in blocks)


def make(*, joins: bool) -> PeerConnection:
    transfer = TransferConfig(slow_receive_buffer_bytes=MIB)
    connection = open_connection(geometry=GEOMETRY, transfer=transfer, joins_blocks=joins)
    connection.state.peer_choking = False
    return connection


def flat(events: Iterable[PeerEvent]) -> list[object]:
    """Return blocks as (piece, begin, payload), and all other events as they are."""
    told: list[object] = []
    for event in events:
        if isinstance(event, BlocksReceived):
            for number, view in enumerate(event.views):
                begin = event.begin_bytes + number * BLOCK_BYTES
                told.append((event.piece_index, begin, bytes(view)))
        elif isinstance(event, BlockReceived):
            told.append((event.piece_index, event.begin_bytes, b"".join(event.views)))
        else:
            told.append(repr(event))
    return told


def test_bep3_blocks_in_a_row_are_one_event_for_each_piece() -> None:
    connection = make(joins=True)
    asked = [*blocks_of(0, 50, 14), *blocks_of(1, 0, 20)]
    connection.sender.request_blocks(asked)
    events = feed(connection, frames(asked))
    runs = [event for event in events if isinstance(event, BlocksReceived)]
    assert [(run.piece_index, run.begin_bytes, len(run.views)) for run in runs] == [
        (0, 50 * BLOCK_BYTES, 14),
        (1, 0, 20),
    ]
    assert flat(events) == [(block[0], block[1], payload(block)) for block in asked]
    assert not connection.outstanding
    assert connection.last_payload_s == 0.0


def test_bep3_few_blocks_are_told_one_by_one() -> None:
    connection = make(joins=True)
    asked = blocks_of(2, 0, JOINED_BLOCKS - 1)
    connection.sender.request_blocks(asked)
    events = feed(connection, frames(asked))
    assert all(isinstance(event, BlockReceived) for event in events)
    assert len(events) == JOINED_BLOCKS - 1


def test_bep3_run_with_a_block_that_was_not_asked_for_is_taken_block_by_block() -> None:
    connection = make(joins=True)
    sent = blocks_of(0, 0, 16)
    connection.sender.request_blocks(sent[:7] + sent[8:])
    events = feed(connection, frames(sent))
    assert connection.state.strikes == 1
    taken = [event for event in flat(events) if isinstance(event, tuple)]
    assert taken == [(b[0], b[1], payload(b)) for b in sent if b != sent[7]]


@pytest.mark.parametrize("seed", range(12))
def test_joined_or_not_the_same_blocks_come_in_the_same_order(seed: int) -> None:
    rng = random.Random(seed)
    asked = [block for piece in range(4) for block in blocks_of(piece)]
    stream = bytearray()
    left = list(asked)
    while left:
        first = 0 if rng.random() < 0.7 else rng.randrange(len(left))
        count = rng.choice((1, 2, 9, 30, 100))
        stream += frames(left[first : first + count])
        del left[first : first + count]
        stream += rng.choice(
            (
                b"",
                encode_piece_index(MessageId.HAVE, 1),
                encode_plain(MessageId.INTERESTED),
                frames([rng.choice(asked)]),  # a second time, or before it comes
                bytes(4),
            )
        )
    told = []
    for joins in (False, True):
        connection = make(joins=joins)
        connection.sender.request_blocks(asked)
        chunks = random.Random(seed)
        events: list[PeerEvent] = []
        rest = memoryview(bytes(stream))
        while rest:
            size = chunks.choice((1_000, 100 * KIB, 700 * KIB))
            events += connection.receive_data(rest[:size], now=0.0)
            rest = rest[size:]
        told.append((flat(events), connection.state.strikes, dict(connection.outstanding)))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda b: b, 12),
        (lambda b: [*b[:5], *b[6:], b[5]], 5),
        (lambda b: [*b[:5], *blocks_of(1, 5, 7)], 5),
        (lambda b: [b[0], b[0], *b[1:11]], 1),
    ],
    ids=["all", "gap", "other piece", "twice"],
)
def test_neighbours_are_counted_up_to_the_first_that_is_none(
    change: Callable[[list[Block]], list[Block]], expected: int
) -> None:
    data = memoryview(b"xyz" + frames(change(blocks_of(0, 0, 12))))
    assert count_neighbours(data, 3, 12) == expected


@pytest.mark.parametrize(("at", "value"), [(3, 1), (0, 1), (4, 6), (4, 20)])
def test_frame_of_another_length_or_kind_is_no_neighbour(at: int, value: int) -> None:
    data = bytearray(frames(blocks_of(0, 0, 6)))
    data[4 * FRAME_BYTES + at] ^= value
    assert count_neighbours(memoryview(data), 0, 6) == 4
