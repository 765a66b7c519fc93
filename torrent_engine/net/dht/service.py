"""The DHT of a process: a node for each address family on the listening port's UDP sockets.

Source: BEP 5, BEP 32. Lookups run on the nodes of both families; results are delivered as they
arrive.
"""

import logging
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import permutations
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.net.dht.bootstrap import Bootstrap, HostPort, resolve_all
from torrent_engine.net.dht.driver import DhtDriver, OnEvent, is_last
from torrent_engine.net.sockets.datagram_queue import DatagramQueue
from torrent_engine.net.sockets.datagrams import DHT_FIRST_BYTES, DatagramRelay
from torrent_engine.net.sockets.keep_running import keep_running
from torrent_engine.net.sockets.name_resolver import low_priority_resolver
from torrent_engine.net.sockets.resolver import Resolver, is_literal, resolve
from torrent_engine.protocol.dht.events import (
    DhtEvent,
    ExternalAddressChanged,
    LookupEnded,
    PeersFound,
)
from torrent_engine.protocol.dht.node import DhtNode, DhtStats, SavedTable

logger = logging.getLogger(__name__)

SECRET_BYTES: Final = 32  # row C2: secret of the write tokens
SECOND_FAMILY_GRACE_S: Final = 0.5  # ours: time to wait for the other family once one is ready
SAVE_GRACE_S: Final = 5.0  # ours: time limit of the final save
MAX_NAMES_WAITING: Final = 50  # ours: simultaneous name lookups of nodes

NODES: Final = "nodes of torrent files"
ROUTERS: Final = "routers of the DHT"
"""Owners of name lookups, so that torrents cannot block the lookup of routers."""

