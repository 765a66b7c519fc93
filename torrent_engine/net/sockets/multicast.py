"""Multicast sockets: one for receiving, one for each datagram sent.

Plain non-blocking sockets. System errors are mapped to NetworkError.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from torrent_engine.base.errors import NetworkError
from torrent_engine.net.sockets.system import BINDS_TO_GROUP, IS_LINUX


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group and its UDP port."""

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        """Whether it is an IPv6 group."""
        return ":" in self.host


@dataclass(frozen=True, slots=True)
class OutgoingInterface:
    """The outgoing interface of a multicast datagram."""

    index: int
    """Interface index; 0 lets the system choose."""
    source: str | None = None
    """The source address; None lets the system choose."""
    ttl: int = 1
    """Time to live; 1 restricts it to the local network."""


def open_receiver(group: Group) -> socket.socket:
    """Open a socket for receiving from a group; it must join the group on an interface.

    The port is shared with other processes; on some systems datagrams of groups they have joined
    are delivered to this socket too. Raises NetworkError.
    """
    with _mapped(f"cannot receive from {group.host}"):
        sock = _udp_socket(group)
        try:
            _share_port(sock)
            # Bound to the group, it receives no unicast datagrams.
            sock.bind((group.host if BINDS_TO_GROUP else "", group.port))
        except OSError:
            sock.close()
            raise
        return sock


def join(receiver: socket.socket, group: Group, index: int) -> None:
    """Join a group on an interface; may be repeated. Raises NetworkError."""
    option = socket.IPV6_JOIN_GROUP if group.is_ipv6 else socket.IP_ADD_MEMBERSHIP
    with _mapped(f"cannot join {group.host}"):
        try:
            receiver.setsockopt(_level(group), option, _membership(group, index))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # still a member, after the interface was down
                raise


def leave(receiver: socket.socket, group: Group, index: int) -> None:
    """Leave a group on an interface, which may be gone. Raises NetworkError.

    A socket keeps its memberships of interfaces that are gone, and may have 20 of IPv4 on Linux.
    """
    option = socket.IPV6_LEAVE_GROUP if group.is_ipv6 else socket.IP_DROP_MEMBERSHIP
    with _mapped(f"cannot leave {group.host}"):
        receiver.setsockopt(_level(group), option, _membership(group, index))


def send_to_group(data: bytes, group: Group, outgoing: OutgoingInterface) -> None:
    """Send one datagram to a group, with loopback to this machine. Raises NetworkError."""
    with _mapped(f"cannot send to {group.host}"), _udp_socket(group) as sock:
        if group.is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, outgoing.ttl)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, outgoing.index)
        else:
            interface = bytes(4) * IS_LINUX + _ipv4_interface(outgoing.index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, outgoing.ttl)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        if outgoing.source is not None:
            sock.bind((outgoing.source, 0))
        sock.sendto(data, (group.host, group.port))


def _level(group: Group) -> int:
    return socket.IPPROTO_IPV6 if group.is_ipv6 else socket.IPPROTO_IP


def _membership(group: Group, index: int) -> bytes:
    """Return the argument of the options that join and leave a group."""
    if group.is_ipv6:
        return socket.inet_pton(socket.AF_INET6, group.host) + struct.pack("@I", index)
    return socket.inet_aton(group.host) + _ipv4_interface(index)


def _ipv4_interface(index: int) -> bytes:
    """Return an interface for IPv4 options: on Linux an empty address and the index."""
    return struct.pack("=4si", bytes(4), index) if IS_LINUX else struct.pack("!I", index)


def _udp_socket(group: Group) -> socket.socket:
    family = socket.AF_INET6 if group.is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(0.0)
    if group.is_ipv6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _share_port(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        with suppress(OSError):  # defined but unsupported on some systems
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NetworkError(f"{what}: {error.strerror or error}") from error
