"""A transport without a socket: what it takes and gives is the test's choice."""

from collections.abc import Awaitable, Callable, Sequence

from torrent_engine.base.config import ConnectionEncryption, TransportProtocol


class MemoryTransport:
    """Keeps what it is sent, as far as it has room, and gives what it was handed."""

    protocol = TransportProtocol.UTP
    encryption = ConnectionEncryption.NONE
    sends_by_kernel = True

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.views: list[memoryview] = []
        """What was taken, as the views that were offered: none of it may change any more."""
        self.incoming = bytearray()
        self.has_ended = False
        self.waits = 0
        self.closed = 0
        self.narrowed: list[bool] = []
        self.receive_into: Callable[[memoryview], int] = self._receive_into
        self.send_some: Callable[[Sequence[bytes | memoryview]], int] = self._send_some
        self.wait_readable: Callable[[], Awaitable[None]] = self._wait
        self.wait_writable: Callable[[], Awaitable[None]] = self._wait

    @property
    def room_bytes(self) -> int:
        return self.room

    @property
    def local_host(self) -> str:
        return "10.0.0.1"

    @property
    def taken(self) -> bytes:
        return b"".join(self.views)

    def _send_some(self, buffers: Sequence[bytes | memoryview]) -> int:
        count = 0
        for buffer in buffers:
            part = memoryview(buffer)[: self.room]
            self.views.append(part)
            self.room -= len(part)
            count += len(part)
        if not count:
            raise BlockingIOError
        return count

    def _receive_into(self, target: memoryview) -> int:
        if not self.incoming and not self.has_ended:
            raise BlockingIOError
        count = min(len(target), len(self.incoming))
        target[:count] = self.incoming[:count]
        del self.incoming[:count]
        return count

    async def _wait(self) -> None:
        self.waits += 1

    def narrow(self, *, is_narrow: bool) -> None:
        self.narrowed.append(is_narrow)

    def close(self) -> None:
        self.closed += 1
