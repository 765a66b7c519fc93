"""Torrents as background parts see them, over the rows and the engine port."""

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torrent_engine.base.config import SeedingConfig
from torrent_engine.base.errors import ClosedError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.urls import host_of
from torrent_engine.daemon.engine_port.facts import EngineState, SeedRules
from torrent_engine.daemon.jobs.hook_facts import HookTorrent
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.daemon.state.labels import Category
from torrent_engine.daemon.state.rows import StateRow
from torrent_engine.service.add_options import AddOptions

ENDED_BY_RULE = frozenset({"ratio", "time", "idle"})
NO_RULES = SeedRules(math.inf, math.inf, math.inf)


class PortTorrents:
    """What hooks, guards and watched folders need of torrents."""

    def __init__(self, state: DaemonState, download_folder: Callable[[], Path]) -> None:
        self._state = state
        self._download_folder = download_folder
        self._port = state.port

    # -- guard of the disks ---------------------------------------------------------------------

    def folders(self) -> Mapping[InfoHash, str]:
        """Return where each torrent that is not complete is written."""
        rows = self._state.torrents
        return {row.info_hash: row.settings.current_path for row in rows if not row.is_complete}

    def bar(self, info_hashes: Collection[InfoHash]) -> None:
        """Let these torrents not download, and all others again."""
        try:
            self._port.engine.bar_downloads(info_hashes)
        except ClosedError:
            return  # the engine is opened anew, and then looked at

    # -- after seeding ----------------------------------------------------------------------------

    def has_finished(self, info_hash: InfoHash) -> bool:
        """Return whether a torrent is there and was stopped by a rule."""
        try:
            progress = self._port.torrents.facts(info_hash).progress
        except (UnknownTorrentError, ClosedError):
            return False
        return progress.state is EngineState.STOPPED and progress.stop_reason in ENDED_BY_RULE

    async def remove(self, info_hash: InfoHash, *, delete_files: bool) -> None:
        """Remove a torrent."""
        await self._port.control.remove(info_hash, delete_files=delete_files)

    async def super_seed(self, info_hash: InfoHash) -> None:
        """Let a torrent super-seed from now on, whatever its rules."""
        self._port.settings.set_seed_rules(info_hash, NO_RULES)
        self._port.settings.set_super_seeding(info_hash, is_super_seeding=True)
        await self._port.control.start(info_hash)

    # -- moves out of the folder for incomplete files -------------------------------------------

    def unmoved(self) -> Mapping[InfoHash, str]:
        """Return where each complete torrent belongs that lies elsewhere and does not move."""
        return {
            row.info_hash: row.settings.save_path
            for row in self._state.torrents
            if row.is_complete
            and row.settings.current_path != row.settings.save_path
            and not row.progress.is_moving
        }

    async def move(self, info_hash: InfoHash, path: str) -> None:
        """Move the files."""
        await self._port.control.move(info_hash, path)

    # -- watched folders ------------------------------------------------------------------------

    async def add(self, torrent: Metainfo | Magnet, options: AddOptions) -> object:
        """Add a torrent; what its category says goes before the options of the folder."""
        category = self._state.labels.category(options.category or "")
        if category is not None:
            options = category_options(category, self._download_folder()).over(options)
        return await self._port.engine.add(torrent, options)

    async def flush(self) -> None:
        """Wait until what was added is saved."""
        await self._port.engine.flush()

    # -- hooks ------------------------------------------------------------------------------------

    def describe(self, info_hash: InfoHash) -> HookTorrent | None:
        """Return what hooks are told of a torrent; None if it is not known."""
        row = self._state.torrents.get(info_hash)
        return None if row is None else hook_torrent(row)


def category_options(category: Category, download_folder: Path) -> AddOptions:
    """Return what a category says of its torrents."""
    rules = SeedingConfig(category.seed_ratio, category.seed_time_s, category.seed_idle_s)
    return AddOptions(
        save_path=str(download_folder / category.save_path) if category.save_path else None,
        seed_rules=None if rules == SeedingConfig() else rules,
        max_download_bytes_per_s=category.max_download_bytes_per_s,
        max_upload_bytes_per_s=category.max_upload_bytes_per_s,
    )


def hook_torrent(row: StateRow) -> HookTorrent:
    """Return what hooks are told of a row; of trackers only the hosts."""
    settings = row.settings
    urls = (url for tier in settings.trackers for url in tier)
    hosts = dict.fromkeys(map(host_of, urls))
    return HookTorrent(
        hash=row.hash,
        name=row.name,
        id=row.id,
        save_path=settings.current_path,
        content_path=f"{settings.current_path.rstrip('/')}/{row.about.root}",
        category=row.user.category,
        labels=row.user.labels,
        size_bytes=row.progress.wanted_bytes,
        downloaded_bytes=row.progress.all_downloaded_bytes,
        priority=settings.priority,
        tracker_hosts=tuple(host for host in hosts if host),
    )
