"""The execution of a planned move, begun by this or an earlier process.

The plan is saved before the first step; once the database has the new paths, the move cannot fail.
No run of the torrent may use its files meanwhile.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import anyio

from torrent_engine.base.errors import StorageError, TorrentEngineError
from torrent_engine.base.storage import Storage
from torrent_engine.disk.moves.move import FileMover
from torrent_engine.disk.moves.plan import MovePlan
from torrent_engine.disk.moves.table import drop_plan, load_plan, save_placed, save_plan
from torrent_engine.disk.os_errors import storage_errors, storage_failures
from torrent_engine.disk.resume.shared_files import shared_files
from torrent_engine.disk.stamp_table import StampTable
from torrent_engine.disk.state.store import StateStore
from torrent_engine.disk.threads import run_in_thread

logger = logging.getLogger(__name__)

STEP_S: Final = 0.1  # ours: time of one call in a worker thread, which torrents share
_T = TypeVar("_T")


@dataclass(slots=True)
class MoveHooks:
    """Callbacks and options of a move."""

    limiter: anyio.CapacityLimiter
    preallocate: bool = False
    on_progress: Callable[[int, int], None] = lambda _done, _total: None
    """Called with done and total bytes."""
    on_placed: Callable[[MovePlan], None] = lambda _plan: None
    """Called when the targets are complete, just before this is saved."""
    on_returned: Callable[[], None] = lambda: None
    """Called when saving failed and the move is undone."""
    also_saved: Callable[[sqlite3.Connection, MovePlan], None] = lambda _db, _plan: None
    """Called in the transaction that saves the new paths."""
    is_stopping: Callable[[], bool] = lambda: False
    """Whether to interrupt the move, for a later process to continue."""


class MoveAttempt:
    """One attempt to execute one plan."""

    def __init__(self, store: StateStore, plan: MovePlan, hooks: MoveHooks) -> None:
        self._store = store
        self._plan = plan
        self._hooks = hooks
        self._mover = FileMover(plan, preallocate=hooks.preallocate)
        self._is_unsure = False
        """Whether it is unknown if the new paths are saved."""

    async def begin(self) -> bool:
        """Save the plan and execute it as :meth:`resume`."""
        self._mover.is_first = True
        await save_plan(self._store, self._plan)
        return await self.resume()

    async def resume(self) -> bool:
        """Execute the rest of the plan; return False if it was interrupted.

        Raises StorageError and other TorrentEngineErrors after undoing the move. If that fails, or
        at a cancellation, the plan is kept for the next attempt.
        """
        try:
            if not self._plan.is_placed and not await self._place():
                return False
            with anyio.CancelScope(shield=True):
                await self._clear()
        finally:
            with anyio.CancelScope(shield=True):
                await self._close(self._mover.close)
        return True

    async def _place(self) -> bool:
        try:
            await self._in_thread(lambda: self._mover.open(create=True))
            if not await self._advance(self._mover.place()):
                return False
            with anyio.CancelScope(shield=True):
                await self._save()
        except Exception as error:
            if not self._is_unsure:
                with anyio.CancelScope(shield=True):
                    await self._undo(error)
            raise
        return True

    async def _advance(self, steps: Generator[None]) -> bool:
        """Run steps until there are none; return False if it is to stop."""
        try:
            while not await self._in_thread(lambda: _some(steps)):
                self._hooks.on_progress(self._mover.done_bytes, self._plan.total_bytes)
                if self._hooks.is_stopping():
                    return False
        finally:
            with anyio.CancelScope(shield=True):
                await self._close(steps.close)
        self._hooks.on_progress(self._mover.done_bytes, self._plan.total_bytes)
        return True

    async def _save(self) -> None:
        """Save where the files are now."""
        record = await self._store.load(self._plan.info_hash, with_metainfo=False)
        old = record.stamps if record is not None else StampTable()
        progress = record.progress if record is not None else None
        is_clean = progress is not None and progress.is_clean
        stamps = await self._in_thread(lambda: self._mover.stamps(old, is_clean=is_clean))
        plan, hooks = self._plan, self._hooks
        hooks.on_placed(plan)
        try:
            await save_placed(self._store, plan, stamps, lambda db: hooks.also_saved(db, plan))
        except TorrentEngineError:
            if not await self._is_saved():
                hooks.on_returned()
                raise

    async def _is_saved(self) -> bool:
        """Return whether the database has the files at their new place; it may after a failure."""
        try:
            kept = await load_plan(self._store, self._plan.info_hash)
        except TorrentEngineError:
            self._is_unsure = True  # they stay at both places, for the next attempt to look
            return False
        return kept is not None and kept.is_placed

    async def _undo(self, error: Exception) -> None:
        logger.info("%s: the move to %s is undone: %r", self._name, self._plan.target, error)
        try:
            await self._in_thread(self._mover.undo)
        except TorrentEngineError as undoing:
            logger.warning("%s: the move is neither done nor undone: %s", self._name, undoing)
            return
        with suppress(TorrentEngineError):  # there is nothing to do for it in a later attempt
            await drop_plan(self._store, self._plan.info_hash)

    async def _clear(self) -> None:
        try:
            if self._plan.is_placed:
                await self._in_thread(lambda: self._mover.open(create=False))
            stamps = await self._in_thread(self._mover.old_stamps)
            shared = await shared_files(self._store, self._plan.info_hash, stamps)
            kept = {file.file_index for file in shared}  # where another torrent has them, too
            await self._in_thread(lambda: _all(self._mover.clear(kept)))
            await drop_plan(self._store, self._plan.info_hash)
        except TorrentEngineError as error:
            logger.warning("%s: the old files are not all removed: %s", self._name, error)

    @property
    def _name(self) -> str:
        return self._plan.info_hash.hex()

    async def _close(self, close: Callable[[], None]) -> None:
        """Close something, also if no worker thread is available."""
        try:
            await self._in_thread(close)
        except StorageError:
            close()

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        failure = partial(StorageError, self._plan.target)
        with storage_errors(self._plan.target):
            return await run_in_thread(call, limiter=self._hooks.limiter, failure=failure)


async def move_custom(
    store: StateStore, plan: MovePlan, storage: Storage, hooks: MoveHooks
) -> None:
    """Move what a storage of the user's keeps, which is closed, and save where it is now.

    Raises StorageError as the storage does, and StateDatabaseError with everything moved back.
    """
    if not plan.is_rename:
        await _move_storage(storage, plan.target, hooks)
    hooks.on_placed(plan)
    try:
        await save_placed(store, plan, {}, lambda db: hooks.also_saved(db, plan))
    except TorrentEngineError:
        hooks.on_returned()
        if not plan.is_rename:
            await _move_storage(storage, plan.source, hooks)
        raise
    await drop_plan(store, plan.info_hash)


async def _move_storage(storage: Storage, path: str, hooks: MoveHooks) -> None:
    with storage_failures(path):
        failure = partial(StorageError, path)
        await run_in_thread(storage.move, path, limiter=hooks.limiter, failure=failure)


@dataclass(frozen=True, slots=True)
class MoveOutcome:
    """What became of a move that an earlier process began."""

    plan: MovePlan
    error: TorrentEngineError | None = None
    """Why it was undone."""
    is_finished: bool = True
    """Whether it is done or undone; else it was ended early once more."""


async def finish_move(store: StateStore, plan: MovePlan, hooks: MoveHooks) -> MoveOutcome:
    """Finish the move that an earlier process began.

    Raises StorageError if it can be neither done nor undone: the torrent must not run.
    """
    try:
        is_finished = await MoveAttempt(store, plan, hooks).resume()
    except TorrentEngineError as error:
        if await load_plan(store, plan.info_hash) is not None:
            raise
        return MoveOutcome(plan, error)
    return MoveOutcome(plan, is_finished=is_finished)


def _some(steps: Iterator[None]) -> bool:
    """Run steps for a while; return whether there are no more."""
    until = time.monotonic() + STEP_S
    return all(time.monotonic() < until for _ in steps)


def _all(steps: Iterator[None]) -> None:
    for _ in steps:
        pass
