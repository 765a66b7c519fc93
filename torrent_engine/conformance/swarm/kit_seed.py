"""A seed of the kit: accepts connections, notes what is requested, and answers as it is told."""

import random
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.frames import (
    EXTENDED,
    FAST,
    HAVE_ALL,
    HEADER,
    PLAIN,
    Frame,
    FrameType,
    HandshakeBytes,
    message,
    piece,
)
from torrent_engine.conformance.raw_peer import RawPeer
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.wire_log import WireLog

GREETING_S: Final = 10.0
FOREVER_S: Final = 1e9
CHOKE: Final = message(FrameType.CHOKE)
UNCHOKE: Final = message(FrameType.UNCHOKE)


@dataclass(frozen=True, slots=True)
class AskedBlock:
    """A request as it came to a seed of the kit."""

    at: float
    index: int
    begin: int
    length: int

    @property
    def place(self) -> tuple[int, int, int]:
        """What was asked for."""
        return self.index, self.begin, self.length


LinkFunction = Callable[["SeedLink"], Coroutine[Any, Any, None]]
FrameFunction = Callable[["SeedLink", Frame], Coroutine[Any, Any, None]]
BlockFunction = Callable[["SeedLink", AskedBlock], Coroutine[Any, Any, None]]
StreamFunction = Callable[[RawPeer], Coroutine[Any, Any, bool]]
"""Takes a connection before its handshake; returns whether there is to be one."""


async def serve_honestly(link: "SeedLink", asked: AskedBlock) -> None:
    """Send the block that was asked for."""
    await link.send_block(asked)


async def do_nothing(_: "SeedLink") -> None:
    """Add nothing to what every seed does."""


async def greet_at_once(_: RawPeer) -> bool:
    """Return True: the first bytes are those of the handshake."""
    return True


async def ignore(_: "SeedLink", __: Frame) -> None:
    """Do nothing about a message."""


@dataclass(frozen=True)
class SeedScript:
    """What a seed of the kit does."""

    answer: BlockFunction = serve_honestly
    pieces: Collection[int] | None = None
    """Which it has; None for all."""
    reserved: bytes = PLAIN
    info_hash: bytes = b""
    """In its handshake, if not that of the torrent."""
    answers_as: bytes = b""
    """Its peer id in the handshake, if not that of the tracker's list."""
    announces: bool = True
    """Sends a bitfield, or "have all"."""
    unchokes: bool = True
    before_greeting: StreamFunction = greet_at_once
    """Runs first on connections that the program makes."""
    after_greeting: LinkFunction = do_nothing
    """Runs in a task of its own after the handshakes."""
    take_extended: FrameFunction = ignore
    """Takes the messages of the extension protocol."""
    take_other: FrameFunction = ignore
    """Takes the messages that are of none of these kinds."""


class SeedLink:
    """A connection that the program under test made to a seed of the kit."""

    def __init__(self, seed: "KitSeed", peer: RawPeer, at: float) -> None:
        self.seed = seed
        self.peer = peer
        self.opened_at = at
        self.requests: list[AskedBlock] = []
        self.is_interested = False
        self.choked = True

    def frames(self, number: int) -> list[Frame]:
        """Return the messages of a type that came."""
        return [each for each in self.peer.seen if each.number == number]

    @property
    def is_fast(self) -> bool:
        """Whether both sides set the bit of the Fast extension."""
        return self._both_have(7, FAST[7])

    @property
    def is_extended(self) -> bool:
        """Whether both sides set the bit of the extension protocol."""
        return self._both_have(5, EXTENDED[5])

    def _both_have(self, place: int, bit: int) -> bool:
        theirs = self.peer.greeting.reserved[place] if self.peer.greeting else 0
        return bool(theirs & self.seed.script.reserved[place] & bit)

    async def send_block(self, asked: AskedBlock) -> None:
        """Send the right block for a request."""
        await self.send_bytes(asked, self.seed.torrent.block(*asked.place))

    async def send_bytes(self, asked: AskedBlock, data: bytes, shift: int = 0) -> None:
        """Send bytes as the block that was asked for, or one beside it."""
        note = f"piece {asked.index} {asked.begin + shift} ({len(data)} bytes)"
        await self.peer.send(piece(asked.index, asked.begin + shift, data), note)

    async def choke(self) -> None:
        """Choke the other side."""
        self.choked = True
        await self.peer.send(CHOKE, "choke")

    async def unchoke(self) -> None:
        """Unchoke the other side."""
        self.choked = False
        await self.peer.send(UNCHOKE, "unchoke")

    async def serve(self) -> None:
        """Answer until the connection ends."""
        while (frame := await self.peer.next(FOREVER_S)) is not None:
            await self._take(frame)

    async def _take(self, frame: Frame) -> None:
        if frame.number in {FrameType.INTERESTED, FrameType.NOT_INTERESTED}:
            self.is_interested = frame.number == FrameType.INTERESTED
            if self.is_interested and self.seed.script.unchokes and self.choked:
                await self.unchoke()
        elif frame.number == FrameType.REQUEST and len(frame.words) == 3:
            asked = AskedBlock(anyio.current_time(), *frame.words)
            self.requests.append(asked)
            await self.seed.script.answer(self, asked)
        elif frame.number == FrameType.EXTENDED:
            await self.seed.script.take_extended(self, frame)
        else:
            await self.seed.script.take_other(self, frame)


