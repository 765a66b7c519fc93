"""Files in folders that the user names: what may be in them need not be downloaded (BEP 38).

They are read only. A file that somebody writes to at the time is not used: it must have rested for
a moment, and be the same after each read.
"""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple

from torrent_engine.base.errors import StorageError
from torrent_engine.disk.positional import read_at

MAX_FILES: Final = 200_000  # ours: looked at in all folders; one takes about 400 bytes
MAX_ALIKE: Final = 8  # ours: files of one size that are tried for one
MAX_SAME_NAME: Final = 256  # ours: of which the one with the most alike path is looked for
LOOK_AGAIN_S: Final = 60.0  # ours: how long the list of files is used
_CHANGED: Final = "was changed meanwhile"
AT_REST_S: Final = 2.0  # ours: since the last change; some file systems count in steps of this
_OPEN_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not hold us up
    | getattr(os, "O_BINARY", 0)
)


class LocalFile(NamedTuple):
    """A regular file, and its state when it was found."""

    path: str
    size_bytes: int
    mtime_ns: int
    inode: int
    device: int


class LocalFiles:
    """The files of some folders by their size; the methods are for worker threads."""

    def __init__(
        self,
        folders: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._folders = tuple(folders)
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._named: dict[tuple[int, str], list[str]] = {}
        self._others: dict[int, list[str]] = {}
        """By size alone, the first few."""
        self._looked_s: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no folder was named."""
        return not self._folders

    def like(self, size_bytes: int, names: Sequence[str]) -> list[LocalFile]:
        """Return a few files of a size, those first whose path ends in the most of these names."""
        with self._lock:
            now = self._clock()
            if self._looked_s is None or now - self._looked_s > LOOK_AGAIN_S:
                self._look()
                self._looked_s = now
            named = self._named.get((size_bytes, names[-1]), ())
            paths = (*named, *self._others.get(size_bytes, ()))
        best = sorted({*paths}, key=lambda path: (-common_end(Path(path).parts, names), path))
        found = map(found_file, best[:MAX_ALIKE])
        return [each for each in found if each is not None and each.size_bytes == size_bytes]

    def rests(self, file: LocalFile) -> bool:
        """Return whether a file was not changed for a moment; times in the future do not count."""
        age_s = self._wall_clock() - file.mtime_ns / 1e9
        return not 0 <= age_s < AT_REST_S

    def _look(self) -> None:
        self._named, self._others = {}, {}
        for entry in islice(chain.from_iterable(map(_files_below, self._folders)), MAX_FILES):
            with suppress(OSError):
                size = entry.stat(follow_symlinks=False).st_size
                named = self._named.setdefault((size, entry.name), [])
                others = self._others.setdefault(size, [])
                for paths, most in ((named, MAX_SAME_NAME), (others, MAX_ALIKE)):
                    if len(paths) < most:
                        paths.append(entry.path)


def read_local(file: LocalFile, offset_bytes: int, into: memoryview) -> None:
    """Fill ``into`` from a file. Raises StorageError if that fails, or the file has changed."""
    with opened_local(file) as descriptor:
        try:
            got = read_at(descriptor, into, offset_bytes)
        except OSError as error:
            raise StorageError(file.path, error.strerror or str(error)) from None
        if got != len(into):
            raise StorageError(file.path, _CHANGED)


@contextmanager
def opened_local(file: LocalFile) -> Iterator[int]:
    """Open a file for reading, and yield its descriptor.

    Raises StorageError if that fails; afterwards, and before, if the file has changed.
    """
    try:
        descriptor = os.open(file.path, _OPEN_FLAGS)
    except OSError as error:
        raise StorageError(file.path, error.strerror or str(error)) from None
    try:
        _check_unchanged(file, descriptor)
        yield descriptor
        _check_unchanged(file, descriptor)
    finally:
        os.close(descriptor)


def _check_unchanged(file: LocalFile, descriptor: int) -> None:
    if _file_of(file.path, os.fstat(descriptor)) != file:
        raise StorageError(file.path, _CHANGED)


def is_same_file(file: LocalFile, path: Path) -> bool:
    """Return whether a path leads to this file, by whatever name."""
    try:
        there = path.stat()
    except (OSError, ValueError):
        return False
    return (there.st_ino, there.st_dev) == (file.inode, file.device)


def _files_below(folder: str) -> Iterator[os.DirEntry[str]]:
    """Iterate over regular files; links are not followed, and what cannot be read is left out."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield entry
        except OSError:
            continue


def found_file(path: str) -> LocalFile | None:
    """Return the regular file at a path, as it is now; None if there is none."""
    try:
        return _file_of(path, Path(path).lstat())
    except OSError:
        return None


def _file_of(path: str, seen: os.stat_result) -> LocalFile | None:
    if not stat.S_ISREG(seen.st_mode):
        return None
    return LocalFile(path, seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_dev)


def common_end(parts: Sequence[str], names: Sequence[str]) -> int:
    """Return how many of the last names two paths have in common."""
    count = 0
    for part, name in zip(reversed(parts), reversed(names), strict=False):
        if part != name:
            break
        count += 1
    return count
