"""Bloom filters that count the peers of a torrent over many nodes (BEP 33).

Source: BEP 33.
"""

from hashlib import sha1
from math import log
from typing import Final

FILTER_BYTES: Final = 256
_BITS: Final = FILTER_BYTES * 8
_HASHES: Final = 2


class ScrapeFilter:
    """A Bloom filter of IP addresses."""

    __slots__ = ("bits",)

    def __init__(self, data: bytes = b"") -> None:
        """Create a filter, empty or from received bytes; only the first 256 count."""
        self.bits = int.from_bytes(data[:FILTER_BYTES], "little")

    def add(self, packed_host: bytes) -> None:
        """Add an address of 4 or 16 bytes."""
        self.bits |= _mask(packed_host)

    def update(self, other: "ScrapeFilter") -> None:
        """Add everything that is in another filter."""
        self.bits |= other.bits

    def __contains__(self, packed_host: bytes) -> bool:
        """Return whether an address may be in the filter; False is certain."""
        mask = _mask(packed_host)
        return self.bits & mask == mask

    def __bytes__(self) -> bytes:
        """Return the 256 bytes that are sent."""
        return self.bits.to_bytes(FILTER_BYTES, "little")

    def estimate(self) -> float:
        """Return the estimated number of addresses; usable up to about 6,000."""
        if not self.bits:
            return 0.0
        zeros = min(_BITS - 1, _BITS - self.bits.bit_count())
        return log(max(zeros, 1) / _BITS) / (_HASHES * log(1 - 1 / _BITS))


def _mask(packed_host: bytes) -> int:
    digest = sha1(packed_host, usedforsecurity=False).digest()
    first = int.from_bytes(digest[0:2], "little") % _BITS
    second = int.from_bytes(digest[2:4], "little") % _BITS
    return 1 << first | 1 << second
