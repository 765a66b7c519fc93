"""Free space of disks."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio.to_thread

FRESH_S: Final = 5.0  # ours: pollers ask more often; qBittorrent itself looks every 30 s


class FreeSpace:
    """Free space of the folder that clients ask for again and again, which is remembered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folder, self._bytes, self._looked_at = "", -1, 0.0

    async def of(self, folder: str) -> int:
        """Return what was free some seconds ago at most; -1 if that is not known."""
        now = self._clock()
        if folder != self._folder or now - self._looked_at >= FRESH_S:
            found = await free_bytes(folder)
            self._folder, self._bytes, self._looked_at = folder, found, now
        return self._bytes


async def free_bytes(folder: str) -> int:
    """Return what is free where a folder is or will be; -1 if that is not known."""

    def look() -> int:
        path = Path(folder)
        while not path.exists() and path != path.parent:
            path = path.parent
        return shutil.disk_usage(path).free

    try:
        return await anyio.to_thread.run_sync(look)
    except OSError:
        return -1
