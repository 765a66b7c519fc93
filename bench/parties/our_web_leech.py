"""our_web_leech.py TORRENT SAVE_DIR: a download from its web seed only, one JSON line."""

import sys
import tempfile
import time

import anyio

from bench.harness import report
from torrent_engine import Metainfo, Session, SharedResources, State
from torrent_engine.base.config import DhtConfig, LsdConfig, SharedConfig, WebSeedConfig


async def main(torrent: str, save_dir: str, state_dir: str) -> None:
    config = SharedConfig(
        listen_port=0,
        listen_hosts=("127.0.0.1",),
        state_dir=state_dir,
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
        web_seed=WebSeedConfig(allow_local=True),
    )
    metainfo = Metainfo.read(torrent)
    async with SharedResources(config) as shared:
        session = await Session.create(metainfo, shared, save_path=save_dir)
        async with session:
            await session.wait(State.DOWNLOADING)
            started = time.perf_counter()
            await session.wait(State.SEEDING)
            report(time.perf_counter() - started, metainfo.total_bytes)


with tempfile.TemporaryDirectory() as folder:
    anyio.run(main, *sys.argv[1:3], folder, backend_options={"use_uvloop": True})
