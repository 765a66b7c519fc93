"""Where the kit listens: addresses of this machine, or a network in memory in tests."""

import os
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup, UDPSocket

from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.lab import (
    BOTH_FAMILIES,
    HOST6,
    LOOPBACK,
    OWN_HOST6,
    KitAddresses,
)
from torrent_engine.conformance.subject import connect_from
from torrent_engine.conformance.swarm.groups import LocalGroup, group_socket
from torrent_engine.conformance.swarm.lsd import GroupPort

StreamHandler = Callable[[Any], Coroutine[Any, Any, None]]
"""Takes a stream of bytes that somebody opened."""
DatagramAnswers = Callable[[bytes], Sequence[bytes]]
"""Takes a datagram, and returns those to send back."""


class GroupTaker(Protocol):
    """Takes what came to a group."""

    def __call__(self, data: bytes, *, is_ipv6: bool) -> None:
        """Take one packet."""


class NetworkPort(Protocol):
    """What the kit needs of a network."""

    host6: str
    """An address of IPv6, where there is such."""

    def twins(self) -> tuple[str, str, str]:
        """Return a name, and its addresses of IPv4 and IPv6. Raises NotOfferedError."""

    async def listen(self, address: str, handler: StreamHandler, tasks: TaskGroup) -> int:
        """Accept connections at an address until the tasks end; return the port."""

    async def listen_udp(
        self, address: str, handler: DatagramAnswers, tasks: TaskGroup, port: int = 0
    ) -> int:
        """Answer datagrams at an address until the tasks end; return the port, 0 for any."""

    async def connect(self, source: str, port: int) -> ByteStream:
        """Connect to a program under test. Raises SubjectUnreachableError."""

    async def join(self, take: GroupTaker, tasks: TaskGroup) -> GroupPort:
        """Take what is sent to the groups of the local network (BEP 14) until the tasks end.

        Raises NotOfferedError where there is no such network.
        """


class LoopbackNetwork:
    """The addresses of this machine; ``host`` is that of the program."""

    def __init__(self, host: str = LOOPBACK.host) -> None:
        self._host = host
        self.host6 = HOST6 if host == LOOPBACK.host else OWN_HOST6

    def twins(self) -> tuple[str, str, str]:
        """Return a name, and its addresses of IPv4 and IPv6. Raises NotOfferedError."""
        try:
            found = socket.getaddrinfo(BOTH_FAMILIES, None, type=socket.SOCK_DGRAM)
        except OSError:
            found = []
        by_family = {family: str(place[0]) for family, *_, place in found}
        try:
            return BOTH_FAMILIES, by_family[socket.AF_INET], by_family[socket.AF_INET6]
        except KeyError as error:
            reason = f"{BOTH_FAMILIES} has not addresses of both families on this machine"
            raise NotOfferedError(reason) from error

    async def listen(self, address: str, handler: StreamHandler, tasks: TaskGroup) -> int:
        """Accept connections at an address until the tasks end; return the port."""
        listener = await anyio.create_tcp_listener(local_host=address)
        port = int(listener.extra(SocketAttribute.local_port))  # noqa: S610 - not Django's

        async def serve() -> None:
            async with listener:
                await listener.serve(handler)

        tasks.start_soon(serve)
        return port

    async def listen_udp(
        self, address: str, handler: DatagramAnswers, tasks: TaskGroup, port: int = 0
    ) -> int:
        """Answer datagrams at an address until the tasks end; return the port, 0 for any."""
        with anyio.CancelScope(shield=True):  # cancelled in between, none would close it
            endpoint = await anyio.create_udp_socket(local_host=address, local_port=port)
        port = int(endpoint.extra(SocketAttribute.local_port))  # noqa: S610 - not Django's

        async def serve() -> None:
            async with endpoint:
                async for data, (host, from_port) in endpoint:
                    for answer in handler(data):
                        await endpoint.sendto(answer, host, from_port)

        tasks.start_soon(serve)
        return port

    async def connect(self, source: str, port: int) -> ByteStream:
        """Connect to a program under test. Raises SubjectUnreachableError."""
        return await connect_from(source, self.host6 if ":" in source else self._host, port)

    async def join(self, take: GroupTaker, tasks: TaskGroup) -> GroupPort:
        """Take what is sent to the groups of the local network (BEP 14) until the tasks end.

        Raises NotOfferedError on loopback.
        """
        if self._host == LOOPBACK.host:
            raise NotOfferedError("this machine has no local network of its own: --own-network")
        for is_ipv6 in (False, True):
            try:
                member = group_socket(self._host, is_ipv6=is_ipv6)
            except OSError:
                if is_ipv6:  # a system without it
                    break
                raise
            with anyio.CancelScope(shield=True):
                endpoint = await UDPSocket.from_socket(member)
            tasks.start_soon(_take_all, endpoint, take, is_ipv6)
        return LocalGroup(self._host)


async def _take_all(member: UDPSocket, take: GroupTaker, is_ipv6: bool) -> None:  # noqa: FBT001
    async with member:
        async for data, _ in member:
            take(data, is_ipv6=is_ipv6)


@dataclass(frozen=True, slots=True)
class SwarmLab:
    """Where rules of downloads run."""

    network: NetworkPort
    addresses: Iterator[str]
    starts: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(os.cpu_count() or 1)
    )
    """Of programs that start at the same time."""

    @classmethod
    def on(cls, addresses: KitAddresses) -> "SwarmLab":
        """Return one with addresses of this machine."""
        return cls(LoopbackNetwork(addresses.host), addresses.each())


class CaseNetwork:
    """The network of one case: what listens there ends with its tasks."""

    def __init__(self, network: NetworkPort, addresses: Iterator[str], tasks: TaskGroup) -> None:
        self._network = network
        self._addresses = addresses
        self._tasks = tasks

    @property
    def host6(self) -> str:
        """An address of IPv6, where there is such."""
        return self._network.host6

    def new_address(self) -> str:
        """Return an address of ours that nobody has used."""
        return next(self._addresses)

    def twins(self) -> tuple[str, str, str]:
        """Return a name, and its addresses of IPv4 and IPv6. Raises NotOfferedError."""
        return self._network.twins()

    async def listen(self, address: str, handler: StreamHandler) -> int:
        """Accept connections at an address; return the port."""
        return await self._network.listen(address, handler, self._tasks)

    async def listen_udp(self, address: str, handler: DatagramAnswers, port: int = 0) -> int:
        """Answer datagrams at an address; return the port, 0 for any."""
        return await self._network.listen_udp(address, handler, self._tasks, port)

    async def connect(self, source: str, port: int) -> ByteStream:
        """Connect to the program under test. Raises SubjectUnreachableError."""
        return await self._network.connect(source, port)

    async def join(self, take: GroupTaker) -> GroupPort:
        """Take what is sent to the groups of the local network. Raises NotOfferedError."""
        return await self._network.join(take, self._tasks)
