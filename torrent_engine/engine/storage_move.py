"""Owns one move of a torrent's files as others see it: its job, its events, who may end it."""

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    FileExistsStorageError,
    SessionError,
    StorageError,
    TorrentEngineError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import colliding
from torrent_engine.disk.file_names import renames_at, settle_names, stored_paths
from torrent_engine.disk.journal import WriteJournal
from torrent_engine.disk.move_plan import MovePlan, Parts, Wish, draw_plan
from torrent_engine.disk.move_table import load_plan
from torrent_engine.disk.os_errors import storage_errors
from torrent_engine.disk.relocation import MoveHooks, MoveOutcome, Relocation, finish_move
from torrent_engine.disk.session_table import change_settings
from torrent_engine.disk.state_records import TorrentRecord
from torrent_engine.disk.storage import StorageManager
from torrent_engine.disk.threads import run_in_thread
from torrent_engine.engine.file_choice import renames
from torrent_engine.engine.job_log import INTERRUPTED, JobFilter, JobKind, JobStatus

if TYPE_CHECKING:
    from torrent_engine.engine.shared_resources import SharedResources

CANCELLED: Final = "cancelled"
STOPPED: Final = "stopped"


@dataclass(frozen=True, slots=True)
class MoveWish:
    """What is to be moved, from where to where; ``names`` are files that get another path."""

    metainfo: Metainfo
    config: SessionConfig
    source: Path
    target: Path
    names: Mapping[int, Parts]


@dataclass(frozen=True, slots=True)
class MoveHost:
    """Whose files are moved, and what it has to know of that."""

    info_hash: InfoHash
    name: str
    is_stopping: Callable[[], bool]
    on_placed: Callable[[MovePlan], None]
    on_returned: Callable[[], None]
    """As :class:`MoveHooks` has them."""


