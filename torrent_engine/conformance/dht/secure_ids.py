"""Node ids that fit an address, computed by the kit itself.

Source: BEP 42.
"""

import ipaddress
import random
from typing import Final

from torrent_engine.conformance.dht.krpc import ID_BYTES

MASK: Final = 0x030F_3FFF
MASK6: Final = 0x0103_070F_1F3F_7FFF
PREFIX_BITS: Final = 21
_POLYNOMIAL: Final = 0x82F6_3B78
"""Of CRC32C (Castagnoli), with its bits in reverse."""


def crc32c(data: bytes) -> int:
    """Return the checksum."""
    found = 0xFFFF_FFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (_POLYNOMIAL if found & 1 else 0)
    return found ^ 0xFFFF_FFFF


def prefix_of(host: str, number: int) -> int:
    """Return the first 21 bits of an id that ends with ``number``."""
    address = ipaddress.ip_address(host)
    if address.version == 4:
        masked = (int(address) & MASK | (number & 7) << 29).to_bytes(4, "big")
    else:
        masked = (int(address) >> 64 & MASK6 | (number & 7) << 61).to_bytes(8, "big")
    return crc32c(masked) >> 32 - PREFIX_BITS


def fits(node_id: bytes, host: str) -> bool:
    """Return whether an id is one that the node of an address may have."""
    if len(node_id) != ID_BYTES:
        return False
    start = int.from_bytes(node_id, "big") >> 8 * ID_BYTES - PREFIX_BITS
    return start == prefix_of(host, node_id[-1])


def fitting_id(host: str) -> bytes:
    """Return a random id that fits an address."""
    number = random.randrange(256)  # noqa: S311 - nothing is secret
    low = 8 * ID_BYTES - PREFIX_BITS
    rest = random.getrandbits(low) & ~0xFF | number
    return (prefix_of(host, number) << low | rest).to_bytes(ID_BYTES, "big")


def is_exempt(host: str) -> bool:
    """Return whether addresses like this one need no id that fits."""
    address = ipaddress.ip_address(host)
    return address.is_private or address.is_loopback or address.is_link_local
