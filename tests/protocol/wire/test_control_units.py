"""Messages beside payload: so many at a time, what is no news is no event, and each has a price."""

from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.support.cpu_time import cpu_time
from tests.support.peer_pair import GEOMETRY, feed, open_connection, plain, sent
from torrent_engine.base.config import KIB
from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import BLOCK_BYTES, PieceIndex
from torrent_engine.codec.bencode import encode
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.protocol.wire.connection import TURN_UNITS, PeerConnection
from torrent_engine.protocol.wire.control import MAX_PORTS
from torrent_engine.protocol.wire.exchange import decode_pex
from torrent_engine.protocol.wire.extension import decode_extension_handshake
from torrent_engine.protocol.wire.messages import (
    KEEP_ALIVE,
    AllowedFast,
    BlockRequest,
    BlocksRequested,
    ExtensionHandshakeReceived,
    MessageId,
    PeerChoked,
    PeerEvent,
    PeerHas,
    PeerInterested,
    PeerNotInterested,
    PeerUnchoked,
    PortReceived,
    ProtocolViolated,
    encode_bitfield,
    encode_block_message,
    encode_extended,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
    encode_port,
)
from torrent_engine.protocol.wire.metadata import METADATA_PIECE_BYTES, decode_metadata_message

M = MessageId
FIRST = BlockRequest(0, 0, BLOCK_BYTES)
EXTENSIONS = {"ut_pex": 1, "ut_metadata": 2, "ut_holepunch": 4, "lt_donthave": 7, "other": 9}
HANDSHAKE = encode_extended(0, encode({"m": {"ut_pex": 3}, "v": "x"}))


def request(piece: int, begin: int = 0, length: int = BLOCK_BYTES, kind: M = M.REQUEST) -> bytes:
    return encode_block_message(kind, BlockRequest(piece, begin, length))


KINDS = {
    "keep-alive": KEEP_ALIVE,
    "choke": encode_plain(M.CHOKE),
    "unchoke": encode_plain(M.UNCHOKE),
    "interested": encode_plain(M.INTERESTED),
    "not interested": encode_plain(M.NOT_INTERESTED),
    "have": encode_piece_index(M.HAVE, 3),
    "bitfield": encode_bitfield(Bitfield.from_int(5, GEOMETRY.piece_count)),
    "have all": encode_plain(M.HAVE_ALL),
    "port": encode_port(6881),
    "suggest": encode_piece_index(M.SUGGEST_PIECE, 3),
    "allowed fast": encode_piece_index(M.ALLOWED_FAST, 3),
    "cancel": request(0, kind=M.CANCEL),
    "request while choked": request(0),
    "hash message": (1).to_bytes(4, "big") + bytes((21,)),
    "extension handshake": HANDSHAKE,
    "pex": encode_extended(1, b"de"),
    "metadata request": encode_extended(2, encode({"msg_type": 0, "piece": 0})),
    "hole punch": encode_extended(4, bytes(8)),
    "lost piece": encode_extended(7, (3).to_bytes(4, "big")),
    "other extension": encode_extended(9, b"x"),
    "nobody's extension": encode_extended(99, b"x"),
}


def turns(connection: PeerConnection, data: bytes) -> list[list[PeerEvent]]:
    """Feed as a link does: one read, then what it left, turn by turn."""
    room = connection.receive_buffer()
    assert len(data) <= len(room)  # 32 KiB
    room[: len(data)] = data
    made = [connection.bytes_received(len(data), now=0.0)]
    while connection.has_unparsed:
        made.append(connection.parse_more(now=0.0))
    return made


@pytest.mark.parametrize("message", KINDS.values(), ids=KINDS.keys())
def test_f11_every_message_beside_payload_is_counted_and_few_are_handled_in_a_turn(
    message: bytes,
) -> None:
    connection = open_connection(extensions=EXTENSIONS)
    count = 290
    made = turns(connection, message * count)
    assert not connection.is_violated
    assert connection.state.control_units >= count
    assert max(map(len, made)) <= TURN_UNITS
    assert len(made) >= 2


@pytest.mark.parametrize("message", KINDS.values(), ids=KINDS.keys())
def test_f11_what_is_handled_in_turns_is_what_would_come_at_once(message: bytes) -> None:
    data = (message + KINDS["have"] + request(0)) * 100
    at_once = feed(open_connection(extensions=EXTENSIONS), data)
    in_turns = turns(open_connection(extensions=EXTENSIONS), data)
    assert [event for made in in_turns for event in made] == at_once


