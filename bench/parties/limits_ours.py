"""limits_ours.py ROLE COUNT DOWN UP TORRENT FOLDER [PORT ...]: our nodes and their rates.

Limits are bytes per second. Prints the ports where they listen, then, on SIGTERM, the samples.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from bench.parties.limits_meter import Meter, arguments
from torrent_engine import Metainfo, Session, SharedResources, State
from torrent_engine.base.config import (
    ChokerConfig,
    DhtConfig,
    LsdConfig,
    PexConfig,
    PoolConfig,
    SessionConfig,
    SharedConfig,
)
from torrent_engine.net.peers.peer_link import PeerLink, Throttle


async def main() -> None:
    options = arguments()
    async with AsyncExitStack() as stack:
        nodes = [await node(stack, options, number) for number in range(options.count)]
        print("ready", *(shared.listen_port for shared, _ in nodes), flush=True)
        name = "uploaded_bytes" if options.role == "seed" else "downloaded_bytes"
        each = lambda: [getattr(session.stats(), name) for _, session in nodes]  # noqa: E731
        meter = Meter(count_reads() if options.down else each)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sample, meter)
                async for _ in signals:
                    break
                tasks.cancel_scope.cancel()
        meter.report()
        os._exit(0)


def count_reads() -> Callable[[], list[int]]:
    """Count what limited links read from their sockets: stats know whole blocks only."""
    read, totals = PeerLink._receive_limited, [0]

    async def counted(link: PeerLink, throttle: Throttle) -> int:
        count = await read(link, throttle)
        totals[0] += count
        return count

    PeerLink._receive_limited = counted
    return lambda: list(totals)


async def sample(meter: Meter) -> None:
    while True:
        meter.take()
        await anyio.sleep(meter.every_s)


async def node(stack: AsyncExitStack, options, number: int) -> tuple[SharedResources, Session]:
    folder = Path(options.folder) / f"ours-{options.role}-{number}"
    config = SharedConfig(
        listen_port=0,
        listen_hosts=("127.0.0.1",),
        state_dir=str(folder / "state"),
        pool=PoolConfig(allow_multiple_per_ip=True),
        choker=ChokerConfig(upload_slots=200),
        dht=DhtConfig(enabled=False),
        lsd=LsdConfig(enabled=False),
        pex=PexConfig(enabled=False),
        max_download_bytes_per_s=options.down,
        max_upload_bytes_per_s=options.up,
    )
    shared = await stack.enter_async_context(SharedResources(config))
    save_path = folder / "files"
    save_path.mkdir(parents=True)
    if options.role == "seed":
        source = Path(options.torrent).parent / "source" / "payload.bin"
        (save_path / source.name).hardlink_to(source)
    peers = tuple(("127.0.0.1", port) for port in options.ports)
    session = await Session.create(
        Metainfo.read(options.torrent),
        shared,
        save_path=save_path,
        config=SessionConfig(use_resume=False, peers=peers),
    )
    await stack.enter_async_context(session)
    await session.wait(State.SEEDING if options.role == "seed" else State.DOWNLOADING)
    return shared, session


sys.exit(anyio.run(main, backend_options={"use_uvloop": True}))
