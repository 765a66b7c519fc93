"""Local service discovery of the scripted download, and its local network in memory."""

from collections.abc import Callable
from typing import Protocol

import anyio

from tests.conformance.scripted_extensions import Quirks
from torrent_engine.conformance.swarm.lsd import (
    FIRST_LINE,
    HOST4,
    HOST6,
    LsdPacket,
    lsd_announce,
)

Taker = Callable[..., None]
COOKIE = b"abc1"
ANNOUNCE_S = 300.0


class LsdProgram(Protocol):
    """What discovery needs of the program."""

    quirks: Quirks
    port: int
    info_hash: bytes

    def is_private(self) -> bool: ...
    def meet(self, host: str, port: int) -> None: ...


class MemoryGroup:
    """The group, as the kit sends to it."""

    def __init__(self) -> None:
        self.program: ScriptedLsd | None = None
        self.to_kit: Taker | None = None

    async def send(self, data: bytes, source: str, *, is_unicast: bool = False) -> None:
        if self.program is not None:
            self.program.take(data, source, is_unicast=is_unicast)

    def announce(self, data: bytes, *, is_ipv6: bool = False) -> None:
        if self.to_kit is not None:
            self.to_kit(data, is_ipv6=is_ipv6)


class ScriptedLsd:
    """Announces the torrent, and meets who announces it."""

    def __init__(self, program: LsdProgram, group: MemoryGroup) -> None:
        self._program = program
        self._quirks = program.quirks
        self._group = group

    async def run(self) -> None:
        if self._program.is_private() and "announces all" not in self._quirks:
            return
        self._group.program = self
        while True:
            self._announce(HOST4)
            if "odd IPv6" in self._quirks:
                self._group.announce(self._message(HOST4), is_ipv6=True)
            else:
                self._group.announce(self._message(HOST6), is_ipv6=True)
            await anyio.sleep(3 if "announces often" in self._quirks else ANNOUNCE_S)

    def _announce(self, host: str) -> None:
        data = self._message(host)
        self._group.announce(data[4:] if "bad first line" in self._quirks else data)

    def _message(self, host: str) -> bytes:
        port = self._program.port + ("wrong port" in self._quirks)
        return lsd_announce(port, [self._program.info_hash], cookie=COOKIE, host=host)

    def take(self, data: bytes, source: str, *, is_unicast: bool) -> None:
        packet = LsdPacket(0.0, data)
        if "stops on junk" in self._quirks and not data.startswith(FIRST_LINE):
            self._group.program = None
        is_own = packet.value(b"cookie") == COOKIE and "likes its cookie" not in self._quirks
        is_far = is_unicast and "any network" not in self._quirks
        if is_own or is_far or not packet.is_well_formed() or "deaf" in self._quirks:
            return
        hashes = packet.values(b"infohash")
        if "first hash" in self._quirks:
            hashes = hashes[:1]
        if self._program.info_hash.hex().encode() in hashes:
            self._program.meet(source, int(packet.value(b"port")))
