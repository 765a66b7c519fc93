"""Many nodes of our DHT in one process: says "ready" when the first one knows all of them.

python -m tests.support.dht_swarm FIRST_PORT SECOND_PORT ADDRESS ADDRESS ...
"""

import sys
from contextlib import AsyncExitStack

import anyio

from torrent_engine.base.config import DhtConfig
from torrent_engine.net.dht.service import DhtService, open_dht
from torrent_engine.net.sockets.datagrams import open_datagrams
from torrent_engine.protocol.dht.node import DhtNode

CONFIG = DhtConfig(bootstrap=(), check_interval_s=0.05, max_queries_per_ip_per_s=0)


async def main(addresses: list[tuple[str, int]]) -> None:
    """Run a node at each address."""
    async with AsyncExitStack() as stack:
        services: list[DhtService] = []
        for host, port in addresses:
            datagrams = await stack.enter_async_context(open_datagrams([host], port))
            routers = addresses[:1] if services else []
            services.append(
                await stack.enter_async_context(open_dht(CONFIG, datagrams, routers=routers))
            )
        while services[0].node_count < 8:  # noqa: ASYNC110 - a bucket of it; nobody tells
            await anyio.sleep(0.05)
        for service in services:
            await service.look_up(find_ourselves)
        print("ready", flush=True)
        await anyio.sleep_forever()


def find_ourselves(node: DhtNode, now: float) -> int:
    """Look around our own id."""
    return node.find_node(node.node_id, now=now)


if __name__ == "__main__":
    ports = [int(word) for word in sys.argv[1:3]]
    anyio.run(main, [(host, port) for port in ports for host in sys.argv[3:]])
