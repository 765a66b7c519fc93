"""Watched folders of the daemon, each with the options of its torrents."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import anyio

from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import escape_for_terminal
from torrent_engine.daemon.state.counters import ServiceCounters
from torrent_engine.service.add_options import AddOptions
from torrent_engine.service.folder_watcher import INTERVAL_S, FolderWatcher
from torrent_engine.service.watch_folder import WatchFolder, WatchOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchedFolder:
    """One folder, and how its torrents are added."""

    folder: Path
    options: AddOptions = field(default_factory=AddOptions)
    deletes: bool = False
    """Added files are deleted instead of renamed."""


class AddsWatched(Protocol):
    """Who adds the torrents of watched folders."""

    async def add(self, torrent: Metainfo | Magnet, options: AddOptions) -> object:
        """Add a torrent. Raises TorrentEngineError."""

    async def flush(self) -> None:
        """Wait until what was added is saved."""


@dataclass(slots=True)
class WatchCounts:
    """Numbers of one folder since the start."""

    added: int = 0
    failed: int = 0
    error: str = ""
    """The last one; empty while the folder can be read."""


class _Reporter:
    """Passes on what happens in one folder."""

    def __init__(
        self, counts: WatchCounts, alert: Callable[[str, str], None], counters: ServiceCounters
    ) -> None:
        self._counts = counts
        self._alert = alert
        self._counters = counters

    def note(self, text: str, *, about: str = "") -> None:
        """Report a change."""
        self._counts.error = ""
        logger.info("%s: %s", about, text)

    def error(self, error: BaseException, *, about: str) -> None:
        """Report an error with a file or the folder."""
        self._counts.failed += 1
        self._counters.note_watched(has_failed=True)
        self._counts.error = escape_for_terminal(f"{about}: {error}")
        logger.warning("%s", self._counts.error)
        self._alert(about, str(error))


class FolderWatch:
    """Watches all folders; a part of the daemon."""

    name = "watch"

    def __init__(
        self,
        adder: AddsWatched,
        folders: Sequence[WatchedFolder],
        alert: Callable[[str, str], None] = lambda _path, _text: None,
        *,
        interval_s: float = INTERVAL_S,
        options: WatchOptions | None = None,
        counters: ServiceCounters | None = None,
    ) -> None:
        """``alert`` takes the path and the text of an error."""
        self._counters = counters or ServiceCounters()
        self._adder = adder
        self._alert = alert
        self._interval_s = interval_s
        self._options = options or WatchOptions()
        self._folders = tuple(folders)
        self._watchers: list[FolderWatcher] = []
        self._changed = anyio.Event()
        self.counts: dict[Path, WatchCounts] = {}

    def change(self, folders: Sequence[WatchedFolder]) -> None:
        """Watch these folders from now on, and scan them at once."""
        self._folders = tuple(folders)
        self._changed.set()

    def scan_now(self) -> None:
        """Scan all folders soon, at a user's request."""
        for watcher in self._watchers:
            watcher.scan_now()

    async def run(self) -> None:
        """Scan the folders until cancelled."""
        while True:
            self._changed = anyio.Event()
            self._watchers = [self._watcher(each) for each in self._folders]
            async with anyio.create_task_group() as tasks:
                for watcher in self._watchers:
                    tasks.start_soon(watcher.run)
                await self._changed.wait()
                tasks.cancel_scope.cancel()

    def _watcher(self, watched: WatchedFolder) -> FolderWatcher:
        counts = self.counts.setdefault(watched.folder, WatchCounts())
        options = replace(self._options, deletes=watched.deletes)
        folder = WatchFolder(
            watched.folder,
            self._adding(watched.options, counts),
            self._adder.flush,
            _Reporter(counts, self._alert, self._counters),
            options,
        )
        return FolderWatcher(folder, self._interval_s)

    def _adding(
        self, options: AddOptions, counts: WatchCounts
    ) -> Callable[[Metainfo | Magnet, str], Awaitable[object]]:
        async def add(torrent: Metainfo | Magnet, _: str) -> None:
            await self._adder.add(torrent, options)
            counts.added += 1
            self._counters.note_watched(has_failed=False)

        return add
