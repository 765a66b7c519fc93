"""Hash checks of pieces on disk.

Source: BEP 3 (``pieces``), BEP 52.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final

import anyio
from anyio.from_thread import check_cancelled
from anyio.lowlevel import checkpoint

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces.cores import HASHING_CORES
from torrent_engine.disk.pieces.huge_page import make_buffer
from torrent_engine.disk.threads import run_in_thread

_CHUNK_BYTES: Final = 1024 * 1024  # measured: less costs lock contention, more costs cache misses
_CANCEL_MASK: Final = 16 * 1024 * 1024 - 1
_BATCH_PIECES: Final = 512  # limits the time for handling results of tiny pieces
_BATCH_BYTES: Final = 32 * 1024 * 1024  # one job of a thread
_TURN_RESULTS: Final = 100  # reported before other tasks run; a piece may complete a hundred files


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

    Pieces with missing or too short files fail without being read, and so do pieces that are holes
    (unless they should be zeros). Results arrive in batches, ordered within a batch. A
    cancellation takes effect between two chunks. Raises StorageError if an existing file cannot be
    read.
    """
    failure = partial(StorageError, storage.save_path)
    await run_in_thread(storage.look_again, limiter=limiter, failure=failure)
    todo = iter(pieces)
    batch_pieces = min(max(1, _BATCH_BYTES // metainfo.geometry.piece_bytes), _BATCH_PIECES)

    def check(checker: PieceChecker, batch: list[int]) -> list[tuple[int, bool]]:
        with HASHING_CORES.hold(threads):
            return checker.check(batch)

    async def work() -> None:
        checker = PieceChecker(storage, metainfo)
        while batch := list(islice(todo, batch_pieces)):
            results = await run_in_thread(check, checker, batch, limiter=limiter, failure=failure)
            for start in range(0, len(results), _TURN_RESULTS):
                for piece, is_right in results[start : start + _TURN_RESULTS]:
                    on_result(piece, is_right)
                await checkpoint()

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

    Contiguous small pieces are read together, because releasing the interpreter lock for each
    would cost more than the read.
    """

    def __init__(self, storage: StorageManager, metainfo: Metainfo) -> None:
        self._storage = storage
        self._geometry = metainfo.geometry
        self._hashes = metainfo.hashes
        piece_bytes = metainfo.geometry.piece_bytes
        self._run_pieces = min(max(1, _CHUNK_BYTES // piece_bytes), _BATCH_PIECES)
        size = min(piece_bytes, _CHUNK_BYTES) * self._run_pieces
        self._buffer = make_buffer(size)

    def check(self, pieces: list[int]) -> list[tuple[int, bool]]:
        """Return (piece, is correct) for some pieces; for worker threads. Raises StorageError."""
        if not self._storage.may_have_holes:
            return self._check(pieces)
        right = dict(self._check(self._without_holes(pieces)))
        return [(piece, right.get(piece, False)) for piece in pieces]

    def _without_holes(self, pieces: list[int]) -> list[int]:
        """Return the pieces with written data, and those that should be zeros.

        After a power cut these are the only pieces of a large new file that must be hashed.
        """
        geometry, size = self._geometry, self._geometry.piece_bytes
        first, last = min(pieces), max(pieces)
        start = geometry.piece_offset(first)
        end = geometry.piece_offset(last) + geometry.piece_length(last)
        written: set[int] = set()
        for begin, stop in self._storage.written(start, end - start):
            written.update(range(begin // size, -(-stop // size)))
        return [piece for piece in pieces if piece in written or self._hashes.is_zeros(piece)]

    def _check(self, pieces: list[int]) -> list[tuple[int, bool]]:
        results: list[tuple[int, bool]] = []
        if not pieces:
            return results
        for run in self._runs(pieces):
            check_cancelled()
            if self._run_pieces == 1:
                results.append((run[0], self._is_right_long(run[0])))
            else:
                results += self._check_short(run)
        return results

    def _runs(self, pieces: list[int]) -> Iterator[list[int]]:
        """Split pieces into contiguous runs that fit into the buffer, without gaps inside."""
        geometry, run, is_open = self._geometry, list[int](), True
        for piece in pieces:
            if run and (piece != run[-1] + 1 or len(run) == self._run_pieces or not is_open):
                yield run
                run = []
            run.append(piece)
            is_open = (
                geometry.aligned is None or geometry.piece_length(piece) == geometry.piece_bytes
            )
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
            (piece, hashes.matches(piece, view[at : at + size]))
            for piece, at in zip(run, range(0, length, size), strict=True)
        ]

    def _is_right_long(self, piece: int) -> bool:
        geometry, buffer, digest = self._geometry, self._buffer, self._hashes.new_digest(piece)
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
        return digest.digest() == self._hashes.expected(piece)
