"""Deadlines of a connection (row B5) and keep-alives, by injected time."""

import pytest

from tests.support.peer_pair import feed, make_connection, open_connection, sent, their_handshake
from torrent_engine.base.config import WireLimits
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    KEEP_ALIVE,
    BlockRequest,
    MessageId,
    encode_piece_header,
    encode_plain,
)

START_S = 1_000_000.0  # clocks do not begin at zero
INTERESTED = encode_plain(MessageId.INTERESTED)


def keep_alives_every_60_s(connection: PeerConnection, *, until_s: float) -> str | None:
    now = connection.last_received_s
    while now < until_s:
        now += 60.0
        feed(connection, KEEP_ALIVE, now=now)
        if reason := connection.timed_out(now):
            return reason
    return None


def test_b5_new_connection_is_not_late() -> None:
    connection = make_connection(now=START_S)
    assert connection.timed_out(START_S) is None
    assert connection.timed_out(START_S + 10.0) is None
    assert not connection.has_data_to_send  # no keep-alive before a handshake


def test_b5_no_handshake_within_10_s() -> None:
    connection = make_connection(now=START_S)
    assert connection.timed_out(START_S + 10.1) == "no handshake in time"


def test_b5_handshake_a_byte_at_a_time_does_not_move_the_deadline() -> None:
    connection = make_connection(now=START_S)
    for at, byte in enumerate(their_handshake()[:60]):
        feed(connection, bytes((byte,)), now=START_S + at * 0.18)
    assert connection.timed_out(START_S + 10.7) == "no handshake in time"


def test_b5_handshake_in_time_ends_that_deadline() -> None:
    connection = make_connection(now=START_S)
    feed(connection, their_handshake(), now=START_S + 9.0)
    assert connection.timed_out(START_S + 100.0) is None


def test_b5_silent_peer_is_closed_after_120_s() -> None:
    connection = open_connection(now=START_S)
    assert connection.timed_out(START_S + 120.0) is None
    assert connection.timed_out(START_S + 120.1) == "silent for too long"


def test_bep3_keep_alives_of_a_peer_prevent_the_silence() -> None:
    connection = open_connection(now=START_S)
    feed(connection, INTERESTED, now=START_S)
    assert keep_alives_every_60_s(connection, until_s=START_S + 5_000.0) is None


def test_b5_nothing_wanted_for_600_s_ends_even_a_peer_that_keeps_alive() -> None:
    connection = open_connection(now=START_S)
    reason = keep_alives_every_60_s(connection, until_s=START_S + 5_000.0)
    assert reason == "neither side is interested"
    assert connection.last_received_s == START_S + 660.0


def test_b5_our_own_interest_counts_as_much_as_the_peers() -> None:
    connection = open_connection(now=START_S)
    connection.sender.set_interested(interested=True)
    assert keep_alives_every_60_s(connection, until_s=START_S + 1_200.0) is None
    connection.sender.set_interested(interested=False)
    assert keep_alives_every_60_s(connection, until_s=START_S + 1_780.0) is None
    assert keep_alives_every_60_s(connection, until_s=START_S + 2_000.0) is not None


def test_b5_payload_counts_as_activity() -> None:
    connection = open_connection(now=START_S)
    feed(connection, encode_plain(MessageId.UNCHOKE), now=START_S)
    connection.sender.request_blocks([BlockRequest(0, 0, BLOCK_BYTES)])
    data = encode_piece_header(0, 0, BLOCK_BYTES) + bytes(BLOCK_BYTES)
    feed(connection, data, now=START_S + 590.0)
    assert connection.timed_out(START_S + 700.0) is None


def test_bep3_keep_alive_goes_out_after_110_s_of_our_own_silence_and_once() -> None:
    connection = open_connection(now=START_S)
    feed(connection, INTERESTED, now=START_S + 100.0)
    connection.timed_out(START_S + 109.9)
    assert not connection.has_data_to_send
    connection.timed_out(START_S + 110.0)
    connection.timed_out(START_S + 111.0)
    assert sent(connection) == KEEP_ALIVE
    feed(connection, KEEP_ALIVE, now=START_S + 200.0)
    connection.timed_out(START_S + 219.0)
    assert not connection.has_data_to_send
    connection.timed_out(START_S + 220.0)
    assert sent(connection) == KEEP_ALIVE


def test_bep3_whoever_sent_something_needs_no_keep_alive() -> None:
    connection = open_connection(now=START_S)
    feed(connection, INTERESTED, now=START_S + 100.0)
    connection.last_sent_s = START_S + 90.0
    connection.timed_out(START_S + 150.0)
    assert not connection.has_data_to_send


@pytest.mark.parametrize("at_s", [5.0, 6.0])
def test_b5_deadlines_are_settings(at_s: float) -> None:
    limits = WireLimits(idle_timeout_s=5.5, handshake_timeout_s=5.5)
    connection = make_connection(limits=limits)
    assert (connection.timed_out(at_s) is None) is (at_s < 5.5)
    connection = open_connection(limits=limits)
    assert (connection.timed_out(at_s) is None) is (at_s < 5.5)
