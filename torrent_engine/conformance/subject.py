"""The program under test, as rules and the runner see it."""

from typing import Protocol

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.errors import ConformanceError, SubjectUnreachableError

CONNECT_S = 10.0


class SubjectPort(Protocol):
    """What the kit needs of a program under test."""

    name: str
    can_restart: bool
    """The kit has started it, and may start it again."""

    async def connect(self, source: str) -> ByteStream:
        """Connect from an address of ours. Raises SubjectUnreachableError."""

    def is_running(self) -> bool:
        """Return whether its process is there; True where that cannot be known."""

    def rss_bytes(self) -> int | None:
        """Return its memory; None where that cannot be known."""

    def cpu_s(self) -> float | None:
        """Return the CPU time it has used; None where that cannot be known."""

    async def restart(self) -> None:
        """End it, start it again, and wait until it is ready."""


class RemoteSubject:
    """A program that somebody else started, at an address."""

    can_restart = False

    def __init__(self, host: str, port: int, name: str = "") -> None:
        self.name = name or f"{host}:{port}"
        self._host = host
        self._port = port

    async def connect(self, source: str) -> ByteStream:
        """Connect; from ``source`` if the program is on this machine and the system has it."""
        return await connect_from(source, self._host, self._port)

    def is_running(self) -> bool:
        """Return True: a connection has to show it."""
        return True

    def rss_bytes(self) -> int | None:
        """Return None: it may be on another machine."""
        return None

    def cpu_s(self) -> float | None:
        """Return None: it may be on another machine."""
        return None

    async def restart(self) -> None:
        """Raise ConformanceError."""
        raise ConformanceError("only a program that the kit started can be started again")


async def connect_from(source: str, host: str, port: int) -> ByteStream:
    """Connect to an address of the kit's network from ``source``, to others from any address."""
    local = source if source.partition(".")[0] == host.partition(".")[0] else None
    for address in dict.fromkeys((local, None)):
        try:
            with anyio.fail_after(CONNECT_S):
                return await anyio.connect_tcp(host, port, local_host=address)
        except (OSError, TimeoutError) as error:
            failure = error
    raise SubjectUnreachableError(f"{host}:{port} cannot be reached: {failure}") from failure
