"""Stamps of files: size, times and inode when their pieces were last known to be correct.

The modification time can be set back by users, the change time cannot; but that one also changes
with renames and permissions. A changed change time alone therefore only causes the pieces of the
file to be hashed before they are served.
"""

import os
import time
from array import array
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from math import inf
from threading import Lock
from types import MappingProxyType
from typing import Final, NamedTuple

PART_FILE: Final = -1
"""The file index of the part-file."""
IN_DOUBT_NS: Final = -1
"""Special change time: the content may have changed."""
CHANGED_NS: Final = -1
"""Special modification time: the file was changed by another program."""
INODE_MASK: Final = (1 << 64) - 1
"""ReFS has longer numbers; their lower half is taken."""
_MOST_NS: Final = (1 << 63) - 1
_SECOND_NS: Final = 1_000_000_000
_COARSE_NS: Final = 2 * _SECOND_NS  # FAT: times are even seconds


class FileStamp(NamedTuple):
    """The state of a file when its pieces were last known to be correct."""

    file_index: int
    size_bytes: int
    mtime_ns: int
    inode: int
    device: int
    ctime_ns: int = 0
    """0: unknown; on Windows the creation time."""


def refused_stamp(now: FileStamp) -> FileStamp:
    """Return a stamp that no file has, for one that may be somebody else's.

    Without any stamp a file could have been made by the torrent just before a power cut.
    """
    return FileStamp(now.file_index, -1, CHANGED_NS, 0, now.device, IN_DOUBT_NS)


class NotedFiles(NamedTuple):
    """Files that a process was about to write to when it died."""

    inodes: Mapping[int, int] = MappingProxyType({})
    """By the numbers of the files."""
    time_ns: int = 0
    """When the last of them was noted or later, since 1970; 0 if that is not known."""

    def has(self, index: int, inode: int, is_born_after: Callable[[int], bool]) -> bool:
        """Return whether a file that is there is the one that was noted.

        ``is_born_after`` says of it whether it was made after a time: the inode number of a file
        that was removed is soon that of another.
        """
        if self.inodes.get(index) != inode & INODE_MASK:
            return False
        return not self.time_ns or not is_born_after(self.time_ns)


class StampMatch(Enum):
    """The result of comparing a file with its stamp."""

    SAME = auto()
    """The file is unchanged."""
    IN_DOUBT = auto()
    """Possibly changed: only times differ that other operations than writes change too."""
    CHANGED = auto()
    """The file was changed."""


def stamp_of(file_index: int, seen: os.stat_result) -> FileStamp:
    """Return the stamp for a file status."""
    mtime_ns, ctime_ns = _storable(seen.st_mtime_ns), _storable(seen.st_ctime_ns)
    return FileStamp(file_index, seen.st_size, mtime_ns, seen.st_ino, seen.st_dev, ctime_ns)


def _storable(time_ns: int) -> int:
    """Return a time clamped to 64 bits, because users can set file times after 2262."""
    return min(max(time_ns, -_MOST_NS), _MOST_NS)


def compare(old: FileStamp | None, now: FileStamp, *, last_write_ns: float | None) -> StampMatch:
    """Compare a file with its stamp.

    ``last_write_ns`` is the last time at which we may have written to it after the stamp, in
    wall-clock time since 1970; None: not written, infinity: unknown.
    """
    if old is None or (old.size_bytes, old.inode) != (now.size_bytes, now.inode):
        return StampMatch.CHANGED
    if old.mtime_ns == now.mtime_ns:
        is_same = old.ctime_ns in {0, now.ctime_ns}
        return StampMatch.SAME if is_same else StampMatch.IN_DOUBT
    if last_write_ns is None or old.mtime_ns == CHANGED_NS:
        return StampMatch.CHANGED
    is_ours = old.mtime_ns <= now.mtime_ns and max(now.mtime_ns, now.ctime_ns) <= last_write_ns
    return StampMatch.IN_DOUBT if is_ours or last_write_ns == inf else StampMatch.CHANGED


def is_same_file(old: FileStamp, now: FileStamp, is_born_after: Callable[[int], bool]) -> bool:
    """Return whether this is the stamped file, with any content.

    ``is_born_after`` says of the file whether it was made after a time: the inode number of a file
    that was removed is soon that of another.
    """
    if old.inode != now.inode:
        return False
    is_untouched = is_like_copy(old, now) and old.ctime_ns == now.ctime_ns
    return is_untouched or not (old.ctime_ns > 0 and is_born_after(old.ctime_ns))


def is_like_copy(old: FileStamp, now: FileStamp) -> bool:
    """Return whether this may be a copy of the stamped file, as from a backup or another disk.

    So is every file on a file system without lasting inode numbers. But a user's own file may have
    the same size and times, too.
    """
    return (old.size_bytes, old.mtime_ns) == (now.size_bytes, now.mtime_ns)


