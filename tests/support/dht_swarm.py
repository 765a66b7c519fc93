"""Many nodes of our DHT in one process: prints their addresses when they know each other.

python -m tests.support.dht_swarm PORT ADDRESS ADDRESS ...
"""

import json
import sys
from contextlib import AsyncExitStack

import anyio

from torrent_engine.base.config import DhtConfig
from torrent_engine.net.datagrams import open_datagrams
from torrent_engine.net.dht_service import DhtService, open_dht
from torrent_engine.protocol.dht.node import DhtNode

CONFIG = DhtConfig(bootstrap=(), check_interval_s=0.05, max_queries_per_ip_per_s=0)


async def main(port: int, hosts: list[str]) -> None:
    """Run a node at each address, all on one port."""
    async with AsyncExitStack() as stack:
        services: list[DhtService] = []
        for host in hosts:
            datagrams = await stack.enter_async_context(open_datagrams([host], port))
            routers = [(hosts[0], port)] if services else []
            services.append(
                await stack.enter_async_context(open_dht(CONFIG, datagrams, routers=routers))
            )
        while services[0].node_count < len(hosts) - 1:  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(0.05)
        for service in services:
            await service.look_up(find_ourselves)
        print(json.dumps([service.port for service in services]), flush=True)
        await anyio.sleep_forever()


def find_ourselves(node: DhtNode, now: float) -> int:
    """Look around our own id."""
    return node.find_node(node.node_id, now=now)


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]), sys.argv[2:])