@dataclass
class KitSeed:
    """A seed at an address of its own, and the connections to it."""

    torrent: SampleTorrent
    script: SeedScript
    label: str
    log: WireLog
    address: str
    port: int = 0
    peer_id: bytes = field(default_factory=lambda: b"-TC0100-" + random.randbytes(12))  # noqa: S311
    attempts: list[float] = field(default_factory=list)
    """When somebody connected, whatever came of it."""
    links: list[SeedLink] = field(default_factory=list)

    async def accept(self, stream: ByteStream) -> None:
        """Serve one connection that somebody made, until it ends."""
        await self._meet(stream, speaks_first=False)

    async def join(self, stream: ByteStream) -> None:
        """Serve one connection that the kit made, until it ends."""
        await self._meet(stream, speaks_first=True)

    async def _meet(self, stream: ByteStream, *, speaks_first: bool) -> None:
        self.attempts.append(anyio.current_time())
        number = len(self.attempts)
        label = self.label if number == 1 else f"{self.label}{number}"
        peer = RawPeer(stream, self.log, label, self.address)
        peer.peer_id = self.peer_id
        try:
            if speaks_first:
                await peer.send(self._handshake(), "handshake")
            elif not await self.script.before_greeting(peer):
                return
            greeting = await peer.receive_greeting(GREETING_S)
            if greeting is not None and greeting.header == HEADER:
                if not speaks_first:
                    await peer.send(self._handshake(greeting.info_hash), "handshake")
                await self._serve(SeedLink(self, peer, self.attempts[-1]))
        finally:
            with anyio.CancelScope(shield=True):
                await peer.close()

    def _handshake(self, asked: bytes = b"") -> bytes:
        """Return our handshake; of the hashes of a hybrid it has the one that was asked for."""
        script = self.script
        usual = asked if asked in self.torrent.info_hashes else self.torrent.info_hash
        info_hash = script.info_hash or usual
        peer_id = script.answers_as or self.peer_id
        return HandshakeBytes(HEADER, script.reserved, info_hash, peer_id).encode()

    async def _serve(self, link: SeedLink) -> None:
        self.links.append(link)
        if self.script.announces:
            await link.peer.send(self._announcement(link), "what we have")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.script.after_greeting, link)
            await link.serve()
            tasks.cancel_scope.cancel()

    def _announcement(self, link: SeedLink) -> bytes:
        if self.script.pieces is None and link.is_fast:
            return HAVE_ALL
        return bitfield(self.torrent.piece_count, self.script.pieces)

    @property
    def place(self) -> tuple[str, int]:
        """Where it listens."""
        return self.address, self.port

    @property
    def requests(self) -> list[AskedBlock]:
        """Everything that was requested of it, over all connections."""
        return [each for link in self.links for each in link.requests]


def bitfield(count: int, pieces: Iterable[int] | None) -> bytes:
    """Return the message for pieces; None for all."""
    wanted = range(count) if pieces is None else pieces
    bits = bytearray(-(-count // 8))
    for index in wanted:
        bits[index // 8] |= 0x80 >> index % 8
    return message(FrameType.BITFIELD, bytes(bits))
