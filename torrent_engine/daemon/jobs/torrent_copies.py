"""A copy of each .torrent in a folder of the user, for other programs and for backups."""

import logging
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.metainfo_edit import write_whole
from torrent_engine.daemon.engine_port.facts import AddedNotice, Moment, MomentNotice, Notice
from torrent_engine.daemon.engine_port.port import EnginePort

logger = logging.getLogger(__name__)


class TorrentCopyFolder:
    """Writes ``INFO_HASH.torrent`` when a torrent is added or its metadata arrives."""

    name = "torrent_copies"

    def __init__(self, port: EnginePort, folder: Callable[[], str]) -> None:
        """``folder`` returns where; "": nowhere."""
        self._port = port
        self._folder = folder
        self._wanted: dict[InfoHash, None] = {}
        self._woken = anyio.Event()

    def take(self, notice: Notice) -> None:
        """Take a report of the engine."""
        match notice:
            case AddedNotice(info_hash) | MomentNotice(info_hash, Moment.METADATA):
                if self._folder():
                    self._wanted[info_hash] = None
                    self._woken.set()
            case _:
                return

    async def run(self) -> None:
        """Write copies until cancelled."""
        while True:
            await self._woken.wait()
            self._woken = anyio.Event()
            while self._wanted:
                info_hash = next(iter(self._wanted))
                del self._wanted[info_hash]
                await self._copy(info_hash, self._folder())

    async def _copy(self, info_hash: InfoHash, folder: str) -> None:
        try:
            torrent = await self._port.torrents.metainfo(info_hash)
            if torrent is not None and folder:
                await anyio.to_thread.run_sync(_write, folder, torrent)
        except (TorrentEngineError, OSError) as error:
            logger.warning("no copy of torrent %s: %s", info_hash.hex(), error)


def _write(folder: str, torrent: Metainfo) -> None:
    path = Path(folder).expanduser() / f"{torrent.info_hash.hex()}.torrent"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, torrent.to_bytes())
