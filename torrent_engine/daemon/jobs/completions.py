"""Which torrents have become complete and were told to hooks, over kills of the process.

The engine reports a completion once. A process that is killed before the daemon has written it down
never hears of it again, so it is kept of each torrent whether its completion is due or was told.
What is due is written long before a torrent is complete, and it is told in the same transaction as
the run of its hooks is written down.
"""

from collections.abc import Callable
from typing import Final

from torrent_engine.base.errors import ClosedError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import (
    ChangedNotice,
    EngineState,
    Moment,
    MomentNotice,
    Notice,
    ProgressFacts,
    RemovedNotice,
)
from torrent_engine.daemon.engine_port.port import TorrentReading
from torrent_engine.daemon.state.store import StoredTable

DUE: Final = "due"
"""It was seen downloading: hooks are run when it is complete."""
TOLD: Final = "told"
"""It is complete, and hooks know it or need not: it was so when it was added."""
RUNNING: Final = ""
"""The key of a row that is there while a daemon runs: it was killed if the next one finds it."""
_REPORTING: Final = frozenset({EngineState.DOWNLOADING, EngineState.SEEDING})


class Completions:
    """Says once of each torrent that it is complete, at the next start if need be.

    :meth:`begin` comes first, then the engine's reports; :meth:`end` comes last unless the process
    is killed.
    """

    def __init__(
        self,
        torrents: TorrentReading,
        table: StoredTable,
        tell: Callable[[InfoHash], None],
        *,
        is_wanted: bool,
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        """``tell`` writes down what is to be run, and returns at once.

        ``hurry`` lets the table be written at once: a small torrent is complete in a moment.

        If it is not wanted nothing is kept, so that what completes meanwhile is not told later.
        """
        self._torrents = torrents
        self._table = table
        self._tell = tell
        self._is_wanted = is_wanted
        self._hurry = hurry
        self._was_killed = False
        self._reported: set[InfoHash] = set()
        """Torrents that the engine reports when they are complete."""

    def begin(self) -> None:
        """Report what an earlier process was killed before it could."""
        if not self._is_wanted:
            for key in dict(self._table.items()):
                self._table.drop(key)
            return
        self._was_killed = RUNNING in self._table
        self._table.put(RUNNING, 1)
        there = self._torrents.hashes()
        names = {RUNNING, *(info_hash.hex() for info_hash in there)}
        for key in dict(self._table.items()):
            if key not in names:
                self._table.drop(key)
        for info_hash in there:
            self._look(info_hash)

    def end(self) -> None:
        """Record that the next process need not be told what this one did not see."""
        self._table.drop(RUNNING)

    def take(self, notice: Notice) -> None:
        """Take a report of the engine."""
        match notice:
            case MomentNotice(info_hash, Moment.COMPLETED):
                self._completed(info_hash)
            case ChangedNotice(info_hash) if self._is_wanted:
                self._look(info_hash)
            case RemovedNotice(info_hash):
                self._reported.discard(info_hash)
                self._table.drop(info_hash.hex())
            case _:
                return

    def _completed(self, info_hash: InfoHash) -> None:
        """Pass on what the engine reports, unless :meth:`_look` was earlier."""
        is_told = self._table.get(info_hash.hex()) == TOLD and info_hash not in self._reported
        self._reported.discard(info_hash)
        if self._is_wanted and not is_told:
            self._put(info_hash, TOLD)
            self._tell(info_hash)

    def _look(self, info_hash: InfoHash) -> None:
        try:
            progress, _ = self._torrents.live(info_hash)
        except (UnknownTorrentError, ClosedError):
            return
        state = progress.paused_state or progress.state
        if state not in _REPORTING:
            self._reported.discard(info_hash)
        if state is EngineState.DOWNLOADING:
            self._reported.add(info_hash)
            self._put(info_hash, DUE)
        elif state is not EngineState.CHECKING and _is_complete(progress):
            self._found_complete(info_hash, progress)

    def _found_complete(self, info_hash: InfoHash, progress: ProgressFacts) -> None:
        """Report what is complete without a report of the engine, once it lies where it stays."""
        known = self._table.get(info_hash.hex())
        if known == TOLD or info_hash in self._reported:
            return
        settings = self._torrents.facts(info_hash).settings
        if progress.is_moving or settings.current_path != settings.save_path:
            return  # a report of its move follows
        self._put(info_hash, TOLD)
        is_missed = known is None and self._was_killed and progress.all_downloaded_bytes > 0
        if known == DUE or is_missed:  # else it was complete when it was added
            self._tell(info_hash)

    def _put(self, info_hash: InfoHash, value: str) -> None:
        key = info_hash.hex()
        if self._table.get(key) != value:
            self._table.put(key, value)
            self._hurry()


def _is_complete(progress: ProgressFacts) -> bool:
    has_all = progress.completed_bytes >= progress.wanted_bytes > 0
    return has_all and progress.metadata_fraction >= 1.0
