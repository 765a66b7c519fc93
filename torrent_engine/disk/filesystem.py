"""Knows what kind of file system a device number belongs to, and how it may be read.

Linux only (``/proc/self/mountinfo``); elsewhere every kind is unknown, which is always safe.
"""

import os
from enum import Enum
from pathlib import Path
from typing import Final

_MEMORY_TYPES: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_NETWORK_TYPES: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"}
)
_MOUNTS: Final = Path("/proc/self/mountinfo")


class ReadMode(Enum):
    """How the event loop may read a file without being held up."""

    NOWAIT = "RWF_NOWAIT: what is in the page cache at once, the rest refused"
    DIRECT = "a plain read, the file system lives in memory"
    THREAD = "not at all: a worker thread reads"


def filesystem_type(device: int) -> str:
    """Return the type of the file system mounted with this ``st_dev``; "" when unknown."""
    wanted = f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else ""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        left, _, right = line.partition(" - ")
        if left.split(" ")[2:3] == [wanted]:
            return right.split(" ")[0]
    return ""


def is_network_filesystem(path: Path) -> bool:
    """Return whether ``path`` lies on a file system whose locks and maps cannot be relied on."""
    kind = filesystem_type(path.stat().st_dev)
    return kind in _NETWORK_TYPES or kind.startswith("fuse.")


class ReadModes:
    """Owns one decision per file system: how the loop reads it."""

    def __init__(self) -> None:
        self._modes: dict[int, ReadMode] = {}

    def of(self, device: int) -> ReadMode:
        """Return what was decided, or what is tried first."""
        first = ReadMode.NOWAIT if hasattr(os, "RWF_NOWAIT") else ReadMode.THREAD
        return self._modes.setdefault(device, first)

    def refuse(self, device: int) -> ReadMode:
        """Decide again after RWF_NOWAIT was refused: memory is read directly, the rest is not."""
        in_memory = filesystem_type(device) in _MEMORY_TYPES
        self._modes[device] = ReadMode.DIRECT if in_memory else ReadMode.THREAD
        return self._modes[device]
