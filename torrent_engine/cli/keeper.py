"""Owns a run in the foreground: its TorrentManager, what is added to it, and its end."""

import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.base.config import ManagerConfig
from torrent_engine.base.errors import ConfigError, SessionError
from torrent_engine.cli import sources
from torrent_engine.cli.exit_codes import ExitCode, exit_code_of, first_leaf
from torrent_engine.cli.filter_notes import reload_lists, tell_lists
from torrent_engine.cli.loop import obey_signals
from torrent_engine.cli.render import OutputError, Reporter, print_traceback, safe
from torrent_engine.cli.run_display import RunDisplay
from torrent_engine.cli.watcher import Watcher, WatchOptions
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.alarm import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskStatus

    from torrent_engine.engine.torrent_manager import TorrentManager

STOP_LIMIT_S: Final = 60.0  # ours: thousands of torrents are saved, and say goodbye, within this


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the run is told."""

    config: ManagerConfig
    sources: tuple[str, ...] = ()
    stdin: bytes = b""
    watched: tuple[Path, ...] = ()
    watch: WatchOptions = field(default_factory=WatchOptions)
    watch_interval_s: float = 2.0
    debug: bool = False


class Keeper:
    """Keeps torrents going until SIGINT or SIGTERM; the second one ends the process at once."""

    def __init__(
        self,
        options: RunOptions,
        reporter: Reporter,
        open_manager: "Callable[[ManagerConfig], AbstractAsyncContextManager[TorrentManager]]",
    ) -> None:
        self._options = options
        self._reporter = reporter
        self._open_manager = open_manager
        self._scope: anyio.CancelScope | None = None
        self._alarms: dict[Path, Alarm] = {}
        self._asked: set[Path] = set()
        self._code = ExitCode.OK

    async def run(self) -> ExitCode:
        """Run until stopped; return the code of the first source that could not be added."""
        with self._reporter:
            async with anyio.create_task_group() as tasks:
                await tasks.start(obey_signals, self._stop, self._give_up, STOP_LIMIT_S)
                with anyio.CancelScope() as self._scope:
                    async with self._open_manager(self._options.config) as manager:
                        await self._serve(manager)
                tasks.cancel_scope.cancel()
        return self._code

    async def _serve(self, manager: "TorrentManager") -> None:
        display = RunDisplay(manager, self._reporter)
        self._alarms = {folder: Alarm() for folder in self._options.watched}
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._obey_hangup, manager)
            tell_lists(manager.shared.ip_filter, self._reporter)
            display.tell_start(self._options.watched)
            tasks.start_soon(display.run)
            tasks.start_soon(self._add_sources, manager)
            for folder, alarm in self._alarms.items():
                tasks.start_soon(self._watch, folder, alarm, manager)

    # -- signals ----------------------------------------------------------------------------

    async def _stop(self) -> None:
        self._reporter.note("stopping; Ctrl-C again ends at once")
        self._cancel()

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _give_up(self) -> ExitCode:
        self._reporter.__exit__(None, None, None)
        return ExitCode.UNFINISHED

    async def _obey_hangup(
        self, manager: "TorrentManager", *, task_status: "TaskStatus[None]"
    ) -> None:
        """On SIGHUP look into the watched folders and read the IP filter anew.

        Stop if the terminal is gone.
        """
        if sys.platform == "win32":
            task_status.started()
            return
        had_terminal = _has_terminal()
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                if had_terminal and not _has_terminal():
                    self._cancel()
                self._asked = set(self._alarms)
                for alarm in self._alarms.values():
                    alarm.ring()
                await reload_lists(manager.shared.ip_filter, self._reporter)

    # -- what is added ----------------------------------------------------------------------

    async def _add_sources(self, manager: "TorrentManager") -> None:
        for source in self._options.sources:
            try:
                torrent = await sources.load(source, self._options.stdin, manager.shared.http)
                await self._add(manager, torrent, sources.shown(source))
            except Exception as error:
                if isinstance(first_leaf(error), OutputError | BrokenPipeError):
                    raise
                self._refuse(error, sources.shown(source))

    def _refuse(self, error: Exception, source: str) -> None:
        """Say that a source is no torrent; the others go on."""
        code = exit_code_of(error)
        self._code = self._code or code
        if self._options.debug:
            print_traceback(error)
        self._reporter.error(error, about=safe(source))
        self._reporter.record({"type": "torrent.refused", "source": source, "exit_code": code})

    async def _add(
        self, manager: "TorrentManager", torrent: Metainfo | Magnet, source: str
    ) -> None:
        """Add one torrent and say so. Raises TorrentEngineError."""
        is_new = manager.get_session(torrent.info_hash) is None
        try:
            if isinstance(torrent, Magnet):
                session = await manager.add_magnet(torrent)
            else:
                session = await manager.add_torrent_file(torrent)
        except SessionError as error:  # there are --max-torrents already
            raise ConfigError(str(error)) from error
        verb = "added" if is_new else "is there already"
        self._reporter.note(f"{safe(session.name)}: {verb} ({safe(source)})")
        facts: dict[str, object] = {"type": "torrent.added", "source": source, "is_new": is_new}
        facts |= {"info_hash": session.info_hash.hex(), "name": session.name}
        self._reporter.record(facts)

    async def _watch(self, folder: Path, alarm: Alarm, manager: "TorrentManager") -> None:
        async def add(torrent: Metainfo | Magnet, source: str) -> None:
            await self._add(manager, torrent, source)

        watcher = Watcher(folder, add, manager.flush, self._reporter, self._options.watch)
        while True:
            is_asked = folder in self._asked
            self._asked.discard(folder)
            await watcher.look(is_asked=is_asked)
            await alarm.wait(self._options.watch_interval_s)


def _has_terminal() -> bool:
    """Tell whether stdout is a terminal that is still there."""
    try:
        os.get_terminal_size(sys.stdout.fileno() if sys.stdout is not None else -1)
    except (OSError, ValueError):
        return False
    return True
