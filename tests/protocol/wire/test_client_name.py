"""Peer ids as names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.ids import CLIENT_PREFIX
from torrent_engine.protocol.wire.client_name import client_name

TAIL = b"abcdefghijkl"


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"-TR3000-", "Transmission 3.0.0.0"),
        (b"-TR300Z-", "Transmission 3.0.0.35"),
        (b"-LT20B0-", "libtorrent 2.0.11.0"),
        (b"-lt0D60-", "libTorrent (rakshasa) 0.13.6.0"),
        (b"-qB5010-", "qBittorrent 5.0.1.0"),
        (b"-UT355W-", "uTorrent 3.5.5.32"),
        (b"-ZZ1200-", "ZZ 1.2.0.0"),
        (b"A2-1-37-0-", "aria2 1.37.0"),
        (b"-TR3000", ""),
        (b"M7-10-5--", "BitTorrent 7.10.5"),
        (b"M4-3-6--", "BitTorrent 4.3.6"),
        (b"--------", ""),
        (b"-TR30", ""),
        (b"-T\x1b3000-", ""),
        (b"", ""),
        (bytes(20), ""),
    ],
)
def test_bep20_a_peer_id_says_program_and_version(start: bytes, name: str) -> None:
    assert client_name(start + TAIL) == name


def test_bep20_our_own_id_is_readable() -> None:
    assert client_name(CLIENT_PREFIX + TAIL).startswith("torrent_engine ")


@given(st.binary(max_size=24) | st.binary(min_size=18, max_size=18).map(lambda tail: b"-T" + tail))
def test_any_bytes_give_printable_text(peer_id: bytes) -> None:
    name = client_name(peer_id)
    assert name.isascii()
    assert name.isprintable()
