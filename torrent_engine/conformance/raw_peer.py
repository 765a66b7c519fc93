"""A peer that may send any bytes, and waits for what it is told to wait for."""

import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.frames import (
    HANDSHAKE_BYTES,
    Frame,
    FrameReader,
    FrameType,
    HandshakeBytes,
)
from torrent_engine.conformance.wire_log import WireLog

RECEIVE_BYTES: Final = 65_536
_GONE: Final = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
Condition = Callable[[Frame], bool]


class RawPeer:
    """One connection to the program under test.

    Messages are taken in order: waiting for one passes over those before it, which stay in
    ``seen``. No call waits longer than it is told, and none raises because the connection ended.
    """

    def __init__(self, stream: ByteStream, log: WireLog, label: str, address: str) -> None:
        self._stream = stream
        self._sending = anyio.Lock()
        self._log = log
        self._label = label
        self.address = address
        """Our source address, as far as we chose it."""
        self.port = 0
        """Our source port, if that is known."""
        self.remote = ("", 0)
        """Where we connected to, if that is known."""
        self.peer_id = b"-TC0100-" + random.randbytes(12)  # noqa: S311 - nothing is secret
        self._reader = FrameReader()
        self._early = b""
        """Bytes before the end of the handshake."""
        self._queue: deque[Frame] = deque()
        self.seen: list[Frame] = []
        """Every message that came, oldest first."""
        self._received = 0
        self.is_closed = False
        self.greeting: HandshakeBytes | None = None
        self.is_unchoked = False

    # -- sending

    async def send(self, data: bytes, note: str = "") -> None:
        """Send bytes as they are; a connection that has ended is marked as closed."""
        self._log.add(f"{self._label}>", note or _shown(data))
        try:
            async with self._sending:
                await self._stream.send(data)
        except _GONE:
            self._mark_closed("while sending")

    async def send_slowly(self, data: bytes, pause_s: float) -> None:
        """Send one byte at a time."""
        for offset in range(len(data)):
            if not self.is_closed:
                await self.send(data[offset : offset + 1])
                await anyio.sleep(pause_s)

    async def send_end(self) -> None:
        """Close our half of the connection."""
        self._log.add(f"{self._label}>", "end of our half")
        with suppress(*_GONE):
            await self._stream.send_eof()

    # -- receiving

    async def receive_bytes(self, count: int, within_s: float) -> bytes:
        """Return the first ``count`` bytes of the connection, fewer if it ends or is silent.

        Only before the first message was read.
        """
        with anyio.move_on_after(within_s):
            while len(self._early) < count and not self.is_closed:
                self._early += await self._receive(RECEIVE_BYTES)
        return self._early[:count]

    @property
    def early_bytes(self) -> int:
        """Number of bytes that came before the first message was read."""
        return len(self._early)

    def wrap(self, wrapper: Callable[[ByteStream, bytes], ByteStream], start: int) -> None:
        """Go on with another stream; it gets what came behind the first ``start`` bytes.

        A wrapper that returns the same stream leaves those bytes to us.
        """
        rest = self._early[start:]
        stream = wrapper(self._stream, rest)
        self._early = rest if stream is self._stream else b""
        self._stream = stream

    async def receive_greeting(self, within_s: float) -> HandshakeBytes | None:
        """Return the handshake of the other side; None if it did not come."""
        data = await self.receive_bytes(HANDSHAKE_BYTES, within_s)
        if len(data) < HANDSHAKE_BYTES:
            return None
        self.greeting = HandshakeBytes.parse(data)
        rest, self._early = self._early[HANDSHAKE_BYTES:], b""
        self._take(rest)
        return self.greeting

    async def wait_for(self, condition: Condition, within_s: float) -> Frame | None:
        """Return the first message not yet passed that fits; None if closed, or after the time."""
        with anyio.move_on_after(within_s):
            while True:
                while self._queue:
                    frame = self._queue.popleft()
                    if condition(frame):
                        return frame
                if self.is_closed:
                    return None
                self._take(await self._receive(RECEIVE_BYTES))
        return None

    async def next(self, within_s: float) -> Frame | None:
        """Return the next message; None if closed, or after the time."""
        return await self.wait_for(lambda _: True, within_s)

    async def wait_closed(self, within_s: float) -> bool:
        """Read until the connection ends; return whether it did in time."""
        await self.wait_for(lambda _: False, within_s)
        return self.is_closed

    async def watch(self, for_s: float) -> list[Frame]:
        """Read for a while, or until the connection ends; return what came."""
        before = len(self.seen)
        await self.wait_for(lambda _: False, for_s)
        return self.seen[before:]

    async def watch_some(self, within_s: float) -> bool:
        """Read once; return whether bytes came before the time, or the end."""
        before = self._received
        with anyio.move_on_after(within_s):
            self._take(await self._receive(RECEIVE_BYTES))
        self._queue.clear()
        return self._received > before

    async def receive_a_little(self, count: int) -> None:
        """Read at most ``count`` bytes, as one that is slow."""
        self._take(await self._receive(count))

    async def close(self) -> None:
        """Close the connection."""
        with suppress(*_GONE):
            await self._stream.aclose()

    async def _receive(self, count: int) -> bytes:
        try:
            data = await self._stream.receive(count)
        except _GONE:
            self._mark_closed("by the other side")
            return b""
        self._received += len(data)
        return data

    def _take(self, data: bytes) -> None:
        try:
            frames = self._reader.feed(data)
        except ValueError as error:
            self._mark_closed(f"by us: {error}")
            return
        for frame in frames:
            self._log.add(f"{self._label}<", frame.describe())
            if frame.number in {FrameType.CHOKE, FrameType.UNCHOKE}:
                self.is_unchoked = frame.number == FrameType.UNCHOKE
        self.seen += frames
        self._queue.extend(frames)

    def _mark_closed(self, how: str) -> None:
        if not self.is_closed:
            self._log.add(f"{self._label}|", f"closed {how}")
        self.is_closed = True


def _shown(data: bytes) -> str:
    head = data[:48].hex()
    return f"{len(data)} bytes {head}{'...' if len(data) > 48 else ''}"
