from contextlib import suppress
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.compact import (
    decode_ipv4_peers,
    decode_ipv6_peers,
    encode_peer,
    encode_peers,
)

IPV4 = st.builds(PeerAddress, st.ip_addresses(v=4).map(str), st.integers(0, 65535))
IPV6 = st.builds(
    PeerAddress,
    st.ip_addresses(v=6).map(str).filter(lambda text: not text.startswith("::ffff:")),
    st.integers(0, 65535),
)


def test_bep23_peers_are_four_bytes_and_a_port() -> None:
    blob = bytes([10, 0, 255, 1, 0x1A, 0xE1, 1, 2, 3, 4, 0, 0])
    assert decode_ipv4_peers(blob) == [("10.0.255.1", 6881), ("1.2.3.4", 0)]
    assert decode_ipv4_peers(memoryview(blob)) == decode_ipv4_peers(bytearray(blob))
    assert decode_ipv4_peers(b"") == []


def test_bep7_peers_are_sixteen_bytes_and_a_port() -> None:
    blob = bytes(15) + b"\x01\x00\x50"
    assert decode_ipv6_peers(blob) == [("::1", 80)]


def test_bep7_mapped_address_becomes_ipv4() -> None:
    blob = bytes(10) + b"\xff\xff\x01\x02\x03\x04\x00\x50"
    assert decode_ipv6_peers(blob) == [("1.2.3.4", 80)]


@pytest.mark.parametrize("size", [1, 5, 7, 11])
def test_bep23_ragged_list_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_ipv4_peers(bytes(size))
    assert caught.value.bep == 23


@pytest.mark.parametrize("size", [1, 6, 17, 19])
def test_bep7_ragged_list_is_refused(size: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_ipv6_peers(bytes(size))
    assert caught.value.bep == 7


@given(st.binary(max_size=100))
def test_decoders_raise_nothing_but_their_error(blob: bytes) -> None:
    for decode, entry_bytes in ((decode_ipv4_peers, 6), (decode_ipv6_peers, 18)):
        peers = None
        with suppress(RemoteProtocolError):
            peers = decode(blob)
        whole, rest = divmod(len(blob), entry_bytes)
        assert (peers is None) == bool(rest)
        assert peers is None or len(peers) == whole


@given(st.lists(IPV4), st.lists(IPV6))
def test_each_family_goes_round(ipv4: list[PeerAddress], ipv6: list[PeerAddress]) -> None:
    mixed = [*ipv6, *ipv4]
    assert decode_ipv4_peers(encode_peers(mixed, v6=False)) == ipv4
    assert decode_ipv6_peers(encode_peers(mixed, v6=True)) == ipv6


@pytest.mark.parametrize(
    "peer", [("host.name", 1), ("", 1), ("1.2.3.4", 65536), ("1.2.3.4", -1), ("::g", 1)]
)
def test_what_has_no_compact_form_is_left_out(peer: tuple[str, int]) -> None:
    assert encode_peer(PeerAddress(*peer)) == b""
    assert encode_peers([PeerAddress(*peer), PeerAddress("1.2.3.4", 5)], v6=False) == (
        b"\x01\x02\x03\x04\x00\x05"
    )


@given(
    st.text("0123456789. +-_٣x", max_size=17)
    | st.builds(
        ".".join,
        st.lists(st.integers(0, 300).map(str) | st.sampled_from(["01", "", "1 "]), max_size=5),
    )
)
def test_ipv4_addresses_are_those_of_the_standard_library(host: str) -> None:
    try:
        expected = IPv4Address(host).packed + b"\0\1"
    except ValueError:
        expected = b""
    assert encode_peer(PeerAddress(host, 1)) == expected
