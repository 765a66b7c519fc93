"""A process that listens and has its port mapped; it prints how that stands, until SIGTERM.

Arguments: protocols, lifetime in seconds, port, folder of state.
"""

import json
import signal
import sys
from dataclasses import asdict

import anyio

from torrent_engine.base.config import DhtConfig, LsdConfig, PortMappingConfig, SharedConfig
from torrent_engine.engine.resources.shared_resources import SharedResources


async def main(*arguments: str) -> None:
    protocols, lifetime, port, state_dir = arguments
    config = SharedConfig(
        listen_port=int(port),
        state_dir=state_dir,
        dht=DhtConfig(bootstrap=()),
        lsd=LsdConfig(enabled=False),
        port_mapping=PortMappingConfig(
            enabled=True,
            protocols=tuple(protocols.split(",")),
            lifetime_s=int(lifetime),
            check_interval_s=1.0,
            min_recovery_interval_s=1.0,
            min_retry_s=1.0,
            removal_timeout_s=30.0,  # the router shares a busy machine
        ),
    )
    async with SharedResources(config) as shared, anyio.create_task_group() as tasks:
        tasks.start_soon(tell, shared)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(aiter(signals))
        tasks.cancel_scope.cancel()


async def tell(shared: SharedResources) -> None:
    while True:
        status = [asdict(each) for each in shared.port_mapping.status()]
        facts = {
            "status": status,
            "port": shared.announced_port,
            "hosts": shared.external_addresses.hosts,
        }
        print(json.dumps(facts), flush=True)
        await anyio.sleep(0.2)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
