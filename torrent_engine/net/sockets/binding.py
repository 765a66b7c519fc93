"""Binding of all sockets to one interface or address.

On Linux sockets are bound to the device, regardless of routes; elsewhere to one of its addresses.
A device that is deleted and created again is another one: sockets that were bound before reach
nothing until they are replaced. The system's name resolution is not bound.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

from torrent_engine.net.sockets.interfaces import Interface, interfaces
from torrent_engine.net.sockets.system import HAS_DEVICES

ANY_HOST: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - a pattern
_BIND_TO_DEVICE: Final = getattr(socket, "SO_BINDTODEVICE", None)
_MAX_NAME_BYTES: Final = 16  # IFNAMSIZ of Linux
DEVICE_CHECK_INTERVAL_S: Final = 3.0  # ours: how soon sockets of a deleted device are replaced
_GONE: Final = Interface("", 0, is_loopback=False, is_multicast=False, addresses=())


class Binding:
    """The interface of all sockets; ``interface`` is a name or a literal address.

    None: not bound.
    """

    def __init__(
        self,
        interface: str | None,
        *,
        has_devices: bool = HAS_DEVICES,
        find_interfaces: Callable[[], list[Interface]] = interfaces,
    ) -> None:
        self._interface = interface
        self._find_interfaces = find_interfaces
        self._address = _literal(interface)
        self._device = interface if self._address is None and has_devices else None

    @property
    def device(self) -> str | None:
        """The name of the device that sockets are bound to; None: at most to an address."""
        return self._device

    def hosts(self, hosts: Sequence[str]) -> Sequence[str]:
        """Return the addresses to listen on in place of ``hosts``."""
        if self._interface is None or self._device is not None:
            return hosts
        ours = self._addresses()
        wanted = [
            address
            for address in ours
            if any(host == address or host == ANY_HOST[_family(address)] for host in hosts)
        ]
        return wanted or ours  # none of the requested addresses exists there

    def own_hosts(self, hosts: Sequence[str]) -> Sequence[str]:
        """Return the addresses at which a listener on ``hosts`` is reachable."""
        return hosts if self._interface is None else self._addresses()

    def to_device(self, sock: socket.socket) -> None:
        """Bind a socket to the device, if supported. Raises OSError if it does not exist."""
        if self._device is None or _BIND_TO_DEVICE is None:
            return
        try:
            sock.setsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, self._device.encode() + b"\0")
        except OSError as error:
            why = f"interface {self._device}: {error.strerror}"
            raise OSError(error.errno, why) from error

    def is_current(self, sock: socket.socket) -> bool:
        """Return whether a socket is bound to the device that has the name now.

        It is not after the device was deleted or renamed. True if none is named.
        """
        if self._device is None or _BIND_TO_DEVICE is None:
            return True
        try:
            name = sock.getsockopt(socket.SOL_SOCKET, _BIND_TO_DEVICE, _MAX_NAME_BYTES)
        except OSError as error:
            return error.errno != errno.ENODEV  # then no device has the index any more
        return name.rstrip(b"\0") == self._device.encode()

    def apply(self, sock: socket.socket) -> None:
        """Bind a socket to the interface or address. Raises OSError."""
        self.to_device(sock)
        if self._interface is None or self._device is not None:
            return
        for address in self._addresses():
            if _family(address) == sock.family:
                sock.bind((address, 0))
                return
        raise OSError(errno.EADDRNOTAVAIL, f"{self._interface} has no address of that family")

    def interfaces(self) -> list[Interface]:
        """Return the usable interfaces; empty if the system does not list them.

        If the bound interface is gone, the result is one interface without addresses.
        """
        found = self._find_interfaces()
        if self._interface is None or not found:
            return found
        return self._ours(found) or [_GONE]

    def _ours(self, found: Sequence[Interface]) -> list[Interface]:
        if self._address is None:
            return [each for each in found if each.name == self._interface]
        ip = ip_address(self._address)
        return [each for each in found if any(ip == address.ip for address in each.addresses)]

    def _addresses(self) -> list[str]:
        """Return the addresses of the interface, without IPv6 link-local ones."""
        if self._address is not None:
            return [self._address]
        return [
            str(address.ip)
            for interface in self.interfaces()
            for address in interface.addresses
            if not (address.version == 6 and address.ip.is_link_local)
        ]


def _literal(interface: str | None) -> str | None:
    try:
        return str(ip_address(interface)) if interface is not None else None
    except ValueError:
        return None


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


UNBOUND: Final = Binding(None)
