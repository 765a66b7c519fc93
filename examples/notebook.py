"""Open a manager in one task and close it in another, as the cells of a notebook do.

    python examples/notebook.py FOLDER

makes a torrent of a folder, adds trackers to it, seeds it to this machine only and stops.
"""

import sys
import tempfile
from pathlib import Path

import anyio

from torrent_engine import (
    ManagerConfig,
    Metainfo,
    SharedConfig,
    State,
    TorrentManager,
    create_torrent,
)


async def first_cell(folder: Path, state_dir: str) -> TorrentManager:
    """Make a torrent, and seed it from now on."""
    created = Metainfo.from_bytes(create_torrent(folder))
    torrent = created.edited(trackers=["udp://tracker.example.org:6969"], comment="an example")
    torrent.write(Path(state_dir) / "example.torrent")
    shared = SharedConfig.local(state_dir=state_dir)
    manager = await TorrentManager(ManagerConfig(shared=shared)).start()
    await manager.add_torrent(Path(state_dir) / "example.torrent", save_path=folder.parent)
    return manager


async def second_cell(manager: TorrentManager) -> None:
    """Say how it is, and end."""
    for session in manager.sessions:
        await session.wait(State.SEEDING)
        print(session)
    await manager.close()


async def main(folder: Path) -> None:
    """Run each cell in a task of its own."""
    cells: list[TorrentManager] = []

    async def first() -> None:
        cells.append(await first_cell(folder, state_dir))

    with tempfile.TemporaryDirectory() as state_dir:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second_cell, cells[0])


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
