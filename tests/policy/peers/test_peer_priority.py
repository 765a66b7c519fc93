"""BEP 40: the vectors of the BEP, its masks (it has no vector of IPv6), and symmetry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.crc32c import crc32c
from torrent_engine.policy.peers.peer_priority import peer_priority


@pytest.mark.parametrize(
    ("ours", "theirs", "hashed", "priority"),
    [
        ("123.213.32.10", "98.76.54.32", "624C14007BD50000", 0xEC2D7224),
        ("123.213.32.10", "123.213.32.234", "7BD5200A7BD520EA", 0x99568189),
    ],
)
def test_bep40_vectors_give_the_priority_of_the_bep(
    ours: str, theirs: str, hashed: str, priority: int
) -> None:
    assert peer_priority(PeerAddress(ours, 1), PeerAddress(theirs, 2)) == priority
    assert crc32c(bytes.fromhex(hashed)) == priority


@pytest.mark.parametrize(
    ("ours", "theirs", "hashed"),
    [
        ("230.12.123.3", "230.12.123.3", "01020304"),  # same address: the ports
        ("1.2.3.4", "1.2.7.9", "010203040102 0701"),  # a /16: FF.FF.FF.55
        (
            "2001:db8::1",
            "2001:db8:1::1",
            "20010db80000" + "00" * 9 + "01" + "20010db80001" + "00" * 9 + "01",
        ),
        (
            "2001:db8:1:100::ff",
            "2001:db8:1:200::ff",
            "20010db8000101" + "00" * 8 + "55" + "20010db8000102" + "00" * 8 + "55",
        ),
        (
            "2001:db8:1:1ff::ff",
            "2001:db8:1:12f::ff",
            "20010db80001012f" + "00" * 7 + "55" + "20010db8000101ff" + "00" * 7 + "55",
        ),
        (
            "2001:db8:1:1ff:ff00::ff",
            "2001:db8:1:1ff:f000::ff",
            "20010db8000101fff0" + "00" * 6 + "55" + "20010db8000101ffff" + "00" * 6 + "55",
        ),
        ("2001:db8::7", "2001:db8::7", "01020304"),
    ],
    ids=["same_ip", "same_16", "v6_far", "v6_same_48", "v6_same_56", "v6_same_64", "v6_same_ip"],
)
def test_bep40_mask_widens_with_the_shared_prefix(ours: str, theirs: str, hashed: str) -> None:
    priority = peer_priority(PeerAddress(ours, 0x0304), PeerAddress(theirs, 0x0102))
    assert priority == crc32c(bytes.fromhex(hashed))


def test_bep40_families_do_not_mix() -> None:
    assert peer_priority(PeerAddress("1.2.3.4", 1), PeerAddress("::1", 2)) == 0


def test_host_name_is_no_address() -> None:
    with pytest.raises(ValueError, match="example"):
        peer_priority(PeerAddress("1.2.3.4", 1), PeerAddress("example.org", 2))


ADDRESSES = st.builds(PeerAddress, st.ip_addresses().map(str), st.integers(1, 65535))


@given(ADDRESSES, ADDRESSES)
def test_bep40_both_ends_agree(one: PeerAddress, other: PeerAddress) -> None:
    assert peer_priority(one, other) == peer_priority(other, one)
    assert 0 <= peer_priority(one, other) < 1 << 32
