"""The files of one torrent on disk: where each is, whether it is there, whether it is ours.

Blocking; called in worker threads. Sources: BEP 3, BEP 47 (attributes).
"""

import errno
import logging
import os
import secrets
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Final

from torrent_engine.base.errors import FileExistsStorageError, ForeignFileError, StorageError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_copy import give_name, stretches
from torrent_engine.disk.file_stamps import FileStamp, StampBook, stamp_of
from torrent_engine.disk.found_files import FoundFiles
from torrent_engine.disk.open_files import FileKey, OpenFile, OpenFiles
from torrent_engine.disk.os_errors import storage_error
from torrent_engine.disk.positional import read_at
from torrent_engine.disk.safe_open import Folder, check_parts

_DATASYNC: Final = getattr(os, "fdatasync", os.fsync)
_CHUNK_BYTES: Final = 1024 * 1024
_INODE_MASK: Final = (1 << 64) - 1
_FOREIGN: Final = "is there already and does not match; not written to without overwrite"
_log = logging.getLogger(__name__)


class FileStorage:
    """The real files below one save path; ``index`` is the file's number in the metainfo."""

    def __init__(
        self,
        metainfo: Metainfo,
        save_path: Path,
        pool: OpenFiles,
        *,
        renames: Mapping[int, tuple[str, ...]],
        preallocate: bool,
        overwrite: bool = False,
    ) -> None:
        self.save_path = save_path
        self.lock = RLock()
        """Held while a file comes into being, moves or goes."""
        self.present: set[int] = set()
        """Files that are on disk and may be read."""
        self.found = FoundFiles(metainfo.layout, metainfo.geometry)
        """Which of them are the torrent's."""
        self.found_folders: frozenset[tuple[str, ...]] = frozenset()
        """Folders that were there before the torrent and had none of its files; never removed."""
        self._entries = metainfo.files
        self._lengths = metainfo.layout.lengths
        self.name_files(renames)
        self.taken: set[int] = set()
        """Files that were made or overwritten and are not in the database."""
        self.on_taking: Callable[[int], None] | None = None
        """Told of each file that was not the torrent's, before the first byte is written to it."""
        self._pool = pool
        self._owner = pool.new_owner()
        self._preallocate = preallocate
        self._overwrite = overwrite
        self._folder: Folder | None = None
        self._sizes: dict[int, int] = {}
        self._inodes = array("Q")
        """Of each file as last looked at; 0: none."""
        self._prepared: set[int] = set()
        self._just_made = -1
        self._dirty: set[int] = set()
        self._unstamped: set[int] = set()
        self.book = StampBook(len(self._entries))
        self._new_folders: set[tuple[str, ...]] = set()

    def name_files(self, renames: Mapping[int, tuple[str, ...]]) -> None:
        """Set where each file lies: as the torrent has it but for ``renames``."""
        self._renames = {index: check_parts(path) for index, path in renames.items()}

    @property
    def folder(self) -> Folder:
        """The open save path; StorageError when there is none."""
        if self._folder is None:
            raise StorageError(self.save_path, "no such folder")
        return self._folder

    @property
    def is_open(self) -> bool:
        """Whether there is a save path to work in."""
        return self._folder is not None

    def path(self, index: int) -> Path:
        """Return the whole path of a file, for messages and for the user."""
        return self.save_path.joinpath(*self.parts(index))

    def parts(self, index: int) -> tuple[str, ...]:
        """Return a file's path below the save path."""
        return self._renames.get(index) or self._entries.path(index)

    def open(self, *, create: bool, skipped: AbstractSet[int] = frozenset()) -> None:
        """Open the save path and look at every file, as :meth:`look_again` does."""
        try:
            self._folder = Folder(self.save_path, create=create)
        except FileNotFoundError:
            if create:
                raise StorageError(self.save_path, "no such folder") from None
            return
        except OSError as error:
            raise storage_error(self.save_path, error) from error
        self.look_again(skipped)
        self.found_folders = frozenset(self._unused_folders())

    def look_again(self, skipped: AbstractSet[int] = frozenset()) -> None:
        """Look at every file on disk.

        Raises FileExistsStorageError if something that cannot be the torrent's is in the way of a
        file: a folder, a link, a device, or a file longer than the torrent's. In the place of a
        skipped one it is as if nothing were there.
        """
        found: dict[int, int] = {}
        inodes = array("Q", bytes(8 * len(self._entries)))
        for index in range(len(self._entries)):
            if not self._entries.is_stored(index):
                continue
            status = self._usable_status(index, is_skipped=index in skipped)
            if status is not None:
                found[index] = status.st_size
                inodes[index] = status.st_ino & _INODE_MASK
        self._sizes, self._inodes = found, inodes
        self.present = set(found)
        self.found.look(self.present)

    def _usable_status(self, index: int, *, is_skipped: bool) -> os.stat_result | None:
        """Return what stands at a file's place; None if nothing, or nothing that can be it."""
        try:
            status = self._status(index)
            if status is not None:
                self._refuse_what_is_not_ours(index, status)
        except FileExistsStorageError:
            if is_skipped:
                return None
            raise
        if status is not None and is_skipped and status.st_size > self._lengths[index]:
            return None  # overwriting it was allowed for, but nobody wants to
        return status

    def check_appeared(self, index: int) -> None:
        """Look at a file that was missing, or could not be the torrent's, before it is made.

        Raises FileExistsStorageError as :meth:`look_again`, ForeignFileError as
        :meth:`check_foreign`.
        """
        self._pool.forget([FileKey(self._owner, index)])
        status = self._usable_status(index, is_skipped=False)
        if status is None:
            self.present.discard(index)
            self.found.vanished(index)
            return
        self.present.add(index)
        self._sizes[index] = status.st_size
        self._inodes[index] = status.st_ino & _INODE_MASK
        self.found.appeared(index)
        self.check_foreign(index)

    def check_foreign(self, index: int) -> None:
        """Raise ForeignFileError if writing to a foreign file could lose anything.

        It cannot where there is nothing but zeros apart from what matches.
        """
        if not self._overwrite and not self._is_blank(index):
            raise ForeignFileError(self.path(index), _FOREIGN)

    def _is_blank(self, index: int) -> bool:
        """Return whether a file holds nothing but zeros, and pieces that match."""
        size = self._sizes[index]
        if size > self._lengths[index]:
            return False
        file = self.borrow(index, writable=False)
        try:
            gaps = ((a, min(b, size)) for a, b in self.found.unmatched(index))
            return all(_is_zero(file.descriptor, start, end) for start, end in gaps)
        except OSError as error:
            raise storage_error(self.path(index), error) from error
        finally:
            self._pool.give_back(file)

    def size(self, index: int) -> int:
        """Return a file's length on disk as last looked at; 0 when it is missing."""
        if index in self._prepared:
            return self._lengths[index]
        return self._sizes.get(index, 0)

    def borrow_open(self, index: int) -> OpenFile | None:
        """Return the file if it is open, in use until given back; None if it is not."""
        return self._pool.borrow(FileKey(self._owner, index), writable=False)

    def borrow(self, index: int, *, writable: bool) -> OpenFile:
        """Return the open file, in use until given back to the pool; created when written.

        Raises StorageError and its subclasses.
        """
        key = FileKey(self._owner, index)
        file = self._pool.borrow(key, writable=writable)
        if file is not None:
            return file
        try:
            if not writable:
                return self._pool.open(key, lambda: self._open(index, os.O_RDONLY), writable=False)
            return self._borrow_writable(key)
        except OSError as error:
            raise storage_error(self.path(index), error) from error

    def _borrow_writable(self, key: FileKey) -> OpenFile:
        index = key.file_index
        if index in self._prepared:  # it was there: if it is gone, somebody took it (row F3)
            return self._pool.open(key, lambda: self._open(index, os.O_RDWR), writable=True)
        with self.lock:
            if index in self.found.foreign:
                self.check_foreign(index)
            self._just_made = -1
            try:
                return self._open_and_prepare(key)
            except BaseException:
                if self._just_made == index:
                    self._unmake(key)
                raise

    def _open_and_prepare(self, key: FileKey) -> OpenFile:
        index = key.file_index
        file = self._pool.open(key, lambda: self._open_first(index), writable=True)
        try:
            self._prepare(index, file.descriptor)
        except BaseException:
            self._pool.give_back(file)
            raise
        return file

    def _unmake(self, key: FileKey) -> None:
        """Remove a file that was made and got no further, or it would pass for the user's own."""
        self._pool.forget([key])
        with suppress(OSError):
            self.folder.unlink(self.parts(key.file_index))

    def _open_first(self, index: int) -> int:
        """Open a file to write to it: one that is there, or one that nobody else makes."""
        if index in self.present:
            try:
                return self._open(index, os.O_RDWR)
            except FileNotFoundError:
                self.present.discard(index)  # removed since; made anew
        try:
            descriptor = self._open(index, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError as error:
            raise ForeignFileError(self.path(index), "was made by somebody else") from error
        self._just_made = index
        return descriptor

    def mark_dirty(self, index: int) -> None:
        """Remember that a file was written and is not yet synced."""
        self._dirty.add(index)
        self.book.wrote(index)
        if self.found.foreign:
            self.adopt(index)

    def adopt(self, index: int) -> None:
        """Remember that a file that was there before holds this torrent's data."""
        if index in self.present and self.found.adopt(index):
            self._unstamped.add(index)

    def own(self) -> set[int]:
        """Return the files on disk that are the torrent's."""
        return self.present - self.found.foreign

    def unstamped(self) -> set[int]:
        """Return the files that were made or adopted and whose stamps are not yet saved."""
        return set(self._unstamped)

    def stamps_saved(self, indices: Iterable[int]) -> None:
        """Remember that the stamps of files are in the database."""
        saved = set(indices)
        self._unstamped -= saved
        self.taken -= saved
        self.book.saved(saved)

    def look(self, index: int, file: OpenFile) -> None:
        """Put an open file in doubt if somebody else changed it since its stamp; OSError."""
        self.book.look(index, os.fstat(file.descriptor))

    def create_empty(self, indices: Iterable[int]) -> None:
        """Make the files that have no bytes; StorageError if one cannot be made."""
        for index in indices:
            if index not in self.present:
                self._pool.give_back(self.borrow(index, writable=True))

    def sync(self) -> None:
        """Wait until all that was written before the call is on the disk.

        Raises StorageError if a file cannot be synced, was removed or was cut short: nothing
        written since the last good sync can then be relied on.
        """
        dirty, self._dirty = self._dirty, set()
        folders, self._new_folders = self._new_folders, set()
        for index in sorted(dirty):
            self._sync_file(index)
            self._unstamped.add(index)
        for folder in sorted(folders):
            try:
                self.folder.sync_folder(folder)
            except OSError as error:
                raise storage_error(self.save_path.joinpath(*folder), error) from error

    def stamps(self, indices: Iterable[int]) -> list[FileStamp]:
        """Return what the files look like now; missing ones are left out."""
        found = ((index, self._status(index)) for index in sorted(indices))
        return [stamp_of(index, seen) for index, seen in found if seen is not None]

    def write_new(self, index: int, fill: Callable[[int], None], *, replaces: bool) -> None:
        """Make a file whole before it appears: fill another one, sync it, rename it.

        ``fill`` gets the open descriptor. Unless it ``replaces`` what is there, that is an error.
        Raises StorageError; then nothing appears.
        """
        *parents, name = self.parts(index)
        temporary = (*parents, f".{index}.{secrets.token_hex(8)}.tmp")
        try:
            descriptor = self.folder.open_file(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                os.ftruncate(descriptor, self._lengths[index])
                fill(descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._note_taking(index)
            if replaces:
                self._pool.forget([FileKey(self._owner, index)])
                self.folder.rename(temporary, (*parents, name))
            else:
                give_name(self.folder, temporary, (*parents, name))
            self.folder.sync_folder(parents)  # the caller may remove where the bytes came from
        except (OSError, StorageError) as error:
            with suppress(OSError):
                self.folder.unlink(temporary)
            if isinstance(error, StorageError):
                raise
            if error.errno == errno.EEXIST:
                raise ForeignFileError(self.path(index), _FOREIGN) from error
            raise storage_error(self.path(index), error) from error
        self._note_created(index, self._status(index))

    def delete(self, keep: AbstractSet[int] = frozenset()) -> None:
        """Remove the torrent's files, but those to keep, then the folders that this emptied.

        What was there before and never held verified or written data of this torrent stays, and
        so does a file that somebody put in the place of the torrent's.
        """
        if self._folder is None:
            return
        self._pool.forget_owner(self._owner)
        for index in sorted(self.own() - keep):
            self._delete_one(index, self._folder)
        for parts in self._parent_folders():
            if parts not in self.found_folders:
                self._folder.rmdir_if_empty(parts)
        self.present, self._sizes = self.present & (self.found.foreign | keep), {}
        self._prepared.clear()
        self._dirty.clear()

    def _delete_one(self, index: int, folder: Folder) -> None:
        status = self._status(index)
        if status is None:
            return
        if not stat.S_ISREG(status.st_mode) or status.st_ino & _INODE_MASK != self._inodes[index]:
            _log.warning("%s is left: it was replaced", self.path(index))
            return
        try:
            folder.unlink(self.parts(index))
        except OSError as error:
            raise storage_error(self.path(index), error) from error

    def close(self) -> None:
        """Close everything; nothing is synced by this."""
        self._pool.forget_owner(self._owner)
        if self._folder is not None:
            self._folder.close()
            self._folder = None

    def _open(self, index: int, flags: int) -> int:
        mode = 0o777 if self._entries[index].is_executable else 0o666
        return self.folder.open_file(self.parts(index), flags, mode)

    def _prepare(self, index: int, descriptor: int) -> None:
        """Give a file its length before its first write."""
        status = os.fstat(descriptor)
        self._refuse_what_is_not_ours(index, status)
        length = self._lengths[index]
        self._note_taking(index)
        if status.st_size > length:
            os.ftruncate(descriptor, length)  # as the user said with ``overwrite``
        if self._preallocate and length and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, length)
        elif status.st_size < length:
            os.ftruncate(descriptor, length)
        self._note_created(index, status)

    def _note_taking(self, index: int) -> None:
        if self.found.is_own(index):
            return
        self.taken.add(index)
        if self.on_taking is not None:
            self.on_taking(index)

    def _note_created(self, index: int, status: os.stat_result | None) -> None:
        if status is not None:
            self._inodes[index] = status.st_ino & _INODE_MASK
        if index not in self.present:
            self.present.add(index)
            self.found.adopt(index)
            parts = self.parts(index)
            self._new_folders.update(parts[:depth] for depth in range(len(parts)))
            self._unstamped.add(index)
        self._prepared.add(index)
        self.mark_dirty(index)

    def _refuse_what_is_not_ours(self, index: int, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise FileExistsStorageError(self.path(index), "is not a regular file")
        length = self._lengths[index]
        if status.st_size > length and not self._overwrite:
            reason = f"has {status.st_size} bytes where the torrent's file has {length}"
            raise FileExistsStorageError(self.path(index), reason)

    def _sync_file(self, index: int) -> None:
        file = self.borrow(index, writable=True)
        try:
            _sync_descriptor(file.descriptor)
            status = os.fstat(file.descriptor)
        except OSError as error:
            raise storage_error(self.path(index), error) from error
        finally:
            self._pool.give_back(file)
        if not status.st_nlink:
            raise StorageError(self.path(index), "was removed while in use")
        if status.st_size < self._lengths[index]:
            raise StorageError(self.path(index), "was cut short while in use")

    def _status(self, index: int) -> os.stat_result | None:
        if self._folder is None:
            return None
        try:
            return self._folder.stat(self.parts(index))
        except OSError as error:
            raise storage_error(self.path(index), error) from error

    def _all_parts(self) -> Iterator[tuple[str, ...]]:
        return map(self.parts, range(len(self._entries)))

    def _unused_folders(self) -> Iterable[tuple[str, ...]]:
        """Return the folders that are there, and have no file of the torrent below them."""
        if self._folder is None:
            return
        parents = {self.parts(index)[:-1] for index in self.present}
        used = {parts[:depth] for parts in parents for depth in range(1, len(parts) + 1)}
        missing: set[tuple[str, ...]] = set()
        for parts in reversed(self._parent_folders()):
            if parts in used:
                continue
            if parts[:-1] in missing or not self._is_there(parts):
                missing.add(parts)
            else:
                yield parts

    def _is_there(self, parts: tuple[str, ...]) -> bool:
        try:
            return self._folder is not None and self._folder.stat(parts) is not None
        except OSError:
            return False

    def _parent_folders(self) -> list[tuple[str, ...]]:
        """Return the folders that hold files, the deepest first, without the save path."""
        found = {parts[:depth] for parts in self._all_parts() for depth in range(1, len(parts))}
        return sorted(found, key=len, reverse=True)


def _is_zero(descriptor: int, start: int, end: int) -> bool:
    """Return whether a range of a file has nothing but zeros or holes; OSError."""
    for first, last in stretches(descriptor, start, end):
        for at in range(first, last, _CHUNK_BYTES):
            data = bytearray(min(_CHUNK_BYTES, last - at))
            if data.count(0, 0, read_at(descriptor, memoryview(data), at)) < len(data):
                return False
    return True


def _sync_descriptor(descriptor: int) -> None:
    try:
        _DATASYNC(descriptor)
    except OSError:
        # What failed to reach the disk must not be read back from memory as if it had.
        with suppress(OSError, AttributeError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        raise
