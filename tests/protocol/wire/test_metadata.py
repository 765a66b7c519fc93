"""The messages of ut_metadata (BEP 9)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.protocol.wire.metadata import (
    METADATA_PIECE_BYTES,
    MetadataData,
    MetadataMessage,
    MetadataReject,
    MetadataRequest,
    decode_metadata_message,
    encode_metadata_message,
)

VECTORS = {
    "request": (b"d8:msg_typei0e5:piecei0ee", MetadataRequest(0)),
    "reject": (b"d8:msg_typei2e5:piecei0ee", MetadataReject(0)),
    "data": (b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxx", MetadataData(0, 34256, b"xxxx")),
}


@pytest.mark.parametrize(("payload", "message"), VECTORS.values(), ids=VECTORS.keys())
def test_bep9_examples_of_the_bep(payload: bytes, message: MetadataMessage) -> None:
    assert decode_metadata_message(payload) == message
    assert encode_metadata_message(message) == payload


TOLERATED = {
    "request_with_total_size": (
        b"d8:msg_typei0e5:piecei3e10:total_sizei9ee",  # as libtorrent sends it
        MetadataRequest(3),
    ),
    "unsorted_keys": (b"d5:piecei3e8:msg_typei2ee", MetadataReject(3)),
    "unknown_keys": (b"d3:fooli1ee8:msg_typei2e5:piecei3ee", MetadataReject(3)),
    "data_without_total_size": (b"d8:msg_typei1e5:piecei1eex", MetadataData(1, None, b"x")),
    "bytes_behind_a_request": (b"d8:msg_typei0e5:piecei1eejunk", MetadataRequest(1)),
    "data_that_looks_like_bencode": (
        b"d8:msg_typei1e5:piecei1e10:total_sizei9eei1e",
        MetadataData(1, 9, b"i1e"),
    ),
    "unknown_type": (b"d8:msg_typei3e5:piecei1ee", None),
    "type_of_the_far_future": (b"d8:msg_typei9999e5:piecei1eejunk", None),
}


@pytest.mark.parametrize(("payload", "message"), TOLERATED.values(), ids=TOLERATED.keys())
def test_bep9_what_others_send_is_understood(
    payload: bytes, message: MetadataMessage | None
) -> None:
    assert decode_metadata_message(payload) == message


HEAD = b"d8:msg_typei1e5:piecei0e10:total_sizei40000ee"
MALFORMED = {
    "empty": b"",
    "no_bencoding": b"junk",
    "no_dictionary": b"i1e",
    "list": b"l8:msg_typei0ee",
    "cut_short": b"d8:msg_typei0e5:piecei0e",
    "no_type": b"d5:piecei0ee",
    "no_piece": b"d8:msg_typei0ee",
    "unknown_type_without_piece": b"d8:msg_typei7ee",
    "type_is_text": b"d8:msg_type1:05:piecei0ee",
    "piece_is_text": b"d8:msg_typei0e5:piece1:0e",
    "piece_is_a_list": b"d8:msg_typei0e5:pieceli0eee",
    "negative_type": b"d8:msg_typei-1e5:piecei0ee",
    "negative_piece": b"d8:msg_typei0e5:piecei-1ee",
    "data_without_bytes": HEAD,
    "data_of_one_byte_too_many": HEAD + bytes(METADATA_PIECE_BYTES + 1),
    "longer_than_17_kib": HEAD + bytes(17 * 1024),
    "nested_too_deep": b"d1:a" + b"l" * 20 + b"e" * 20 + b"8:msg_typei0e5:piecei0ee",
    "too_many_tokens": b"d1:al" + b"i0e" * 600 + b"e8:msg_typei0e5:piecei0ee",
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_b2_malformed_messages_are_refused_and_name_bep_9(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_metadata_message(payload)
    assert caught.value.bep == 9


PIECES = st.integers(0, 2**63 - 1)
MESSAGES = (
    PIECES.map(MetadataRequest)
    | PIECES.map(MetadataReject)
    | st.builds(
        MetadataData,
        PIECES,
        st.none() | st.integers(1, 2**63 - 1),
        st.binary(min_size=1, max_size=METADATA_PIECE_BYTES),
    )
)


@given(message=MESSAGES)
def test_bep9_messages_survive_the_wire(message: MetadataMessage) -> None:
    assert decode_metadata_message(encode_metadata_message(message)) == message


@given(payload=st.binary(max_size=200) | st.text("0123456789ilde:-").map(str.encode))
def test_b2_any_bytes_raise_nothing_but_a_protocol_error(payload: bytes) -> None:
    message: object = None
    with suppress(RemoteProtocolError):
        message = decode_metadata_message(payload)
    assert message is None or isinstance(message, MetadataMessage)
