"""Requests for hashes of a v2 torrent, and their answers."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.peer_pair import (
    INFO_HASH,
    OUR_ID,
    feed,
    open_connection,
    sent,
    their_handshake,
)
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.hash_messages import encode_hash_request
from torrent_engine.protocol.wire.messages import (
    HashesReceived,
    HashesRejected,
    HashesRequested,
    ProtocolViolated,
)
from torrent_engine.protocol.wire.sender import MAX_UNSENT_HASH_BYTES

LAYOUT = FileLayout([40_000, 70_000], alignment=65_536)
V2 = Geometry(LAYOUT.end_bytes, 65_536, LAYOUT)
WANTED = HashRange(bytes(range(32)), 2, 512, 256, 9)
PAYLOAD = bytes(range(32)) + struct.pack(">4I", 2, 512, 256, 9)
REQUEST = b"\0\0\0\x31\x15" + PAYLOAD
REJECT = b"\0\0\0\x31\x17" + PAYLOAD
HASHES = b"\0\0\0\x71\x16" + PAYLOAD + b"h" * 64


@pytest.mark.parametrize("chunk_bytes", [1, 3, 4096])
def test_bep52_a_request_is_an_event_and_its_answers_repeat_it(chunk_bytes: int) -> None:
    connection = open_connection(geometry=V2)
    events = feed(connection, REQUEST, chunk_bytes=chunk_bytes)
    assert events == [HashesRequested(WANTED)]
    connection.sender.answer_hash_request(WANTED, b"h" * 64)
    assert sent(connection) == b"\0\0\0\x71\x16" + PAYLOAD + b"h" * 64
    connection.sender.answer_hash_request(WANTED, None)
    assert sent(connection) == b"\0\0\0\x31\x17" + PAYLOAD


def test_bep52_who_does_not_read_is_refused_further_hashes() -> None:
    connection = open_connection(geometry=V2)
    for _ in range(100):
        connection.sender.answer_hash_request(WANTED, bytes(16_384))
    answers = sent(connection)
    assert MAX_UNSENT_HASH_BYTES < len(answers) < 2 * MAX_UNSENT_HASH_BYTES
    assert answers.endswith(b"\0\0\0\x31\x17" + PAYLOAD)


@pytest.mark.parametrize("length", [1, 48, 50, 1 << 20, 2**32 - 1])
def test_bep52_a_request_of_a_wrong_length_is_a_violation(length: int) -> None:
    connection = open_connection(geometry=V2)
    events = feed(connection, length.to_bytes(4, "big") + b"\x15")
    assert isinstance(events[-1], ProtocolViolated)
    assert events[-1].error.bep == 52


def test_b4_folds_are_charged_before_the_next_request_is_taken() -> None:
    connection = open_connection(geometry=V2)
    dear = HashRange(bytes(32), 2 + 8, 0, 32, 0)  # 8,192 folds, which take 5 ms
    request = encode_hash_request(dear)
    room = connection.receive_buffer()
    room[: 8 * len(request)] = 8 * request
    events = connection.bytes_received(8 * len(request), now=0.0)
    assert events == [HashesRequested(dear)]
    assert connection.has_unparsed
    assert connection.state.control_units > 1_000
    assert connection.parse_more(now=0.0) == [HashesRequested(dear)]


def test_bep52_requests_cost_what_they_take() -> None:
    connection = open_connection(geometry=V2)
    before = connection.state.control_units
    feed(connection, REQUEST)
    assert connection.state.control_units - before >= 8


@given(st.binary(min_size=48, max_size=48))
def test_bep52_any_request_is_read(payload: bytes) -> None:
    connection = open_connection(geometry=V2)
    (event,) = feed(connection, b"\0\0\0\x31\x15" + payload)
    assert isinstance(event, HashesRequested)
    connection.sender.answer_hash_request(event.wanted, None)
    assert sent(connection)[5:] == payload


def of_a_link() -> PeerConnection:
    """Return a connection of a link of a v2-only torrent, whose metadata is not here yet."""
    connection = PeerConnection(
        geometry=None, info_hash=INFO_HASH, peer_id=OUR_ID, is_v2=True, extensions={}
    )
    feed(connection, their_handshake())
    sent(connection)
    return connection


@pytest.mark.parametrize("has_metadata", [True, False])
@pytest.mark.parametrize("chunk_bytes", [1, 3, 4096])
def test_bep52_what_we_ask_for_is_an_event_when_it_comes(
    chunk_bytes: int, *, has_metadata: bool
) -> None:
    connection = open_connection(geometry=V2) if has_metadata else of_a_link()
    connection.sender.request_hashes(WANTED)
    assert sent(connection) == REQUEST
    events = feed(connection, HASHES, chunk_bytes=chunk_bytes)
    assert events == [HashesReceived(WANTED, b"h" * 64)]
    connection.sender.request_hashes(WANTED)
    assert feed(connection, REJECT, chunk_bytes=chunk_bytes) == [HashesRejected(WANTED)]
    assert not connection.state.hash_requests


def test_bep52_hashes_that_nobody_asked_for_are_a_violation() -> None:
    connection = open_connection(geometry=V2)
    connection.sender.request_hashes(WANTED)
    events = feed(connection, HASHES + HASHES)
    assert isinstance(events[-1], ProtocolViolated)
    assert events[-1].error.bep == 52
    assert len(events) == 2


def test_bep52_rejects_that_nobody_asked_for_are_counted() -> None:
    connection = open_connection(geometry=V2)
    assert feed(connection, REJECT) == []
    events = feed(connection, REJECT * connection.limits.max_unrequested_blocks)
    assert isinstance(events[-1], ProtocolViolated)


@pytest.mark.parametrize(
    ("kind", "length"),
    [(22, 1), (22, 48), (22, 49 + 32 * 545), (22, 2**32 - 1), (23, 48), (23, 50), (23, 2**31)],
)
def test_bep52_an_answer_of_a_wrong_length_is_a_violation(kind: int, length: int) -> None:
    connection = open_connection(geometry=V2)
    connection.sender.request_hashes(WANTED)
    (event,) = feed(connection, length.to_bytes(4, "big") + bytes((kind,)))
    assert isinstance(event, ProtocolViolated)
    assert event.error.bep == 52


def test_bep52_the_v1_swarm_has_no_hashes() -> None:
    connection = open_connection()
    with pytest.raises(LocalProtocolError):
        connection.sender.request_hashes(WANTED)
    assert feed(connection, REQUEST + HASHES + REJECT) == []
