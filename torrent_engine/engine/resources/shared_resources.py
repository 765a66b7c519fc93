"""Resources that all torrents of a process share: sockets, limits, database, HTTP client.

Ref-counted and single-flight: however many tasks acquire it at once, one start happens; at zero
references everything is closed, in order, exactly once.
"""

import logging
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import anyio.abc

from torrent_engine.base.checks import check_number, check_text
from torrent_engine.base.collector import exempt_living_objects
from torrent_engine.base.config import (
    BencodeLimits,
    SharedConfig,
    torrent_limits,
)
from torrent_engine.base.config.changes import changed_fields, with_fields
from torrent_engine.base.config.manager import SeedingConfig
from torrent_engine.base.errors import BusyError, ClosedError, ConfigError, LocalProtocolError
from torrent_engine.disk.state.store import StateStore
from torrent_engine.engine.discovery.dormant_announcer import DormantAnnouncer
from torrent_engine.engine.discovery.peer_discovery import PeerDiscovery
from torrent_engine.engine.jobs.job_log import JobLog
from torrent_engine.engine.jobs.running_sessions import RunningSessions
from torrent_engine.engine.resources.host_task import HostTask
from torrent_engine.engine.resources.network import Network
from torrent_engine.engine.resources.network_status import network_status
from torrent_engine.engine.resources.pools import Pools
from torrent_engine.engine.resources.privacy import UNREACHABLE_PORT, restricted
from torrent_engine.engine.resources.services import Services, open_services
from torrent_engine.engine.stats import BanRecord, NetworkStatus
from torrent_engine.net.dht.service import DhtService
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.nat.port_mapping import PortMapper
from torrent_engine.net.sockets.name_resolver import LookUp, system_look_up
from torrent_engine.net.tracker.client import TrackerClient
from torrent_engine.policy.addresses import real_address
from torrent_engine.policy.peers.bans import ListedBan

if TYPE_CHECKING:
    from torrent_engine.engine.states import State

logger = logging.getLogger(__name__)

LIVE_FIELDS: Final = frozenset(
    {
        "max_download_bytes_per_s",
        "max_upload_bytes_per_s",
        "pool.max_connections",
        "pool.max_connections_per_torrent",
        "seeding.seed_ratio",
        "seeding.seed_time_s",
        "seeding.seed_idle_s",
        "network.encryption.incoming",
        "network.encryption.outgoing",
    }
)
"""What :meth:`SharedResources.change_config` changes at once."""
UTP_FIELDS: Final = frozenset({"network.utp.incoming", "network.utp.outgoing"})
"""The same, if there is uTP."""
NOT_OPEN: Final = "is not open: use 'async with', or start() and close()"


