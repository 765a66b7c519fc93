"""A program under test to which the kit speaks over uTP."""

from typing import Final, Protocol

from anyio.abc import ByteStream

from torrent_engine.conformance.dht.krpc import NodeAddress
from torrent_engine.conformance.dht.network import DatagramNetwork
from torrent_engine.conformance.errors import SubjectUnreachableError
from torrent_engine.conformance.utp.link import KitUtpLink, KitUtpStream, PacketNote

OPEN_S: Final = 10.0


class WatchedProgram(Protocol):
    """What is the same over every transport."""

    name: str
    can_restart: bool

    def is_running(self) -> bool:
        """Return whether its process is there."""

    def rss_bytes(self) -> int | None:
        """Return its memory; None where that cannot be known."""

    def cpu_s(self) -> float | None:
        """Return the CPU time it has used; None where that cannot be known."""

    async def restart(self) -> None:
        """End it, start it again, and wait until it is ready."""


class SubjectOverUtp:
    """The same program, with connections of uTP where others have those of TCP."""

    def __init__(
        self, program: WatchedProgram, network: DatagramNetwork, target: NodeAddress
    ) -> None:
        self.name = program.name
        self.can_restart = program.can_restart
        self._program = program
        self._network = network
        self._target = target

    async def link(self, source: str, note: PacketNote) -> KitUtpLink:
        """Return a connection that was not opened yet, from an address of ours."""
        return KitUtpLink(await self._network.open(source), self._target, note)

    async def connect(self, source: str) -> ByteStream:
        """Connect from an address of ours. Raises SubjectUnreachableError."""
        link = await self.link(source, lambda *_: None)
        answer = await link.open(OPEN_S)
        if answer is None or link.is_reset:
            await link.close()
            raise SubjectUnreachableError(f"{self.name} takes no connection over uTP")
        return KitUtpStream(link)

    def is_running(self) -> bool:
        """Return whether its process is there."""
        return self._program.is_running()

    def rss_bytes(self) -> int | None:
        """Return its memory; None where that cannot be known."""
        return self._program.rss_bytes()

    def cpu_s(self) -> float | None:
        """Return the CPU time it has used; None where that cannot be known."""
        return self._program.cpu_s()

    async def restart(self) -> None:
        """End it, start it again, and wait until it is ready."""
        await self._program.restart()
