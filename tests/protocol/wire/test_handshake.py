"""BEP 3 handshakes: what is accepted, what ends the connection, and how early."""

import pytest

from tests.support.peer_pair import (
    INFO_HASH,
    OUR_ID,
    THEIR_ID,
    feed,
    make_connection,
    make_pair,
    sent,
    their_handshake,
)
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.protocol.wire.messages import (
    HANDSHAKE_BYTES,
    HandshakeReceived,
    KeepAliveReceived,
    ProtocolViolated,
    decode_handshake,
    encode_handshake,
)

OTHER_TORRENT = encode_handshake(
    InfoHash(b"\xbb" * 20), THEIR_ID, fast=True, extensions=True, dht=True
)

MALFORMED = {
    "wrong_length_byte": b"\x12" + their_handshake()[1:],
    "wrong_name": b"\x13BitTorrent protocox" + their_handshake()[20:],
    "http_request": b"GET /announce?info_hash=%aa HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(20),
    "tls_hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80),
    "encrypted_handshake": bytes(range(1, 97)),
    "zeros": bytes(100),
    "other_torrent": OTHER_TORRENT,
}


@pytest.mark.parametrize("chunk_bytes", [None, 1, 3])
@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep3_malformed_handshake_ends_the_connection(data: bytes, chunk_bytes: int | None) -> None:
    connection = make_connection()
    events = feed(connection, data + bytes(50), chunk_bytes=chunk_bytes)
    assert len(events) == 1
    assert isinstance(events[0], ProtocolViolated)
    assert events[0].error.bep == 3
    assert connection.is_violated


def test_bep3_handshake_of_another_protocol_is_refused_at_its_first_byte() -> None:
    connection = make_connection()
    assert isinstance(feed(connection, b"G")[0], ProtocolViolated)


@pytest.mark.parametrize("chunk_bytes", [None, 1, 3, 67])
def test_bep3_handshake_is_one_event_and_what_follows_counts(chunk_bytes: int | None) -> None:
    connection = make_connection()
    events = feed(connection, their_handshake(dht=True) + bytes(4), chunk_bytes=chunk_bytes)
    expected = HandshakeReceived(
        INFO_HASH, THEIR_ID, supports_fast=True, supports_extensions=True, supports_dht=True
    )
    assert events == [expected, KeepAliveReceived()]
    assert connection.state.handshake == expected


def test_bep3_our_handshake_is_68_bytes_with_our_reserved_bits() -> None:
    connection = make_connection(fast=True, extensions={"ut_pex": 1})
    connection.sender.send_handshake()
    data = sent(connection)
    assert data == b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04" + INFO_HASH + OUR_ID
    assert len(data) == HANDSHAKE_BYTES


def test_bep3_our_handshake_without_extensions_has_no_reserved_bit() -> None:
    connection = make_connection(fast=False, extensions=None)
    connection.sender.send_handshake()
    assert sent(connection)[20:28] == bytes(8)


@pytest.mark.parametrize(
    ("ours", "theirs", "enabled"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_bep6_and_bep10_are_on_only_when_both_sides_say_so(
    ours: bool, theirs: bool, enabled: bool
) -> None:
    connection = make_connection(fast=ours, extensions={} if ours else None)
    feed(connection, their_handshake(fast=theirs, extensions=theirs))
    assert connection.state.fast_enabled is enabled
    assert connection.state.extensions_enabled is enabled


def test_bep3_decode_handshake_refuses_another_protocol() -> None:
    with pytest.raises(RemoteProtocolError, match="another protocol"):
        decode_handshake(bytes(68))


def test_bep3_a_pair_shakes_hands() -> None:
    pair = make_pair()
    assert pair.ours.state.handshake is not None
    assert pair.ours.state.handshake.peer_id == THEIR_ID
    assert pair.theirs.state.handshake is not None
    assert pair.theirs.state.handshake.peer_id == OUR_ID
