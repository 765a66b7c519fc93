"""PCP byte by byte, as RFC 6887 prints it."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import GatewayError
from torrent_engine.protocol.nat.facts import (
    EpochReply,
    EpochSeen,
    Mapped,
    MappedTransport,
    MapRequest,
    PortKey,
    Refused,
    VersionRefused,
)
from torrent_engine.protocol.nat.pcp import MAX_BYTES, Pcp

TCP = PortKey(MappedTransport.TCP, 6881)
HERE4 = bytes(10) + b"\xff\xff" + bytes([192, 168, 1, 2])
OUTSIDE4 = bytes(10) + b"\xff\xff" + bytes([203, 0, 113, 7])
PCP = Pcp("192.168.1.2", b"secret")
NONCE = PCP.nonce(TCP)


def head(operation: int = 1, result: int = 0, lifetime_s: int = 7200, version: int = 2) -> bytes:
    return struct.pack("!BBxBII12x", version, 0x80 | operation, result, lifetime_s, 258)


def body(nonce: bytes = NONCE, transport: int = 6, external_port: int = 6882) -> bytes:
    return struct.pack("!12sBxxxHH16s", nonce, transport, 6881, external_port, OUTSIDE4)


def test_rfc6887_a_map_request_of_ipv4() -> None:
    data = PCP.map_request(MapRequest(TCP, 7000, 7200))
    assert data[:24] == bytes([2, 1, 0, 0]) + (7200).to_bytes(4, "big") + HERE4
    assert data[24:36] == NONCE
    assert data[36:44] == bytes([6, 0, 0, 0]) + bytes.fromhex("1ae1 1b58")
    assert data[44:] == bytes(10) + b"\xff\xff" + bytes(4)  # any address of IPv4


def test_rfc6887_a_renewal_suggests_what_was_given() -> None:
    data = PCP.map_request(MapRequest(TCP, 7000, 7200, "203.0.113.7"))
    assert data[44:] == OUTSIDE4


def test_rfc6887_a_map_request_of_ipv6_is_for_a_firewall() -> None:
    pcp = Pcp("2001:db8::2", b"secret")
    data = pcp.map_request(MapRequest(TCP, 6881, 7200))
    assert data[8:24].hex() == "20010db8000000000000000000000002"
    assert data[44:] == bytes(16)


def test_rfc6887_a_removal_suggests_nothing() -> None:
    data = PCP.map_request(MapRequest(TCP, 7000, 0, "203.0.113.7"))
    assert data[4:8] == bytes(4)
    assert data[42:] == bytes(2) + bytes(10) + b"\xff\xff" + bytes(4)


def test_rfc6887_announce() -> None:
    assert PCP.check_request() == bytes([2, 0]) + bytes(6) + HERE4
    assert PCP.decode(head(0)) == EpochReply(258)


def test_a_nonce_belongs_to_one_port_one_address_and_one_secret() -> None:
    others = [
        PCP.nonce(PortKey(MappedTransport.UDP, 6881)),
        PCP.nonce(PortKey(MappedTransport.TCP, 6882)),
        Pcp("192.168.1.3", b"secret").nonce(TCP),
        Pcp("192.168.1.2", b"another").nonce(TCP),
    ]
    assert len({NONCE, *others}) == 5
    assert Pcp("192.168.1.2", b"secret").nonce(TCP) == NONCE


def test_rfc6887_a_mapping() -> None:
    assert PCP.decode(head() + body()) == Mapped(258, TCP, 6882, 7200, "203.0.113.7")
    with_option = head() + body() + bytes.fromhex("01000004 00000000")
    assert PCP.decode(with_option) == Mapped(258, TCP, 6882, 7200, "203.0.113.7")
    gone = head(lifetime_s=0) + body(external_port=0)
    assert PCP.decode(gone) == Mapped(258, TCP, 0, 0, "203.0.113.7")


@pytest.mark.parametrize("code", [*range(2, 14), 200])
def test_rfc6887_refusals(code: int) -> None:
    answer = PCP.decode(head(result=code, lifetime_s=90) + body())
    assert isinstance(answer, Refused)
    assert (answer.code, answer.key, answer.retry_in_s) == (code, TCP, 90.0)
    assert answer.reason
    short = PCP.decode(head(result=code, lifetime_s=90))
    assert isinstance(short, Refused)
    assert short.key is None


VERSIONS = {
    "pcp": (head(result=1), 2),
    "a draft of pcp": (head(result=1, version=1), 1),
    "natpmp": (bytes([0, 129, 0, 1]) + bytes(4), 0),
    "natpmp, result only": (bytes([0, 128, 0, 1]), 0),
}


@pytest.mark.parametrize(("data", "version"), VERSIONS.values(), ids=VERSIONS.keys())
def test_rfc6887_a_version_that_is_refused(data: bytes, version: int) -> None:
    assert PCP.decode(data) == VersionRefused(version)


MALFORMED = {
    "empty": b"",
    "header cut short": head(0)[:23],
    "no multiple of four": head(0) + b"\0",
    "too long": head() + body() + bytes(MAX_BYTES),
    "a request": bytes([2, 1]) + head()[2:] + body(),
    "our own request": PCP.map_request(MapRequest(TCP, 1, 1)),
    "unknown opcode": head(3) + body(),
    "peer": head(2) + body(),
    "version 3": head(version=3) + body(),
    "natpmp": bytes([0, 128, 0, 0]) + bytes(20),
    "mapping cut short": head() + body()[:32],
    "nonce of another": head() + body(nonce=bytes(12)),
    "refusal with the nonce of another": head(result=2) + body(nonce=bytes(12)),
    "transport 0": head() + body(transport=0),
    "transport SCTP": head() + body(transport=132),
    "external port 0": head() + body(external_port=0),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_rfc6887_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(GatewayError):
        PCP.decode(data)


@given(
    st.binary(max_size=100)
    | st.binary(max_size=60).map(lambda tail: head() + tail)
    | st.tuples(st.integers(0, 83), st.integers(0, 255)).map(
        lambda change: (
            (head() + body())[: change[0]] + bytes([change[1]]) + (head() + body())[change[0] + 1 :]
        )
    )
)
def test_decode_raises_nothing_but_gateway_error(data: bytes) -> None:
    with suppress(GatewayError):
        assert PCP.decode(data) is not None


EPOCHS = {
    "goes on": (1000, 100.0, 1100, False),
    "a second back": (1000, 0.0, 999, False),
    "two seconds back": (1000, 0.0, 998, True),
    "begins anew": (1000, 100.0, 0, True),
    "slower than a sixteenth": (1000, 100.0, 1091, True),
    "slower by less": (1000, 100.0, 1092, False),
    "faster than a sixteenth": (1000, 100.0, 1109, True),
    "faster by less": (1000, 100.0, 1108, False),
}


@pytest.mark.parametrize(
    ("before", "passed_s", "now", "expected"), EPOCHS.values(), ids=EPOCHS.keys()
)
def test_rfc6887_a_restart_shows_in_the_epoch(
    before: int, passed_s: float, now: int, expected: bool
) -> None:
    seen = EpochSeen(before, 50.0), EpochSeen(now, 50.0 + passed_s)
    assert PCP.has_restarted(*seen) is expected
