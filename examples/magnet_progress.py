"""Download a magnet link and print its progress: magnet_progress.py LINK FOLDER."""

import sys

import anyio

from torrent_engine import Session, SharedResources, StatsUpdated
from torrent_engine.config import SharedConfig


async def show_progress(session: Session) -> None:
    """Print a line a second."""
    async for event in session.events.stream(StatsUpdated):
        stats = event.stats
        done = stats.completed_bytes / max(1, stats.wanted_bytes)
        print(f"{done:6.1%}  {stats.download_bytes_per_s / 1e6:.1f} MB/s  {stats.peers} peers")


async def download(link: str, folder: str, config: SharedConfig) -> None:
    """Download what the link names."""
    async with SharedResources(config) as shared:
        session = await Session.create(link, shared, save_path=folder)
        async with session, anyio.create_task_group() as tasks:
            tasks.start_soon(show_progress, session)
            await session.wait_complete()
            tasks.cancel_scope.cancel()
    print(f"{session.name} is in {session.final_path}")


if __name__ == "__main__":
    anyio.run(download, sys.argv[1], sys.argv[2], SharedConfig())
