"""Blocks from a peer: which count, which are dropped, and what choking does to requests (B8)."""

import pytest

from tests.support.peer_pair import feed, open_connection, payload, plain, sent
from torrent_engine.base.config import WireLimits
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import BLOCK_BYTES, PieceIndex
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.connection_state import MAX_ABANDONED
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    BlockReceived,
    BlockRequest,
    KeepAliveReceived,
    MessageId,
    PeerChoked,
    PeerUnchoked,
    ProtocolViolated,
    RequestRejected,
    UnrequestedBlock,
    encode_block_message,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
)

M = MessageId
ONE = BlockRequest(0, 0, BLOCK_BYTES)
TWO = BlockRequest(0, BLOCK_BYTES, BLOCK_BYTES)
CHOKE = encode_plain(M.CHOKE)
UNCHOKE = encode_plain(M.UNCHOKE)


def block(request: BlockRequest, fill: bytes = b"x") -> bytes:
    return encode_piece_header(*request) + fill * request.length_bytes


def reject(request: BlockRequest) -> bytes:
    return encode_block_message(M.REJECT_REQUEST, request)


def downloading(*requests: BlockRequest, fast: bool = True) -> PeerConnection:
    connection = open_connection(fast=fast)
    feed(connection, UNCHOKE)
    connection.sender.request_blocks(list(requests))
    connection.data_to_send()
    return connection


def unrequested(request: BlockRequest) -> UnrequestedBlock:
    return UnrequestedBlock(*request)


def test_bep3_requests_go_out_as_one_buffer() -> None:
    connection = open_connection()
    feed(connection, UNCHOKE)
    connection.sender.request_blocks([ONE, TWO])
    expected = b"".join(encode_block_message(M.REQUEST, each) for each in (ONE, TWO))
    assert connection.data_to_send() == [expected]
    assert connection.state.outstanding_requests() == (ONE, TWO)


def test_bep3_no_request_is_no_output() -> None:
    connection = open_connection()
    feed(connection, UNCHOKE)
    connection.sender.request_blocks([])
    connection.sender.send_have([])
    assert not connection.has_data_to_send


def test_bep3_requesting_while_choked_is_our_own_mistake() -> None:
    connection = open_connection()
    with pytest.raises(LocalProtocolError, match="choked"):
        connection.sender.request_blocks([ONE])
    assert not connection.outstanding
    assert not connection.has_data_to_send


def test_bep6_allowed_fast_piece_may_be_requested_while_choked_and_no_other() -> None:
    connection = open_connection()
    events = feed(connection, encode_piece_index(M.ALLOWED_FAST, 4))
    assert events == [AllowedFast(PieceIndex(4))]
    connection.sender.request_blocks([BlockRequest(4, 0, BLOCK_BYTES)])
    with pytest.raises(LocalProtocolError):
        connection.sender.request_blocks([BlockRequest(4, 16_384, BLOCK_BYTES), ONE])
    assert connection.state.outstanding_requests() == (BlockRequest(4, 0, BLOCK_BYTES),)


def test_bep3_block_answers_its_request_in_any_order() -> None:
    connection = downloading(ONE, TWO)
    events = feed(connection, block(TWO, b"2") + block(ONE, b"1"))
    assert plain(events) == [
        (BlockReceived, *TWO, b"2" * BLOCK_BYTES),
        (BlockReceived, *ONE, b"1" * BLOCK_BYTES),
    ]
    assert connection.outstanding == {}


def test_bep3_block_in_small_reads_is_one_view() -> None:
    connection = downloading(ONE)
    (event,) = feed(connection, block(ONE), chunk_bytes=7)
    assert isinstance(event, BlockReceived)
    assert len(event.views) == 1
    assert payload(event) == b"x" * BLOCK_BYTES


def test_bep3_block_over_two_buffers_is_two_views() -> None:
    blocks = [BlockRequest(piece, 0, BLOCK_BYTES) for piece in range(8)]
    connection = downloading(*blocks)
    data = b"".join(block(each, bytes((each.piece_index,))) for each in blocks)
    events = feed(connection, data)
    views = [len(event.views) for event in events if isinstance(event, BlockReceived)]
    assert len(views) == 8
    assert set(views) == {1, 2}
    for event, request in zip(events, blocks, strict=True):
        assert payload(event) == bytes((request.piece_index,)) * BLOCK_BYTES


