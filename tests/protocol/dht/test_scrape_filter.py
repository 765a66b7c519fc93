"""The bloom filters of DHT scrapes, against the vector of BEP 33."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from torrent_engine.protocol.dht.scrape_filter import ScrapeFilter

VECTOR = bytes.fromhex(
    "F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAE"
    "FE5EEDB1FBFAFF67F6ABFF5E43DDBCA3FD9B9FFDF4FFD3E9DFF12D1BDF59DB53DBE9FA5B"
    "7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE148246C2BC5DBFF7E7EFDCF24F"
    "D8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81FC7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3"
    "FA1FC77BFE07FFF905B7B7FFC7FEFEFFE0B8370BB0CD3F5B7F2BD93FEB4386CFDD6F7FD5"
    "BFAF2E9EBFFFFEECD67ADBF7C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB57"
    "62ABE8FF237279BFEFBFEEF5FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6"
    "FD8F72EF"
)


def vector_addresses() -> list[bytes]:
    ipv4 = [(IPv4Address("192.0.2.0") + number).packed for number in range(256)]
    ipv6 = [(IPv6Address("2001:db8::") + number).packed for number in range(0x3E8)]
    return ipv4 + ipv6


def test_bep33_vector() -> None:
    made = ScrapeFilter()
    for address in vector_addresses():
        made.add(address)
    assert bytes(made) == VECTOR
    assert made.estimate() == pytest.approx(1224.9308, abs=1e-4)


def test_bep33_everything_that_was_added_is_in_it() -> None:
    received = ScrapeFilter(VECTOR)
    assert all(address in received for address in vector_addresses())
    assert bytes(received) == VECTOR


def test_bep33_union_counts_each_address_once() -> None:
    addresses = vector_addresses()
    one, other = ScrapeFilter(), ScrapeFilter()
    for address in addresses[:800]:
        one.add(address)
    for address in addresses[400:]:
        other.add(address)
    one.update(other)
    assert bytes(one) == VECTOR


def test_bep33_empty_and_full_filters_can_be_estimated() -> None:
    assert ScrapeFilter().estimate() == 0.0
    assert b"\xc0\x00\x02\x01" not in ScrapeFilter()
    assert 7_000 < ScrapeFilter(b"\xff" * 256).estimate() < 9_000


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 300])
def test_bep33_received_filter_of_another_length_is_cut_or_filled(data: bytes) -> None:
    assert bytes(ScrapeFilter(data)) == data[:256].ljust(256, b"\0")
