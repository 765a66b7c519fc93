"""All background work of the daemon, made from its settings."""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import ClosedError, ConfigError
from torrent_engine.daemon.jobs.after_seeding import AfterSeeding, SeedEnd
from torrent_engine.daemon.jobs.blocklist import Blocklists, ListEngine, ListSource
from torrent_engine.daemon.jobs.completions import Completions
from torrent_engine.daemon.jobs.disk_guard import DiskGuard, DiskSpace
from torrent_engine.daemon.jobs.due_hooks import StoredDueHooks
from torrent_engine.daemon.jobs.hook_facts import HookCall, HookEvent
from torrent_engine.daemon.jobs.hooks import Hook, HookRunner
from torrent_engine.daemon.jobs.incomplete import IncompleteMoves
from torrent_engine.daemon.jobs.moments import Moments
from torrent_engine.daemon.jobs.port_torrents import PortTorrents
from torrent_engine.daemon.jobs.schedule import AlternativeSpeeds, SpeedSettings
from torrent_engine.daemon.jobs.speed_schedule import SpeedSchedule
from torrent_engine.daemon.jobs.supervision import BackgroundPart, PartHealth, Supervisor
from torrent_engine.daemon.jobs.torrent_copies import TorrentCopyFolder
from torrent_engine.daemon.jobs.watch import FolderWatch, WatchedFolder
from torrent_engine.daemon.settings.engine_config import KB, download_folder
from torrent_engine.daemon.settings.merge import Merged
from torrent_engine.daemon.settings.model import DaemonSettings
from torrent_engine.daemon.settings.tables import BlocklistSettings, HookSettings, WatchSettings
from torrent_engine.daemon.state.daemon_state import DaemonState
from torrent_engine.service.add_options import AddOptions

MIB: Final = 1 << 20
MIN_INTERVAL_S: Final = 900.0  # ours: between two fetches of a list
_UNITS_S: Final = {"m": 60.0, "h": 3_600.0, "d": 86_400.0}
_INTERVAL: Final = re.compile(r"(\d{1,6})\s*([mhd])")
Alert = Callable[[str, str], None]
"""Takes what it is about and a text."""


