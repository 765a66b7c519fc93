"""Owns the question of which addresses can be dialled, by whom, and which many peers may share."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import embedded_ipv4, operator_of

_BROADCAST: Final = IPv4Address("255.255.255.255")


def is_dialable(address: PeerAddress, *, allow_local: bool = True) -> bool:
    """Tell whether a TCP link to this address can be: a literal unicast address and a port.

    With ``allow_local`` False only addresses of the public internet count (row B9).
    """
    if not 0 < address.port < 1 << 16:
        return False
    try:
        ip = real_address(address.host)
    except ValueError:
        return False
    if ip.is_unspecified or ip.is_multicast or ip == _BROADCAST:
        return False
    return allow_local or ip.is_global


def may_be_shared(host: str, config: PoolConfig) -> bool:
    """Tell whether the ports of one IP address are peers of their own: by option, or loopback."""
    operator = operator_of(host)
    return config.allow_multiple_per_ip or operator.startswith("127.") or operator == "::1"


def real_address(host: str) -> IPv4Address | IPv6Address:
    """Return the address that a literal one leads to: IPv4 inside IPv6 comes out as IPv4.

    Raises ValueError for a host that is no literal address.
    """
    ip = ip_address(host)
    inner = embedded_ipv4(ip) if isinstance(ip, IPv6Address) else None
    return ip if inner is None else inner


def is_local(host: str) -> bool:
    """Tell whether a literal address is of this machine or its local network.

    Raises ValueError for a host that is no literal address.
    """
    ip = real_address(host)
    return ip.is_private or ip.is_link_local or ip.is_loopback


def is_in_reach(host: str, asker: str) -> bool:
    """Tell whether a literal address means something to who is at another one (row B9).

    A loopback address does on loopback only, another local one in some local network. Raises
    ValueError for a host that is no literal address.
    """
    return _nearness(host) <= _nearness(asker)


@lru_cache(maxsize=4096)
def _nearness(host: str) -> int:
    ip = real_address(host)
    return 0 if ip.is_global else 2 if ip.is_loopback else 1
