"""our_magnet.py LINK SAVE_DIR WAY ROUTER_PORT: from a link to a file, one JSON line.

The clock begins when the link is added. WAY is "peer" (the link names one), "dht" (a new DHT node
knows one router: its start is on the clock) or "warm" (it knows its way around before the clock).
"""

import sys
import tempfile
from collections.abc import Callable

import anyio

from bench.parties.magnet_clock import MagnetClock
from torrent_engine import Magnet, Session, SharedResources, State
from torrent_engine.base.config import DhtConfig, LsdConfig, SharedConfig
from torrent_engine.engine.events import Event

HOST, ROUTER = "127.0.0.3", "127.0.1.1"


def marker(clock: MagnetClock, name: str) -> Callable[[Event], None]:
    return lambda _event: clock.mark(name)


async def main(link: str, save_dir: str, way: str, router_port: int, state_dir: str) -> None:
    dht = DhtConfig(enabled=way != "peer", bootstrap=((ROUTER, router_port),))
    config = SharedConfig(
        listen_port=0,
        listen_hosts=(HOST,),
        state_dir=state_dir,
        dht=dht,
        lsd=LsdConfig(enabled=False),
    )
    clock = MagnetClock()
    async with SharedResources(config) as shared:
        if way == "warm":
            assert shared.dht is not None
            await shared.dht.wait_ready()
        if way != "dht":
            clock = MagnetClock()
        session = await Session.create(Magnet.parse(link), shared, save_path=save_dir)
        session.events.subscribe("metadata.received", marker(clock, "metadata"))
        session.events.subscribe("metadata.received", marker(clock, "layers"))  # of v2 it has them
        session.events.subscribe("piece.completed", marker(clock, "first_piece"))
        async with session:
            await session.wait(State.SEEDING)
            clock.mark("complete")
            clock.report()


with tempfile.TemporaryDirectory() as folder:
    anyio.run(
        main,
        *sys.argv[1:4],
        int(sys.argv[4]),
        folder,
        backend_options={"use_uvloop": True},
    )