def test_b8_unrequested_block_is_dropped_and_the_stream_goes_on() -> None:
    connection = downloading(ONE)
    wild = BlockRequest(2**32 - 1, 2**32 - 1, 100_000)
    events = feed(connection, block(wild) + bytes(4) + block(ONE), chunk_bytes=4096)
    assert plain(events) == [
        unrequested(wild),
        KeepAliveReceived(),
        (BlockReceived, *ONE, b"x" * BLOCK_BYTES),
    ]
    assert connection.state.strikes == 1


def test_b8_same_block_twice_is_unrequested_the_second_time() -> None:
    connection = downloading(ONE)
    events = feed(connection, block(ONE) * 2)
    assert [type(event) for event in events] == [BlockReceived, UnrequestedBlock]


def test_b8_block_of_another_length_than_asked_is_unrequested() -> None:
    connection = downloading(ONE)
    other = BlockRequest(0, 0, 100)
    assert feed(connection, block(other)) == [unrequested(other)]
    assert connection.state.outstanding_requests() == (ONE,)


@pytest.mark.parametrize("chunk_bytes", [None, 100])
def test_b8_51st_unrequested_block_ends_the_connection(chunk_bytes: int | None) -> None:
    connection = downloading(ONE)
    stray = BlockRequest(3, 0, 50)
    assert feed(connection, block(stray) * 50, chunk_bytes=chunk_bytes) == [unrequested(stray)] * 50
    events = feed(connection, block(stray) + block(ONE), chunk_bytes=chunk_bytes)
    assert len(events) == 1
    assert isinstance(events[0], ProtocolViolated)
    assert events[0].error.bep == 3


@pytest.mark.parametrize("what", ["block", "reject"])
def test_bep6_answer_before_any_request_ends_the_connection(what: str) -> None:
    data = block(ONE) if what == "block" else reject(ONE)
    connection = open_connection()
    feed(connection, UNCHOKE)
    (event,) = feed(connection, data)
    assert isinstance(event, ProtocolViolated)
    assert event.error.bep == 6


def test_bep3_block_before_any_request_is_a_strike_without_the_fast_extension() -> None:
    connection = open_connection(fast=False)
    assert feed(connection, block(ONE)) == [unrequested(ONE)]
    assert connection.state.strikes == 1


def test_b8_number_of_strikes_is_a_setting() -> None:
    connection = open_connection(limits=WireLimits(max_unrequested_blocks=0))
    (event,) = feed(connection, block(BlockRequest(3, 0, 50)))
    assert isinstance(event, ProtocolViolated)


def test_bep3_choke_without_fast_loses_all_requests_at_once() -> None:
    connection = downloading(ONE, TWO, fast=False)
    assert feed(connection, CHOKE) == [PeerChoked((ONE, TWO))]
    assert connection.state.peer_choking
    assert connection.outstanding == {}
    assert feed(connection, UNCHOKE) == [PeerUnchoked()]
    assert not connection.state.peer_choking


def test_bep3_block_that_crossed_the_choke_is_no_offence() -> None:
    connection = downloading(ONE, TWO, fast=False)
    events = feed(connection, CHOKE + block(ONE))
    assert plain(events[1:]) == [(BlockReceived, *ONE, b"x" * BLOCK_BYTES)]
    assert connection.state.strikes == 0
    assert feed(connection, block(ONE)) == [unrequested(ONE)]  # but once only


def test_bep6_choke_with_fast_leaves_requests_until_each_is_rejected() -> None:
    connection = downloading(ONE, TWO)
    events = feed(connection, CHOKE + reject(ONE))
    assert events == [PeerChoked(()), RequestRejected(ONE)]
    assert connection.state.outstanding_requests() == (TWO,)
    assert [type(event) for event in feed(connection, block(TWO))] == [BlockReceived]


