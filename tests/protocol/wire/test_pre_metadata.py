"""What a peer says before the metadata is there is held and judged afterwards (row B3)."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cpu_time import cpu_time
from tests.support.peer_pair import GEOMETRY, feed, make_connection, sent, their_handshake
from torrent_engine.base.config import KIB, TransferConfig, WireLimits
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import BLOCK_BYTES, PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    BlockRequest,
    BlocksReceived,
    MessageId,
    PeerBitfield,
    PeerEvent,
    PeerHas,
    PeerInterested,
    PeerLost,
    PeerUnchoked,
    PieceSuggested,
    PortReceived,
    ProtocolViolated,
    UnrequestedBlock,
    encode_bitfield,
    encode_block_message,
    encode_extended,
    encode_piece_header,
    encode_piece_index,
    encode_plain,
    encode_port,
)
from torrent_engine.protocol.wire.pre_metadata import MAX_SINGLE, MAX_SUGGESTED, PreMetadataState

M = MessageId
PIECES = GEOMETRY.piece_count  # eleven: a bitfield has five spare bits
LIMITS = WireLimits()
EXTENSIONS = {"lt_donthave": 7}


def early(*, fast: bool = True, joins_blocks: bool = False) -> PeerConnection:
    """Return a connection that knows no metadata; the handshakes are over."""
    connection = make_connection(
        geometry=None,
        fast=fast,
        extensions=EXTENSIONS,
        joins_blocks=joins_blocks,
        transfer=TransferConfig(slow_receive_buffer_bytes=512 * KIB) if joins_blocks else None,
    )
    connection.sender.send_handshake()
    feed(connection, their_handshake())
    connection.data_to_send()
    return connection


def have(piece: int) -> bytes:
    return encode_piece_index(M.HAVE, piece)


def lost(piece: int) -> bytes:
    return encode_extended(7, piece.to_bytes(4, "big"))


def raw_bitfield(data: bytes) -> bytes:
    return (1 + len(data)).to_bytes(4, "big") + b"\x05" + data


HAVE_ALL, HAVE_NONE = encode_plain(M.HAVE_ALL), encode_plain(M.HAVE_NONE)
SOME = encode_bitfield(Bitfield.from_int(0b101_0000_0101, PIECES))

SAID = {
    "have": (have(0) + have(10) + have(0), [PeerBitfield(Bitfield.from_int(0x401, PIECES))]),
    "bitfield": (SOME, [PeerBitfield(Bitfield.from_int(0b101_0000_0101, PIECES))]),
    "bitfield_then_have": (SOME + have(1), [PeerBitfield(Bitfield.from_int(0x507, PIECES))]),
    "later_bitfield_counts": (have(1) + SOME, [PeerBitfield(Bitfield.from_int(0x505, PIECES))]),
    "have_all": (HAVE_ALL, [PeerBitfield(Bitfield.full(PIECES))]),
    "have_all_but_one": (HAVE_ALL + lost(3), [PeerBitfield(Bitfield.from_int(0x7F7, PIECES))]),
    "lost_and_got": (HAVE_ALL + lost(3) + have(3), [PeerBitfield(Bitfield.full(PIECES))]),
    "have_none": (HAVE_NONE, [PeerBitfield(Bitfield(PIECES))]),
    "lost_only": (lost(3), []),
    "nothing": (b"", []),
    "allowed": (
        encode_piece_index(M.ALLOWED_FAST, 4) * 2,
        [AllowedFast(PieceIndex(4))],
    ),
    "suggested": (
        encode_piece_index(M.SUGGEST_PIECE, 9) + encode_piece_index(M.SUGGEST_PIECE, 2),
        [PieceSuggested(PieceIndex(9)), PieceSuggested(PieceIndex(2))],
    ),
}


@pytest.mark.parametrize("chunk_bytes", [None, 1, 3])
@pytest.mark.parametrize(("data", "expected"), SAID.values(), ids=SAID.keys())
def test_b3_what_was_said_early_counts_when_the_metadata_comes(
    data: bytes, expected: list[PeerEvent], chunk_bytes: int | None
) -> None:
    connection = early()
    assert connection.state.geometry is None
    assert feed(connection, data, chunk_bytes=chunk_bytes) == []
    assert connection.metadata_received(GEOMETRY, now=1.0) == expected
    assert connection.state.geometry == GEOMETRY
    assert not connection.is_violated
    assert feed(connection, have(3)) == [PeerHas(PieceIndex(3))]


LIES = {
    "have_past_the_end": (have(1) + have(PIECES), 3, 1),
    "bitfield_too_long": (raw_bitfield(bytes(3)), 3, 1),
    "bitfield_too_short": (raw_bitfield(b"\x80"), 3, 1),
    "bitfield_empty": (raw_bitfield(b""), 3, 1),
    "spare_bits": (raw_bitfield(b"\xff\xff"), 3, 1),
    "spare_bits_of_an_earlier_bitfield": (raw_bitfield(b"\0\1") + raw_bitfield(b"\0\0"), 3, 1),
    "lost_past_the_end": (HAVE_ALL + lost(PIECES), 54, 1),
    "allowed_past_the_end": (encode_piece_index(M.ALLOWED_FAST, PIECES), 6, 0),
    "suggested_past_the_end": (encode_piece_index(M.SUGGEST_PIECE, 2**21 - 1), 6, 0),
    "have_that_a_bitfield_replaced": (have(500) + SOME, 3, 1),
}


@pytest.mark.parametrize(("data", "bep", "right"), LIES.values(), ids=LIES.keys())
def test_b3_what_cannot_be_ends_the_connection_after_what_can(
    data: bytes, bep: int, right: int
) -> None:
    connection = early()
    assert feed(connection, data) == []
    events = connection.metadata_received(GEOMETRY, now=1.0)
    assert len(events) == right + 1
    assert isinstance(events[-1], ProtocolViolated)
    assert events[-1].error.bep == bep
    assert connection.is_violated
    assert feed(connection, have(1)) == []


AT_ONCE = {
    "have_of_no_torrent": (have(2**21), 3, True),
    "have_of_the_largest_number": (have(2**32 - 1), 3, True),
    "bitfield_of_no_torrent": ((2**18 + 2).to_bytes(4, "big") + b"\x05", 3, True),
    "bitfields_of_two_lengths": (raw_bitfield(bytes(2)) + raw_bitfield(bytes(3)), 3, True),
    "lost_of_no_torrent": (lost(2**21), 54, True),
    "allowed_of_no_torrent": (encode_piece_index(M.ALLOWED_FAST, 2**21), 6, True),
    "suggested_of_no_torrent": (encode_piece_index(M.SUGGEST_PIECE, 2**21), 6, True),
    "have_none_after_have": (have(1) + HAVE_NONE, 6, True),
    "have_none_after_bitfield": (SOME + HAVE_NONE, 6, True),
    "have_none_twice": (HAVE_NONE * 2, 6, True),
    "have_all_without_fast": (HAVE_ALL, 6, False),
    "have_none_without_fast": (HAVE_NONE, 6, False),
    "suggest_without_fast": (encode_piece_index(M.SUGGEST_PIECE, 1), 6, False),
    "allowed_without_fast": (encode_piece_index(M.ALLOWED_FAST, 1), 6, False),
}


@pytest.mark.parametrize(("data", "bep", "fast"), AT_ONCE.values(), ids=AT_ONCE.keys())
def test_b3_what_no_torrent_allows_ends_the_connection_at_once(
    data: bytes, bep: int, fast: bool
) -> None:
    connection = early(fast=fast)
    (event,) = feed(connection, data)
    assert isinstance(event, ProtocolViolated)
    assert event.error.bep == bep
    assert connection.metadata_received(GEOMETRY, now=1.0) == []


def test_b3_the_largest_bitfield_is_held_and_no_more_memory_than_that() -> None:
    connection = early()
    assert feed(connection, raw_bitfield(bytes(2**18))) == []
    assert connection.state.pre_metadata.held_bytes == 256 * KIB
    rng = random.Random(0)
    for _ in range(300):
        feed(connection, have(rng.randrange(2**21)) + lost(rng.randrange(2**21)))
    suggestions = range(0, 2**20, 1_000)
    feed(connection, b"".join(encode_piece_index(M.SUGGEST_PIECE, each) for each in suggestions))
    feed(connection, b"".join(encode_piece_index(M.ALLOWED_FAST, each) for each in suggestions))
    assert connection.state.pre_metadata.held_bytes == 256 * KIB
    assert list(connection.state.pre_metadata.suggested) == list(suggestions)[-MAX_SUGGESTED:]
    assert list(connection.state.pre_metadata.allowed_fast) == list(suggestions)[:100]


def test_b3_single_pieces_of_a_high_number_take_little_memory() -> None:
    connection = early()
    last = LIMITS.max_pre_metadata_pieces - 1
    feed(connection, b"".join(have(last - number) for number in range(MAX_SINGLE)))
    assert connection.state.pre_metadata.held_bytes == 0
    assert connection.state.pre_metadata.has_pieces
    feed(connection, b"".join(lost(last - number) for number in range(MAX_SINGLE)))
    assert not connection.state.pre_metadata.has_pieces


@pytest.mark.parametrize("count", [3, MAX_SINGLE, MAX_SINGLE + 1, 600])
def test_b3_pieces_are_the_same_however_many_came_one_by_one(count: int) -> None:
    pieces = random.Random(count).sample(range(100, 5_000), count)
    connection = early()
    for piece in pieces:
        feed(connection, have(piece))
    for piece in pieces[::3]:
        feed(connection, lost(piece))
    expected = sorted(set(pieces) - set(pieces[::3]))
    (event,) = connection.metadata_received(Geometry(5_000 * BLOCK_BYTES, BLOCK_BYTES), now=1.0)
    assert isinstance(event, PeerBitfield)
    assert list(event.bitfield.present()) == expected


def test_b3_interest_and_unchoke_are_told_when_they_come_and_again_in_the_end() -> None:
    connection = early()
    data = encode_plain(M.INTERESTED) + encode_plain(M.UNCHOKE) + encode_port(6881) + HAVE_ALL
    told = [PeerInterested(), PeerUnchoked(), PortReceived(6881)]
    assert feed(connection, data) == told
    assert connection.metadata_received(GEOMETRY, now=1.0) == [
        PeerBitfield(Bitfield.full(PIECES)),
        PeerInterested(),
        PeerUnchoked(),
    ]


def test_b3_requests_before_the_metadata_are_rejected_and_not_without_end() -> None:
    connection = early()
    request = BlockRequest(5_000, 0, BLOCK_BYTES)
    asked = encode_block_message(M.REQUEST, request)
    for is_unchoked in (False, True):
        if is_unchoked:
            connection.sender.unchoke()
            connection.data_to_send()
        assert feed(connection, asked) == []
        assert sent(connection) == encode_block_message(M.REJECT_REQUEST, request)
    assert feed(connection, encode_block_message(M.CANCEL, request)) == []
    assert not connection.upload_requests
    events = feed(connection, asked * LIMITS.max_choked_requests)
    assert [type(event) for event in events] == [ProtocolViolated]


def test_b3_requests_before_the_metadata_are_dropped_without_the_fast_extension() -> None:
    connection = early(fast=False)
    assert feed(connection, encode_block_message(M.REQUEST, BlockRequest(0, 0, 1))) == []
    assert sent(connection) == b""


def test_b3_blocks_before_the_metadata_are_unrequested_and_their_bytes_dropped() -> None:
    connection = early(fast=False)
    block = encode_piece_header(0, 0, BLOCK_BYTES) + bytes(BLOCK_BYTES)
    assert feed(connection, block) == [UnrequestedBlock(0, 0, BLOCK_BYTES)]
    events = feed(connection, block * LIMITS.max_unrequested_blocks)
    assert isinstance(events[-1], ProtocolViolated)


def test_b3_blocks_in_a_row_are_joined_after_the_metadata() -> None:
    geometry = Geometry(total_bytes=4 * 256 * KIB, piece_bytes=256 * KIB)
    connection = early(joins_blocks=True)
    feed(connection, encode_plain(M.UNCHOKE))
    connection.metadata_received(geometry, now=1.0)
    blocks = [(0, begin, BLOCK_BYTES) for begin in range(0, 256 * KIB, BLOCK_BYTES)]
    connection.sender.request_blocks(blocks)
    data = b"".join(encode_piece_header(*block) + bytes(BLOCK_BYTES) for block in blocks)
    events = feed(connection, data)
    assert [type(event) for event in events] == [BlocksReceived]


def test_b3_a_message_that_comes_in_two_parts_around_the_metadata_is_judged_once() -> None:
    for data, violated in ((SOME, False), (raw_bitfield(bytes(3)), True)):
        connection = early()
        assert feed(connection, data[:6]) == []
        assert connection.metadata_received(GEOMETRY, now=1.0) == []
        events = feed(connection, data[6:])
        assert isinstance(events[0], ProtocolViolated if violated else PeerBitfield)


def test_b3_metadata_comes_once() -> None:
    connection = early()
    connection.metadata_received(GEOMETRY, now=1.0)
    with pytest.raises(LocalProtocolError):
        connection.metadata_received(GEOMETRY, now=2.0)


def test_b5_a_peer_that_waited_for_the_metadata_is_not_late_when_it_comes() -> None:
    connection = early()
    feed(connection, HAVE_ALL, now=599.0)
    connection.metadata_received(GEOMETRY, now=599.0)
    assert connection.timed_out(650.0) is None


Fold = tuple[int, frozenset[int], frozenset[int]]


def fold(events: list[PeerEvent]) -> Fold:
    """Return (pieces that it has, allowed fast, suggested) after these events."""
    bits, allowed, suggested = 0, set[int](), set[int]()
    for event in events:
        if isinstance(event, PeerBitfield):
            bits = event.bitfield.as_int()
        elif isinstance(event, PeerHas):
            bits |= 1 << event.piece_index
        elif isinstance(event, PeerLost):
            bits &= ~(1 << event.piece_index)
        elif isinstance(event, AllowedFast):
            allowed.add(event.piece_index)
        elif isinstance(event, PieceSuggested):
            suggested.add(event.piece_index)
    return bits, frozenset(allowed), frozenset(suggested)


INDEX = st.integers(0, PIECES - 1) | st.integers(0, 40)
NAMED: list[Callable[[int], bytes]] = [
    have,
    lost,
    lambda piece: encode_piece_index(M.ALLOWED_FAST, piece),
    lambda piece: encode_piece_index(M.SUGGEST_PIECE, piece),
]
MESSAGE = (
    st.builds(lambda make, piece: make(piece), st.sampled_from(NAMED), INDEX)
    | st.sampled_from([HAVE_ALL, HAVE_NONE, SOME, encode_port(1), encode_plain(M.UNCHOKE)])
    | st.binary(min_size=2, max_size=2).map(raw_bitfield)
    | st.integers(0, 2**PIECES - 1).map(lambda bits: encode_bitfield(Bitfield.from_int(bits, 11)))
    | st.binary(min_size=1, max_size=3).map(raw_bitfield)
)


@settings(deadline=None, max_examples=500)
@given(messages=st.lists(MESSAGE, max_size=12), fast=st.booleans(), arrival=st.integers(0, 12))
def test_b3_messages_in_any_order_amount_to_the_same_whenever_the_metadata_comes(
    messages: list[bytes], fast: bool, arrival: int
) -> None:
    late = make_connection(geometry=GEOMETRY, fast=fast, extensions=EXTENSIONS)
    feed(late, their_handshake())
    expected = feed(late, b"".join(messages))
    connection = early(fast=fast)
    events = feed(connection, b"".join(messages[:arrival]))
    events += connection.metadata_received(GEOMETRY, now=0.0)
    events += feed(connection, b"".join(messages[arrival:]))
    assert connection.is_violated == late.is_violated
    violations = [at for at, event in enumerate(events) if isinstance(event, ProtocolViolated)]
    assert violations == ([len(events) - 1] if connection.is_violated else [])
    if not late.is_violated:
        assert fold(events) == fold(expected)
        assert connection.state.allowed_fast_in == late.state.allowed_fast_in
        assert connection.state.is_bitfield_over == late.state.is_bitfield_over


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("have"), st.integers(0, 400)),
            st.tuples(st.just("lost"), st.integers(0, 400)),
            st.tuples(st.just("bits"), st.integers(0, (1 << 64) - 1)),
            st.tuples(st.just("all"), st.booleans()),
        ),
        max_size=12,
    ),
    st.integers(0, 300),
)
def test_b3_it_is_known_whether_a_peer_has_any_piece(
    messages: list[tuple[str, int]], many: int
) -> None:
    state, has = PreMetadataState(1_000), set[int]()
    has_all = False

    def tell(kind: str, number: int) -> None:
        nonlocal has, has_all
        if kind == "bits":
            state.bitfield(number.to_bytes(8, "big"))
            has, has_all = {each for each in range(64) if number >> (63 - each) & 1}, False
        elif kind == "all":
            state.has_all_or_none(has_all=bool(number))
            has, has_all = set(), bool(number)
        else:
            (state.has if kind == "have" else state.lost)(number)
            if (kind == "have") != has_all:
                has.add(number)
            else:
                has.discard(number)

    for kind, number in messages:
        tell(kind, number)
        assert state.has_pieces == (has_all or bool(has))
    for piece in range(many):
        tell("have", piece)
    for piece in range(many):
        tell("lost", piece)
    assert state.has_pieces == (has_all or bool(has))


@pytest.mark.no_cover
def test_f11_a_long_bitfield_is_not_counted_for_each_message() -> None:
    state = PreMetadataState(LIMITS.max_pre_metadata_pieces)
    state.bitfield(bytes(LIMITS.max_pre_metadata_pieces // 8))
    with cpu_time() as spent:
        assert not any(state.has_pieces for _ in range(5_000))
    assert spent.seconds < 0.05  # it was 0.35 s
