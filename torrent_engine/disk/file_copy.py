"""Moving of one file: by a hard link, by renaming, or by a complete copy.

Blocking. Existing files are never replaced, and no symbolic link is followed. A copy gets its
final name when it is complete; it keeps holes, mode and modification time, by which it is
recognized later.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import FileExistsStorageError, StorageError
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.positional import read_at, write_at
from torrent_engine.disk.safe_open import Folder

CHUNK_BYTES: Final = 1024 * 1024
_MTIME_RESOLUTIONS_NS: Final = (100, 1_000, 10_000_000, 1_000_000_000, 2_000_000_000)
"""Those of file systems that keep no nanoseconds: NTFS, UDF, exFAT, ext3, FAT."""
_NO_HARD_LINKS: Final = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL}
)
_NO_SEEK_DATA: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class FileRoute:
    """Source and target of one file."""

    source: Folder
    old: PathParts
    target: Folder
    new: PathParts
    temporary: PathParts
    """The name of an incomplete copy, next to the target."""


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two names refer to the same file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def is_copy(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two files are the same, or one is a complete copy of the other."""
    return is_same(one, other) or (
        stat.S_ISREG(one.st_mode)
        and stat.S_ISREG(other.st_mode)
        and one.st_size == other.st_size
        and _is_rounded(one.st_mtime_ns, other.st_mtime_ns)
    )


def _is_rounded(one_ns: int, other_ns: int) -> bool:
    """Return whether two times are equal but for the resolution of a file system."""
    apart_ns = abs(one_ns - other_ns)
    return not apart_ns or any(
        apart_ns <= each and (one_ns % each == 0 or other_ns % each == 0)
        for each in _MTIME_RESOLUTIONS_NS
    )


def is_second_name(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether one of two names can be removed without losing data."""
    return is_copy(one, other) and (not is_same(one, other) or one.st_nlink > 1)


def put(route: FileRoute, *, preallocate: bool) -> Iterator[int]:
    """Create the target of a file; yield the number of copied bytes, step by step.

    The old name stays, except on file systems without hard links. Raises OSError, and StorageError
    if the file is changed meanwhile.
    """
    if _try_move(route):
        return
    yield from _copy(route, preallocate=preallocate)
    give_name(route.target, route.temporary, route.new)


def put_back(route: FileRoute) -> None:
    """Rename a file back to its source. Raises OSError."""
    _rename_to_free_name(route.target, route.new, route.source, route.old)


def _try_move(route: FileRoute) -> bool:
    """Try to move without a copy; return False if the target is on another file system."""
    try:
        route.source.link(route.old, route.target, route.new)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        if error.errno not in _NO_HARD_LINKS:
            raise
    else:
        return True
    try:
        _rename_to_free_name(route.source, route.old, route.target, route.new)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    return True


def _rename_to_free_name(source: Folder, old: PathParts, target: Folder, new: PathParts) -> None:
    if target.stat(new) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target.path))
    source.move(old, target, new)


def give_name(folder: Folder, temporary: PathParts, new: PathParts) -> None:
    """Rename a complete copy, within its folder. Raises OSError; EEXIST if the name is in use."""
    try:
        folder.link(temporary, folder, new)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_to_free_name(folder, temporary, folder, new)
    else:
        folder.unlink(temporary)


def _copy(route: FileRoute, *, preallocate: bool) -> Iterator[int]:
    """Create a synced copy under the temporary name."""
    source = route.source.open_file(route.old, os.O_RDONLY)
    try:
        before = os.fstat(source)
        route.target.unlink(route.temporary)
        target = route.target.open_file(
            route.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, stat.S_IMODE(before.st_mode)
        )
        try:
            yield from _fill(source, target, before.st_size, preallocate=preallocate)
            after = os.fstat(source)
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                path = route.source.path.joinpath(*route.old)
                raise StorageError(path, "was changed while being copied")
            route.target.set_times(route.temporary, before.st_atime_ns, before.st_mtime_ns)
            os.fsync(target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _fill(source: int, target: int, size_bytes: int, *, preallocate: bool) -> Iterator[int]:
    with suppress(OSError):
        os.fchmod(target, stat.S_IMODE(os.fstat(source).st_mode))
    if preallocate and size_bytes and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(target, 0, size_bytes)
    else:
        os.ftruncate(target, size_bytes)
    buffer = memoryview(bytearray(CHUNK_BYTES))
    for start, end in data_extents(source, 0, size_bytes):
        for offset in range(start, end, CHUNK_BYTES):
            view = buffer[: min(CHUNK_BYTES, end - offset)]
            got = read_at(source, view, offset)
            write_at(target, [view[:got]], offset)
            yield got


def data_extents(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each data extent of a range, without holes. Raises OSError."""
    while start < end:
        found = _next_extent(descriptor, start, end)
        if found is None or found[0] >= end:
            return
        yield found
        start = found[1]


def _next_extent(descriptor: int, start: int, end: int) -> tuple[int, int] | None:
    if not hasattr(os, "SEEK_DATA"):
        return start, end
    try:
        first = os.lseek(descriptor, start, os.SEEK_DATA)
        return first, min(os.lseek(descriptor, first, os.SEEK_HOLE), end)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a hole up to the end
            return None
        if error.errno in _NO_SEEK_DATA:
            return start, end
        raise


def move_files(files: Mapping[int, PathParts], source: Path, target: Path) -> None:
    """Move existing files to another folder, and remove emptied folders.

    Raises OSError or StorageError; no file is moved then.
    """
    with closing(Folder(source, create=False)) as old, closing(Folder(target, create=True)) as new:
        free_names = _free_names(files.values())
        routes = [
            FileRoute(old, parts, new, parts, (*parts[:-1], next(free_names)))
            for parts in files.values()
            if old.stat(parts) is not None
        ]
        _place_all(routes)
        for route in routes:
            old.unlink(route.old)
        folders = {route.old[:depth] for route in routes for depth in range(1, len(route.old))}
        for parts in sorted(folders, key=len, reverse=True):
            old.rmdir_if_empty(parts)


def _free_names(files: Iterable[PathParts]) -> Iterator[str]:
    """Yield names for incomplete copies: those that no file or folder of these has."""
    taken = {part.casefold() for parts in files for part in parts}
    names = (f".{number}.moving" for number in count())
    return (name for name in names if name not in taken)


def _refuse_taken_name(route: FileRoute) -> None:
    if route.target.stat(route.new) is not None:
        path = route.target.path.joinpath(*route.new)
        raise FileExistsStorageError(path, "already exists")


def _place_all(routes: list[FileRoute]) -> None:
    """Create the targets of all files, or of none."""
    placed: list[FileRoute] = []
    try:
        for route in routes:
            _refuse_taken_name(route)
            for _ in put(route, preallocate=False):
                pass
            placed.append(route)
    except BaseException:
        for route in reversed(placed):
            if route.source.stat(route.old) is None:
                put_back(route)
            else:
                route.target.unlink(route.new)
        raise
