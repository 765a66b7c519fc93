"""Owns the DHT of a process: one node an address family on the UDP sockets of the listening port.

Source: BEP 5, BEP 32 (a torrent is looked for in both networks). All lookups are asked of both
nodes; what they find comes as it is found.
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
from torrent_engine.net.datagrams import DHT_FIRST_BYTES, DatagramRelay
from torrent_engine.net.dht_bootstrap import Bootstrap, Endpoint, resolve_all
from torrent_engine.net.dht_driver import DhtDriver, OnEvent, is_last
from torrent_engine.net.name_resolver import asked_last
from torrent_engine.net.resolver import Resolver, is_literal, resolve
from torrent_engine.protocol.dht.events import (
    DhtEvent,
    ExternalAddressChanged,
    LookupEnded,
    PeersFound,
)
from torrent_engine.protocol.dht.node import DhtNode, DhtStats, SavedTable

logger = logging.getLogger(__name__)

SECRET_BYTES: Final = 32  # row C2: what write tokens are made with
SECOND_FAMILY_GRACE_S: Final = 0.5  # ours: who waits for one network waits so long for both
SAVE_GRACE_S: Final = 5.0  # ours: a save at the end that takes longer is given up
MAX_NAMES_WAITING: Final = 50  # ours: nodes whose names are looked up at a time

NODES: Final = "nodes that torrents name"
ROUTERS: Final = "routers of the DHT"
"""On whose behalf names are looked up: a torrent must not keep us from the routers."""

SavedTables = Mapping[bool, SavedTable]
"""The routing table of each family; the key is whether it is IPv6."""
StartLookup = Callable[[DhtNode, float], int]
SaveTables = Callable[[SavedTables], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DhtHost:
    """What a DHT needs of who runs it."""

    clock: Callable[[], float] = time.monotonic
    resolver: Resolver = resolve
    saved: SavedTables = field(default_factory=dict)
    """The routing tables of the last run."""
    save: SaveTables | None = None
    """Keeps the routing tables for the next run; must not raise."""
    on_external: Callable[[PeerAddress], None] | None = None
    """Hears at which address the internet sees us, when enough nodes agree."""
    waits: bool = False
    """Say nothing to anybody until a torrent wants the DHT (row B10)."""


class DhtService:
    """Runs the nodes; open it with :func:`open_dht`."""

    def __init__(
        self, config: DhtConfig, datagrams: DatagramRelay, tasks: anyio.abc.TaskGroup, host: DhtHost
    ) -> None:
        self.config = config
        self._datagrams = datagrams
        self._tasks = tasks
        self._host = host
        self.wanted = anyio.Event()
        """Set by :meth:`begin`."""
        self._names_waiting = 0
        self._entered = anyio.Event()
        rng = random.SystemRandom()  # row C2: transaction ids that nobody guesses
        self.drivers: Mapping[bool, DhtDriver] = {
            is_ipv6: self._driver(is_ipv6=is_ipv6, rng=rng)
            for is_ipv6 in (False, True)
            if datagrams.port_of(is_ipv6=is_ipv6) is not None
        }
        """By whether it is IPv6; a family without a socket has none."""
        for first, second in permutations(self.drivers.values(), 2):
            first.node.serve_beside(second.node)

    def _driver(self, *, is_ipv6: bool, rng: random.Random) -> DhtDriver:
        now = self._host.clock()
        saved = self._host.saved.get(is_ipv6)
        node = DhtNode(
            self.config,
            rng=rng,
            secret=os.urandom(SECRET_BYTES),
            is_ipv6=is_ipv6,
            node_id=None if saved is None else saved.node_id,
            now=now,
        )
        if saved is not None:
            node.restore(saved, now=now)
        driver = DhtDriver(
            node,
            self._datagrams,
            is_ipv6=is_ipv6,
            clock=self._host.clock,
            on_event=self._on_event,
            on_entered=self._entered.set,
        )
        driver.has_start = saved is not None and bool(saved.nodes)
        return driver

    # -- what it is -------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The UDP port, as a PORT message tells it (BEP 5)."""
        return self._datagrams.port

    @property
    def node_count(self) -> int:
        """How many nodes answer, in both networks together."""
        return sum(driver.node.node_count for driver in self.drivers.values())

    def stats(self) -> Mapping[bool, DhtStats]:
        """Return the counts of each family."""
        return {is_ipv6: driver.node.stats() for is_ipv6, driver in self.drivers.items()}

    def tables(self) -> SavedTables:
        """Return what is worth keeping for the next run."""
        return {is_ipv6: driver.node.saved() for is_ipv6, driver in self.drivers.items()}

    async def wait_ready(self) -> Collection[bool]:
        """Wait until somebody has answered a node of ours, and a moment for the other one.

        Returns the families that are ready: False is IPv4, True is IPv6.
        """
        self.begin()
        await self._entered.wait()
        with anyio.move_on_after(SECOND_FAMILY_GRACE_S):
            for driver in self.drivers.values():
                if driver.has_start:
                    await driver.entered.wait()
        return [is_ipv6 for is_ipv6, driver in self.drivers.items() if driver.node.node_count]

    def begin(self) -> None:
        """Take part from now on; before that nobody is asked and nobody is answered."""
        if not self.wanted.is_set():
            self._datagrams.route(DHT_FIRST_BYTES, self)
            self.wanted.set()

    def told_by_gateway(self, address: PeerAddress) -> None:
        """Take what our gateway says of our address (BEP 42)."""
        driver = self.drivers.get(":" in address.host)
        if driver is not None:
            driver.node.told_by_gateway(address, now=self._host.clock())
            driver.flush()

    # -- nodes to begin with ----------------------------------------------------------------

    def add_node(self, host: str, port: int) -> None:
        """Try a node that a peer's PORT message or the "nodes" of a torrent name (BEP 5).

        A name is looked up meanwhile; while too many are, further ones are dropped.
        """
        self.begin()
        if is_literal(host):
            self._try(PeerAddress(host, port))
        elif self._names_waiting < MAX_NAMES_WAITING:
            self._names_waiting += 1
            self._tasks.start_soon(self._add_name, (host, port))

    async def _add_name(self, endpoint: Endpoint) -> None:
        try:
            for address in await resolve_all([endpoint], asked_last(self._host.resolver, NODES)):
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
        """Look for peers of a torrent once and announce us, in both networks.

        ``port`` is where our listener takes peers; None: where our datagrams come from.
        ``on_peers`` is called as they are found. Returns how many nodes took the announce.
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
        """Begin a lookup (or a ping) on the node of each family, and wait for the end of all.

        ``on_event`` hears all that they tell. ``families`` says whether IPv6, or not, or both.
        Returns the last event of each; nothing where there is no such node.
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

        asked = [(driver, driver.ask(start, listen)) for driver in drivers]
        try:
            if asked:
                await done.wait()
        finally:
            for driver, number in asked:
                driver.give_up(number)
        return ends

    # -- what the sockets and the nodes say -------------------------------------------------

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Take a datagram that begins as a message of the DHT does."""
        self.drivers[":" in address.host].receive_datagram(data, address)

    def batch_ended(self) -> None:
        """Send what the datagrams caused."""
        for driver in self.drivers.values():
            driver.flush()

    def _on_event(self, event: DhtEvent) -> None:
        logger.debug("DHT: %s", event)
        if isinstance(event, ExternalAddressChanged) and self._host.on_external is not None:
            self._host.on_external(event.address)

    async def run_when_wanted(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run something from :meth:`begin` on."""
        await self.wanted.wait()
        await run()

    # -- saving -----------------------------------------------------------------------------

    async def save(self) -> None:
        """Keep the routing tables, those that have nodes."""
        tables = {is_ipv6: table for is_ipv6, table in self.tables().items() if table.nodes}
        if tables and self._host.save is not None:
            await self._host.save(tables)

    async def save_now_and_then(self) -> None:
        """Keep them every few minutes, until cancelled."""
        while True:
            await anyio.sleep(self.config.save_interval_s)
            await self.save()


@asynccontextmanager
async def open_dht(
    config: DhtConfig,
    datagrams: DatagramRelay,
    *,
    routers: Iterable[Endpoint],
    host: DhtHost | None = None,
) -> AsyncIterator[DhtService]:
    """Run the nodes on open sockets until the block ends; the tables are saved then."""
    host = host or DhtHost()
    async with anyio.create_task_group() as tasks:
        service = DhtService(config, datagrams, tasks, host)
        drivers = list(service.drivers.values())
        bootstrap = Bootstrap(
            drivers,
            tuple(routers),
            config=config,
            resolver=asked_last(host.resolver, ROUTERS),
            has_saved=any(table.nodes for table in host.saved.values()),
        )
        for run in (*(driver.run for driver in drivers), bootstrap.run, service.save_now_and_then):
            tasks.start_soon(service.run_when_wanted, run)
        if not host.waits:
            service.begin()
        try:
            yield service
        finally:
            datagrams.unroute(service)
            tasks.cancel_scope.cancel()
            with anyio.move_on_after(SAVE_GRACE_S, shield=True):
                await service.save()
