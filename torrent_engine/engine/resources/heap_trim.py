"""Return of freed memory from the C allocator to the system.

glibc keeps what was freed below something that is still in use, and ever larger blocks in its heap
after the first of them was freed: after a burst of work a process stays as large as it ever was.
"""

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import anyio

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.disk.threads import run_in_thread

LOOK_INTERVAL_S: Final = 2.0  # ours: how soon after the last connection memory is given back
BUSY_INTERVAL_S: Final = 60.0  # ours: the same while there are connections
MIN_FREED_BYTES: Final = 16 * 1024 * 1024  # ours: less is not worth a pause while data moves
MAX_FREED_BYTES: Final = 128 * 1024 * 1024
"""Ours: more waits until no peer is connected; 100 MiB blocked allocation for 20 ms."""


class Allocator(NamedTuple):
    """Heap statistics and trimming of the C library."""

    freed_bytes: Callable[[], int]
    """What is free in the heap, and may or may not take memory."""
    trim: Callable[[], object]
    """Return all whole free pages to the system."""


class _HeapInfo(ctypes.Structure):
    """``struct mallinfo2`` of <malloc.h>."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def system_allocator() -> Allocator | None:
    """Return the allocator of glibc 2.33 or later; None where there is another one."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    try:
        heap_info, trim = library.mallinfo2, library.malloc_trim
    except AttributeError:
        return None
    heap_info.restype = _HeapInfo
    trim.argtypes = [ctypes.c_size_t]
    return Allocator(lambda: int(heap_info().fordblks), lambda: trim(0))


class HeapTrim:
    """Gives freed memory back when the last peer is gone, and now and then while there are some."""

    def __init__(self, is_busy: Callable[[], bool], allocator: Allocator | None) -> None:
        """Trim ``allocator`` depending on ``is_busy()``; None: do nothing."""
        self._is_busy = is_busy
        self._allocator = allocator
        self._was_busy = True
        self._kept_bytes = 0
        """What was free after the last time: it lies in pages that are in use, or takes no room."""
        self._rounds = 0
        self._limiter = anyio.CapacityLimiter(1)

    async def run(self) -> None:
        """Trim when due, until cancelled."""
        if self._allocator is None:
            return
        while True:
            await anyio.sleep(LOOK_INTERVAL_S)
            if self.is_due():
                await self._trim(self._allocator)

    def is_due(self) -> bool:
        """Return whether to trim now; call it every LOOK_INTERVAL_S."""
        was_busy, self._was_busy = self._was_busy, self._is_busy()
        if not self._was_busy:
            self._rounds = 0
            return was_busy
        self._rounds += 1
        if self._rounds * LOOK_INTERVAL_S < BUSY_INTERVAL_S or self._allocator is None:
            return False
        self._rounds = 0
        freed_bytes = self._allocator.freed_bytes() - self._kept_bytes
        return MIN_FREED_BYTES <= freed_bytes <= MAX_FREED_BYTES

    async def _trim(self, allocator: Allocator) -> None:
        with suppress(TorrentEngineError):  # no thread is left: there will be a next time
            await run_in_thread(allocator.trim, limiter=self._limiter, failure=TorrentEngineError)
            self._kept_bytes = allocator.freed_bytes()
