"""Requests for hashes of a v2 torrent, and their answers."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.peer_pair import feed, open_connection, sent
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.protocol.wire.messages import HashesRequested, ProtocolViolated
from torrent_engine.protocol.wire.sender import MAX_UNSENT_HASH_BYTES

LAYOUT = FileLayout([40_000, 70_000], alignment=65_536)
V2 = Geometry(LAYOUT.end_bytes, 65_536, LAYOUT)
WANTED = HashRange(bytes(range(32)), 2, 512, 256, 9)
PAYLOAD = bytes(range(32)) + struct.pack(">4I", 2, 512, 256, 9)
REQUEST = b"\0\0\0\x31\x15" + PAYLOAD


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
