"""The interfaces of local service discovery, and the accepted networks.

Source: BEP 14 ("on each interface on which it is listening"); row C6.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from torrent_engine.net.sockets.interfaces import Interface

IpNetwork = IPv4Network | IPv6Network

UNSPECIFIED: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_PRIVATE: Final = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "127.0.0.0/8",
    "fc00::/7",
    "::1/128",
)
PRIVATE_NETWORKS: Final = tuple(ip_network(text) for text in _PRIVATE)
"""Networks that count as local if the interfaces are unknown."""


@dataclass(frozen=True, slots=True)
class MulticastInterface:
    """One interface and address family on which we listen for peers."""

    index: int
    """Index of the interface; 0 lets the system choose."""
    is_ipv6: bool
    source: str | None
    """Our source address; None: any of the interface."""
    networks: tuple[IpNetwork, ...]
    """Networks whose announces are accepted."""


def multicast_interfaces(
    hosts: Iterable[str], interfaces: Sequence[Interface]
) -> list[MulticastInterface]:
    """Return the interfaces for a listener at these hosts.

    A listener on the unspecified address uses all interfaces but loopback, or loopback if there is
    no other; a listener on another address uses its interface. An IPv6 interface needs more than a
    link-local address, because receivers cannot dial those.
    """
    found: dict[MulticastInterface, None] = {}
    for host in hosts:
        here = _on_all_interfaces if host in UNSPECIFIED else _on_interface_of
        found.update(dict.fromkeys(here(host, interfaces)))
    return list(found)


def is_local(host: str, multicast_interfaces: Iterable[MulticastInterface]) -> bool:
    """Return whether an announce from an address is accepted."""
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    if ip.version == 6 and ip.is_link_local:
        return False
    return any(ip in network for each in multicast_interfaces for network in each.networks)


def _on_all_interfaces(host: str, interfaces: Sequence[Interface]) -> Iterator[MulticastInterface]:
    is_ipv6 = ":" in host
    if not interfaces:
        yield MulticastInterface(0, is_ipv6, None, PRIVATE_NETWORKS)
    usable = [each for each in interfaces if _networks(each, is_ipv6=is_ipv6)]
    outward = [each for each in usable if each.is_multicast and not each.is_loopback]
    for interface in outward:
        yield MulticastInterface(
            interface.index, is_ipv6, None, _networks(interface, is_ipv6=is_ipv6)
        )
    if not outward:
        for interface in (each for each in usable if each.is_loopback):
            yield from _on_interface_of("::1" if is_ipv6 else "127.0.0.1", [interface])


def _on_interface_of(host: str, interfaces: Sequence[Interface]) -> Iterator[MulticastInterface]:
    try:
        is_ipv6, ip = ":" in host, ip_address(host)
    except ValueError:
        return  # a name: the bound address is unknown
    if not interfaces:
        yield MulticastInterface(0, is_ipv6, host, PRIVATE_NETWORKS)
    for interface in interfaces:
        networks = _networks(interface, is_ipv6=is_ipv6)
        owns = any(ip == address.ip for address in interface.addresses)
        if owns or (interface.is_loopback and any(ip in network for network in networks)):
            yield MulticastInterface(interface.index, is_ipv6, host, networks)
            return


def _networks(interface: Interface, *, is_ipv6: bool) -> tuple[IpNetwork, ...]:
    """Return the networks of an interface, without IPv6 link-local."""
    return tuple(
        address.network
        for address in interface.addresses
        if (address.version == 6) == is_ipv6 and not (is_ipv6 and address.ip.is_link_local)
    )
