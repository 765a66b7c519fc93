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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from torrent_engine.disk.file_stamps import INODE_MASK, NotedFiles
from torrent_engine.disk.regular_files import open_descriptor

_ENTRY: Final = struct.Struct("<I")
_FILE: Final = struct.Struct("<IQ")
_FILE_BITS: Final = 0b11 << 30  # mark the number of a file; pieces are at most 2 ** 21
_PAGE_BYTES: Final = 4096  # a kill can end a write to the page cache only between two pages
_READ_BYTES: Final = 64 * 1024
_log = logging.getLogger(__name__)


class WriteJournal:
    """The pieces noted and not yet settled; safe to use from every thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._descriptor = -1
        self._pending: set[int] = set()
        self._files: dict[int, int] = {}
        """The inodes of files by their numbers."""
        self._end_bytes = 0
        """Length of the whole entries in the file; the next ones are written there."""
        self._unwritten = b""
        """Entries that could not be written; the next note tries again."""
        self.noted_ns = 0
        """When the file was written before it was opened, in wall-clock time since 1970."""

    def open(self) -> set[int]:
        """Open the file and return the pieces that an earlier process noted.

        :meth:`files` has the files. OSError if that fails.
        """
        self._descriptor = open_descriptor(self.path, os.O_RDWR | os.O_CREAT)
        try:
            self._pending, self._files = self._read()
            status = os.fstat(self._descriptor)
            self.noted_ns = status.st_mtime_ns
            self._rewrite()
        except BaseException:
            self.close()
            raise
        with suppress(OSError):  # a kill before anything is saved leaves it to the next start
            os.utime(self.path, ns=(status.st_atime_ns, self.noted_ns))
        return set(self._pending)

    def files(self) -> NotedFiles:
        """Return the files that were noted and not yet settled."""
        with self._lock:
            return NotedFiles(dict(self._files), self.noted_ns)

    def note_file(self, index: int, inode: int) -> None:
        """Append a file that is the torrent's from now on."""
        inode &= INODE_MASK
        with self._lock:
            is_new = self._files.get(index) != inode
            if (is_new or self._unwritten) and self._descriptor >= 0:
                self._files[index] = inode
                self._append(_FILE.pack(index | _FILE_BITS, inode) if is_new else b"")

    def _read(self) -> tuple[set[int], dict[int, int]]:
        """Return the pieces and files that are in the file, and go to the end of the whole ones."""
        data = b"".join(iter(lambda: os.read(self._descriptor, _READ_BYTES), b""))
        pieces, files, self._end_bytes = _parse(data)
        self._unwritten = b""
        os.lseek(self._descriptor, self._end_bytes, os.SEEK_SET)
        if self._end_bytes < len(data):
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._end_bytes)
        return pieces, files

    def note(self, pieces: Iterable[int]) -> None:
        """Append pieces that are about to be written; one call to the system at most.

        A full disk is only logged: the pieces would be fetched again after a crash.
        """
        with self._lock:
            new = set(pieces).difference(self._pending)
            if not (new or self._unwritten) or self._descriptor < 0:
                return
            self._pending |= new
            self._append(b"".join(map(_ENTRY.pack, new)))

    def _append(self, entries: bytes) -> None:
        data = self._unwritten + entries
        try:
            written_bytes = os.write(self._descriptor, data)
        except OSError as error:
            _log.warning("cannot write %s: %s", self.path, error)
            written_bytes = 0
        if written_bytes == len(data):
            self._end_bytes += written_bytes
            self._unwritten = b""
        else:
            self._cut(data, written_bytes)

    def _cut(self, data: bytes, written_bytes: int) -> None:
        """End the file after the last whole entry that was written, and keep the others."""
        is_whole = written_bytes == len(data)
        whole_bytes = written_bytes if is_whole else _parse(data[:written_bytes])[2]
        self._end_bytes += whole_bytes
        self._unwritten = data[whole_bytes:]
        with suppress(OSError):
            os.lseek(self._descriptor, self._end_bytes, os.SEEK_SET)
            os.ftruncate(self._descriptor, self._end_bytes)

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
            if self._unwritten and self._descriptor >= 0:
                self._append(b"")
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def _rewrite(self) -> None:
        """Put what is pending at the start, then cut: a kill in between leaves too much in it.

        More than a page is left as it is, with entries too many: a kill within the write could
        lose some, and hashing a piece in vain costs less than fetching one again.
        """
        data = _packed(self._pending, self._files)
        if len(data) > _PAGE_BYTES:
            self._drop_settled()
            return
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            written_bytes = os.write(self._descriptor, data)
        except OSError:
            self._drop_settled()
            with suppress(OSError):
                os.lseek(self._descriptor, self._end_bytes, os.SEEK_SET)
            return
        self._end_bytes = 0
        self._cut(data, written_bytes)
        if self._unwritten:
            self._append(b"")

    def _drop_settled(self) -> None:
        """Keep no unwritten entries but those that are pending."""
        if self._unwritten:
            pieces, files, _ = _parse(self._unwritten)
            left = {index: self._files[index] for index in files if index in self._files}
            self._unwritten = _packed(pieces & self._pending, left)


def _parse(data: bytes) -> tuple[set[int], dict[int, int], int]:
    """Return the pieces and files of whole entries, and where these end."""
    pieces: set[int] = set()
    files: dict[int, int] = {}
    at = 0
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
    return pieces, files, at


def _packed(pieces: Iterable[int], files: Mapping[int, int]) -> bytes:
    data = b"".join(map(_ENTRY.pack, sorted(pieces)))
    return data + b"".join(_FILE.pack(index | _FILE_BITS, each) for index, each in files.items())
