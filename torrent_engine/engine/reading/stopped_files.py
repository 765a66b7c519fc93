"""The files of a torrent that is stopped: pieces are hashed as they are read."""

from collections import OrderedDict
from typing import Final

import anyio

from torrent_engine.base.config.units import MIB
from torrent_engine.base.errors import StorageError
from torrent_engine.disk.files.storage_manager import StorageManager

KEPT_BYTES: Final = 32 * MIB  # ours: of pieces that were read, for all readers of a torrent


class StoppedFiles:
    """Reads right pieces of a torrent without a run.

    Nothing that is remembered of the files counts, and nothing of them is claimed: a piece is read
    as a whole, and given out if its hash is right. So what others do to the files meanwhile harms
    nobody, and a torrent that begins to run need not wait. Between two pieces no file is open, so
    that a reader that is idle does not keep users from renaming or deleting it on Windows.
    """

    def __init__(self, storage: StorageManager) -> None:
        """``storage`` is not open yet, and this is its only user."""
        self._storage = storage
        self._metainfo = storage.metainfo
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._lock = anyio.Lock()
        self._is_open = False

    async def open(self) -> None:
        """Open the files that are there. Raises StorageError."""
        await self._storage.open(create=False, makes_empty=False)
        self._is_open = True

    async def close(self) -> None:
        """Close the files, after a read that is under way. Twice is harmless."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                if self._is_open:
                    self._is_open = False
                    self._pieces.clear()
                    await self._storage.close()

    async def read(self, offset_bytes: int, into: memoryview) -> int | None:
        """Fill ``into`` from a place in the torrent, to the end of a piece at most.

        Returns how many bytes; 0 if that piece is not here, or not right; None when closed.
        """
        geometry = self._metainfo.geometry
        piece = geometry.piece_at(offset_bytes)
        async with self._lock:
            if not self._is_open:
                return None
            data = await self._piece(piece)
        begin = offset_bytes - geometry.piece_offset(piece)
        part = memoryview(data)[begin : begin + len(into)]
        into[: len(part)] = part
        return len(part)

    async def _piece(self, piece: int) -> bytes:
        """Return a piece; b"" if it is not right."""
        if (data := self._pieces.get(piece)) is not None:
            self._pieces.move_to_end(piece)
            return data
        found: list[bytes] = []
        await self._storage.in_thread(lambda: found.append(self._read(piece)))
        if found[0]:
            self._keep(piece, found[0])
        return found[0]

    def _read(self, piece: int) -> bytes:
        """Return a piece from the disk, b"" if it is not right; blocking."""
        geometry = self._metainfo.geometry
        offset, length = geometry.piece_offset(piece), geometry.piece_length(piece)
        if not self._storage.has_data(offset, length):
            return b""
        data = bytearray(length)
        try:
            self._storage.read_blocking(offset, memoryview(data))
        except StorageError:
            return b""
        finally:
            self._storage.let_go()
        return bytes(data) if self._metainfo.hashes.matches(piece, data) else b""

    def _keep(self, piece: int, data: bytes) -> None:
        self._pieces[piece] = data
        most = max(KEPT_BYTES // self._metainfo.geometry.piece_bytes, 1)
        while len(self._pieces) > most:
            self._pieces.popitem(last=False)
