"""dht_nodes.py ROUTER_PORT COUNT: a small DHT, half of it ours, half libtorrent's.

Each node has an address of its own, 127.0.1.1 and up. They are introduced to each other, for they
begin with nothing; the leeches know only the first. Prints ready when each knows half of them.
"""

import signal
import sys
import time
from contextlib import AsyncExitStack

import anyio
import libtorrent

from bench.parties.libtorrent_settings import DHT_SETTINGS, SETTINGS
from torrent_engine.base.config import DhtConfig
from torrent_engine.net.dht.service import DhtService, open_dht
from torrent_engine.net.sockets.datagrams import open_datagrams

PREFIX = "127.0.1"
PATIENCE_S = 60


def libtorrent_node(number: int, port: int) -> libtorrent.session:
    own_port = port if number == 1 else 0
    return libtorrent.session(
        {
            **SETTINGS,
            **DHT_SETTINGS,
            "listen_interfaces": f"{PREFIX}.{number}:{own_port}",
            "dht_bootstrap_nodes": "" if number == 1 else f"{PREFIX}.1:{port}",
            "alert_mask": libtorrent.alert.category_t.stats_notification,
        }
    )


def known_by(session: libtorrent.session) -> int:
    session.post_session_stats()
    while True:
        session.wait_for_alert(1_000)
        for alert in session.pop_alerts():
            if isinstance(alert, libtorrent.session_stats_alert):
                return int(alert.values["dht.dht_nodes"])


async def our_node(stack: AsyncExitStack, number: int, port: int) -> DhtService:
    datagrams = await stack.enter_async_context(open_datagrams([f"{PREFIX}.{number}"], 0))
    router = (f"{PREFIX}.1", port)
    return await stack.enter_async_context(open_dht(DhtConfig(), datagrams, routers=[router]))


async def main(port: int, count: int) -> None:
    theirs = [libtorrent_node(number, port) for number in range(1, count // 2 + 1)]
    async with AsyncExitStack() as stack:
        ours = [await our_node(stack, number, port) for number in range(count // 2 + 1, count + 1)]
        addresses = [
            *((f"{PREFIX}.{number}", each.listen_port()) for number, each in enumerate(theirs, 1)),
            *((f"{PREFIX}.{len(theirs) + at}", each.port) for at, each in enumerate(ours, 1)),
        ]
        for address in addresses:
            for session in theirs:
                session.add_dht_node(address)
            for node in ours:
                node.add_node(*address)
        began = time.monotonic()
        while True:
            asked = [await anyio.to_thread.run_sync(known_by, session) for session in theirs]
            known = [*asked, *(node.node_count for node in ours)]
            if min(known) >= count // 2:
                break
            if time.monotonic() > began + PATIENCE_S:
                raise SystemExit(f"nodes know only {known} others")
            await anyio.sleep(0.5)
        print("ready", flush=True)
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                return


anyio.run(main, int(sys.argv[1]), int(sys.argv[2]), backend_options={"use_uvloop": True})
