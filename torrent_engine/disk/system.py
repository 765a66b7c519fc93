"""Differences between operating systems in locks, names, modes, mappings and blocks of files."""

import errno
import os
import struct
import sys
from typing import Final

WINDOWS_NAMES: Final = os.name == "nt"
"""Whether file names follow the rules of Windows; what depends on it takes it as an argument."""
HAS_FILE_MODES: Final = os.name != "nt"
"""Whether the mode of a file says who else may read it."""
HAS_SAFE_MAPPINGS: Final = sys.platform == "linux"
"""Whether a system call that is given pages beyond a truncated file's end fails with EFAULT."""
SYNCS_WRITABLE: Final = os.name == "nt"
"""Whether a file is to be open for writing to be synced."""
PROGRAM_FOLDERS: Final = frozenset(
    {"darwin": {"library"}, "win32": {"appdata"}}.get(sys.platform, set())
)
"""Folded names in a home folder, of what has no dot but is for programs: what they run at a start
lies there, too.
"""
HAS_STATX: Final = sys.platform == "linux"
"""Whether the system tells when a file was made."""

if sys.platform == "win32":
    import msvcrt

    def lock_file(descriptor: int, *, exclusive: bool) -> None:
        """Lock an open file without waiting. Raises OSError if somebody else has the lock.

        Windows has no shared locks here: without ``exclusive`` nothing is locked, and SQLite
        protects its database by its own locks.
        """
        if exclusive:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def lock_file(descriptor: int, *, exclusive: bool) -> None:
        """Lock an open file without waiting. Raises OSError if somebody else has the lock."""
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)


if sys.platform == "linux":
    _FICLONERANGE: Final = 0x4020940D  # fcntl has it from Python 3.12 on

    def clone_range(source: int, target: int, offset_bytes: int, length_bytes: int) -> None:
        """Let an open file share blocks of another one, at the same offset there.

        Raises OSError, among others if the file system has no such sharing.
        """
        order = struct.pack("=qQQQ", source, offset_bytes, length_bytes, offset_bytes)
        fcntl.ioctl(target, _FICLONERANGE, order)
else:

    def clone_range(source: int, target: int, offset_bytes: int, length_bytes: int) -> None:
        """Raise OSError: files of this system share no ranges of blocks."""
        del source, target, offset_bytes, length_bytes
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
