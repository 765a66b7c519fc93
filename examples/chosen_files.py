"""Download some files of a torrent and show each: chosen_files.py TORRENT FOLDER SUFFIX."""

import sys

import anyio

from torrent_engine import Metainfo, Session, SharedResources
from torrent_engine.config import SessionConfig, SharedConfig


async def download(path: str, folder: str, suffix: str, config: SharedConfig) -> None:
    """Download the files whose names end with ``suffix``."""
    metainfo = Metainfo.read(path)
    chosen = [4 if entry.path[-1].endswith(suffix) else 0 for entry in metainfo.files]
    wanted = SessionConfig(file_priorities=tuple(chosen))
    async with SharedResources(config) as shared:
        session = await Session.create(metainfo, shared, save_path=folder, config=wanted)
        async with session, anyio.create_task_group() as tasks:
            tasks.start_soon(show_files, session)
            await session.wait_complete()
            tasks.cancel_scope.cancel()
        print_files(session)


async def show_files(session: Session) -> None:
    """Print the files that are wanted every two seconds."""
    while True:
        print_files(session)
        await anyio.sleep(2)


def print_files(session: Session) -> None:
    """Print each file that is wanted."""
    for file in (each for each in session.files() if each.priority):
        print(f"{file.completed_bytes:>12,} of {file.size_bytes:>12,}  {file.path}")


if __name__ == "__main__":
    anyio.run(download, sys.argv[1], sys.argv[2], sys.argv[3], SharedConfig())
