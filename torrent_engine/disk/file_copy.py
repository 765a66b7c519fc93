"""Owns how one file gets a second place: by a link, by a name, or by a copy that is whole first.

Blocking. Nothing that stands at the new place is ever replaced, and no link is followed. The copy
keeps holes, mode and time of change; by that time and its length it is known as a copy later.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from torrent_engine.base.errors import StorageError
from torrent_engine.disk.positional import read_at, write_at
from torrent_engine.disk.safe_open import Folder

Parts = tuple[str, ...]

CHUNK_BYTES: Final = 1024 * 1024
_TIME_GRAIN_NS: Final = 2_000_000_000  # FAT, the coarsest, counts in steps of 2 s
_NO_LINKS_HERE: Final = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EINVAL}
)
_NO_HOLES_KNOWN: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Route:
    """From where to where one file goes."""

    source: Folder
    old: Parts
    target: Folder
    new: Parts
    temporary: Parts
    """Beside the new place: what a copy is called until it is whole."""


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two names are one file."""
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def is_copy(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether two files are one, or one is a whole copy of the other."""
    return is_same(one, other) or (
        stat.S_ISREG(one.st_mode)
        and stat.S_ISREG(other.st_mode)
        and one.st_size == other.st_size
        and abs(one.st_mtime_ns - other.st_mtime_ns) <= _TIME_GRAIN_NS
    )


def is_second_name(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether one of two names may go: the bytes are at the other as well."""
    return is_copy(one, other) and (not is_same(one, other) or one.st_nlink > 1)


def put(route: Route, *, preallocate: bool) -> Iterator[int]:
    """Let a file stand at its new place; yield how many bytes were copied, bit by bit.

    Its old name stays, but where a file system has no hard links. Raises OSError, and StorageError
    if the file changes meanwhile.
    """
    if _has_moved(route):
        return
    yield from _copy(route, preallocate=preallocate)
    give_name(route.target, route.temporary, route.new)


def put_back(route: Route) -> None:
    """Let a file that lost its old name have that again; OSError if that fails."""
    _rename_to_free_name(route.target, route.new, route.source, route.old)


def _has_moved(route: Route) -> bool:
    """Try without a copy; False if the new place is on another file system."""
    try:
        route.source.link(route.old, route.target, route.new)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        if error.errno not in _NO_LINKS_HERE:
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


def _rename_to_free_name(source: Folder, old: Parts, target: Folder, new: Parts) -> None:
    if target.stat(new) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target.path))
    source.move(old, target, new)


def give_name(folder: Folder, temporary: Parts, new: Parts) -> None:
    """Give a whole file its name, in the same folder; OSError, EEXIST if something has it."""
    try:
        folder.link(temporary, folder, new)
    except OSError as error:
        if error.errno not in _NO_LINKS_HERE:
            raise
        _rename_to_free_name(folder, temporary, folder, new)
    else:
        folder.unlink(temporary)


def _copy(route: Route, *, preallocate: bool) -> Iterator[int]:
    """Make a copy under the temporary name, durable when this ends."""
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
                raise StorageError(path, "was changed while it was copied")
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
    for start, end in stretches(source, 0, size_bytes):
        for offset in range(start, end, CHUNK_BYTES):
            view = buffer[: min(CHUNK_BYTES, end - offset)]
            got = read_at(source, view, offset)
            write_at(target, [view[:got]], offset)
            yield got


def stretches(descriptor: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where each stretch of a range that is no hole begins and ends; OSError."""
    while start < end:
        found = _next_stretch(descriptor, start, end)
        if found is None or found[0] >= end:
            return
        yield found
        start = found[1]


def _next_stretch(descriptor: int, start: int, end: int) -> tuple[int, int] | None:
    if not hasattr(os, "SEEK_DATA"):
        return start, end
    try:
        first = os.lseek(descriptor, start, os.SEEK_DATA)
        return first, min(os.lseek(descriptor, first, os.SEEK_HOLE), end)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole
            return None
        if error.errno in _NO_HOLES_KNOWN:
            return start, end
        raise
