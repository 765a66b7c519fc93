"""Stamps of a torrent's files for the resume database."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import NamedTuple

from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.disk.file_stamps import (
    PART_FILE,
    FileStamp,
    NotedFiles,
    is_like_copy,
    is_same_file,
    refused_stamp,
)
from torrent_engine.disk.files.owned_files import OwnedFiles
from torrent_engine.disk.stamp_table import StampTable


class FileLooks(NamedTuple):
    """What there is to be known of the files of a storage; all of it may block."""

    stamps: Callable[[Iterable[int]], Iterable[FileStamp]]
    """Returns the present stamps of files."""
    reopen: Callable[[Iterable[int]], None]
    """Closes the descriptors of files."""
    is_born_after: Callable[[int, int], bool]
    """Returns whether a file was made after a time."""
    part_file: Callable[[], FileStamp | None]
    """Returns the present stamp of the part-file; None without one."""


class FileStamps:
    """The stamps to save, and the files in doubt."""

    def __init__(
        self,
        layout: FileLayout,
        geometry: Geometry,
        owned: OwnedFiles,
        looks: FileLooks,
    ) -> None:
        self.part_file = looks.part_file
        """Returns the present stamp of the part-file; None without one. Blocking."""
        self._parts: FileStamp | None = None
        self._saved_parts: FileStamp | None = None
        self._layout = layout
        self._geometry = geometry
        self._owned = owned
        self._book = owned.book
        self._look = looks.stamps
        self._reopen = looks.reopen
        self._is_born_after = looks.is_born_after

    def present(self, indices: Iterable[int] | None = None) -> StampTable:
        """Return the stamps of the existing files; blocking."""
        present = self._owned.present
        wanted = present if indices is None else present.intersection(indices)
        return StampTable(self._look(wanted))

    def same(self, old: Mapping[int, FileStamp], now: Mapping[int, FileStamp]) -> set[int]:
        """Return the files that are those of older stamps, changed or not; blocking."""
        return {
            index
            for index in old
            if index in now
            and is_same_file(old[index], now[index], partial(self._is_born_after, index))
        }

    @staticmethod
    def copies(old: Mapping[int, FileStamp], now: Mapping[int, FileStamp]) -> set[int]:
        """Return the files that may be copies of those of older stamps."""
        return {index for index in old if index in now and is_like_copy(old[index], now[index])}

    def noted(self, files: NotedFiles, now: Mapping[int, FileStamp]) -> set[int]:
        """Return the files that are those of a write journal; blocking."""
        return {
            index
            for index in files.inodes.keys() & now.keys()
            if files.has(index, now[index].inode, partial(self._is_born_after, index))
        }

    def born_after(self, indices: Iterable[int], time_ns: int) -> set[int]:
        """Return the files that were made after a time, 0 for an unknown one; blocking."""
        if not time_ns:
            return set()
        return {index for index in indices if self._is_born_after(index, time_ns)}

    def own(self) -> StampTable:
        """Return the stamps to save of all own files; blocking.

        Files in doubt are marked as such.
        """
        taken = self._taken(self._owned.proved())
        return StampTable(chain(taken, self._refused(), self._part_file_if_changed()))

    def _taken(self, indices: Iterable[int]) -> Iterator[FileStamp]:
        """Look at files that may be written to meanwhile, and yield the stamps to save."""
        writes = self._book.writes
        return (self._book.take(seen, writes) for seen in self._look(indices))

    def at_start(self, now: Iterable[FileStamp]) -> StampTable:
        """Return the stamps to save of own files, given the current ones.

        What may be somebody else's keeps that of before until a piece proves what it is.
        """
        own = self._owned.proved()
        taken = (self._book.take(each) for each in now if each.file_index in own)
        return StampTable(chain(taken, self._part_file_if_changed()))

    def changed(self, pieces: Iterable[int] = ()) -> StampTable:
        """Return the stamps to save of own files that the torrent changed; blocking.

        These are files that were made, adopted or synced, and those of ``pieces``, whole or
        begun, if they were written to since their last stamp; and the part-file if it is another
        than when its own was saved.
        """
        indices = self._owned.unstamped()
        for piece in pieces:
            for index in self._layout.files_of_piece(piece, self._geometry):
                if not self._book.is_known(index):
                    indices.add(index)
        taken = self._taken(indices & self._owned.proved())
        return StampTable(chain(taken, self._refused(), self._part_file_if_changed()))

    def _refused(self) -> Iterator[FileStamp]:
        """Yield stamps that no file has, for files that are somebody else's after all."""
        refused = set(self._owned.refused)
        return map(refused_stamp, self._look(refused)) if refused else iter(())

    def _part_file_if_changed(self) -> Iterator[FileStamp]:
        self._parts = self.part_file()
        if self._parts is not None and self._parts != self._saved_parts:
            yield self._parts

    def known(self, stamps: Iterable[FileStamp]) -> None:
        """Record the stamps of files at the start, before any hashing."""
        self._book.saved(self._book.take(stamp).file_index for stamp in stamps)

    def saved(self, indices: Collection[int]) -> None:
        """Record that the stamps of files are in the database."""
        if PART_FILE in indices:
            self._saved_parts = self._parts
        self._owned.saved(set(indices))

    def doubt(self, indices: Iterable[int]) -> None:
        """Put files in doubt: their pieces are to be hashed before they are served."""
        self._book.doubt(indices)

    def trust(self, index: int) -> None:
        """Mark a file as no longer in doubt."""
        self._book.trust(index)

    def take_doubts(self) -> set[int]:
        """Return the files that came into doubt since the last call."""
        if not self._book.fresh:
            return set()
        fresh, self._book.fresh = self._book.fresh, set()
        self._reopen(fresh)  # an open file may have been removed or moved
        return fresh
