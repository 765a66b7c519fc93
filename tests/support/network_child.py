"""A download by a process of its own, over whatever ways it is given; prints its events as JSON.

One argument, JSON: torrent, folder, port, and, all optional: peers, proxy, interface, anonymous,
tcp, utp, lsd, dht_bootstrap, listen_hosts, local_web_seeds, bytes_per_s. When all is complete it
goes on as a seed.
"""

import json
import sys
from dataclasses import replace

import anyio

from torrent_engine import (
    Metainfo,
    Session,
    SessionConfig,
    SharedConfig,
    SharedResources,
    State,
)
from torrent_engine.base.config import (
    DhtConfig,
    LsdConfig,
    NetworkConfig,
    PortMappingConfig,
    ProxyConfig,
    ProxyKind,
    TrackerConfig,
    UtpConfig,
    WebSeedConfig,
)


def network_of(order) -> NetworkConfig:
    proxy = order.get("proxy")
    utp = bool(order.get("utp"))
    return NetworkConfig(
        tcp=order.get("tcp", True),
        utp=UtpConfig(incoming=utp, outgoing=utp),
        proxy=ProxyConfig(**{**proxy, "kind": ProxyKind(proxy["kind"])}) if proxy else None,
        interface=order.get("interface"),
        anonymous=bool(order.get("anonymous")),
    )


def config_of(order) -> SharedConfig:
    bootstrap = order.get("dht_bootstrap")
    config = SharedConfig(
        listen_port=order["port"],
        state_dir=f"{order['folder']}/state",
        network=network_of(order),
        dht=DhtConfig(
            enabled=bootstrap is not None,
            bootstrap=tuple(map(tuple, bootstrap or ())),
            first_retry_s=0.5,
        ),
        lsd=LsdConfig(enabled=bool(order.get("lsd"))),
        web_seed=WebSeedConfig(allow_local=bool(order.get("local_web_seeds"))),
        port_mapping=PortMappingConfig(enabled=bool(order.get("mapping"))),
        tracker=TrackerConfig(udp_first_timeout_s=2.0, backoff_first_s=2.0),
    )
    if "listen_hosts" in order:
        config = replace(config, listen_hosts=tuple(order["listen_hosts"]))
    return config


def tell(**facts) -> None:
    print(json.dumps(facts, default=str), flush=True)


async def main(text: str) -> None:
    order = json.loads(text)
    settings = SessionConfig(
        peers=tuple(map(tuple, order.get("peers", ()))),
        max_download_bytes_per_s=order.get("bytes_per_s", 0),
    )
    async with SharedResources(config_of(order)) as shared:
        tell(type="open", port=shared.listen_port)
        session = await Session.create(
            Metainfo.read(order["torrent"]),
            shared,
            save_path=f"{order['folder']}/saved",
            config=settings,
        )
        async with session, anyio.create_task_group() as tasks:
            tasks.start_soon(tell_events, session)
            await session.wait(State.SEEDING)
            tell(type="complete")


async def tell_events(session) -> None:
    async for event in session.events.stream():
        facts = {
            name: str(getattr(event, name))
            for name in ("address", "transport", "encryption", "incoming", "url", "message")
            if hasattr(event, name)
        }
        tell(**{"type": event.type, **facts})


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