class StorageMove:
    """Moves the files of one torrent, no run of which may hold them."""

    def __init__(self, shared: "SharedResources", host: MoveHost) -> None:
        self.is_cancelled = False
        """Set: the move is undone."""
        self.ended = anyio.Event()
        self._shared = shared
        self._host = host
        self._info_hash = host.info_hash
        self._job_id = ""
        self._is_left = False
        self._hooks = MoveHooks(
            shared.disk_limiter,
            shared.config.disk.preallocate,
            self._on_progress,
            host.on_placed,
            host.on_returned,
            _change_session,
            lambda: self._is_left or host.is_stopping(),
        )

    async def leave(self) -> None:
        """End it early, for a later start to go on with, and wait for the end."""
        self._is_left = True
        await self.ended.wait()

    async def carry_out(self, wish: MoveWish) -> MovePlan | None:
        """Move the files, as a job; None if they are there already.

        Raises StorageError and other TorrentEngineErrors with all files where they were, and
        SessionError if it was ended early: the next start goes on with it.
        """
        self._begin_job(0)
        try:
            plan, is_finished = await self._attempt(wish)
        except TorrentEngineError as error:
            self._end_job(error)
            raise
        except BaseException:
            self._shared.jobs.pause(self._job_id, reason=STOPPED)
            raise
        if not is_finished:
            self._shared.jobs.pause(self._job_id, reason=STOPPED)
            raise SessionError("stopped while its files were moved; the next start goes on with it")
        self._end_job(None)
        return plan

    async def _attempt(self, wish: MoveWish) -> tuple[MovePlan | None, bool]:
        plan = await self._draw(wish)
        if plan.is_rename and not wish.names:
            return None, True
        for save in await anyio.to_thread.run_sync(
            self._check_places, plan, limiter=self._shared.disk_limiter
        ):
            with suppress(TorrentEngineError):  # it is told of that itself
                await save()
        self._shared.jobs.update(self._job_id, total_bytes=plan.total_bytes)
        return plan, await Relocation(self._shared.store, plan, self._hooks).begin()

    def _check_places(self, plan: MovePlan) -> list[Callable[[], Awaitable[None]]]:
        """Raise FileInUseError if another torrent lists a file where one is to go.

        Returns what lets the database know which of the files other torrents have, too.
        """
        registry = self._shared.file_registry
        places = [Path(plan.target).joinpath(*item.new) for item in plan.items]
        registry.check_places(self._info_hash, places)
        old = [Path(plan.source).joinpath(*item.old) for item in plan.items]
        return registry.unsaved_at(self._info_hash, old)

    async def _draw(self, wish: MoveWish) -> MovePlan:
        """Look at both places and say what is to be done; raises what ``draw_plan`` does."""
        shared, metainfo = self._shared, wish.metainfo
        storage = StorageManager(
            metainfo,
            wish.source,
            disk_limiter=shared.disk_limiter,
            config=shared.config.disk,
            renames=renames(wish.config),
            open_files=shared.open_files,
        )
        await settle_names(storage, shared.store, shared.name_foldings)
        old = stored_paths(storage)
        usable = shared.name_foldings.usable
        storage.rename({index: usable(path) for index, path in wish.names.items()})
        record = await shared.store.load(self._info_hash)
        if record is not None and record.save_path != str(wish.source.absolute()):
            record = None
        journal = shared.store.journal(self._info_hash)
        with storage_errors(wish.source):
            return await run_in_thread(
                lambda: draw_plan(self._named(wish, storage, old), _with_noted(record, journal)),
                limiter=shared.disk_limiter,
                failure=partial(StorageError, wish.source),
            )

    def _named(self, wish: MoveWish, storage: StorageManager, old: Mapping[int, Parts]) -> Wish:
        """Give each file a name that the new place can tell from the others."""
        new = stored_paths(storage)
        if wish.names:
            folding = self._shared.name_foldings.of(wish.target.absolute())
            twins = colliding(list(new.values()), folding)
            if any(index in wish.names for at, index in enumerate(new) if at in twins):
                path = wish.target.joinpath(*next(iter(wish.names.values())))
                raise FileExistsStorageError(path, "is the place of another file of the torrent")
        else:
            storage.rename(renames_at(wish.target, new, self._shared.name_foldings))
            new = stored_paths(storage)
        return Wish(wish.metainfo, wish.source, wish.target, old, new, dict(storage.renames))

    async def finish(self) -> MoveOutcome | None:
        """Finish what an earlier attempt left; None if there is nothing left.

        Raises StorageError if it can be neither done nor undone.
        """
        plan = await load_plan(self._shared.store, self._info_hash)
        if plan is None:
            return None
        await self._find_job(plan)
        try:
            outcome = await finish_move(self._shared.store, plan, self._hooks)
        except TorrentEngineError as error:
            self._end_job(error)
            raise
        except BaseException:
            self._shared.jobs.pause(self._job_id, reason=STOPPED)
            raise
        if outcome.is_finished:
            self._end_job(outcome.error)
        else:
            self._shared.jobs.pause(self._job_id, reason=STOPPED)
        return outcome

    async def _find_job(self, plan: MovePlan) -> None:
        """Go on with the job of the earlier attempt, or begin one if it is forgotten."""
        jobs = self._shared.jobs
        wanted = JobFilter(kinds=frozenset({JobKind.MOVE}), info_hash=self._info_hash, limit=1)
        for job in await jobs.list(wanted):
            if job.reason in {INTERRUPTED, STOPPED}:
                self._job_id = job.id
                return jobs.resume(job.id)
        return self._begin_job(plan.total_bytes)

    def _begin_job(self, total_bytes: int) -> None:
        self._job_id = self._shared.jobs.begin(
            JobKind.MOVE,
            info_hash=self._info_hash,
            name=self._host.name,
            total_bytes=total_bytes,
        )

    def _end_job(self, error: TorrentEngineError | None) -> None:
        jobs = self._shared.jobs
        if error is None:
            jobs.finish(self._job_id)
        elif self.is_cancelled:
            jobs.finish(self._job_id, JobStatus.CANCELLED, reason=CANCELLED)
        else:
            jobs.finish(self._job_id, JobStatus.FAILED, error=str(error))

    def _on_progress(self, done_bytes: int, total_bytes: int) -> None:
        self._shared.jobs.update(self._job_id, done_bytes=done_bytes, total_bytes=total_bytes)
        if self.is_cancelled:
            raise SessionError("the move was cancelled")


def kept_names(plan: MovePlan) -> tuple[tuple[int, str], ...]:
    """Return the names of a plan as a SessionConfig has them."""
    return tuple((index, "/".join(path)) for index, path in sorted(plan.renames.items()))


def _change_session(db: sqlite3.Connection, plan: MovePlan) -> None:
    """Let the list of a manager say where the files are; it may not come to that any more."""

    def change(settings: dict[str, Any]) -> dict[str, Any]:
        config = settings.get("config")
        if isinstance(config, dict) and (plan.renames or "renamed_files" in config):
            settings["config"] = {**config, "renamed_files": kept_names(plan)}
        return {**settings, "save_path": plan.target}

    change_settings(db, plan.info_hash, change)


def _with_noted(record: TorrentRecord | None, journal: WriteJournal) -> TorrentRecord | None:
    """Return a record that knows what was being written when the process died; blocking."""
    with closing(journal):
        noted = journal.open()
    progress = record.progress if record is not None else None
    if record is None or progress is None or not noted:
        return record
    unchecked = Bitfield.from_bytes(progress.unchecked, progress.piece_count)
    for piece in noted:
        if piece < progress.piece_count:
            unchecked.set(piece)
    return replace(record, progress=replace(progress, unchecked=unchecked.to_bytes()))
