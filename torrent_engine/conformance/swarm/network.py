"""Where the kit listens: addresses of this machine, or a network in memory in tests."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup, UDPSocket

from torrent_engine.conformance.errors import NotOfferedError
from torrent_engine.conformance.lab import LOOPBACK, KitAddresses
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
        socket = await anyio.create_udp_socket(local_host=address, local_port=port)
        port = int(socket.extra(SocketAttribute.local_port))  # noqa: S610 - not Django's

        async def serve() -> None:
            async with socket:
                async for data, (host, from_port) in socket:
                    for answer in handler(data):
                        await socket.sendto(answer, host, from_port)

        tasks.start_soon(serve)
        return port

    async def connect(self, source: str, port: int) -> ByteStream:
        """Connect to a program under test. Raises SubjectUnreachableError."""
        return await connect_from(source, self._host, port)

    async def join(self, take: GroupTaker, tasks: TaskGroup) -> GroupPort:
        """Take what is sent to the groups of the local network (BEP 14) until the tasks end.

        Raises NotOfferedError on loopback.
        """
        if self._host == LOOPBACK.host:
            raise NotOfferedError("this machine has no local network of its own: --own-network")
        for is_ipv6 in (False, True):
            try:
                socket = group_socket(self._host, is_ipv6=is_ipv6)
            except OSError:
                if is_ipv6:  # a system without it
                    break
                raise
            tasks.start_soon(_take_all, await UDPSocket.from_socket(socket), take, is_ipv6)
        return LocalGroup(self._host)


async def _take_all(socket: UDPSocket, take: GroupTaker, is_ipv6: bool) -> None:  # noqa: FBT001
    async with socket:
        async for data, _ in socket:
            take(data, is_ipv6=is_ipv6)


@dataclass(frozen=True, slots=True)
class SwarmLab:
    """Where rules of downloads run."""

    network: NetworkPort
    addresses: Iterator[str]

    @classmethod
    def on(cls, addresses: KitAddresses) -> "SwarmLab":
        """Return one with addresses of this machine."""
        return cls(LoopbackNetwork(addresses.host), addresses.each())
