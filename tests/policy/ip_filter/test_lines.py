"""Single lines of lists of addresses: what each says, and which say nothing."""

from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from torrent_engine.base.errors import IpFilterError
from torrent_engine.policy.ip_filter.lines import parse_line, parse_range

LINES: dict[str, tuple[str, str, str]] = {
    "p2p": ("Some Name:1.2.3.0-1.2.3.255", "1.2.3.0", "1.2.3.255"),
    "p2p_colon_in_name": ("a: b:c:1.2.3.4-1.2.3.5", "1.2.3.4", "1.2.3.5"),
    "p2p_no_name": (":1.2.3.4-1.2.3.5", "1.2.3.4", "1.2.3.5"),
    "p2p_hash_in_name": ("Name #7; x:1.2.3.4-1.2.3.5", "1.2.3.4", "1.2.3.5"),
    "p2p_digits_in_name": ("1.2.3.9 Ltd:1.2.3.4-1.2.3.5", "1.2.3.4", "1.2.3.5"),
    "p2p_commas_in_name": ("A, B, and C:1.2.3.4-1.2.3.5", "1.2.3.4", "1.2.3.5"),
    "p2p_ipv6": ("name:2001:db8::1-2001:db8::ff", "2001:db8::1", "2001:db8::ff"),
    "p2p_latin1_name": ("n\xe4m\xe9:1.2.3.4-1.2.3.5", "1.2.3.4", "1.2.3.5"),
    "dat": ("001.002.003.000 - 001.002.003.255 , 100 , Name", "1.2.3.0", "1.2.3.255"),
    "dat_tight": ("1.2.3.4-1.2.3.5,0,Name", "1.2.3.4", "1.2.3.5"),
    "dat_highest_level": ("1.2.3.4 - 1.2.3.5 , 127 , x", "1.2.3.4", "1.2.3.5"),
    "dat_no_name": ("1.2.3.4 - 1.2.3.5 , 000", "1.2.3.4", "1.2.3.5"),
    "dat_no_level": ("1.2.3.4 - 1.2.3.5 , , x", "1.2.3.4", "1.2.3.5"),
    "dat_colons_in_name": ("1.2.3.4 - 1.2.3.5 , 1 , x:9.9.9.9-9.9.9.9", "1.2.3.4", "1.2.3.5"),
    "dat_ipv6": ("2001:db8::1 - 2001:db8::2 , 000 , x", "2001:db8::1", "2001:db8::2"),
    "cidr": ("1.2.3.0/24", "1.2.3.0", "1.2.3.255"),
    "cidr_bits_behind": ("1.2.3.77/24", "1.2.3.0", "1.2.3.255"),
    "cidr_comment": ("1.2.3.0/30 ; SBL1234", "1.2.3.0", "1.2.3.3"),
    "cidr_comment_p2p": ("1.2.3.0/30 # x:9.9.9.9-9.9.9.9", "1.2.3.0", "1.2.3.3"),
    "cidr_all": ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
    "cidr_one": ("1.2.3.4/32", "1.2.3.4", "1.2.3.4"),
    "cidr_ipv6": ("2001:db8::/126", "2001:db8::", "2001:db8::3"),
    "cidr_ipv6_one": ("::1/128", "::1", "::1"),
    "range": ("1.2.3.4-1.2.3.9", "1.2.3.4", "1.2.3.9"),
    "range_spaces": ("  1.2.3.4 \t-  1.2.3.9\t", "1.2.3.4", "1.2.3.9"),
    "range_ipv6": ("::2-::3", "::2", "::3"),
    "address": ("1.2.3.4", "1.2.3.4", "1.2.3.4"),
    "address_comment": ("1.2.3.4#who", "1.2.3.4", "1.2.3.4"),
    "address_comments": ("1.2.3.4 \t; who # and: why", "1.2.3.4", "1.2.3.4"),
    "address_ipv6": ("2001:DB8::1", "2001:db8::1", "2001:db8::1"),
    "address_scope": ("fe80::1%eth0", "fe80::1", "fe80::1"),
    "address_inside_ipv6": ("::ffff:1.2.3.4", "1.2.3.4", "1.2.3.4"),
    "leading_zeros": ("010.000.000.008", "10.0.0.8", "10.0.0.8"),
}
NOTHING = {
    "empty": "",
    "spaces": " \t \r",
    "hash": "# a:1.2.3.4-1.2.3.5",
    "semicolon": "; 1.2.3.4",
    "slashes": "// 1.2.3.4",
    "dat_harmless": "1.2.3.4 - 1.2.3.5 , 128 , x",
    "dat_most_harmless": "1.2.3.4 - 1.2.3.5 , 255 , x",
}
MALFORMED = {
    "words": "what is this",
    "name_only": "name:",
    "name_and_address": "name:1.2.3.4",
    "octet_256": "name:1.2.3.256-1.2.4.0",
    "octet_of_four_digits": "0001.2.3.4",
    "three_octets": "1.2.3-1.2.4",
    "five_octets": "1.2.3.4.5",
    "negative": "-1.2.3.4",
    "no_end": "1.2.3.4-",
    "down": "x:1.2.3.5-1.2.3.4",
    "two_families": "1.2.3.4-::5",
    "two_families_inside": "::ffff:1.2.3.4-2001:db8::",
    "length_33": "1.2.3.0/33",
    "length_129": "::/129",
    "length_negative": "1.2.3.0/-1",
    "length_empty": "1.2.3.0/",
    "length_words": "1.2.3.0/x",
    "netmask": "1.2.3.0/255.255.255.0",
    "level_words": "1.2.3.4 - 1.2.3.5 , x , y",
    "level_long": "1.2.3.4 - 1.2.3.5 , 1000 , y",
    "level_negative": "1.2.3.4 - 1.2.3.5 , -1 , y",
    "dat_down": "1.2.3.5 - 1.2.3.4 , 000 , y",
    "ipv6_twice": "1::2::3",
    "arabic_digits": "\u0661.2.3.4",
    "superscript": "\xb2.2.3.4",
    "html": "<!DOCTYPE html>",
    "nul": "\0",
    "sign": "+1.2.3.4",
    "underscore": "1_0.2.3.4",
    "inner_space": "1. 2.3.4",
    "colons": ":" * 50,
    "dashes": "-" * 50,
}


