"""A seed of ours that gives the metadata of a private torrent, too: prints the type of each event.

Arguments: the .torrent, the folder of its payload, a port and a folder for its state.
"""

import sys

import anyio

from torrent_engine import Metainfo, Session, SharedConfig, SharedResources
from torrent_engine.base.config import DhtConfig, LsdConfig, MetadataConfig


async def main(*arguments: str) -> None:
    torrent, save_path, port, state_dir = arguments
    config = SharedConfig(
        listen_port=int(port),
        state_dir=state_dir,
        metadata=MetadataConfig(serve_private=True),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
    )
    async with SharedResources(config) as shared:
        session = await Session.create(Metainfo.read(torrent), shared, save_path=save_path)
        async with session:
            async for event in session.events.stream():
                print(event.type, flush=True)


anyio.run(main, *sys.argv[1:])
