"""Download a torrent and print what happens: match_events.py TORRENT FOLDER."""

import sys

import anyio

from torrent_engine import (
    FileCompleted,
    PieceCompleted,
    Session,
    SessionCompleted,
    SessionErrored,
    SharedResources,
)
from torrent_engine.config import SharedConfig


async def download(path: str, folder: str, config: SharedConfig) -> None:
    """Print pieces and files until the torrent is complete."""
    async with SharedResources(config) as shared:
        session = await Session.create(path, shared, save_path=folder)
        bus = session.events
        events = bus.stream(PieceCompleted, FileCompleted, SessionCompleted, SessionErrored)
        async with session:
            async for event in events:
                match event:
                    case PieceCompleted(piece_index=index):
                        print(f"piece {index}")
                    case FileCompleted(path=file):
                        print(f"file {file}")
                    case SessionCompleted(elapsed_s=elapsed_s):
                        print(f"complete after {elapsed_s:.1f} s")
                        break
                    case SessionErrored(message=message):
                        raise SystemExit(message)


if __name__ == "__main__":
    anyio.run(download, sys.argv[1], sys.argv[2], SharedConfig())