class _Start:
    """One attempt to open the services; concurrent callers wait for it."""

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
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = restricted(config or SharedConfig())
        self._pools = pools = Pools(
            self.config, clock=clock, rng=rng, look_up=look_up, wall_clock=wall_clock
        )
        self.clock, self.rng = pools.clock, pools.rng
        self.wall_clock = wall_clock
        """Seconds since 1970, for people: nothing is timed by it."""
        self.references = 0
        self._taken_away = 0
        """References whose holders have not released them since a close."""
        self.disk_limiter, self.hash_limiter = pools.disk_limiter, pools.hash_limiter
        self.disk_counts = pools.disk_counts
        self.open_files, self.file_registry = pools.open_files, pools.file_registry
        self.name_foldings = pools.name_foldings
        self.connection_slots, self.run_slots = pools.connection_slots, pools.run_slots
        self.bans, self.dial_limiter = pools.bans, pools.dial_limiter
        self.resolver, self.ip_filter = pools.resolver, pools.ip_filter
        self.external_addresses = pools.external_addresses
        self.link_budget = pools.link_budget
        self.loop_watch = pools.loop_watch
        self.buffers, self.read_buffers = pools.buffers, pools.read_buffers
        self.owners, self.content = pools.owners, pools.content
        self.known_roots = pools.known_roots
        self.local_files = pools.local_files
        self.reflinks = pools.reflinks
        self.seeding_rules = pools.config.seeding
        """When seeding ends, of torrents that have no rule of their own."""
        self.dormant_timers, self.wake_gate = pools.dormant_timers, pools.wake_gate
        self.dormant_links_limiter, self.url_limiter = (
            pools.dormant_links_limiter,
            pools.url_limiter,
        )
        self.router, self.bandwidth = pools.router, pools.bandwidth
        self.session_jobs = pools.session_jobs
        self._tasks: anyio.abc.TaskGroup | None = None
        self._is_leaving = False
        """Whether all is being closed: nothing new may open it."""
        self._services: Services | None = None
        self._starting: _Start | None = None
        self._host: HostTask | None = None
        self._closing = anyio.Event()
        self._closed = anyio.Event()
        self.state_listeners: list[Callable[[Any, State, State], None]] = []
        """Called after each transition of a Session, with its SessionAdmin, old and new state."""
        self.sessions = RunningSessions()

    def __repr__(self) -> str:
        """Return whether it is open, where it listens, and how many torrents it has."""
        services = self._services
        state = "closed" if services is None else f"port {services.listen_port}"
        return f"<SharedResources {state}, {len(self.sessions)} running, {str(self.state_dir)!r}>"

    # -- life -------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Open, as ``async with`` does, in a task of its own: any task may :meth:`close` it.

        Raises BusyError if it is open already, and what opening raises.
        """
        self._refuse_second_start()
        self._host = host = HostTask("SharedResources", self)
        try:
            await host.start()
        except BaseException:
            self._host = None
            raise
        return self

    def _refuse_second_start(self) -> None:
        if self._tasks is not None or (self._host is not None and not self._host.is_entering):
            raise BusyError("SharedResources", "is started already")

    async def __aenter__(self) -> Self:
        """Begin to run tasks, and hold one reference."""
        self._refuse_second_start()
        if self.config.freeze_garbage_collector:
            exempt_living_objects()
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
        tasks, self._is_leaving = self._tasks, True
        try:
            with anyio.CancelScope(shield=True):
                await self._close_all()  # Sessions may need tasks to end
        finally:
            self._tasks, self._is_leaving = None, False
        if tasks is None:
            return None
        tasks.cancel_scope.cancel()
        if isinstance(error, Exception):  # leaves as itself, not in an exception group
            await tasks.__aexit__(None, None, None)
            return None
        return await tasks.__aexit__(kind, error, trace)

    async def acquire(self) -> None:
        """Add a reference; the first one opens the services.

        Raises what the start raised, in every task that waited for it; nothing is left open then,
        and the next call tries again.
        """
        while self._services is None:
            if self._tasks is None or self._is_leaving:
                raise ClosedError("SharedResources", NOT_OPEN)
            if self._starting is None:
                self._starting = _Start()
                self._tasks.start_soon(self._serve, self._starting)
            await self._wait_for(self._starting)
        self.references += 1

    async def _wait_for(self, start: _Start) -> None:
        """Wait for the end of a start, which goes on if one waiting caller is cancelled."""
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
        """Drop a reference; the last one closes the services and waits for that.

        One that :meth:`close` took away may be dropped later: who held it has its own error.
        """
        if self.references <= 0:
            if not self._taken_away:
                raise LocalProtocolError("released more often than acquired")
            self._taken_away -= 1
            return
        self.references -= 1
        if not self.references:
            await self._close_services()

    async def close(self) -> None:
        """Close everything now, whatever references there are; twice is harmless.

        After :meth:`start` this is the end. Raises what ended it, if that was a fault.
        """
        host, self._host = self._host, None
        with anyio.CancelScope(shield=host is not None):
            await (self._close_all() if host is None else host.close())

    async def _close_all(self) -> None:
        async with anyio.create_task_group() as closing:
            for close_session in self.sessions.closers:
                closing.start_soon(close_session)
        if self._starting is not None:
            await self._starting.done.wait()
        self._taken_away += max(self.references - 1, 0)  # one is our own
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
        """Open the services, and keep them open until they are to close, in reverse order."""
        if self._closing.is_set():
            await self._closed.wait()
        self._closing, self._closed = anyio.Event(), anyio.Event()
        try:
            async with AsyncExitStack() as stack:
                try:
                    services = await open_services(stack, self.config, self._pools)
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
            start.error = ClosedError("SharedResources", "it was closed while it started")
        self._starting = None
        start.done.set()

    # -- what is shared ---------------------------------------------------------------------

    @property
    def state_dir(self) -> Path:
        """The folder of the resume database."""
        return self._pools.state_dir

    @property
    def listen_port(self) -> int:
        """The TCP port that accepts peers."""
        return self._open.listen_port

    @property
    def announced_port(self) -> int:
        """The TCP port at which the internet finds us: the gateway may have given another one."""
        return self.external_addresses.mapped_port or self.listen_port or UNREACHABLE_PORT

    @property
    def network(self) -> Network:
        """How peers are reached."""
        return self._open.network

    @property
    def port_mapping(self) -> PortMapper:
        """Port mapping at the gateway; ``status()`` returns the state of each port."""
        return self._open.port_mapping

    @property
    def discovery(self) -> PeerDiscovery:
        """What looks for peers without trackers."""
        return self._open.discovery

    @property
    def announcer(self) -> DormantAnnouncer:
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
    def torrent_limits(self) -> BencodeLimits:
        """Limits for .torrent files that are read. Raises ConfigError."""
        return torrent_limits(self.config.max_torrent_bytes)

    @property
    def http(self) -> HttpClient:
        """What fetches the URLs of torrent files."""
        return self._open.http.trackers

    @property
    def web_seed_http(self) -> HttpClient:
        """What fetches from web seeds."""
        return self._open.http.web_seeds

    @property
    def dht(self) -> DhtService | None:
        """The distributed hash table; None if it is switched off or has no socket."""
        return self._open.dht

    def dht_port(self) -> int | None:
        """Return the UDP port of our DHT node; None without a node or if it is read-only."""
        dht = self._open.dht
        return None if dht is None or self.config.dht.read_only else dht.port or None

    @property
    def _open(self) -> Services:
        if self._services is None:
            raise ClosedError("SharedResources", NOT_OPEN)
        return self._services

    def start_task(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run a Session's task; what it raises, which only a bug does, ends nothing else."""
        if self._tasks is None:
            raise ClosedError("SharedResources", NOT_OPEN)
        self._tasks.start_soon(_run_alone, work)

    def network_status(self) -> NetworkStatus:
        """Return where peers reach us: endpoints, external addresses, mappings, last arrivals."""
        return network_status(self._open, self._pools)

    def ban(self, host: str, seconds: int | None = None) -> None:
        """Have no connections with an address from now on; None: until :meth:`unban`.

        Those that there are end within a second. It is forgotten when the process ends. Raises
        TypeError or ConfigError for what is no literal address.
        """
        if seconds is not None:
            check_number("seconds", seconds)
        ends_s = float("inf") if seconds is None else self.clock() + seconds
        self.bans.ban_host(_literal(host), ends_s)

    def unban(self, host: str) -> bool:
        """End all bans of an address, also those for what its peers did; False if there are none.

        Raises TypeError or ConfigError for what is no literal address.
        """
        return self.bans.unban_host(_literal(host), self.clock())

    def list_bans(self) -> list[BanRecord]:
        """Return the bans that hold, those by :meth:`ban` first."""
        now = self.clock()
        return [_record_of(each, now) for each in self.bans.listed(now)]

    def change_config(self, config: SharedConfig) -> tuple[str, ...]:
        """Take over what can be changed while it is open; return the fields that could not be.

        At once change the limits of rates and connections, the rules that end seeding, and for new
        connections encryption and, if there is uTP at all, its two directions. Other fields stay as
        they are, and are returned by name, such as "listen_port" and "dht.enabled": they need
        another SharedResources. In a manager use :meth:`TorrentManager.change_config`.
        """
        new = restricted(config)
        changed = changed_fields(self.config, new)
        has_utp = self._services is not None and self._services.network.utp is not None
        live = [name for name in changed if name in LIVE_FIELDS or (has_utp and name in UTP_FIELDS)]
        self.config = taken = with_fields(self.config, new, live)
        areas = {name.partition(".")[0] for name in live}
        if not areas.isdisjoint({"max_download_bytes_per_s", "max_upload_bytes_per_s"}):
            self.set_rate_limits(
                download_bytes_per_s=taken.max_download_bytes_per_s,
                upload_bytes_per_s=taken.max_upload_bytes_per_s,
            )
        if "pool" in areas:
            self.set_connection_limits(
                max_connections=taken.pool.max_connections,
                max_connections_per_torrent=taken.pool.max_connections_per_torrent,
            )
        if "seeding" in areas:
            self.seeding_rules = taken.seeding
        if "network" in areas:
            self.router.set_encryption(taken.network.encryption)
            if self._services is not None:
                self._services.network.set_config(taken.network, self.router.incoming)
        return tuple(name for name in changed if name not in live)

    def set_connection_limits(
        self, *, max_connections: int | None = None, max_connections_per_torrent: int | None = None
    ) -> None:
        """Change the limits of :class:`PoolConfig`; connections that are too many are closed.

        None leaves one as it is, and 0 is no limit of all together. Raises TypeError or ConfigError
        for what is no limit. There are never more than the descriptors of the process allow.
        """
        given = {
            "max_connections": max_connections,
            "max_connections_per_torrent": max_connections_per_torrent,
        }
        changes: dict[str, Any] = {name: each for name, each in given.items() if each is not None}
        pool = replace(self.config.pool, **changes)
        self.config = replace(self.config, pool=pool)
        self.connection_slots.per_torrent = pool.max_connections_per_torrent
        if max_connections is not None:
            self._pools.set_max_connections(max_connections)

    def set_seeding_rules(self, rules: SeedingConfig) -> None:
        """Set when torrents stop seeding that have no rules of their own."""
        self.seeding_rules = rules
        self.config = replace(self.config, seeding=rules)

    def set_rate_limits(
        self, *, download_bytes_per_s: int | None = None, upload_bytes_per_s: int | None = None
    ) -> None:
        """Change the limits over all torrents; 0 is unlimited, None leaves as it is."""
        self.bandwidth.set_rate_limits(
            download_bytes_per_s=download_bytes_per_s, upload_bytes_per_s=upload_bytes_per_s
        )
        given = {
            "max_download_bytes_per_s": download_bytes_per_s,
            "max_upload_bytes_per_s": upload_bytes_per_s,
        }
        changes: dict[str, Any] = {name: rate for name, rate in given.items() if rate is not None}
        self.config = replace(self.config, **changes)


async def _run_alone(work: Callable[[], Coroutine[object, object, None]]) -> None:
    try:
        await work()
    except Exception:
        logger.exception("a bug ended a task of a torrent")


def _literal(host: str) -> str:
    """Return a literal address as it is known; an IPv4 one inside IPv6 as IPv4."""
    check_text("host", host)
    try:
        return str(real_address(host))
    except ValueError:
        raise ConfigError(f"host: {host!r:.80} is no IP address") from None


def _record_of(ban: ListedBan, now: float) -> BanRecord:
    name = ban.name
    return BanRecord(
        host=ban.host,
        port=name if isinstance(name, int) else None,
        peer_id=name if isinstance(name, bytes) else None,
        ends_in_s=None if ban.ends_s == float("inf") else ban.ends_s - now,
        is_by_user=ban.is_by_user,
    )
