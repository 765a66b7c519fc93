"""One move of a torrent's files, with its job record and its cancellation."""

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
    HiddenNameError,
    SessionError,
    StorageError,
    TorrentEngineError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.base.storage import Storage
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts, colliding
from torrent_engine.disk.file_stamps import PART_FILE, NotedFiles
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.home_folder import HIDDEN, HomeNames
from torrent_engine.disk.moves.plan import MovePlan, MoveSpec, draw_plan, own_paths
from torrent_engine.disk.moves.relocation import (
    MoveAttempt,
    MoveHooks,
    MoveOutcome,
    finish_move,
    move_custom,
)
from torrent_engine.disk.moves.table import load_plan
from torrent_engine.disk.os_errors import storage_errors
from torrent_engine.disk.resume.file_names import renames_at, settle_names, stored_paths
from torrent_engine.disk.state.journal import WriteJournal
from torrent_engine.disk.state.records import TorrentRecord
from torrent_engine.disk.state.session_table import change_settings
from torrent_engine.disk.threads import run_in_thread
from torrent_engine.engine.jobs.job_log import INTERRUPTED, JobFilter, JobKind, JobStatus
from torrent_engine.engine.runs.file_selection import renames

if TYPE_CHECKING:
    from torrent_engine.engine.resources.shared_resources import SharedResources

CANCELLED: Final = "cancelled"
STOPPED: Final = "stopped"


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """What is to be moved, from where to where; ``names`` are files that get another path."""

    metainfo: Metainfo
    config: SessionConfig
    source: Path
    target: Path
    names: Mapping[int, PathParts]
    storage: Storage | None = None
    """The storage that the user gave; None: the torrent is kept in files."""
    home: Path | None = None
    """Where the files go once they are complete, if that is not the target."""


@dataclass(frozen=True, slots=True)
class MoveCallbacks:
    """The torrent whose files are moved, and what is called at the steps of the move."""

    info_hash: InfoHash
    name: str
    is_stopping: Callable[[], bool]
    on_placed: Callable[[MovePlan], None]
    on_returned: Callable[[], None]
    """As :class:`MoveHooks` has them."""


