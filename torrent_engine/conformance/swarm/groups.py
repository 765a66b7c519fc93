"""Sockets of the groups of local service discovery (BEP 14)."""

import socket
import struct

from torrent_engine.conformance.lab import DEVICE6
from torrent_engine.conformance.swarm.lsd import GROUP4, GROUP6, PORT


def group_socket(host: str, *, is_ipv6: bool) -> socket.socket:
    """Return a socket that takes what is sent to a group on the network of ``host``."""
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    found = socket.socket(family, socket.SOCK_DGRAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_ipv6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            found.bind((GROUP6, PORT))
            number = struct.pack("@I", socket.if_nametoindex(DEVICE6))
            group = socket.inet_pton(family, GROUP6) + number
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        else:
            found.bind((GROUP4, PORT))
            group = socket.inet_aton(GROUP4) + socket.inet_aton(host)
            found.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError:
        found.close()
        raise
    return found


class LocalGroup:
    """Sends on the network of a program, from addresses of the kit."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def send(self, data: bytes, source: str, *, is_unicast: bool = False) -> None:
        """Send to the group of IPv4, or to the program alone, from an address of ours."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            if not is_unicast:
                own = socket.inet_aton(self._host)
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sender.sendto(data, (self._host if is_unicast else GROUP4, PORT))