@pytest.mark.parametrize(("line", "first", "last"), LINES.values(), ids=LINES)
def test_line_is_read(line: str, first: str, last: str) -> None:
    ends = ip_address(first), ip_address(last)
    found = parse_line(line.encode("latin-1"))
    assert found == (ends[0].max_prefixlen, int(ends[0]), int(ends[1]))


@pytest.mark.parametrize("line", NOTHING.values(), ids=NOTHING)
def test_line_blocks_nobody(line: str) -> None:
    assert parse_line(line.encode()) is None


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED)
def test_line_is_refused(line: str) -> None:
    with pytest.raises(IpFilterError):
        parse_line(line.encode("utf-8"))


def test_the_error_is_short_however_long_the_line() -> None:
    with pytest.raises(IpFilterError) as caught:
        parse_line(b"x" * 10_000)
    assert len(str(caught.value)) < 150


def test_f11_a_long_run_of_blanks_is_passed_over_once() -> None:
    line = b"a" + b" \t" * 30_000 + b"b"  # beyond the test's timeout if begun anew at each blank
    with pytest.raises(IpFilterError) as caught:
        parse_line(line)
    assert "not an address range" in str(caught.value)


@given(st.binary(max_size=80) | st.text("0123456789abf.:-/,#; x", max_size=60).map(str.encode))
def test_parse_line_raises_nothing_but_its_error(line: bytes) -> None:
    with suppress(IpFilterError):
        found = parse_line(line)
        assert found is None or (
            found[0] in (32, 128) and 0 <= found[1] <= found[2] < 1 << found[0]
        )


@given(st.sampled_from([32, 128]), st.data())
def test_networks_are_those_of_the_standard_library(bits: int, data: st.DataObject) -> None:
    address = ip_address(data.draw(st.ip_addresses(v=4 if bits == 32 else 6)))
    assume(getattr(address, "ipv4_mapped", None) is None)
    network = ip_network((address, data.draw(st.integers(0, bits))), strict=False)
    ends = int(network.network_address), int(network.broadcast_address)
    assert parse_range(str(network)) == (bits, *ends)
