"""What a file system is like: how it may be read, which names it has, whether it is full.

The kind is known on Linux only (``/proc/self/mountinfo``); elsewhere it is unknown, which is
always safe.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Final

from torrent_engine.codec.paths import EXACT, NameFolding, windows_path

WINDOWS_NAMES: Final = os.name == "nt"
"""Whether files have names as Windows has them; what depends on it takes it as an argument."""
_MEMORY_TYPES: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_NETWORK_TYPES: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"}
)
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OTHER_CASE: Final = ("a", "A")
_OTHER_FORM: Final = ("\u00e9", "e\u0301")


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


def probe_names(folder: Path) -> NameFolding:
    """Say which names a folder takes for one: make files, look for them under other names.

    The files are removed again. Raises OSError where none can be made.
    """
    return NameFolding(
        case=_is_one_name(folder, *_OTHER_CASE), normal_form=_is_one_name(folder, *_OTHER_FORM)
    )


def has_room(path: Path, wanted_bytes: int) -> bool:
    """Return whether so much fits where a path is, or will be; True if that is unknown. Blocks."""
    while not path.is_dir() and path != path.parent:
        path = path.parent
    try:
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
        probe.unlink()


def usable_path(path: tuple[str, ...], *, windows: bool = WINDOWS_NAMES) -> tuple[str, ...]:
    """Return a cleaned path with names that files can have here."""
    return windows_path(path) if windows else path


class NameFoldings:
    """One answer per folder: which names it takes for one; and which names there can be."""

    def __init__(
        self,
        probe: Callable[[Path], NameFolding] = probe_names,
        *,
        windows: bool = WINDOWS_NAMES,
    ) -> None:
        """Make one that knows nothing; ``probe`` is asked about a folder that exists.

        If ``windows``, names are those that Windows can have.
        """
        self._probe = probe
        self._is_windows = windows
        self._known: dict[tuple[int, int], NameFolding] = {}

    def usable(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return a path with names that files can have here."""
        return usable_path(path, windows=self._is_windows)

    def of(self, folder: Path) -> NameFolding:
        """Return what holds in a folder, or will once it is made; blocking.

        Where no file can be made nothing is known, and names are taken to be told apart.
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
