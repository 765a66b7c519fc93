"""Guard of free disk space: downloads to a disk that is nearly full wait until there is room."""

import logging
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from torrent_engine.base.ids import InfoHash
from torrent_engine.service.folder_looks import FolderLooks
from torrent_engine.service.pauses import Alarm

LOOK_S: Final = 10.0  # ours: at 100 MB/s a gigabyte is written between two looks
ENOUGH: Final = 1.1  # of the minimum: so much is free before downloads go on
logger = logging.getLogger(__name__)


class GuardedDownloads(Protocol):
    """The downloads that are held back."""

    def folders(self) -> Mapping[InfoHash, str]:
        """Return where each torrent that is not complete is written."""

    def bar(self, info_hashes: Collection[InfoHash]) -> None:
        """Let these torrents not download, and all others again."""


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The disk of one folder."""

    folder: str
    """The first one that was found on it."""
    device: int
    total_bytes: int
    free_bytes: int
    is_low: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    device: int
    total_bytes: int
    free_bytes: int


Measure = Callable[[str], tuple[int, int, int]]
"""Returns the device, the size and the free bytes of a folder's disk. Raises OSError."""


class _Batch:
    """Folders whose disks are looked at in one thread, one after the other."""

    def __init__(self, folders: Sequence[str], measure: Measure) -> None:
        self._folders = folders
        self._measure = measure
        self._next = 0
        self._is_given_up = False
        self.present = folders[0]
        """The folder that is looked at."""
        self.is_over = False
        self.found: dict[str, _Found] = {}

    def run(self) -> None:
        """Look at all folders, or until the batch is given up; blocking."""
        for number, folder in enumerate(self._folders, 1):
            self._next, self.present = number, folder
            try:
                found = _Found(*self._measure(folder))
            except OSError as error:
                logger.debug("disk of %s: %s", folder, error)
            else:
                self.found[folder] = found
            if self._is_given_up:
                break
        self.is_over = True

    def give_up(self) -> None:
        """Look at no more folders behind the present one."""
        self._is_given_up = True

    def left(self) -> Sequence[str]:
        """Return the folders behind the present one."""
        return self._folders[self._next :]


class DiskGuard:
    """Looks at the free space of every disk that is downloaded to; a part of the daemon."""

    name = "disk"

    def __init__(
        self,
        downloads: GuardedDownloads,
        roots: Sequence[str],
        min_free_bytes: int,
        alert: Callable[[DiskSpace], None],
        *,
        measure: Measure | None = None,
        alarm: Alarm | None = None,
    ) -> None:
        """``roots`` are looked at also while nothing is downloaded there; 0 bytes: no guard."""
        self._downloads = downloads
        self._roots = tuple(roots)
        self._min_free_bytes = min_free_bytes
        self._alert = alert
        self._measure = measure or disk_of
        self._alarm = alarm or Alarm()
        self._looks = FolderLooks()
        self._low: set[int] = set()
        self._silent: list[_Batch] = []
        """Looks that have been given up, and have not ended."""
        self.disks: tuple[DiskSpace, ...] = ()
        """What the last look found."""

    def change(self, roots: Sequence[str], min_free_bytes: int) -> None:
        """Take other settings, and look at once."""
        self._roots, self._min_free_bytes = tuple(roots), min_free_bytes
        self.look_soon()

    def look_soon(self) -> None:
        """Look at once: a download was added, or files were removed."""
        self._alarm.ring()

    async def run(self) -> None:
        """Look regularly until cancelled; then downloads are no longer held back."""
        try:
            while True:
                await self.look()
                await self._alarm.wait(LOOK_S)
        finally:
            self._downloads.bar(())

    async def look(self) -> None:
        """Look at all disks now, and hold or release downloads."""
        folders = self._downloads.folders()
        wanted = dict.fromkeys((*self._roots, *folders.values()))
        devices = await self._measured(tuple(wanted))
        self._update(devices)
        barred = {
            info_hash
            for info_hash, folder in folders.items()
            if (found := devices.get(folder)) is not None and found.device in self._low
        }
        self._downloads.bar(barred)

    async def _measured(self, folders: Sequence[str]) -> dict[str, _Found]:
        """Return the disk of each folder that has one; those that do not answer are left out."""
        found: dict[str, _Found] = {}
        self._silent = [each for each in self._silent if not each.is_over]
        silent = {each.present for each in self._silent}
        left: Sequence[str] = [each for each in folders if each not in silent]
        while left:
            batch = _Batch(left, self._measure)
            try:
                await self._looks.look(left[0], batch.run)
            except OSError as error:
                batch.give_up()
                self._silent.append(batch)
                logger.warning("disk of %s: %s", batch.present, error)
            found |= batch.found
            left = batch.left()
        return found

    def _update(self, devices: Mapping[str, _Found]) -> None:
        before, self._low = self._low, set()
        disks: dict[int, DiskSpace] = {}
        for folder, found in devices.items():
            if found.device in disks:
                continue
            limit = self._min_free_bytes * (ENOUGH if found.device in before else 1.0)
            is_low = found.free_bytes < limit
            disk = DiskSpace(folder, found.device, found.total_bytes, found.free_bytes, is_low)
            disks[found.device] = disk
            if is_low:
                self._low.add(found.device)
            if is_low is not (found.device in before):
                self._tell(disk)
        self.disks = tuple(disks.values())

    def _tell(self, disk: DiskSpace) -> None:
        free_mib = disk.free_bytes >> 20
        if disk.is_low:
            logger.warning("%s: %d MiB free: downloads there wait", disk.folder, free_mib)
            self._alert(disk)
        else:
            logger.info("%s: %d MiB free: downloads there go on", disk.folder, free_mib)


def disk_of(folder: str) -> tuple[int, int, int]:
    """Return the device, the size and the free bytes of a folder's disk, or of its next parent's.

    Raises OSError.
    """
    path = Path(folder)
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return os.stat(path).st_dev, usage.total, usage.free  # noqa: PTH116 - beside disk_usage
