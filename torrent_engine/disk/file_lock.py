"""Owns one advisory lock on a file; the system frees it when its holder dies (row F7)."""

import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, exclusive: bool) -> None:
        if exclusive:  # there is no shared kind; SQLite guards its file by itself
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int, *, exclusive: bool) -> None:
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)


class FileLock:
    """A lock file, and whether we hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def take(self, *, exclusive: bool = True) -> bool:
        """Try to take the lock, or change its kind; False if somebody else has it.

        A failed change of kind may leave the lock not held. Raises OSError if the file cannot
        be opened.
        """
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            self._descriptor = os.open(self.path, flags, 0o600)
        try:
            _lock(self._descriptor, exclusive=exclusive)
        except OSError:
            return False
        return True

    def free(self) -> None:
        """Let go of the lock; the file stays, for removing it would race with its next user."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
