"""Sharing of blocks between files of one file system (reflinks), in place of copying them.

Btrfs, XFS and others can do it: both files refer to the same blocks, and the file system copies one
when either file is written to. Source: ``ioctl_ficlonerange(2)``.
"""

import errno
import os
from collections.abc import Callable
from typing import Final

from torrent_engine.disk.positional import read_at, write_at
from torrent_engine.disk.system import clone_range

CloneRange = Callable[[int, int, int, int], None]
"""Shares a range of blocks; see :func:`torrent_engine.disk.system.clone_range`."""
_CHUNK_BYTES: Final = 1024 * 1024
_IMPOSSIBLE: Final = frozenset(
    {
        errno.EOPNOTSUPP,
        errno.ENOTTY,
        errno.ENOSYS,
        errno.EXDEV,  # of two file systems
        errno.EINVAL,  # blocks are larger than we think, or only one of the files has checksums
        errno.EPERM,
        errno.EACCES,
        errno.EBADF,
        errno.EISDIR,
        errno.ETXTBSY,
    }
)


class Reflinks:
    """Gives files the blocks of others; ``clone`` is what the file system is asked by."""

    def __init__(self, clone: CloneRange = clone_range) -> None:
        self._clone = clone

    def share(self, source: int, target: int, start: int, end: int) -> bool:
        """Give an open file the bytes of another one, which are at the same place there.

        Whole blocks are shared, and what is of others is copied. Returns False if the file system
        cannot share them; the bytes of the range are undefined then. Raises OSError; blocking.
        """
        first, last = self._whole_blocks(source, target, start, end)
        if first >= last:
            return _copy(source, target, start, end)
        try:
            self._clone(source, target, first, last - first)
        except OSError as error:
            if error.errno in _IMPOSSIBLE:
                return False
            raise
        return _copy(source, target, start, first) and _copy(source, target, last, end)

    @staticmethod
    def _whole_blocks(source: int, target: int, start: int, end: int) -> tuple[int, int]:
        """Return the part of a range that is of whole blocks; the last of a file may be short."""
        block = _block_bytes(target)
        sizes = {os.fstat(source).st_size, os.fstat(target).st_size}
        return -(-start // block) * block, end if sizes == {end} else end // block * block


def _block_bytes(descriptor: int) -> int:
    if not hasattr(os, "fstatvfs"):
        return 1  # nothing is shared on such a system
    return os.fstatvfs(descriptor).f_bsize or 1


def _copy(source: int, target: int, start: int, end: int) -> bool:
    """Copy a range; return False if the source is too short."""
    for offset in range(start, end, _CHUNK_BYTES):
        view = memoryview(bytearray(min(_CHUNK_BYTES, end - offset)))
        if read_at(source, view, offset) < len(view):
            return False
        write_at(target, [view], offset)
    return True
