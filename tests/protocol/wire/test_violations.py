"""Every rule that a peer can break ends in one ProtocolViolated, last, naming the BEP (row B1)."""

from dataclasses import dataclass

import pytest

from tests.support.peer_pair import (
    GEOMETRY,
    feed,
    make_connection,
    open_connection,
    their_handshake,
)
from torrent_engine.base.config import MIB, WireLimits
from torrent_engine.base.ids import BLOCK_BYTES, PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.protocol.wire.control import BEP_OF, FIXED_FRAME_BYTES
from torrent_engine.protocol.wire.messages import (
    BlockRequest,
    BlocksRequested,
    HandshakeReceived,
    MessageId,
    PeerBitfield,
    PeerHas,
    ProtocolViolated,
    encode_bitfield,
    encode_block_message,
    encode_extended,
    encode_piece_index,
    encode_plain,
)

M = MessageId
PIECES = GEOMETRY.piece_count
LIMITS = WireLimits()
HAVE_7 = encode_piece_index(M.HAVE, 7)
BITFIELD = encode_bitfield(Bitfield.from_int(1, PIECES))


@dataclass(frozen=True, slots=True)
class Crime:
    """Bytes after the handshake that break a rule of a BEP."""

    data: bytes
    bep: int
    fast: bool = True
    extensions: bool = True


def frame(length: int, kind: int, body: bytes = b"") -> bytes:
    return length.to_bytes(4, "big") + bytes((kind,)) + body


def request(piece: int, begin: int, length: int) -> bytes:
    return encode_block_message(M.REQUEST, BlockRequest(piece, begin, length))


def reject(piece: int, begin: int, length: int) -> bytes:
    return encode_block_message(M.REJECT_REQUEST, BlockRequest(piece, begin, length))


CRIMES = {
    "length_of_2_gib_unknown_id": Crime(frame(2**31, 99), 3),
    "length_of_2_gib_piece": Crime(frame(2**31, 7, bytes(8)), 3),
    "length_of_4_gib_bitfield": Crime(frame(2**32 - 1, 5), 3),
    "length_of_4_gib_extended": Crime(frame(2**32 - 1, 20), 10),
    "length_of_4_gib_hash_message": Crime(frame(2**32 - 1, 22), 52),
    "piece_just_too_long": Crime(frame(LIMITS.max_message_bytes + 1, 7, bytes(8)), 3),
    "extended_just_too_long": Crime(frame(LIMITS.max_extension_message_bytes + 1, 20), 10),
    "extended_without_id": Crime(frame(1, 20), 10),
    "piece_without_payload": Crime(frame(9, 7, bytes(8)), 3),
    "piece_without_header": Crime(frame(1, 7), 3),
    "unknown_id_10": Crime(frame(1, 10), 3),
    "unknown_id_18": Crime(frame(1, 18), 3),
    "unknown_id_255": Crime(frame(1, 255), 3),
    "have_past_the_end": Crime(encode_piece_index(M.HAVE, PIECES), 3),
    "have_of_the_largest_number": Crime(encode_piece_index(M.HAVE, 2**32 - 1), 3),
    "bitfield_too_short": Crime(frame(2, 5, b"\0"), 3),
    "bitfield_too_long": Crime(frame(4, 5, bytes(3)), 3),
    "bitfield_empty": Crime(frame(1, 5), 3),
    "bitfield_with_spare_bit": Crime(frame(3, 5, b"\0\1"), 3),
    "have_none_after_have": Crime(encode_plain(M.HAVE_NONE), 6),
    "have_all_without_fast": Crime(encode_plain(M.HAVE_ALL), 6, fast=False),
    "have_none_without_fast": Crime(encode_plain(M.HAVE_NONE), 6, fast=False),
    "suggest_without_fast": Crime(encode_piece_index(M.SUGGEST_PIECE, 1), 6, fast=False),
    "allowed_fast_without_fast": Crime(encode_piece_index(M.ALLOWED_FAST, 1), 6, fast=False),
    "reject_without_fast": Crime(reject(0, 0, BLOCK_BYTES), 6, fast=False),
    "suggest_past_the_end": Crime(encode_piece_index(M.SUGGEST_PIECE, PIECES), 6),
    "allowed_fast_past_the_end": Crime(encode_piece_index(M.ALLOWED_FAST, PIECES), 6),
    "request_past_the_last_piece": Crime(request(PIECES, 0, BLOCK_BYTES), 3),
    "request_past_the_end_of_a_piece": Crime(request(0, 49_153, BLOCK_BYTES), 3),
    "request_past_the_end_of_the_torrent": Crime(request(PIECES - 1, 16_384, 3_617), 3),
    "request_of_begin_at_4_gib": Crime(request(0, 2**32 - 1, 1), 3),
    "request_of_no_bytes": Crime(request(0, 0, 0), 3),
    "request_too_long_without_fast": Crime(request(0, 0, BLOCK_BYTES + 1), 3, fast=False),
    "request_of_4_gib": Crime(request(0, 0, 2**32 - 1), 3),
    "extended_without_the_bit": Crime(encode_extended(0, b"de"), 10, extensions=False),
    "extension_handshake_of_junk": Crime(encode_extended(0, b"junk"), 10),
    "dont_have_too_long": Crime(encode_extended(7, bytes(1025)), 54),
    "dont_have_past_the_end": Crime(encode_extended(7, PIECES.to_bytes(4, "big")), 54),
} | {
    f"{kind.name.lower()}_of_wrong_length_{length}": Crime(
        frame(length, kind, bytes(length - 1)), BEP_OF.get(kind, 3)
    )
    for kind in MessageId
    if kind in FIXED_FRAME_BYTES
    for length in (FIXED_FRAME_BYTES[kind] - 1, FIXED_FRAME_BYTES[kind] + 1, 1000)
    if length > 0
}


