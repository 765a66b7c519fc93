"""Hashes pieces that are on disk and says which are right.

Source: BEP 3 (``pieces``).
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import sha1
from itertools import islice
from typing import Final

import anyio
from anyio.from_thread import check_cancelled

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.huge_page import make_buffer
from torrent_engine.disk.storage import StorageManager
from torrent_engine.disk.threads import run_in_thread

_CHUNK_BYTES: Final = 1024 * 1024  # measured: less costs lock hand-overs, more cache misses
_CANCEL_MASK: Final = 16 * 1024 * 1024 - 1
_BATCH_BYTES: Final = 32 * 1024 * 1024  # one trip to a thread; also how far results lag behind


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
    failure = partial(StorageError, storage.save_path)
    await run_in_thread(storage.look_again, limiter=limiter, failure=failure)
    todo = iter(pieces)
    batch_pieces = max(1, _BATCH_BYTES // metainfo.geometry.piece_bytes)

    async def work() -> None:
        checker = PieceChecker(storage, metainfo)
        while batch := list(islice(todo, batch_pieces)):
            results = await run_in_thread(checker.check, batch, limiter=limiter, failure=failure)
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


class PieceChecker:
    """One thread's buffer and the loop that fills and hashes it.

    Small pieces that lie one behind the other are read together: each call that lets go of the
    interpreter's lock costs more than what it does.
    """

    def __init__(self, storage: StorageManager, metainfo: Metainfo) -> None:
        self._storage = storage
        self._geometry = metainfo.geometry
        self._hashes = metainfo.piece_hashes
        self._run_pieces = max(1, _CHUNK_BYTES // metainfo.geometry.piece_bytes)
        size = min(metainfo.geometry.piece_bytes, _CHUNK_BYTES) * self._run_pieces
        self._buffer = make_buffer(size)

    def check(self, pieces: list[int]) -> list[tuple[int, bool]]:
        """Return which of some pieces are right; in a worker thread. Raises StorageError."""
        results: list[tuple[int, bool]] = []
        for run in self._runs(pieces):
            check_cancelled()
            if self._run_pieces == 1:
                results.append((run[0], self._is_right_long(run[0])))
            else:
                results += self._check_short(run)
        return results

    def _runs(self, pieces: list[int]) -> Iterator[list[int]]:
        """Cut a list of pieces into runs of neighbours that fit into the buffer."""
        run: list[int] = []
        for piece in pieces:
            if run and (piece != run[-1] + 1 or len(run) == self._run_pieces):
                yield run
                run = []
            run.append(piece)
        yield run

    def _check_short(self, run: list[int]) -> list[tuple[int, bool]]:
        geometry = self._geometry
        size, start = geometry.piece_bytes, geometry.piece_offset(run[0])
        length = geometry.piece_offset(run[-1]) + geometry.piece_length(run[-1]) - start
        if not self._storage.has_data(start, length):
            if len(run) == 1:
                return [(run[0], False)]
            return [result for piece in run for result in self._check_short([piece])]
        view, hashes = self._buffer[:length], self._hashes
        self._storage.read_blocking(start, view)
        return [
            (piece, _sha1(view[at : at + size]) == hashes[20 * piece : 20 * piece + 20])
            for piece, at in zip(run, range(0, length, size), strict=True)
        ]

    def _is_right_long(self, piece: int) -> bool:
        geometry, buffer, digest = self._geometry, self._buffer, sha1(usedforsecurity=False)
        offset, length, size = (
            geometry.piece_offset(piece),
            geometry.piece_length(piece),
            len(buffer),
        )
        if not self._storage.has_data(offset, length):
            return False
        for done in range(0, length, size):
            view = buffer if length - done >= size else buffer[: length - done]
            self._storage.read_blocking(offset + done, view)
            digest.update(view)
            if done & _CANCEL_MASK == 0:
                check_cancelled()
        return digest.digest() == self._hashes[20 * piece : 20 * piece + 20]


def _sha1(view: memoryview) -> bytes:
    return sha1(view, usedforsecurity=False).digest()
