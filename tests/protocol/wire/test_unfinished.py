"""Messages whose end does not come: how long they may be, take, and last (rows B1, B5, B9)."""

from typing import Any

import pytest

from tests.support.peer_pair import GEOMETRY, feed, open_connection
from torrent_engine.base.config import KIB, WireLimits
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    ExtensionMessageReceived,
    MessageId,
    ProtocolViolated,
    encode_extended,
    encode_piece_header,
    encode_plain,
)

EXTENSIONS = {"ut_pex": 1, "ut_metadata": 2, "ut_holepunch": 4, "lt_donthave": 7}
START_S = 1_000.0
LATE = "a message takes too long"


def connection(**settings: object) -> PeerConnection:
    return open_connection(extensions=EXTENSIONS, now=START_S, **settings)  # type: ignore[arg-type]


def extended(number: int, body_bytes: int) -> bytes:
    """Return the header of an extended message."""
    return (2 + body_bytes).to_bytes(4, "big") + bytes((20, number))


LONGEST = {
    "extension handshake": (0, 64 * KIB, 10),
    "ut_pex": (1, 500 * KIB, 11),
    "ut_metadata": (2, 17 * KIB, 9),
    "ut_holepunch": (4, KIB, 55),
    "lt_donthave": (7, KIB, 54),
}


@pytest.mark.parametrize(("number", "most", "bep"), LONGEST.values(), ids=LONGEST.keys())
def test_b1_each_extension_has_a_size_that_is_checked_with_its_id(
    number: int, most: int, bep: int
) -> None:
    subject = connection()
    assert feed(subject, extended(number, most)) == []
    subject = connection()
    (event,) = feed(subject, extended(number, most + 1))
    assert isinstance(event, ProtocolViolated)
    assert event.error.bep == bep


def test_b9_a_message_of_an_extension_that_nobody_named_is_passed_over_and_not_held() -> None:
    subject = connection()
    assert feed(subject, extended(99, 300 * KIB) + bytes(300 * KIB), chunk_bytes=4_096) == []
    assert subject.held_bytes == 0
    assert len(subject.receive_buffer()) <= 32 * KIB


@pytest.mark.parametrize("chunk_bytes", [1_000, 16 * KIB])
def test_b9_a_long_message_takes_memory_as_it_comes_and_little_more_than_it_has(
    chunk_bytes: int,
) -> None:
    subject, most = connection(), 0
    head = extended(1, 400 * KIB)
    data, came = head + bytes(400 * KIB - 1), 0
    while came < len(data):
        part = data[came : came + chunk_bytes]
        came += len(part)
        assert feed(subject, part, now=START_S) == []
        assert subject.held_bytes <= 2 * came + 32 * KIB
        most = max(most, subject.held_bytes)
    assert most <= 460 * KIB
    (event,) = feed(subject, b"x", now=START_S)
    assert isinstance(event, ExtensionMessageReceived)
    assert len(event.payload) == 400 * KIB
    subject.timed_out(START_S + 2.0)
    subject.timed_out(START_S + 4.0)
    assert subject.held_bytes == 0


def dribble(subject: PeerConnection, data: bytes, *, every_s: float, until_s: float) -> float:
    """Send a byte now and then; return after how many seconds the link is to be ended."""
    now = START_S
    for at in range(len(data)):
        feed(subject, data[at : at + 1], now=now)
        while now < START_S + (at + 1) * every_s:
            now += 1.0
            if subject.timed_out(now):
                return now - START_S
        if now > START_S + until_s:
            break
    return now - START_S


DRIBBLES = {
    "extension handshake": extended(0, 1_000) + bytes(1_000),
    "pex": extended(1, 400 * KIB) + bytes(1_000),
    "bitfield": b"\x00\x00\x00\x03\x05",
    "have": b"\x00\x00\x00\x05\x04\x00",
    "length": b"\x00\x00",
    "hash message": (1_000).to_bytes(4, "big") + bytes((21,)) + bytes(900),
    "nobody's extension": extended(99, 1_000) + bytes(900),
    "block": encode_piece_header(0, 0, BLOCK_BYTES) + bytes(900),
}


@pytest.mark.parametrize("every_s", [1.0, 50.0])
@pytest.mark.parametrize("data", DRIBBLES.values(), ids=DRIBBLES.keys())
def test_b5_a_message_that_does_not_end_is_given_a_minute(data: bytes, every_s: float) -> None:
    subject = connection()
    feed(subject, encode_plain(MessageId.UNCHOKE))
    subject.sender.request_blocks([(0, 0, BLOCK_BYTES)])
    last = data[-1:] * 3 if len(data) < 70 else b""
    began = data if len(data) < 70 else data[:40]
    feed(subject, began, now=START_S)
    rest = (data[len(began) :] + last)[:100] if len(data) > 70 else b""
    if rest:
        assert 60.0 < dribble(subject, rest, every_s=every_s, until_s=200.0) <= 63.0
    else:
        ended = [second for second in range(1, 100) if subject.timed_out(START_S + second)]
        assert ended[0] == 62


