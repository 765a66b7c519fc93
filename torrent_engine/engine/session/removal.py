"""Removal of a torrent for good: its resume data, its unfinished move, and files if asked for."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from torrent_engine.base.errors import StateTransitionError
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.metadata import Metadata
from torrent_engine.engine.session.relocation import Relocation
from torrent_engine.engine.session.run_loop import RunLoop


class Removal:
    """Removes what is left of one torrent whose Session has ended.

    Nothing moves files meanwhile: what is under way is undone, what waits is refused.
    """

    __slots__ = (
        "_core",
        "_lock",
        "_metadata",
        "_relocation",
        "_removals",
        "_runs",
        "_under_way",
        "keeps_stopped",
    )

    def __init__(
        self, core: SessionCore, metadata: Metadata, relocation: Relocation, runs: RunLoop
    ) -> None:
        self._core = core
        self._metadata = metadata
        self._relocation = relocation
        self._runs = runs
        self._lock: anyio.Lock | None = None
        self._removals = 0
        self._under_way = 0
        self.keeps_stopped = False
        """Whether the files of a torrent that does not run are about to be moved."""

    @contextmanager
    def keeping_stopped(self) -> Iterator[None]:
        """Let the torrent not be started meanwhile; for who keeps off the removal."""
        self.keeps_stopped = True
        try:
            yield
        finally:
            self.keeps_stopped = False

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Let the torrent not be started, nor moved, meanwhile: :meth:`remove` is to follow."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    @property
    def is_under_way(self) -> bool:
        """Whether the torrent is being removed, or is to be as soon as nothing moves its files."""
        return self._under_way > 0

    @asynccontextmanager
    async def kept_off(self) -> AsyncIterator[None]:
        """Keep off the removal, and others of these, meanwhile.

        Raises StateTransitionError if the torrent was removed, or its Session closed, while this
        waited.
        """
        removals = self._removals
        async with self._alone():
            if self._core.is_closed or self.is_under_way or removals != self._removals:
                raise StateTransitionError("files cannot be moved: the torrent was removed")
            yield

    def _alone(self) -> anyio.Lock:
        if self._lock is None:
            self._lock = anyio.Lock()
        return self._lock

    async def remove(self, end: Callable[[TorrentRun], None] | None) -> None:
        """Remove the torrent; ``end`` says to a run which files are to go, None: no file."""
        with self.announced():
            self._removals += 1
            self._relocation.cancel()
            async with self._alone():
                await self._remove(end)

    async def _remove(self, end: Callable[[TorrentRun], None] | None) -> None:
        core = self._core
        if (metainfo := await core.load_metainfo()) is None:
            await self.while_open(self._metadata.recall)
            metainfo = core.held_metainfo
        core.shared.file_registry.sessions.discard(core.info_hash)
        run = core.run
        if metainfo is None:
            return
        await self.while_open(self._relocation.undo_unfinished)
        if end is None:
            await self.while_open(lambda: core.shared.store.remove(core.info_hash))
        elif run is None or not run.has_deleted_files:
            present = metainfo
            await self.while_open(lambda: self._relocation.settle(present))
            run = self._runs.make_run(metainfo, trust=True)
            end(run)
            await self.while_open(run.run)

    async def while_open(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something with the shared resources for a torrent that does not run."""
        await self._core.shared.acquire()
        try:
            await work()
        finally:
            with anyio.CancelScope(shield=True):
                await self._core.shared.release()
