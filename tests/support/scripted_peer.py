"""Peers played by a script over a real socket, with the library's own PeerConnection."""

import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import anyio.abc

from torrent_engine.base.config import WireLimits
from torrent_engine.base.ids import BLOCK_BYTES, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    HandshakeReceived,
    PeerEvent,
    PeerInterested,
    ProtocolViolated,
)

_NUMBERS = itertools.count()
GENEROUS = WireLimits(max_choked_requests=1_000_000, max_unrequested_blocks=1_000_000)
Change = Callable[[int, int, bytes], bytes]
"""(piece, begin, right data) -> what is sent instead."""


class Wire:
    """One connection of a scripted peer."""

    def __init__(
        self, stream: anyio.abc.SocketStream, metainfo: Metainfo, *, fast: bool = True
    ) -> None:
        self.stream = stream
        self.metainfo = metainfo
        self.seen: list[PeerEvent] = []
        self._unread: deque[PeerEvent] = deque()
        self.connection = PeerConnection(
            geometry=metainfo.geometry,
            info_hash=metainfo.info_hash,
            peer_id=new_peer_id(),
            fast_extension=fast,
            extensions={},
            limits=GENEROUS,
        )

    async def flush(self) -> None:
        """Send what the connection has queued."""
        if data := b"".join(self.connection.data_to_send()):
            await self.stream.send(data)

    def __aiter__(self) -> "Wire":
        """Iterate over what the other side says, until it hangs up."""
        return self

    async def __anext__(self) -> PeerEvent:
        while not self._unread:
            try:
                data = await self.stream.receive(65_536)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                raise StopAsyncIteration from None
            self._unread.extend(self.connection.receive_data(data, now=anyio.current_time()))
        event = self._unread.popleft()
        assert not isinstance(event, ProtocolViolated), event.error
        self.seen.append(event)
        return event

    async def expect(self, kind: type[PeerEvent]) -> PeerEvent:
        """Return the next event of a kind; the others before it are dropped."""
        async for event in self:
            if isinstance(event, kind):
                return event
        raise AssertionError(f"hung up before {kind.__name__}; seen: {self.seen}")

    async def shake_hands(self) -> None:
        """Send our handshake and wait for theirs."""
        self.connection.sender.send_handshake()
        await self.flush()
        await self.expect(HandshakeReceived)

    async def hung_up(self) -> None:
        """Return when the other side has closed; what it still says is dropped."""
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await self.stream.receive(65_536)


def new_peer_id() -> PeerId:
    """Return an id that no other scripted peer has."""
    return PeerId(f"-SP0001-{next(_NUMBERS):012}".encode())


@dataclass
class Script:
    """A seed with faults: what it sends instead of the right blocks, and what it has sent."""

    metainfo: Metainfo
    payload: bytes
    change: Change = lambda _piece, _begin, data: data
    has: Bitfield | None = None
    fast: bool = True
    connections: int = 0
    served: list[tuple[int, int]] = field(default_factory=list)
    """(piece, begin) of every block sent, in order."""

    async def __call__(self, stream: anyio.abc.SocketStream) -> None:
        """Serve one connection."""
        self.connections += 1
        wire = Wire(stream, self.metainfo, fast=self.fast)
        wire.connection.sender.send_handshake()
        await wire.flush()
        with suppress(anyio.BrokenResourceError):
            async for event in wire:
                self._answer(wire.connection, event)
                self._serve(wire.connection)
                await wire.flush()

    def _answer(self, connection: PeerConnection, event: PeerEvent) -> None:
        if isinstance(event, HandshakeReceived):
            connection.sender.send_bitfield(
                Bitfield.full(self.metainfo.piece_count) if self.has is None else self.has
            )
        elif isinstance(event, PeerInterested):
            connection.sender.unchoke()

    def _serve(self, connection: PeerConnection) -> None:
        while connection.upload_requests:
            piece, begin, length = connection.upload_requests.popleft()
            start = self.metainfo.geometry.piece_offset(piece) + begin
            data = self.change(piece, begin, self.payload[start : start + length])
            self.served.append((piece, begin))
            connection.sender.send_block(piece, begin, memoryview(data))


def poison(_piece: int, begin: int, data: bytes) -> bytes:
    """Send a wrong first block of every piece."""
    return bytes(len(data)) if not begin else data


@asynccontextmanager
async def listening(
    behaviour: Callable[[anyio.abc.SocketStream], Awaitable[None]],
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[tuple[str, int]]:
    """Serve every connection with ``behaviour``; gives the address."""

    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await behaviour(stream)

    async with (
        await anyio.create_tcp_listener(local_host=host, local_port=port) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        yield host, listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def dialled(
    metainfo: Metainfo, address: tuple[str, int], *, fast: bool = True
) -> AsyncIterator[Wire]:
    """Connect to a node; nothing is said yet."""
    async with await anyio.connect_tcp(*address) as stream:
        yield Wire(stream, metainfo, fast=fast)


def blocks_of(metainfo: Metainfo, piece: int) -> list[tuple[int, int, int]]:
    """Return a piece's blocks as requests."""
    length = metainfo.geometry.piece_length(piece)
    return [
        (piece, begin, min(BLOCK_BYTES, length - begin)) for begin in range(0, length, BLOCK_BYTES)
    ]
