"""Storage of a torrent in files below its save path, the default.

A skipped file is not created: its part of boundary pieces is stored in the part-file, unless the
file exists and is the torrent's. Pad files are zeros, and links are not created (BEP 47).
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from torrent_engine.base.errors import HiddenNameError, StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.file_copy import move_files
from torrent_engine.disk.file_stamps import PART_FILE, FileStamp
from torrent_engine.disk.files.disk_files import DiskFiles
from torrent_engine.disk.files.file_paths import FilePaths
from torrent_engine.disk.files.immediate_reads import HotFileReads
from torrent_engine.disk.files.open_files import OpenFiles
from torrent_engine.disk.files.owned_files import OwnedFiles
from torrent_engine.disk.files.part_file import PartFile, part_file_name
from torrent_engine.disk.files.placement import Placement, first_placements
from torrent_engine.disk.files.stamps import FileLooks, FileStamps
from torrent_engine.disk.home_folder import HIDDEN, LinkedHomeNames
from torrent_engine.disk.reflinks import Reflinks


class FileStorage:
    """The files of one torrent on a file system; blocking, thread-safe."""

    def __init__(  # noqa: PLR0913 - the storage options of a torrent
        self,
        metainfo: Metainfo,
        save_path: Path,
        pool: OpenFiles,
        *,
        renames: Mapping[int, PathParts],
        skipped: AbstractSet[int] = frozenset(),
        preallocate: bool = False,
        overwrite: bool = False,
        allow_hidden: bool = False,
        follow_links: bool = False,
        reports_faults: bool = False,
    ) -> None:
        self.paths = FilePaths(metainfo, save_path, renames)
        self.owned = OwnedFiles(metainfo.layout, metainfo.geometry)
        self.skipped: frozenset[int] = frozenset(skipped)
        self.taken_out: set[int] = set()
        """Files whose data was moved out of the part-file."""
        self._metainfo = metainfo
        self._layout = metainfo.layout
        self._files = DiskFiles(
            metainfo,
            self.paths,
            self.owned,
            pool,
            preallocate=preallocate,
            overwrite=overwrite,
            follow_links=follow_links,
            reports_faults=reports_faults,
        )
        self._lock = self._files.lock
        self._placements = first_placements(metainfo)
        self.stamps = FileStamps(
            metainfo.layout,
            metainfo.geometry,
            self.owned,
            FileLooks(
                self._files.stamps,
                self._files.reopen,
                self._files.is_born_after,
                self._look_at_parts,
            ),
        )
        self.immediate = HotFileReads(metainfo.layout, self._files, pool, self._placements)
        self._overwrite = overwrite
        self._allow_hidden = allow_hidden
        self._is_claimed = False
        self._part_file: PartFile | None = None
        self._part_file_bytes: int = 0
        if overwrite:
            self.owned.knows_part_file = True

    # -- opening and closing --------------------------------------------------------------

    def open(
        self, *, create: bool = True, makes_empty: bool = True, skips_conflicts: bool = False
    ) -> None:
        """Open the save path and scan the files.

        With ``create`` False nothing is created, not even the save path; otherwise empty files are
        created if ``makes_empty``. What is in the part-file of wanted files stays there, to be read
        there, until :meth:`claim`: its place may be another torrent's. Raises StorageError, and
        FileExistsStorageError for conflicting files, which with ``skips_conflicts`` count as
        missing.
        """
        with self._lock:
            try:
                self._files.open(
                    create=create, skipped=self.skipped, skips_conflicts=skips_conflicts
                )
                self.owned.found_part_file = self._files.is_open and self._new_parts().is_foreign()
                self._place_unclaimed()
                if create and makes_empty:
                    self._create_empty_files()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close all files, without syncing."""
        with self._lock:
            if self._part_file is not None:
                self._part_file.close()
            self._files.close()

    def let_go(self) -> None:
        """Close all files until they are used again."""
        with self._lock:
            if self._part_file is not None:
                self._part_file.close()
            self._files.let_go()

    def remove(self, file_indices: Iterable[int]) -> None:
        """Remove files of the torrent, the part-file, and emptied folders."""
        with self._lock:
            if self._part_file is not None:
                self._part_file.remove()
            self._files.delete(file_indices, may_be_unfinished=self._part_file is not None)

    def move(self, save_path: str) -> None:
        """Move the torrent's own files to another folder, while closed.

        Each file is complete at one of the two places at any time. The engine itself moves files by
        a plan in the resume database (``disk.moves``), which another process can finish.
        """
        own = {index: self.paths.parts(index) for index in self.owned.own()}
        own[PART_FILE] = part_file_name(self._metainfo.info_hash)
        move_files(own, self.paths.save_path, Path(save_path))
        self.paths.save_path = Path(save_path)

    @property
    def links(self) -> frozenset[PathParts]:
        """Symbolic links below the save path that existed at the opening and are followed."""
        return self._files.folder.links if self._files.is_open else frozenset()

    @property
    def faults(self) -> dict[int, str]:
        """Faults by file index, if faults are reported."""
        return dict(self._files.faults or {})

    # -- reading --------------------------------------------------------------------------

    def read(self, file_index: int, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into`` from an offset of a file; StorageError if it cannot be read."""
        placement = self._placements[file_index]
        if placement is Placement.PART_FILE and self._read_parts(file_index, offset_bytes, into):
            return
        if placement is Placement.NOWHERE:
            into[:] = bytes(len(into))
            return
        try:
            self._files.read(file_index, offset_bytes, into)
        except StorageError as error:
            if not self._files.note_fault(file_index, f"cannot be read: {error}"):
                raise
            into[:] = bytes(len(into))

    def _read_parts(self, index: int, offset_bytes: int, into: memoryview) -> bool:
        with self._lock:
            if self._placements[index] is not Placement.PART_FILE:
                return False
            self._parts().read(self._layout.offsets[index] + offset_bytes, into)
            return True

    def size(self, file_index: int) -> int:
        """Return the readable bytes of a file, at the last scan."""
        if self.is_file(file_index):
            return self._files.size(file_index)
        in_parts = self._part_file_bytes - self._layout.offsets[file_index]
        return max(0, min(in_parts, self._layout.lengths[file_index]))

    def has(self, file_index: int, end_bytes: int) -> bool:
        """Return whether a file had at least ``end_bytes`` bytes at the last scan."""
        placement = self._placements[file_index]
        if placement is Placement.OWN_FILE or placement is Placement.FOUND_FILE:
            return self._files.size(file_index) >= end_bytes
        if placement is Placement.NOWHERE:
            return True
        return self._part_file_bytes >= self._layout.offsets[file_index] + end_bytes

    @property
    def may_have_holes(self) -> bool:
        """Whether files may have holes, at the last scan."""
        return bool(self._files.sparse) or self._part_file_bytes > 0

    def written(self, file_index: int, start: int, end: int) -> list[tuple[int, int]]:
        """Return the (start, end) data extents of a range of a file."""
        placement = self._placements[file_index]
        if placement is Placement.NOWHERE:
            return []
        if placement is not Placement.PART_FILE:
            return self._files.written(file_index, start, end)
        with self._lock:
            file_start = self._layout.offsets[file_index]
            found = self._parts().written(file_start + start, end - start)
            return [(first - file_start, last - file_start) for first, last in found]

    def look_again(self) -> None:
        """Scan the files on disk again."""
        with self._lock:
            self._files.look_again(self.skipped)
            self._place_skipped()

    # -- writing --------------------------------------------------------------------------

    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        """Write ``views`` consecutively from an offset of a file.

        Raises DiskFullError, FileExistsStorageError or StorageError with the file's path.
        """
        placement = self._placements[file_index]
        if placement is Placement.NOWHERE:
            return
        if file_index not in self.owned.present or placement is not Placement.OWN_FILE:
            with self._lock:  # the selection may change concurrently
                if self._placements[file_index] is not Placement.OWN_FILE:
                    self._write_parts(file_index, offset_bytes, views)
                    return
                self._files.create(file_index)
        self._files.write(file_index, offset_bytes, views)

    def lend(self, file_index: int) -> AbstractContextManager[int]:
        """Keep a file open for reading meanwhile, and yield its descriptor.

        Raises StorageError, also if the file is stored with others in the part-file.
        """
        if not self.is_file(file_index):
            raise StorageError(self.paths.path(file_index), "is not a file of its own")
        return self._files.lend(file_index)

    def share(self, file_index: int, source: int, start: int, end: int, reflinks: Reflinks) -> bool:
        """Give a file a range of an open one as :meth:`Reflinks.share`; False for no such file.

        Raises as :meth:`write`.
        """
        with self._lock:  # the selection may change concurrently
            if self._placements[file_index] is not Placement.OWN_FILE:
                return False
            self._files.create(file_index)
        return self._files.share(file_index, source, start, end, reflinks)

    def _write_parts(self, index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        self._placements[index] = Placement.PART_FILE
        start = self._layout.offsets[index] + offset_bytes
        self._parts().write(start, views)
        self._part_file_bytes = max(self._part_file_bytes, start + sum(map(len, views)))

    def sync(self) -> None:
        """Wait until everything written before is on the disk.

        Raises StorageError on failure: data written since the last successful sync may be lost
        and has to be hashed again.
        """
        self._files.sync()
        with self._lock:
            if self._part_file is not None:
                self._part_file.sync()

    def mark_dirty(self, file_index: int) -> None:
        """Include a file that an earlier process wrote in the next :meth:`sync`."""
        if self.owned.is_own(file_index):
            self._files.mark_dirty(file_index)

    # -- ownership ------------------------------------------------------------------------

    def is_file(self, file_index: int) -> bool:
        """Return whether a file is stored in a file of its own."""
        return self._placements[file_index] in {Placement.OWN_FILE, Placement.FOUND_FILE}

    def listed(self, skipped: AbstractSet[int] | None = None) -> list[int]:
        """Return the files that are wanted, or exist as the torrent's.

        ``skipped`` replaces the current selection.
        """
        left_out, is_own = self.skipped if skipped is None else skipped, self.owned.is_own
        return [
            index
            for index, placement in enumerate(self._placements)
            if placement is not Placement.NOWHERE and (index not in left_out or is_own(index))
        ]

    def claim(self) -> None:
        """Take ownership of existing files, after the check and before the first write.

        Creates the empty files. Raises ForeignFileError for a file that is not known to be the
        torrent's, or HiddenNameError; nothing is changed then. After DiskFullError all files can be
        read as before, and it may be called again.
        """
        with self._lock:
            self._check_wanted(i for i in self._wanted() if not self.owned.is_own(i))
            self._refuse_foreign_part_file()
            self._take_wanted_from_part_file()
            for index, placement in enumerate(self._placements):
                if placement is Placement.FOUND_FILE and not self.owned.is_own(index):
                    self._keep_matches(index)
            self._is_claimed = True
            self._place_skipped()
            self._create_empty_files()

    def _wanted(self) -> Iterable[int]:
        for index, placement in enumerate(self._placements):
            if placement is not Placement.NOWHERE and index not in self.skipped:
                yield index

    def _check_wanted(self, indices: Iterable[int]) -> None:
        """Raise if files must not be written to or created."""
        chosen = list(indices)
        self._check_names(chosen)
        for index in chosen:
            if index in self.owned.present and self._layout.lengths[index]:
                self._files.check_foreign(index)

    def _check_names(self, indices: Iterable[int]) -> None:
        """Raise HiddenNameError if files must not be created for their names."""
        if self._allow_hidden:
            return
        names = LinkedHomeNames(self.paths.save_path, self.links)
        for index in indices:
            if names.is_hidden(self.paths.parts(index)):
                raise HiddenNameError(self.paths.path(index), HIDDEN)

    def _refuse_foreign_part_file(self) -> None:
        if Placement.PART_FILE in self._placements or Placement.FOUND_FILE in self._placements:
            self._parts().check_writable()

    def _keep_matches(self, index: int) -> None:
        """Copy the matching data of a foreign file to the part-file."""
        for start, end in self.owned.matched(index):
            view = memoryview(bytearray(end - start))
            self._files.read(index, start, view)
            self._parts().write(self._layout.offsets[index] + start, [view])

    # -- skipped files --------------------------------------------------------------------

    def set_skipped(self, skipped: AbstractSet[int]) -> None:
        """Change which files are skipped; existing files of the torrent stay.

        A file that is wanted again gets its data from the part-file, once all are claimed. Raises
        as :meth:`claim` for a conflicting file; nothing is changed then.
        """
        with self._lock:
            if self._files.is_open:
                self._check_wanted_again(sorted(self.skipped - skipped))
            before, self.skipped = self.skipped, frozenset(skipped)
            if self._files.is_open and not self._is_claimed:
                self._place_unclaimed()
            elif self._files.is_open:  # else it is done at the opening
                try:
                    self._take_wanted_from_part_file()
                    self._create_empty_files()
                except BaseException:
                    self.skipped = before  # who tries again has the same files checked again
                    self._place_skipped()
                    raise
                self._place_skipped()

    def place_skipped(self) -> None:
        """Determine where skipped files are stored, after the existing files were adopted."""
        with self._lock:
            self._place_skipped()

    def _check_wanted_again(self, indices: Iterable[int]) -> None:
        """Raise for conflicting files in place of those wanted again.

        An existing file that was not hashed yet may still be the torrent's.
        """
        placements, is_own = self._placements, self.owned.is_own
        chosen = [
            index
            for index in indices
            if placements[index] is not Placement.NOWHERE and not is_own(index)
        ]
        self._files.check_appeared(i for i in chosen if placements[i] is Placement.PART_FILE)
        if self._is_claimed:
            self._check_wanted(chosen)

    def _place_unclaimed(self) -> None:
        """Determine where all files are while none may be made: what is in the part-file stays."""
        in_parts = self._wanted_in_part_file() if self._files.is_open else ()
        for index in self._wanted():
            is_there = index in in_parts
            self._placements[index] = Placement.PART_FILE if is_there else Placement.OWN_FILE
        self._place_skipped()

    def _take_wanted_from_part_file(self) -> None:
        """Move the data of files that are no longer skipped out of the part-file."""
        parts, moved = self._parts(), self._wanted_in_part_file()
        self._check_names(index for index in moved if not self.owned.is_own(index))
        for index in self._wanted():
            if index in moved:
                self._move_out_of_part_file(parts, index)
            self._placements[index] = Placement.OWN_FILE
        if Placement.PART_FILE not in self._placements:
            parts.remove()
            self._part_file = None

    def _wanted_in_part_file(self) -> set[int]:
        """Return the wanted files with data in the part-file."""
        parts = self._parts()
        wanted = self._wanted() if parts.size() else ()
        return {index for index in wanted if self._is_in_part_file(parts, index)}

    def _is_in_part_file(self, parts: PartFile, index: int) -> bool:
        is_there = index in self.owned.present
        if is_there and self._placements[index] is not Placement.PART_FILE:
            return False
        start, length = self._layout.offsets[index], self._layout.lengths[index]
        return parts.has(start, length) or (not is_there and self._may_be_zeros(parts, index))

    def _move_out_of_part_file(self, parts: PartFile, index: int) -> None:
        """Copy, sync, rename; until then the part-file is authoritative."""
        start, length = self._layout.offsets[index], self._layout.lengths[index]
        is_there = index in self.owned.present
        self._files.write_new(index, partial(parts.copy_out, start, length), replaces=is_there)
        self.taken_out.add(index)

    def _may_be_zeros(self, parts: PartFile, index: int) -> bool:
        """Return whether all of a file may be in the part-file: nothing else would create it."""
        start, length = self._layout.offsets[index], self._layout.lengths[index]
        piece_bytes = self._metainfo.geometry.piece_bytes
        own_piece = -(-start // piece_bytes) * piece_bytes
        return own_piece + piece_bytes > start + length and parts.size() >= start + length

    def _place_skipped(self) -> None:
        for index in self.skipped:
            if self._layout.lengths[index] and self._placements[index] is not Placement.NOWHERE:
                self._placements[index] = self._placement_of_skipped(index)
        has_parts = Placement.PART_FILE in self._placements and self._files.is_open
        self._part_file_bytes = self._parts().size() if has_parts else 0

    def _placement_of_skipped(self, index: int) -> Placement:
        if index not in self.owned.present:
            return Placement.PART_FILE
        if self.owned.is_own(index):
            return Placement.OWN_FILE
        start, length = self._layout.offsets[index], self._layout.lengths[index]
        is_hashed = self._is_claimed or self._parts().has(start, length)
        return Placement.PART_FILE if is_hashed else Placement.FOUND_FILE

    def _create_empty_files(self) -> None:
        lengths, skipped = self._layout.lengths, self.skipped
        for index, placement in enumerate(self._placements):
            if placement is Placement.OWN_FILE and not lengths[index] and index not in skipped:
                self._files.create(index)

    def _parts(self) -> PartFile:
        if self._part_file is None:
            self._part_file = self._new_parts()
        return self._part_file

    def _look_at_parts(self) -> FileStamp | None:
        parts = self._part_file
        return parts.stamp() if parts is not None and self._files.is_open else None

    def _new_parts(self) -> PartFile:
        return PartFile(
            self._files.folder,
            self._metainfo.info_hash,
            max_bytes=self._layout.end_bytes,
            is_known=self.owned.knows_part_file,
        )
