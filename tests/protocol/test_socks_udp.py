"""The header of datagrams that go through a SOCKS5 proxy."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import ProxyError
from torrent_engine.protocol.socks_udp import decode_datagram, encode_header

V4 = bytes.fromhex("00000001c00002011ae1")

NAME = b"\0\0\0\x03\x0btracker.net" + b"\x1a\xe1"

MALFORMED = {
    "empty": b"",
    "begin_only": b"\0\0\0",
    "reserved_is_set": b"\1" + V4[1:],
    "fragment": b"\0\0\1" + V4[3:],
    "unknown_type": b"\0\0\0\2" + V4[4:],
    "no_port": V4[:-2],
    "half_a_port": V4[:-1],
    "ipv6_cut": bytes.fromhex("0000000420010db8"),
    "name_without_bytes": b"\0\0\0\3\0\x1a\xe1",
    "name_cut": NAME[:-3],
    "name_not_ascii": b"\0\0\0\3\2\xff\xfe\x1a\xe1",
    "name_with_control": b"\0\0\0\3\1\n\x1a\xe1",
}


def test_rfc1928_header_of_an_ipv4_address() -> None:
    assert encode_header("192.0.2.1", 6881) == V4
    assert decode_datagram(V4 + b"d1:q") == (("192.0.2.1", 6881), 10)


def test_rfc1928_header_of_an_ipv6_address() -> None:
    header = encode_header("2001:db8::1", 6881)
    assert header == bytes.fromhex("00000004" + "20010db8" + "0" * 23 + "1" + "1ae1")
    assert decode_datagram(header + b"payload") == (("2001:db8::1", 6881), 22)


def test_rfc1928_header_of_a_name() -> None:
    assert encode_header("tracker.net", 6881) == NAME
    assert decode_datagram(NAME) == (("tracker.net", 6881), len(NAME))


def test_a_name_beyond_ascii_is_encoded() -> None:
    assert encode_header("bücher.example", 1)[5:-2] == b"xn--bcher-kva.example"


def test_an_ipv4_address_comes_out_of_ipv6() -> None:
    assert decode_datagram(encode_header("::ffff:192.0.2.1", 9))[0] == ("192.0.2.1", 9)


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_header_is_a_proxy_error(data: bytes) -> None:
    with pytest.raises(ProxyError):
        decode_datagram(data)


@pytest.mark.parametrize(
    ("host", "port"),
    [("", 1), ("a" * 256, 1), ("é" * 300, 1), ("..é", 1), ("a.net", 0), ("a.net", 65_536)],
)
def test_what_cannot_be_addressed_is_a_proxy_error(host: str, port: int) -> None:
    with pytest.raises(ProxyError):
        encode_header(host, port)


@given(st.ip_addresses(), st.integers(1, 65_535), st.binary(max_size=20))
def test_what_is_encoded_is_decoded(ip, port: int, payload: bytes) -> None:
    header = encode_header(str(ip), port)
    address, begin = decode_datagram(header + payload)
    assert (header + payload)[begin:] == payload
    assert address.port == port
    assert address.host == str(getattr(ip, "ipv4_mapped", None) or ip)


@given(st.binary(max_size=300) | st.binary(max_size=40).map(lambda tail: b"\0\0\0" + tail))
def test_any_datagram_is_decoded_or_a_proxy_error(data: bytes) -> None:
    with suppress(ProxyError):
        address, begin = decode_datagram(data)
        assert address.host
        assert 8 <= begin <= len(data)
