"""Owns what all torrents of a process share: sockets, limits, the resume database, the HTTP client.

Ref-counted and single-flight: however many tasks acquire it at once, one start happens; at zero
references everything is closed, in order, exactly once.
"""

import os
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.abc

from torrent_engine.base.config import DiskConfig, PoolConfig, SharedConfig
from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.disk.file_registry import FileRegistry
from torrent_engine.disk.filesystem import NameFoldings
from torrent_engine.disk.open_files import OpenFiles
from torrent_engine.disk.state import StateStore
from torrent_engine.engine.bandwidth_manager import BandwidthManager
from torrent_engine.engine.confinement import UNREACHABLE_PORT, confined
from torrent_engine.engine.connection_slots import ConnectionSlots
from torrent_engine.engine.ip_filter import LiveIpFilter
from torrent_engine.engine.job_log import JobLog
from torrent_engine.engine.loop_watch import LoopWatch
from torrent_engine.engine.network import Network
from torrent_engine.engine.owners import Owners
from torrent_engine.engine.peer_discovery import PeerDiscovery
from torrent_engine.engine.read_buffers import ReadBuffers
from torrent_engine.engine.rest_timers import RestTimers
from torrent_engine.engine.resting_announcer import RestingAnnouncer
from torrent_engine.engine.services import Services, open_services
from torrent_engine.engine.session_jobs import SessionJobs
from torrent_engine.engine.state_folder import default_state_dir
from torrent_engine.engine.wake_gate import WakeGate
from torrent_engine.net.descriptors import MAX_RAISED, raise_descriptor_limit
from torrent_engine.net.dht_service import DhtService
from torrent_engine.net.http_client import HttpClient
from torrent_engine.net.incoming import IncomingRouter
from torrent_engine.net.link_budget import LinkBudget
from torrent_engine.net.name_resolver import LookUp, NameResolver, system_look_up
from torrent_engine.net.port_mapping import PortMapper
from torrent_engine.net.tracker_client import TrackerClient
from torrent_engine.net.waiting_room import WaitingRoom
from torrent_engine.policy.bans import BanList
from torrent_engine.policy.descriptors import (
    BASE,
    files_within,
    links_within,
    needed_descriptors,
    reserved_descriptors,
)
from torrent_engine.policy.dial_limiter import DialLimiter
from torrent_engine.policy.own_address import OwnAddress
from torrent_engine.protocol.wire.buffers import BufferPool

if TYPE_CHECKING:
    from torrent_engine.engine.states import State


