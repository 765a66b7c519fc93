"""NAT-PMP byte by byte, as RFC 6886 prints it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import GatewayError
from torrent_engine.protocol.nat.facts import (
    EpochSeen,
    ExternalAddressReply,
    Mapped,
    MappedTransport,
    MapRequest,
    PortKey,
    Refused,
    VersionRefused,
)
from torrent_engine.protocol.nat.natpmp import NatPmp

TCP = PortKey(MappedTransport.TCP, 6881)
UDP = PortKey(MappedTransport.UDP, 6881)
EPOCH = bytes([0, 0, 1, 2])
ADDRESS = bytes([0, 128, 0, 0]) + EPOCH + bytes([203, 0, 113, 7])
MAPPED = bytes([0, 130, 0, 0]) + EPOCH + bytes.fromhex("1ae1 1ae2 00001c20")


def test_rfc6886_requests() -> None:
    natpmp = NatPmp()
    assert natpmp.check_request() == b"\0\0"
    udp = natpmp.map_request(MapRequest(UDP, 7000, 7200))
    assert udp == bytes.fromhex("00 01 0000 1ae1 1b58 00001c20")
    tcp = natpmp.map_request(MapRequest(TCP, 7000, 7200))
    assert tcp == bytes.fromhex("00 02 0000 1ae1 1b58 00001c20")


def test_rfc6886_a_removal_names_no_external_port() -> None:
    removal = NatPmp().map_request(MapRequest(TCP, 7000, 0))
    assert removal == bytes.fromhex("00 02 0000 1ae1 0000 00000000")


def test_rfc6886_answers() -> None:
    natpmp = NatPmp()
    assert natpmp.decode(ADDRESS) == ExternalAddressReply(258, "203.0.113.7")
    assert natpmp.decode(MAPPED) == Mapped(258, TCP, 6882, 7200, None)
    assert natpmp.decode(MAPPED + b"more") == Mapped(258, TCP, 6882, 7200, None)
    removed = bytes([0, 129, 0, 0]) + EPOCH + bytes.fromhex("1ae1 0000 00000000")
    assert natpmp.decode(removed) == Mapped(258, UDP, 0, 0, None)


@pytest.mark.parametrize("code", [2, 3, 4, 5, 99])
def test_rfc6886_refusals(code: int) -> None:
    whole = bytes([0, 130, 0, code]) + MAPPED[4:]
    answer = NatPmp().decode(whole)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.key, answer.retry_in_s) == (code, TCP, None)
    short = NatPmp().decode(whole[:8])
    assert isinstance(short, Refused)
    assert short.key is None
    assert short.reason


VERSIONS = {
    "natpmp": (bytes([0, 130, 0, 1]) + EPOCH, 0),
    "pcp": (bytes([2, 0x82, 0, 1]) + bytes(20), 2),
    "pcp in four bytes": (bytes([2, 0x80, 0, 1]), 2),
}


@pytest.mark.parametrize(("data", "version"), VERSIONS.values(), ids=VERSIONS.keys())
def test_rfc6886_a_version_that_is_refused(data: bytes, version: int) -> None:
    assert NatPmp().decode(data) == VersionRefused(version)


MALFORMED = {
    "empty": b"",
    "one byte": b"\0",
    "no epoch": ADDRESS[:7],
    "address cut short": ADDRESS[:11],
    "mapping cut short": MAPPED[:15],
    "a request": bytes(12),
    "our own request": NatPmp().map_request(MapRequest(TCP, 1, 1)),
    "unknown operation": bytes([0, 131]) + MAPPED[2:],
    "version 1": bytes([1]) + MAPPED[1:],
    "external port 0": MAPPED[:10] + b"\0\0" + MAPPED[12:],
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_rfc6886_what_is_no_answer(data: bytes) -> None:
    with pytest.raises(GatewayError):
        NatPmp().decode(data)


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda tail: b"\0\x82\0\0" + tail))
def test_decode_raises_nothing_but_gateway_error(data: bytes) -> None:
    with suppress(GatewayError):
        assert NatPmp().decode(data) is not None


EPOCHS = {
    "goes on": (1000, 100.0, 1100, False),
    "slower by an eighth": (1000, 100.0, 1086, False),
    "slower than that": (1000, 100.0, 1085, True),
    "faster by a minute and a seventh": (1000, 700.0, 1860, False),
    "faster than that": (1000, 700.0, 1861, True),
    "four hours of which our clock knows nothing": (1000, 120.0, 1000 + 4 * 3600 + 120, True),
    "begins anew": (1000, 100.0, 0, True),
    "two answers in one second": (1000, 0.1, 999, False),
}


@pytest.mark.parametrize(
    ("before", "passed_s", "now", "expected"), EPOCHS.values(), ids=EPOCHS.keys()
)
def test_rfc6886_a_restart_or_a_suspend_shows_in_the_epoch(
    before: int, passed_s: float, now: int, expected: bool
) -> None:
    seen = EpochSeen(before, 50.0), EpochSeen(now, 50.0 + passed_s)
    assert NatPmp().has_restarted(*seen) is expected
