"""The program that is run for each finished download."""

import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.lowlevel
import anyio.to_thread

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import scarcity_of
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import DownloadFinished
from torrent_engine.service.programs import (
    END_GRACE_S,
    OutputLimit,
    Program,
    Programs,
    passable,
    within,
)
from torrent_engine.service.saved_files import Names, common_path

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from torrent_engine.engine.event_bus import EventBus, Subscription
    from torrent_engine.engine.session.session import Session

logger = logging.getLogger(__name__)

PREFIX: Final = "TORRENT_ENGINE_"
TIME_LIMIT_S: Final = 3_600.0  # ours: to unpack a large download takes a while
MAX_RUNNING: Final = 4  # ours
MAX_OUTPUT_BYTES: Final = 1_000  # ours: of the end of its output, for the log
STARTED: Final = "hook.started"
DONE: Final = "hook.done"
FAILED: Final = "hook.failed"


@dataclass(frozen=True, slots=True)
class HookConfig:
    """Which program is run, and within which limits."""

    program: Path
    """Absolute."""
    time_limit_s: float = TIME_LIMIT_S
    max_running: int = MAX_RUNNING
    """Programs at a time; further ones wait."""


@dataclass(frozen=True, slots=True)
class FinishedDownload:
    """What the program gets to know of a torrent."""

    info_hash: InfoHash
    name: str
    path: Path
    """The one wanted file, or the innermost folder that holds all that is wanted; absolute."""
    save_path: Path
    size_bytes: int
    """Of the wanted files."""
    file_count: int
    """How many files are wanted."""
    state_dir: Path

    @classmethod
    def of(
        cls,
        metainfo: Metainfo,
        config: SessionConfig,
        save_path: Path,
        state_dir: Path,
        names: Names | None = None,
    ) -> "FinishedDownload":
        """Return what is known of a torrent; blocking, for it may have very many files.

        ``names`` are as :func:`wanted_paths` has them.
        """
        folder, priorities = save_path.absolute(), config.file_priorities
        wanted = [
            entry.length_bytes
            for index, entry in enumerate(metainfo.files)
            if (priorities is None or priorities[index]) and metainfo.files.is_stored(index)
        ]
        path = common_path(folder, metainfo, config, names)
        return cls(
            metainfo.info_hash,
            metainfo.name,
            path,
            folder,
            sum(wanted),
            len(wanted),
            state_dir.absolute(),
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that are added to the program's environment."""
        values = {
            "NAME": self.name,
            "INFO_HASH": self.info_hash.hex(),
            "PATH": str(self.path),
            "SAVE_PATH": str(self.save_path),
            "SIZE": str(self.size_bytes),
            "FILE_COUNT": str(self.file_count),
            "STATE_DIR": str(self.state_dir),
        }
        return {PREFIX + name: passable(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class HookReport:
    """What became of the program for one torrent."""

    type: str
    """"hook.started", "hook.done" or "hook.failed"."""
    download: FinishedDownload
    message: str
    """In words; why it failed, if it did."""


class CompletionHook:
    """Runs a program for each finished download, a few at a time; :meth:`open` is its lifetime.

    It gets the path of the data as its only argument, the facts in its environment, nothing on
    standard input. No shell is involved. What goes wrong is logged and reported, and changes
    nothing of the torrent.
    """

    def __init__(self, config: HookConfig, report: Callable[[HookReport], None]) -> None:
        self._config = config
        self._report = report
        self._tasks: TaskGroup | None = None
        self._slots: anyio.Semaphore | None = None
        self._scopes: set[anyio.CancelScope] = set()
        self._programs = Programs()
        self._is_ending = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Accept downloads; at the end of the block wait for the programs. Cancelling ends them."""
        self._slots = anyio.Semaphore(self._config.max_running)
        async with anyio.create_task_group() as self._tasks:
            yield self

    def follow(
        self,
        events: "EventBus",
        find: "Callable[[InfoHash], Session | None]",
        state_dir: Path,
    ) -> "Subscription":
        """Run the program for each download that finishes from now on.

        ``events`` are those of a Session, or those of all torrents of a manager.
        """

        def finished(event: DownloadFinished) -> None:
            session = find(event.info_hash)
            if session is not None:
                self._start(session, Path(event.path), state_dir)

        return events.subscribe(DownloadFinished, finished)

    def end(self) -> None:
        """Terminate the programs that run, and start no more."""
        self._is_ending = True
        for scope in self._scopes:
            scope.cancel()

    def kill(self) -> None:
        """Kill the programs at once: the process ends now."""
        self._programs.kill_all()

    def _start(self, session: "Session", save_path: Path, state_dir: Path) -> None:
        if self._tasks is None or self._is_ending:
            self._warn_not_run(session, "stopping")
            return
        self._tasks.start_soon(self._run, session, save_path, state_dir)

    async def _run(self, session: "Session", save_path: Path, state_dir: Path) -> None:
        with anyio.CancelScope() as scope, within(self._scopes, scope):
            if self._is_ending:  # since this was to start
                scope.cancel()
            try:
                download = await _finished(session, save_path, state_dir)
            except (MemoryError, RuntimeError) as error:
                if not (reason := scarcity_of(error)):
                    raise
                self._warn_not_run(session, reason)
                return
            except anyio.get_cancelled_exc_class():
                self._warn_not_run(session, "stopping")
                raise
            if download is None or self._slots is None:
                return  # it was removed meanwhile
            await self._run_for(download, self._slots)

    def _warn_not_run(self, session: "Session", reason: str) -> None:
        logger.warning("%s: %s not run: %s", session.name, self._config.program, reason)

    async def _run_for(self, download: FinishedDownload, slots: anyio.Semaphore) -> None:
        failure = "not run: stopping"
        try:
            async with slots:  # which may be had from one that the same stop ended
                await anyio.lowlevel.checkpoint_if_cancelled()
                failure = "ended: stopping"
                self._publish(STARTED, download, f"running {self._config.program}")
                failure = await self._call(download)
        finally:
            message = f"{self._config.program}: {failure or 'done'}"
            self._publish(FAILED if failure else DONE, download, message)

    def _publish(self, type_: str, download: FinishedDownload, message: str) -> None:
        level = logging.WARNING if type_ == FAILED else logging.INFO
        if logger.hasHandlers():  # else Python prints warnings itself, beside the report
            info_hash = download.info_hash.hex()
            logger.log(level, "%s %r: %s", info_hash, download.name, message)
        self._report(HookReport(type_, download, message))

    async def _call(self, download: FinishedDownload) -> str:
        """Run the program to its end; return why it failed, or nothing."""
        program = Program(
            (str(self._config.program), str(download.path)),
            {**os.environ, **download.environment()},
            self._config.time_limit_s,
            OutputLimit(MAX_OUTPUT_BYTES),
            end_grace_s=END_GRACE_S,
        )
        return (await self._programs.run(program)).failure


async def _finished(
    session: "Session", save_path: Path, state_dir: Path
) -> FinishedDownload | None:
    """Return what a program is told; None if the torrent has no metadata any more."""
    config = session.config
    metainfo = await anyio.to_thread.run_sync(lambda: session.metainfo)
    if metainfo is None:
        return None

    def finished() -> FinishedDownload:
        names = session.admin.file_names.in_use()
        return FinishedDownload.of(metainfo, config, save_path, state_dir, names)

    return await anyio.to_thread.run_sync(finished)
