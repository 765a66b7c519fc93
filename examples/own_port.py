"""Seed a folder without DHT and local discovery, on one port: own_port.py FOLDER PORT."""

import sys
from pathlib import Path

import anyio

from torrent_engine import Metainfo, Session, SharedResources, State, create_torrent
from torrent_engine.config import DhtConfig, LsdConfig, PexConfig, SharedConfig


async def seed(folder: Path, config: SharedConfig, *, seconds: float) -> Path:
    """Seed a folder for some time; return the .torrent that was written beside it."""
    torrent = folder.with_name(f"{folder.name}.torrent")
    torrent.write_bytes(await anyio.to_thread.run_sync(create_torrent, folder))
    async with SharedResources(config) as shared:
        metainfo = Metainfo.read(torrent)
        async with await Session.create(metainfo, shared, save_path=folder.parent) as session:
            await session.wait(State.SEEDING)
            print(f"{session.name} is seeded on port {shared.listen_port}")
            await anyio.sleep(seconds)
    return torrent


if __name__ == "__main__":
    private = SharedConfig(
        listen_port=int(sys.argv[2]),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
        pex=PexConfig(enabled=False),
    )
    anyio.run(lambda: seed(Path(sys.argv[1]).resolve(), private, seconds=3_600))
