"""Hash checks of pieces on disk, in one thread.

Source: BEP 3 (``pieces``), BEP 52.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

from anyio.from_thread import check_cancelled

from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.pieces.huge_page import make_buffer

MOST_PIECES: Final = 512  # checked at once; limits the time for handling results of tiny ones
_CHUNK_BYTES: Final = 1024 * 1024  # measured: less costs lock contention, more costs cache misses
_CANCEL_MASK: Final = 16 * 1024 * 1024 - 1

PieceResult: TypeAlias = tuple[int, bool]
"""A piece, and whether it is right."""


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
        self._run_pieces = min(max(1, _CHUNK_BYTES // piece_bytes), MOST_PIECES)
        size = min(piece_bytes, _CHUNK_BYTES) * self._run_pieces
        self._buffer = make_buffer(size)

    def check(self, pieces: list[int]) -> list[PieceResult]:
        """Return (piece, is correct) for some pieces; for worker threads. Raises StorageError."""
        to_hash = self.without_holes(pieces)
        if len(to_hash) == len(pieces):
            return self._check(pieces)
        right = dict(self._check(to_hash))
        return [(piece, right.get(piece, False)) for piece in pieces]

    def without_holes(self, pieces: list[int]) -> list[int]:
        """Return the pieces with written data, and those that should be zeros; blocking.

        After a power cut these are the only pieces of a large new file that must be hashed.
        Raises StorageError.
        """
        if not pieces or not self._storage.may_have_holes:
            return pieces
        geometry, size = self._geometry, self._geometry.piece_bytes
        first, last = min(pieces), max(pieces)
        start = geometry.piece_offset(first)
        end = geometry.piece_offset(last) + geometry.piece_length(last)
        written: set[int] = set()
        for begin, stop in self._storage.written(start, end - start):
            written.update(range(begin // size, -(-stop // size)))
        return [piece for piece in pieces if piece in written or self._hashes.is_zeros(piece)]

    def _check(self, pieces: list[int]) -> list[PieceResult]:
        results: list[PieceResult] = []
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

    def _check_short(self, run: list[int]) -> list[PieceResult]:
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
