"""Owns one watched folder on the disk: what lies in it is taken, and then gets another name."""

import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from torrent_engine.base.errors import (
    BencodeError,
    MagnetError,
    MetainfoError,
    TorrentEngineError,
)
from torrent_engine.cli.exit_codes import CliError, ExitCode
from torrent_engine.cli.source_list import lines_of
from torrent_engine.cli.watch_folder import (
    ADDED_SUFFIX,
    INVALID_SUFFIX,
    LINKS_SUFFIX,
    DueFile,
    FileFacts,
    Verdict,
    WatchFolder,
    is_watched,
)
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo

if TYPE_CHECKING:
    from torrent_engine.cli.render import Reporter

MAX_LINKS_BYTES: Final = 1024 * 1024
MAX_BATCH: Final = 200  # files whose torrents are saved together, before they get their new name

Add = Callable[[Metainfo | Magnet, str], Awaitable[None]]
"""Adds a torrent, and says where it was found. Raises TorrentEngineError."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What one file names."""

    torrents: tuple[Metainfo | Magnet, ...] = ()
    faults: tuple[TorrentEngineError, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How torrents are taken from a folder."""

    deletes: bool = False
    """What was taken is removed, not renamed."""
    clock: Callable[[], float] = time.monotonic


class Watcher:
    """Looks into one folder when it is told to."""

    def __init__(
        self,
        folder: Path,
        add: Add,
        flush: Callable[[], Awaitable[None]],
        reporter: "Reporter",
        options: WatchOptions | None = None,
    ) -> None:
        self.folder = folder
        self._add = add
        self._flush = flush
        self._reporter = reporter
        self._options = options or WatchOptions()
        self._files = WatchFolder()
        self._told: dict[str, str] = {}
        """The last fault of each path that was told; it is not told twice."""

    async def look(self, *, is_asked: bool = False) -> None:
        """Take what is due; ``is_asked``: also what is not sure to be whole.

        What goes wrong with a file or the folder is told and does not end the watch.
        """
        try:
            listing = await anyio.to_thread.run_sync(listed, self.folder)
        except OSError as error:
            self._tell(self.folder, error)
            return
        if self._told.pop(str(self.folder), None):
            self._reporter.note(f"{_shown(self.folder)}: is there again")
        due = self._files.look(listing, self._options.clock(), is_asked=is_asked)
        for start in range(0, len(due), MAX_BATCH):
            await self._take(due[start : start + MAX_BATCH])

    async def _take(self, batch: list[DueFile]) -> None:
        """Add what a batch names; only when that is saved the files get their new names."""
        verdicts = [(file, await self._take_one(file)) for file in batch]
        await self._flush()
        for file, suffix in verdicts:
            if suffix is not None:
                await anyio.to_thread.run_sync(self._set_aside, file.name, suffix)

    async def _take_one(self, file: DueFile) -> str | None:
        """Add what one file names; return the suffix that it gets, None if it stays."""
        path = self.folder / file.name
        try:
            contents = await anyio.to_thread.run_sync(read_torrents, path)
            if contents.faults and not file.is_final:
                self._tried(file, Verdict.NO_TORRENT)
                return None
            for torrent in contents.torrents:
                await self._add(torrent, str(path))
        except (OSError, TorrentEngineError) as error:
            self._tell(path, error)
            self._tried(file, Verdict.LATER)
            return None
        self._tried(file, Verdict.DONE)
        for fault in contents.faults:
            self._reporter.error(
                CliError(f"{fault}; set aside as {INVALID_SUFFIX}"), about=str(path)
            )
        return INVALID_SUFFIX if contents.faults else ADDED_SUFFIX

    def _tried(self, file: DueFile, verdict: Verdict) -> None:
        self._files.tried(file.name, verdict, self._options.clock())

    def _set_aside(self, name: str, suffix: str) -> None:
        """Remove or rename a file whose torrents are saved."""
        path = self.folder / name
        try:
            if suffix == ADDED_SUFFIX and self._options.deletes:
                path.unlink()
            else:
                path.rename(free_name(path, suffix))
        except FileNotFoundError:
            return  # somebody else has put it away
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._tell(path, CliError(f"was taken, but stays under its name: {reason}"))

    def _tell(self, path: Path, error: Exception) -> None:
        if self._told.get(str(path)) != str(error):
            self._told[str(path)] = str(error)
            self._reporter.error(error, about=str(path))


def watched_folders(folders: Sequence[Path]) -> tuple[Path, ...]:
    """Return each folder once. Raises CliError or OSError for one that cannot be watched."""
    for folder in folders:
        if not folder.exists():
            raise CliError(f"--watch {folder}: no such folder", ExitCode.NOT_FOUND)
        if not folder.is_dir():
            raise CliError(f"--watch {folder}: is no folder")
        listed(folder)
    return tuple({folder.resolve(): folder for folder in folders}.values())


def listed(folder: Path) -> list[FileFacts]:
    """Return the regular files, or links to some, that a watch is about. Raises OSError."""
    with os.scandir(folder) as entries:
        return list(_facts(entries))


def _facts(entries: "Iterator[os.DirEntry[str]]") -> Iterator[FileFacts]:
    for entry in entries:
        if not is_watched(entry.name):
            continue
        try:
            found = entry.stat()
        except OSError:
            continue  # gone meanwhile, or a link to nothing
        if stat.S_ISREG(found.st_mode):
            yield FileFacts(entry.name, found.st_size, found.st_mtime_ns, found.st_ino)


def read_torrents(path: Path) -> Contents:
    """Read a .torrent, or a file with a magnet link a line. Raises OSError."""
    if path.name.lower().endswith(LINKS_SUFFIX):
        with path.open("rb") as file:
            return links_in(file.read(MAX_LINKS_BYTES + 1))
    try:
        return Contents((Metainfo.read(path),))
    except (BencodeError, MetainfoError) as error:
        return Contents(faults=(MetainfoError(f"no torrent: {error}"),))


def links_in(data: bytes) -> Contents:
    """Return the links of a text, one a line; a link may be a bare info-hash."""
    if len(data) > MAX_LINKS_BYTES:
        return Contents(faults=(MagnetError(f"is longer than {MAX_LINKS_BYTES >> 10} KiB"),))
    torrents: list[Metainfo | Magnet] = []
    faults: list[TorrentEngineError] = []
    for number, line in enumerate(lines_of(data), 1):
        try:
            torrents.append(Magnet.parse(line))
        except MagnetError as error:
            faults.append(MagnetError(f"link {number}: {error}"))
    if not torrents and not faults:
        faults.append(MagnetError("has no magnet link in it"))
    return Contents(tuple(torrents), tuple(faults))


def free_name(path: Path, suffix: str) -> Path:
    """Return a name that nobody has: ``x.torrent.added``, else ``x.torrent.2.added``."""
    target, number = path.with_name(f"{path.name}{suffix}"), 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.{number}{suffix}")
    return target


def _shown(path: Path) -> str:
    from torrent_engine.cli.render import safe

    return safe(str(path))
