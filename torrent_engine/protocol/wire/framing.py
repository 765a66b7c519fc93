"""Owns the receive buffer: where the next bytes go, and which bytes are not parsed yet.

Blocks are handed out as views of this buffer, so a buffer that lent a view is never written again:
a new one takes its place, and only the unparsed tail is copied.
"""

from typing import Final

from torrent_engine.base.ids import BLOCK_BYTES

FIRST_BUFFER_BYTES: Final = 2 * BLOCK_BYTES
SMALL_READS_BEFORE_SHRINKING: Final = 64


class ReceiveBuffer:
    """One buffer in use; ``view[start:end]`` are the bytes that are received and not parsed.

    The size follows the peer: it doubles up to ``max_bytes`` while reads fill it, and halves again
    for a peer whose reads are small, so that many slow peers pin little memory.
    """

    __slots__ = ("_max_bytes", "_next_bytes", "_reads", "end", "is_lent", "start", "view")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max(max_bytes, FIRST_BUFFER_BYTES)
        self._next_bytes = FIRST_BUFFER_BYTES
        self._reads = 0
        self.view = memoryview(bytearray(FIRST_BUFFER_BYTES))
        self.start = 0
        self.end = 0
        self.is_lent = False
        """A view of this buffer was given away."""

    def free(self) -> memoryview:
        """Return where the next bytes go; never empty."""
        return self.view[self.end :]

    def filled(self, count_bytes: int) -> None:
        """Record that ``count_bytes`` were written at the start of :meth:`free`."""
        self._reads += 1
        self.end += count_bytes
        if self.end == len(self.view):
            self._next_bytes = min(self._next_bytes * 2, self._max_bytes)

    def make_room(self, frame_bytes: int) -> None:
        """See to it that a frame of ``frame_bytes`` from :attr:`start` fits, and one more block."""
        if self.start == self.end and not self.is_lent:
            self.start = self.end = 0
        size = len(self.view)
        if self.start + frame_bytes > size or size - self.end < BLOCK_BYTES:
            self._replace(frame_bytes)

    def _replace(self, frame_bytes: int) -> None:
        if self._reads > SMALL_READS_BEFORE_SHRINKING:
            self._next_bytes = max(self._next_bytes // 2, FIRST_BUFFER_BYTES)
        tail = self.view[self.start : self.end]
        size = max(self._next_bytes, frame_bytes + BLOCK_BYTES, len(tail) + BLOCK_BYTES)
        # Measured: a fresh bytearray of 256 KiB costs 4 us, 1 us a MiB of payload; a pool of
        # buffers would have to know when the last view of each is gone.
        fresh = memoryview(bytearray(size))
        fresh[: len(tail)] = tail
        self.view, self.start, self.end = fresh, 0, len(tail)
        self.is_lent = False
        self._reads = 0
