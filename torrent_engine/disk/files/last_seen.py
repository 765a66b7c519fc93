"""What the files of a torrent were when it saw them last, to notice one that took a file's place.

Files are not kept open for as long as a torrent runs, and any of them may be replaced meanwhile.
"""

import os
from array import array
from collections.abc import Callable
from functools import cache
from typing import Final

from torrent_engine.disk.file_stamps import INODE_MASK
from torrent_engine.disk.filesystem import has_lasting_inodes

_MOST_NS: Final = (1 << 63) - 1


class LastSeen:
    """Inode, size and times of each file of one storage."""

    def __init__(
        self, file_count: int, has_lasting_inodes: Callable[[int], bool] = has_lasting_inodes
    ) -> None:
        """``has_lasting_inodes`` says that of a device, and blocks."""
        self._has_lasting_inodes = cache(has_lasting_inodes)
        self._inodes = array("Q", bytes(8 * file_count))
        """0: nothing is known of the file."""
        self._sizes, self._mtimes, self._ctimes = (
            array("q", bytes(8 * file_count)) for _ in range(3)
        )

    def note(self, index: int, status: os.stat_result) -> None:
        """Record what a file is now."""
        self._inodes[index] = status.st_ino & INODE_MASK
        self._sizes[index] = status.st_size
        self._mtimes[index] = _storable(status.st_mtime_ns)
        self._ctimes[index] = _storable(status.st_ctime_ns)

    def forget(self, index: int) -> None:
        """Record that there is no file."""
        self._inodes[index] = 0

    def is_same(
        self, index: int, status: os.stat_result, born_after: Callable[[int], bool]
    ) -> bool:
        """Return whether a file is the one of before; True if nothing is known of that.

        ``born_after`` says of the file whether it was made after a time. One with the same size and
        times counts as the file where inode numbers may not last.
        """
        if not self._inodes[index] or self.has_its_inode(index, status, born_after):
            return True
        return self._is_unchanged(index, status) and not self._has_lasting_inodes(status.st_dev)

    def has_its_inode(
        self, index: int, status: os.stat_result, born_after: Callable[[int], bool]
    ) -> bool:
        """Return whether a file has the inode of the one of before, and was not made since."""
        if status.st_ino & INODE_MASK != self._inodes[index]:
            return False
        return self._is_unchanged(index, status) or not born_after(self._ctimes[index])

    def _is_unchanged(self, index: int, status: os.stat_result) -> bool:
        seen = (self._sizes[index], self._mtimes[index])
        return seen == (status.st_size, _storable(status.st_mtime_ns))


def _storable(time_ns: int) -> int:
    return min(max(time_ns, -_MOST_NS), _MOST_NS)
