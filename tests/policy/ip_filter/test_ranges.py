"""Sets of ranges of addresses, against a model that looks at every range."""

import random
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.policy.ip_filter import ranges as address_ranges
from torrent_engine.policy.ip_filter.ranges import (
    IPV4_BITS,
    IPV6_BITS,
    AddressRanges,
    RangeBuilder,
    address_number,
)

Range = tuple[int, int]
FAMILIES = {IPV4_BITS: IPv4Address, IPV6_BITS: IPv6Address}


def ranges_of(bits: int, ranges: list[Range], *, at_once: int = 1_000_000) -> AddressRanges:
    builder = RangeBuilder()
    keys = [first << bits | last for first, last in ranges]
    for start in range(0, len(keys), at_once):
        builder.add(bits, keys[start : start + at_once])
    assert len(builder) == len(ranges)
    return builder.build()


def edges(ranges: list[Range], bits: int) -> set[int]:
    """Return the numbers at which a mistake would show."""
    near = {edge + step for each in ranges for edge in each for step in (-1, 0, 1)}
    return {number for number in near | {0, (1 << bits) - 1} if 0 <= number < 1 << bits}


def model_size(ranges: list[Range]) -> int:
    """Return how many ranges are left once those that overlap or touch are one."""
    count, last = 0, -2
    for first, end in sorted(ranges):
        count += first > last + 1
        last = max(last, end)
    return count


MAPPED = 0xFFFF
"""The high bits of IPv4 addresses inside IPv6."""


def ranges_in(bits: int) -> st.SearchStrategy[list[Range]]:
    top = (1 << bits) - 1
    near_zero, near_top = st.integers(0, 60), st.integers(top - 60, top)
    number = near_zero | near_top | st.integers(0, top)
    return st.lists(st.tuples(number, number).map(lambda ends: (min(ends), max(ends))), max_size=25)


@pytest.mark.parametrize("bits", [IPV4_BITS, IPV6_BITS])
@given(data=st.data())
def test_a_set_has_in_it_what_any_of_its_ranges_has(bits: int, data: st.DataObject) -> None:
    ranges = data.draw(ranges_in(bits))
    subject = ranges_of(bits, ranges, at_once=data.draw(st.integers(1, 9)))
    assert len(subject) == model_size(ranges)
    for number in edges(ranges, bits):
        if bits == IPV6_BITS and number >> IPV4_BITS == MAPPED:
            continue  # it counts as IPv4
        is_inside = any(first <= number <= last for first, last in ranges)
        assert (str(FAMILIES[bits](number)) in subject) == is_inside


def test_a_range_of_ipv6_has_no_ipv4_address_in_it() -> None:
    subject = ranges_of(IPV6_BITS, [(0, (MAPPED + 1) << IPV4_BITS)])
    assert "::1" in subject
    assert "::ffff:1.2.3.4" not in subject
    assert "1.2.3.4" not in subject


def test_ipv6_ranges_within_one_network_are_told_apart() -> None:
    high = 0x2001_0DB8 << 96
    ranges = [(high | low, high | low + 4) for low in range(0, 200, 10)]
    subject = ranges_of(IPV6_BITS, ranges)
    inside = [str(IPv6Address(high | low)) in subject for low in range(200)]
    assert inside == [low % 10 <= 4 for low in range(200)]


def test_many_ranges_in_any_order_are_the_same_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_ranges, "STEP", 128)
    rng = random.Random(5)
    ranges = [(first, first + rng.randrange(9)) for first in range(0, 50_000, 10)]
    lasts = dict(ranges)
    expected = [number <= lasts[number // 10 * 10] for number in range(5_000)]
    for at_once in (1, 7, 5_000):
        rng.shuffle(ranges)
        subject = ranges_of(IPV4_BITS, ranges, at_once=at_once)
        assert len(subject) == model_size(ranges)
        assert [str(IPv4Address(number)) in subject for number in range(5_000)] == expected


def test_the_same_range_many_times_is_one() -> None:
    assert len(ranges_of(IPV4_BITS, [(7, 9)] * 20_000, at_once=1_000)) == 1


def test_whoever_waits_has_a_turn_while_a_set_is_built() -> None:
    builder, turns = RangeBuilder(), list[int]()
    builder.add(IPV4_BITS, [number << 33 | number * 2 for number in range(40_000)])
    assert len(builder.build(lambda: turns.append(1))) == 40_000
    assert len(turns) >= 40_000 // address_ranges.STEP


def test_an_empty_set_has_nothing_in_it() -> None:
    empty = AddressRanges.empty()
    assert len(empty) == 0
    assert [host in empty for host in ("0.0.0.0", "1.2.3.4", "::", "ffff::")] == [False] * 4


def test_an_ipv4_address_inside_an_ipv6_one_is_the_ipv4_address() -> None:
    assert address_number("::ffff:1.2.3.4") == address_number("1.2.3.4") == (32, 0x01020304)
    assert address_number("2001:db8::1%eth0") == (128, 0x2001_0DB8 << 96 | 1)


@pytest.mark.parametrize("host", ["", "host", "a.b.c.d", "1.2.3", "1.2.3.4.5", ":", "1::2::3"])
def test_what_is_no_literal_address_is_in_no_set(host: str) -> None:
    everything = RangeBuilder()
    everything.add(IPV4_BITS, [(1 << 32) - 1])
    everything.add(IPV6_BITS, [(1 << 128) - 1])
    assert host not in everything.build()
