"""Owns the readers of one torrent over all its runs: what they wait for, what they make wanted."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import anyio

from torrent_engine.base.config import ReaderConfig
from torrent_engine.base.errors import SessionError, TorrentEngineError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.session_run import SessionRun
from torrent_engine.engine.states import State

LOOK_AGAIN_S: Final = 0.1  # ours: while a run begins, of which nobody tells
PRIORITY_WHILE_READ: Final = 1  # of a skipped file: what the reader does not need now can wait
RESTFUL: Final = frozenset({State.DOWNLOADING, State.SEEDING, State.PAUSED})
"""In these a torrent may rest, without a run."""
ENDED: Final = frozenset({State.STOPPED, State.ERROR})


@dataclass(frozen=True, slots=True)
class ReadingHost:
    """What the readers are told by their Session."""

    config: ReaderConfig
    clock: Callable[[], float]
    state: Callable[[], State]
    error: Callable[[], TorrentEngineError | None]
    metainfo: Callable[[], Metainfo | None]
    run: Callable[[], SessionRun | None]
    """The run of this moment, None between runs."""
    file_priorities: Callable[[], tuple[int, ...] | None]
    """As the user wants them."""
    need_run: Callable[[], Awaitable[None]]
    """Makes a torrent that rests run."""


class Readings:
    """Lets readers wait, and keeps the files wanted that they read."""

    def __init__(self, host: ReadingHost) -> None:
        self.host = host
        self.changed = anyio.Event()
        """Set, and replaced, whenever a reader should look again."""
        self._files: dict[object, int] = {}
        self._lock = anyio.Lock()

    def __bool__(self) -> bool:
        """Return whether there is any reader."""
        return bool(self._files)

    def wake(self) -> None:
        """Let every reader that waits look again."""
        self.changed.set()
        self.changed = anyio.Event()

    def moved(self, _old: State, _new: State) -> None:
        """Take a move of the Session to another state."""
        self.wake()

    def add(self, reader: object, file_index: int) -> None:
        """Take a reader of one file."""
        self._files[reader] = file_index

    async def remove(self, reader: object) -> None:
        """Forget a reader; a skipped file that nobody else reads is skipped again."""
        index = self._files.pop(reader, None)
        run = self.host.run()
        if index is None or run is None:
            return
        run.torrent.picker.deadlines.drop(reader)
        if run.transfer.reads.is_open:
            await self._make_wanted(run)

    async def metainfo(self, check: Callable[[], None]) -> Metainfo:
        """Wait for the metadata; raises what the Session ended with, and what ``check`` does."""
        while (metainfo := self.host.metainfo()) is None:
            check()
            await self._wait()
        return metainfo

    async def run(self, check: Callable[[], None]) -> SessionRun:
        """Wait for a run whose files can be read; raises what the Session ended with.

        ``check`` is called before each wait, and may raise why there is nothing to wait for.
        In state CHECKING nothing is read: what is there is not known yet. While the disk is full
        what is there can be read.
        """
        while True:
            check()
            changed, run = self.changed, self.host.run()
            state = self.host.state()
            is_open = run is not None and run.transfer.reads.is_open
            if not is_open:
                self.raise_if_ended()
            if run is None and state in RESTFUL:
                await self.host.need_run()
            elif run is not None and is_open and state is not State.CHECKING:
                run.transfer.reads.listener = self.wake
                await self._make_wanted(run)
                if run.transfer.reads.is_open:
                    return run
            with anyio.move_on_after(LOOK_AGAIN_S):
                await changed.wait()

    async def _wait(self) -> None:
        changed = self.changed
        self.raise_if_ended()
        await changed.wait()

    def raise_if_ended(self) -> None:
        """Raise what the Session ended with, if it has; in ERROR for a full disk, too."""
        state = self.host.state()
        if state not in ENDED:
            return
        error = self.host.error()
        if state is State.ERROR and error is not None:
            raise error
        raise SessionError("the torrent does not run: nothing can be read")

    # -- skipped files --------------------------------------------------------------------------

    def with_read_files(self, priorities: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """Return priorities with those of files that are read and would be skipped."""
        if priorities is None:
            return None
        read = set(self._files.values())
        return tuple(
            priority or (PRIORITY_WHILE_READ if index in read else 0)
            for index, priority in enumerate(priorities)
        )

    async def _make_wanted(self, run: SessionRun) -> None:
        """Give a run the priorities that the readers need, if it has others."""
        if self.host.file_priorities() is None:
            return  # no file is skipped
        async with self._lock:
            wanted = self.with_read_files(self.host.file_priorities())
            reads, is_new = run.transfer.reads, wanted != run.progress.file_priorities
            if wanted is not None and is_new and reads.is_open:
                async with reads.reading():  # the files are not closed meanwhile
                    await run.set_file_priorities(wanted)

    def want_nothing(self, reader: object) -> None:
        """Forget what a reader came to: it goes on elsewhere."""
        run = self.host.run()
        if run is not None:
            run.torrent.picker.deadlines.drop(reader)

    def want(self, run: SessionRun, reader: object, by_s: Mapping[int, float]) -> None:
        """Let the pieces that a reader comes to be fetched first, in place of those before."""
        picker = run.torrent.picker
        before = picker.deadlines.bits
        picker.deadlines.want(reader, by_s)
        if picker.deadlines.bits & ~before:
            run.transfer.downloads.urgent.hurry()
