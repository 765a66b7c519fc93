"""Owns the order in which a torrent's payload comes and goes: readers, deadlines, super-seeding."""

from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import ConfigError, StateTransitionError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.reader import FileReader
from torrent_engine.engine.readings import ReadingHost, Readings
from torrent_engine.engine.session_controls import SessionControls
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import StateMachine

if TYPE_CHECKING:
    from torrent_engine.engine.session_run import SessionRun
    from torrent_engine.engine.state_waiters import StateWaiters

BY_USER = "by user"
"""Whose deadlines they are that nobody reads."""


class SessionReading(SessionControls):
    """Reading a file that is not whole yet, and which pieces come first."""

    _waiters: "StateWaiters"
    error: TorrentEngineError | None

    def __init__(
        self,
        source: Metainfo | Magnet | InfoHash,
        shared: SharedResources,
        machine: StateMachine,
        config: SessionConfig,
    ) -> None:
        super().__init__(source, shared, machine, config)
        self._readings: Readings | None = None

    @property
    def has_readers(self) -> bool:
        """Whether somebody reads: then the Session does not rest."""
        return bool(self._readings)

    def open(self, file: int | str | PurePath) -> FileReader:
        """Return a reader of one file, by its index or its path in the torrent.

        Use it with ``async with``. The torrent goes on as before: what the reader comes to is
        fetched first. Of a magnet link ``async with`` waits for the metadata. Raises ConfigError
        if there is no such file, as soon as that is known.
        """
        if self._readings is None:
            self._readings = Readings(
                ReadingHost(
                    self._shared.config.reader,
                    self._shared.clock,
                    lambda: self.state,
                    lambda: self.error,
                    lambda: self.metainfo,
                    lambda: self._live_run,
                    lambda: self.config.file_priorities,
                    self._need_run,
                )
            )
            self._waiters.listener = self._readings.moved
        return FileReader(self._readings, file)

    @property
    def _live_run(self) -> "SessionRun | None":
        return None if self._ended.is_set() else self._run

    async def _need_run(self) -> None:
        """Make a torrent that rests run; one that runs stays as it is."""

    def _priorities_of_run(self, priorities: tuple[int, ...]) -> tuple[int, ...]:
        if self._readings is None:
            return priorities
        return self._readings.with_read_files(priorities) or priorities

    def set_sequential(self, is_sequential: bool) -> None:  # noqa: FBT001 - named by the method
        """Fetch pieces in their order from now on, or the rarest first."""
        self.config = replace(self.config, sequential=is_sequential)
        self._settings_changed()
        if self._run is not None:
            self._run.torrent.picker.is_sequential = is_sequential

    @property
    def is_super_seeding(self) -> bool:
        """Whether pieces are shown one by one now (BEP 16)."""
        return self._live_run is not None and self._live_run.transfer.super_seeding.is_on

    def set_super_seeding(self, is_super_seeding: bool) -> None:  # noqa: FBT001 - as above
        """Show the pieces of a complete torrent one by one from now on (BEP 16), or all of them.

        Each peer is shown a few pieces, and the next ones when others have these, so that little
        more than one copy is sent before there is another seed; then it is over by itself. Peers
        that know already what we have are parted from; they may come back. It has no effect while
        pieces are missing: a download that becomes complete seeds as usual until the next start.
        """
        self.config = replace(self.config, super_seeding=is_super_seeding)
        self._settings_changed()
        run = self._live_run
        if run is None:
            return
        run.torrent.config = replace(run.torrent.config, super_seeding=is_super_seeding)
        if is_super_seeding:
            run.transfer.super_seeding.begin()
        else:
            run.transfer.super_seeding.end()

    def set_piece_deadline(self, piece: int, seconds: float | None) -> None:
        """Fetch one piece before others, so that it is here in so many seconds; None: no more.

        Earlier ones come first, as what readers need does. It has no effect on a piece that is
        here or of skipped files, and is forgotten when the run ends. Raises ConfigError if there
        is no such piece, StateTransitionError if the Session does not run.
        """
        run = self._live_run
        if run is None or self.metainfo is None:
            raise StateTransitionError("a deadline is not possible while the torrent does not run")
        if not 0 <= piece < self.metainfo.piece_count:
            raise ConfigError(f"piece: {piece} is not among 0 to {self.metainfo.piece_count - 1}")
        deadlines = run.torrent.picker.deadlines
        if seconds is None:
            deadlines.forget(BY_USER, piece)
        elif not run.torrent.table.have.has(piece):
            deadlines.add(BY_USER, piece, self._shared.clock() + seconds)
            run.transfer.downloads.urgent.hurry()
