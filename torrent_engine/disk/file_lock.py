"""Advisory lock on a file; the system releases it when its holder dies (row F7)."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from torrent_engine.disk.regular_files import open_descriptor, open_regular
from torrent_engine.disk.system import lock_file

_MAX_SIGNATURE_BYTES: Final = 20


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
            self._descriptor = open_descriptor(self.path, os.O_RDWR | os.O_CREAT)
        try:
            lock_file(self._descriptor, exclusive=exclusive)
        except OSError:
            return False
        return True

    def sign(self) -> None:
        """Write the number of this process into the file, if that is possible."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, b"%d\n" % os.getpid())

    def holder(self) -> int | None:
        """Return the number of the process that signed the file last; None if there is none."""
        try:
            with open_regular(self.path) as file:
                text = file.read(_MAX_SIGNATURE_BYTES).strip()
        except OSError:
            return None
        return int(text) if text.isdigit() else None

    def free(self) -> None:
        """Release the lock; the file stays, because removing it would race with its next user."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
