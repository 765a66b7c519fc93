"""Owns the sockets of multicast groups: one that hears, one for each datagram that is sent.

Plain non-blocking sockets. Every error of the system leaves as NetworkError.
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.errors import NetworkError

IS_LINUX: Final = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Group:
    """A multicast group and its UDP port."""

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        """Whether it is a group of IPv6."""
        return ":" in self.host


@dataclass(frozen=True, slots=True)
class Exit:
    """How a datagram leaves this machine."""

    index: int
    """Of the interface; 0 lets the system choose."""
    source: str | None = None
    """Our address on it, as who hears it sees it; None lets the system choose."""
    ttl: int = 1
    """How many routers may hand it on, less one."""


def open_receiver(group: Group) -> socket.socket:
    """Open a socket that hears a group once it has joined it somewhere.

    Other programs on this machine may hear the same group; where one of them has joined it, some
    systems hand the datagrams to this socket, too. Raises NetworkError.
    """
    with _mapped(f"cannot hear {group.host}"):
        sock = _udp_socket(group)
        try:
            _share_port(sock)
            # Bound to the group, it hears nothing that was sent to this machine alone.
            sock.bind(("" if sys.platform == "win32" else group.host, group.port))
        except OSError:
            sock.close()
            raise
        return sock


def join(receiver: socket.socket, group: Group, index: int) -> None:
    """Let a receiver hear a group on one interface, too; twice is once. Raises NetworkError."""
    if group.is_ipv6:
        level, option = socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP
        request = socket.inet_pton(socket.AF_INET6, group.host) + struct.pack("@I", index)
    else:
        level, option = socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP
        request = socket.inet_aton(group.host) + _ipv4_interface(index)
    with _mapped(f"cannot join {group.host}"):
        try:
            receiver.setsockopt(level, option, request)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # an interface that was down had not left the group
                raise


def send_to_group(data: bytes, group: Group, way: Exit) -> None:
    """Send one datagram to a group; programs on this machine hear it, too. Raises NetworkError."""
    with _mapped(f"cannot send to {group.host}"), _udp_socket(group) as sock:
        if group.is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, way.ttl)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, way.index)
        else:
            interface = bytes(4) * IS_LINUX + _ipv4_interface(way.index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, way.ttl)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        if way.source is not None:
            sock.bind((way.source, 0))
        sock.sendto(data, (group.host, group.port))


def _ipv4_interface(index: int) -> bytes:
    """Return how IPv4 options name an interface: on Linux by an empty address and the index."""
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
        with suppress(OSError):  # some systems name it and have it not
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NetworkError(f"{what}: {error.strerror or error}") from error
