"""Who operates an IP address: the unit by which the limits for strangers are counted.

A host of IPv6 has 2**64 addresses of its own, and an IPv4 address can be written as IPv6 in several
ways, so neither a literal address nor its text says how many parties there are. Source: RFC 4291
(mapped addresses), RFC 3056 (6to4), RFC 6052 (NAT64), RFC 4380 (Teredo), RFC 6177 (a /64 a site at
least).
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

SITE_BITS: Final = 64  # RFC 4291, 2.5.1: the interface identifier is the lower half
REMEMBERED_HOSTS: Final = 8_192  # ours: about 2 MiB
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOOPBACK: Final = "::1"


def operator_of(host: str) -> str:
    """Return the key by which limits for one party are counted.

    An IPv4 address is its own key, also inside an IPv6 address; of another IPv6 address it is the
    /64, as ``2001:db8:0:1::/64``. Loopback, and what is no literal address, is its own key.
    """
    return _operator_of_ipv6(host) if ":" in host else host


def embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address go to in the end, if that is known.

    Those of mapped, 6to4, NAT64 (well-known prefix) and Teredo addresses are.
    """
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(address.packed[-4:])
    if inner is None and (teredo := address.teredo) is not None:
        inner = teredo[1]
    return inner


@lru_cache(maxsize=REMEMBERED_HOSTS)
def _operator_of_ipv6(host: str) -> str:
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if (inner := embedded_ipv4(address)) is not None:
        return str(inner)
    if address.is_loopback:
        return _LOOPBACK
    spare_bits = address.max_prefixlen - SITE_BITS
    return f"{IPv6Address(int(address) >> spare_bits << spare_bits)}/{SITE_BITS}"
