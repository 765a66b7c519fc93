"""Source addresses of replies on a UDP socket that is bound to all addresses.

A reply must have the address that the request was sent to; the system would choose the source by
route. Source: ip(7), ipv6(7) of Linux; elsewhere the system chooses.
"""

import socket
import struct
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.system import IS_LINUX

MAX_KNOWN: Final = 1_000  # ours: remembered senders

Ancillary = tuple[tuple[int, int, bytes], ...]

# Constants of Linux, some of which Python's socket module lacks.
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_PKTINFO = struct.Struct("=I4s4s")
_PKTINFO6_BYTES: Final = 20
_ADDRESS6_BYTES: Final = 16
_NO_INTERFACE: Final = bytes(4)


class UdpSources:
    """The local address that each sender used, for replies."""

    def __init__(self, sock: socket.socket) -> None:
        is_ipv6 = sock.family == socket.AF_INET6
        self._level = socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP
        self._kind = _IPV6_PKTINFO if is_ipv6 else _IP_PKTINFO
        self._known: dict[PeerAddress, tuple[bytes, Ancillary]] = {}
        if IS_LINUX and ip_address(str(sock.getsockname()[0])).is_unspecified:
            with suppress(OSError):
                sock.setsockopt(self._level, _IPV6_RECVPKTINFO if is_ipv6 else _IP_PKTINFO, 1)

    def note(self, address: PeerAddress, level: int, kind: int, value: bytes) -> None:
        """Record the destination address of a received datagram, from its ancillary data."""
        if kind != self._kind or level != self._level:
            return
        known = self._known.get(address)
        if known is None or known[0] != value:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[address] = value, ((level, kind, _as_source(value)),)

    def source_for(self, address: PeerAddress) -> Ancillary:
        """Return the ancillary data that sets the source address of a datagram."""
        known = self._known.get(address)
        return () if known is None else known[1]

    def forget(self, address: PeerAddress) -> None:
        """Drop the recorded source address of a host: it may no longer be ours."""
        self._known.pop(address, None)


def _as_source(value: bytes) -> bytes:
    """Return the address without the interface, which is chosen by route."""
    if len(value) == _PKTINFO.size:
        _, ours, _ = _PKTINFO.unpack(value)
        return _PKTINFO.pack(0, ours, bytes(4))
    if len(value) == _PKTINFO6_BYTES and not ip_address(value[:_ADDRESS6_BYTES]).is_link_local:
        return value[:_ADDRESS6_BYTES] + _NO_INTERFACE
    return value
