"""Sets of millions of IP address ranges, with fast lookup.

A set is sorted, disjoint and packed into arrays: 8 bytes for an IPv4 range, 32 for IPv6. It is
built in steps of a few thousand ranges, so that the building thread releases the interpreter lock
regularly.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from torrent_engine.base.operators import embedded_ipv4

IPV4_BITS: Final = 32
IPV6_BITS: Final = 128
STEP: Final = 4_096  # ours: ranges sorted in one go, which takes about a millisecond
SAMPLING: Final = 64  # ours: one range in this many is sampled to find the bounds of the steps
_LOW_64: Final = (1 << 64) - 1


def address_number(host: str) -> tuple[int, int]:
    """Return the bits of the family of a literal address, 32 or 128, and the address as a number.

    An IPv4-mapped IPv6 address counts as IPv4. Raises ValueError unless ``host`` is a literal
    address.
    """
    if ":" in host:
        return _ipv6_number(host)
    first, second, third, fourth = host.split(".")
    return IPV4_BITS, int(first) << 24 | int(second) << 16 | int(third) << 8 | int(fourth)


@lru_cache(maxsize=4096)
def _ipv6_number(host: str) -> tuple[int, int]:
    address = IPv6Address(host.partition("%")[0])
    inner = address.ipv4_mapped
    return (IPV6_BITS, int(address)) if inner is None else (IPV4_BITS, int(inner))


@lru_cache(maxsize=4096)
def _inner_number(host: str) -> int | None:
    """Return the IPv4 address embedded in an IPv6 address, as a number; None without one."""
    inner = embedded_ipv4(IPv6Address(host.partition("%")[0]))
    return None if inner is None else int(inner)


class AddressRanges:
    """An immutable set of addresses of both families; made by a RangeBuilder."""

    def __init__(self, ipv4: "_Ipv4Table", ipv6: "_Ipv6Table") -> None:
        self._ipv4 = ipv4
        self._ipv6 = ipv6

    @classmethod
    def empty(cls) -> "AddressRanges":
        """Return the empty set."""
        return cls(_Ipv4Table(), _Ipv6Table())

    def __len__(self) -> int:
        """Return the number of ranges, after overlapping and adjacent ones were merged."""
        return len(self._ipv4.firsts) + len(self._ipv6.firsts_high)

    def __contains__(self, host: str) -> bool:
        """Return whether a host is in the set; False unless it is a literal address.

        An IPv6 address with an embedded IPv4 address (6to4, NAT64, Teredo) is in the set if either
        is.
        """
        try:
            bits, number = address_number(host)
            if bits == IPV4_BITS:
                return self._ipv4.covers(number)
            inner = _inner_number(host)
            if inner is not None and self._ipv4.covers(inner):
                return True
        except ValueError:
            return False
        return self._ipv6.covers(number)


class _Ipv4Table:
    def __init__(self) -> None:
        self.firsts = array("I")
        self.lasts = array("I")

    def append(self, first: int, last: int) -> None:
        self.firsts.append(first)
        self.lasts.append(last)

    def covers(self, number: int) -> bool:
        place = bisect_right(self.firsts, number) - 1
        return place >= 0 and number <= self.lasts[place]


class _Ipv6Table:
    """Sorted IPv6 ranges; each half of an address has its own array of 64-bit numbers."""

    def __init__(self) -> None:
        self.firsts_high, self.firsts_low = array("Q"), array("Q")
        self.lasts_high, self.lasts_low = array("Q"), array("Q")

    def append(self, first: int, last: int) -> None:
        self.firsts_high.append(first >> 64)
        self.firsts_low.append(first & _LOW_64)
        self.lasts_high.append(last >> 64)
        self.lasts_low.append(last & _LOW_64)

    def covers(self, number: int) -> bool:
        high, low = number >> 64, number & _LOW_64
        begin = bisect_left(self.firsts_high, high)
        end = bisect_right(self.firsts_high, high, begin)
        place = bisect_right(self.firsts_low, low, begin, end) - 1
        if place < 0:
            return False
        return (high, low) <= (self.lasts_high[place], self.lasts_low[place])


class RangeBuilder:
    """A builder of AddressRanges from any number of ranges in any order."""

    def __init__(self) -> None:
        self._ipv4 = _Runs(IPV4_BITS)
        self._ipv6 = _Runs(IPV6_BITS)

    def __len__(self) -> int:
        """Return the number of ranges added."""
        return self._ipv4.count + self._ipv6.count

    def add(self, bits: int, keys: list[int]) -> None:
        """Add ranges of one family, each as ``first << bits | last``, in any order."""
        runs = self._ipv4 if bits == IPV4_BITS else self._ipv6
        for start in range(0, len(keys), STEP):
            runs.add(keys[start : start + STEP])

    def build(self, yield_thread: Callable[[], None] = lambda: None) -> AddressRanges:
        """Return the set of all ranges; ``yield_thread`` is called about each millisecond."""
        ipv4, ipv6 = _Ipv4Table(), _Ipv6Table()
        for first, last in self._ipv4.disjoint(yield_thread):
            ipv4.append(first, last)
        for first, last in self._ipv6.disjoint(yield_thread):
            ipv6.append(first, last)
        return AddressRanges(ipv4, ipv6)


class _Runs:
    """The ranges of one family as sorted runs; a sorted list gives a single run."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._runs: list[array[int] | list[int]] = []
        self.count = 0

    def add(self, keys: list[int]) -> None:
        keys.sort()
        if not self._runs or self._runs[-1][-1] > keys[0]:
            self._runs.append(array("Q") if self._bits == IPV4_BITS else [])
        self._runs[-1].extend(keys)
        self.count += len(keys)

    def disjoint(self, yield_thread: Callable[[], None]) -> Iterator[tuple[int, int]]:
        """Yield (first, last) of each range, sorted, with overlapping and adjacent ones merged."""
        bits, mask = self._bits, (1 << self._bits) - 1
        first, last = 0, -2
        for keys in self._in_order():
            yield_thread()
            for key in keys:
                start, end = key >> bits, key & mask
                if start > last + 1:
                    if last >= 0:
                        yield first, last
                    first, last = start, end
                elif end > last:
                    last = end
        if last >= 0:
            yield first, last

    def _in_order(self) -> Iterator[list[int]]:
        """Yield all keys in order, a step at a time."""
        if not self._runs:
            return
        begins = [0] * len(self._runs)
        for bound in [*self._bounds(), None]:
            step: list[int] = []
            for number, run in enumerate(self._runs):
                end = len(run) if bound is None else bisect_left(run, bound, begins[number])
                step += run[begins[number] : end]
                begins[number] = end
            step.sort()
            yield step

    def _bounds(self) -> list[int]:
        """Return keys that divide all runs together into steps of about the same size."""
        samples: list[int] = []
        for run in self._runs:
            samples += run[::SAMPLING]
        samples.sort()
        return samples[STEP // SAMPLING :: STEP // SAMPLING]