SavedTables = Mapping[bool, SavedTable]
"""The routing table of each family; the key is whether it is IPv6."""
StartLookup = Callable[[DhtNode, float], int]
SaveTables = Callable[[SavedTables], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DhtHost:
    """Collaborators of a DhtService."""

    clock: Callable[[], float] = time.monotonic
    resolver: Resolver = resolve
    saved: SavedTables = field(default_factory=dict)
    """The routing tables of the last run."""
    save: SaveTables | None = None
    """Saves the routing tables for the next run; must not raise."""
    on_external: Callable[[PeerAddress], None] | None = None
    """Called with our external address when enough nodes agree on it."""
    waits: bool = False
    """Send nothing until a torrent needs the DHT (row B10)."""


class DhtService:
    """The DHT nodes of a process; open it with :func:`open_dht`."""

    def __init__(
        self, config: DhtConfig, datagrams: DatagramRelay, tasks: anyio.abc.TaskGroup, host: DhtHost
    ) -> None:
        self.config = config
        self._datagrams = datagrams
        self._tasks = tasks
        self._host = host
        self.wanted = anyio.Event()
        """Set by :meth:`begin`."""
        self.received = DatagramQueue(self)
        """What came and waits for its turn: an odd datagram, or a response, can take 2 ms."""
        self._names_waiting = 0
        self._bootstrapped = anyio.Event()
        rng = random.SystemRandom()  # row C2: unpredictable transaction ids
        self.drivers: Mapping[bool, DhtDriver] = {
            is_ipv6: self._driver(is_ipv6=is_ipv6, rng=rng)
            for is_ipv6 in (False, True)
            if datagrams.port_of(is_ipv6=is_ipv6) is not None
        }
        """Keyed by whether it is IPv6; families without a socket are missing."""
        for first, second in permutations(self.drivers.values(), 2):
            first.node.pair_with(second.node)

    def _driver(self, *, is_ipv6: bool, rng: random.Random) -> DhtDriver:
        saved = self._host.saved.get(is_ipv6)
        node = DhtNode(
            self.config,
            rng=rng,
            secret=os.urandom(SECRET_BYTES),
            is_ipv6=is_ipv6,
            node_id=None if saved is None else saved.node_id,
            now=self._host.clock(),
        )
        driver = DhtDriver(
            node,
            self._datagrams,
            is_ipv6=is_ipv6,
            clock=self._host.clock,
            on_event=self._on_event,
            on_bootstrapped=self._bootstrapped.set,
        )
        if saved is not None:
            driver.restore(saved)
        return driver

    # -- status -----------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The UDP port, as sent in a PORT message (BEP 5)."""
        return self._datagrams.port

    @property
    def node_count(self) -> int:
        """Number of good nodes, over both families."""
        return sum(driver.node.node_count for driver in self.drivers.values())

    def stats(self) -> Mapping[bool, DhtStats]:
        """Return the statistics of each family."""
        return {is_ipv6: driver.node.stats() for is_ipv6, driver in self.drivers.items()}

    def tables(self) -> SavedTables:
        """Return the routing tables to save."""
        return {is_ipv6: driver.node.saved() for is_ipv6, driver in self.drivers.items()}

    async def wait_ready(self) -> Collection[bool]:
        """Wait for the first response in one family, then briefly for one in the other family.

        Returns the families that are ready: False is IPv4, True is IPv6.
        """
        self.begin()
        await self._bootstrapped.wait()
        with anyio.move_on_after(SECOND_FAMILY_GRACE_S):
            for driver in self.drivers.values():
                if driver.can_bootstrap:
                    await driver.bootstrapped.wait()
        return [is_ipv6 for is_ipv6, driver in self.drivers.items() if driver.node.node_count]

    def begin(self) -> None:
        """Join the DHT; before that nothing is sent."""
        if not self.wanted.is_set():
            self._datagrams.route(DHT_FIRST_BYTES, self.received)
            self.wanted.set()

    def set_gateway_address(self, address: PeerAddress) -> None:
        """Record our external address as the gateway reports it (BEP 42)."""
        driver = self.drivers.get(":" in address.host)
        if driver is not None:
            driver.node.set_gateway_address(address, now=self._host.clock())
            driver.flush()

    # -- bootstrap nodes --------------------------------------------------------------------

    def add_node(self, host: str, port: int) -> None:
        """Add a node from a PORT message or the "nodes" of a torrent file (BEP 5).

        Names are resolved in the background; over the limit further ones are dropped.
        """
        self.begin()
        if is_literal(host):
            self._try(PeerAddress(host, port))
        elif self._names_waiting < MAX_NAMES_WAITING:
            self._names_waiting += 1
            self._tasks.start_soon(self._add_name, (host, port))

    async def _add_name(self, endpoint: HostPort) -> None:
        try:
            for address in await resolve_all(
                [endpoint], low_priority_resolver(self._host.resolver, NODES)
            ):
                self._try(address)
        finally:
            self._names_waiting -= 1

    def _try(self, address: PeerAddress) -> None:
        driver = self.drivers.get(":" in address.host)
        if driver is not None:
            driver.add_node(address)

    # -- lookups ----------------------------------------------------------------------------

    async def search(
        self,
        info_hash: InfoHash,
        *,
        port: int | None,
        is_seed: bool,
        on_peers: Callable[[list[PeerAddress]], None],
    ) -> int:
        """Look up peers of a torrent and announce ourselves, in both families.

        ``port`` is our TCP port; None: our UDP port ("implied_port"). ``on_peers`` is called as
        peers are found. Returns the number of nodes that confirmed the announce.
        """

        def on_event(event: DhtEvent) -> None:
            if isinstance(event, PeersFound):
                on_peers(list(event.peers))

        ends = await self.look_up(
            lambda node, now: node.announce(info_hash, port, is_seed=is_seed, now=now), on_event
        )
        return sum(len(end.stored_at) for end in ends if isinstance(end, LookupEnded))

    async def look_up(
        self,
        start: StartLookup,
        on_event: OnEvent | None = None,
        *,
        families: Collection[bool] = (False, True),
    ) -> list[DhtEvent]:
        """Run a lookup or ping on the node of each family.

        ``on_event`` receives all events. ``families`` selects IPv4 (False) and IPv6 (True). Returns
        the last event of each.
        """
        self.begin()
        drivers = [self.drivers[is_ipv6] for is_ipv6 in families if is_ipv6 in self.drivers]
        ends: list[DhtEvent] = []
        done = anyio.Event()

        def listen(event: DhtEvent) -> None:
            if on_event is not None:
                on_event(event)
            if is_last(event):
                ends.append(event)
                if len(ends) == len(drivers):
                    done.set()

        asked = [(driver, driver.start_lookup(start, listen)) for driver in drivers]
        try:
            if asked:
                await done.wait()
        finally:
            for driver, number in asked:
                driver.cancel_lookup(number)
        return ends

    # -- callbacks --------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Process a datagram that starts like a KRPC message."""
        self.drivers[":" in address.host].receive_datagram(data, address)

    def batch_ended(self) -> None:
        """Send pending datagrams after a batch of received ones."""
        for driver in self.drivers.values():
            driver.flush()

    def _on_event(self, event: DhtEvent) -> None:
        logger.debug("DHT: %s", event)
        if isinstance(event, ExternalAddressChanged) and self._host.on_external is not None:
            self._host.on_external(event.address)

    async def run_when_wanted(self, run: Callable[[], Awaitable[None]]) -> None:
        """Wait for :meth:`begin`, then keep ``run`` running."""
        await self.wanted.wait()
        await keep_running("DHT", run)

    # -- saving -----------------------------------------------------------------------------

    async def save(self) -> None:
        """Save the routing tables that have nodes."""
        tables = {is_ipv6: table for is_ipv6, table in self.tables().items() if table.nodes}
        if tables and self._host.save is not None:
            await self._host.save(tables)

    async def save_periodically(self) -> None:
        """Save the routing tables periodically, until cancelled."""
        while True:
            await anyio.sleep(self.config.save_interval_s)
            await self.save()


@asynccontextmanager
async def open_dht(
    config: DhtConfig,
    datagrams: DatagramRelay,
    *,
    routers: Iterable[HostPort],
    host: DhtHost | None = None,
) -> AsyncIterator[DhtService]:
    """Run the nodes on open sockets until the block ends; then save the tables."""
    host = host or DhtHost()
    async with anyio.create_task_group() as tasks:
        service = DhtService(config, datagrams, tasks, host)
        drivers = list(service.drivers.values())
        bootstrap = Bootstrap(
            drivers,
            tuple(routers),
            config=config,
            resolver=low_priority_resolver(host.resolver, ROUTERS),
            has_saved=any(table.nodes for table in host.saved.values()),
        )
        runs = (*(driver.run for driver in drivers), service.received.run, bootstrap.run)
        for run in (*runs, service.save_periodically):
            tasks.start_soon(service.run_when_wanted, run)
        if not host.waits:
            service.begin()
        try:
            yield service
        finally:
            datagrams.unroute(service.received)
            tasks.cancel_scope.cancel()
            with anyio.move_on_after(SAVE_GRACE_S, shield=True):
                await service.save()
