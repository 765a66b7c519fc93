"""``torrent-engine dht node``: a node in the foreground, until stopped."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import anyio

from torrent_engine.base.config import SharedConfig
from torrent_engine.cli.dht.access import dht_config, listen_hosts
from torrent_engine.cli.options.common import CommandOptions
from torrent_engine.cli.output import render
from torrent_engine.cli.output.exit_codes import ExitCode
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.resources.dht_state import open_shared_dht
from torrent_engine.engine.resources.state_folder import default_state_dir
from torrent_engine.net.dht.service import DhtService
from torrent_engine.net.sockets.datagrams import open_datagrams
from torrent_engine.protocol.dht.node import DhtNode
from torrent_engine.service import loop

REPORT_INTERVAL_S: Final = 2.0
_NETWORKS: Final = {False: "IPv4", True: "IPv6"}


def run(options: CommandOptions) -> ExitCode:
    """Run the node until SIGINT or SIGTERM."""
    loop.run(lambda: loop.run_until_signalled(lambda: _serve(options)))
    return ExitCode.OK


async def _serve(options: CommandOptions) -> None:
    async with _node(options) as service:
        _announce(service, options)
        before: object = None
        while True:
            await anyio.sleep(REPORT_INTERVAL_S)
            if (counts := _counts(service)) != before:
                before = counts
                _report(counts, options)


@asynccontextmanager
async def _node(options: CommandOptions) -> AsyncIterator[DhtService]:
    dht = dht_config(options, read_only=options["read_only"])
    config = SharedConfig(listen_hosts=listen_hosts(options), dht=dht)
    folder = options["state_dir"] or default_state_dir()
    async with (
        await StateStore.open(Path(folder), config=config.disk) as store,
        open_datagrams(config.listen_hosts, options["port"]) as datagrams,
        open_shared_dht(config, datagrams, store=store) as service,
    ):
        service.begin()
        yield service


def _announce(service: DhtService, options: CommandOptions) -> None:
    """Say who the node is, now that it answers."""
    ids = {_NETWORKS[is_ipv6]: node.node_id.hex() for is_ipv6, node in _nodes(service)}
    if options["as_json"]:
        _print_event("dht.started", {"port": service.port, "ids": ids})
    elif not options["quiet"]:
        for network, node_id in ids.items():
            render.print_line(f"{network} node {node_id}")
        render.print_line(f"UDP port {service.port}; Ctrl-C ends it", flush=True)


def _nodes(service: DhtService) -> list[tuple[bool, DhtNode]]:
    return [(is_ipv6, driver.node) for is_ipv6, driver in service.drivers.items()]


def _counts(service: DhtService) -> dict[str, dict[str, object]]:
    """Return how the node of each network stands."""
    return {_NETWORKS[is_ipv6]: _counts_of(node) for is_ipv6, node in _nodes(service)}


def _counts_of(node: DhtNode) -> dict[str, object]:
    stats = node.stats()
    external = str(node.external) if node.external is not None else None
    return {
        "id": node.node_id.hex(),
        "external": external,
        "nodes": stats.nodes,
        "lookups": stats.lookups,
        **asdict(stats.traffic),
    }


def _report(counts: dict[str, dict[str, object]], options: CommandOptions) -> None:
    if options["as_json"]:
        _print_event("dht.stats", counts)
    elif not options["quiet"]:
        parts = [
            f"{network}: nodes known {each['nodes']:,}, queries taken {each['queries_in']:,},"
            f" sent {each['queries_out']:,}"
            for network, each in counts.items()
        ]
        render.print_line("; ".join(parts), flush=True)


def _print_event(type_: str, fields: Mapping[str, object]) -> None:
    render.print_json({"time": round(time.time(), 3), "type": type_, **fields}, flush=True)
