"""Watched folder: its torrent files and link lists are added, then renamed or deleted."""

import os
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from torrent_engine.base.config import FILE_BENCODE_LIMITS, torrent_limits
from torrent_engine.base.errors import (
    BencodeError,
    MagnetError,
    MetainfoError,
    TorrentEngineError,
)
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.service.folder_looks import FolderLooks
from torrent_engine.service.regular_files import read_regular
from torrent_engine.service.torrent_lists import lines_of
from torrent_engine.service.watch_schedule import (
    ADDED_SUFFIX,
    INVALID_SUFFIX,
    LINKS_SUFFIX,
    DueFile,
    ListedFile,
    ReadOutcome,
    WatchSchedule,
    is_watched,
)

MAX_LINKS_BYTES: Final = 1024 * 1024
MAX_BATCH: Final = 200  # files whose torrents are saved together before they are renamed
MAX_TORRENT_BYTES: Final = FILE_BENCODE_LIMITS.max_bytes

Add = Callable[[Metainfo | Magnet, str], Awaitable[object]]
"""Adds a torrent, given where it was found. Raises TorrentEngineError."""


class WatchReporter(Protocol):
    """Receiver of messages about a watched folder."""

    def note(self, text: str, *, about: str = "") -> None:
        """Report a change; ``about`` is safe to print."""

    def error(self, error: BaseException, *, about: str) -> None:
        """Report an error with a file or the folder."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Torrents in one file, and errors in it."""

    torrents: tuple[Metainfo | Magnet, ...] = ()
    errors: tuple[TorrentEngineError, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """Settings of a watched folder."""

    deletes: bool = False
    """Added files are deleted instead of renamed."""
    clock: Callable[[], float] = time.monotonic
    max_torrent_bytes: int = MAX_TORRENT_BYTES
    looks: FolderLooks = field(default_factory=FolderLooks)


class WatchFolder:
    """One watched folder; :meth:`scan` looks for new files in it."""

    def __init__(
        self,
        folder: Path,
        add: Add,
        flush: Callable[[], Awaitable[None]],
        reporter: WatchReporter,
        options: WatchOptions | None = None,
    ) -> None:
        self.folder = folder
        self._add = add
        self._flush = flush
        self._reporter = reporter
        self._options = options or WatchOptions()
        self._schedule = WatchSchedule()
        self._looks = self._options.looks
        self._reported: dict[str, str] = {}
        """The last error of each path; it is not reported twice."""

    async def scan(self, *, is_asked: bool = False) -> None:
        """Add the files that are due; with ``is_asked`` also those that may be incomplete.

        Errors are reported and do not end the watch.
        """
        try:
            listing = await self._looks.look(self.folder, list_folder, self.folder)
        except OSError as error:
            self._report(self.folder, error)
            return
        if self._reported.pop(str(self.folder), None):
            self._reporter.note("is there again", about=escape_for_terminal(str(self.folder)))
        due = self._schedule.due(listing, self._options.clock(), is_asked=is_asked)
        for start in range(0, len(due), MAX_BATCH):
            await self._add_batch(due[start : start + MAX_BATCH])

    async def _add_batch(self, batch: list[DueFile]) -> None:
        """Add the torrents of some files; rename the files after the torrents are saved."""
        suffixes = [(file, await self._add_file(file)) for file in batch]
        try:
            await self._flush()
        except TorrentEngineError as error:  # what is not saved is added again, to no effect
            self._report(self.folder / batch[0].name, error)
            for file, suffix in suffixes:
                if suffix is not None:
                    self._record(file, ReadOutcome.LATER)
            return
        for file, suffix in suffixes:
            if suffix is not None:
                await self._set_aside(file, suffix)

    async def _add_file(self, file: DueFile) -> str | None:
        """Add the torrents of a file; return its new suffix, None if it is tried again."""
        if file.suffix:
            return file.suffix
        path = self.folder / file.name
        try:
            contents = await self._looks.look(
                self.folder, read_torrents, path, self._options.max_torrent_bytes
            )
            if contents.errors and not file.is_final:
                self._record(file, ReadOutcome.INVALID)
                return None
            for torrent in contents.torrents:
                await self._add(torrent, str(path))
        except (OSError, TorrentEngineError) as error:
            self._report(path, error)
            self._record(file, ReadOutcome.LATER)
            return None
        for invalid in contents.errors:
            message = f"{invalid}; set aside as {INVALID_SUFFIX}"
            self._reporter.error(MetainfoError(message), about=str(path))
        return INVALID_SUFFIX if contents.errors else ADDED_SUFFIX

    def _record(self, file: DueFile, outcome: ReadOutcome) -> None:
        self._schedule.record(file.name, outcome, self._options.clock())

    async def _set_aside(self, file: DueFile, suffix: str) -> None:
        """Delete or rename a file whose torrents are saved; what fails is tried again."""
        path = self.folder / file.name
        deletes = suffix == ADDED_SUFFIX and self._options.deletes
        try:
            work = path.unlink if deletes else partial(_rename, path, suffix)
            await self._looks.look(self.folder, work)
        except FileNotFoundError:
            pass  # renamed or removed by someone else
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._report(path, TorrentEngineError(f"was added, but cannot be renamed: {reason}"))
            self._schedule.keep(file.name, suffix, self._options.clock())
            return
        self._record(file, ReadOutcome.DONE)

    def _report(self, path: Path, error: Exception) -> None:
        if self._reported.get(str(path)) != str(error):
            self._reported[str(path)] = str(error)
            self._reporter.error(error, about=str(path))


def list_folder(folder: Path) -> list[ListedFile]:
    """Return the regular files, or links to them, with a watched name. Raises OSError."""
    with os.scandir(folder) as entries:
        return list(_listed(entries))


def _listed(entries: "Iterator[os.DirEntry[str]]") -> Iterator[ListedFile]:
    for entry in entries:
        if not is_watched(entry.name):
            continue
        try:
            found = entry.stat()
        except OSError:
            continue  # removed meanwhile, or a dangling link
        if stat.S_ISREG(found.st_mode):
            yield ListedFile(entry.name, found.st_size, found.st_mtime_ns, found.st_ino)


def read_torrents(path: Path, max_bytes: int = MAX_TORRENT_BYTES) -> Contents:
    """Read a .torrent, or a file with one magnet link per line. Raises OSError."""
    if path.name.lower().endswith(LINKS_SUFFIX):
        return parse_links(read_regular(path, MAX_LINKS_BYTES))
    data = read_regular(path, max_bytes)
    try:
        return Contents((Metainfo.from_bytes(data, limits=torrent_limits(max_bytes)),))
    except (BencodeError, MetainfoError) as error:
        return Contents(errors=(MetainfoError(f"not a torrent: {error}"),))


def parse_links(data: bytes) -> Contents:
    """Parse a text with one magnet link or info-hash per line."""
    if len(data) > MAX_LINKS_BYTES:
        return Contents(errors=(MagnetError(f"is longer than {MAX_LINKS_BYTES >> 10} KiB"),))
    torrents: list[Metainfo | Magnet] = []
    errors: list[TorrentEngineError] = []
    for number, line in enumerate(lines_of(data), 1):
        try:
            torrents.append(Magnet.parse(line))
        except MagnetError as error:
            errors.append(MagnetError(f"link {number}: {error}"))
    if not torrents and not errors:
        errors.append(MagnetError("contains no magnet link"))
    return Contents(tuple(torrents), tuple(errors))


def _rename(path: Path, suffix: str) -> None:
    path.rename(unused_name(path, suffix))


def unused_name(path: Path, suffix: str) -> Path:
    """Return a name that does not exist: ``x.torrent.added``, else ``x.torrent.2.added``."""
    target, number = path.with_name(f"{path.name}{suffix}"), 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.{number}{suffix}")
    return target
