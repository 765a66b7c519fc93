"""The receive buffer of a connection: the next bytes, and those not parsed yet.

Blocks are handed out as views of this buffer, so a buffer that lent a view is never written again
where the view is: when it is nearly full a new one takes its place, and only the unparsed tail is
copied.
"""

from typing import Final

from torrent_engine.protocol.wire.buffers import BufferPool

SPAN_S: Final = 0.05
"""Ours: the buffer holds what the peer sends in this time, within bounds.

A peer of 20 MiB/s or more gets the largest one; the views of a slow peer pin little memory.
"""
SPARE_BYTES: Final = 64
MAX_AGE_S: Final = 1.0  # ours: after this time the size is reconsidered


class ReceiveBuffer:
    """One buffer in use; ``view[start:end]`` are the bytes that are received and not parsed."""

    __slots__ = (
        "_buffer",
        "_max_bytes",
        "_min_bytes",
        "_next_bytes",
        "_pool",
        "_received_bytes",
        "_since_s",
        "end",
        "has_views",
        "held_bytes",
        "message_bytes",
        "start",
        "view",
    )

    def __init__(
        self, max_bytes: int, *, min_bytes: int, now: float, pool: BufferPool | None = None
    ) -> None:
        self._pool = pool
        self._min_bytes = min_bytes
        self._max_bytes = max(max_bytes, min_bytes)
        self._next_bytes = min_bytes
        self._received_bytes = 0
        self._since_s = now
        self._buffer = bytearray(min_bytes)
        self.view = memoryview(self._buffer)
        self.start = 0
        self.end = 0
        self.has_views = False
        """Views of this buffer are in use."""
        self.message_bytes = 0
        """Claimed length of the incomplete message at ``start``."""
        self.held_bytes = 0
        """Bytes by which the buffer is larger because of such a message."""

    def free(self) -> memoryview:
        """Return the free part of the buffer; never empty."""
        return self.view[self.end :]

    def filled(self, count_bytes: int) -> None:
        """Record that ``count_bytes`` were written at the start of :meth:`free`."""
        self._received_bytes += count_bytes
        self.end += count_bytes

    def make_room(self, now: float) -> None:
        """Ensure that there is room for more, in a buffer sized by the peer's rate."""
        if self.start == self.end and not self.has_views:
            self.start = self.end = 0
        size = len(self.view)
        if size - self.end <= size >> 4:
            self._measure(now)
            self._replace()
        elif now - self._since_s > MAX_AGE_S:
            self._measure(now)
            if size > 2 * self._wanted_bytes():
                self._replace()

    def drop(self) -> None:
        """Release the buffer; nothing can be received any more."""
        self._buffer = bytearray()
        self.view = memoryview(self._buffer)
        self.start = self.end = self.held_bytes = 0

    def _measure(self, now: float) -> None:
        self._next_bytes = self._min_bytes
        if self.has_views:  # only blocks enlarge it, not control messages
            elapsed_s = max(now - self._since_s, 1e-6)
            span_bytes = int(self._received_bytes / elapsed_s * SPAN_S)
            doubled = 2 * len(self.view)  # a single burst is not representative
            self._next_bytes = max(self._min_bytes, min(span_bytes, doubled, self._max_bytes))
        self._since_s = now
        self._received_bytes = 0

    def _wanted_bytes(self) -> int:
        """Return a size with room for twice the unparsed bytes.

        A long message gets memory as its bytes arrive, not by its claimed length, and hardly more
        than it needs.
        """
        unparsed = self.end - self.start
        needed = self.message_bytes + (self.message_bytes >> 3)  # room that make_room() leaves
        return max(self._next_bytes, min(2 * unparsed, max(needed, unparsed) + SPARE_BYTES))

    def _replace(self) -> None:
        wanted_bytes, pool, old = self._wanted_bytes(), self._pool, self._buffer
        is_pooled = pool is not None and wanted_bytes == pool.buffer_bytes
        self._buffer = pool.take() if pool is not None and is_pooled else bytearray(wanted_bytes)
        fresh = memoryview(self._buffer)
        tail_bytes = self.end - self.start
        fresh[:tail_bytes] = self.view[self.start : self.end]
        self.view.release()
        if pool is not None and len(old) == pool.buffer_bytes:
            pool.retire(old)
        self.view, self.start, self.end = fresh, 0, tail_bytes
        self.has_views = False
        self.held_bytes = wanted_bytes - self._next_bytes
