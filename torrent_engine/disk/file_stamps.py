"""Stamps of files: what one looked like when its pieces were last known to be right.

A stamp is size, modification time, inode and change time. Users can set the modification time back,
but not the change time; that one also moves when a file gets another name or other permissions, so
it proves nothing alone and only makes the pieces of a file be hashed before they are served.
"""

import os
import time
from array import array
from collections.abc import Callable, Iterable
from enum import Enum, auto
from math import inf
from typing import Final, NamedTuple

IN_DOUBT_NS: Final = -1
"""In the place of a change time: whether the content is still right is not known."""
CHANGED_NS: Final = -1
"""In the place of a modification time: the file was changed by somebody else."""
_SECOND_NS: Final = 1_000_000_000
_COARSE_NS: Final = 2 * _SECOND_NS  # FAT: times are even seconds


class FileStamp(NamedTuple):
    """What a file looked like when its pieces were last known to be right."""

    file_index: int
    size_bytes: int
    mtime_ns: int
    inode: int
    device: int
    ctime_ns: int = 0
    """0: not known; on Windows when the file was made."""


class Standing(Enum):
    """What a look at a file says of its content."""

    SAME = auto()
    """It is what the stamp was taken of."""
    IN_DOUBT = auto()
    """It may be: nothing speaks against it but times that others than a write can move."""
    CHANGED = auto()
    """It is not."""


def stamp_of(file_index: int, seen: os.stat_result) -> FileStamp:
    """Return the stamp of what the system says of a file."""
    return FileStamp(
        file_index, seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_dev, seen.st_ctime_ns
    )


def compare(old: FileStamp | None, now: FileStamp, *, last_write_ns: float | None) -> Standing:
    """Return what has become of a file since its stamp was taken.

    ``last_write_ns`` is until when we may have written to it after that, in wall-clock time since
    1970; None if we did not, infinity if that cannot be told.
    """
    if old is None or (old.size_bytes, old.inode) != (now.size_bytes, now.inode):
        return Standing.CHANGED
    if old.mtime_ns == now.mtime_ns:
        is_same = old.ctime_ns in {0, now.ctime_ns}
        return Standing.SAME if is_same else Standing.IN_DOUBT
    if last_write_ns is None or old.mtime_ns == CHANGED_NS:
        return Standing.CHANGED
    is_ours = old.mtime_ns <= now.mtime_ns and max(now.mtime_ns, now.ctime_ns) <= last_write_ns
    return Standing.IN_DOUBT if is_ours or last_write_ns == inf else Standing.CHANGED


class StampBook:
    """The stamps of one torrent's files while it runs; notices what others do to the files.

    Safe to use from every thread: a stamp that is missed costs a hash, not a wrong answer.
    """

    def __init__(self, file_count: int, wall_clock_ns: Callable[[], int] = time.time_ns) -> None:
        self.fresh: set[int] = set()
        """Files that came into doubt and nobody was told of."""
        self._identities = array("q", bytes(8 * file_count))
        self._ctimes = array("q", bytes(8 * file_count))
        self._taken: dict[int, tuple[int, int]] = {}
        self._changed: set[int] = set()
        self._doubted: set[int] = set()
        self._wall_clock_ns = wall_clock_ns

    def wrote(self, file_index: int) -> None:
        """Forget the stamp of a file; to be called before and after each write of ours."""
        self._identities[file_index] = 0
        self._taken.pop(file_index, None)

    def is_known(self, file_index: int) -> bool:
        """Return whether a file has a stamp, and was not written since."""
        return self._identities[file_index] != 0

    def take(self, seen: FileStamp) -> FileStamp:
        """Return the stamp to be saved of a file as it was seen; in doubt if it must be."""
        index = seen.file_index
        self._compare(index, _identity(seen[1:4]), seen.ctime_ns)
        self._taken[index] = _identity(seen[1:4]), seen.ctime_ns
        if index in self._changed:
            return seen._replace(mtime_ns=CHANGED_NS, ctime_ns=IN_DOUBT_NS)
        if index in self._doubted or self._is_racy(seen):
            return seen._replace(ctime_ns=IN_DOUBT_NS)
        return seen

    def saved(self, file_indices: Iterable[int]) -> None:
        """Remember that stamps which were taken are in the database."""
        for index in file_indices:
            if taken := self._taken.pop(index, None):
                self._identities[index], self._ctimes[index] = taken

    def look(self, file_index: int, seen: os.stat_result) -> None:
        """Put a file in doubt if it has changed since its stamp, or since it was looked at last."""
        identity = _identity((seen.st_size, seen.st_mtime_ns, seen.st_ino))
        self._compare(file_index, identity, seen.st_ctime_ns)

    def _compare(self, file_index: int, identity: int, ctime_ns: int) -> None:
        known = self._identities[file_index]
        if not known or (known == identity and self._ctimes[file_index] == ctime_ns):
            return
        (self._doubted if known == identity else self._changed).add(file_index)
        self.fresh.add(file_index)
        self._identities[file_index], self._ctimes[file_index] = identity, ctime_ns

    def doubt(self, file_indices: Iterable[int]) -> None:
        """Put files in doubt: their pieces are to be hashed before they are served."""
        indices = set(file_indices)
        self._doubted |= indices
        self.fresh |= indices

    def trust(self, file_index: int) -> None:
        """Take a file out of doubt: all its pieces were hashed."""
        self._changed.discard(file_index)
        self._doubted.discard(file_index)

    def _is_racy(self, seen: FileStamp) -> bool:
        """Return whether a change after this look could leave the times as they are.

        So where times are whole seconds, and the file was written a moment ago.
        """
        if seen.mtime_ns % _SECOND_NS or seen.ctime_ns % _SECOND_NS:
            return False
        return abs(self._wall_clock_ns() - seen.mtime_ns) <= _COARSE_NS


def _identity(parts: tuple[int, ...]) -> int:
    """Return size, modification time and inode as one number, never 0."""
    return hash(parts) or 1
