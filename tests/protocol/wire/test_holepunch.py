"""BEP 55: the messages of ut_holepunch, as bytes and back."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import LocalProtocolError, RemoteProtocolError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.protocol.wire.holepunch import (
    HolepunchKind,
    HolepunchMessage,
    HolepunchRefusal,
    decode_holepunch,
    encode_holepunch,
    encode_refusal,
)

FOUR = bytes([8, 0, 0, 1, 0x1A, 0xE1])
SIX = IPv6Address("2600::1").packed + b"\x1a\xe1"
MAPPED = IPv6Address("::ffff:8.0.0.1").packed + b"\x1a\xe1"
NO_REASON = bytes(4)

KNOWN = {
    "rendezvous_ipv4": (b"\0\0" + FOUR + NO_REASON, HolepunchKind.RENDEZVOUS, "8.0.0.1", 0),
    "rendezvous_ipv6": (b"\0\1" + SIX + NO_REASON, HolepunchKind.RENDEZVOUS, "2600::1", 0),
    "connect_ipv4": (b"\1\0" + FOUR + NO_REASON, HolepunchKind.CONNECT, "8.0.0.1", 0),
    "connect_ipv6": (b"\1\1" + SIX + NO_REASON, HolepunchKind.CONNECT, "2600::1", 0),
    "error_ipv4": (b"\2\0" + FOUR + b"\0\0\0\2", HolepunchKind.ERROR, "8.0.0.1", 2),
    "error_ipv6": (b"\2\1" + SIX + b"\0\0\0\4", HolepunchKind.ERROR, "2600::1", 4),
    "error_of_a_later_time": (b"\2\0" + FOUR + b"\0\0\1\0", HolepunchKind.ERROR, "8.0.0.1", 256),
}


@pytest.mark.parametrize(("payload", "kind", "host", "reason"), KNOWN.values(), ids=KNOWN.keys())
def test_bep55_message_is_these_bytes(
    payload: bytes, kind: HolepunchKind, host: str, reason: int
) -> None:
    message = HolepunchMessage(kind, PeerAddress(host, 6881), reason)
    assert decode_holepunch(payload) == message
    assert encode_holepunch(message) == payload


AS_OTHERS_SEND = {
    "rendezvous_without_reason": (b"\0\0" + FOUR, HolepunchKind.RENDEZVOUS, "8.0.0.1"),
    "connect_without_reason": (b"\1\1" + SIX, HolepunchKind.CONNECT, "2600::1"),
    "error_without_reason": (b"\2\0" + FOUR, HolepunchKind.ERROR, "8.0.0.1"),
    "error_with_half_a_reason": (b"\2\0" + FOUR + b"\0\2", HolepunchKind.ERROR, "8.0.0.1"),
    "connect_with_a_reason": (b"\1\0" + FOUR + b"\0\0\0\2", HolepunchKind.CONNECT, "8.0.0.1"),
    "more_behind": (b"\1\0" + FOUR + NO_REASON + b"more", HolepunchKind.CONNECT, "8.0.0.1"),
    "mapped": (b"\1\1" + MAPPED + NO_REASON, HolepunchKind.CONNECT, "8.0.0.1"),
}


@pytest.mark.parametrize(
    ("payload", "kind", "host"), AS_OTHERS_SEND.values(), ids=AS_OTHERS_SEND.keys()
)
def test_bep55_message_of_other_programs_is_read(
    payload: bytes, kind: HolepunchKind, host: str
) -> None:
    assert decode_holepunch(payload) == HolepunchMessage(kind, PeerAddress(host, 6881))


@pytest.mark.parametrize(
    "payload",
    [b"\3\0" + FOUR + NO_REASON, b"\0\2" + FOUR, b"\xff\xff"],
    ids=["kind", "family", "both"],
)
def test_bep55_message_of_a_later_time_is_passed_over(payload: bytes) -> None:
    assert decode_holepunch(payload) is None


MALFORMED = {
    "empty": b"",
    "half_a_head": b"\0",
    "no_address": b"\0\0",
    "ipv4_cut": b"\1\0" + FOUR[:5],
    "ipv6_cut": b"\1\1" + SIX[:17],
    "ipv6_with_an_ipv4_address": b"\2\1" + FOUR + b"\0\0\0\1",
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED.keys())
def test_bep55_malformed_message_is_refused(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_holepunch(payload)
    assert caught.value.bep == 55


@pytest.mark.parametrize("address", [FOUR, SIX, MAPPED], ids=["ipv4", "ipv6", "mapped"])
@pytest.mark.parametrize("behind", [b"", NO_REASON, b"more than that"])
def test_bep55_error_names_the_address_of_the_rendezvous_to_the_byte(
    address: bytes, behind: bytes
) -> None:
    family = bytes([len(address) > 6])
    error = encode_refusal(b"\0" + family + address + behind, HolepunchRefusal.NO_SUPPORT)
    assert error == b"\2" + family + address + b"\0\0\0\3"


@pytest.mark.parametrize("address", [("name", 1), ("8.0.0.1", 65_536), ("", 5)])
def test_bep55_what_is_no_literal_address_cannot_be_named(address: tuple[str, int]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_holepunch(HolepunchMessage(HolepunchKind.CONNECT, PeerAddress(*address)))


NEARLY_GOOD = st.builds(
    lambda kind, family, rest: bytes((kind, family)) + rest,
    st.integers(0, 4),
    st.integers(0, 3),
    st.binary(max_size=30),
)


@given(st.binary(max_size=40) | NEARLY_GOOD)
def test_bep55_decoding_raises_nothing_but_remote_protocol_error(payload: bytes) -> None:
    with suppress(RemoteProtocolError):
        message = decode_holepunch(payload)
        if message is not None:
            assert decode_holepunch(encode_holepunch(message)) == message
            refused = decode_holepunch(encode_refusal(payload, HolepunchRefusal.NO_SELF))
            assert refused is not None
            assert refused.address == message.address


HOSTS = st.ip_addresses().filter(lambda ip: getattr(ip, "ipv4_mapped", None) is None).map(str)


@given(st.sampled_from(HolepunchKind), HOSTS, st.integers(0, 65_535))
def test_bep55_what_is_sent_is_what_is_read(kind: HolepunchKind, host: str, port: int) -> None:
    message = HolepunchMessage(kind, PeerAddress(host, port))
    payload = encode_holepunch(message)
    assert decode_holepunch(payload) == message
    assert len(payload) == (12 if isinstance(ip_address(host), IPv4Address) else 24)
