"""Many torrents in one process, in the order of a queue, restored after a restart."""

import logging
import os
import random
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc

from torrent_engine.base.checks import ANY_NUMBER, check_number, check_path, check_text
from torrent_engine.base.config import (
    ManagerConfig,
    QueueConfig,
    SeedingConfig,
    SessionConfig,
    SharedConfig,
)
from torrent_engine.base.errors import (
    BusyError,
    ClosedError,
    ConfigError,
    TorrentEngineError,
)
from torrent_engine.base.ids import InfoHash, OwnerTie
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.jobs.job_log import JobLog
from torrent_engine.engine.manager.adding import Added, Adding, SessionMaker, chosen_config
from torrent_engine.engine.manager.feed_follower import FeedFollower
from torrent_engine.engine.manager.follower import MutableTorrentFollower
from torrent_engine.engine.manager.queue import QueueController
from torrent_engine.engine.manager.registry import Registry
from torrent_engine.engine.manager.removing import Removing
from torrent_engine.engine.manager.replacing import Replacing, ReplacingHost
from torrent_engine.engine.manager.restoring import Restoring
from torrent_engine.engine.manager.stats import manager_stats
from torrent_engine.engine.manager.torrent_list import TorrentList
from torrent_engine.engine.resources.host_task import HostTask
from torrent_engine.engine.resources.owners import Owners
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.user_data import checked_user_data
from torrent_engine.engine.session.membership import Member, Membership
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.session.torrent_loader import TorrentSource, parse_info_hash
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import BandwidthGroup, BanRecord, ManagerStats, NetworkStatus
from torrent_engine.net.dht.mutable_torrents import MutableTorrents
from torrent_engine.net.http.torrent_feed import FeedAnswer, FeedValidators, ask_feed

logger = logging.getLogger(__name__)


