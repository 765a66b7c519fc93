"""The pieces that were about to be written when the process died, and the files that it had made.

Before a piece goes to the disk its number is appended to a small file. The page cache outlives a
killed process, so at the next start exactly these pieces need hashing, and no verified piece is
fetched again. So are the number and the inode of each file, before the first write to it, or nobody
would know that it is the torrent's. After a power cut the file says nothing, and nothing relies on
it.
"""

import logging
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from torrent_engine.disk.file_stamps import INODE_MASK, NotedFiles

_ENTRY: Final = struct.Struct("<I")
_FILE: Final = struct.Struct("<IQ")
_FILE_BITS: Final = 0b11 << 30  # mark the number of a file; pieces are at most 2 ** 21
_PAGE_BYTES: Final = 4096  # a kill can end a write to the page cache only between two pages
_log = logging.getLogger(__name__)


class WriteJournal:
    """The pieces noted and not yet settled; safe to use from every thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._descriptor = -1
        self._pending: set[int] = set()
        self._files: dict[int, int] = {}
        """The inodes of files by their numbers."""
        self.noted_ns = 0
        """When the file was written before it was opened, in wall-clock time since 1970."""

    def open(self) -> set[int]:
        """Open the file and return the pieces that an earlier process noted.

        :meth:`files` has the files. OSError if that fails.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self._path, flags, 0o600)
        try:
            self._pending, self._files = self._read()
            status = os.fstat(self._descriptor)
            self.noted_ns = status.st_mtime_ns
            self._rewrite()
        except BaseException:
            self.close()
            raise
        with suppress(OSError):  # a kill before anything is saved leaves it to the next start
            os.utime(self._path, ns=(status.st_atime_ns, self.noted_ns))
        return set(self._pending)

    def files(self) -> NotedFiles:
        """Return the files that were noted and not yet settled."""
        with self._lock:
            return NotedFiles(dict(self._files), self.noted_ns)

    def note_file(self, index: int, inode: int) -> None:
        """Append a file that is the torrent's from now on."""
        inode &= INODE_MASK
        with self._lock:
            if self._files.get(index) != inode and self._descriptor >= 0:
                self._files[index] = inode
                self._append(_FILE.pack(index | _FILE_BITS, inode))

    def _read(self) -> tuple[set[int], dict[int, int]]:
        """Return the pieces and files that are in the file, and go to its end."""
        data, at = self._path.read_bytes(), 0
        pieces: set[int] = set()
        files: dict[int, int] = {}
        while at + _ENTRY.size <= len(data):
            (entry,) = _ENTRY.unpack_from(data, at)
            if entry < _FILE_BITS:
                pieces.add(entry)
                at += _ENTRY.size
            elif at + _FILE.size <= len(data):
                files[entry ^ _FILE_BITS] = _FILE.unpack_from(data, at)[1]
                at += _FILE.size
            else:
                break
        os.lseek(self._descriptor, at, os.SEEK_SET)
        return pieces, files

    def note(self, pieces: Iterable[int]) -> None:
        """Append pieces that are about to be written; one call to the system at most.

        A full disk is only logged: the pieces would be fetched again after a crash.
        """
        with self._lock:
            new = set(pieces).difference(self._pending)
            if not new or self._descriptor < 0:
                return
            self._pending |= new
            self._append(b"".join(map(_ENTRY.pack, new)))

    def _append(self, data: bytes) -> None:
        try:
            os.write(self._descriptor, data)
        except OSError as error:
            _log.warning("cannot write %s: %s", self._path, error)

    def settle(self, pieces: Iterable[int], files: Iterable[int] = ()) -> None:
        """Forget pieces and files that the database knows of now."""
        with self._lock:
            self._pending.difference_update(pieces)
            for index in files:
                self._files.pop(index, None)
            if self._descriptor >= 0:
                self._rewrite()

    def close(self) -> None:
        """Close the file; what is pending stays in it."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def _rewrite(self) -> None:
        """Put what is pending at the start, then cut: a kill in between leaves too much in it.

        More than a page is left as it is, with entries too many: a kill within the write could
        lose some, and hashing a piece in vain costs less than fetching one again.
        """
        data = b"".join(map(_ENTRY.pack, sorted(self._pending)))
        data += b"".join(
            _FILE.pack(index | _FILE_BITS, each) for index, each in self._files.items()
        )
        if len(data) > _PAGE_BYTES:
            return
        with suppress(OSError):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, data)
            os.ftruncate(self._descriptor, len(data))
