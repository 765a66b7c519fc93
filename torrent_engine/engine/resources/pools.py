"""Limits, filters and buffers that all torrents share; none of them needs a socket or a file."""

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio

from torrent_engine.base.config import DiskConfig, PoolConfig, SharedConfig
from torrent_engine.disk.disk_counts import DiskCounts
from torrent_engine.disk.files.file_registry import FileRegistry
from torrent_engine.disk.files.open_files import OpenFiles
from torrent_engine.disk.filesystem import NameFoldings
from torrent_engine.disk.local_files import LocalFiles
from torrent_engine.disk.reflinks import Reflinks
from torrent_engine.disk.resume.known_roots import KnownRoots
from torrent_engine.engine.content.shared_content import SharedContent
from torrent_engine.engine.jobs.session_jobs import SessionJobs
from torrent_engine.engine.resources.bandwidth_manager import BandwidthManager
from torrent_engine.engine.resources.connection_slots import ConnectionSlots
from torrent_engine.engine.resources.live_ip_filter import LiveIpFilter
from torrent_engine.engine.resources.loop_watch import LoopWatch
from torrent_engine.engine.resources.owners import Owners
from torrent_engine.engine.resources.privacy import look_up_within
from torrent_engine.engine.resources.read_buffers import ReadBuffers
from torrent_engine.engine.resources.run_slots import RunSlots
from torrent_engine.engine.resources.state_folder import default_state_dir
from torrent_engine.engine.resources.wake_gate import WakeGate
from torrent_engine.engine.timers import DormantTimers
from torrent_engine.net.peers.incoming import IncomingRouter
from torrent_engine.net.peers.link_budget import LinkBudget
from torrent_engine.net.sockets.descriptors import MAX_RAISED, raise_descriptor_limit
from torrent_engine.net.sockets.handshake_limits import HALF_OPEN_PATIENCE_S, HandshakeLimiter
from torrent_engine.net.sockets.name_resolver import LookUp, NameResolver
from torrent_engine.policy.limits.descriptors import (
    BASE,
    files_within,
    links_within,
    needed_descriptors,
    reserved_descriptors,
)
from torrent_engine.policy.limits.operator_links import OperatorLinks
from torrent_engine.policy.peers.bans import BanList
from torrent_engine.policy.peers.dial_limiter import DialLimiter
from torrent_engine.policy.peers.external_address import ExternalAddresses
from torrent_engine.protocol.wire.buffers import BufferPool


class Pools:
    """What all torrents of a process share whether the services are open or not."""

    def __init__(
        self,
        config: SharedConfig,
        *,
        clock: Callable[[], float],
        rng: random.Random | None,
        look_up: LookUp,
        wall_clock: Callable[[], float],
    ) -> None:
        """Build everything from a configuration that :func:`~.privacy.restricted` returned."""
        self.config = config
        self.clock = clock
        self.wall_clock = wall_clock
        self.rng = rng or random.Random(os.urandom(16))  # noqa: S311 - nothing secret is drawn
        disk, rest = config.disk, config.dormancy
        self.disk_limiter = anyio.CapacityLimiter(disk.disk_threads)
        self.hash_limiter = anyio.CapacityLimiter(disk.hash_threads)
        self.url_limiter = anyio.CapacityLimiter(1)
        pool, files, descriptors = _within_descriptors(config.pool, disk)
        self.disk_counts = DiskCounts()
        self.open_files = OpenFiles(files)
        self.name_foldings = NameFoldings()
        self.file_registry = FileRegistry(self.name_foldings, self.state_dir)
        self.connection_slots = ConnectionSlots(
            pool.max_connections,
            HandshakeLimiter(pool.max_half_open_incoming, clock, HALF_OPEN_PATIENCE_S),
            per_torrent=pool.max_connections_per_torrent,
            of_operator=OperatorLinks(pool),
        )
        self.run_slots = RunSlots(descriptors, self.connection_slots)
        self.bans = BanList(config.pool)
        self.dial_limiter = DialLimiter(config.pool)
        self.resolver = NameResolver(look_up_within(config, look_up))
        self.ip_filter = LiveIpFilter(config.network.ip_filter, self.resolver)
        self.external_addresses = ExternalAddresses()
        self.link_budget = LinkBudget(config.wire, clock)
        self.loop_watch = LoopWatch(is_busy=lambda: self.connection_slots.used > 0)
        self.buffers = BufferPool(config.transfer.receive_buffer_bytes)
        self.read_buffers = ReadBuffers()
        self.owners = Owners()
        self.known_roots = KnownRoots()
        self.content = SharedContent(self.known_roots.note)
        self.local_files = LocalFiles(config.disk.local_data)
        self.reflinks = Reflinks()
        self.dormant_timers = DormantTimers(clock)
        self.dormant_links_limiter = HandshakeLimiter(
            min(rest.max_dormant_connections, pool.max_half_open_incoming), clock
        )
        """Links with torrents at rest."""
        self.wake_gate = WakeGate(rest, clock)
        self.router = IncomingRouter(
            config.wire.handshake_timeout_s,
            config.network.encryption,
            pool,
            allows=self.ip_filter.allows,
        )
        self.bandwidth = BandwidthManager(config.bandwidth, clock, self.ip_filter.is_unlimited)
        self.bandwidth.set_rate_limits(
            download_bytes_per_s=config.max_download_bytes_per_s,
            upload_bytes_per_s=config.max_upload_bytes_per_s,
        )
        self.session_jobs = SessionJobs(config.jobs)

    def set_max_connections(self, limit: int) -> None:
        """Change the limit of all connections together, as far as the descriptors allow."""
        wanted = replace(self.config.pool, max_connections=limit)
        pool, _, _ = _within_descriptors(wanted, self.config.disk)
        self.run_slots.set_wanted_links(pool.max_connections)

    @property
    def state_dir(self) -> Path:
        """The folder of the resume database."""
        folder = self.config.state_dir
        return default_state_dir() if folder is None else Path(folder)


def _within_descriptors(pool: PoolConfig, disk: DiskConfig) -> tuple[PoolConfig, int, int]:
    """Return how many links and open files the descriptors of this process allow (row F9).

    The last number is how many descriptors there are.
    """
    wanted = (pool.max_connections or MAX_RAISED) + pool.max_half_open_incoming
    limit = raise_descriptor_limit(needed_descriptors(wanted, disk.max_open_files))
    links = links_within(limit, pool.max_connections)
    left = limit - reserved_descriptors(limit) - BASE - links
    half_open = min(pool.max_half_open_incoming, max(left, links // 4, 1))
    pool = replace(pool, max_connections=links, max_half_open_incoming=half_open)
    return pool, files_within(limit, disk.max_open_files), limit