def test_f11_a_violation_comes_after_all_that_was_before_it_in_however_many_turns() -> None:
    connection = open_connection()
    made = turns(connection, KINDS["have"] * 1_000 + b"\x7f\xff\xff\xff\x07" + KINDS["have"])
    events = [event for each in made for event in each]
    assert events[:-1] == [PeerHas(PieceIndex(3))] * 1_000
    assert isinstance(events[-1], ProtocolViolated)
    assert not connection.has_unparsed


def test_f11_payload_and_requests_that_are_taken_cost_nothing() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    feed(connection, encode_plain(M.UNCHOKE))
    connection.state.control_units = 0
    connection.sender.request_blocks([FIRST])
    feed(connection, encode_piece_header(0, 0, BLOCK_BYTES) + bytes(BLOCK_BYTES))
    begins = range(0, 64 * KIB, BLOCK_BYTES)
    events = feed(connection, b"".join(request(1, begin) for begin in begins))
    assert isinstance(events[0], BlocksRequested)
    assert connection.state.control_units == 0


DECODERS: dict[int, Callable[[bytes], object]] = {
    0: decode_extension_handshake,
    EXTENSIONS["ut_pex"]: decode_pex,
    EXTENSIONS["ut_metadata"]: decode_metadata_message,
}
REPEATS = 20
DEAR = {
    "a key many times": b"1:mde" * 600,
    "zeros with a minus": b"1:xl" + b"i-0e" * 1_900 + b"e",
    "few zeros with a minus": b"1:xl" + b"i-0e" * 12 + b"e",
    "as many as ut_metadata had before": b"1:xl" + b"i-0e" * 485 + b"e",
    "empty lists, then a fault": b"1:xl" + b"le" * 1_900 + b"i-0ee",
    "few empty lists, then a fault": b"1:xl" + b"le" * 12 + b"i-0ee",
    "nested": (b"0:d" * 8 + b"e" * 8) * 200,
    "plain": b"1:xl" + b"0:" * 1_900 + b"e",
}


@pytest.mark.no_cover
@pytest.mark.parametrize("number", DECODERS)
@pytest.mark.parametrize("fields", DEAR.values(), ids=DEAR.keys())
def test_f11_no_unit_stands_for_a_long_time_however_dear_a_message_is_to_decode(
    number: int, fields: bytes
) -> None:
    connection = open_connection(extensions=EXTENSIONS)
    body = b"d8:msg_typei0e5:piecei9e" + fields + b"e"
    feed(connection, encode_extended(number, body))  # a handshake is decoded by then
    took: list[float] = []
    for _ in range(5):
        with cpu_time() as spent:
            for _ in range(REPEATS):  # a message that comes alone takes as long as cold caches do
                with suppress(RemoteProtocolError):
                    DECODERS[number](body)
        took.append(spent.seconds / REPEATS)
    assert min(took) / connection.state.control_units < 30e-6  # it was 120 us


def test_b9_the_contacts_of_peer_exchange_are_charged_and_usual_messages_fit_what_is_earned() -> (
    None
):
    connection = open_connection(extensions=EXTENSIONS)
    feed(connection, encode_extended(1, encode({"added": bytes(300), "added.f": bytes(50)})))
    assert 100 < connection.state.control_units < 200  # 50 contacts; 3,000 are earned a minute


def test_bep9_metadata_is_not_charged_for_its_length() -> None:
    connection = open_connection(extensions=EXTENSIONS)
    head = encode({"msg_type": 1, "piece": 0, "total_size": 50_000})
    feed(connection, encode_extended(2, head + bytes(METADATA_PIECE_BYTES)))
    assert connection.state.control_units == 9


@pytest.mark.parametrize("kind", ["bitfield", "have all"])
def test_f11_what_speaks_of_all_pieces_costs_much_but_for_the_first_that_must_come(
    kind: str,
) -> None:
    connection = open_connection()
    feed(connection, KINDS[kind])
    assert connection.state.control_units == 1
    feed(connection, KINDS[kind])
    assert connection.state.control_units > TURN_UNITS


IN_VAIN = {
    "twice": request(0) * 40,
    "too long": request(0, 0, 32 * KIB) * 40,
    "a byte each": b"".join(request(0, begin, 1) for begin in range(40)),
    "and cancelled": (request(0) + request(0, kind=M.CANCEL)) * 40,
}


@pytest.mark.parametrize("data", IN_VAIN.values(), ids=IN_VAIN.keys())
def test_b4_requests_that_come_to_nothing_count_as_messages_beside_payload(data: bytes) -> None:
    connection = open_connection()
    connection.sender.unchoke()
    feed(connection, data)
    assert connection.state.control_units >= 39


def test_b4_requests_for_pieces_that_we_do_not_have_count_when_they_are_refused() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    sent(connection)
    feed(connection, request(0))
    connection.sender.reject_missing([connection.upload_requests.popleft()])
    assert connection.state.control_units == 1
    assert sent(connection) == request(0, kind=M.REJECT_REQUEST)


