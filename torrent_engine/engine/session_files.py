"""Owns where a torrent's files are: moving them to another save path, giving one another name."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import ConfigError, StateTransitionError, TorrentEngineError
from torrent_engine.base.ids import FileIndex, InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import Path as Parts
from torrent_engine.disk.move_plan import MovePlan
from torrent_engine.disk.move_table import load_plan
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import FileRenamed, StorageMoved, StorageMoveFailed
from torrent_engine.engine.file_choice import path_below
from torrent_engine.engine.session_reading import SessionReading
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import StateMachine
from torrent_engine.engine.storage_move import MoveHost, MoveWish, StorageMove, kept_names

logger = logging.getLogger(__name__)


class SessionFiles(SessionReading):
    """What may be done with a torrent's files while it runs, rests or is stopped."""

    save_path: Path
    """Where the files are; :meth:`move_storage` changes it."""
    events: EventBus
    _stop_wanted: str | None
    _is_closed: bool

    def __init__(
        self,
        source: Metainfo | Magnet | InfoHash,
        shared: SharedResources,
        machine: StateMachine,
        config: SessionConfig,
    ) -> None:
        super().__init__(source, shared, machine, config)
        self._move: StorageMove | None = None
        self._old_place: tuple[Path, tuple[tuple[int, str], ...]] = (Path(), ())

    # -- what may be asked for ----------------------------------------------------------------

    async def move_storage(self, path: str | os.PathLike[str]) -> None:
        """Move the files to another save path, on any file system, and go on there.

        No payload moves meanwhile. Returns when all files are there and none is left behind but
        those of others. A process that dies, or a Session that is stopped, leaves each file whole
        at one of the places; the next start goes on with the move, and so does a running Session
        if this call is cancelled. Raises FileExistsStorageError, before anything is moved, if
        something stands in the way; DiskFullError and other StorageErrors with all files where
        they were; SessionError if the Session is stopped or the move cancelled.
        """
        await self._relocate(Path(path), {})

    async def rename_file(self, file_index: int, path: str) -> None:
        """Give a file another path below the save path, and remember it.

        The path is cleaned as those of a .torrent are. Raises ConfigError if there is no such
        file or the path leads out, FileExistsStorageError if it is taken, StateTransitionError
        before the metadata is there, else what :meth:`move_storage` does.
        """
        await self._relocate(None, {file_index: path_below(path, "path")})

    def cancel_move(self) -> bool:
        """Undo the move that is under way, if it is not all but done; False if there is none."""
        if self._move is None:
            return False
        self._move.is_cancelled = True
        return True

    # -- between two runs ---------------------------------------------------------------------

    async def _relocate(self, target: Path | None, names: Mapping[int, Parts]) -> None:
        if self._is_closed:
            raise StateTransitionError("files cannot be moved: the Session is closed")
        await self._between_runs(partial(self._relocate_now, target, names))

    async def _between_runs(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something while no run holds the files, then go on in the old state."""
        if not self._ended.is_set():
            raise StateTransitionError("files cannot be moved while the torrent runs")
        await self._shared.acquire()
        try:
            await work()
        finally:
            with anyio.CancelScope(shield=True):
                await self._shared.release()

    async def _recall_metadata(self) -> None:
        """Take the metadata of an earlier run, if there is any."""

    async def _relocate_now(self, target: Path | None, names: Mapping[int, Parts]) -> None:
        metainfo = await self._present_metainfo()
        if metainfo is None and self._ended.is_set():
            await self._recall_metadata()
            metainfo = self._metainfo
        if metainfo is None:
            self._relocate_nothing(target)
            return
        self._check_names(metainfo, names)
        async with self._moving() as move:
            await self._finish(move)
            wish = MoveWish(metainfo, self.config, self.save_path, target or self.save_path, names)
            try:
                await self._carry_out(move, wish)
            except TorrentEngineError as error:
                failed = StorageMoveFailed(self.info_hash, str(wish.target), str(error))
                self.events.publish(failed)
                raise

    def _relocate_nothing(self, target: Path | None) -> None:
        if target is None:
            raise StateTransitionError("a file has no name before the metadata came")
        self.save_path = target
        self.events.publish(StorageMoved(self.info_hash, str(target)))

    @staticmethod
    def _check_names(metainfo: Metainfo, names: Mapping[int, Parts]) -> None:
        for index in names:
            if not 0 <= index < len(metainfo.files):
                raise ConfigError(f"file_index: there is no file {index}")
            entry = metainfo.files[index]
            if entry.is_pad or entry.symlink_target is not None:
                raise ConfigError(f"file_index: file {index} is not kept on the disk")

    async def _carry_out(self, move: StorageMove, wish: MoveWish) -> None:
        plan = await move.carry_out(wish)
        if plan is None:
            return
        for index in wish.names:
            path = str(Path(plan.target).joinpath(*plan.renames[index]))
            self.events.publish(FileRenamed(self.info_hash, FileIndex(index), path))
        if not plan.is_rename:
            self.events.publish(StorageMoved(self.info_hash, plan.target))

    def _on_placed(self, plan: MovePlan) -> None:
        """Know where the files are; a manager may write it down before the move is saved."""
        self._old_place = (self.save_path, self.config.renamed_files)
        self._take_place(Path(plan.target), kept_names(plan))

    def _on_returned(self) -> None:
        self._take_place(*self._old_place)

    def _take_place(self, path: Path, names: tuple[tuple[int, str], ...]) -> None:
        self.save_path = path
        if names != self.config.renamed_files:
            self.config = replace(self.config, renamed_files=names)

    # -- what an earlier process left -----------------------------------------------------------

    async def _finish_move(self) -> None:
        """Finish the move that an earlier process began; to be awaited before the files are used.

        Raises StorageError if it can be neither done nor undone.
        """
        if await load_plan(self._shared.store, self.info_hash) is not None:
            async with self._moving() as move:
                await self._finish(move)

    async def _undo_move(self) -> None:
        """Undo the move that is not finished, before the torrent is forgotten."""
        if await load_plan(self._shared.store, self.info_hash) is not None:
            async with self._moving() as move:
                move.is_cancelled = True
                await self._finish(move)

    async def _finish(self, move: StorageMove) -> None:
        outcome = await move.finish()
        if outcome is None or not outcome.is_finished:
            return
        plan = outcome.plan
        if outcome.error is not None:
            logger.warning("%s: files were not moved: %s", self.name, outcome.error)
            self.save_path = Path(plan.source)
            failed = StorageMoveFailed(self.info_hash, plan.target, str(outcome.error))
            self.events.publish(failed)
            return
        self._take_place(Path(plan.target), kept_names(plan))
        if not plan.is_rename:
            self.events.publish(StorageMoved(self.info_hash, plan.target))

    @asynccontextmanager
    async def _moving(self) -> AsyncIterator[StorageMove]:
        """Hold the torrent's files against other processes and other Sessions."""
        host = MoveHost(
            self.info_hash, self.name, self._is_leaving, self._on_placed, self._on_returned
        )
        move = StorageMove(self._shared, host)
        is_alone = self._ended.is_set()
        if is_alone:
            self._shared.register(self.info_hash, move.leave)
        self._move = move
        try:
            self._shared.store.claim(self.info_hash)
            yield move
        finally:
            self._move = None
            self._shared.store.release(self.info_hash)
            if is_alone:
                self._shared.unregister(self.info_hash)
            move.ended.set()

    def _is_leaving(self) -> bool:
        return self._is_closed or (self._stop_wanted is not None and not self._ended.is_set())
