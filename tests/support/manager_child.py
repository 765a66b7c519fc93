"""A TorrentManager in a process of its own: JSON commands on standard input, JSON answers.

Arguments: port, folder of the state, folder of the files.
"""

import json
import sys
from typing import Any

import anyio

from torrent_engine.base.config import (
    DhtConfig,
    LsdConfig,
    ManagerConfig,
    SessionConfig,
    SharedConfig,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.manager.torrent_manager import TorrentManager
from torrent_engine.engine.session.session import Session


class Commands:
    """What may be asked; each command is a method, its words are the arguments."""

    def __init__(self, manager: TorrentManager) -> None:
        self.manager = manager

    def _session(self, info_hash: str) -> Session:
        session = self.manager.get_session(InfoHash(bytes.fromhex(info_hash)))
        assert session is not None, info_hash
        return session

    async def add(
        self, torrent: str, peers: list[tuple[str, int]], priority: int, files: list[int] | None
    ) -> None:
        """Add a .torrent; ``files`` are the priorities of its files."""
        priorities = None if files is None else tuple(files)
        addresses = tuple((host, port) for host, port in peers)
        config = SessionConfig(peers=addresses, file_priorities=priorities)
        await self.manager.add_torrent(torrent, config=config, priority=priority)

    async def pause(self, info_hash: str) -> None:
        """Pause one."""
        await self._session(info_hash).pause()

    async def resume(self, info_hash: str) -> None:
        """Let one go on."""
        await self._session(info_hash).resume()

    async def remove(self, info_hash: str, *, delete_files: bool) -> None:
        """Remove one."""
        key = InfoHash(bytes.fromhex(info_hash))
        await self.manager.remove_torrent(key, delete_files=delete_files)

    async def limit(self, bytes_per_s: int) -> None:
        """Limit all downloads together; 0 is unlimited."""
        self.manager.set_rate_limits(download_bytes_per_s=bytes_per_s)

    async def flush(self) -> None:
        """Wait until the database has all."""
        await self.manager.flush()

    async def status(self) -> list[dict[str, Any]]:
        """Return the facts of every torrent, in the order of the queue."""
        return [self._facts(each) for each in self.manager.sessions]

    def _facts(self, session: Session) -> dict[str, Any]:
        stats = session.stats()
        return {
            "info_hash": session.info_hash.hex(),
            "name": stats.name,
            "state": session.state.value,
            "is_paused_by_user": session.is_paused_by_user,
            "priority": self.manager.priority(session.info_hash),
            "files": session.config.file_priorities,
            "have": stats.have.hex(),
            "pieces_have": stats.pieces_have,
            "completed_bytes": stats.completed_bytes,
            "wanted_bytes": stats.wanted_bytes,
            "downloaded_bytes": stats.downloaded_bytes,
            "peers": stats.peers,
        }


async def main(*arguments: str) -> None:
    port, state_dir, save_path = arguments
    shared = SharedConfig(
        listen_port=int(port),
        state_dir=state_dir,
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
    )
    async with TorrentManager(ManagerConfig(shared=shared, save_path=save_path)) as manager:
        commands = Commands(manager)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            name, words = json.loads(line)
            print(json.dumps(await getattr(commands, name)(**words)), flush=True)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
