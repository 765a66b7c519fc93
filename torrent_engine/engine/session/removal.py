"""Removal of a torrent for good: its resume data, its unfinished move, and files if asked for."""

from collections.abc import Awaitable, Callable

import anyio

from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.metadata import Metadata
from torrent_engine.engine.session.relocation import Relocation
from torrent_engine.engine.session.run_loop import RunLoop


class Removal:
    """Removes what is left of one torrent whose Session has ended."""

    __slots__ = ("_core", "_metadata", "_relocation", "_runs")

    def __init__(
        self, core: SessionCore, metadata: Metadata, relocation: Relocation, runs: RunLoop
    ) -> None:
        self._core = core
        self._metadata = metadata
        self._relocation = relocation
        self._runs = runs

    async def remove(self, end: Callable[[TorrentRun], None] | None) -> None:
        """Remove the torrent; ``end`` says to a run which files are to go, None: no file."""
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
