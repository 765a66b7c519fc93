"""The bytes of pieces that belong to skipped files.

A skipped file is not created, but pieces that it shares with wanted files need its bytes, and
pieces of its own may be in progress when it is skipped. These bytes are stored in a hidden sparse
file for each torrent, ``.<info-hash>.parts`` in the save path, at their offsets in the payload. A
foreign file of that name is not touched.
"""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ForeignFileError, StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.file_copy import data_extents
from torrent_engine.disk.file_stamps import PART_FILE, FileStamp, stamp_of
from torrent_engine.disk.os_errors import storage_error, storage_errors
from torrent_engine.disk.positional import read_at, write_at
from torrent_engine.disk.safe_open import Folder
from torrent_engine.disk.system import HAS_FILE_MODES

_COPY_BYTES: Final = 1024 * 1024
_FEW: Final = 3  # two may belong to neighbouring files


def part_file_name(info_hash: InfoHash) -> tuple[str, ...]:
    """Return the path of a torrent's part-file below its save path."""
    return (f".{info_hash.hex()}.parts",)


class PartFile:
    """The part-file of one torrent; blocking, called with the storage's lock held."""

    def __init__(
        self, folder: Folder, info_hash: InfoHash, *, max_bytes: int, is_known: bool | None
    ) -> None:
        """``is_known``: whether a file of its name is it; None: if others cannot read that.

        The latter is how they are made. But permissions may be changed, some file systems have
        none, and other programs give such names and permissions, too.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._is_known = is_known
        self._parts = part_file_name(info_hash)
        self._descriptor = -1
        self._is_new = False
        self.is_dirty = False

    @property
    def path(self) -> Path:
        """Its path, whether it exists or not."""
        return self._folder.path / self._parts[0]

    def size(self) -> int:
        """Return its length in bytes; 0 if it does not exist."""
        status = self._status()
        return status.st_size if status is not None and self._is_part_file(status) else 0

    def stamp(self) -> FileStamp | None:
        """Return its present stamp; None if it does not exist, or is not to be known."""
        with suppress(StorageError):
            status = self._status()
            if status is not None and self._is_part_file(status):
                return stamp_of(PART_FILE, status)
        return None

    def check_writable(self) -> None:
        """Raise ForeignFileError if its name is taken by a foreign file."""
        if self.is_foreign():
            raise ForeignFileError(self.path, "already exists and is not our part-file")

    def is_foreign(self) -> bool:
        """Return whether its name is taken by a foreign file."""
        status = self._status()
        return status is not None and not self._is_part_file(status)

    def _status(self) -> os.stat_result | None:
        with storage_errors(self.path):
            return self._folder.stat(self._parts)

    def _is_part_file(self, status: os.stat_result) -> bool:
        if self._is_known is not None:
            return self._is_known and stat.S_ISREG(status.st_mode)
        is_private = not HAS_FILE_MODES or not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        return stat.S_ISREG(status.st_mode) and is_private and status.st_size <= self._max_bytes

    def read(self, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into``. Raises StorageError if the bytes were never written."""
        try:
            got = read_at(self._open(create=False), into, offset_bytes)
        except OSError as error:
            raise storage_error(self.path, error) from error
        if got < len(into):
            raise StorageError(self.path, "is truncated")

    def write(self, offset_bytes: int, views: Sequence[memoryview]) -> None:
        """Write ``views`` at their offset in the payload."""
        try:
            write_at(self._open(create=True), views, offset_bytes)
        except OSError as error:
            raise storage_error(self.path, error) from error
        self.is_dirty = True

    def has(self, offset_bytes: int, length_bytes: int) -> bool:
        """Return whether a range has data other than zeros."""
        end = min(offset_bytes + length_bytes, self.size())
        if offset_bytes >= end:
            return False
        try:
            found = list(islice(data_extents(self._open(create=False), offset_bytes, end), _FEW))
        except OSError as error:
            raise storage_error(self.path, error) from error
        return any(self._is_written(first, last) for first, last in found)

    def written(self, offset_bytes: int, length_bytes: int) -> list[tuple[int, int]]:
        """Return the data extents of a range, as (start, end) in the payload."""
        end = min(offset_bytes + length_bytes, self.size())
        if offset_bytes >= end:
            return []
        try:
            return list(data_extents(self._open(create=False), offset_bytes, end))
        except OSError as error:
            raise storage_error(self.path, error) from error

    def _is_written(self, first: int, last: int) -> bool:
        """Return whether an extent has data; a short one may be the end of a neighbour."""
        if last - first > _COPY_BYTES:
            return True
        view = memoryview(bytearray(last - first))
        self.read(first, view)
        return any(view)

    def copy_out(self, offset_bytes: int, length_bytes: int, target: int) -> None:
        """Copy the data extents of a range to the start of an open file; holes stay holes.

        That may be more than boundary pieces: pieces requested before the file was skipped are
        completed afterwards.
        """
        end = min(offset_bytes + length_bytes, self.size())
        buffer = memoryview(bytearray(_COPY_BYTES))
        for first, last in data_extents(self._open(create=False), offset_bytes, end):
            for at in range(first, last, _COPY_BYTES):
                view = buffer[: min(_COPY_BYTES, last - at)]
                self.read(at, view)
                write_at(target, [view], at - offset_bytes)

    def sync(self) -> None:
        """Make written data durable."""
        if not self.is_dirty:
            return
        self.is_dirty = False
        try:
            os.fsync(self._open(create=False))
            if self._is_new:
                self._folder.sync_folder(())
                self._is_new = False
        except OSError as error:
            raise storage_error(self.path, error) from error

    def close(self) -> None:
        """Close the file; it is reopened when needed."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        self.is_dirty = False
        with suppress(OSError):
            status = self._folder.stat(self._parts)
            if status is not None and self._is_part_file(status):
                self._folder.unlink(self._parts)

    def _open(self, *, create: bool) -> int:
        if self._descriptor < 0:
            self.check_writable()
            flags = os.O_RDWR | (os.O_CREAT if create else 0)
            self._is_new = create
            self._descriptor = self._folder.open_file(self._parts, flags, 0o600)
            self._is_known = True
        return self._descriptor
