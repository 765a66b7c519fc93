"""Announces of local service discovery: what is sent, what is read, what is refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.errors import LocalProtocolError, RemoteProtocolError
from torrent_engine.base.ids import InfoHash
from torrent_engine.protocol.lsd import (
    MAX_DATAGRAM_BYTES,
    LsdAnnounce,
    capacity,
    decode_announce,
    encode_announce,
)

ONE = InfoHash(bytes(range(20)))
TWO = InfoHash(b"\xab" * 20)
COOKIE = b"0badcafe"
GOOD = (
    b"BT-SEARCH * HTTP/1.1\r\n"
    b"Host: 239.192.152.143:6771\r\n"
    b"Port: 6881\r\n"
    b"Infohash: " + ONE.hex().encode() + b"\r\n"
    b"cookie: 0badcafe\r\n"
    b"\r\n\r\n"
)

MALFORMED = {
    "empty": b"",
    "no_end": GOOD.rstrip(),
    "only_an_end": b"\r\n\r\n",
    "cut_short": GOOD[:70],
    "another_method": GOOD.replace(b"BT-SEARCH", b"M-SEARCH"),
    "another_target": GOOD.replace(b" * ", b" / "),
    "no_version": GOOD.replace(b" HTTP/1.1", b""),
    "http_2": GOOD.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "no_port": GOOD.replace(b"Port: 6881\r\n", b""),
    "port_empty": GOOD.replace(b"6881", b""),
    "port_zero": GOOD.replace(b"6881", b"0"),
    "port_too_large": GOOD.replace(b"6881", b"65536"),
    "port_negative": GOOD.replace(b"6881", b"-1"),
    "port_with_sign": GOOD.replace(b"6881", b"+688"),
    "port_hexadecimal": GOOD.replace(b"6881", b"0x1a"),
    "port_of_many_digits": GOOD.replace(b"6881", b"0" * 500 + b"6881"),
    "port_superscript": GOOD.replace(b"6881", "6²".encode()),
    "two_ports": GOOD.replace(b"Port: 6881", b"Port: 6881\r\nPort: 6882"),
    "no_info_hash": GOOD.replace(b"Infohash", b"Otherhash"),
    "info_hash_short": GOOD.replace(ONE.hex().encode(), ONE.hex().encode()[:38]),
    "info_hash_not_hexadecimal": GOOD.replace(ONE.hex().encode(), b"g" * 40),
    "info_hash_with_spaces": GOOD.replace(ONE.hex().encode(), b"ab " * 13 + b"a"),
    "info_hash_of_another_kind": GOOD.replace(ONE.hex().encode(), b"ab" * 32),
    "info_hash_zero": GOOD.replace(ONE.hex().encode(), b"0" * 40),
    "line_without_colon": GOOD.replace(b"cookie:", b"cookie"),
    "too_long": GOOD.replace(b"cookie: ", b"cookie: " + b"c" * 1_300),
    "a_dht_message": b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    "binary": bytes(range(256)),
}


def test_bep14_the_bytes_of_an_announce() -> None:
    assert encode_announce(LsdAnnounce(6881, (ONE,), COOKIE), is_ipv6=False) == GOOD


def test_bep14_the_ipv6_announce_names_the_ipv6_group() -> None:
    data = encode_announce(LsdAnnounce(6881, (ONE, TWO), COOKIE), is_ipv6=True)
    assert b"\r\nHost: [ff15::efc0:988f]:6771\r\n" in data
    assert decode_announce(data) == LsdAnnounce(6881, (ONE, TWO), COOKIE)


@pytest.mark.parametrize("is_ipv6", [False, True])
def test_bep14_a_full_datagram_has_1400_bytes_at_most(is_ipv6: bool) -> None:
    count = capacity(COOKIE)
    hashes = tuple(InfoHash(bytes([number + 1]) * 20) for number in range(count))
    data = encode_announce(LsdAnnounce(65535, hashes, COOKIE), is_ipv6=is_ipv6)
    assert MAX_DATAGRAM_BYTES - 60 < len(data) <= MAX_DATAGRAM_BYTES
    assert decode_announce(data).info_hashes == hashes


@pytest.mark.parametrize(
    "announce",
    [
        LsdAnnounce(6881, (), COOKIE),
        LsdAnnounce(6881, (ONE,) * (capacity(COOKIE) + 1), COOKIE),
        LsdAnnounce(0, (ONE,), COOKIE),
        LsdAnnounce(1 << 16, (ONE,), COOKIE),
        LsdAnnounce(6881, (ONE,), b"a\r\nPort: 1"),
        LsdAnnounce(6881, (ONE,), b"a" * 65),
        LsdAnnounce(6881, (ONE,), b""),
    ],
    ids=["none", "too_many", "port_0", "port_65536", "cookie_of_lines", "cookie_long", "no_cookie"],
)
def test_bep14_what_cannot_be_announced_is_our_own_mistake(announce: LsdAnnounce) -> None:
    with pytest.raises(LocalProtocolError):
        encode_announce(announce, is_ipv6=False)


def test_bep14_names_of_headers_have_no_case_and_unknown_ones_are_ignored() -> None:
    data = (
        b"bt-search * http/1.0\r\nX-New: a: b\r\nPORT:6881 \r\nINFOHASH:"
        + ONE.hex().upper().encode()
        + b"\r\ninfoHash: "
        + TWO.hex().encode()
        + b"\r\nCookie:x y\r\n\r\n"
    )
    assert decode_announce(data) == LsdAnnounce(6881, (ONE, TWO), b"x y")


def test_bep14_lines_may_end_without_a_carriage_return() -> None:
    assert decode_announce(GOOD.replace(b"\r\n", b"\n")).info_hashes == (ONE,)


def test_bep14_an_announce_without_cookie_is_whole() -> None:
    assert decode_announce(GOOD.replace(b"cookie: 0badcafe\r\n", b"")).cookie == b""


def test_bep14_info_hashes_of_another_kind_do_not_spoil_the_others() -> None:
    more = b"Infohash: " + b"ab" * 32 + b"\r\nInfohash: " + TWO.hex().encode() + b"\r\n"
    data = GOOD.replace(b"cookie", more + more + b"cookie")
    assert decode_announce(data).info_hashes == (ONE, TWO)  # each once


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_c6_malformed_announces_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_announce(data)
    assert caught.value.bep == 14


LINES = st.sampled_from(
    [*GOOD.split(b"\r\n"), b"Port: 1", b"Infohash: " + TWO.hex().encode(), b":", b"cookie:", b""]
)


@given(
    st.binary(max_size=2_000)
    | st.lists(LINES | st.binary(max_size=60), max_size=30).map(b"\r\n".join)
    | st.lists(LINES, max_size=12).map(lambda lines: GOOD[:22] + b"\n".join(lines) + b"\n\n")
)
def test_c6_only_the_declared_error_escapes(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        announce = decode_announce(data)
        assert 0 < announce.port < 1 << 16
        assert 0 < len(announce.info_hashes) <= len(data) // 40
        assert all(len(info_hash) == 20 for info_hash in announce.info_hashes)


@given(
    st.integers(1, 65535),
    st.lists(st.binary(min_size=20, max_size=20).filter(any), min_size=1, max_size=9, unique=True),
    st.booleans(),
)
def test_bep14_what_is_encoded_is_decoded(port: int, hashes: list[bytes], is_ipv6: bool) -> None:
    announce = LsdAnnounce(port, tuple(map(InfoHash, hashes)), COOKIE)
    assert decode_announce(encode_announce(announce, is_ipv6=is_ipv6)) == announce
