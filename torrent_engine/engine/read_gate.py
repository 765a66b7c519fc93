"""Owns whether the files of a run may be read: they are closed after the last read under way."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from torrent_engine.base.errors import SessionError


class ReadGate:
    """Counts the reads under way in one run; tells its listener of every piece that is here."""

    __slots__ = ("_idle", "_reads", "is_open", "listener")

    def __init__(self) -> None:
        self.is_open = False
        """Whether the files are open."""
        self.listener: Callable[[], None] | None = None
        self._reads = 0
        self._idle: anyio.Event | None = None

    def open(self) -> None:
        """Let reads begin."""
        self.is_open = True

    async def close(self) -> None:
        """Let no read begin any more; return when none is under way."""
        self.is_open = False
        if self._reads:
            self._idle = anyio.Event()
            with anyio.CancelScope(shield=True):
                await self._idle.wait()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Keep the files open meanwhile; SessionError if they are closed."""
        if not self.is_open:
            raise SessionError("the torrent does not run: its files are closed")
        self._reads += 1
        try:
            yield
        finally:
            self._reads -= 1
            if not self._reads and self._idle is not None:
                self._idle.set()