class TorrentManager:
    """Runs many torrents with one SharedResources; ``async with`` restores them and starts.

    Leaving the block closes all Sessions; the next manager with the same state folder restores
    them in their old states. A second manager with that folder is refused at the same time.
    """

    def __init__(
        self,
        config: ManagerConfig | None = None,
        *,
        shared: SharedResources | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config or ManagerConfig()
        self._owns_shared = shared is None
        self.shared = shared or SharedResources(
            _shared_config(self.config), clock=clock, rng=rng, wall_clock=wall_clock
        )
        self.events = EventBus()
        """What happens to all torrents, to the queue and to the jobs."""
        self._torrents = TorrentList()
        self._queue = QueueController(self._torrents, self.config.queue, self.shared.clock)
        self._registry = Registry(self._torrents, self._queue, self.events)
        membership = Membership(self.shared.config.dormancy, self.events, self._owner_gone)
        maker = SessionMaker(self.shared, self._queue, membership)
        self._adding = Adding(self.config, self.shared, self._torrents, self._registry, maker)
        self._restoring = Restoring(self._registry, maker)
        self._replacing = Replacing(
            ReplacingHost(
                self._torrents, self.add, self.remove_torrent, lambda: self._registry.is_closing
            )
        )
        self._removing = Removing(self._torrents, self._registry)
        self._host: HostTask | None = None
        self._stack = AsyncExitStack()
        self.restored = 0
        """How many torrents were restored at the start."""

    def __repr__(self) -> str:
        """Return whether it is open, and how many torrents it has."""
        registry = self._registry
        state = "closed" if registry.is_closing else "open" if registry.is_open else "not started"
        return f"<TorrentManager {state}, {len(self._torrents)} torrents, {self.shared!r}>"

    # -- life -------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Open, as ``async with`` does, in a task of its own: any task may :meth:`close` it.

        Raises as ``async with`` does.
        """
        self._refuse_second_start()
        self._host = host = HostTask("TorrentManager", self)
        try:
            await host.start()
        except BaseException:
            self._host = None
            raise
        return self

    def _refuse_second_start(self) -> None:
        if self._registry.is_closing:
            raise ClosedError("TorrentManager", "was closed; make another one")
        is_started = self._host is not None and not self._host.is_entering
        if self._registry.is_open or is_started:
            raise BusyError("TorrentManager", "is started already")

    async def __aenter__(self) -> Self:
        """Open the shared resources and restore the torrents of the last run.

        Raises StateInUseError if another manager uses the state folder, BusyError if this one is
        started already, ClosedError if it was closed.
        """
        self._refuse_second_start()
        try:
            await self._enter()
        except BaseException:
            self._registry.discard()
            raise
        return self

    async def _enter(self) -> None:
        async with AsyncExitStack() as stack:
            if self._owns_shared:
                await stack.enter_async_context(self.shared)
            else:
                await self.shared.acquire()
                stack.push_async_callback(self.shared.release)
            store = self.shared.store
            store.claim_manager()
            stack.callback(store.release_manager)
            saving = self._registry.open(store)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            listeners = self.shared.state_listeners
            for listener in (self._registry.state_changed, self._replacing.state_changed):
                listeners.append(listener)
                stack.callback(listeners.remove, listener)
            stack.callback(self.shared.jobs.listen(self.events.publish))
            tasks.start_soon(self.events.run)
            tasks.start_soon(saving.run)
            tasks.start_soon(saving.run_clocks)
            tasks.start_soon(self._queue.run)
            if self.config.restore_torrents:
                try:
                    await self._restoring.restore(store)
                    self.restored = len(self._torrents)
                    tasks.start_soon(self._restoring.learn_facts)
                except BaseException:
                    await self._close_all()
                    raise
            for follow in self._followers():
                tasks.start_soon(follow)
            self._stack = stack.pop_all()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all Sessions, then the shared resources if they are ours."""
        try:
            await self._close_all()
        except Exception:
            await self._stack.aclose()
            raise
        if isinstance(error, Exception):  # leaves as itself, not in an exception group
            await self._stack.aclose()
        else:
            await self._stack.__aexit__(kind, error, trace)

    async def close(self) -> None:
        """Close all Sessions, in order and saved; nothing can be added after it.

        After :meth:`start` this closes the shared resources too, if they are the manager's. Twice
        is harmless. Raises what ended it, if that was a fault.
        """
        host, self._host = self._host, None
        with anyio.CancelScope(shield=True):
            await (self._close_all() if host is None else host.close())

    async def _close_all(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._close_sessions()

    async def _close_sessions(self) -> None:
        registry = self._registry
        if registry.is_closing or not registry.is_open:
            return
        registry.freeze_all()
        store = registry.store
        try:
            with suppress(TorrentEngineError):  # tried again below
                await store.flush()
                await store.save_clocks()
            async with anyio.create_task_group() as tasks:
                for session in self._torrents.unordered:
                    if not session.is_resting:
                        store.changed(session.info_hash)
                    tasks.start_soon(session.close)
            await self._removing.wait()  # that needs the database
            await store.flush()
        finally:
            self._torrents.clear()
            self.events.close()

    # -- adding and removing ------------------------------------------------------------------

    async def add_torrent(  # noqa: PLR0913 - all that may be said of a torrent at its start
        self,
        source: TorrentSource,
        *,
        save_path: str | os.PathLike[str] | None = None,
        config: SessionConfig | None = None,
        owner: OwnerTie | None = None,
        priority: int = 0,
        position: int | None = None,
        paused: bool = False,
        user_data: Mapping[str, str] | None = None,
    ) -> Session:
        """Add a torrent and return its Session, new or not, as :meth:`add` does."""
        added = await self.add(
            source,
            save_path=save_path,
            config=config,
            owner=owner,
            priority=priority,
            position=position,
            paused=paused,
            user_data=user_data,
        )
        return added.session

    async def add(  # noqa: PLR0913 - all that may be said of a torrent at its start
        self,
        source: TorrentSource,
        *,
        save_path: str | os.PathLike[str] | None = None,
        config: SessionConfig | None = None,
        owner: OwnerTie | None = None,
        priority: int = 0,
        position: int | None = None,
        paused: bool = False,
        user_data: Mapping[str, str] | None = None,
    ) -> Added:
        """Add a torrent and start it, paused if ``paused``; tell whether it is new.

        ``source`` is a path, an http(s) URL, a magnet link, an info-hash, the bytes of a .torrent,
        a Metainfo or a Magnet. ``save_path`` and ``config`` are those of the manager if not given;
        ``owner`` ties it to somebody who may go away; ``priority`` and ``position`` are those of
        the queue; ``user_data`` is as in :meth:`Session.set_user_data`. A torrent that is there
        already is returned as it is, with the trackers of both. It is in the database a
        moment later (:meth:`flush`).

        Raises OSError, BencodeError, MetainfoError, MagnetError or HttpError if the torrent cannot
        be read; SessionError if there are ``max_torrents`` already; OwnerChangedError if the
        owner's generation is over; TypeError or ConfigError for other values.
        """
        check_number("priority", priority, ANY_NUMBER)
        if position is not None:
            check_number("position", position)
        if config is not None and not isinstance(config, SessionConfig):
            raise TypeError(f"config: must be a SessionConfig, not {config!r:.80}")
        if save_path is not None:
            check_path("save_path", save_path)
        checked_user_data(user_data or {})
        chosen = chosen_config(config or self.config.session, owner=owner, paused=paused)
        return await self._adding.add(
            source,
            save_path,
            chosen,
            priority=priority,
            position=position,
            user_data=user_data or {},
        )

    async def remove_torrent(
        self, info_hash: InfoHash | str, *, delete_files: bool = False
    ) -> None:
        """End a torrent and remove it; with ``delete_files`` remove its files too.

        Other files in the same folders stay. While the torrent is being removed, another call waits
        for that and has the same outcome. Raises UnknownTorrentError if it is not there,
        StorageError if a file cannot be removed, StateDatabaseError if the database cannot be
        written: the torrent is gone all the same, and the database is written as soon as it can be.
        """
        session = self._registry.find(info_hash)
        await self._removing.remove(session, delete_files=delete_files)

    async def _owner_gone(self, session: Member) -> None:
        """Remove a torrent whose owner has moved on, unless another has taken its place."""
        if self._torrents.get(session.info_hash) is session:
            await self.remove_torrent(session.info_hash)

    # -- what is there ------------------------------------------------------------------------

    def get_session(self, info_hash: InfoHash | str) -> Session | None:
        """Return the Session of a torrent, by its info-hash as bytes or in hexadecimal.

        A hybrid has two, and that of v2 may be cut to 20 bytes. None if it is not there. Raises
        TypeError or ConfigError for what is no info-hash.
        """
        return self._torrents.named(parse_info_hash(info_hash))

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All Sessions, in the order of the queue."""
        return self._torrents.ordered

    @property
    def jobs(self) -> JobLog:
        """The log of jobs: adds, checks, downloads, moves."""
        return self.shared.jobs

    @property
    def owners(self) -> Owners:
        """The present generation of each owner of torrents."""
        return self.shared.owners

    def stats(self) -> ManagerStats:
        """Return the numbers of all torrents together."""
        return manager_stats(self._torrents.unordered, self.shared)

    # -- all at once --------------------------------------------------------------------------

    async def pause_all(self) -> None:
        """Pause every torrent that can be paused."""
        for session in self.sessions:
            if session.can_pause:
                await session.pause()

    async def resume_all(self) -> None:
        """Continue every torrent that is paused."""
        for session in self.sessions:
            if session.state is State.PAUSED:
                await session.resume()

    def _followers(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """Return what looks for newer versions of torrents, and puts them in their places."""
        replacing, shared = self._replacing, self.shared
        keys = MutableTorrentFollower(
            replacing, self._published_torrents, interval_s=shared.config.dht.update_interval_s
        )
        feeds = FeedFollower(self.config.feeds, replacing, self._ask_feed, clock=shared.clock)
        return replacing.run, keys.run, feeds.run

    def _published_torrents(self) -> MutableTorrents | None:
        dht = self.shared.dht
        return None if dht is None else MutableTorrents(dht)

    async def _ask_feed(self, metainfo: Metainfo, known: FeedValidators) -> FeedAnswer:
        shared = self.shared
        return await ask_feed(
            metainfo,
            shared.http,
            known,
            now_s=shared.wall_clock(),
            max_bytes=shared.torrent_limits.max_bytes,
            allow_private=shared.config.web_seed.allow_local,
        )

    # -- network ------------------------------------------------------------------------------

    def network(self) -> NetworkStatus:
        """Return where peers reach us: endpoints, external addresses, mappings, last arrivals."""
        return self.shared.network_status()

    def ban(self, host: str, seconds: int | None = None) -> None:
        """Have no connections with an address; see :meth:`SharedResources.ban`."""
        self.shared.ban(host, seconds)

    def unban(self, host: str) -> bool:
        """End all bans of an address; see :meth:`SharedResources.unban`."""
        return self.shared.unban(host)

    def bans(self) -> list[BanRecord]:
        """Return the bans that hold, those by :meth:`ban` first."""
        return self.shared.list_bans()

    # -- limits and queue ---------------------------------------------------------------------

    def set_rate_limits(
        self, *, download_bytes_per_s: int | None = None, upload_bytes_per_s: int | None = None
    ) -> None:
        """Change the limits over all torrents; 0 is unlimited, None leaves one as it is."""
        self.shared.set_rate_limits(
            download_bytes_per_s=download_bytes_per_s, upload_bytes_per_s=upload_bytes_per_s
        )

    def set_bandwidth_group(
        self,
        name: str,
        *,
        download_bytes_per_s: int | None = None,
        upload_bytes_per_s: int | None = None,
        honors_session_limits: bool | None = None,
    ) -> BandwidthGroup:
        """Change the limits that all torrents of a group share; return the group.

        0 is unlimited, None leaves as it is; a group that is not known is made. It is forgotten
        when the manager closes, while its torrents keep its name. Where a limit over all is shared
        among torrents, a group that has a limit counts as one of them. Raises TypeError or
        ConfigError for a rate that is none, or a name that is empty.
        """
        check_text("name", name)
        if not name:
            raise ConfigError("name: a group needs one")
        bandwidth = self.shared.bandwidth
        given: dict[str, Any] = {
            "download_bytes_per_s": download_bytes_per_s,
            "upload_bytes_per_s": upload_bytes_per_s,
            "honors_session_limits": honors_session_limits,
        }
        changes = {field: value for field, value in given.items() if value is not None}
        bandwidth.set_group(replace(bandwidth.group(name), **changes))
        return bandwidth.group(name)

    def remove_bandwidth_group(self, name: str) -> bool:
        """Remove a group and its limits; False if there is none. Its torrents keep its name."""
        return self.shared.bandwidth.remove_group(name)

    def bandwidth_groups(self) -> tuple[BandwidthGroup, ...]:
        """Return all groups, also those without limits that a torrent has named."""
        return self.shared.bandwidth.groups

    def set_connection_limits(
        self, *, max_connections: int | None = None, max_connections_per_torrent: int | None = None
    ) -> None:
        """Change how many peers all torrents together and each of them may have.

        As :meth:`SharedResources.set_connection_limits`.
        """
        self.shared.set_connection_limits(
            max_connections=max_connections,
            max_connections_per_torrent=max_connections_per_torrent,
        )

    def change_config(self, config: SharedConfig) -> tuple[str, ...]:
        """Take over what can be changed while torrents run; return the fields that could not be.

        As :meth:`SharedResources.change_config`; what is returned needs another manager.
        """
        left = self.shared.change_config(config)
        self.set_seeding_rules(self.shared.seeding_rules)
        return left

    def set_seeding_rules(self, rules: SeedingConfig) -> None:
        """Change when seeding ends, of torrents that have no rule of their own.

        None is no rule. A torrent that a rule has stopped stays stopped.
        """
        self.shared.set_seeding_rules(rules)
        for session in self.sessions:
            session.admin.seeding_rules_changed()

    @property
    def queue_limits(self) -> QueueConfig:
        """How many torrents run at a time, as :meth:`set_queue_limits` set it."""
        return self._queue.config

    def set_queue_limits(
        self,
        *,
        max_active_downloads: int | None = None,
        max_active_seeds: int | None = None,
        max_active: int | None = None,
        max_active_checks: int | None = None,
    ) -> None:
        """Change how many torrents run at a time, as in :class:`QueueConfig`.

        0 is unlimited, None leaves a limit as it is. Torrents that no longer have a place wait,
        those that have one now continue, soon after. Raises TypeError or ConfigError for what is no
        limit.
        """
        given: dict[str, Any] = {
            "max_active_downloads": max_active_downloads,
            "max_active_seeds": max_active_seeds,
            "max_active": max_active,
            "max_active_checks": max_active_checks,
        }
        changes = {name: limit for name, limit in given.items() if limit is not None}
        self._queue.set_config(replace(self._queue.config, **changes))

    def bar_downloads(self, info_hashes: Collection[InfoHash]) -> None:
        """Let these torrents not download until the next call, such as while a disk is full.

        They are queued, soon after, even if they are forced; seeds and checks go on. It is not kept
        over a restart.
        """
        self._queue.bar_downloads(info_hashes)

    def priority(self, info_hash: InfoHash | str) -> int:
        """Return a torrent's priority in the queue; 0 unless it was set."""
        session = self.get_session(info_hash)
        return 0 if session is None else self._torrents.priority(session.info_hash)

    def set_priority(self, info_hash: InfoHash | str, priority: int) -> None:
        """Let a torrent go before those of lower priority; it may be negative.

        Raises UnknownTorrentError if it is not there, TypeError if that is no whole number.
        """
        session = self._registry.find(info_hash)
        check_number("priority", priority, ANY_NUMBER)
        self._registry.set_priority(session.info_hash, priority)

    def position(self, info_hash: InfoHash | str) -> int:
        """Return a torrent's position in the queue, from 0; cheap for very many torrents.

        Raises UnknownTorrentError if it is not there.
        """
        return self._torrents.position(self._registry.find(info_hash).info_hash)

    def move_to(self, info_hash: InfoHash | str, position: int) -> None:
        """Put a torrent at a place in the queue, from 0; those behind the end are the last.

        Raises UnknownTorrentError if it is not there, TypeError or ConfigError for no position.
        """
        session = self._registry.find(info_hash)
        check_number("position", position)
        self._registry.move_to(session.info_hash, position)

    async def flush(self) -> None:
        """Wait until the database has all that was added and changed."""
        await self._registry.store.flush()


def _shared_config(config: ManagerConfig) -> SharedConfig:
    """Return the configuration of the shared resources, with the manager's limits in it."""
    shared = config.shared
    changes: dict[str, Any] = {}
    if config.max_download_bytes_per_s is not None:
        changes["max_download_bytes_per_s"] = config.max_download_bytes_per_s
    if config.max_upload_bytes_per_s is not None:
        changes["max_upload_bytes_per_s"] = config.max_upload_bytes_per_s
    if config.max_connections is not None:
        changes["pool"] = replace(shared.pool, max_connections=config.max_connections)
    return replace(shared, **changes) if changes else shared
