"""Who is counted as one party."""

from ipaddress import IPv6Address

import pytest

from torrent_engine.base.operators import embedded_ipv4, operator_of


@pytest.mark.parametrize(
    ("host", "operator"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::1"),
        ("febf:ffff::0001", "febf:ffff::1"),
        ("fec0::1", "fec0::/64"),
        ("fc00::1", "fc00::1"),
        ("fd00:0:0:7:0:0:0:1", "fd00:0:0:7::1"),
        ("fe00::1", "fe00::/64"),
        ("fbff::1", "fbff::/64"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("2002:102:304::1", "1.2.3.4"),
        ("2002:102:304:9::7", "1.2.3.4"),
        ("64:ff9b::1.2.3.4", "1.2.3.4"),
        ("2001:0:4136:e378:8000:63bf:fefd:fcfb", "1.2.3.4"),
        ("tracker.example", "tracker.example"),
        ("http://tracker.example/announce", "http://tracker.example/announce"),
        ("", ""),
    ],
)
def test_operator_is_the_ipv4_address_or_the_64_but_for_neighbours(
    host: str, operator: str
) -> None:
    assert operator_of(host) == operator


def test_sites_side_by_side_are_two_operators() -> None:
    assert operator_of("2001:db8:1:2::1") != operator_of("2001:db8:1:3::1")


@pytest.mark.parametrize("host", ["2600::1", "fd00::1", "::2", "64:ff9b:1::1.2.3.4"])
def test_what_leads_to_no_ipv4_address_has_none(host: str) -> None:
    assert embedded_ipv4(IPv6Address(host)) is None