def test_bep3_cancel_is_sent_and_a_crossing_block_is_no_offence() -> None:
    connection = downloading(ONE, TWO)
    connection.sender.cancel(ONE)
    assert sent(connection) == encode_block_message(M.CANCEL, ONE)
    assert connection.state.outstanding_requests() == (TWO,)
    assert [type(event) for event in feed(connection, block(ONE))] == [BlockReceived]
    assert connection.state.strikes == 0


def test_bep3_cancel_of_what_was_not_requested_says_nothing() -> None:
    connection = downloading(ONE)
    connection.sender.cancel(TWO)
    connection.state.abandon([TWO])
    assert not connection.has_data_to_send
    assert not connection.state.abandoned_requests


def test_bep3_several_cancels_are_sent_as_one_buffer_but_for_what_was_not_requested() -> None:
    connection = downloading(ONE, TWO)
    connection.sender.cancel_blocks([TWO, (9, 0, 16_384), ONE])
    cancels = [encode_block_message(M.CANCEL, request) for request in (TWO, ONE)]
    assert sent(connection) == b"".join(cancels)
    assert not connection.state.outstanding_requests()
    assert [type(event) for event in feed(connection, block(ONE))] == [BlockReceived]
    assert connection.state.strikes == 0
    connection.sender.cancel_blocks([ONE])
    assert not connection.has_data_to_send


def test_bep6_reject_that_answers_a_cancel_is_neither_news_nor_an_offence() -> None:
    connection = downloading(ONE)
    connection.sender.cancel(ONE)
    assert feed(connection, reject(ONE)) == []
    assert connection.state.strikes == 0
    assert not connection.state.abandoned_requests
    assert feed(connection, reject(ONE)) == []  # but a second one is
    assert connection.state.strikes == 1


def test_bep6_reject_after_a_cancel_and_the_same_request_again_is_followed_by_its_block() -> None:
    connection = downloading(ONE)
    connection.sender.cancel(ONE)
    connection.sender.request_blocks([ONE])
    events = feed(connection, reject(ONE) + block(ONE))
    assert [type(event) for event in events] == [RequestRejected, BlockReceived]
    assert connection.state.strikes == 0


def test_bep3_forsaken_request_may_still_be_answered_in_parts() -> None:
    connection = downloading(ONE)
    connection.state.abandon([ONE])
    assert not connection.has_data_to_send
    events = feed(connection, block(ONE), chunk_bytes=1000)
    assert plain(events) == [(BlockReceived, *ONE, b"x" * BLOCK_BYTES)]


def test_bep3_forsaken_requests_are_remembered_up_to_a_bound() -> None:
    requests = [BlockRequest(at % 11, at // 11, 1) for at in range(MAX_ABANDONED + 10)]
    connection = downloading(*requests)
    connection.state.abandon(requests)
    assert len(connection.state.abandoned_requests) == MAX_ABANDONED
    assert requests[9][:2] not in connection.state.abandoned_requests
    assert requests[10][:2] in connection.state.abandoned_requests


def test_bep6_stray_rejects_are_dropped_and_the_51st_ends_the_connection() -> None:
    connection = downloading(ONE)
    assert feed(connection, reject(TWO) * 50) == []
    assert connection.state.strikes == 50
    (event,) = feed(connection, reject(TWO))
    assert isinstance(event, ProtocolViolated)
    assert event.error.bep == 6


def test_bep6_reject_of_another_length_is_stray() -> None:
    connection = downloading(ONE)
    assert feed(connection, reject(BlockRequest(0, 0, 5))) == []
    assert connection.state.outstanding_requests() == (ONE,)
    assert connection.state.strikes == 1


def test_time_of_the_last_payload_is_that_of_the_block_that_became_whole() -> None:
    connection = downloading(ONE, TWO)
    data = block(ONE)
    feed(connection, data[:5_000], now=3.0)
    assert connection.last_payload_s == 0.0
    feed(connection, data[5_000:], now=4.0)
    assert connection.last_payload_s == 4.0
    feed(connection, block(TWO), now=5.0)
    assert connection.last_payload_s == 5.0
    feed(connection, bytes(4), now=6.0)
    assert (connection.last_payload_s, connection.last_received_s) == (5.0, 6.0)
