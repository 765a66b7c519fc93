"""Hashing of files into pieces with several threads, for a new torrent.

Source: BEP 3 (``pieces``), BEP 52 (Merkle trees).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from queue import SimpleQueue
from typing import Final, NamedTuple

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.codec.merkle import MerkleDigest, piece_levels, tree_levels
from torrent_engine.disk.create.scan import SourceFile
from torrent_engine.disk.os_errors import storage_error
from torrent_engine.disk.pieces.huge_page import make_buffer
from torrent_engine.disk.positional import read_at

ProgressCallback = Callable[[int, int], None]

_CHUNK_BYTES: Final = 1024 * 1024  # measured: less costs lock contention, more costs cache misses
_BATCH_BYTES: Final = 16 * 1024 * 1024  # one job of a thread; also the step of progress reports
_ZEROS: Final = bytes(_CHUNK_BYTES)
_READ_FLAGS: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class PayloadHashes(NamedTuple):
    """The hashes of all pieces, of the versions that were asked for."""

    sha1: bytes
    """20 bytes a piece; of v2 alone empty."""
    merkle: bytes
    """32 bytes a piece: the root of the tree above it; of v1 alone empty."""


def hash_payload(
    files: Sequence[SourceFile],
    geometry: Geometry,
    threads: int,
    on_progress: ProgressCallback | None,
    *,
    pads: bool | None = None,
) -> PayloadHashes:
    """Return the hashes of all pieces: SHA-1 of v1, or where files are aligned the trees of v2.

    ``pads`` says of a hybrid torrent whether zeros follow what ends inside a piece; None: it is no
    hybrid. ``on_progress(done_bytes, total_bytes)`` runs in the caller's thread, about every
    16 MiB; if it raises, hashing is aborted. Raises StorageError for a file that cannot be read or
    has changed.
    """
    batch = max(1, _BATCH_BYTES // geometry.piece_bytes)
    starts = range(0, geometry.piece_count, batch)
    threads = min(threads, len(starts))
    readers: SimpleQueue[_PieceReader] = SimpleQueue()
    for _ in range(threads):
        readers.put(_PieceReader(files, geometry, pads=pads))

    def hash_batch(first_piece: int) -> PayloadHashes:
        reader = readers.get()
        try:
            return reader.hash_pieces(first_piece, first_piece + batch)
        finally:
            reader.close()
            readers.put(reader)

    pool = ThreadPoolExecutor(threads, "torrent-create")
    found: list[PayloadHashes] = []
    try:
        for start, hashes in zip(starts, pool.map(hash_batch, starts), strict=True):
            found.append(hashes)
            if on_progress is not None:
                done = (start + batch) * geometry.piece_bytes
                on_progress(min(done, geometry.total_bytes), geometry.total_bytes)
    finally:
        pool.shutdown(cancel_futures=True)
    return PayloadHashes(
        b"".join(each.sha1 for each in found), b"".join(each.merkle for each in found)
    )


class _PieceReader:
    """One thread's buffer, its open file, and the loop that fills and hashes."""

    def __init__(
        self, files: Sequence[SourceFile], geometry: Geometry, *, pads: bool | None
    ) -> None:
        self._files = files
        self._geometry = geometry
        self._layout = geometry.aligned or FileLayout([file.length_bytes for file in files])
        self._piece_bytes = geometry.piece_bytes
        self._pads = pads
        self._buffer = make_buffer(_CHUNK_BYTES)
        self._open_index = -1
        self._descriptor = -1

    def hash_pieces(self, first: int, end: int) -> PayloadHashes:
        """Return the hashes of the pieces from ``first`` up to ``end`` or the payload's end."""
        if self._geometry.aligned is None:
            return PayloadHashes(self._hash_run(first, end), b"")
        pieces = range(first, min(end, self._geometry.piece_count))
        found = [self._hash_aligned(piece) for piece in pieces]
        return PayloadHashes(
            b"".join(each.sha1 for each in found), b"".join(each.merkle for each in found)
        )

    def _hash_aligned(self, piece: int) -> PayloadHashes:
        """Return the hashes of a piece that is of one file."""
        geometry, start = self._geometry, self._geometry.piece_offset(piece)
        length = geometry.piece_length(piece)
        file_bytes = self._layout.lengths[self._layout.slices(start, 1)[0].file_index]
        is_only = file_bytes <= self._piece_bytes
        levels = tree_levels(file_bytes) if is_only else piece_levels(self._piece_bytes)
        merkle = MerkleDigest(levels, length)
        digest = None if self._pads is None else sha1(usedforsecurity=False)
        for chunk in self._chunks(start, start + length):
            merkle.update(chunk)
            if digest is not None:
                digest.update(chunk)
        if digest is None:
            return PayloadHashes(b"", merkle.digest())
        gap = self._piece_bytes - length if self._pads else 0
        for done in range(0, gap, len(_ZEROS)):
            digest.update(_ZEROS[: gap - done])
        return PayloadHashes(digest.digest(), merkle.digest())

    def _hash_run(self, first: int, end: int) -> bytes:
        """Return the SHA-1 of pieces that follow each other without gaps."""
        piece_bytes = self._piece_bytes
        hashes: list[bytes] = []
        digest, left = sha1(usedforsecurity=False), piece_bytes
        stop = min(end * piece_bytes, self._layout.total_bytes)
        for chunk in self._chunks(first * piece_bytes, stop):
            rest = chunk
            while len(rest) >= left:
                digest.update(rest[:left])
                hashes.append(digest.digest())
                rest = rest[left:]
                digest, left = sha1(usedforsecurity=False), piece_bytes
            digest.update(rest)
            left -= len(rest)
        if left < piece_bytes:
            hashes.append(digest.digest())
        return b"".join(hashes)

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._open_index = self._descriptor = -1

    def _chunks(self, start: int, stop: int) -> Iterator[memoryview]:
        """Iterate over a range of the payload; each view is valid until the next one."""
        for offset in range(start, stop, _CHUNK_BYTES):
            chunk = self._buffer[: min(_CHUNK_BYTES, stop - offset)]
            filled = 0
            for index, file_offset, length in self._layout.slices(offset, len(chunk)):
                self._fill(index, file_offset, chunk[filled : filled + length])
                filled += length
            yield chunk

    def _fill(self, index: int, offset: int, into: memoryview) -> None:
        path = self._files[index].disk_path
        try:
            if index != self._open_index:
                self._open(index)
            count = read_at(self._descriptor, into, offset)
        except OSError as error:
            raise storage_error(path, error) from error
        if count < len(into):
            raise StorageError(path, "changed while it was read")

    def _open(self, index: int) -> None:
        self.close()
        file = self._files[index]
        self._descriptor = os.open(file.disk_path, _READ_FLAGS)
        self._open_index = index
        if os.fstat(self._descriptor).st_size != file.length_bytes:
            raise StorageError(file.disk_path, "changed while it was read")
