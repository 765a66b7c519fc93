"""What is done with a torrent when a rule has ended its seeding."""

import logging
from collections import deque
from enum import StrEnum
from typing import Protocol

import anyio

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash

logger = logging.getLogger(__name__)


class SeedEnd(StrEnum):
    """What follows after seeding."""

    STOP = "stop"
    """Nothing: a rule has stopped it."""
    REMOVE = "remove"
    REMOVE_WITH_FILES = "remove_with_files"
    SUPER_SEED = "super_seed"
    """It goes on to seed as BEP 16 has it, without a rule."""


class FinishedTorrents(Protocol):
    """What can be done with torrents that have seeded enough. Raises TorrentEngineError."""

    def has_finished(self, info_hash: InfoHash) -> bool:
        """Return whether a torrent is there and was stopped by a rule."""

    async def remove(self, info_hash: InfoHash, *, delete_files: bool) -> None:
        """Remove a torrent."""

    async def super_seed(self, info_hash: InfoHash) -> None:
        """Let a torrent super-seed from now on, whatever its rules."""


class AfterSeeding:
    """Does what is configured with each torrent that has seeded enough; a part of the daemon."""

    name = "after_seeding"

    def __init__(self, torrents: FinishedTorrents, then: SeedEnd = SeedEnd.STOP) -> None:
        self.then = then
        """May be changed at any time; what was finished before is left as it is."""
        self._torrents = torrents
        self._waiting: deque[InfoHash] = deque()
        self._woken = anyio.Event()

    def finished(self, info_hash: InfoHash) -> None:
        """Take a torrent whose seeding a rule has ended."""
        if self.then is not SeedEnd.STOP:
            self._waiting.append(info_hash)
            self._woken.set()

    async def run(self) -> None:
        """Work until cancelled; what a run that failed has left comes first."""
        while True:
            while self._waiting:
                await self._act(self._waiting.popleft())
            self._woken = anyio.Event()
            await self._woken.wait()

    async def _act(self, info_hash: InfoHash) -> None:
        """Act on one torrent, unless somebody has started it meanwhile."""
        if not self._torrents.has_finished(info_hash):
            return
        try:
            if self.then is SeedEnd.SUPER_SEED:
                await self._torrents.super_seed(info_hash)
            elif self.then is not SeedEnd.STOP:
                delete_files = self.then is SeedEnd.REMOVE_WITH_FILES
                await self._torrents.remove(info_hash, delete_files=delete_files)
        except (TorrentEngineError, OSError) as error:
            logger.warning("%s: %s after seeding: %s", info_hash.hex(), self.then, error)
        else:
            logger.info("%s: seeding has ended: %s", info_hash.hex(), self.then)
