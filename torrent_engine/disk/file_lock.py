"""Advisory lock on a file; the system releases it when its holder dies (row F7)."""

import os
from contextlib import suppress
from pathlib import Path

from torrent_engine.disk.system import lock_file


class FileLock:
    """A lock file, and whether we hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def take(self, *, exclusive: bool = True) -> bool:
        """Try to take the lock, or change its kind; return False if another process holds it.

        A failed change of kind may leave the lock not held. Raises OSError if the file cannot
        be opened.
        """
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            self._descriptor = os.open(self.path, flags, 0o600)
        try:
            lock_file(self._descriptor, exclusive=exclusive)
        except OSError:
            return False
        return True

    def free(self) -> None:
        """Release the lock; the file stays, because removing it would race with its next user."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
