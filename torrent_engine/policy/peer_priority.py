"""Owns the number by which all peers agree on who should be connected to whom.

Source: BEP 40; CRC-32C as RFC 3720 appendix B.4 describes it.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from torrent_engine.base.ids import PeerAddress

_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli's, bits reversed


def _table_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value


_TABLE: Final = tuple(map(_table_entry, range(256)))


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def peer_priority(ours: PeerAddress, theirs: PeerAddress) -> int:
    """Return the canonical priority of a pair of peers, 0 to 2**32 - 1; more is better.

    The same for both ends. Addresses of different families have no canonical priority: 0. Raises
    ValueError for a host that is no literal address.
    """
    our_ip, their_ip = ip_address(ours.host), ip_address(theirs.host)
    if our_ip.version != their_ip.version:
        return 0
    if our_ip == their_ip:
        pair = sorted(port.to_bytes(2, "big") for port in (ours.port, theirs.port))
    else:
        mask = _mask(our_ip, their_ip)
        pair = sorted(_masked(ip, mask) for ip in (our_ip, their_ip))
    return crc32c(b"".join(pair))


def _mask(ours: IPv4Address | IPv6Address, theirs: IPv4Address | IPv6Address) -> bytes:
    """Return FF for the leading bytes that count whole and 55 for the others.

    IPv4: two whole bytes, three within a /16, four within a /24. IPv6: six, and one more than the
    addresses share from a /48 on.
    """
    width = len(ours.packed)
    first_whole = 2 if width == 4 else 6
    shared = _shared_bytes(ours.packed, theirs.packed)
    whole = shared + 1 if shared >= first_whole else first_whole
    return (b"\xff" * whole).ljust(width, b"\x55")


def _shared_bytes(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=True))
    return next((index for index, (a, b) in pairs if a != b), len(one))


def _masked(ip: IPv4Address | IPv6Address, mask: bytes) -> bytes:
    return bytes(a & b for a, b in zip(ip.packed, mask, strict=True))
