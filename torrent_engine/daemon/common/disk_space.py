"""Free space of disks."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from torrent_engine.service.folder_looks import FolderLooks

LIMIT_S: Final = 2.0  # ours: what pollers wait for a number that is the least of theirs
FRESH_S: Final = 5.0  # ours: pollers ask more often; qBittorrent itself looks every 30 s


class FreeSpace:
    """Free space of the folder that clients ask for again and again, which is remembered."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        folders: FolderLooks | None = None,
        look: Callable[[str], int] | None = None,
    ) -> None:
        self._clock = clock
        self._folders = FolderLooks(LIMIT_S) if folders is None else folders
        self._look = look or free_bytes
        self._folder, self._bytes, self._looked_at = "", -1, 0.0

    async def of(self, folder: str) -> int:
        """Return what was free some seconds ago at most; -1 if that is not known."""
        now = self._clock()
        if folder != self._folder or now - self._looked_at >= FRESH_S:
            try:
                found = await self._folders.look(folder, self._look, folder)
            except OSError:
                found = -1
            now = self._clock()
            self._folder, self._bytes, self._looked_at = folder, found, now
        return self._bytes


def free_bytes(folder: str) -> int:
    """Return what is free where a folder is or will be. Blocks; raises OSError."""
    path = Path(folder)
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free
