"""our_leech.py PORT TORRENT SAVE_DIR: from first connect to complete, one JSON line."""

import sys
import tempfile
import time

import anyio

from bench.harness import report
from bench.parties.encryption import our_network
from bench.parties.place import OUR_HOST, SEED_HOST
from torrent_engine import Metainfo, Session, SharedResources, State
from torrent_engine.base.config import DhtConfig, LsdConfig, SharedConfig


async def main(port: int, torrent: str, save_dir: str, state_dir: str) -> None:
    config = SharedConfig(
        listen_port=0,
        listen_hosts=(OUR_HOST,),
        state_dir=state_dir,
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
        network=our_network(),
    )
    metainfo = Metainfo.read(torrent)
    async with SharedResources(config) as shared:
        session = await Session.create(metainfo, shared, save_path=save_dir)
        async with session:
            await session.wait(State.DOWNLOADING)
            started = time.perf_counter()
            await session.add_peer(SEED_HOST, port)
            await session.wait(State.SEEDING)
            report(time.perf_counter() - started, metainfo.total_bytes)


with tempfile.TemporaryDirectory() as folder:
    anyio.run(main, int(sys.argv[1]), *sys.argv[2:4], folder, backend_options={"use_uvloop": True})
