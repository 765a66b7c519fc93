"""The unsent bytes, divided into payloads."""

from collections import deque
from collections.abc import Sequence


class SendQueue:
    """A stream divided into payloads. The bytes of the first call end at the end of a packet.

    Transmission 3.00 drops data that follows the BitTorrent handshake in the same packet.
    """

    __slots__ = ("_at", "_chunks", "_is_first", "queued_bytes")

    def __init__(self) -> None:
        self._chunks: deque[memoryview] = deque()
        self._at = 0
        self._is_first = True
        self.queued_bytes = 0

    def append(self, buffers: Sequence[bytes | memoryview], max_bytes: int) -> int:
        """Copy up to ``max_bytes``; return how many."""
        parts: list[bytes | memoryview] = []
        count = 0
        for buffer in buffers:
            parts.append(
                buffer if len(buffer) <= max_bytes - count else buffer[: max_bytes - count]
            )
            count += len(parts[-1])
            if count == max_bytes:
                break
        if count:
            self._chunks.append(memoryview(b"".join(parts)))
            self.queued_bytes += count
        return count

    def cut(self, size_bytes: int) -> memoryview:
        """Remove and return the next payload of at most ``size_bytes``; not of an empty queue."""
        begin, chunk = self._at, self._chunks[0]
        payload = chunk[begin : begin + size_bytes]
        self._at = begin + len(payload)
        if self._at == len(chunk):
            self._chunks.popleft()
            self._at = 0
            if not self._is_first and len(payload) < size_bytes and self._chunks:
                payload = self._joined(payload, size_bytes)
            self._is_first = False
        self.queued_bytes -= len(payload)
        return payload

    def clear(self) -> None:
        """Remove everything."""
        self._chunks.clear()
        self.queued_bytes = 0

    def _joined(self, payload: memoryview, size_bytes: int) -> memoryview:
        parts = [payload]
        missing = size_bytes - len(payload)
        while missing and self._chunks:
            chunk = self._chunks[0]
            part = chunk[self._at : self._at + missing]
            parts.append(part)
            missing -= len(part)
            self._at += len(part)
            if self._at == len(chunk):
                self._chunks.popleft()
                self._at = 0
        return memoryview(b"".join(parts))
