"""``run`` in the foreground: its TorrentManager, added torrents, and signals."""

import os
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from torrent_engine.base.config import ManagerConfig
from torrent_engine.base.errors import ConfigError
from torrent_engine.cli.output.exit_codes import ExitCode, exit_code_of, first_leaf, message_of
from torrent_engine.cli.output.filter_notes import print_lists, reload_lists
from torrent_engine.cli.output.render import OutputError, Reporter, print_traceback
from torrent_engine.cli.output.terminal import handle_job_control
from torrent_engine.cli.output.text import safe
from torrent_engine.cli.tasks.run_display import RunDisplay
from torrent_engine.service.adding import Adder
from torrent_engine.service.folder_watcher import INTERVAL_S, FolderWatcher
from torrent_engine.service.loop import handle_signals
from torrent_engine.service.system import HAS_SIGNALS, HAS_UNIX_SOCKETS
from torrent_engine.service.watch_folder import WatchFolder, WatchOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskStatus

    from torrent_engine.engine.manager.torrent_manager import TorrentManager
    from torrent_engine.engine.session.session import Session
    from torrent_engine.service.completion_hook import CompletionHook

    ControlOpener = Callable[[TorrentManager, Adder], AbstractAsyncContextManager[None]]

STOP_LIMIT_S: Final = 60.0  # ours: thousands of torrents are saved, and say goodbye, within this


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of ``run``."""

    config: ManagerConfig
    sources: tuple[str, ...] = ()
    stdin: bytes = b""
    watched: tuple[Path, ...] = ()
    watch: WatchOptions = field(default_factory=WatchOptions)
    watch_interval_s: float = INTERVAL_S
    debug: bool = False


class ForegroundRun:
    """Runs torrents until SIGINT or SIGTERM; the second one ends the process at once."""

    def __init__(
        self,
        options: RunOptions,
        reporter: Reporter,
        open_manager: "Callable[[ManagerConfig], AbstractAsyncContextManager[TorrentManager]]",
        open_control: "ControlOpener | None" = None,
        hook: "CompletionHook | None" = None,
    ) -> None:
        self._options = options
        self._reporter = reporter
        self._open_manager = open_manager
        self._open_control = open_control
        self._hook = hook
        self._scope: anyio.CancelScope | None = None
        self._watchers: list[FolderWatcher] = []
        self._code = ExitCode.OK

    async def run(self) -> ExitCode:
        """Run until stopped; return the code of the first source that could not be added."""
        with self._reporter:
            async with anyio.create_task_group() as tasks:
                await tasks.start(handle_signals, self._stop, self._give_up, STOP_LIMIT_S)
                await tasks.start(handle_job_control, self._reporter)
                with anyio.CancelScope() as self._scope:
                    async with AsyncExitStack() as stack:
                        await self._open(stack)
                tasks.cancel_scope.cancel()
        return self._code

    async def _open(self, stack: AsyncExitStack) -> None:
        """Open all parts and serve; the --on-complete programs end last."""
        if self._hook is not None:
            await stack.enter_async_context(self._hook.open())
        manager = await stack.enter_async_context(self._open_manager(self._options.config))
        if self._hook is not None:
            shared = manager.shared
            self._hook.follow(manager.events, manager.get_session, shared.state_dir)
        adder = Adder(manager, self, self._options.config.shared.max_torrent_bytes)
        await self._accept_control(manager, adder, stack)
        await self._serve(manager, adder)

    async def _accept_control(
        self, manager: "TorrentManager", adder: Adder, stack: AsyncExitStack
    ) -> None:
        """Open the control socket; continue without it if that fails."""
        if self._open_control is None or not HAS_UNIX_SOCKETS:
            return
        try:
            await stack.enter_async_context(self._open_control(manager, adder))
        except (OSError, ConfigError) as error:
            self._reporter.note(f"no control socket: {safe(message_of(error))}")

    async def _serve(self, manager: "TorrentManager", adder: Adder) -> None:
        display = RunDisplay(manager, self._reporter)
        self._watchers = [self._watcher(folder, adder, manager) for folder in self._options.watched]
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._handle_hangup, manager)
            print_lists(manager.shared.ip_filter, self._reporter)
            display.print_start(self._options.watched)
            tasks.start_soon(display.run)
            tasks.start_soon(adder.add_all, self._options.sources, self._options.stdin)
            for watcher in self._watchers:
                tasks.start_soon(watcher.run)

    def _watcher(self, folder: Path, adder: Adder, manager: "TorrentManager") -> FolderWatcher:
        options = self._options
        watched = WatchFolder(folder, adder.add, manager.flush, self._reporter, options.watch)
        return FolderWatcher(watched, options.watch_interval_s)

    # -- signals ----------------------------------------------------------------------------

    async def _stop(self) -> None:
        self._reporter.note("stopping; Ctrl-C again ends at once")
        self._cancel()

    def _cancel(self) -> None:
        if self._hook is not None:
            self._hook.end()
        if self._scope is not None:
            self._scope.cancel()

    def _give_up(self) -> ExitCode:
        if self._hook is not None:
            self._hook.kill()
        self._reporter.__exit__(None, None, None)
        return ExitCode.UNFINISHED

    async def _handle_hangup(
        self, manager: "TorrentManager", *, task_status: "TaskStatus[None]"
    ) -> None:
        """On SIGHUP scan the watched folders and reload the IP filter.

        Stop if the terminal was closed.
        """
        if not HAS_SIGNALS:
            task_status.started()
            return
        had_terminal = _has_terminal()
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            task_status.started()
            async for _ in signals:
                if had_terminal and not _has_terminal():
                    self._cancel()
                for watcher in self._watchers:
                    watcher.scan_now()
                await reload_lists(manager.shared.ip_filter, self._reporter)

    # -- reports about what is added --------------------------------------------------------

    def added(self, session: "Session", source: str, *, is_new: bool) -> None:
        """Print that a torrent was added."""
        verb = "added" if is_new else "is there already"
        self._reporter.note(f"{verb} ({safe(source)})", about=safe(session.name))
        facts: dict[str, object] = {"type": "torrent.added", "source": source, "is_new": is_new}
        facts |= {"info_hash": session.info_hash.hex(), "name": session.name}
        self._reporter.record(facts)

    def refused(self, error: Exception, source: str) -> None:
        """Print why a source could not be added; what the output raises ends the run."""
        if isinstance(first_leaf(error), OutputError | BrokenPipeError):
            raise error
        code = exit_code_of(error)
        self._code = self._code or code
        if self._options.debug:
            print_traceback(error)
        self._reporter.error(error, about=safe(source))
        self._reporter.record({"type": "torrent.refused", "source": source, "exit_code": code})


def _has_terminal() -> bool:
    """Return whether stdout is an open terminal."""
    try:
        os.get_terminal_size(sys.stdout.fileno() if sys.stdout is not None else -1)
    except (OSError, ValueError):
        return False
    return True
