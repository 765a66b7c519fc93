"""Detection of the default gateway, and of our address in its network.

On Linux from /proc/net. Elsewhere the first address of our network is assumed to be the IPv4
gateway; there is none for IPv6 then.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path
from typing import Final

from torrent_engine.net.sockets.interfaces import Interface, interfaces

PROC: Final = Path("/proc/net")
MAX_TABLE_BYTES: Final = 1 << 20  # ours: at most this much of the routing table is read
UP: Final = 0x1  # route flags of Linux
VIA_GATEWAY: Final = 0x2
DISCARD_PORT: Final = 9
OUTSIDE_IPV4: Final = "192.0.2.1"  # RFC 5737: a documentation address; nothing is sent there
OUTSIDE_IPV6: Final = "2000::1"  # for IPv6
USUAL_PREFIX_BITS: Final = 24


@dataclass(frozen=True, slots=True)
class Gateway:
    """The default gateway of one address family."""

    host: str
    """Literal address, with the zone if it is link-local."""
    local_host: str
    """Our address in its network."""

    @property
    def is_ipv6(self) -> bool:
        """Whether it is an IPv6 gateway."""
        return ":" in self.host


def find_gateway(is_ipv6: bool, proc: Path = PROC) -> Gateway | None:  # noqa: FBT001 - a family
    """Return the gateway of an address family; None if there is none or it is unknown."""
    table = _table(proc / ("ipv6_route" if is_ipv6 else "route"))
    if table is None:
        return None if is_ipv6 else guessed_gateway(interfaces())
    host = default_ipv6(table) if is_ipv6 else default_ipv4(table)
    if host is None:
        return None
    local_host = _source(OUTSIDE_IPV6 if is_ipv6 else host)
    return None if local_host is None else Gateway(host, local_host)


def default_ipv4(table: str) -> str | None:
    """Return the gateway of the best default route in the text of /proc/net/route."""
    routes = sorted(_ipv4_routes(table.splitlines()[1:]), key=lambda route: route[0])
    return routes[0][1] if routes else None


def default_ipv6(table: str) -> str | None:
    """Return the gateway of the best default route in the text of /proc/net/ipv6_route."""
    routes = sorted(_ipv6_routes(table.splitlines()), key=lambda route: route[0])
    return routes[0][1] if routes else None


def guessed_gateway(known: Iterable[Interface]) -> Gateway | None:
    """Return the first address of the network of our default source address."""
    local_host = _source(OUTSIDE_IPV4)
    if local_host is None or IPv4Address(local_host).is_loopback:
        return None
    network = ip_network(f"{local_host}/{USUAL_PREFIX_BITS}", strict=False)
    for address in (each for interface in known for each in interface.addresses):
        if str(address.ip) == local_host:
            network = address.network
    first = next(network.hosts(), None)
    return None if first is None or str(first) == local_host else Gateway(str(first), local_host)


def _table(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TABLE_BYTES).decode("ascii", "replace")
    except OSError:
        return None


def _ipv4_routes(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield metric and gateway of each default route; malformed lines are skipped."""
    for line in lines:
        fields = line.split()
        with suppress(ValueError, IndexError, struct.error):
            _, target, gateway, flags, _, _, metric, mask = fields[:8]
            if int(target, 16) == int(mask, 16) == 0 and _is_usable(flags, gateway):
                # The kernel prints the address as a number in native byte order.
                packed = struct.pack("=I", int(gateway, 16))
                yield int(metric), str(IPv4Address(packed))


def _ipv6_routes(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        fields = line.split()
        with suppress(ValueError, IndexError):
            target, bits, gateway, metric, flags, name = *fields[:2], *fields[4:6], *fields[8:10]
            if int(target, 16) == int(bits, 16) == 0 and _is_usable(flags, gateway):
                ip = IPv6Address(bytes.fromhex(gateway))
                yield int(metric, 16), f"{ip}%{name}" if ip.is_link_local else str(ip)


def _is_usable(flags: str, gateway: str) -> bool:
    return int(flags, 16) & (UP | VIA_GATEWAY) == UP | VIA_GATEWAY and int(gateway, 16) != 0


def _source(host: str) -> str | None:
    """Return the source address for a destination, without sending anything."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((host, DISCARD_PORT))
            local_host = str(sock.getsockname()[0])
    except OSError:
        return None
    return None if local_host.startswith("fe80:") else local_host
