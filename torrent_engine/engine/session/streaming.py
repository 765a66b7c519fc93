"""The order in which payload is downloaded and shown: readers, deadlines, super-seeding."""

from dataclasses import replace
from pathlib import PurePath

from torrent_engine.base.errors import ConfigError, StateTransitionError
from torrent_engine.engine.reading.file_reader import FileReader
from torrent_engine.engine.reading.readers import ReaderContext, Readers
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.lifecycle import Lifecycle


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
                    lambda: core.metainfo,
                    lambda: core.live_run,
                    lambda: core.config.file_priorities,
                    self._lifecycle.need_run,
                )
            )
        return FileReader(core.readers, file)

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

    def set_piece_deadline(self, piece: int, seconds: float | None) -> None:
        """Download one piece within so many seconds; see :meth:`Session.set_piece_deadline`."""
        run, metainfo = self._core.live_run, self._core.metainfo
        if run is None or metainfo is None:
            raise StateTransitionError("a deadline is not possible while the torrent does not run")
        if not 0 <= piece < metainfo.piece_count:
            raise ConfigError(f"piece: {piece} is not among 0 to {metainfo.piece_count - 1}")
        run.set_piece_deadline(piece, seconds)
