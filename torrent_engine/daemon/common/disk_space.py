"""Free space of disks."""

import shutil
from pathlib import Path

import anyio.to_thread


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
