"""Services that are open from the first reference to SharedResources to the last."""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import anyio

from torrent_engine.base.config import SharedConfig
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.discovery.dormant_announcer import DormantAnnouncer
from torrent_engine.engine.discovery.peer_discovery import PeerDiscovery, make_discovery
from torrent_engine.engine.jobs.job_log import JobLog
from torrent_engine.engine.jobs.session_jobs import open_jobs
from torrent_engine.engine.resources.dht_state import open_shared_dht
from torrent_engine.engine.resources.external_port import make_port_mapper
from torrent_engine.engine.resources.heap_trim import HeapTrim, system_allocator
from torrent_engine.engine.resources.network import Network, open_network
from torrent_engine.engine.resources.pools import Pools
from torrent_engine.net.dht.service import DhtService
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.nat.port_mapping import PortMapper
from torrent_engine.net.sockets.device_watch import DeviceWatch, User
from torrent_engine.net.sockets.keep_running import keep_running
from torrent_engine.net.tracker.client import TrackerClient, open_tracker_client

ServiceRun = Callable[[], Coroutine[object, object, None]]


class HttpClients(NamedTuple):
    """HTTP clients; each may use another proxy."""

    trackers: HttpClient
    """Also fetches torrent files."""
    web_seeds: HttpClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Sockets, clients and the database; opened by :func:`open_services`."""

    store: StateStore
    jobs: JobLog
    trackers: TrackerClient
    http: HttpClients
    announcer: DormantAnnouncer
    network: Network
    dht: DhtService | None
    discovery: PeerDiscovery
    port_mapping: PortMapper
    listen_port: int
    """The TCP port that accepts peers; 0 if there is none."""
    accept: ServiceRun
    """Accepts connections; closes the listeners at its end, and thus runs once."""
    works: Mapping[str, ServiceRun]
    """What else runs in tasks until the services are closed, by name."""

    async def run(self, closing: anyio.Event) -> None:
        """Serve until ``closing`` is set; a bug in one task ends no other (row F10)."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.accept)
            for name, work in self.works.items():
                tasks.start_soon(keep_running, name, work)
            await closing.wait()
            tasks.cancel_scope.cancel()


async def open_services(stack: AsyncExitStack, config: SharedConfig, pools: Pools) -> Services:
    """Open everything; ``stack`` closes it in reverse order, also when this raises half way."""
    await pools.ip_filter.load()
    store = await StateStore.open(pools.state_dir, config=config.disk, wall_clock=pools.wall_clock)
    stack.push_async_exit(store)
    jobs = await stack.enter_async_context(
        open_jobs(store, pools.session_jobs, config.jobs, pools.wall_clock)
    )
    network = await stack.enter_async_context(
        open_network(config, pools.router.incoming, clock=pools.clock, resolver=pools.resolver)
    )
    listen_port = network.listening.port
    announcer = DormantAnnouncer(
        config.dormancy, pools.clock, pools.external_addresses, frozenset({listen_port})
    )
    http = _http_clients(config, pools, network)
    trackers = await _open_trackers(stack, config, pools, network, http.trackers)
    dht = await _open_dht(stack, config, pools, network, store)
    discovery = make_discovery(
        config,
        dht=dht,
        clock=pools.clock,
        rng=pools.rng,
        binding=network.routes.binding,
        mapped_port=lambda: pools.external_addresses.mapped_port,
    )
    port_mapping = await _make_port_mapping(config, pools, network, dht)
    heap_trim = HeapTrim(lambda: pools.connection_slots.used > 0, system_allocator())
    works: dict[str, ServiceRun] = {
        "peer discovery": discovery.run,
        "jobs": jobs.run,
        "jobs of sessions": pools.session_jobs.run,
        "dormant announces": announcer.run,
        "dormant timers": pools.dormant_timers.run,
        "rate limits": pools.bandwidth.run,
        "loop watch": pools.loop_watch.run,
        "heap trim": heap_trim.run,
    }
    if config.port_mapping.enabled:
        works["port mapping"] = port_mapping.run
    if network.routes.binding.device is not None:
        works["device watch"] = _device_watch(network, pools).run
    return Services(
        store=store,
        jobs=jobs,
        trackers=trackers,
        http=http,
        announcer=announcer,
        network=network,
        dht=dht,
        discovery=discovery,
        port_mapping=port_mapping,
        listen_port=listen_port,
        accept=partial(pools.router.run, network.listening.tcp),
        works=works,
    )


def _device_watch(network: Network, pools: Pools) -> DeviceWatch:
    listening = network.listening
    users: list[User] = [(listening.tcp, pools.router.replace_listener)]
    if network.udp is not None:
        users.append((listening.udp, network.udp.replace))
    return DeviceWatch(network.routes.binding, users)


def _http_clients(config: SharedConfig, pools: Pools, network: Network) -> HttpClients:
    client = partial(
        HttpClient,
        config.tracker,
        user_agent=config.user_agent,
        resolver=pools.ip_filter.resolve,
    )
    routes = network.routes
    return HttpClients(client(route=routes.trackers), client(route=routes.web_seeds))


async def _open_trackers(
    stack: AsyncExitStack, config: SharedConfig, pools: Pools, network: Network, http: HttpClient
) -> TrackerClient:
    """Open the tracker client; UDP trackers are asked over the sockets of peers where possible."""
    routes = network.routes
    trackers = await stack.enter_async_context(
        open_tracker_client(
            config.tracker,
            http=http,
            resolver=pools.ip_filter.resolve,
            binding=routes.binding,
        )
    )
    is_proxied = not routes.trackers.is_direct
    trackers.share(network.tracker_datagrams, only=is_proxied)
    stack.callback(trackers.share, None, only=is_proxied)
    return trackers


async def _open_dht(
    stack: AsyncExitStack, config: SharedConfig, pools: Pools, network: Network, store: StateStore
) -> DhtService | None:
    """Open the DHT on the UDP sockets; return None if it is off or there are none."""
    if not config.dht.enabled or network.datagrams is None:
        return None
    return await stack.enter_async_context(
        open_shared_dht(
            config,
            network.datagrams,
            store=store,
            resolver=network.routes.resolver,
            clock=pools.clock,
            external_addresses=pools.external_addresses,
        )
    )


async def _make_port_mapping(
    config: SharedConfig, pools: Pools, network: Network, dht: DhtService | None
) -> PortMapper:
    ours = tuple(network.routes.binding.own_hosts(config.listen_hosts))
    return await make_port_mapper(
        replace(config, listen_hosts=ours),  # no gateway that sees us elsewhere is asked
        pools.state_dir,
        network.listening.port,
        dht=dht,
        external_addresses=pools.external_addresses,
        clock=pools.clock,
    )
