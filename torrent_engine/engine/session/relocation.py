"""Where a torrent's files are: moving them to another save path, giving one another name."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio.to_thread

from torrent_engine.base.errors import StateTransitionError, TorrentEngineError, UnknownFileError
from torrent_engine.base.ids import FileIndex
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.paths import PathParts, text_path
from torrent_engine.disk.files.file_paths import path_in_use
from torrent_engine.disk.moves.plan import MovePlan
from torrent_engine.disk.moves.table import load_plan
from torrent_engine.engine.events import (
    ChangedGroup,
    DownloadFinished,
    FileRenamed,
    StorageMoved,
    StorageMoveFailed,
)
from torrent_engine.engine.runs.incomplete import find_location, finished_names, stored_files
from torrent_engine.engine.runs.torrent_run import BETWEEN
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.metadata import Metadata
from torrent_engine.engine.session.status import FileNames
from torrent_engine.engine.session.storage_move import (
    MoveCallbacks,
    MoveRequest,
    StorageMove,
    kept_names,
    own_files,
)

logger = logging.getLogger(__name__)


def _names_below(
    old: PathParts, new: PathParts, metainfo: Metainfo, core: SessionCore, file_names: FileNames
) -> dict[int, PathParts]:
    """Return what the files of a folder are called once it has another path; blocking."""
    used = file_names.in_use().items()  # some may be raw: those of a user are cleaned
    present = {index: text_path("/".join(path)) for index, path in used}
    present |= finished_names(metainfo, core.config)
    windows = core.shared.name_foldings.is_windows
    names: dict[int, PathParts] = {}
    for index in stored_files(metainfo):
        path = path_in_use(metainfo, index, present, windows=windows)
        if path[: len(old)] == old:
            names[index] = (*new, *path[len(old) :])
    return names


class Relocation:
    """Moves and renames the files of one torrent; all but :meth:`cancel` between two runs only."""

    __slots__ = (
        "_core",
        "_file_names",
        "_is_finish_due",
        "_is_home_due",
        "_is_placed",
        "_metadata",
        "_move",
        "_old_place",
    )

    def __init__(self, core: SessionCore, metadata: Metadata, file_names: FileNames) -> None:
        self._core = core
        self._file_names = file_names
        self._metadata = metadata
        self._move: StorageMove | None = None
        self._is_placed = False
        """It is known where the files are."""
        self._is_home_due = False
        self._is_finish_due = False
        """The download is complete, and :class:`DownloadFinished` was not published yet."""
        self._old_place: tuple[Path, tuple[tuple[int, str], ...]] | None = None

    @property
    def final_path(self) -> Path:
        """The save path once the torrent is complete; now the files may be in another folder."""
        return self._core.final_home or self._core.save_path

    async def own_files(self) -> set[Path]:
        """Return the files on disk that are the torrent's; none of those of its own storage.

        Raises StorageError if that cannot be seen, and StateDatabaseError.
        """
        core = self._core
        metainfo = await core.load_metainfo()
        if metainfo is None or core.config.storage is not None:
            return set()
        place = core.save_path
        return await own_files(core.shared, MoveRequest(metainfo, core.config, place, place, {}))

    @property
    def is_moving(self) -> bool:
        """Whether files are being moved or renamed."""
        return self._move is not None

    def cancel(self) -> bool:
        """Undo the move that is under way, if it is not all but done; False if there is none."""
        if self._move is None:
            return False
        self._move.cancel()
        return True

    # -- until it is complete -----------------------------------------------------------------

    def completed(self) -> None:
        """End the run of a torrent that is complete now, if its files are elsewhere until then."""
        core = self._core
        if core.final_home is not None and not core.config.check_only:
            self._is_home_due = True
            if core.run is not None:
                core.run.stop(BETWEEN)

    async def settle(self, metainfo: Metainfo | None) -> None:
        """Find out where the files are, before they are used for the first time."""
        core = self._core
        config = core.config
        if metainfo is None or self._is_placed:
            return
        if config.incomplete_dir is not None or config.incomplete_suffix:
            placement = await find_location(core.shared, metainfo, config, self.final_path)
            core.save_path, core.final_home = placement.save_path, placement.home
            core.config = replace(core.config, renamed_files=placement.config.renamed_files)
            core.changed(ChangedGroup.SETTINGS)
        self._is_placed = True

    async def go_home(self, metainfo: Metainfo | None) -> None:
        """Move the files of a torrent that has become complete to their final path and names.

        If something is in the way there, that is logged and published as an event, and they are
        seeded where they are.
        """
        core = self._core
        if not self._is_home_due or metainfo is None:
            return
        self._is_home_due = False
        if core.final_home is None:
            self._publish_finished()
            return
        names = finished_names(metainfo, core.config)
        try:
            async with self._moving() as move:
                await self._finish(move)
                wanted = MoveRequest(metainfo, core.config, core.save_path, core.final_home, names)
                await self._carry_out(move, wanted)
            core.final_home = None
            self._is_finish_due = True  # an earlier process may have ended before the move
        except TorrentEngineError as error:
            logger.warning("%s: not moved to %s: %s", core.name, core.final_home, error)
            self._move_failed(core.final_home, error)
        self._publish_finished()

    def download_completed(self) -> None:
        """Publish that the download is finished; if its files are to be moved, after that."""
        self._is_finish_due = True
        if not self._is_home_due:
            self._publish_finished()

    def _publish_finished(self) -> None:
        core = self._core
        if self._is_finish_due:
            self._is_finish_due = False
            core.events.publish(DownloadFinished(core.info_hash, str(core.save_path)))

    # -- what may be asked for ----------------------------------------------------------------

    async def relocate(self, target: Path | None, names: Mapping[int, PathParts]) -> None:
        """Move all files to another save path, or give some of them another name."""
        core = self._core
        metainfo = await core.load_metainfo()
        if metainfo is None and core.ended.is_set():
            await self._metadata.recall()
            metainfo = core.held_metainfo
        if metainfo is None:
            self._relocate_nothing(target)
            return
        self._check_names(metainfo, names)
        await self.settle(metainfo)
        if core.final_home is not None and target is not None:
            core.final_home = target  # the files go there when they are complete
            core.settings_changed()
            return
        if core.final_home is not None and finished_names(metainfo, core.config):
            suffix = core.config.incomplete_suffix
            names = {index: (*path[:-1], path[-1] + suffix) for index, path in names.items()}
        async with self._moving() as move:
            await self._finish(move)
            place, config = core.save_path, core.config
            storage = core.storage.get(metainfo, place, config)
            wanted = MoveRequest(metainfo, config, place, target or place, names, storage)
            try:
                await self._carry_out(move, wanted)
            except TorrentEngineError as error:
                self._move_failed(wanted.target, error)
                raise

    async def rename_folder(self, old: PathParts, new: PathParts) -> None:
        """Give a folder, the torrent's root or a file another path; see ``Session``."""
        core = self._core
        metainfo = await core.load_metainfo()
        if metainfo is None:
            raise StateTransitionError("a folder has no name before the metadata came")
        await self.settle(metainfo)
        names = await anyio.to_thread.run_sync(
            lambda: _names_below(old, new, metainfo, core, self._file_names)
        )
        if not names:
            message = f"old: the torrent has nothing at {'/'.join(old)!r}"
            raise UnknownFileError(message, "/".join(old))
        if old != new:
            await self.relocate(None, names)

    async def set_save_path(self, target: Path) -> None:
        """Look for the files in another folder; see ``Session``."""
        core = self._core
        if core.config.storage is not None:
            raise StateTransitionError("a storage of its own has no other place")
        metainfo = await core.load_metainfo()
        if metainfo is None:
            self._relocate_nothing(target)
            return
        async with self._moving() as move:
            await self._finish(move)
        names = finished_names(metainfo, core.config)
        if names:
            windows = core.shared.name_foldings.is_windows
            own = partial(path_in_use, metainfo, names={}, windows=windows)
            kept = {index: path for index, path in names.items() if path != own(index)}
            renamed = tuple((index, "/".join(path)) for index, path in sorted(kept.items()))
            core.config = replace(core.config, renamed_files=renamed)
        core.save_path, core.final_home, core.snapshot = target, None, None
        self._is_placed = self._is_home_due = False
        core.settings_changed()

    async def set_incomplete_dir(self, target: Path | None) -> None:
        """Keep the files of a torrent that is not complete in another folder; see ``Session``."""
        core = self._core
        config = replace(core.config, incomplete_dir=None if target is None else str(target))
        metainfo = await core.load_metainfo()
        if metainfo is not None:
            await self.settle(metainfo)
            if self._is_incomplete:
                await self._move_incomplete(metainfo, target)
        folder, names = config.incomplete_dir, core.config.renamed_files
        core.config = replace(core.config, incomplete_dir=folder, renamed_files=names)
        core.settings_changed()

    @property
    def _is_incomplete(self) -> bool:
        """Whether it is known that something is missing."""
        core = self._core
        if core.run is not None:
            return not core.run.progress.is_complete
        return core.snapshot is not None and not core.snapshot.is_complete

    async def _move_incomplete(self, metainfo: Metainfo, target: Path | None) -> None:
        """Move files that are not complete to their folder, or where they belong."""
        core, home = self._core, self.final_path
        folder = home if target is None else target
        is_home = folder == home
        async with self._moving() as move:
            await self._finish(move)
            wanted = MoveRequest(
                metainfo,
                core.config,
                core.save_path,
                folder,
                {},
                home=None if is_home else home,
            )
            try:
                await self._carry_out(move, wanted)
            except TorrentEngineError as error:
                self._move_failed(folder, error)
                raise
        has_suffix = bool(finished_names(metainfo, core.config))
        core.save_path, core.final_home = folder, None if is_home and not has_suffix else home

    def _relocate_nothing(self, target: Path | None) -> None:
        if target is None:
            raise StateTransitionError("a file has no name before the metadata came")
        self._core.save_path = target
        self._core.settings_changed()
        self._core.events.publish(StorageMoved(self._core.info_hash, str(target)))

    @staticmethod
    def _check_names(metainfo: Metainfo, names: Mapping[int, PathParts]) -> None:
        for index in names:
            if not 0 <= index < len(metainfo.files):
                raise UnknownFileError(f"file_index: there is no file {index!r}", index)
            entry = metainfo.files[index]
            if entry.is_pad or entry.symlink_target is not None:
                raise UnknownFileError(f"file_index: file {index} is not kept on the disk", index)

    async def _carry_out(self, move: StorageMove, wanted: MoveRequest) -> None:
        core, plan = self._core, await move.carry_out(wanted)
        if plan is None:
            return
        for index in wanted.names:
            path = str(Path(plan.target).joinpath(*plan.renames[index]))
            core.events.publish(FileRenamed(core.info_hash, FileIndex(index), path))
        if not plan.is_rename:
            core.events.publish(StorageMoved(core.info_hash, plan.target))

    def _on_placed(self, plan: MovePlan) -> None:
        """Record where the files are; a manager may save that before the move is saved."""
        self._old_place = (self._core.save_path, self._core.config.renamed_files)
        self._take_place(Path(plan.target), kept_names(plan))

    def _on_returned(self) -> None:
        if self._old_place is not None:
            self._take_place(*self._old_place)

    def _take_place(self, path: Path, names: tuple[tuple[int, str], ...]) -> None:
        core = self._core
        core.save_path = path
        if names != core.config.renamed_files:
            core.config = replace(core.config, renamed_files=names)
            core.changed(ChangedGroup.ABOUT)
        core.changed(ChangedGroup.SETTINGS)

    # -- what an earlier process left -----------------------------------------------------------

    async def finish_unfinished(self) -> None:
        """Finish the move that an earlier process began; to be awaited before the files are used.

        Raises StorageError if it can be neither done nor undone.
        """
        if await load_plan(self._core.shared.store, self._core.info_hash) is not None:
            async with self._moving() as move:
                await self._finish(move)

    async def undo_unfinished(self) -> None:
        """Undo the move that is not finished, before the torrent is removed."""
        if await load_plan(self._core.shared.store, self._core.info_hash) is not None:
            async with self._moving() as move:
                move.cancel()
                await self._finish(move)

    async def _finish(self, move: StorageMove) -> None:
        core, outcome = self._core, await move.finish()
        if outcome is None or not outcome.is_finished:
            return
        plan = outcome.plan
        if outcome.error is not None:
            logger.warning("%s: files were not moved: %s", core.name, outcome.error)
            core.save_path, core.final_home = Path(plan.source), self._home_after_undo(plan)
            self._move_failed(plan.target, outcome.error)
            return
        self._take_place(Path(plan.target), kept_names(plan))
        if not plan.is_rename:
            core.final_home = Path(plan.home) if plan.home else None
            core.events.publish(StorageMoved(core.info_hash, plan.target))

    def _move_failed(self, target: object, error: TorrentEngineError) -> None:
        core = self._core
        core.shared.disk_counts.failed(error)
        core.events.publish(StorageMoveFailed(core.info_hash, str(target), str(error)))

    def _home_after_undo(self, plan: MovePlan) -> Path | None:
        """Return where the files go once complete, when a move of an earlier process is undone."""
        home = Path(plan.home) if plan.home else self._core.final_home
        return None if home == Path(plan.source) else home

    @asynccontextmanager
    async def _moving(self) -> AsyncIterator[StorageMove]:
        """Lock the torrent's files against other processes and other Sessions."""
        core, shared = self._core, self._core.shared
        callbacks = MoveCallbacks(
            core.info_hash, core.name, self._is_leaving, self._on_placed, self._on_returned
        )
        move = StorageMove(shared, callbacks)
        is_alone = core.ended.is_set()
        if is_alone:
            shared.sessions.add(core.info_hash, move.leave)
        self._move = move
        core.changed(ChangedGroup.PROGRESS)
        try:
            shared.store.claim(core.info_hash)
            yield move
        finally:
            self._move = None
            shared.store.release(core.info_hash)
            if is_alone:
                shared.sessions.remove(core.info_hash)
            move.ended.set()
            core.changed(ChangedGroup.PROGRESS)

    def _is_leaving(self) -> bool:
        core = self._core
        return core.is_closed or (core.stop_wanted is not None and not core.ended.is_set())