class StampBook:
    """The stamps of one torrent's files while it is active; detects changes by other programs.

    Thread-safe. Files are looked at while others write to them: who looks takes :attr:`writes`
    first, and a file that was written to since, or is being written to, is not compared with what
    was seen.
    """

    def __init__(self, file_count: int, wall_clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.fresh: set[int] = set()
        """Files in doubt that were not reported yet."""
        self.writes = 0
        """Counts how often stamps have become void."""
        self._lock = Lock()  # measured: each call with it takes 0.3 us more, two to a write
        self._written = array("q", bytes(8 * file_count))
        """What the count was at the last write to each file."""
        self._writers: dict[int, int] = {}
        """How many writes to each file are under way; a slow disk takes seconds for one."""
        self._identities = array("q", bytes(8 * file_count))
        self._ctimes = array("q", bytes(8 * file_count))
        self._taken: dict[int, tuple[int, int]] = {}
        self._changed: set[int] = set()
        self._doubted: set[int] = set()
        self._wall_clock_ns = wall_clock_ns

    def begin_write(self, file_index: int) -> None:
        """Invalidate the stamp of a file that is about to be written to."""
        with self._lock:
            self._writers[file_index] = self._writers.get(file_index, 0) + 1
            self._void(file_index)

    def end_write(self, file_index: int) -> None:
        """Record the end of a write that was begun."""
        with self._lock:
            self._writers[file_index] -= 1
            if not self._writers[file_index]:
                del self._writers[file_index]
            self._void(file_index)

    def wrote(self, file_index: int) -> None:
        """Invalidate the stamp of a file that was written to."""
        with self._lock:
            self._void(file_index)

    def _void(self, file_index: int) -> None:
        self.writes += 1
        self._written[file_index] = self.writes
        self._identities[file_index] = 0
        self._taken.pop(file_index, None)

    def _is_as_seen(self, file_index: int, writes: int) -> bool:
        return file_index not in self._writers and self._written[file_index] <= writes

    def is_known(self, file_index: int) -> bool:
        """Return whether a file has a valid stamp."""
        return self._identities[file_index] != 0

    def take(self, seen: FileStamp, writes: int | None = None) -> FileStamp:
        """Return the stamp to save for a file, marked as in doubt if needed.

        ``writes`` is :attr:`writes` from before the look; None: nothing was written since. A stamp
        from before a write is saved like any other, but the file has none then.
        """
        index = seen.file_index
        with self._lock:
            if writes is None or self._is_as_seen(index, writes):
                self._compare(index, _identity(seen[1:4]), seen.ctime_ns)
                self._taken[index] = _identity(seen[1:4]), seen.ctime_ns
        if index in self._changed:
            return seen._replace(mtime_ns=CHANGED_NS, ctime_ns=IN_DOUBT_NS)
        if index in self._doubted or self._is_racy(seen):
            return seen._replace(ctime_ns=IN_DOUBT_NS)
        return seen

    def saved(self, file_indices: Iterable[int]) -> None:
        """Record that taken stamps are in the database."""
        for index in file_indices:
            with self._lock:
                if taken := self._taken.pop(index, None):
                    self._identities[index], self._ctimes[index] = taken

    def look(self, file_index: int, seen: os.stat_result, writes: int) -> None:
        """Put a file in doubt if it has changed since its stamp or the last call.

        ``writes`` is :attr:`writes` from before it was looked at.
        """
        identity = _identity((seen.st_size, _storable(seen.st_mtime_ns), seen.st_ino))
        with self._lock:
            if self._is_as_seen(file_index, writes):
                self._compare(file_index, identity, _storable(seen.st_ctime_ns))

    def _compare(self, file_index: int, identity: int, ctime_ns: int) -> None:
        known = self._identities[file_index]
        if not known or (known == identity and self._ctimes[file_index] == ctime_ns):
            return
        (self._doubted if known == identity else self._changed).add(file_index)
        self.fresh.add(file_index)
        self._identities[file_index], self._ctimes[file_index] = identity, ctime_ns

    def doubt(self, file_indices: Iterable[int]) -> None:
        """Put files in doubt: their pieces must be hashed before they are served."""
        indices = set(file_indices)
        self._doubted |= indices
        self.fresh |= indices

    def trust(self, file_index: int) -> None:
        """Mark a file as no longer in doubt: all its pieces were hashed."""
        self._changed.discard(file_index)
        self._doubted.discard(file_index)

    def _is_racy(self, seen: FileStamp) -> bool:
        """Return whether a later change could leave the times unchanged.

        That is the case with coarse timestamps and a file written a moment ago.
        """
        if seen.mtime_ns % _SECOND_NS or seen.ctime_ns % _SECOND_NS:
            return False
        return abs(self._wall_clock_ns() - seen.mtime_ns) <= _COARSE_NS


def _identity(parts: tuple[int, ...]) -> int:
    """Return size, modification time and inode as one number, never 0."""
    return hash(parts) or 1
