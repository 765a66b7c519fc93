"""The unsent bytes, divided into payloads."""

from collections import deque
from collections.abc import Sequence
from typing import Final

CHUNK_BYTES: Final = 32 * 1024  # ours: two blocks; a chunk is freed when all of it is cut


class SendQueue:
    """A stream divided into payloads. The bytes of the first call end at the end of a packet.

    Transmission 3.00 drops data that follows the BitTorrent handshake in the same packet. Payloads
    are copies, because a view would keep its whole chunk until the last packet is acknowledged.
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
        count = chunk_bytes = 0
        for buffer in buffers:
            part = buffer if len(buffer) <= max_bytes - count else buffer[: max_bytes - count]
            parts.append(part)
            count += len(part)
            chunk_bytes += len(part)
            if chunk_bytes >= CHUNK_BYTES and not self._is_first:
                self._add(parts)
                chunk_bytes = 0
            if count == max_bytes:
                break
        self._add(parts)
        return count

    def _add(self, parts: list[bytes | memoryview]) -> None:
        chunk = b"".join(parts)
        parts.clear()
        if chunk:
            self._chunks.append(memoryview(chunk))
            self.queued_bytes += len(chunk)

    def cut(self, size_bytes: int) -> bytes:
        """Remove and return the next payload of at most ``size_bytes``; not of an empty queue."""
        payload = self._cut_chunk(size_bytes)
        if self._at == 0:  # a chunk ended
            if not self._is_first and len(payload) < size_bytes and self._chunks:
                payload = self._joined(payload, size_bytes)
            self._is_first = False
        self.queued_bytes -= len(payload)
        return payload

    def _cut_chunk(self, size_bytes: int) -> bytes:
        begin, chunk = self._at, self._chunks[0]
        part = bytes(chunk[begin : begin + size_bytes])
        self._at = begin + len(part)
        if self._at == len(chunk):
            self._chunks.popleft()
            self._at = 0
        return part

    def clear(self) -> None:
        """Remove everything."""
        self._chunks.clear()
        self.queued_bytes = 0

    def _joined(self, payload: bytes, size_bytes: int) -> bytes:
        parts = [payload]
        missing = size_bytes - len(payload)
        while missing and self._chunks:
            parts.append(self._cut_chunk(missing))
            missing -= len(parts[-1])
        return b"".join(parts)
