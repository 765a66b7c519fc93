"""Grouping of IP addresses by operator, the unit for which limits per peer address are counted.

An IPv6 host usually has 2**64 addresses, and an IPv4 address can be written as an IPv6 address in
several ways, so limits that counted each literal address could be evaded. Source: RFC 4291
(mapped addresses), RFC 3056 (6to4), RFC 6052 (NAT64), RFC 4380 (Teredo), RFC 6177 (a /64 a site at
least), RFC 4193 and RFC 4291, 2.5.6 (unique local and link-local addresses).
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final, Protocol

SITE_BITS: Final = 64  # RFC 4291, 2.5.1: the interface identifier is the lower half
REMEMBERED_HOSTS: Final = 8_192  # ours: about 2 MiB
NETWORK_BITS: Final = {4: 24, 6: 48}
"""Prefix length of the network of one owner, by IP version."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_EMBEDDING: Final = frozenset({0x0000, 0x2002, 0x0064, 0x2001})
"""How IPv6 addresses with an embedded IPv4 address begin: their first 16 bits."""
_LOOPBACK: Final = "::1"
_UNIQUE_LOCAL: Final = 0xFC00 >> 9
"""The first 7 bits of fc00::/7."""
_LINK_LOCAL: Final = 0xFE80 >> 6
"""The first 10 bits of fe80::/10."""


class Owned(Protocol):
    """What belongs to an operator and its network."""

    @property
    def operator(self) -> str:
        """The key that :func:`operator_of` returns."""

    @property
    def network(self) -> str:
        """The key that :func:`network_of` returns."""


def operator_of(host: str) -> str:
    """Return the key for which limits of an IP address are counted.

    The key of an IPv4 address is the address itself, also where it is embedded in an IPv6 address.
    The key of another IPv6 address is its /64, such as ``2001:db8:0:1::/64``, but for unique local
    and link-local ones, where a /64 is a whole local network: each is its own, without its zone, as
    in a local network of IPv4. Loopback addresses and host names are returned unchanged.
    """
    return _operator_of_ipv6(host) if ":" in host else host


@lru_cache(maxsize=REMEMBERED_HOSTS)
def literal_address(host: str) -> IPv4Address | IPv6Address:
    """Return an address of text as :func:`ipaddress.ip_address` does, and remember it.

    Parsing takes 3 to 10 us, and several checks of an address need it. Raises ValueError.
    """
    return IPv6Address(host) if ":" in host else IPv4Address(host)


def embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address embedded in a mapped, 6to4, NAT64 or Teredo address, or None.

    Of NAT64 only the well-known prefix is recognised.
    """
    if int(address) >> 112 not in _EMBEDDING:
        return None
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(address.packed[-4:])
    if inner is None and (teredo := address.teredo) is not None:
        inner = teredo[1]
    return inner


@lru_cache(maxsize=REMEMBERED_HOSTS)
def _operator_of_ipv6(host: str) -> str:
    try:
        address = literal_address(host.partition("%")[0])
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if (inner := embedded_ipv4(address)) is not None:
        return str(inner)
    if address.is_loopback:
        return _LOOPBACK
    if _is_of_neighbour(address):
        return str(address)
    spare_bits = address.max_prefixlen - SITE_BITS
    return f"{IPv6Address(int(address) >> spare_bits << spare_bits)}/{SITE_BITS}"


def _is_of_neighbour(address: IPv6Address) -> bool:
    first = int(address) >> 112
    return first >> 9 == _UNIQUE_LOCAL or first >> 6 == _LINK_LOCAL


@lru_cache(maxsize=REMEMBERED_HOSTS)
def network_of(host: str) -> str:
    """Return a key of the IPv4 /24 or IPv6 /48 of an address; host names stay unchanged."""
    try:
        ip = literal_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(ip, IPv6Address):
        ip = embedded_ipv4(ip) or ip
    spare_bits = ip.max_prefixlen - NETWORK_BITS[ip.version]
    return f"{ip.version}/{int(ip) >> spare_bits:x}"
