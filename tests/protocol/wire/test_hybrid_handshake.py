"""Handshakes of hybrid torrents, which have two info-hashes (BEP 52, upgrade path)."""

import pytest

from torrent_engine.base.ids import InfoHash, PeerId
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    HANDSHAKE_BYTES,
    V2_BIT,
    HandshakeReceived,
    PeerEvent,
    ProtocolViolated,
    decode_handshake,
    encode_handshake,
)

V1, V2, OTHER = (InfoHash(each * 20) for each in (b"1", b"2", b"3"))
OUR_ID, THEIR_ID = PeerId(b"-TE0100-our-peer-id0"), PeerId(b"-XX0000-their-peer-i")


GEOMETRY = Geometry(total_bytes=100_000, piece_bytes=16_384)


def connection_of(
    *, v2_hash: InfoHash | None = V2, is_v2: bool = False, geometry: Geometry | None = GEOMETRY
) -> PeerConnection:
    return PeerConnection(
        geometry=geometry,
        info_hash=V1,
        peer_id=OUR_ID,
        v2_hash=v2_hash,
        is_v2=is_v2,
        extensions={},
    )


def said_by(connection: PeerConnection) -> HandshakeReceived:
    return decode_handshake(b"".join(connection.data_to_send())[:HANDSHAKE_BYTES])


def theirs(info_hash: InfoHash, *, v2: bool = False) -> bytes:
    return encode_handshake(info_hash, THEIR_ID, fast=True, extensions=True, dht=False, v2=v2)


def feed(connection: PeerConnection, data: bytes, chunk_bytes: int = 68) -> list[PeerEvent]:
    events: list[PeerEvent] = []
    for start in range(0, len(data), chunk_bytes):
        events += connection.receive_data(data[start : start + chunk_bytes], now=0.0)
    return events


def test_bep52_the_bit_is_the_fourth_most_significant_of_the_last_byte() -> None:
    assert V2_BIT == (7, 0b0001_0000)
    assert theirs(V1, v2=True)[27] == theirs(V1)[27] | 0x10
    assert decode_handshake(theirs(V1, v2=True)).supports_v2
    assert not decode_handshake(theirs(V1)).supports_v2


ANSWERS = {
    "v1 without the bit": (V1, False, V1),
    "v1 with the bit": (V1, True, V2),
    "v2": (V2, False, V2),
    "v2 with the bit": (V2, True, V2),
}


@pytest.mark.parametrize("chunk_bytes", [1, 48, 68])
@pytest.mark.parametrize(("said", "bit", "answered"), ANSWERS.values(), ids=ANSWERS.keys())
def test_bep52_a_peer_of_a_hybrid_is_answered_in_its_swarm(
    said: InfoHash, bit: bool, answered: InfoHash, chunk_bytes: int
) -> None:
    connection = connection_of()
    connection.sender.answer_handshake()
    assert not connection.has_data_to_send  # which swarm it is of the peer says
    events = feed(connection, theirs(said, v2=bit), chunk_bytes)
    assert isinstance(events[0], HandshakeReceived)
    assert said_by(connection).info_hash == answered
    assert connection.state.is_v2 == (answered == V2)


@pytest.mark.parametrize(("answer", "is_v2"), [(V1, False), (V2, True)])
@pytest.mark.parametrize("bit", [False, True])
def test_bep52_a_v1_handshake_of_a_hybrid_has_the_bit_and_may_be_answered_with_v2(
    answer: InfoHash, bit: bool, is_v2: bool
) -> None:
    connection = connection_of()
    connection.sender.send_handshake()
    sent = said_by(connection)
    assert (sent.info_hash, sent.supports_v2) == (V1, True)
    assert isinstance(feed(connection, theirs(answer, v2=bit))[0], HandshakeReceived)
    assert connection.state.is_v2 == is_v2
    assert not connection.has_data_to_send


def test_bep52_what_a_link_says_of_v2_is_not_used_before_the_metadata_is_there() -> None:
    dialled, answering = connection_of(geometry=None), connection_of(geometry=None)
    dialled.sender.send_handshake()
    assert not said_by(dialled).supports_v2
    answering.sender.answer_handshake()
    feed(answering, theirs(V1, v2=True))
    assert said_by(answering).info_hash == V1
    found = connection_of(geometry=None, is_v2=True)
    found.metadata_received(GEOMETRY, now=0.0)
    assert found.state.is_v2


def test_bep52_a_v2_handshake_has_one_answer() -> None:
    for answer, is_right in ((V2, True), (V1, False)):
        connection = connection_of(is_v2=True)
        connection.sender.send_handshake()
        sent = said_by(connection)
        assert (sent.info_hash, sent.supports_v2) == (V2, False)
        events = feed(connection, theirs(answer, v2=True))
        assert isinstance(events[0], HandshakeReceived if is_right else ProtocolViolated)


@pytest.mark.parametrize("v2_hash", [V2, None], ids=["hybrid", "v1"])
def test_bep3_a_third_info_hash_ends_the_connection(v2_hash: InfoHash | None) -> None:
    connection = connection_of(v2_hash=v2_hash)
    connection.sender.answer_handshake()
    (event,) = feed(connection, theirs(OTHER, v2=True))
    assert isinstance(event, ProtocolViolated)
    assert event.error.bep == 3


def test_bep52_a_v1_torrent_neither_sets_the_bit_nor_follows_it() -> None:
    connection = connection_of(v2_hash=None)
    connection.sender.answer_handshake()
    sent = said_by(connection)
    assert (sent.info_hash, sent.supports_v2) == (V1, False)
    assert isinstance(feed(connection, theirs(V1, v2=True))[0], HandshakeReceived)
    assert not connection.state.is_v2
