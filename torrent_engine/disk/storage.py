"""Where each byte of a torrent's payload is kept: a file, the part-file, or nowhere (pads).

``read_now`` is for the event loop; the other blocking calls are for worker threads.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path

import anyio

from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import HiddenNameError, StorageError
from torrent_engine.codec.geometry import FileSlice
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_stamps import FileStamp
from torrent_engine.disk.file_storage import FileStorage
from torrent_engine.disk.home_folder import HomeNames
from torrent_engine.disk.nowait import read_file_now, view_file_now
from torrent_engine.disk.open_files import OpenFile, OpenFiles
from torrent_engine.disk.os_errors import storage_error
from torrent_engine.disk.part_file import PartFile
from torrent_engine.disk.places import Place, first_places
from torrent_engine.disk.positional import read_at, split_views, write_at
from torrent_engine.disk.threads import run_in_thread


class StorageManager:
    """The payload of one torrent as one range of bytes, kept in files below ``save_path``.

    Files are sparse unless ``config.preallocate``; a file of ``skipped`` is not created, its
    share of boundary pieces goes to the part-file - unless it is on disk and the torrent's, then
    it is used as it is. ``renames`` gives files another path below the save path. A file that is
    there and not known to be the torrent's is not written to unless ``overwrite``, nor is a
    hidden name made at the top of the home folder unless ``allow_hidden``.
    """

    def __init__(  # noqa: PLR0913 - the one place where a torrent meets its disk
        self,
        metainfo: Metainfo,
        save_path: str | os.PathLike[str],
        *,
        disk_limiter: anyio.CapacityLimiter,
        config: DiskConfig,
        renames: Mapping[int, tuple[str, ...]] | None = None,
        skipped: AbstractSet[int] = frozenset(),
        open_files: OpenFiles | None = None,
        overwrite: bool = False,
        allow_hidden: bool = False,
    ) -> None:
        self.metainfo = metainfo
        self.save_path = Path(save_path)
        self.skipped: frozenset[int] = frozenset(skipped)
        self.renames = dict(renames or {})
        self.before_writes: Callable[[list[tuple[int, int]]], None] | None = None
        """Told (offset, length) of what is about to be written, in the worker thread."""
        self.taken_out: set[int] = set()
        """Files that were made of what the part-file had of them."""
        self._limiter = disk_limiter
        self._layout = metainfo.layout
        self._pool = open_files if open_files is not None else OpenFiles(config.max_open_files)
        self._files = FileStorage(
            metainfo,
            self.save_path,
            self._pool,
            renames=self.renames,
            preallocate=config.preallocate,
            overwrite=overwrite,
        )
        self.until_saved: Callable[[], Awaitable[None]] | None = None
        """To be awaited before the first write: then the database knows the torrent."""
        self._overwrite = overwrite
        self._allow_hidden = allow_hidden
        self._is_claimed = False
        self._places = first_places(metainfo)
        self._part_file: PartFile | None = None
        self._part_file_bytes: int = 0
        self._hot_file: OpenFile | None = None
        self._hot_index = 0
        self._hot_start = 0
        self._hot_length = 0

    # -- life -----------------------------------------------------------------------------

    def rename(self, renames: Mapping[int, tuple[str, ...]]) -> None:
        """Give files other paths; to be called before :meth:`open`."""
        self.renames.update(renames)
        self._files.name_files(self.renames)

    async def open(self, *, create: bool = True, makes_empty: bool = True) -> None:
        """Open the save path, look at what is there, and make the empty files.

        Those only with ``makes_empty``, else it is done by :meth:`claim_files`. With ``create``
        false nothing is made, not even the save path (for checks). Raises StorageError,
        FileExistsStorageError if something else is in the way.
        """
        await self.in_thread(lambda: self._open(create=create, makes_empty=makes_empty))

    def _open(self, *, create: bool, makes_empty: bool) -> None:
        with self._files.lock:
            try:
                self._files.open(create=create, skipped=self.skipped)
                self._place_skipped()
                if create:
                    self._take_wanted_from_part_file()
                if create and makes_empty:
                    self._create_empty_files()
            except BaseException:
                self._close()
                raise

    async def close(self) -> None:
        """Close all files; what was written is not synced by this."""
        try:
            await self.in_thread(self._close)
        except StorageError:
            self._close()  # no thread is left for it

    def _close(self) -> None:
        with self._files.lock:
            if self._part_file is not None:
                self._part_file.close()
            self._files.close()

    async def delete_files(self, keep: AbstractSet[int] = frozenset()) -> None:
        """Remove the torrent's files, but some, and what folders this emptied; no other files."""
        await self.in_thread(lambda: self._delete_files(keep))

    def _delete_files(self, keep: AbstractSet[int]) -> None:
        with self._files.lock:
            if self._part_file is not None:
                self._part_file.remove()
            self._files.delete(keep)

    def path_of(self, file_index: int) -> Path:
        """Return where a file lies, or will."""
        return self._files.path(file_index)

    # -- reading --------------------------------------------------------------------------

    def read_now(self, offset_bytes: int, into: memoryview) -> bool:
        """Fill ``into`` without waiting for a disk; False if that is not possible.

        For the event loop. After False what is in ``into`` is undefined; call :meth:`read`.
        """
        file, start = self._hot_file, offset_bytes - self._hot_start
        if (
            file is None
            or not 0 <= start <= self._hot_length - len(into)
            or not self._pool.borrow_again(file)
        ):
            return self._read_slices_now(offset_bytes, into)
        try:
            return read_file_now(file, start, into)
        finally:
            self._pool.give_back(file)

    def view_now(self, offset_bytes: int, length_bytes: int) -> memoryview | None:
        """Return a run of bytes without a copy; None if :meth:`read_now` must be asked.

        For the event loop, and to be handed to the kernel only. The run must lie in the file that
        was read last, as nearly every run does.
        """
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

    def _read_slices_now(self, offset_bytes: int, into: memoryview) -> bool:
        done = 0
        for part in self._layout.slices(offset_bytes, len(into)):
            if not self._read_slice_now(part, into[done : done + part.length_bytes]):
                return False
            done += part.length_bytes
        return done == len(into)

    def _read_slice_now(self, part: FileSlice, into: memoryview) -> bool:
        place = self._places[part.file_index]
        if place is Place.NOWHERE:
            into[:] = bytes(len(into))
            return True
        file = None if place is Place.PART_FILE else self._files.borrow_open(part.file_index)
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

    async def read(self, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into`` in a worker thread; StorageError if the data cannot be read."""
        await self.in_thread(lambda: self.read_blocking(offset_bytes, into))

    def read_blocking(self, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into``; for worker threads. StorageError if the data cannot be read."""
        parts = self._layout.slices(offset_bytes, len(into))
        if len(parts) == 1:
            self._read_slice(parts[0], into)
            return
        done = 0
        for part in parts:
            self._read_slice(part, into[done : done + part.length_bytes])
            done += part.length_bytes
        if done < len(into):
            raise StorageError(self.save_path, "read past the end of the torrent")

    def _read_slice(self, part: FileSlice, into: memoryview) -> None:
        index = part.file_index
        if self._places[index] is Place.PART_FILE and self._read_part_file(part, into):
            return
        if self._places[index] is Place.NOWHERE:
            into[:] = bytes(len(into))
            return
        file = self._files.borrow(index, writable=False)
        try:
            got = read_at(file.descriptor, into, part.offset_bytes)
        except OSError as error:
            raise storage_error(self._files.path(index), error) from error
        finally:
            self._pool.give_back(file)
        if got < part.length_bytes:
            raise StorageError(self._files.path(index), "is shorter than it should be")

    def _read_part_file(self, part: FileSlice, into: memoryview) -> bool:
        with self._files.lock:
            if self._places[part.file_index] is not Place.PART_FILE:
                return False
            self._parts().read(self._layout.offsets[part.file_index] + part.offset_bytes, into)
            return True

    def has_data(self, offset_bytes: int, length_bytes: int) -> bool:
        """Return whether every file of a range is on disk and long enough to hold it.

        As last looked at (:meth:`look_again`); costs no call to the system.
        """
        for part in self._layout.slices(offset_bytes, length_bytes):
            place, end = self._places[part.file_index], part.offset_bytes + part.length_bytes
            if place is Place.FILE or place is Place.FOUND:
                if self._files.size(part.file_index) < end:
                    return False
                continue
            needed_bytes = self._layout.offsets[part.file_index] + end
            if place is Place.PART_FILE and self._part_file_bytes < needed_bytes:
                return False
        return True

    def look_again(self) -> None:
        """Look at the files on disk anew; blocking."""
        with self._files.lock:
            self._files.look_again(self.skipped)
            self._place_skipped()

    # -- writing --------------------------------------------------------------------------

    def write_views(self, offset_bytes: int, views: Sequence[memoryview]) -> None:
        """Write ``views`` one behind the other, one call to the system per file; blocking.

        Raises DiskFullError, FileExistsStorageError or StorageError with the file's path.
        """
        parts = self._layout.slices(offset_bytes, sum(map(len, views)))
        if len(parts) == 1:
            self._write_slice(parts[0], views)
            return
        for part, share in zip(
            parts, split_views(views, [part.length_bytes for part in parts]), strict=True
        ):
            self._write_slice(part, share)

    def _write_slice(self, part: FileSlice, views: Sequence[memoryview]) -> None:
        index = part.file_index
        if self._places[index] is Place.NOWHERE:
            return
        if index not in self._files.present or self._places[index] is not Place.FILE:
            with self._files.lock:  # it may be skipped or wanted again at this moment
                if self._places[index] is not Place.FILE:
                    self._places[index] = Place.PART_FILE
                    start = self._layout.offsets[index] + part.offset_bytes
                    self._parts().write(start, views)
                    self._part_file_bytes = max(self._part_file_bytes, start + part.length_bytes)
                    return
                file = self._files.borrow(index, writable=True)
        else:
            file = self._files.borrow(index, writable=True)
        self._files.book.wrote(index)
        try:
            write_at(file.descriptor, views, part.offset_bytes)
        except OSError as error:
            raise storage_error(self._files.path(index), error) from error
        finally:
            self._pool.give_back(file)
            self._files.mark_dirty(index)

    def sync(self) -> None:
        """Wait until all that was written before is on the disk; blocking.

        Raises StorageError if that failed: what was written since the last good sync may be
        lost and has to be hashed again.
        """
        self._files.sync()
        with self._files.lock:
            if self._part_file is not None:
                self._part_file.sync()

    # -- files ----------------------------------------------------------------------------

    def file_stamps(self, file_indices: Iterable[int] | None = None) -> list[FileStamp]:
        """Return size, mtime and inode of the files that are on disk; blocking."""
        present = self._files.present
        wanted = present if file_indices is None else present.intersection(file_indices)
        return self._files.stamps(wanted)

    def own_file_stamps(self) -> list[FileStamp]:
        """Return the same, without files that were there before and proved to be nothing.

        They are to be saved; files in doubt are marked as such.
        """
        return self.own_stamps(self._files.stamps(self._files.own()))

    def own_stamps(self, seen: Iterable[FileStamp]) -> list[FileStamp]:
        """Return the same of files that were looked at already."""
        own = self._files.own()
        return [self._files.book.take(stamp) for stamp in seen if stamp.file_index in own]

    def new_file_stamps(self, pieces: Iterable[int] = ()) -> list[FileStamp]:
        """Return the stamps to be saved of the torrent's files that changed by our doing; blocking.

        These are files that were made, adopted or synced, and those of ``pieces`` if they were
        written to since their last stamp.
        """
        geometry, book = self.metainfo.geometry, self._files.book
        indices = self._files.unstamped()
        for piece in pieces:
            for index in self._layout.files_of_piece(piece, geometry):
                if not book.is_known(index):
                    indices.add(index)
        return [book.take(stamp) for stamp in self._files.stamps(indices & self._files.own())]

    @property
    def has_new_stamps(self) -> bool:
        """Whether there are files to be stamped anew."""
        return bool(self._files.unstamped())

    def has_doubts(self, offset_bytes: int, length_bytes: int) -> bool:
        """Look whether somebody else changed the files of a range; return whether there are doubts.

        For the event loop; of files that are not open nothing is known. :meth:`take_doubts` returns
        which files they are.
        """
        file, start = self._hot_file, offset_bytes - self._hot_start
        if (
            file is not None
            and 0 <= start <= self._hot_length - length_bytes
            and self._pool.borrow_again(file)
        ):
            self._look_at(self._hot_index, file)
        else:
            for part in self._layout.slices(offset_bytes, length_bytes):
                if self._places[part.file_index] is Place.FILE:
                    file = self._files.borrow_open(part.file_index)
                    if file is not None:
                        self._look_at(part.file_index, file)
        return bool(self._files.book.fresh)

    def _look_at(self, index: int, file: OpenFile) -> None:
        try:
            self._files.look(index, file)
        except OSError:  # a network file system that has lost the file, say
            self.doubt_files([index])
        finally:
            self._pool.give_back(file)

    def stamps_known(self, stamps: Iterable[FileStamp]) -> None:
        """Remember how files were seen before anything of them was hashed or believed."""
        book = self._files.book
        book.saved(book.take(stamp).file_index for stamp in stamps)

    def doubt_files(self, file_indices: Iterable[int]) -> None:
        """Put files in doubt: what of them is here is to be hashed before it is served."""
        self._files.book.doubt(file_indices)

    def take_doubts(self) -> set[int]:
        """Return the files that came into doubt since the last call."""
        book = self._files.book
        if not book.fresh:
            return set()
        fresh, book.fresh = book.fresh, set()
        return fresh

    def trust_file(self, file_index: int) -> None:
        """Take a file out of doubt."""
        self._files.book.trust(file_index)

    def not_made(self, file_indices: Iterable[int]) -> set[int]:
        """Return those of the files that were not made since the storage was opened."""
        return set(file_indices) - self._files.unstamped()

    def not_own(self, file_indices: Iterable[int]) -> set[int]:
        """Return those of the files that are not on disk as the torrent's."""
        return {index for index in file_indices if not self._is_own(index)}

    def taken_files(self) -> frozenset[int]:
        """Return the files that were made or overwritten and are not in the database."""
        return frozenset(self._files.taken)

    @property
    def has_unsaved_files(self) -> bool:
        """Whether the database does not know yet that some files are the torrent's."""
        return bool(self._files.unstamped())

    def own_files(self) -> set[int]:
        """Return the files on disk that are the torrent's."""
        return self._files.own()

    def parts(self, file_index: int) -> tuple[str, ...]:
        """Return a file's path below the save path."""
        return self._files.parts(file_index)

    def listed(self, skipped: AbstractSet[int] | None = None) -> list[int]:
        """Return the files that are wanted, or on disk as the torrent's.

        ``skipped`` in place of those that are skipped now.
        """
        left_out = self.skipped if skipped is None else skipped
        return [
            index
            for index, place in enumerate(self._places)
            if place is not Place.NOWHERE and (index not in left_out or self._is_own(index))
        ]

    def stamps_saved(self, stamps: Iterable[FileStamp]) -> None:
        """Remember that stamps are in the database."""
        self._files.stamps_saved(stamp.file_index for stamp in stamps)

    def is_file(self, file_index: int) -> bool:
        """Return whether a file's bytes are kept in a file of its own."""
        return self._places[file_index] in {Place.FILE, Place.FOUND}

    def adopt_files(self, file_indices: Iterable[int]) -> None:
        """Remember that files which were there at the start are the torrent's."""
        for index in file_indices:
            self._files.adopt(index)

    def place_skipped(self) -> None:
        """Find skipped files where they are, after the torrent's own were adopted; blocking."""
        with self._files.lock:
            self._place_skipped()

    def adopt_piece(self, piece: int) -> None:
        """Remember that a piece was found right, which may prove that files are the torrent's."""
        if self._files.found.foreign:
            self.adopt_files(self._files.found.match(piece, self.is_file))

    @property
    def found_folders(self) -> frozenset[tuple[str, ...]]:
        """Folders that were there before the torrent and had none of its files."""
        return self._files.found_folders

    def keep_folders(self, folders: frozenset[tuple[str, ...]]) -> None:
        """Never remove these folders: an earlier run found them."""
        self._files.found_folders = folders

    def claim_files(self) -> None:
        """Take the files that are there, before the first write and after what there is was hashed.

        Makes the empty files; blocking. Raises ForeignFileError if a file is in the way that is
        not known to be the torrent's, HiddenNameError; nothing is changed then.
        """
        with self._files.lock:
            self._check_wanted(index for index in self._wanted() if not self._is_own(index))
            self._refuse_foreign_part_file()
            for index, place in enumerate(self._places):
                if place is Place.FOUND and not self._is_own(index):
                    self._keep_matches(index)
            self._is_claimed = True
            self._place_skipped()
            self._create_empty_files()

    def _wanted(self) -> Iterable[int]:
        kept = (index for index, place in enumerate(self._places) if place is not Place.NOWHERE)
        return (index for index in kept if index not in self.skipped)

    def _is_own(self, index: int) -> bool:
        return self._files.found.is_own(index)

    def _check_wanted(self, indices: Iterable[int]) -> None:
        """Raise if files that are not the torrent's yet may not be written to, or made."""
        home = None if self._allow_hidden else HomeNames(self.save_path)
        for index in indices:
            if home is not None and home.is_hidden(self._files.parts(index)):
                reason = "has a hidden name in the home folder; not made without allow_hidden"
                raise HiddenNameError(self._files.path(index), reason)
            if index in self._files.present and self._layout.lengths[index]:
                self._files.check_foreign(index)

    def _refuse_foreign_part_file(self) -> None:
        if Place.PART_FILE in self._places or Place.FOUND in self._places:
            self._parts().check_writable()

    def _keep_matches(self, index: int) -> None:
        """Copy what matches of a found file to the part-file: it is not the torrent's."""
        for start, end in self._files.found.matched(index):
            view = memoryview(bytearray(end - start))
            self._read_slice(FileSlice(index, start, len(view)), view)
            self._parts().write(self._layout.offsets[index] + start, [view])

    def on_taking(self, note: Callable[[int], None] | None) -> None:
        """Call ``note`` with each file that was not the torrent's, before the first write to it.

        In the thread that writes.
        """
        self._files.on_taking = note

    def mark_dirty(self, file_index: int) -> None:
        """Let the next :meth:`sync` include a file that an earlier process wrote."""
        if self._files.found.is_own(file_index):
            self._files.mark_dirty(file_index)

    async def set_skipped(self, skipped: AbstractSet[int]) -> None:
        """Change which files are skipped; one that is the torrent's stays where it is.

        A file that is wanted again gets what the part-file has of it. Raises what
        :meth:`claim_files` does if something is in its place; nothing is changed then.
        """
        await self.in_thread(lambda: self._set_skipped(frozenset(skipped)))

    def _set_skipped(self, skipped: frozenset[int]) -> None:
        with self._files.lock:
            if self._files.is_open:
                self._check_wanted_again(sorted(self.skipped - skipped))
            self.skipped = skipped
            if self._files.is_open:  # else it will be seen to when it is opened
                self._take_wanted_from_part_file()
                self._place_skipped()
                self._create_empty_files()

    def _check_wanted_again(self, indices: Iterable[int]) -> None:
        """Raise if something is in the place of files that are wanted again.

        What is there and was not hashed yet may still prove to be the torrent's.
        """
        for index in indices:
            if self._places[index] is Place.NOWHERE or self._is_own(index):
                continue
            if self._places[index] is Place.PART_FILE:
                self._files.check_appeared(index)
            if self._is_claimed:
                self._check_wanted([index])

    def _take_wanted_from_part_file(self) -> None:
        """Move out what there is of files that are not skipped any more."""
        parts = self._parts()
        has_parts = parts.size() > 0
        for index, place in enumerate(self._places):
            if place is not Place.NOWHERE and index not in self.skipped:
                if has_parts and (place is Place.PART_FILE or index not in self._files.present):
                    self._move_out_of_part_file(parts, index)
                self._places[index] = Place.FILE
        if Place.PART_FILE not in self._places:
            parts.remove()
            self._part_file = None

    def _move_out_of_part_file(self, parts: PartFile, index: int) -> None:
        """Copy, sync, rename: a kill in between leaves the part-file as the truth."""
        start, length = self._layout.offsets[index], self._layout.lengths[index]
        if parts.has(start, length):
            is_there = index in self._files.present
            self._files.write_new(index, partial(parts.copy_out, start, length), replaces=is_there)
            self.taken_out.add(index)

    def _place_skipped(self) -> None:
        for index in self.skipped:
            if self._layout.lengths[index] and self._places[index] is not Place.NOWHERE:
                self._places[index] = self._place_of_skipped(index)
        has_parts = Place.PART_FILE in self._places and self._files.is_open
        self._part_file_bytes = self._parts().size() if has_parts else 0

    def _place_of_skipped(self, index: int) -> Place:
        if index not in self._files.present:
            return Place.PART_FILE
        if self._is_own(index):
            return Place.FILE
        start, length = self._layout.offsets[index], self._layout.lengths[index]
        is_hashed = self._is_claimed or self._parts().has(start, length)
        return Place.PART_FILE if is_hashed else Place.FOUND

    def _create_empty_files(self) -> None:
        places, lengths = self._places, self._layout.lengths
        empty = (i for i, place in enumerate(places) if place is Place.FILE and not lengths[i])
        self._files.create_empty(index for index in empty if index not in self.skipped)

    def _parts(self) -> PartFile:
        if self._part_file is None:
            self._part_file = PartFile(
                self._files.folder,
                self.metainfo.info_hash,
                max_bytes=self._layout.total_bytes,
                is_known=self._overwrite,
            )
        return self._part_file

    async def in_thread(self, call: Callable[[], None]) -> None:
        """Run a blocking call where this torrent's disk work is done."""
        failure = partial(StorageError, self.save_path)
        await run_in_thread(call, limiter=self._limiter, failure=failure)
