"""Owns what is open between the first reference to SharedResources and the last, and its tasks."""

import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio

from torrent_engine.disk.state import StateStore
from torrent_engine.engine.job_log import JobLog
from torrent_engine.engine.network import Network, open_network
from torrent_engine.engine.peer_discovery import PeerDiscovery, make_discovery
from torrent_engine.engine.resting_announcer import RestingAnnouncer
from torrent_engine.engine.session_jobs import open_jobs
from torrent_engine.engine.shared_dht import open_shared_dht
from torrent_engine.engine.shared_mapping import make_port_mapper
from torrent_engine.net.dht_service import DhtService
from torrent_engine.net.http_client import HttpClient
from torrent_engine.net.incoming import IncomingRouter
from torrent_engine.net.listening import Listening
from torrent_engine.net.port_mapping import PortMapper
from torrent_engine.net.tracker_client import TrackerClient, open_tracker_client

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from torrent_engine.engine.shared_resources import SharedResources

logger = logging.getLogger(__name__)


class HttpClients(NamedTuple):
    """What fetches URLs: each may leave another way."""

    trackers: HttpClient
    """Also of torrent files."""
    web_seeds: HttpClient


class Services:
    """Sockets, clients and the database; made by :func:`open_services`."""

    port_mapping: PortMapper
    """Is there as soon as it is known where we listen."""

    def __init__(
        self,
        store: StateStore,
        jobs: JobLog,
        trackers: TrackerClient,
        http: HttpClients,
        announcer: RestingAnnouncer,
        network: Network,
    ) -> None:
        self.store = store
        self.jobs = jobs
        self.trackers = trackers
        self.http = http.trackers
        self.web_seed_http = http.web_seeds
        self.announcer = announcer
        self.network = network
        self.discovery = PeerDiscovery()
        self.dht: DhtService | None = None
        self.also: list[Callable[[], Coroutine[object, object, None]]] = []
        """What else runs until these are closed."""
        self.listen_port = 0
        self._listeners: list[socket.socket] = []
        self._router: IncomingRouter | None = None

    def listen(self, router: IncomingRouter, listening: Listening) -> None:
        """Take the sockets that accept peers, and who is told of those."""
        self._router, self._listeners = router, listening.tcp
        self.listen_port = listening.port

    async def run(self, closing: anyio.Event) -> None:
        """Serve until ``closing`` is set."""
        async with anyio.create_task_group() as tasks:
            if self._router is not None:
                tasks.start_soon(self._router.run, self._listeners)
            tasks.start_soon(self.discovery.run)
            for work in self.also:
                tasks.start_soon(work)
            await closing.wait()
            tasks.cancel_scope.cancel()


async def open_services(stack: AsyncExitStack, shared: "SharedResources") -> Services:
    """Open everything; ``stack`` closes it in reverse order, also when this raises half way."""
    config = shared.config
    await shared.ip_filter.load()
    store = await StateStore.open(shared.state_dir, config=config.disk)
    stack.push_async_exit(store)
    jobs = await stack.enter_async_context(open_jobs(store, shared.session_jobs, config.jobs))
    announcer = RestingAnnouncer(config.rest, shared.clock, shared.own_address)
    network = await stack.enter_async_context(
        open_network(
            config,
            shared.router.incoming,
            clock=shared.clock,
            resolver=shared.resolver,
        )
    )
    routes = network.routes
    client = partial(
        HttpClient,
        config.tracker,
        user_agent=config.user_agent,
        resolver=shared.ip_filter.resolve,
    )
    http = HttpClients(client(route=routes.trackers), client(route=routes.web_seeds))
    trackers = await stack.enter_async_context(
        open_tracker_client(
            config.tracker,
            http=http.trackers,
            resolver=shared.ip_filter.resolve,
            binding=routes.binding,
        )
    )
    is_confined = not routes.trackers.is_straight
    trackers.share(network.tracker_datagrams, only=is_confined)
    stack.callback(trackers.share, None, only=is_confined)
    services = Services(store, jobs, trackers, http, announcer, network)
    services.also += [jobs.run, shared.session_jobs.run, announcer.run, shared.rest_timers.run]
    services.also += [shared.bandwidth.run, shared.loop_watch.run]
    services.listen(shared.router, network.listening)
    announcer.ports = frozenset({services.listen_port})
    services.dht = await _open_dht(stack, shared, services)
    services.discovery = make_discovery(
        config,
        dht=services.dht,
        clock=shared.clock,
        rng=shared.rng,
        binding=routes.binding,
        mapped_port=lambda: shared.own_address.mapped_port,
    )
    ours = tuple(routes.binding.own_hosts(config.listen_hosts))
    services.port_mapping = await make_port_mapper(
        replace(config, listen_hosts=ours),  # no gateway that sees us elsewhere is asked
        shared.state_dir,
        services.listen_port,
        dht=services.dht,
        own_address=shared.own_address,
        clock=shared.clock,
    )
    if config.port_mapping.enabled:
        services.also.append(services.port_mapping.run)
    return services


async def _open_dht(
    stack: AsyncExitStack, shared: "SharedResources", services: Services
) -> DhtService | None:
    """Open the DHT on the UDP sockets; without them the rest works on."""
    config, datagrams = shared.config, services.network.datagrams
    if not config.dht.enabled or datagrams is None:
        return None
    return await stack.enter_async_context(
        open_shared_dht(
            config,
            datagrams,
            store=services.store,
            resolver=services.network.routes.resolver,
            clock=shared.clock,
            own_address=shared.own_address,
        )
    )
