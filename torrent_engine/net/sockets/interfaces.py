"""Network interfaces and their addresses.

From ``getifaddrs`` of the C library; without it no interfaces are known.
"""

import ctypes
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Final

from torrent_engine.net.sockets.system import IS_BSD, c_library

IpInterface = IPv4Interface | IPv6Interface

UP: Final = 0x1
LOOPBACK: Final = 0x8
MULTICAST: Final = 0x8000 if IS_BSD else 0x1000
_ADDRESS_AT: Final = {int(socket.AF_INET): (4, 4), int(socket.AF_INET6): (8, 16)}
"""Offset and length of an address in its sockaddr."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface that is up."""

    name: str
    index: int
    is_loopback: bool
    is_multicast: bool
    """Whether it has the multicast flag; loopback works without it."""
    addresses: tuple[IpInterface, ...]
    """Each with its network."""


class _IfAddrs(ctypes.Structure):
    """The first five fields of the C library's ``struct ifaddrs``."""


_IfAddrs._fields_ = [
    ("next", ctypes.POINTER(_IfAddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("netmask", ctypes.c_void_p),
]


def interfaces() -> list[Interface]:
    """Return the interfaces that are up, in the system's order; empty if unknown."""
    flags: dict[str, int] = {}
    addresses: dict[str, list[IpInterface]] = {}
    for name, flag, address in _entries():
        flags[name] = flag
        found = addresses.setdefault(name, [])
        if address is not None and address not in found:
            found.append(address)
    return [
        Interface(name, index, bool(flag & LOOPBACK), bool(flag & MULTICAST), tuple(found))
        for name, found in addresses.items()
        if (flag := flags[name]) & UP and (index := _index(name))
    ]


def _index(name: str) -> int:
    with suppress(OSError):  # the interface may be gone
        return socket.if_nametoindex(name)
    return 0


def _entries() -> Iterator[tuple[str, int, IpInterface | None]]:
    """Yield name, flags and one address, or None for an entry of another family."""
    library = c_library()
    first = ctypes.POINTER(_IfAddrs)()
    if library is None or library.getifaddrs(ctypes.byref(first)):
        return
    try:
        entry = first
        while bool(entry):
            yield _entry(entry.contents)
            entry = entry.contents.next
    finally:
        library.freeifaddrs(first)


def _entry(fields: _IfAddrs) -> tuple[str, int, IpInterface | None]:
    name = fields.name.decode("utf-8", "surrogateescape")
    family = _family(fields.address)
    if family not in _ADDRESS_AT or not fields.netmask:
        return name, fields.flags, None
    address, netmask = _address(fields.address, family), _address(fields.netmask, family)
    bits = int.from_bytes(netmask).bit_count()
    return name, fields.flags, ip_interface(f"{socket.inet_ntop(family, address)}/{bits}")


def _family(sockaddr: int | None) -> int:
    """Return the family of a ``struct sockaddr``: its first two bytes, or the second one."""
    if not sockaddr:
        return socket.AF_UNSPEC
    head = ctypes.string_at(sockaddr, 2)
    return head[1] if IS_BSD else int.from_bytes(head, sys.byteorder)


def _address(sockaddr: int, family: int) -> bytes:
    """Return the address in a ``struct sockaddr``; netmasks may be truncated on BSD."""
    begin, size = _ADDRESS_AT[family]
    end = min(begin + size, ctypes.string_at(sockaddr, 1)[0]) if IS_BSD else begin + size
    return ctypes.string_at(sockaddr, end)[begin:].ljust(size, b"\0")
