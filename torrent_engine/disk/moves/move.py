"""The steps of a planned move; each file is complete at one of two places at any time.

First the targets of all files are created while the sources stay (:meth:`FileMover.place`); then
this is saved in the database; then the sources are removed (:meth:`FileMover.clear`). Until it is
saved, all can be undone. Only on file systems without hard links a file is at one place at a time.
Blocking; OSErrors are mapped to StorageErrors.
"""

import errno
import logging
import os
import stat
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.file_copy import (
    FileRoute,
    is_copy,
    is_same,
    is_second_name,
    put,
    put_back,
)
from torrent_engine.disk.file_stamps import IN_DOUBT_NS, FileStamp, StampMatch, compare, stamp_of
from torrent_engine.disk.filesystem import is_folder, nearest_folder
from torrent_engine.disk.moves.plan import BLOCK_BYTES, MoveItem, MovePlan
from torrent_engine.disk.os_errors import storage_error
from torrent_engine.disk.safe_open import Folder
from torrent_engine.disk.stamp_table import StampTable
from torrent_engine.disk.state.files import sync_folder

logger = logging.getLogger(__name__)

_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_IN_THE_WAY: Final = frozenset({errno.ENOTDIR, errno.ELOOP})


class FileMover:
    """The execution of one plan; every step is idempotent, also in a later process."""

    def __init__(self, plan: MovePlan, *, preallocate: bool = False) -> None:
        self.plan = plan
        self.is_first = False
        """Whether no earlier attempt can have moved any of the files."""
        self._placed: set[int] = set()
        """The files of which this attempt made the targets."""
        self.done_bytes = 0
        """Bytes copied, or moved without a copy."""
        self._preallocate = preallocate
        self._source: Folder | None = None
        self._target: Folder | None = None

    def open(self, *, create: bool) -> None:
        """Open both folders, if they exist; with ``create`` the target is created.

        Raises StorageError if one cannot be opened, or the source is missing and needed.
        """
        if self._needs_source():
            self._source = _open(self.plan.source, create=False)
        if not self._is_on_its_disk():
            raise StorageError(self.plan.target, "is on another disk now; is its own mounted?")
        if create or self._is_target_there():
            self._target = _open(self.plan.target, create=create)

    def _needs_source(self) -> bool:
        """Return whether the source exists or must exist; it may never have had files."""
        is_to_place = bool(self.plan.items) and not self.plan.is_placed
        return is_to_place or Path(self.plan.source).is_dir()

    def _is_on_its_disk(self) -> bool:
        return nearest_folder(Path(self.plan.target)).stat().st_dev == self.plan.device

    def _is_target_there(self) -> bool:
        return is_folder(Path(self.plan.target)) and self._is_on_its_disk()

    def close(self) -> None:
        """Close the folders."""
        for folder in (self._source, self._target):
            if folder is not None:
                folder.close()
        self._source = self._target = None

    def place(self) -> Generator[None]:
        """Create the target of each file, durably; yields between steps.

        Raises FileExistsStorageError if a target is taken, and other StorageErrors.
        """
        for root in self.plan.new_roots:
            sync_folder(Path(root).parent)
        for item in self.plan.items:
            yield from self._place(item)
        _sync(self._to, self._new_folders())

    def undo(self) -> None:
        """Undo the completed part of :meth:`place`. Raises StorageError."""
        if self._source is None and self._needs_source():
            self._source = _open(self.plan.source, create=False)
        if self._target is None and self._is_target_there():
            self._target = _open(self.plan.target, create=False)
        if self._target is None:
            self._refuse_loss()
        else:
            self._undo(self._target)
        for root in reversed(self.plan.new_roots):
            with suppress(OSError):  # it was not created, or is in use
                Path(root).rmdir()

    def _undo(self, target: Folder) -> None:
        for item in reversed(self.plan.items):
            with _errors_of(self.plan.source, item.old):
                is_ours = not self.is_first or item.file in self._placed
                self._take_back(self._route(item), is_ours=is_ours)
        if self.plan.items:
            _sync(self._from, _folders(item.old for item in self.plan.items))
        _sync(target, self._new_folders())
        for parts in self._new_folders():
            if parts and parts not in self.plan.old_folders:
                target.rmdir_if_empty(parts)

    def old_stamps(self) -> StampTable:
        """Return the stamps of the sources; blocking."""
        if self._source is None:
            return StampTable()
        found = ((item.file, _look(self._source, item.old)) for item in self.plan.items)
        return StampTable(stamp_of(file, seen) for file, seen in found if seen is not None)

    def clear(self, kept: Collection[int] = ()) -> Iterator[None]:
        """Remove the sources of all files except ``kept``, then emptied folders.

        Files that must not be removed, or have changed, are logged and stay. Raises StorageError at
        the end if another attempt may remove the rest. One is made as well for a file that has
        both names still, for it is not written to: somebody may mend its folder's permissions.
        """
        if self._source is None:
            return
        failed: list[StorageError] = []
        for item in self.plan.items:
            if item.file in kept:
                continue
            try:
                self._clear(self._route(item))
            except OSError as error:
                logger.warning("%s is not removed: %s", self._from.path.joinpath(*item.old), error)
                if error.errno not in _FORBIDDEN or self._has_two_names(item):
                    failed.append(storage_error(self._from.path.joinpath(*item.old), error))
            yield
        folders = _folders(item.old for item in self.plan.items)
        _sync(self._from, folders)
        for parts in folders[:-1]:
            self._from.rmdir_if_empty(parts)
        if failed:
            raise failed[0]

    def stamps(self, old: Mapping[int, FileStamp], *, is_clean: bool) -> StampTable:
        """Return the stamps of the targets for the database.

        ``old`` has the stamps of the sources. A file that has changed since then gets a stamp that
        matches nothing, so that it is hashed; a missing file stays missing.
        """
        return StampTable(self._stamps(old, is_clean=is_clean))

    def _stamps(self, old: Mapping[int, FileStamp], *, is_clean: bool) -> Iterator[FileStamp]:
        device = nearest_folder(Path(self.plan.target)).stat().st_dev
        moved = {item.file: item for item in self.plan.items}
        for file, stamp in old.items():
            if file in moved:
                new = self._stamp(moved[file], stamp, is_clean=is_clean)
                yield new or stamp._replace(inode=0, device=device)
            elif not self.plan.is_rename:
                yield stamp._replace(inode=0, device=device)  # no file there is the one it was

    def _stamp(self, item: MoveItem, old: FileStamp, *, is_clean: bool) -> FileStamp | None:
        with _errors_of(self.plan.target, item.new):
            now = self._to.stat(item.new)
            before = self._from.stat(item.old) or now
        if now is None or before is None:
            return None
        found = compare(
            old._replace(ctime_ns=0),  # a hard link changes the ctime
            stamp_of(item.file, before),
            last_write_ns=None if is_clean else inf,
        )
        if found is StampMatch.CHANGED:
            return None
        is_known = found is StampMatch.SAME and old.ctime_ns != IN_DOUBT_NS
        stamp = stamp_of(item.file, now)
        return stamp if is_known else stamp._replace(ctime_ns=IN_DOUBT_NS)

    def _refuse_loss(self) -> None:
        """Raise StorageError unless all sources exist while the target folder is missing."""
        for item in self.plan.items:
            with _errors_of(self.plan.source, item.old):
                if self._from.stat(item.old) is None:
                    raise StorageError(self.plan.target, "is gone with files in it; is it mounted?")

    # -- one file -------------------------------------------------------------------------

    def _place(self, item: MoveItem) -> Iterator[None]:
        route = self._route(item)
        with _errors_of(self.plan.target, item.new):
            old, new = self._from.stat(item.old), self._to.stat(item.new)
            is_moved = old is None and not self.is_first
            if new is not None and (is_moved or (old is not None and is_copy(old, new))):
                self._to.unlink(route.temporary)  # left by an earlier process
                self.done_bytes += _size(new)
            elif new is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            elif old is not None:
                self._placed.add(item.file)
                yield from self._put(route, _size(old))
        yield

    def _put(self, route: FileRoute, size_bytes: int) -> Iterator[None]:
        before = self.done_bytes
        for copied in put(route, preallocate=self._preallocate):
            self.done_bytes += copied
            yield
        self.done_bytes = before + size_bytes

    def _take_back(self, route: FileRoute, *, is_ours: bool) -> None:
        old, new = self._from.stat(route.old), _look(self._to, route.new)
        if _look(self._to, route.temporary) is not None:
            self._to.unlink(route.temporary)
        if new is None or not is_ours:
            return
        if old is None:
            put_back(route)
        elif is_second_name(new, old):
            self._to.unlink(route.new)

    def _clear(self, route: FileRoute) -> None:
        self._to.unlink(route.temporary)
        old, new = self._from.stat(route.old), self._to.stat(route.new)
        if old is None:
            return
        if new is None or not is_second_name(old, new):
            logger.warning(
                "%s is not removed: it has changed", self._from.path.joinpath(*route.old)
            )
            return
        self._from.unlink(route.old)

    def _has_two_names(self, item: MoveItem) -> bool:
        with suppress(OSError, StorageError):
            old, new = self._from.stat(item.old), self._to.stat(item.new)
            return old is not None and new is not None and is_same(old, new)
        return False

    def _route(self, item: MoveItem) -> FileRoute:
        name = f".{self.plan.info_hash.hex()}.{item.file}.moving"
        return FileRoute(self._from, item.old, self._to, item.new, (*item.new[:-1], name))

    # -- folders --------------------------------------------------------------------------

    @property
    def _from(self) -> Folder:
        if self._source is None:
            raise StorageError(self.plan.source, "no such folder")
        return self._source

    @property
    def _to(self) -> Folder:
        if self._target is None:
            raise StorageError(self.plan.target, "no such folder")
        return self._target

    def _new_folders(self) -> list[PathParts]:
        return _folders(item.new for item in self.plan.items)


def _open(path: str, *, create: bool) -> Folder:
    try:
        return Folder(Path(path), create=create)
    except OSError as error:
        raise storage_error(path, error) from error


def _folders(paths: Iterable[PathParts]) -> list[PathParts]:
    """Return the folders with files, the deepest first; the last is the save path."""
    found = {parts[:depth] for parts in paths for depth in range(len(parts))}
    return sorted(found | {()}, key=len, reverse=True)


def _sync(folder: Folder, inner: Iterable[PathParts]) -> None:
    """Sync the existing folders."""
    for parts in inner:
        with _errors_of(str(folder.path), parts):
            found = _look(folder, parts) if parts else None
            if not parts or (found is not None and stat.S_ISDIR(found.st_mode)):
                folder.sync_folder(parts)


def _look(folder: Folder, parts: PathParts) -> os.stat_result | None:
    """Return the status of a path; None if it does not exist."""
    try:
        return folder.stat(parts)
    except OSError as error:
        if error.errno in _IN_THE_WAY:
            return None
        raise


def _size(seen: os.stat_result) -> int:
    return seen.st_blocks * BLOCK_BYTES


@contextmanager
def _errors_of(folder: str, parts: PathParts) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(Path(folder).joinpath(*parts), error) from error
