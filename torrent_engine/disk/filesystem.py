"""Properties of file systems: non-blocking reads, name folding, free space.

The kind is known on Linux only (``/proc/self/mountinfo``); elsewhere it is unknown, which is
always safe.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Final

from torrent_engine.codec.paths import EXACT, NameFolding, windows_path
from torrent_engine.disk.system import WINDOWS_NAMES

_MEMORY_TYPES: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_NETWORK_TYPES: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"}
)
_LASTING_INODES: Final = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "zfs", "f2fs", "jfs", "tmpfs"}
)
_NO_NAME: Final = frozenset({errno.ENAMETOOLONG, errno.EINVAL})
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OTHER_CASE: Final = ("a", "A")
_OTHER_FORM: Final = ("\u00e9", "e\u0301")


class ReadMode(Enum):
    """How the event loop may read a file without blocking."""

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


def has_lasting_inodes(device: int) -> bool:
    """Return whether files keep their inode numbers for life; False if that is not known.

    FAT and many others give a file a new one whenever it was out of the kernel's memory.
    """
    return filesystem_type(device) in _LASTING_INODES


def is_network_filesystem(path: Path) -> bool:
    """Return whether ``path`` is on a network file system, with unreliable locks and mappings."""
    kind = filesystem_type(path.stat().st_dev)
    return kind in _NETWORK_TYPES or kind.startswith("fuse.")


class ReadModes:
    """The read mode of each file system, determined once for each device."""

    def __init__(self) -> None:
        self._modes: dict[int, ReadMode] = {}

    def of(self, device: int) -> ReadMode:
        """Return the read mode of a device; before a refusal the first one to try."""
        first = ReadMode.NOWAIT if hasattr(os, "RWF_NOWAIT") else ReadMode.THREAD
        return self._modes.setdefault(device, first)

    def refuse(self, device: int) -> ReadMode:
        """Choose again after RWF_NOWAIT was refused: direct reads only for memory file systems."""
        in_memory = filesystem_type(device) in _MEMORY_TYPES
        self._modes[device] = ReadMode.DIRECT if in_memory else ReadMode.THREAD
        return self._modes[device]


def probe_names(folder: Path) -> NameFolding:
    """Determine by creating files which names a folder treats as equal.

    The files are removed again. Raises OSError if none can be created.
    """
    return NameFolding(
        case=_is_one_name(folder, *_OTHER_CASE), normal_form=_is_one_name(folder, *_OTHER_FORM)
    )


def is_folder(path: Path) -> bool:
    """Return whether a folder is there; raises OSError where that cannot be seen.

    Where no path can be of that name none is.
    """
    try:
        return path.is_dir()
    except OSError as error:
        if error.errno in _NO_NAME:
            return False
        raise


def nearest_folder(path: Path) -> Path:
    """Return the path, or its nearest existing parent folder."""
    return next(each for each in (path, *path.parents) if is_folder(each))


def has_room(path: Path, wanted_bytes: int) -> bool:
    """Return whether there is enough free space at a path; True if unknown. Blocks."""
    try:
        while not path.is_dir() and path != path.parent:
            path = path.parent
        usage = shutil.disk_usage(path)
    except OSError:
        return True
    return usage.free >= wanted_bytes or not usage.total


def _is_one_name(folder: Path, made: str, other: str) -> bool:
    stem = f".torrent-engine-{secrets.token_hex(8)}-"
    probe = folder / f"{stem}{made}"
    probe.touch(exist_ok=False)
    try:
        return os.path.lexists(folder / f"{stem}{other}")
    finally:
        with suppress(OSError):  # it is nobody's: once more is worth it
            probe.unlink()
        probe.unlink(missing_ok=True)


def usable_path(path: tuple[str, ...], *, windows: bool = WINDOWS_NAMES) -> tuple[str, ...]:
    """Return a cleaned path with names that are valid on this system."""
    return windows_path(path) if windows else path


class NameFoldings:
    """Name folding by folder, and valid names."""

    def __init__(
        self,
        probe: Callable[[Path], NameFolding] = probe_names,
        *,
        windows: bool = WINDOWS_NAMES,
    ) -> None:
        """Make one that knows nothing; ``probe`` is asked about a folder that exists."""
        self._probe = probe
        self.is_windows = windows
        """Whether names are those that Windows can have."""
        self._known: dict[tuple[int, int], NameFolding] = {}

    def usable(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return a path with names that are valid on this system."""
        return usable_path(path, windows=self.is_windows)

    def of(self, folder: Path) -> NameFolding:
        """Return the name folding of a folder, existing or not; blocking.

        If no file can be created it is unknown, and names count as different.
        """
        try:
            return self._of(folder)
        except OSError:
            return EXACT

    def _of(self, folder: Path) -> NameFolding:
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        status = folder.stat()
        key = (status.st_dev, status.st_ino)  # some file systems let each folder decide
        if key not in self._known:
            self._known[key] = self._probe(folder)
        return self._known[key]
