"""Conversion of literal IP addresses to bytes and back, and checks for local ones.

Most datagrams are from recently seen addresses, so the results are cached.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Final

from torrent_engine.base.operators import embedded_ipv4

IPV4_BYTES: Final = 4
IPV6_BYTES: Final = 16
REMEMBERED_HOSTS: Final = 4096  # ours: about 1 MiB for each of the three functions

_LOCAL_NETWORKS: Final = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",  # these five: BEP 42
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "127.0.0.0/8",
        "::1/128",
        "fe80::/10",
        "fc00::/7",
    )
)


@lru_cache(maxsize=REMEMBERED_HOSTS)
def packed_host(host: str) -> bytes:
    """Return the 4 or 16 bytes of a literal address; b"" for anything else.

    An IPv4-mapped IPv6 address counts as IPv4; a zone ("%eth0") is ignored.
    """
    try:
        if ":" not in host:
            return IPv4Address(host).packed
        address = IPv6Address(host)
    except ValueError:
        return b""
    return address.packed if address.ipv4_mapped is None else address.ipv4_mapped.packed


@lru_cache(maxsize=REMEMBERED_HOSTS)
def host_text(packed: bytes) -> str:
    """Return the literal address of 4 or 16 bytes. Raises ValueError for another length."""
    if len(packed) == IPV4_BYTES:
        return "{}.{}.{}.{}".format(*packed)
    address = IPv6Address(packed)
    return str(address if address.ipv4_mapped is None else address.ipv4_mapped)


@lru_cache(maxsize=REMEMBERED_HOSTS)
def is_local(host: str) -> bool:
    """Return whether an address is of a loopback, link-local or private range (BEP 42)."""
    packed = packed_host(host)
    if len(packed) == IPV4_BYTES:
        ip4 = IPv4Address(packed)
        return any(ip4 in net for net in _LOCAL_NETWORKS if not isinstance(net, IPv6Network))
    if not packed:
        return False
    ip6 = IPv6Address(packed)
    return any(ip6 in net for net in _LOCAL_NETWORKS if isinstance(net, IPv6Network))


@lru_cache(maxsize=REMEMBERED_HOSTS)
def subnet_of(packed: bytes) -> bytes:
    """Return the subnet that is likely to belong to one operator: a /24, or a /64.

    For an IPv6 address with an embedded IPv4 address, the /24 of that.
    """
    if len(packed) == IPV6_BYTES and (inner := embedded_ipv4(IPv6Address(packed))) is not None:
        packed = inner.packed
    return packed[:3] if len(packed) == IPV4_BYTES else packed[:8]
