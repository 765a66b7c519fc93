"""Checks of peer addresses: whether they can be dialled, are local, or may be shared."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import embedded_ipv4, literal_address, operator_of

_BROADCAST: Final = IPv4Address("255.255.255.255")


def is_dialable(address: PeerAddress, *, allow_local: bool = True) -> bool:
    """Return whether this address can be dialled over TCP: a literal unicast address and a port.

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
    """Return whether several peers may share an IP address: by option, or on loopback."""
    operator = operator_of(host)
    return config.allow_multiple_per_ip or operator.startswith("127.") or operator == "::1"


def is_private_or_shared(host: str, config: PoolConfig) -> bool:
    """Return whether an address is local or several peers may share it: limits do not apply."""
    if may_be_shared(host, config):
        return True
    try:
        return is_local(host)
    except ValueError:
        return False


def real_address(host: str) -> IPv4Address | IPv6Address:
    """Return a literal address with an IPv4 address inside IPv6 as IPv4.

    Raises ValueError for a host that is no literal address.
    """
    ip = literal_address(host)
    inner = embedded_ipv4(ip) if isinstance(ip, IPv6Address) else None
    return ip if inner is None else inner


def is_local(host: str) -> bool:
    """Return whether a literal address is on this machine or its local network.

    Raises ValueError for a host that is no literal address.
    """
    ip = real_address(host)
    return ip.is_private or ip.is_link_local or ip.is_loopback


def is_reachable_from(host: str, asker: str) -> bool:
    """Return whether ``host`` can be reachable for ``asker`` (row B9).

    A loopback address is reachable from loopback only, another local address from local networks.
    Raises ValueError unless both are literal addresses.
    """
    return _scope(host) <= _scope(asker)


@lru_cache(maxsize=4096)
def _scope(host: str) -> int:
    ip = real_address(host)
    return 0 if ip.is_global else 2 if ip.is_loopback else 1
