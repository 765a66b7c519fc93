"""Where the kit listens: addresses of this machine, or a network in memory in tests."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup

from torrent_engine.conformance.subject import connect_from

HOST: Final = "127.0.0.1"
StreamHandler = Callable[[Any], Coroutine[Any, Any, None]]
"""Takes a stream of bytes that somebody opened."""


class NetworkPort(Protocol):
    """What the kit needs of a network."""

    async def listen(self, address: str, handler: StreamHandler, tasks: TaskGroup) -> int:
        """Accept connections at an address until the tasks end; return the port."""

    async def connect(self, source: str, port: int) -> ByteStream:
        """Connect to a program under test. Raises SubjectUnreachableError."""


class LoopbackNetwork:
    """The addresses 127.x.y.z of this machine."""

    async def listen(self, address: str, handler: StreamHandler, tasks: TaskGroup) -> int:
        """Accept connections at an address until the tasks end; return the port."""
        listener = await anyio.create_tcp_listener(local_host=address)
        port = int(listener.extra(SocketAttribute.local_port))  # noqa: S610 - not Django's

        async def serve() -> None:
            async with listener:
                await listener.serve(handler)

        tasks.start_soon(serve)
        return port

    async def connect(self, source: str, port: int) -> ByteStream:
        """Connect to a program under test. Raises SubjectUnreachableError."""
        return await connect_from(source, HOST, port)