class _Start:
    """One attempt to open the services; all who ask meanwhile wait for its end."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.waiting = 0
        self.error: Exception | None = None


class SharedResources:
    """Loop services that Sessions borrow; ``async with`` holds one reference and runs the tasks.

    ``acquire()`` may start the services again after the last ``release()``, as long as the
    ``async with`` block has not ended.
    """

    def __init__(
        self,
        config: SharedConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        look_up: LookUp = system_look_up,
    ) -> None:
        self.config = confined(config or SharedConfig())
        self.clock = clock
        self.rng = rng or random.Random(os.urandom(16))  # noqa: S311 - nothing secret is drawn
        self.references = 0
        disk = self.config.disk
        self.disk_limiter = anyio.CapacityLimiter(disk.disk_threads)
        self.hash_limiter = anyio.CapacityLimiter(disk.hash_threads)
        pool, files = _within_descriptors(self.config.pool, disk)
        self.open_files = OpenFiles(files)
        self.name_foldings = NameFoldings()
        self.file_registry = FileRegistry(self.name_foldings)
        self.connection_slots = ConnectionSlots(
            pool.max_connections, WaitingRoom(pool.max_half_open_incoming, clock)
        )
        self.bans = BanList(self.config.pool)
        self.dial_limiter = DialLimiter(self.config.pool)
        self.resolver = NameResolver(look_up)
        self.ip_filter = LiveIpFilter(self.config.network.ip_filter, self.resolver)
        self.own_address = OwnAddress()
        self.link_budget = LinkBudget(self.config.wire, clock)
        self.loop_watch = LoopWatch(is_busy=lambda: self.connection_slots.used > 0)
        self.buffers = BufferPool(self.config.transfer.receive_buffer_bytes)
        self.read_buffers = ReadBuffers()
        self.owners = Owners()
        self.rest_timers = RestTimers(clock)
        visitors = min(self.config.rest.max_visitors, pool.max_half_open_incoming)
        self.resting_visitors = WaitingRoom(visitors, clock)
        """Links with torrents at rest."""
        self.wake_gate = WakeGate(self.config.rest, clock)
        self.router = IncomingRouter(
            self.config.wire.handshake_timeout_s, self.config.network.encryption, pool
        )
        self.router.allows = self.ip_filter.allows
        self.bandwidth = BandwidthManager(self.config.bandwidth, clock, self.ip_filter.is_unlimited)
        self.set_rate_limits(
            download_bytes_per_s=self.config.max_download_bytes_per_s,
            upload_bytes_per_s=self.config.max_upload_bytes_per_s,
        )
        self.session_jobs = SessionJobs(self.config.jobs)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._services: Services | None = None
        self._starting: _Start | None = None
        self._closing = anyio.Event()
        self._closed = anyio.Event()
        self.session_hearers: list[Callable[[Any, State, State], None]] = []
        """Who hears of each move of a Session: (the Session, old state, new state)."""
        self._sessions: dict[bytes, Callable[[], Coroutine[object, object, None]]] = {}

    # -- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begin to run tasks, and hold one reference."""
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        self._tasks = tasks
        try:
            await self.acquire()
        except BaseException:
            self._tasks = None
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Close everything, Sessions that are still open too."""
        tasks, self._tasks = self._tasks, None
        with anyio.CancelScope(shield=True):
            await self.close()
        if tasks is None:
            return None
        tasks.cancel_scope.cancel()
        if isinstance(error, Exception):  # leaves as itself, not in an exception group
            await tasks.__aexit__(None, None, None)
            return None
        return await tasks.__aexit__(kind, error, trace)

    async def acquire(self) -> None:
        """Take one reference; the first one opens the services.

        Raises what the start raised, in every task that waited for it; nothing is left open then,
        and the next call tries again.
        """
        while self._services is None:
            if self._tasks is None:
                raise LocalProtocolError("SharedResources is used outside its 'async with' block")
            if self._starting is None:
                self._starting = _Start()
                self._tasks.start_soon(self._serve, self._starting)
            await self._wait_for(self._starting)
        self.references += 1

    async def _wait_for(self, start: _Start) -> None:
        """Wait for the end of a start, which goes on if one of those who wait is cancelled."""
        start.waiting += 1
        try:
            await start.done.wait()
        except BaseException:
            if start.waiting == 1 and not self.references:
                self._close_soon()  # nobody is left who asked for it
            raise
        finally:
            start.waiting -= 1
        if start.error is not None:
            raise start.error

    async def release(self) -> None:
        """Give one reference back; the last one closes the services and waits for that."""
        if self.references <= 0:
            raise LocalProtocolError("released more often than acquired")
        self.references -= 1
        if not self.references:
            await self._close_services()

    async def close(self) -> None:
        """Close everything now, whoever still holds a reference; twice is harmless."""
        async with anyio.create_task_group() as closing:
            for close_session in tuple(self._sessions.values()):
                closing.start_soon(close_session)
        if self._starting is not None:
            await self._starting.done.wait()
        self.references = 0
        await self._close_services()

    async def _close_services(self) -> None:
        self._close_soon()
        if self._closing.is_set():
            await self._closed.wait()

    def _close_soon(self) -> None:
        if self._services is not None:
            self._services = None  # whoever acquires from now on waits, then starts anew
            self._closing.set()

    async def _serve(self, start: _Start) -> None:
        """Open the services, hold them open until told to close; closed in reverse order."""
        if self._closing.is_set():
            await self._closed.wait()
        self._closing, self._closed = anyio.Event(), anyio.Event()
        try:
            async with AsyncExitStack() as stack:
                try:
                    services = await open_services(stack, self)
                except Exception as error:
                    start.error = error
                    return
                self._services = services
                self._started(start)
                if not start.waiting:
                    self._close_soon()
                # Shielded: Sessions that are cancelled still save to the store, then it closes.
                with anyio.CancelScope(shield=True):
                    await services.run(self._closing)
        finally:
            self._services = None
            self._closed.set()
            if start is self._starting:
                self._started(start)

    def _started(self, start: _Start) -> None:
        """End a start: it worked, failed, or was cancelled with the whole block."""
        if self._services is None and start.error is None:
            start.error = LocalProtocolError("SharedResources was closed while it started")
        self._starting = None
        start.done.set()

    # -- what is shared ---------------------------------------------------------------------

    @property
    def state_dir(self) -> Path:
        """The folder of the resume database."""
        if self.config.state_dir is not None:
            return Path(self.config.state_dir)
        return default_state_dir()

    @property
    def listen_port(self) -> int:
        """The TCP port that accepts peers."""
        return self._open.listen_port

    @property
    def announced_port(self) -> int:
        """The TCP port at which the internet finds us: the gateway may have given another one."""
        return self.own_address.mapped_port or self.listen_port or UNREACHABLE_PORT

    @property
    def network(self) -> Network:
        """How peers are reached."""
        return self._open.network

    @property
    def port_mapping(self) -> PortMapper:
        """What opens our ports at the gateway; its ``status()`` says how they stand."""
        return self._open.port_mapping

    @property
    def discovery(self) -> PeerDiscovery:
        """What looks for peers without trackers."""
        return self._open.discovery

    @property
    def announcer(self) -> RestingAnnouncer:
        """What makes the announces of torrents that rest."""
        return self._open.announcer

    @property
    def store(self) -> StateStore:
        """The resume database."""
        return self._open.store

    @property
    def jobs(self) -> JobLog:
        """The records of what is done."""
        return self._open.jobs

    @property
    def trackers(self) -> TrackerClient:
        """What asks trackers."""
        return self._open.trackers

    @property
    def http(self) -> HttpClient:
        """What fetches the URLs of torrent files."""
        return self._open.http

    @property
    def web_seed_http(self) -> HttpClient:
        """What fetches from web seeds."""
        return self._open.web_seed_http

    @property
    def dht(self) -> DhtService | None:
        """The distributed hash table; None if it is switched off or has no socket."""
        return self._open.dht

    def dht_port(self) -> int | None:
        """Return the UDP port of our DHT node, None if it is not there or answers nobody."""
        dht = self._open.dht
        return None if dht is None or self.config.dht.read_only else dht.port or None

    @property
    def _open(self) -> Services:
        if self._services is None:
            raise LocalProtocolError("SharedResources is not open")
        return self._services

    def start_task(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run a Session's task; it must not raise."""
        if self._tasks is None:
            raise LocalProtocolError("SharedResources is used outside its 'async with' block")
        self._tasks.start_soon(work)

    def register(
        self, info_hash: bytes, close_session: Callable[[], Coroutine[object, object, None]]
    ) -> None:
        """Remember a running Session, so that :meth:`close` can end it.

        Raises LocalProtocolError if another Session of the same torrent runs here.
        """
        if info_hash in self._sessions:
            raise LocalProtocolError(f"torrent {info_hash.hex()} has a Session already")
        self._sessions[info_hash] = close_session

    def unregister(self, info_hash: bytes) -> None:
        """Forget a Session that has ended."""
        self._sessions.pop(info_hash, None)

    def set_rate_limits(
        self, *, download_bytes_per_s: int | None = None, upload_bytes_per_s: int | None = None
    ) -> None:
        """Change the limits over all torrents; 0 is unlimited, None leaves as it is."""
        self.bandwidth.set_rate_limits(
            download_bytes_per_s=download_bytes_per_s, upload_bytes_per_s=upload_bytes_per_s
        )


def _within_descriptors(pool: PoolConfig, disk: DiskConfig) -> tuple[PoolConfig, int]:
    """Return how many links and open files the descriptors of this process allow (row F9)."""
    wanted = (pool.max_connections or MAX_RAISED) + pool.max_half_open_incoming
    limit = raise_descriptor_limit(needed_descriptors(wanted, disk.max_open_files))
    links = links_within(limit, pool.max_connections)
    left = limit - reserved_descriptors(limit) - BASE - links
    newcomers = min(pool.max_half_open_incoming, max(left, links // 4, 1))
    pool = replace(pool, max_connections=links, max_half_open_incoming=newcomers)
    return pool, files_within(limit, disk.max_open_files)
