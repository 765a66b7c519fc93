"""Owns the number by which all peers agree on who should be connected to whom.

Source: BEP 40.
"""

from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.codec.crc32c import crc32c


def peer_priority(ours: PeerAddress, theirs: PeerAddress) -> int:
    """Return the canonical priority of a pair of peers, 0 to 2**32 - 1; more is better.

    The same for both ends. Addresses of different families have no canonical priority: 0. Raises
    ValueError for a host that is no literal address.
    """
    our_ip, their_ip = _packed(ours.host), _packed(theirs.host)
    if len(our_ip) != len(their_ip):
        return 0
    if our_ip == their_ip:
        pair = sorted(port.to_bytes(2, "big") for port in (ours.port, theirs.port))
        return crc32c(b"".join(pair))
    width = len(our_ip)
    one, other = int.from_bytes(our_ip, "big"), int.from_bytes(their_ip, "big")
    shared_bytes = width - ((one ^ other).bit_length() + 7) // 8
    mask = _MASKS[width][shared_bytes]
    low, high = sorted((one & mask, other & mask))
    return crc32c((low << 8 * width | high).to_bytes(2 * width, "big"))


def _masks(width: int, always_whole: int) -> tuple[int, ...]:
    """Return the masks for 0, 1, ... shared leading bytes: FF for bytes that count whole, else 55.

    IPv4: two whole bytes, three within a /16, four within a /24. IPv6: six, and one more than the
    addresses share from a /48 on.
    """
    wholes = (shared + 1 if shared >= always_whole else always_whole for shared in range(width))
    return tuple(int.from_bytes((b"\xff" * whole).ljust(width, b"\x55"), "big") for whole in wholes)


_MASKS: Final = {4: _masks(4, always_whole=2), 16: _masks(16, always_whole=6)}


@lru_cache(maxsize=64)
def _packed(host: str) -> bytes:
    return ip_address(host).packed
