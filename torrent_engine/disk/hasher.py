"""Hashes pieces that are on disk and says which are right.

Source: BEP 3 (``pieces``).
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha1
from itertools import islice
from typing import Final

import anyio
import anyio.to_thread
from anyio.from_thread import check_cancelled

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.storage import StorageManager

_CHUNK_BYTES: Final = 256 * 1024  # read and hashed while it is in the processor's cache
_BATCH_BYTES: Final = 16 * 1024 * 1024  # one trip to a thread; also how far results lag behind


async def check_pieces(
    storage: StorageManager,
    metainfo: Metainfo,
    pieces: Iterable[int],
    *,
    limiter: anyio.CapacityLimiter,
    threads: int,
    on_result: Callable[[int, bool], None],
) -> None:
    """Hash pieces in worker threads; ``on_result(piece, is_right)`` runs in the caller's thread.

    A piece whose files are missing or too short is wrong without being read. Results come in
    batches, in order within a batch. Cancelling ends the threads between two chunks. Raises
    StorageError if a file cannot be read although it is there.
    """
    await anyio.to_thread.run_sync(storage.look_again, limiter=limiter)
    todo = iter(pieces)
    batch_pieces = max(1, _BATCH_BYTES // metainfo.geometry.piece_bytes)

    async def work() -> None:
        checker = _Checker(storage, metainfo)
        while batch := list(islice(todo, batch_pieces)):
            results = await anyio.to_thread.run_sync(checker.check, batch, limiter=limiter)
            for piece, is_right in results:
                on_result(piece, is_right)

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(threads):
                tasks.start_soon(work)
    except* StorageError as group:
        raise _first_error(group) from group


def _first_error(group: BaseExceptionGroup[StorageError]) -> StorageError:
    error = group.exceptions[0]
    return _first_error(error) if isinstance(error, BaseExceptionGroup) else error


class _Checker:
    """One thread's buffer and the loop that fills and hashes it."""

    def __init__(self, storage: StorageManager, metainfo: Metainfo) -> None:
        self._storage = storage
        self._geometry = metainfo.geometry
        self._hashes = metainfo.piece_hashes
        self._buffer = memoryview(bytearray(min(_CHUNK_BYTES, metainfo.geometry.piece_bytes)))
        self._unchecked_bytes = 0

    def check(self, pieces: list[int]) -> list[tuple[int, bool]]:
        return list(self._results(pieces))

    def _results(self, pieces: list[int]) -> Iterator[tuple[int, bool]]:
        geometry, storage = self._geometry, self._storage
        for piece in pieces:
            offset, length = geometry.piece_offset(piece), geometry.piece_length(piece)
            if not storage.has_data(offset, length):
                yield piece, False
                continue
            yield piece, self._digest(offset, length) == self._hashes[20 * piece : 20 * piece + 20]

    def _digest(self, offset: int, length: int) -> bytes:
        read, buffer, digest = (
            self._storage.read_blocking,
            self._buffer,
            sha1(usedforsecurity=False),
        )
        size = len(buffer)
        for done in range(0, length, size):
            view = buffer if length - done >= size else buffer[: length - done]
            read(offset + done, view)
            digest.update(view)
        self._unchecked_bytes += length
        if self._unchecked_bytes >= _CHUNK_BYTES:
            self._unchecked_bytes = 0
            check_cancelled()
        return digest.digest()
