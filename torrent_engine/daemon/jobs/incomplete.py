"""Complete torrents that are still in the folder for incomplete ones: their move is tried again.

The engine moves a torrent when it is complete, and after a crash when it starts. What is left here
are moves that failed, such as for a full disk or a folder that was not mounted.
"""

import logging
from collections.abc import Mapping
from typing import Final, Protocol

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.service.pauses import Alarm

LOOK_S: Final = 600.0  # ours
logger = logging.getLogger(__name__)


class UnmovedTorrents(Protocol):
    """Torrents whose files are not where they belong. Raises TorrentEngineError."""

    def unmoved(self) -> Mapping[InfoHash, str]:
        """Return where each complete torrent belongs that lies elsewhere and does not move."""

    async def move(self, info_hash: InfoHash, path: str) -> None:
        """Move the files."""


class IncompleteMoves:
    """Tries again to move complete torrents; a part of the daemon."""

    name = "incomplete"

    def __init__(self, torrents: UnmovedTorrents, *, alarm: Alarm | None = None) -> None:
        self._torrents = torrents
        self._alarm = alarm or Alarm()
        self.errors: dict[InfoHash, str] = {}
        """Why moves failed at the last look."""

    def look_soon(self) -> None:
        """Look at once: there may be room again."""
        self._alarm.ring()

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await self._alarm.wait(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Try all moves once, one after the other."""
        errors: dict[InfoHash, str] = {}
        for info_hash, path in self._torrents.unmoved().items():
            try:
                await self._torrents.move(info_hash, path)
            except (TorrentEngineError, OSError) as error:
                errors[info_hash] = str(error)
                logger.warning("%s: not moved to %s: %s", info_hash.hex(), path, error)
            else:
                logger.info("%s: moved to %s at last", info_hash.hex(), path)
        self.errors = errors