@pytest.mark.parametrize("chunk_bytes", [None, 1, 3])
@pytest.mark.parametrize("crime", CRIMES.values(), ids=CRIMES.keys())
def test_b1_broken_rule_is_the_last_event_and_names_its_bep(
    crime: Crime, chunk_bytes: int | None
) -> None:
    connection = make_connection(
        fast=crime.fast, extensions={"lt_donthave": 7} if crime.extensions else None
    )
    connection.sender.unchoke()
    data = their_handshake() + HAVE_7 + crime.data + HAVE_7 + HAVE_7
    events = feed(connection, data, chunk_bytes=chunk_bytes)
    assert isinstance(events[0], HandshakeReceived)
    assert events[1] == PeerHas(PieceIndex(7))  # what came before still counts
    assert len(events) == 3
    assert isinstance(events[2], ProtocolViolated)
    assert events[2].error.bep == crime.bep
    assert f"(BEP {crime.bep})" in str(events[2].error)
    assert feed(connection, HAVE_7 * 3) == []
    assert connection.bytes_received(5, now=9.0) == []


def test_b1_length_is_refused_before_memory_is_taken_for_it() -> None:
    connection = open_connection()
    before = len(connection.receive_buffer())
    events = feed(connection, frame(LIMITS.max_message_bytes, 20))
    assert isinstance(events[-1], ProtocolViolated)
    connection = open_connection(extensions={})
    assert feed(connection, frame(LIMITS.max_extension_message_bytes, 20)) == []
    assert len(connection.receive_buffer()) <= before  # only what comes takes memory


def test_b1_requests_before_a_violation_in_one_read_still_count() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    good = [BlockRequest(0, begin, BLOCK_BYTES) for begin in (0, 16_384)]
    data = b"".join(encode_block_message(M.REQUEST, each) for each in good)
    events = feed(connection, data + request(0, 0, 0) + data)
    assert events[0] == BlocksRequested(tuple(good))
    assert isinstance(events[1], ProtocolViolated)
    assert len(events) == 2


def test_b1_limit_of_a_message_is_a_setting() -> None:
    connection = open_connection(limits=WireLimits(max_message_bytes=1000))
    events = feed(connection, frame(1001, 7, bytes(8)))
    assert isinstance(events[0], ProtocolViolated)


def test_bep52_hash_messages_of_a_hybrid_are_passed_over_without_being_held() -> None:
    connection = open_connection()
    for kind in (21, 22, 23):
        data = frame(MIB, kind, bytes(MIB - 1)) + HAVE_7
        events = feed(connection, data, chunk_bytes=4096)
        assert events == [PeerHas(PieceIndex(7))]
    assert len(connection.receive_buffer()) <= 32 * 1024


def test_bep3_violation_after_output_was_queued_leaves_the_output() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    feed(connection, frame(1, 99))
    assert connection.has_data_to_send


def test_bep3_later_bitfield_and_have_all_are_updates_as_aria2_sends_them() -> None:
    connection = make_connection(fast=True)
    data = their_handshake() + HAVE_7 + BITFIELD + encode_plain(M.HAVE_ALL)
    events = feed(connection, data)
    assert events[2] == PeerBitfield(Bitfield.from_int(1, PIECES))
    assert events[3] == PeerBitfield(Bitfield.full(PIECES))
    assert not connection.is_violated