class StorageMove:
    """Moves the files of one torrent while no run has them open."""

    def __init__(self, shared: "SharedResources", callbacks: MoveCallbacks) -> None:
        self._is_cancelled = False
        self.ended = anyio.Event()
        self._shared = shared
        self._callbacks = callbacks
        self._info_hash = callbacks.info_hash
        self._job_id = ""
        self._is_left = False
        self._hooks = MoveHooks(
            shared.disk_limiter,
            shared.config.disk.preallocate,
            self._on_progress,
            callbacks.on_placed,
            callbacks.on_returned,
            _change_session,
            lambda: self._is_left or callbacks.is_stopping(),
        )

    async def leave(self) -> None:
        """End it early, so that a later start continues it, and wait for the end."""
        self._is_left = True
        await self.ended.wait()

    async def carry_out(self, wanted: MoveRequest) -> MovePlan | None:
        """Move the files, as a job; None if they are there already.

        Raises StorageError and other TorrentEngineErrors with all files where they were, and
        SessionError if it was ended early: the next start continues it.
        """
        self._begin_job(0)
        try:
            plan, is_finished = await self._attempt(wanted)
        except TorrentEngineError as error:
            self._end_job(error)
            raise
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._leave_job()
            raise
        if not is_finished:
            self._shared.jobs.pause(self._job_id, reason=STOPPED)
            raise SessionError("stopped while its files were moved; the next start continues")
        self._end_job(None)
        return plan

    async def _leave_job(self) -> None:
        """Let the job wait for who continues the move; without a plan nobody does."""
        plan = None
        with suppress(TorrentEngineError):
            plan = await load_plan(self._shared.store, self._info_hash)
        if plan is None:
            self._shared.jobs.finish(self._job_id, JobStatus.CANCELLED, reason=STOPPED)
        else:
            self._shared.jobs.pause(self._job_id, reason=STOPPED)

    async def _attempt(self, wanted: MoveRequest) -> tuple[MovePlan | None, bool]:
        if wanted.storage is not None:
            return await self._move_custom(wanted, wanted.storage), True
        plan = await self._draw(wanted)
        if wanted.home is not None:
            plan = replace(plan, home=str(wanted.home))
        if plan.is_rename and not wanted.names:
            return None, True
        check = partial(self._check_places, plan, allow_hidden=wanted.config.allow_hidden)
        for save in await anyio.to_thread.run_sync(check, limiter=self._shared.disk_limiter):
            with suppress(TorrentEngineError):  # its own run reports that
                await save()
        self._shared.jobs.update(self._job_id, total_bytes=plan.total_bytes)
        return plan, await MoveAttempt(self._shared.store, plan, self._hooks).begin()

    async def _move_custom(self, wanted: MoveRequest, storage: Storage) -> MovePlan | None:
        """Let the storage of the user move what it has; None if there is nothing to do."""
        source, target = str(wanted.source.absolute()), str(wanted.target.absolute())
        if source == target and not wanted.names:
            return None
        usable = self._shared.name_foldings.usable
        chosen = {index: usable(path) for index, path in wanted.names.items()}
        names = {**renames(wanted.config), **chosen}
        plan = MovePlan(self._info_hash, source, target, (), names)
        await move_custom(self._shared.store, plan, storage, self._hooks)
        return plan

    def _check_places(
        self, plan: MovePlan, *, allow_hidden: bool
    ) -> list[Callable[[], Awaitable[None]]]:
        """Raise FileInUseError if another torrent lists a file where one is to go.

        Also HiddenNameError unless ``allow_hidden``, and StorageError in the state folder. Returns
        what saves, for other torrents, which of the files they share.
        """
        home = HomeNames(Path(plan.target))
        for item in plan.items if not allow_hidden else ():
            if item.file != PART_FILE and home.is_hidden(item.new):
                raise HiddenNameError(Path(plan.target).joinpath(*item.new), HIDDEN)
        registry = self._shared.file_registry
        places = [Path(plan.target).joinpath(*item.new) for item in plan.items]
        registry.check_places(self._info_hash, Path(plan.target), places)
        old = [Path(plan.source).joinpath(*item.old) for item in plan.items]
        return registry.unsaved_at(self._info_hash, old)

    async def _draw(self, wanted: MoveRequest) -> MovePlan:
        """Return the plan of the move; raises what ``draw_plan`` does."""
        shared = self._shared
        storage = await _storage_at(shared, wanted)
        record = await _record_at(shared, wanted)
        journal = shared.store.journal(self._info_hash)
        with storage_errors(wanted.source):
            return await run_in_thread(
                lambda: draw_plan(self._named(wanted, storage), *_with_noted(record, journal)),
                limiter=shared.disk_limiter,
                failure=partial(StorageError, wanted.source),
            )

    def _named(self, wanted: MoveRequest, storage: StorageManager) -> MoveSpec:
        """Give each file a name that is distinct on the target file system."""
        old, usable = stored_paths(storage), self._shared.name_foldings.usable
        storage.rename({index: usable(path) for index, path in wanted.names.items()})
        new = {**old, **{index: storage.paths.parts(index) for index in wanted.names}}
        if wanted.names:
            folding = self._shared.name_foldings.of(wanted.target.absolute())
            twins = colliding(list(new.values()), folding)
            if any(index in wanted.names for at, index in enumerate(new) if at in twins):
                path = wanted.target.joinpath(*next(iter(wanted.names.values())))
                raise FileExistsStorageError(path, "is the place of another file of the torrent")
        else:
            storage.rename(renames_at(wanted.target, new, self._shared.name_foldings))
            new = stored_paths(storage)
        return MoveSpec(
            wanted.metainfo, wanted.source, wanted.target, old, new, dict(storage.renames)
        )

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
        """Resume the job of the earlier attempt, or begin one if there is none."""
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
            name=self._callbacks.name,
            total_bytes=total_bytes,
        )

    def _end_job(self, error: TorrentEngineError | None) -> None:
        jobs = self._shared.jobs
        if error is None:
            jobs.finish(self._job_id)
        elif self._is_cancelled:
            jobs.finish(self._job_id, JobStatus.CANCELLED, reason=CANCELLED)
        else:
            jobs.finish(self._job_id, JobStatus.FAILED, error=str(error))

    def cancel(self) -> None:
        """Undo the move as soon as possible, unless it is all but done."""
        self._is_cancelled = True

    def _on_progress(self, done_bytes: int, total_bytes: int) -> None:
        self._shared.jobs.update(self._job_id, done_bytes=done_bytes, total_bytes=total_bytes)
        if self._is_cancelled:
            raise SessionError("the move was cancelled")


