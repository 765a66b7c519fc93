"""Run a whole swarm in one process: create a torrent, seed it, download it, print the events.

python examples/swarm.py
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio

from torrent_engine import (
    CreateOptions,
    Metainfo,
    Session,
    SessionConfig,
    SharedConfig,
    SharedResources,
    State,
    create_torrent,
)
from torrent_engine.base.config import DhtConfig, LsdConfig

LOOPBACK = "127.0.0.1"
NO_DHT, NO_LSD = DhtConfig(enabled=False), LsdConfig(enabled=False)


def node(folder: Path) -> SharedResources:
    """Return the services of one node: on loopback, any free port, state below ``folder``."""
    config = SharedConfig(listen_port=0, listen_hosts=(LOOPBACK,), dht=NO_DHT, lsd=NO_LSD)
    return SharedResources(replace(config, state_dir=str(folder / "state")))


async def run(folder: Path) -> None:
    """Move one file from a seed to a leech."""
    original = folder / "seed" / "data.bin"
    original.parent.mkdir()
    original.write_bytes(os.urandom(3_000_000))
    metainfo = Metainfo.from_bytes(create_torrent([original], CreateOptions(piece_bytes=1 << 18)))
    async with node(folder / "a") as ours, node(folder / "b") as theirs:
        seed = await Session.create(metainfo, ours, save_path=original.parent)
        config = SessionConfig(peers=((LOOPBACK, ours.listen_port),))
        leech = await Session.create(metainfo, theirs, save_path=folder / "leech", config=config)
        async with seed:
            await seed.wait(State.SEEDING)
            events = leech.events.stream("peer.connected", "piece.completed", "session.completed")
            async with leech:
                async for event in events:
                    print(event)
                    if event.type == "session.completed":
                        break
    same = (folder / "leech" / "data.bin").read_bytes() == original.read_bytes()
    print("every byte is the same" if same else "the files differ")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        anyio.run(run, Path(temporary))
