"""The pieces that were about to be written when the process died, and the files that it had made.

Before a piece goes to the disk its number is appended to a small file. The page cache outlives a
killed process, so at the next start exactly these pieces need hashing, and no verified piece is
fetched again. So is the number of each file, before the first write to it, or nobody would know
that it is the torrent's. After a power cut the file says nothing, and nothing relies on it.
"""

import logging
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

_ENTRY: Final = struct.Struct("<I")
_FILE_BIT: Final = 1 << 31  # marks the number of a file; pieces are at most 2 ** 21
_PAGE_BYTES: Final = 4096  # a kill can end a write to the page cache only between two pages
_log = logging.getLogger(__name__)


class WriteJournal:
    """The pieces noted and not yet settled; safe to use from every thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._descriptor = -1
        self._pending: set[int] = set()
        self.noted_ns = 0
        """When the file was written before it was opened, in wall-clock time since 1970."""

    def open(self) -> set[int]:
        """Open the file and return the pieces that an earlier process noted.

        :meth:`files` has the files. OSError if that fails.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self._path, flags, 0o600)
        try:
            self._pending = self._read()
            status = os.fstat(self._descriptor)
            self.noted_ns = status.st_mtime_ns
            self._rewrite()
        except BaseException:
            self.close()
            raise
        with suppress(OSError):  # a kill before anything is saved leaves it to the next start
            os.utime(self._path, ns=(status.st_atime_ns, self.noted_ns))
        return {entry for entry in self._pending if not entry & _FILE_BIT}

    def files(self) -> set[int]:
        """Return the files that were noted and not yet settled."""
        with self._lock:
            return {entry ^ _FILE_BIT for entry in self._pending if entry & _FILE_BIT}

    def note_file(self, index: int) -> None:
        """Append a file that is the torrent's from now on."""
        self.note([index | _FILE_BIT])

    def _read(self) -> set[int]:
        """Return what is in the file, and go to its end."""
        data = self._path.read_bytes()
        whole = len(data) // _ENTRY.size * _ENTRY.size
        os.lseek(self._descriptor, whole, os.SEEK_SET)
        return {piece for (piece,) in _ENTRY.iter_unpack(data[:whole])}

    def note(self, pieces: Iterable[int]) -> None:
        """Append pieces that are about to be written; one call to the system at most.

        A full disk is only logged: the pieces would be fetched again after a crash.
        """
        with self._lock:
            new = set(pieces).difference(self._pending)
            if not new or self._descriptor < 0:
                return
            self._pending |= new
            try:
                os.write(self._descriptor, b"".join(map(_ENTRY.pack, new)))
            except OSError as error:
                _log.warning("cannot write %s: %s", self._path, error)

    def settle(self, pieces: Iterable[int], files: Iterable[int] = ()) -> None:
        """Forget pieces and files that the database knows of now."""
        with self._lock:
            self._pending.difference_update(pieces)
            self._pending.difference_update(index | _FILE_BIT for index in files)
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
        if len(data) > _PAGE_BYTES:
            return
        with suppress(OSError):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, data)
            os.ftruncate(self._descriptor, len(data))