def kept_names(plan: MovePlan) -> tuple[tuple[int, str], ...]:
    """Return the names of a plan as a SessionConfig has them."""
    return tuple((index, "/".join(path)) for index, path in sorted(plan.renames.items()))


def _change_session(db: sqlite3.Connection, plan: MovePlan) -> None:
    """Change the record of a manager to the new place; the process may end before it does."""

    def change(settings: dict[str, Any]) -> dict[str, Any]:
        config = settings.get("config")
        if isinstance(config, dict) and (plan.renames or "renamed_files" in config):
            config = settings["config"] = {**config, "renamed_files": kept_names(plan)}
        if plan.is_rename:
            return settings
        if not plan.home:
            return {**settings, "save_path": plan.target, "files_path": None}
        elsewhere: dict[str, Any] = {"save_path": plan.home, "files_path": plan.target}
        if isinstance(config, dict):
            elsewhere["config"] = {**config, "incomplete_dir": plan.target}
        return {**settings, **elsewhere}

    change_settings(db, plan.info_hash, change)


async def _storage_at(shared: "SharedResources", wanted: MoveRequest) -> StorageManager:
    """Return where the files are stored at the source; nothing is open."""
    storage = StorageManager(
        wanted.metainfo,
        wanted.source,
        disk_limiter=shared.disk_limiter,
        config=shared.config.disk,
        renames=renames(wanted.config),
        open_files=shared.open_files,
    )
    await settle_names(storage, shared.store, shared.name_foldings)
    return storage


async def _record_at(shared: "SharedResources", wanted: MoveRequest) -> TorrentRecord | None:
    """Return what the database knows of the files at the source."""
    record = await shared.store.load(wanted.metainfo.info_hash, with_metainfo=False)
    is_there = record is not None and record.save_path == str(wanted.source.absolute())
    return record if is_there else None


async def own_files(shared: "SharedResources", wanted: MoveRequest) -> set[Path]:
    """Return which files at the source are the torrent's, without moving any.

    Raises StorageError if that cannot be seen, and StateDatabaseError.
    """
    in_thread = partial(
        run_in_thread, limiter=shared.disk_limiter, failure=partial(StorageError, wanted.source)
    )
    old = stored_paths(await _storage_at(shared, wanted))
    places = [wanted.source.joinpath(*parts) for parts in old.values()]
    for save in await in_thread(partial(shared.file_registry.unsaved_at, None, places)):
        await save()  # it runs, and made files that the database does not know of
    record = await _record_at(shared, wanted)
    spec = MoveSpec(wanted.metainfo, wanted.source, wanted.target, old, old)
    return await in_thread(partial(own_paths, spec, record))


def _with_noted(
    record: TorrentRecord | None, journal: WriteJournal
) -> tuple[TorrentRecord | None, NotedFiles]:
    """Return a record with the pieces that were being written when the process died; blocking.

    And the files that it had made by then.
    """
    with closing(journal):
        noted = journal.open()
        made = journal.files()
    progress = record.progress if record is not None else None
    if record is None or progress is None or not noted:
        return record, made
    unchecked = Bitfield.from_bytes(progress.unchecked, progress.piece_count)
    for piece in noted:
        if piece < progress.piece_count:
            unchecked.set(piece)
    return replace(record, progress=replace(progress, unchecked=unchecked.to_bytes())), made
