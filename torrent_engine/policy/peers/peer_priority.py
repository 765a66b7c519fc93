"""The canonical peer priority (BEP 40).

Source: BEP 40.
"""

import random
from typing import Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import literal_address
from torrent_engine.codec.crc32c import crc32c


def peer_priority(ours: PeerAddress, theirs: PeerAddress) -> int:
    """Return the canonical priority of a pair of peers, 0 to 2**32 - 1; more is better.

    Symmetric. Addresses of different families have no canonical priority: 0. Raises ValueError
    unless both hosts are literal addresses.
    """
    our_ip, their_ip = literal_address(ours.host).packed, literal_address(theirs.host).packed
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


class CanonicalPriority:
    """Canonical priorities of peers, from our external address in each family."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._own: dict[bool, PeerAddress] = {}
        """Keyed by whether the address is IPv6."""

    def __contains__(self, address: object) -> bool:
        """Return whether an address is ours."""
        return address in self._own.values()

    def set_address(self, address: PeerAddress) -> PeerAddress | None:
        """Set our external address in its family; return the one before."""
        family = is_ipv6(address)
        before = self._own.get(family)
        self._own[family] = address
        return before

    def canonical(self, address: PeerAddress) -> int | None:
        """Return the priority of a peer; None while our address is unknown."""
        own = self._own.get(is_ipv6(address))
        return None if own is None else peer_priority(own, address)

    def priority(self, address: PeerAddress) -> int:
        """Return the priority of a peer; a random one while our address is unknown."""
        priority = self.canonical(address)
        return self._rng.getrandbits(32) if priority is None else priority


def is_ipv6(address: PeerAddress) -> bool:
    """Return whether a literal address is one of IPv6."""
    return ":" in address.host


def _masks(width: int, always_whole: int) -> tuple[int, ...]:
    """Return the masks for 0, 1, ... shared leading bytes: FF for whole bytes, else 55.

    IPv4: two whole bytes, three in the same /16, four in the same /24. IPv6: six whole bytes, and
    from a /48 on one more than the addresses share.
    """
    wholes = (shared + 1 if shared >= always_whole else always_whole for shared in range(width))
    return tuple(int.from_bytes((b"\xff" * whole).ljust(width, b"\x55"), "big") for whole in wholes)


_MASKS: Final = {4: _masks(4, always_whole=2), 16: _masks(16, always_whole=6)}
