"""Owns from which of our addresses a UDP socket that is bound to all of them answers whom.

The system would choose one by the route, and who asked another of our addresses would not know the
answer for one. Source: ip(7), ipv6(7) of Linux; elsewhere the system chooses.
"""

import socket
import struct
import sys
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from torrent_engine.base.ids import PeerAddress

MAX_KNOWN: Final = 1_000  # ours: senders whose way in is remembered

Ancillary = tuple[tuple[int, int, bytes], ...]

# Numbers of Linux, for some of which Python's socket module has no names.
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_PKTINFO = struct.Struct("=I4s4s")
_PKTINFO6_BYTES: Final = 20
_ADDRESS6_BYTES: Final = 16
_NO_INTERFACE: Final = bytes(4)


class UdpSources:
    """Remembers at which of our addresses each sender reached a socket."""

    def __init__(self, sock: socket.socket) -> None:
        is_ipv6 = sock.family == socket.AF_INET6
        self._level = socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP
        self._kind = _IPV6_PKTINFO if is_ipv6 else _IP_PKTINFO
        self._known: dict[PeerAddress, tuple[bytes, Ancillary]] = {}
        if sys.platform == "linux" and ip_address(str(sock.getsockname()[0])).is_unspecified:
            with suppress(OSError):
                sock.setsockopt(self._level, _IPV6_RECVPKTINFO if is_ipv6 else _IP_PKTINFO, 1)

    def note(self, address: PeerAddress, level: int, kind: int, value: bytes) -> None:
        """Take what came along with a datagram, if it says where that was received."""
        if kind != self._kind or level != self._level:
            return
        known = self._known.get(address)
        if known is None or known[0] != value:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[address] = value, ((level, kind, _as_source(value)),)

    def source_for(self, address: PeerAddress) -> Ancillary:
        """Return what must go along with a datagram so that it leaves from there."""
        known = self._known.get(address)
        return () if known is None else known[1]

    def forget(self, address: PeerAddress) -> None:
        """Let the system choose again: our address may be gone."""
        self._known.pop(address, None)


def _as_source(value: bytes) -> bytes:
    """Return the same with nothing of the interface in it: the route decides on that."""
    if len(value) == _PKTINFO.size:
        _, ours, _ = _PKTINFO.unpack(value)
        return _PKTINFO.pack(0, ours, bytes(4))
    if len(value) == _PKTINFO6_BYTES and not ip_address(value[:_ADDRESS6_BYTES]).is_link_local:
        return value[:_ADDRESS6_BYTES] + _NO_INTERFACE
    return value