def test_b5_a_block_that_comes_at_200_bytes_a_second_is_waited_for() -> None:
    subject = connection()
    feed(subject, encode_plain(MessageId.UNCHOKE))
    subject.sender.request_blocks([(0, begin, BLOCK_BYTES) for begin in (0, BLOCK_BYTES)])
    data = b"".join(
        encode_piece_header(0, begin, BLOCK_BYTES) + bytes(BLOCK_BYTES)
        for begin in (0, BLOCK_BYTES)
    )
    events = 0
    for second in range(len(data) // 200 + 1):
        now = START_S + second
        events += len(feed(subject, data[second * 200 : second * 200 + 200], now=now))
        assert subject.timed_out(now) is None
    assert events == 2


def test_b5_a_block_that_comes_at_100_bytes_a_second_is_not() -> None:
    subject = connection()
    feed(subject, encode_plain(MessageId.UNCHOKE))
    subject.sender.request_blocks([(0, 0, BLOCK_BYTES)])
    feed(subject, encode_piece_header(0, 0, BLOCK_BYTES))
    for second in range(60):
        feed(subject, bytes(100), now=START_S + second)
        assert subject.timed_out(START_S + second) is None
    assert [subject.timed_out(START_S + second) for second in (60, 61)] == [None, LATE]


def test_b5_messages_that_are_whole_in_time_may_go_on_for_ever() -> None:
    subject, message = connection(), encode_extended(1, bytes(100))
    feed(subject, encode_plain(MessageId.INTERESTED))
    for second in range(600):  # always in the middle of one when it is looked at
        start = second * 10 % len(message)
        feed(subject, (message * 2)[start : start + 10], now=START_S + second)
        assert subject.timed_out(START_S + second) is None


def test_b5_while_we_do_not_read_nothing_is_late() -> None:
    subject = connection()
    feed(subject, extended(1, 1_000))
    for second in range(1, 500):
        assert subject.timed_out(START_S + second, is_read=False) is None
    assert subject.timed_out(START_S + 559.0) is None
    assert subject.timed_out(START_S + 560.0) == LATE


def test_b5_the_begin_of_a_block_pins_no_large_buffer() -> None:
    big = Geometry(total_bytes=64 * 1024 * KIB, piece_bytes=1024 * KIB)
    subject = connection(geometry=big, joins_blocks=True)
    feed(subject, encode_plain(MessageId.UNCHOKE), now=START_S)
    blocks = [(0, begin, BLOCK_BYTES) for begin in range(0, 1024 * KIB, BLOCK_BYTES)]
    subject.sender.request_blocks(blocks)
    data = b"".join(encode_piece_header(*block) + bytes([7]) * BLOCK_BYTES for block in blocks)
    feed(subject, data[:-10_000], chunk_bytes=64 * KIB, now=START_S + 0.01)
    block = subject.incoming_block
    assert block == blocks[-1]
    subject.timed_out(START_S + 1.0)
    subject.timed_out(START_S + 2.0)
    assert subject._partial is not None
    pinned: list[Any] = [view.obj for view in subject._partial[3]]
    assert sum(map(len, pinned)) <= BLOCK_BYTES
    (event,) = feed(subject, data[-10_000:], now=START_S + 3.0)
    assert b"".join(event.views) == bytes([7]) * BLOCK_BYTES  # type: ignore[attr-defined]


def test_b1_a_bitfield_before_the_metadata_is_bounded_by_the_largest_torrent() -> None:
    limits = WireLimits(max_pre_metadata_pieces=800)
    subject = open_connection(geometry=GEOMETRY, limits=limits)
    subject.state.geometry = None
    assert feed(subject, (101).to_bytes(4, "big") + b"\x05") == []
    subject = open_connection(geometry=GEOMETRY, limits=limits)
    subject.state.geometry = None
    (event,) = feed(subject, (102).to_bytes(4, "big") + b"\x05")
    assert isinstance(event, ProtocolViolated)


def test_f10_a_closed_connection_pins_no_memory_whoever_still_refers_to_it() -> None:
    subject = connection()
    subject.sender.send_have(range(1_000))
    feed(subject, encode_plain(MessageId.UNCHOKE))
    subject.sender.request_blocks([(0, 0, BLOCK_BYTES)])
    feed(subject, encode_piece_header(0, 0, BLOCK_BYTES) + bytes(9_000))
    for _ in range(2):
        subject.close()
        assert len(subject.receive_buffer()) == subject.held_bytes == 0
        assert not subject.has_data_to_send
        assert subject.incoming_block == (0, 0, BLOCK_BYTES)  # still to be asked of another
        assert subject._partial is not None
        assert not subject._partial[3]
    assert feed(subject, bytes(100)) == []
