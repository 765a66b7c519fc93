"""BEP 6 beyond requests: the allowed-fast set, have all, have none, suggest, large bitfields."""

import pytest

from tests.support.peer_pair import feed, make_connection, make_pair, open_connection, sent
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import BLOCK_BYTES, InfoHash, PieceIndex
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry
from torrent_engine.protocol.wire.fast import allowed_fast_set
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    MessageId,
    PeerBitfield,
    PeerHas,
    PeerInterested,
    PeerNotInterested,
    PieceSuggested,
    encode_bitfield,
    encode_piece_index,
    encode_plain,
)
from torrent_engine.protocol.wire.pre_metadata import MAX_ALLOWED_FAST_IN

M = MessageId
HASH = InfoHash(b"\xaa" * 20)
HUGE = Geometry(total_bytes=2_000_003 * BLOCK_BYTES, piece_bytes=BLOCK_BYTES)


def test_bep6_allowed_fast_set_of_7_is_that_of_the_specification() -> None:
    expected = [1059, 431, 808, 1217, 287, 376, 1188]
    assert allowed_fast_set("80.4.4.200", HASH, 1313, 7) == expected


def test_bep6_allowed_fast_set_of_9_is_that_of_the_specification() -> None:
    expected = [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]
    assert allowed_fast_set("80.4.4.200", HASH, 1313, 9) == expected


def test_bep6_allowed_fast_set_is_the_same_for_a_whole_network() -> None:
    sets = {tuple(allowed_fast_set(f"80.4.4.{last}", HASH, 1313)) for last in (0, 1, 255)}
    assert len(sets) == 1
    assert allowed_fast_set("80.4.5.200", HASH, 1313) not in map(list, sets)


@pytest.mark.parametrize("pieces", [1, 2, 5, 10])
def test_bep6_allowed_fast_set_of_a_small_torrent_is_all_of_it(pieces: int) -> None:
    assert sorted(allowed_fast_set("1.2.3.4", HASH, pieces)) == list(range(pieces))


@pytest.mark.parametrize(("host", "pieces"), [("::1", 100), ("2001:db8::1", 100), ("1.2.3.4", 0)])
def test_bep6_allowed_fast_set_is_empty_for_ipv6_and_for_nothing(host: str, pieces: int) -> None:
    assert allowed_fast_set(host, HASH, pieces) == []


def test_bep6_allowed_fast_messages_are_believed_up_to_a_bound() -> None:
    connection = open_connection(geometry=HUGE)
    data = b"".join(encode_piece_index(M.ALLOWED_FAST, piece) for piece in range(500))
    events = feed(connection, data)
    assert events == [AllowedFast(PieceIndex(piece)) for piece in range(MAX_ALLOWED_FAST_IN)]
    assert len(connection.state.allowed_fast_in) == MAX_ALLOWED_FAST_IN


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("pieces", [0, 1, 2**11 - 1], ids=["none", "one", "all"])
def test_bep6_what_we_have_is_told_in_the_shortest_way(fast: bool, pieces: int) -> None:
    have = Bitfield.from_int(pieces, 11)
    pair = make_pair(fast=fast)
    pair.ours.sender.send_bitfield(have)
    short = {0: encode_plain(M.HAVE_NONE), 2**11 - 1: encode_plain(M.HAVE_ALL)}
    expected = short.get(pieces, encode_bitfield(have)) if fast else encode_bitfield(have)
    if not fast and not pieces:
        expected = b""  # BEP 3: who has nothing may leave it out
    assert sent(pair.ours) == expected
    pair.ours.sender.send_bitfield(have)
    assert pair.pump()[1] == ([PeerBitfield(have)] if expected else [])


def test_bep3_haves_are_one_buffer() -> None:
    connection = open_connection()
    connection.sender.send_have([1, 10])
    assert connection.data_to_send() == [
        encode_piece_index(M.HAVE, 1) + encode_piece_index(M.HAVE, 10)
    ]


@pytest.mark.parametrize("chunk_bytes", [None, 1_448, 65_536])
def test_bep3_bitfield_of_two_million_pieces(chunk_bytes: int | None) -> None:
    connection = open_connection(geometry=HUGE)
    have = Bitfield.from_int((1 << 2_000_003) // 3, 2_000_003)
    data = encode_bitfield(have) + encode_piece_index(M.HAVE, 2_000_002)
    events = feed(connection, data, chunk_bytes=chunk_bytes)
    assert events == [PeerBitfield(have), PeerHas(PieceIndex(2_000_002))]


def test_bep6_have_all_of_two_million_pieces() -> None:
    connection = open_connection(geometry=HUGE)
    (event,) = feed(connection, encode_plain(M.HAVE_ALL))
    assert isinstance(event, PeerBitfield)
    assert event.bitfield.all()
    assert event.bitfield.count == 2_000_003


def test_bep6_suggestion_reaches_the_other_side() -> None:
    pair = make_pair()
    pair.ours.sender.suggest(4)
    assert pair.pump() == ([], [PieceSuggested(PieceIndex(4))])


def test_bep6_nothing_of_it_may_be_sent_without_fast() -> None:
    connection = make_connection(fast=False)
    with pytest.raises(LocalProtocolError, match="suggest"):
        connection.sender.suggest(1)
    with pytest.raises(LocalProtocolError, match="allowed fast"):
        connection.sender.allow_fast([1])
    assert not connection.state.allowed_fast_out


def test_bep3_interest_is_told_when_it_changes() -> None:
    pair = make_pair()
    pair.ours.sender.set_interested(interested=False)
    assert not pair.ours.has_data_to_send
    for interested, expected in ((True, PeerInterested()), (False, PeerNotInterested())):
        pair.ours.sender.set_interested(interested=interested)
        pair.ours.sender.set_interested(interested=interested)
        assert pair.pump() == ([], [expected])
        assert pair.theirs.state.peer_interested is interested
