"""The readers of one torrent over all its runs: what they wait for, and which files they need."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.base.config import ReaderConfig
from torrent_engine.base.errors import SessionError, TorrentEngineError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.reading.stopped_files import StoppedFiles
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.states import State

LOOK_AGAIN_S: Final = 0.1  # ours: while a run begins, which wakes nobody
PRIORITY_WHILE_READ: Final = 1  # of a skipped file: what the reader does not need now can wait
MAY_BE_DORMANT: Final = frozenset({State.DOWNLOADING, State.SEEDING, State.PAUSED})
"""In these states a torrent may have no run."""
ENDED: Final = frozenset({State.STOPPED, State.ERROR})


@dataclass(frozen=True, slots=True)
class ReaderContext:
    """What the readers know of their Session."""

    config: ReaderConfig
    clock: Callable[[], float]
    state: Callable[[], State]
    error: Callable[[], TorrentEngineError | None]
    held_metainfo: Callable[[], Metainfo | None]
    """The metainfo if it is in memory."""
    load_metainfo: Callable[[], Awaitable[Metainfo | None]]
    """Reads it in a thread if it is not; None before the metadata of a magnet link."""
    run: Callable[[], TorrentRun | None]
    """The run of this moment, None between runs."""
    file_priorities: Callable[[], tuple[int, ...] | None]
    """As the user wants them."""
    need_run: Callable[[], None]
    """Starts a run of a dormant torrent."""
    is_at_rest: Callable[[], bool]
    """Whether it is stopped, and may be started again: what is here of it can be read."""
    place: Callable[[], object]
    """Where its files are, and since which run, to be compared."""
    open_stopped: Callable[[], Awaitable[StoppedFiles]]
    """Opens its files. Raises SessionError without the metadata, or StorageError."""


class Readers:
    """Wakes waiting readers, and keeps the files wanted that are being read."""

    def __init__(self, context: ReaderContext) -> None:
        self.context = context
        self.changed = anyio.Event()
        """Set, and replaced, whenever waiting readers are woken."""
        self._files: dict[object, int] = {}
        self._lock = anyio.Lock()
        self._stopped: StoppedFiles | None = None
        self._stopped_place: object = None
        self._stopped_lock = anyio.Lock()

    def __bool__(self) -> bool:
        """Return whether there is any reader."""
        return bool(self._files)

    def wake(self) -> None:
        """Wake every reader that waits."""
        self.changed.set()
        self.changed = anyio.Event()

    def add(self, reader: object, file_index: int) -> None:
        """Add a reader of one file."""
        self._files[reader] = file_index

    async def remove(self, reader: object) -> None:
        """Remove a reader; a skipped file that nobody else reads is skipped again."""
        index = self._files.pop(reader, None)
        if not self._files:
            await self._close_stopped()
        run = self.context.run()
        if index is None or run is None:
            return
        run.want_pieces(reader, {})
        if run.reads.is_open:
            await self._make_wanted(run)

    async def metainfo(self, check: Callable[[], None]) -> Metainfo:
        """Return the metainfo, and wait for the metadata before.

        Raises what the Session ended with, what ``check`` does, and StateDatabaseError if there is
        no memory or no thread to read it.
        """
        while True:
            changed = self.changed
            if (metainfo := await self.context.load_metainfo()) is not None:
                return metainfo
            check()
            self.raise_if_ended()
            await changed.wait()

    async def run(self, check: Callable[[], None]) -> TorrentRun | None:
        """Wait for a run whose files can be read; raises what the Session ended with.

        None for a torrent that is stopped. ``check`` is called before each wait, and may raise why
        there is nothing to wait for.
        In state CHECKING nothing is read: what is there is not known yet. While the disk is full
        what is there can be read.
        """
        while True:
            check()
            changed, run = self.changed, self.context.run()
            state = self.context.state()
            is_open = run is not None and run.reads.is_open
            if self.context.is_at_rest():
                return None
            if not is_open:
                self.raise_if_ended()
            if run is None and state in MAY_BE_DORMANT:
                self.context.need_run()
            elif run is not None and is_open and state is not State.CHECKING:
                if self._stopped is not None:
                    await self._close_stopped()
                await self._make_wanted(run)
                if run.reads.is_open:
                    return run
            with anyio.move_on_after(LOOK_AGAIN_S):
                await changed.wait()

    def raise_if_ended(self) -> None:
        """Raise what the Session ended with, if it has; in ERROR for a full disk, too."""
        state = self.context.state()
        if state not in ENDED:
            return
        error = self.context.error()
        if state is State.ERROR and error is not None:
            raise error
        raise SessionError("the torrent does not run: nothing can be read")

    # -- a torrent that is stopped --------------------------------------------------------------

    async def stopped_files(self) -> StoppedFiles | None:
        """Return the files of a torrent that is stopped, open; None if it is not."""
        place = self.context.place()
        if not self.context.is_at_rest() or self._stopped_place != place:
            await self._close_stopped()
        async with self._stopped_lock:
            if self._stopped is None and self.context.is_at_rest():
                self._stopped = await self.context.open_stopped()
                self._stopped_place = place
            return self._stopped

    async def _close_stopped(self) -> None:
        async with self._stopped_lock:
            stopped, self._stopped = self._stopped, None
            if stopped is not None:
                await stopped.close()

    # -- skipped files --------------------------------------------------------------------------

    def with_read_files(self, priorities: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Return priorities with those of files that are read and would be skipped."""
        if priorities is None:
            return None
        read = set(self._files.values()).intersection(range(len(priorities)))
        if all(priorities[index] for index in read):
            return priorities
        chosen = list(priorities)
        for index in read:
            chosen[index] = chosen[index] or PRIORITY_WHILE_READ
        return tuple(chosen)

    async def _make_wanted(self, run: TorrentRun) -> None:
        """Give a run the priorities that the readers need, if it has others."""
        if self.context.file_priorities() is None:
            return  # no file is skipped
        async with self._lock:
            wanted = self.with_read_files(self.context.file_priorities())
            reads, is_new = run.reads, wanted != run.progress.file_priorities
            if wanted is not None and is_new and reads.is_open:
                async with reads.keep_open():  # the files are not closed meanwhile
                    await run.set_file_priorities(wanted)

    def want_nothing(self, reader: object) -> None:
        """Drop the deadlines of a reader that continues elsewhere."""
        run = self.context.run()
        if run is not None:
            run.want_pieces(reader, {})

    def want(self, run: TorrentRun, reader: object, by_s: Mapping[int, float]) -> None:
        """Download first the pieces that a reader needs next, in place of those before."""
        run.want_pieces(reader, by_s)
