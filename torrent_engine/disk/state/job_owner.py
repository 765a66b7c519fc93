"""Owners of jobs: one lock file per process, which the system releases when it dies."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from torrent_engine.disk.file_lock import FileLock
from torrent_engine.disk.os_errors import storage_error
from torrent_engine.disk.state.files import make_private_folder

_ID: Final = re.compile(r"[0-9a-f]{32}")


class JobOwner:
    """One worker on jobs; its ``id`` is in the rows of its jobs. Blocking."""

    def __init__(self, folder: Path) -> None:
        self.id = uuid4().hex
        self._folder = folder / "locks"
        self._lock = FileLock(self._path(self.id))
        self._is_held = False

    def take(self) -> None:
        """Show that it lives, until :meth:`free` or its death; raises StorageError."""
        if self._is_held:
            return
        try:
            make_private_folder(self._folder)
            self._is_held = self._lock.take()
        except OSError as error:
            raise storage_error(self._folder, error) from error

    def free(self) -> None:
        """Leave; its file goes too, for no other owner ever has its name."""
        if self._is_held:
            self._is_held = False
            self._lock.free()
            with suppress(OSError):  # who looks at it next removes it
                self._path(self.id).unlink(missing_ok=True)

    def is_alive(self, owner: str) -> bool:
        """Return whether another owner lives; remove the file of a dead one."""
        if owner == self.id:
            return True
        path = self._path(owner)
        if _ID.fullmatch(owner) is None or not path.exists():
            return False
        lock = FileLock(path)
        try:
            is_dead = lock.take()
        except OSError:
            return True  # nobody may look: it is left alone
        lock.free()
        if is_dead:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        return not is_dead

    def _path(self, owner: str) -> Path:
        return self._folder / f"jobs-{owner}.lock"
