"""The order in which payload is downloaded and shown: readers, deadlines, super-seeding."""

from dataclasses import replace
from pathlib import PurePath
from typing import Final

import anyio

from torrent_engine.base.errors import ConfigError, SessionError, StateTransitionError
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.resume.file_names import settle_names
from torrent_engine.engine.reading.file_reader import FileReader
from torrent_engine.engine.reading.readers import ReaderContext, Readers
from torrent_engine.engine.reading.stopped_files import StoppedFiles
from torrent_engine.engine.resources.owners import OWNER_CHANGED
from torrent_engine.engine.runs.file_selection import renames
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.lifecycle import CANCELLED, Lifecycle
from torrent_engine.engine.states import State
from torrent_engine.engine.transfer.progress import skipped_by

_GONE: Final = frozenset({CANCELLED, OWNER_CHANGED})
"""Reasons of an end after which the torrent is removed."""


class Streaming:
    """Reads files that are not complete yet, and decides which pieces come first."""

    __slots__ = ("_core", "_lifecycle")

    def __init__(self, core: SessionCore, lifecycle: Lifecycle) -> None:
        self._core = core
        self._lifecycle = lifecycle

    def open(self, file: int | str | PurePath) -> FileReader:
        """Return a reader of one file, by its index or its path in the torrent."""
        core = self._core
        if core.readers is None:
            core.readers = Readers(
                ReaderContext(
                    core.shared.config.reader,
                    core.shared.clock,
                    lambda: core.state,
                    lambda: core.error,
                    lambda: core.held_metainfo,
                    core.load_metainfo,
                    lambda: core.live_run,
                    lambda: core.config.file_priorities,
                    self._lifecycle.need_run,
                    self._is_at_rest,
                    lambda: (core.save_path, core.config.renamed_files, core.started_s),
                    self._open_stopped,
                )
            )
        return FileReader(core.readers, file)

    def _is_at_rest(self) -> bool:
        core = self._core
        is_gone = core.is_closed or core.stop_reason in _GONE
        return core.state is State.STOPPED and not is_gone

    async def _open_stopped(self) -> StoppedFiles:
        """Open the files of a torrent that is stopped, to be read only."""
        core = self._core
        shared, config = core.shared, core.config
        if (metainfo := await core.load_metainfo()) is None:
            raise SessionError("what the torrent is made of cannot be read")
        storage = StorageManager(
            metainfo,
            core.save_path,
            disk_limiter=shared.disk_limiter,
            config=shared.config.disk,
            renames=renames(config),
            skipped=skipped_by(config.file_priorities or ()),
            open_files=shared.open_files,
            follow_links=config.follow_links,
            reports_faults=True,
            storage=core.storage.get(metainfo, core.save_path, config),
        )
        await shared.acquire()
        try:
            await settle_names(storage, shared.store, shared.name_foldings)
        finally:
            with anyio.CancelScope(shield=True):
                await shared.release()
        files = StoppedFiles(storage)
        await files.open()
        return files

    def set_sequential(self, *, is_sequential: bool, from_piece: int | None) -> None:
        """Download pieces in their order from now on, or the rarest first."""
        start = self._core.config.sequential_from if from_piece is None else from_piece
        self._core.change_config(sequential=is_sequential, sequential_from=start)

    async def set_first_last_first(self, *, is_first: bool) -> None:
        """Download the first and last pieces of each file before others, or no longer."""
        self._core.change_config(first_last_first=is_first)
        if (run := self._core.live_run) is not None:
            await run.order_pieces()

    @property
    def is_super_seeding(self) -> bool:
        """Whether pieces are shown one by one now (BEP 16)."""
        run = self._core.live_run
        return run is not None and run.is_super_seeding

    def set_super_seeding(self, *, is_super_seeding: bool) -> None:
        """Show pieces one by one from now on (BEP 16), or all of them."""
        core = self._core
        core.config = replace(core.config, super_seeding=is_super_seeding)
        core.settings_changed()
        if (run := core.live_run) is not None:
            run.set_super_seeding(is_on=is_super_seeding)
        if core.dormant is not None:
            core.dormant.take_config(core.config)

    def set_piece_deadline(self, piece: int, seconds: float | None) -> None:
        """Download one piece within so many seconds; see :meth:`Session.set_piece_deadline`."""
        run, metainfo = self._core.live_run, self._core.held_metainfo
        if run is None or metainfo is None:
            raise StateTransitionError("a deadline is not possible while the torrent does not run")
        if not 0 <= piece < metainfo.piece_count:
            raise ConfigError(f"piece: {piece} is not among 0 to {metainfo.piece_count - 1}")
        run.set_piece_deadline(piece, seconds)