class Background:
    """Hooks, watched folders, speeds, guards; :meth:`run` works until cancelled."""

    def __init__(
        self,
        state: DaemonState,
        merged: Merged,
        lists: Blocklists,
        alert: Alert = lambda _about, _text: None,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Raise ConfigError for a hook whose program cannot be run."""
        self._state = state
        self._alert = alert
        self._wall_clock = wall_clock
        self._settings = settings = merged.settings
        torrents = PortTorrents(state, lambda: download_folder(self._settings))
        self.hooks = HookRunner(
            hooks_of(merged.tables.hook),
            StoredDueHooks(state.store),
            alert=partial(self._tell, "hook"),
            counters=state.counters,
        )
        self.speeds = AlternativeSpeeds(
            speed_settings(settings), self._set_limits, is_on=settings.limits.alt_enabled
        )
        self.watch = FolderWatch(
            torrents,
            watched_folders(merged.tables.watch),
            self._watch_failed,
            counters=state.counters,
        )
        self.after_seeding = AfterSeeding(torrents, SeedEnd(settings.seeding.then))
        self.incomplete = IncompleteMoves(torrents)
        self.disks = DiskGuard(torrents, roots_of(settings), min_free(settings), self._disk_low)
        self.copies = TorrentCopyFolder(state.port, lambda: self._settings.paths.torrents_copy)
        self.lists = lists
        self._moments = Moments(
            self.hooks, torrents.describe, state.look, self.after_seeding.finished
        )
        self._completions = Completions(
            state.port.torrents,
            state.store.table("completions"),
            self._moments.completed,
            is_wanted=self.hooks.wants(HookEvent.TORRENT_COMPLETED),
            hurry=state.store.hurry,
        )
        self._supervisor = Supervisor(self.parts)

    @property
    def parts(self) -> Sequence[BackgroundPart]:
        """The parts, in the order in which they are told."""
        return (
            self.hooks,
            self.watch,
            self.speeds,
            self.after_seeding,
            self.incomplete,
            self.disks,
            self.copies,
            self.lists,
        )

    def health(self) -> list[PartHealth]:
        """Return the state of each part."""
        return self._supervisor.health()

    def change(self, merged: Merged) -> None:
        """Take other settings; hooks and lists are those of the start, the engine opens again."""
        before, self._settings = self._settings, merged.settings
        settings = merged.settings
        self.speeds.change(speed_settings(settings))
        if settings.limits.alt_enabled is not before.limits.alt_enabled:
            self.speeds.switch(is_on=settings.limits.alt_enabled)
        self.watch.change(watched_folders(merged.tables.watch))
        self.after_seeding.then = SeedEnd(settings.seeding.then)
        self.disks.change(roots_of(settings), min_free(settings))

    async def run(self) -> None:
        """Work until cancelled."""
        subscribe = self._state.port.events.subscribe
        listeners = (self._moments.take, self._completions.take, self.copies.take)
        ends = [subscribe(each) for each in listeners]
        try:
            self._completions.begin()
            self._moments.tell(HookEvent.DAEMON_STARTED)
            await self._supervisor.run()
        finally:
            for unsubscribe in ends:
                unsubscribe()
            self._completions.end()

    async def stopping(self) -> None:
        """Run the hooks of the end; it takes two seconds at most."""
        await self.hooks.run_last(HookCall(HookEvent.DAEMON_STOPPING, self._wall_clock()))

    def _set_limits(self, download_bytes_per_s: int, upload_bytes_per_s: int) -> None:
        try:
            self._state.port.engine.set_rate_limits(download_bytes_per_s, upload_bytes_per_s)
        except ClosedError:
            return  # it is opened with the limits of its configuration

    def _watch_failed(self, path: str, text: str) -> None:
        self._tell("watch", path, text)

    def _tell(self, kind: str, about: str, text: str) -> None:
        self._alert(about, text)
        self._state.announcements.alert(kind, text, about=about)

    def _disk_low(self, disk: DiskSpace) -> None:
        self._tell("disk_low", disk.folder, f"{disk.free_bytes // MIB} MiB free: downloads wait")
        self._moments.tell(HookEvent.DISK_LOW, root=disk.folder, free_bytes=str(disk.free_bytes))


def hooks_of(tables: Sequence[HookSettings]) -> list[Hook]:
    """Return the hooks of the settings. Raises ConfigError for one that cannot be run."""
    hooks = [_hook(each) for each in tables]
    for hook in hooks:
        hook.check()
    return hooks


def _hook(each: HookSettings) -> Hook:
    pairs = [text.partition("=") for text in each.env]
    if any(not name or not separator for name, separator, _ in pairs):
        raise ConfigError(f"hook for {each.event}: env: NAME=VALUE is needed")
    return Hook(
        HookEvent(each.event),
        each.command,
        float(each.timeout_s),
        frozenset(each.labels),
        frozenset(each.categories),
        {name: value for name, _, value in pairs},
        each.parallel,
    )


def block_lists(
    tables: Sequence[BlocklistSettings],
    engine: ListEngine,
    folder: Path,
    alert: Alert = lambda _about, _text: None,
) -> Blocklists:
    """Return the lists that are fetched, with their files in place; blocking.

    Raises ConfigError, or OSError if the files cannot be made.
    """
    sources = [ListSource(each.url, interval_of(each.every)) for each in tables if each.url]
    lists = Blocklists(folder, sources, engine, alert=alert)
    lists.prepare()
    return lists


def list_files(tables: Sequence[BlocklistSettings]) -> list[str]:
    """Return the lists of the settings that are files already."""
    return [str(_expanded(each.file)) for each in tables if each.file]


def interval_of(text: str) -> float:
    """Return the seconds of a time such as "24h", at least a quarter of an hour. ConfigError."""
    found = _INTERVAL.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"blocklist: every: {text!r}: a number with m, h or d is needed")
    return max(float(found[1]) * _UNITS_S[found[2]], MIN_INTERVAL_S)


def watched_folders(tables: Sequence[WatchSettings]) -> list[WatchedFolder]:
    """Return the watched folders of the settings."""
    return [
        WatchedFolder(
            _expanded(each.folder),
            AddOptions(
                save_path=str(_expanded(each.save_path)) if each.save_path else None,
                category=each.category or None,
                labels=each.labels or None,
                paused=each.paused or None,
            ),
            each.delete,
        )
        for each in tables
    ]


def speed_settings(settings: DaemonSettings) -> SpeedSettings:
    """Return the rates, and when the alternative ones hold."""
    limits = settings.limits
    schedule = SpeedSchedule(limits.alt_begin_min, limits.alt_end_min, limits.alt_days)
    return SpeedSettings(
        limits.download_kb_s * KB,
        limits.upload_kb_s * KB,
        limits.alt_download_kb_s * KB,
        limits.alt_upload_kb_s * KB,
        schedule if limits.alt_schedule else None,
    )


def roots_of(settings: DaemonSettings) -> list[str]:
    """Return the folders whose disks are looked at always."""
    named = [settings.paths.incomplete, *settings.paths.allowed]
    folders = [str(_expanded(each)) for each in named if each]
    return [str(download_folder(settings)), *folders]


def min_free(settings: DaemonSettings) -> int:
    """Return the free space below which downloads wait, in bytes."""
    return settings.paths.min_free_mib * MIB


def _expanded(path: str) -> Path:
    return Path(path).expanduser().absolute()
