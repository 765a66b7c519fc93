"""Where nodes of the kit have their sockets: this machine, or a network in memory in tests."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import anyio
from anyio.abc import SocketAttribute, UDPSocket

from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.lab import KitAddresses


class DatagramPort(Protocol):
    """A socket of the kit."""

    @property
    def address(self) -> NodeAddress:
        """Where it is."""

    async def send(self, data: bytes, to: NodeAddress) -> None:
        """Send a datagram; one that the system refuses is lost, as on the way."""

    async def receive(self) -> tuple[bytes, NodeAddress]:
        """Return the next datagram and its sender."""

    async def aclose(self) -> None:
        """Close it."""


class DatagramNetwork(Protocol):
    """What the kit needs of a network for datagrams."""

    async def open(self, host: str) -> DatagramPort:
        """Return a socket at an address. Raises NotOfferedError if there is no such address."""


@dataclass(frozen=True, slots=True)
class LoopbackSocket:
    """A socket of this machine."""

    socket: UDPSocket
    address: NodeAddress

    async def send(self, data: bytes, to: NodeAddress) -> None:
        """Send a datagram; one that the system refuses is lost, as on the way."""
        with suppress(OSError, anyio.BrokenResourceError):
            await self.socket.sendto(data, *to)

    async def receive(self) -> tuple[bytes, NodeAddress]:
        """Return the next datagram and its sender."""
        data, sender = await self.socket.receive()
        return data, (sender[0], sender[1])

    async def aclose(self) -> None:
        """Close it."""
        await self.socket.aclose()


class LoopbackDatagrams:
    """The addresses of this machine."""

    async def open(self, host: str) -> DatagramPort:
        """Return a socket at an address. Raises NotOfferedError if there is no such address."""
        try:
            with anyio.CancelScope(shield=True):  # cancelled in between, none would close it
                socket = await anyio.create_udp_socket(local_host=host)
        except OSError as error:
            raise NotOfferedError(f"this machine has no address {host}") from error
        port = int(socket.extra(SocketAttribute.local_port))  # noqa: S610 - not Django's
        return LoopbackSocket(socket, (host, port))


@dataclass(frozen=True, slots=True)
class DhtLab:
    """Where rules of nodes run."""

    network: DatagramNetwork
    addresses: Iterator[str]

    @classmethod
    def on(cls, addresses: KitAddresses) -> "DhtLab":
        """Return one with addresses of this machine."""
        return cls(LoopbackDatagrams(), addresses.each())
