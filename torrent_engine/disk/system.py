"""Differences between operating systems in file locks, file names, file modes and mapped files."""

import os
import sys
from typing import Final

WINDOWS_NAMES: Final = os.name == "nt"
"""Whether file names follow the rules of Windows; what depends on it takes it as an argument."""
HAS_FILE_MODES: Final = os.name != "nt"
"""Whether the mode of a file says who else may read it."""
HAS_SAFE_MAPPINGS: Final = sys.platform == "linux"
"""Whether a system call that is given pages beyond a truncated file's end fails with EFAULT."""

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
