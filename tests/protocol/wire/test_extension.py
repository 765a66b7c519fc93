"""BEP 10 handshakes and messages, BEP 21 upload_only, BEP 54 lt_donthave."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.peer_pair import feed, make_pair, open_connection, sent
from torrent_engine.base.errors import LocalProtocolError, RemoteProtocolError
from torrent_engine.base.ids import PieceIndex
from torrent_engine.codec.bencode import encode
from torrent_engine.protocol.wire.extension import (
    MAX_EXTENSIONS,
    ExtensionHandshake,
    decode_extension_handshake,
    encode_extension_handshake,
)
from torrent_engine.protocol.wire.messages import (
    ExtensionHandshakeReceived,
    ExtensionMessageReceived,
    PeerLost,
    ProtocolViolated,
    encode_extended,
)

NOTHING = ExtensionHandshake()

MALFORMED = {
    "empty": b"",
    "junk": b"junk",
    "integer": b"i1e",
    "list": b"le",
    "string": b"2:de",
    "not_closed": b"d1:m",
    "key_no_string": b"di1ei2ee",
    "nested_too_deep": b"d1:a" + b"l" * 100_000,
    "too_many_tokens": b"d1:al" + b"i0e" * 20_000 + b"ee",
    "length_beyond_the_end": b"d1:v99999999:x",
}

PASSED_OVER = {
    "m_no_dictionary": {"m": [1, 2]},
    "m_value_no_integer": {"m": {"ut_pex": "1"}},
    "m_value_negative": {"m": {"ut_pex": -1}},
    "m_value_too_large": {"m": {"ut_pex": 256}},
    "m_name_too_long": {"m": {"x" * 65: 1}},
    "p_zero": {"p": 0},
    "p_too_large": {"p": 65_536},
    "p_string": {"p": "6881"},
    "v_integer": {"v": 5},
    "yourip_of_5_bytes": {"yourip": b"12345"},
    "yourip_integer": {"yourip": 127},
    "reqq_zero": {"reqq": 0},
    "reqq_negative": {"reqq": -5},
    "reqq_huge": {"reqq": 2**62},
    "upload_only_zero": {"upload_only": 0},
    "upload_only_string": {"upload_only": "1"},
    "metadata_size_zero": {"metadata_size": 0},
    "metadata_size_negative": {"metadata_size": -1},
    "metadata_size_huge": {"metadata_size": 2**40},
    "e_zero": {"e": 0},
    "e_two": {"e": 2},
    "e_text": {"e": b"1"},
    "unknown_key": {"m_": 1, "complete_ago": 5},
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep10_malformed_handshake_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_extension_handshake(data)
    assert caught.value.bep == 10
    events = feed(open_connection(extensions={}), encode_extended(0, data), chunk_bytes=4096)
    assert len(events) == 1
    assert isinstance(events[0], ProtocolViolated)
    assert events[0].error.bep == 10


@pytest.mark.parametrize("value", PASSED_OVER.values(), ids=PASSED_OVER.keys())
def test_bep10_value_out_of_range_is_passed_over(value: dict[str, object]) -> None:
    assert decode_extension_handshake(encode(value)) == NOTHING  # type: ignore[arg-type]


def test_bep10_example_of_the_specification() -> None:
    data = b"d1:md11:LT_metadatai1e6:\xb5T_PEXi2ee1:pi6881e1:v13:\xc2\xb5Torrent 1.2e"
    assert decode_extension_handshake(data) == ExtensionHandshake(
        extensions={"LT_metadata": 1, "\ufffdT_PEX": 2}, client="\xb5Torrent 1.2", listen_port=6881
    )


def test_bep10_handshake_round_trip_keeps_every_field() -> None:
    handshake = ExtensionHandshake(
        extensions={"ut_metadata": 2, "ut_pex": 1, "off": 0},
        client="torrent_engine/0.1.0",
        listen_port=6881,
        your_ip=bytes((127, 0, 0, 1)),
        reqq=2_000,
        is_upload_only=True,
        metadata_bytes=31_235,
        prefers_encryption=True,
    )
    assert decode_extension_handshake(encode_extension_handshake(handshake)) == handshake


def test_bep10_empty_handshake_is_an_empty_m() -> None:
    assert encode_extension_handshake(NOTHING) == b"d1:mdee"


def test_bep10_client_name_is_cut_and_may_be_no_utf8() -> None:
    handshake = decode_extension_handshake(encode({"v": b"\xff" + b"x" * 500}))
    assert handshake.client == "\ufffd" + "x" * 127


def test_bep10_unsorted_keys_are_accepted() -> None:
    assert decode_extension_handshake(b"d1:pi80e1:mdee").listen_port == 80


def test_bep10_only_so_many_extensions_are_kept() -> None:
    connection = open_connection(extensions={})
    for start in (0, 1_000):
        names = {f"x{number}": 1 for number in range(start, start + 500)}
        (event,) = feed(connection, encode_extended(0, encode({"m": names})))
        assert isinstance(event, ExtensionHandshakeReceived)
        assert len(event.handshake.extensions) == MAX_EXTENSIONS
    assert len(connection.state.peer_extensions) == MAX_EXTENSIONS


def test_bep10_second_handshake_adds_changes_and_turns_off() -> None:
    connection = open_connection(extensions={"ut_pex": 1})
    feed(connection, encode_extended(0, encode({"m": {"ut_pex": 3, "ut_metadata": 4}})))
    feed(connection, encode_extended(0, encode({"m": {"ut_pex": 0, "lt_donthave": 9}})))
    assert connection.state.peer_extensions == {"ut_pex": 0, "ut_metadata": 4, "lt_donthave": 9}
    assert not connection.sender.send_extension("ut_pex", b"")
    assert not connection.sender.send_extension("never_named", b"")
    assert not connection.has_data_to_send
    assert connection.sender.send_extension("ut_metadata", b"abc")
    assert sent(connection) == bytes.fromhex("00000005 14 04") + b"abc"


def test_bep10_message_is_known_by_the_number_that_we_gave() -> None:
    connection = open_connection(extensions={"ut_pex": 5})
    feed(connection, encode_extended(0, encode({"m": {"ut_pex": 3}})))
    events = feed(connection, encode_extended(5, b"data") + encode_extended(3, b"data"))
    assert events == [ExtensionMessageReceived("ut_pex", b"data")]


def test_bep10_extension_handshake_needs_the_bit_of_both_sides() -> None:
    connection = open_connection(extensions=None)
    with pytest.raises(LocalProtocolError, match="extension handshake"):
        connection.sender.send_extension_handshake(NOTHING)


@pytest.mark.parametrize("chunk_bytes", [None, 1, 3])
def test_bep10_a_pair_tells_each_other_its_extensions(chunk_bytes: int | None) -> None:
    pair = make_pair(extensions={"ut_pex": 1})
    handshake = ExtensionHandshake(extensions=pair.ours.state.extension_ids, reqq=2_000)
    pair.ours.sender.send_extension_handshake(handshake)
    ours, theirs = pair.pump(chunk_bytes=chunk_bytes)
    assert (ours, theirs) == ([], [ExtensionHandshakeReceived(handshake)])
    assert pair.theirs.sender.send_extension("ut_pex", b"peers")
    assert pair.pump(chunk_bytes=chunk_bytes)[0] == [ExtensionMessageReceived("ut_pex", b"peers")]


@pytest.mark.parametrize("value", [1, 0])
def test_bep21_upload_only_is_told_and_may_be_taken_back(value: int) -> None:
    data = encode({"m": {"ut_metadata": 3}, "upload_only": value})
    handshake = decode_extension_handshake(data)
    assert handshake.is_upload_only is bool(value)
    assert handshake.extensions == {"ut_metadata": 3}


def test_bep21_upload_only_is_written_as_one() -> None:
    data = encode_extension_handshake(ExtensionHandshake(is_upload_only=True))
    assert data == b"d1:mde11:upload_onlyi1ee"


def test_bep54_dont_have_takes_a_piece_back() -> None:
    connection = open_connection(extensions={"lt_donthave": 7})
    events = feed(connection, encode_extended(7, bytes((0, 0, 0, 10))))
    assert events == [PeerLost(PieceIndex(10))]


def test_bep54_dont_have_that_we_did_not_name_is_passed_over() -> None:
    connection = open_connection(extensions={"ut_pex": 1})
    assert feed(connection, encode_extended(7, bytes(4))) == []


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text("0123456789ilde:-mvp").map(str.encode))
def test_bep10_handshake_of_any_bytes_raises_nothing_else(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert len(decode_extension_handshake(data).extensions) <= MAX_EXTENSIONS


@settings(deadline=None)
@given(
    st.builds(
        ExtensionHandshake,
        extensions=st.dictionaries(st.text(max_size=16), st.integers(0, 255), max_size=20),
        client=st.text(max_size=32),
        listen_port=st.none() | st.integers(1, 65_535),
        your_ip=st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
        reqq=st.none() | st.integers(1, 1_000_000),
        is_upload_only=st.booleans(),
        metadata_bytes=st.none() | st.integers(1, 2**31),
    )
)
def test_bep10_every_handshake_survives_the_wire(handshake: ExtensionHandshake) -> None:
    assert decode_extension_handshake(encode_extension_handshake(handshake)) == handshake
