"""Reads of a run's files for the user: the files are closed after the last read under way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio

from torrent_engine.base.errors import SessionError
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.engine.content.piece_sharing import OpenSource
from torrent_engine.engine.transfer.piece_proof import PieceProof


class PayloadReader:
    """Reads verified bytes of one run's files, and counts the reads under way."""

    __slots__ = ("_idle", "_proof", "_reads", "_storage", "is_open")

    def __init__(self, storage: StorageManager, proof: PieceProof) -> None:
        self.is_open = False
        """Whether the files are open."""
        self._storage = storage
        self._proof = proof
        self._reads = 0
        self._idle: anyio.Event | None = None

    def open(self) -> None:
        """Allow reads."""
        self.is_open = True

    async def close(self) -> None:
        """Refuse new reads; return when none is under way."""
        self.is_open = False
        if self._reads:
            self._idle = anyio.Event()
            with anyio.CancelScope(shield=True):
                await self._idle.wait()

    async def read(self, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into`` with verified bytes; hash them first where the file may have changed.

        Raises SessionError if the files are closed, StorageError if they cannot be read.
        """
        async with self.keep_open():
            needs_proof = self._proof.is_needed(offset_bytes, len(into))
            if needs_proof or not self._storage.read_now(offset_bytes, into):
                await self._proof.read(offset_bytes, into)

    @asynccontextmanager
    async def lend(self, file_index: int) -> AsyncIterator[OpenSource]:
        """Keep the files open meanwhile, and yield what opens one of them in a worker thread.

        Raises SessionError if they are closed.
        """
        async with self.keep_open():
            yield partial(self._storage.lend, file_index)

    @asynccontextmanager
    async def keep_open(self) -> AsyncIterator[None]:
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
