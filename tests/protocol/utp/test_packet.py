"""One datagram of uTP (BEP 29): bytes into a fact, and what is none."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.protocol.utp.packet import (
    DATA,
    EXTENSION_BITS,
    HEADER,
    MAX_PACKET_BYTES,
    MIN_PADDING_BYTES,
    PADDING,
    RESET,
    SACK,
    STATE,
    SYN,
    decode_packet,
    padding,
    reset_packet,
)

NUMBERS = (0x1234, 0x01020304, 0x05060708, 0x00100000, 0xFFFE, 0xFFFD)


def header(kind: int = DATA, extension: int = 0, version: int = 1) -> bytes:
    return HEADER.pack(kind << 4 | version, extension, *NUMBERS)


MALFORMED = {
    "empty": b"",
    "short": header()[:-1],
    "version_0": header(version=0),
    "version_2": header(version=2),
    "type_5": header(5),
    "type_15": header(15),
    "extension_without_bytes": header(STATE, SACK),
    "extension_without_length": header(STATE, SACK) + b"\0",
    "extension_cut_short": header(STATE, SACK) + b"\0\x04abc",
    "second_extension_missing": header(STATE, SACK) + b"\x02\x04abcd",
    "many_empty_extensions": header(STATE, PADDING) + bytes((PADDING, 0)) * 8 + bytes(2),
    "many_short_extensions": header(STATE, PADDING) + (bytes((PADDING, 254)) + bytes(254)) * 9,
    "too_long": header() + bytes(MAX_PACKET_BYTES - 19),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep29_packet_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_packet(data)
    assert caught.value.bep == 29


@pytest.mark.parametrize("kind", range(5))
def test_bep29_each_field_is_where_it_belongs(kind: int) -> None:
    packet = decode_packet(header(kind) + b"payload")
    assert packet[:7] == (kind, *NUMBERS)
    assert (packet.sack, bytes(packet.payload)) == (b"", b"payload")


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 31, 255])
def test_bep29_selective_acknowledgement_of_any_length_is_taken(length: int) -> None:
    sack = bytes(range(length))
    packet = decode_packet(header(STATE, SACK) + bytes((0, length)) + sack)
    assert (packet.sack, bytes(packet.payload)) == (sack, b"")


def test_bep29_unknown_extensions_are_skipped() -> None:
    data = header(DATA, 2) + b"\x01\x08" + bytes(8) + b"\x77\x04sack" + b"\x00\x00" + b"payload"
    packet = decode_packet(memoryview(data))
    assert (packet.sack, bytes(packet.payload)) == (b"sack", b"payload")


@pytest.mark.parametrize(
    "length", [MIN_PADDING_BYTES, 13, 266, 267, 268, 269, 514, 515, 516, 1_000, 16_000]
)
def test_bep29_padding_has_any_length_and_no_meaning(length: int) -> None:
    extra = padding(length)
    packet = decode_packet(header(DATA, EXTENSION_BITS) + extra + b"payload")
    assert len(extra) == length
    assert (packet.sack, bytes(packet.payload)) == (b"", b"payload")


def test_bep29_a_few_short_extensions_are_taken_and_a_packet_may_be_long() -> None:
    extensions = bytes((PADDING, 0)) * 7 + bytes(2)
    data = header(DATA, PADDING) + extensions
    payload = bytes(MAX_PACKET_BYTES - len(data))
    assert decode_packet(data + payload).payload == payload


@pytest.mark.parametrize("length", [MIN_PADDING_BYTES, 684, 924, 16_000])
def test_bep29_padding_is_skipped_by_libutp(length: int) -> None:
    """It drops packets that begin with an extension above 2, and those whose 2 is not 8 bytes."""
    packet = header(DATA, EXTENSION_BITS) + padding(length) + b"payload"
    assert packet[1] < 3
    extensions, rest = [], packet[1:2] + packet[20:]
    while rest[0]:
        extensions.append((rest[0], rest[2]))
        rest = rest[1:2] + rest[3 + rest[2] :]
    assert extensions[0] == (EXTENSION_BITS, 8)
    assert all(kind > EXTENSION_BITS for kind, _ in extensions[1:])
    assert rest[1:] == b"payload"


def test_bep29_reset_names_the_packet_that_nobody_knows() -> None:
    packet = decode_packet(reset_packet(decode_packet(header(SYN)), now=2.5))
    assert packet.type == RESET
    assert (packet.connection_id, packet.acknowledged) == (NUMBERS[0], NUMBERS[4])
    assert packet.timestamp_us == 2_500_000


@given(st.binary(max_size=100) | st.builds(lambda rest: header(STATE, SACK) + rest, st.binary()))
def test_decode_packet_raises_nothing_but_its_error(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        packet = decode_packet(data)
        assert 20 + len(packet.sack) + len(packet.payload) <= len(data)
        assert 0 <= packet.type <= SYN
