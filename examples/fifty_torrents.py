"""Download a folder of torrents, a few at a time: fifty_torrents.py FOLDER_OF_TORRENTS FOLDER."""

import sys
from pathlib import Path

import anyio

from torrent_engine import TorrentManager
from torrent_engine.config import ManagerConfig, QueueConfig, SeedingConfig, SharedConfig


async def download(torrents: list[Path], folder: str, shared: SharedConfig) -> None:
    """Download all, five at a time at first, and stop each once it is complete."""
    queue = QueueConfig(max_active_downloads=5)
    async with TorrentManager(ManagerConfig(shared=shared, queue=queue)) as manager:
        manager.set_rate_limits(download_bytes_per_s=50_000_000, upload_bytes_per_s=1_000_000)
        for path in torrents:
            await manager.add_torrent(path, save_path=folder)
        manager.set_priority(manager.sessions[-1].info_hash, 1)  # the last one goes first
        await manager.sessions[-1].wait_complete()
        print(f"{manager.sessions[-1].name} is complete; more at a time from now on")
        manager.set_queue_limits(max_active_downloads=20)
        manager.set_rate_limits(download_bytes_per_s=0)
        manager.set_seeding_rules(SeedingConfig(seed_ratio=2.0))
        for session in manager.sessions:
            await session.wait_complete()
        print(f"{manager.stats().torrents} torrents are complete")


if __name__ == "__main__":
    anyio.run(download, sorted(Path(sys.argv[1]).glob("*.torrent")), sys.argv[2], SharedConfig())
