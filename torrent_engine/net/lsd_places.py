"""Owns the question of where local service discovery speaks, and whose announces it believes.

Source: BEP 14 ("on each interface on which it is listening"); row C6.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from torrent_engine.net.interfaces import Interface

IpNetwork = IPv4Network | IPv6Network

EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
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
"""What is believed to be near where the system tells nothing of its interfaces."""


@dataclass(frozen=True, slots=True)
class Place:
    """One interface and address family on which we listen for peers."""

    index: int
    """Of the interface; 0 where the system does not tell: it chooses."""
    is_ipv6: bool
    source: str | None
    """The address that we listen at, and announce from; None: whichever the interface has."""
    networks: tuple[IpNetwork, ...]
    """Whose announces are believed: those of who is in the same network."""


def places(hosts: Iterable[str], interfaces: Sequence[Interface]) -> list[Place]:
    """Return where announces of a listener at these hosts go, each place once.

    Who listens everywhere uses all interfaces but loopback, and loopback if there is no other.
    Who listens at one address uses its interface. IPv6 needs more than a link-local address: who
    hears from one cannot dial it.
    """
    found: dict[Place, None] = {}
    for host in hosts:
        here = _everywhere if host in EVERYWHERE else _at
        found.update(dict.fromkeys(here(host, interfaces)))
    return list(found)


def is_near(host: str, places: Iterable[Place]) -> bool:
    """Tell whether an announce from an address is believed."""
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    if ip.version == 6 and ip.is_link_local:
        return False
    return any(ip in network for place in places for network in place.networks)


def _everywhere(host: str, interfaces: Sequence[Interface]) -> Iterator[Place]:
    is_ipv6 = ":" in host
    if not interfaces:
        yield Place(0, is_ipv6, None, PRIVATE_NETWORKS)
    usable = [each for each in interfaces if _networks(each, is_ipv6=is_ipv6)]
    outward = [each for each in usable if each.is_multicast and not each.is_loopback]
    for interface in outward:
        yield Place(interface.index, is_ipv6, None, _networks(interface, is_ipv6=is_ipv6))
    if not outward:
        for interface in (each for each in usable if each.is_loopback):
            yield from _at("::1" if is_ipv6 else "127.0.0.1", [interface])


def _at(host: str, interfaces: Sequence[Interface]) -> Iterator[Place]:
    try:
        is_ipv6, ip = ":" in host, ip_address(host)
    except ValueError:
        return  # a name: nobody knows which address will be bound
    if not interfaces:
        yield Place(0, is_ipv6, host, PRIVATE_NETWORKS)
    for interface in interfaces:
        networks = _networks(interface, is_ipv6=is_ipv6)
        owns = any(ip == address.ip for address in interface.addresses)
        if owns or (interface.is_loopback and any(ip in network for network in networks)):
            yield Place(interface.index, is_ipv6, host, networks)
            return


def _networks(interface: Interface, *, is_ipv6: bool) -> tuple[IpNetwork, ...]:
    """Return the networks of an interface, without the link-local one of IPv6."""
    return tuple(
        address.network
        for address in interface.addresses
        if (address.version == 6) == is_ipv6 and not (is_ipv6 and address.ip.is_link_local)
    )
