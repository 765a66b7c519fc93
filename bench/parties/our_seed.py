"""our_seed.py PORT TORRENT SAVE_DIR: checks the data, prints ready, seeds until ended."""

import signal
import sys
import tempfile

import anyio

from bench.parties.encryption import our_network
from bench.parties.place import OUR_HOST
from torrent_engine import Metainfo, Session, SharedResources, State
from torrent_engine.base.config import (
    ChokerConfig,
    DhtConfig,
    LsdConfig,
    PoolConfig,
    SessionConfig,
    SharedConfig,
)


async def main(port: int, torrent: str, save_dir: str, state_dir: str) -> None:
    config = SharedConfig(
        listen_port=port,
        listen_hosts=(OUR_HOST,),
        state_dir=state_dir,
        pool=PoolConfig(allow_multiple_per_ip=True),
        choker=ChokerConfig(upload_slots=200),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
        network=our_network(),
    )
    async with SharedResources(config) as shared:
        session = await Session.create(
            Metainfo.read(torrent),
            shared,
            save_path=save_dir,
            config=SessionConfig(use_resume=False),
        )
        async with session:
            await session.wait(State.SEEDING)
            print("ready", flush=True)
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for _ in signals:
                    return


with tempfile.TemporaryDirectory() as folder:
    anyio.run(main, int(sys.argv[1]), *sys.argv[2:4], folder, backend_options={"use_uvloop": True})