def test_f11_a_state_that_stays_as_it_is_is_no_event() -> None:
    connection = open_connection(fast=False)
    names = "choke", "unchoke", "unchoke", "choke", "choke", "not interested", "interested"
    data = b"".join(KINDS[name] for name in (*names, "interested", "not interested"))
    assert plain(feed(connection, data)) == [
        PeerUnchoked(),
        PeerChoked(()),
        PeerInterested(),
        PeerNotInterested(),
    ]


def test_f11_a_choke_that_is_repeated_gives_up_no_request() -> None:
    connection = open_connection()
    feed(connection, KINDS["allowed fast"])
    connection.sender.request_blocks([BlockRequest(3, 0, BLOCK_BYTES)])
    assert feed(connection, KINDS["choke"] * 3) == []
    assert len(connection.outstanding) == 1


def test_f11_the_same_extension_handshake_again_is_no_event_and_another_one_is() -> None:
    connection = open_connection(extensions=EXTENSIONS)
    other = encode_extended(0, encode({"m": {"ut_pex": 0}}))
    events = feed(connection, HANDSHAKE * 3 + other * 2 + HANDSHAKE)
    assert [type(event) for event in events] == [ExtensionHandshakeReceived] * 3
    assert connection.state.peer_extensions == {"ut_pex": 3}


def test_f11_few_ports_of_one_peer_are_events_and_each_once() -> None:
    connection = open_connection()
    events = feed(connection, b"".join(encode_port(port) * 2 for port in range(1, 100)))
    assert events == [PortReceived(port) for port in range(1, MAX_PORTS + 1)]


def test_f11_a_piece_is_allowed_once() -> None:
    assert feed(open_connection(), KINDS["allowed fast"] * 3) == [AllowedFast(PieceIndex(3))]


def test_b4_few_requests_that_come_to_nothing_are_handled_in_a_turn() -> None:
    connection = open_connection()
    connection.sender.unchoke()
    made = turns(connection, request(0) * 1_900)
    assert len(made) == 8


# -- what waits to be sent ----------------------------------------------------------------------


def test_b5_states_that_were_not_sent_replace_each_other() -> None:
    connection = open_connection()
    for _ in range(1_000):
        connection.sender.unchoke()
        connection.sender.set_interested(interested=True)
        connection.sender.choke()
        connection.sender.set_interested(interested=False)
    assert not connection.has_data_to_send
    assert connection.state.queue.unsent_bytes == 0
    connection.sender.unchoke()
    sent(connection)
    for _ in range(1_000):
        connection.sender.choke()
        connection.sender.unchoke()
    assert not connection.has_data_to_send
    connection.sender.choke()
    assert sent(connection) == KINDS["choke"]


def test_b5_a_state_that_was_taken_back_leaves_the_others_in_their_order() -> None:
    connection = open_connection()
    connection.sender.send_port(1)
    connection.sender.unchoke()
    connection.sender.send_port(2)
    connection.sender.choke()
    connection.sender.send_port(3)
    connection.sender.unchoke()
    expected = encode_port(1) + encode_port(2) + encode_port(3) + KINDS["unchoke"]
    assert sent(connection) == expected


def test_b5_a_choke_that_dropped_requests_without_a_reject_is_said() -> None:
    connection = open_connection(fast=False)
    connection.sender.unchoke()
    sent(connection)
    for _ in range(100):
        feed(connection, request(0))
        connection.sender.choke()
        connection.sender.unchoke()
    assert sent(connection).startswith(KINDS["choke"] + KINDS["unchoke"])
    connection = open_connection(fast=True)
    connection.sender.unchoke()
    sent(connection)
    feed(connection, request(0))
    connection.sender.choke()
    connection.sender.unchoke()
    assert sent(connection) == request(0, kind=M.REJECT_REQUEST)


def test_b5_pieces_that_nobody_reads_of_are_left_out_and_end_no_link() -> None:
    connection = open_connection()
    for start in range(0, 1_000_000, 100):
        connection.sender.send_have(range(start, start + 100))
    assert connection.state.queue.unsent_bytes == 0
    assert len(sent(connection)) <= 130 * KIB
    connection.sender.send_have([5])
    assert sent(connection) == encode_piece_index(M.HAVE, 5)


def test_b5_what_waits_beside_payload_is_known() -> None:
    connection = open_connection()
    connection.sender.send_block(0, 0, memoryview(bytes(BLOCK_BYTES)))
    connection.sender.reject(FIRST)
    connection.sender.send_keep_alive()
    assert connection.state.queue.unsent_bytes == 17 + 4
    connection.data_to_send()
    assert connection.state.queue.unsent_bytes == 0
