"""The files that a move may take: the torrent's by the database, or by a matching hash.

What merely lies at the path of a file stays where it is (fault model, row F3).
"""

import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Final

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.file_copy import data_extents
from torrent_engine.disk.file_stamps import (
    FileStamp,
    NotedFiles,
    is_like_copy,
    is_same_file,
    stamp_of,
)
from torrent_engine.disk.files.owned_files import OwnedFiles
from torrent_engine.disk.positional import read_at
from torrent_engine.disk.resume.history import Earlier
from torrent_engine.disk.safe_open import Folder
from torrent_engine.disk.state.records import TorrentRecord

_CHUNK_BYTES: Final = 1024 * 1024
_MAX_OPEN: Final = 16  # ours
_MOST_READ_BYTES: Final = 1024 * 1024 * 1024  # ours: of a file of which nothing matches


class OwnedAtMove:
    """Decides which files below a folder are the torrent's; blocking.

    ``made`` are the files that the write journal noted, ``paths`` where each stored file lies.
    """

    def __init__(
        self,
        metainfo: Metainfo,
        paths: Mapping[int, PathParts],
        record: TorrentRecord | None,
        made: NotedFiles,
    ) -> None:
        self._metainfo = metainfo
        self._paths = paths
        self._made = made
        self._stamps: Mapping[int, FileStamp] = record.stamps if record is not None else {}
        self._owned = OwnedFiles(metainfo.layout, metainfo.geometry)
        self._had = Bitfield.from_int(
            Earlier.from_record(record, metainfo).had if record is not None else 0,
            metainfo.piece_count,
        )
        self._unchecked: int | None = None
        """The pieces that may be right, as bits; None: any."""
        if record is not None and record.progress is not None:
            unchecked = record.progress.unchecked
            self._unchecked = Bitfield.from_bytes(unchecked, metainfo.piece_count).as_int()

    def is_known(self, index: int, status: os.stat_result, folder: Folder) -> bool:
        """Return whether the database or the journal says that a file is the torrent's."""
        is_born_after = partial(folder.is_born_after, self._paths[index])
        if self._made.has(index, status.st_ino, is_born_after):
            return True
        stamp, now = self._stamps.get(index), stamp_of(index, status)
        if stamp is None:
            return False
        if is_same_file(stamp, now, is_born_after):
            return True
        return is_like_copy(stamp, now) and self._is_copy(index, folder)

    def _is_copy(self, index: int, folder: Folder) -> bool:
        """Return whether a piece that the torrent had proves it, or none lies in the file alone."""
        rest_bytes, is_provable = _MOST_READ_BYTES, False
        with closing(_Pieces(self._metainfo, self._paths, folder)) as pieces:
            for piece in self._owned.pieces_within(index, self._had):
                is_provable = True
                if pieces.is_right(piece):
                    return True
                rest_bytes -= self._metainfo.geometry.piece_length(piece)
                if rest_bytes <= 0:
                    break
        return not is_provable

    def proved(self, folder: Folder, indices: Collection[int]) -> set[int]:
        """Return those of other files that a matching piece proves to be the torrent's."""
        owned = OwnedFiles(self._metainfo.layout, self._metainfo.geometry)
        owned.look(indices)
        with closing(_Pieces(self._metainfo, self._paths, folder)) as pieces:
            for index in sorted(indices):
                self._try(index, owned, pieces)
        return owned.own()

    def _try(self, index: int, owned: OwnedFiles, pieces: "_Pieces") -> None:
        """Hash pieces of a file until they prove whose it is."""
        rest_bytes = _MOST_READ_BYTES
        for piece in self._metainfo.layout.pieces_of(index, self._metainfo.geometry):
            if owned.is_own(index) or rest_bytes <= 0:
                return
            if self._may_be_right(index, piece):
                rest_bytes -= self._metainfo.geometry.piece_length(piece)
                if pieces.is_right(piece):
                    owned.adopt_piece(piece, was_read=lambda part: part == index)

    def _may_be_right(self, index: int, piece: int) -> bool:
        """Return whether a piece is worth hashing: the files may have changed since a stamp."""
        return (
            self._unchecked is None or index in self._stamps or bool(self._unchecked >> piece & 1)
        )


class _Pieces:
    """Hashes pieces from the files below a folder."""

    def __init__(self, metainfo: Metainfo, paths: Mapping[int, PathParts], folder: Folder) -> None:
        self._metainfo = metainfo
        self._paths = paths
        self._folder = folder
        self._open: dict[int, int] = {}
        self._buffer = memoryview(bytearray(min(metainfo.geometry.piece_bytes, _CHUNK_BYTES)))

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def is_right(self, piece: int) -> bool:
        """Return whether a piece matches; one that cannot be read does not."""
        geometry, hashes = self._metainfo.geometry, self._metainfo.hashes
        start, length = geometry.piece_offset(piece), geometry.piece_length(piece)
        if hashes.expected(piece) is None:
            return False
        with suppress(OSError, StorageError):
            if not self._is_whole(start, length):
                return False
            if not hashes.is_zeros(piece) and not self._has_data(start, length):
                return False
            digest = hashes.new_digest(piece)
            for done in range(0, length, len(self._buffer)):
                view = self._buffer[: length - done]
                self._read(start + done, view)
                digest.update(view)
            return digest.digest() == hashes.expected(piece)
        return False

    def _stored(self, start: int, length: int) -> Iterable[tuple[int, int, int]]:
        """Yield (descriptor, start, end) of each stored part of a range."""
        for part in self._metainfo.layout.slices(start, length):
            if self._metainfo.files.is_stored(part.file_index):
                end = part.offset_bytes + part.length_bytes
                yield self._descriptor(part.file_index), part.offset_bytes, end

    def _is_whole(self, start: int, length: int) -> bool:
        return all(os.fstat(file).st_size >= end for file, _, end in self._stored(start, length))

    def _has_data(self, start: int, length: int) -> bool:
        """Return whether not all of a range is holes."""
        return any(
            next(data_extents(file, begin, end), None) is not None
            for file, begin, end in self._stored(start, length)
        )

    def _read(self, start: int, into: memoryview) -> None:
        for part, share in self._metainfo.layout.placed(start, into):
            if not self._metainfo.files.is_stored(part.file_index):
                share[:] = bytes(len(share))
                continue
            descriptor = self._descriptor(part.file_index)
            if read_at(descriptor, share, part.offset_bytes) < len(share):
                raise OSError("truncated")

    def _descriptor(self, index: int) -> int:
        """Open a file for reading; few are open at a time. Raises OSError."""
        if index not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self.close()
            self._open[index] = self._folder.open_file(self._paths[index], os.O_RDONLY)
        return self._open[index]
