"""Reads from the page cache on the event loop: the hot path of uploads."""

from typing import Final, Protocol

from torrent_engine.codec.geometry import FileLayout, FileSlice
from torrent_engine.disk.files.disk_files import DiskFiles
from torrent_engine.disk.files.nowait import read_file_now, view_file_now
from torrent_engine.disk.files.open_files import OpenFile, OpenFiles
from torrent_engine.disk.files.placement import Placement

MAX_FILES_NOW: Final = 64
"""Ours: a range of more files is for a thread, as each takes some 10 us."""


class ImmediateReads(Protocol):
    """Non-blocking reads, for the event loop."""

    def read_now(self, offset_bytes: int, into: memoryview) -> bool:
        """Fill ``into`` from an offset of the payload; return False if that would block.

        That is so for a range of more than MAX_FILES_NOW files. After False the content of
        ``into`` is undefined.
        """

    def view_now(self, offset_bytes: int, length_bytes: int) -> memoryview | None:
        """Return a range of the payload without a copy, for the kernel only; None if not possible.

        :meth:`read_now` may still be possible then.
        """

    def has_doubts(self, offset_bytes: int, length_bytes: int) -> bool:
        """Return whether files are in doubt, after checking the open ones of a range.

        Those of more than MAX_FILES_NOW files are checked by :meth:`look_at_many` only.
        """

    def look_at_many(self, offset_bytes: int, length_bytes: int) -> None:
        """Check the open files of a range if they are too many for :meth:`has_doubts`; blocking."""


class HotFileReads:
    """Immediate reads of real files, with a cache of the last file."""

    def __init__(
        self, layout: FileLayout, files: DiskFiles, pool: OpenFiles, placements: list[Placement]
    ) -> None:
        self._layout = layout
        self._files = files
        self._pool = pool
        self._placements = placements
        self._book = files.owned.book
        self._hot_file: OpenFile | None = None
        self._hot_index = 0
        self._hot_start = 0
        self._hot_length = 0

    def read_now(self, offset_bytes: int, into: memoryview) -> bool:
        """Fill ``into`` as :meth:`ImmediateReads.read_now`."""
        file, start = self._hot_file, offset_bytes - self._hot_start
        if (
            file is None
            or not 0 <= start <= self._hot_length - len(into)
            or not self._pool.borrow_again(file)
        ):
            return self._read_slices(offset_bytes, into)
        try:
            return read_file_now(file, start, into)
        finally:
            self._pool.give_back(file)

    def view_now(self, offset_bytes: int, length_bytes: int) -> memoryview | None:
        """Return a view of the last read file, which contains nearly every range."""
        file, start = self._hot_file, offset_bytes - self._hot_start
        if (
            file is None
            or not 0 <= start <= self._hot_length - length_bytes
            or not self._pool.borrow_again(file)
        ):
            return None
        try:
            return view_file_now(file, start, length_bytes)
        finally:
            self._pool.give_back(file)

    def _read_slices(self, offset_bytes: int, into: memoryview) -> bool:
        if self._layout.file_count(offset_bytes, len(into)) > MAX_FILES_NOW:
            return False
        for part, share in self._layout.placed(offset_bytes, into):
            if not self._read_slice(part, share):
                return False
        return self._layout.is_inside(offset_bytes, len(into))

    def _read_slice(self, part: FileSlice, into: memoryview) -> bool:
        placement = self._placements[part.file_index]
        if placement is Placement.NOWHERE:
            into[:] = bytes(len(into))
            return True
        if placement is Placement.PART_FILE:
            return False
        file = self._files.borrow_open(part.file_index)
        if file is None:
            return False
        try:
            done = read_file_now(file, part.offset_bytes, into)
        finally:
            self._pool.give_back(file)
        if done:
            self._hot_file = file
            self._hot_index = part.file_index
            self._hot_start = self._layout.offsets[part.file_index]
            self._hot_length = self._layout.lengths[part.file_index]
        return done

    def has_doubts(self, offset_bytes: int, length_bytes: int) -> bool:
        """Return the same as :meth:`ImmediateReads.has_doubts`."""
        file, start = self._hot_file, offset_bytes - self._hot_start
        if (
            file is not None
            and 0 <= start <= self._hot_length - length_bytes
            and self._pool.borrow_again(file)
        ):
            self._look(self._hot_index, file)
        elif self._layout.file_count(offset_bytes, length_bytes) <= MAX_FILES_NOW:
            self._look_at_all(offset_bytes, length_bytes)
        return bool(self._book.fresh)

    def look_at_many(self, offset_bytes: int, length_bytes: int) -> None:
        """Look as :meth:`ImmediateReads.look_at_many`."""
        if self._layout.file_count(offset_bytes, length_bytes) > MAX_FILES_NOW:
            self._look_at_all(offset_bytes, length_bytes)

    def _look_at_all(self, offset_bytes: int, length_bytes: int) -> None:
        for part in self._layout.slices(offset_bytes, length_bytes):
            if self._placements[part.file_index] is Placement.OWN_FILE:
                file = self._files.borrow_open(part.file_index)
                if file is not None:
                    self._look(part.file_index, file)

    def _look(self, index: int, file: OpenFile) -> None:
        try:
            self._files.look(index, file)
        except OSError:  # for example, a network file system that lost the file
            self._book.doubt([index])
        finally:
            self._pool.give_back(file)
