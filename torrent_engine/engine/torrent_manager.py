"""Owns many torrents in one process: a Session each, in an order, restored after a restart."""

import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc

from torrent_engine.base.config import ManagerConfig, SessionConfig
from torrent_engine.base.errors import LocalProtocolError, SessionError, TorrentEngineError
from torrent_engine.base.ids import InfoHash, OwnerTie
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.session_table import SessionRecord
from torrent_engine.engine import manager_parts
from torrent_engine.engine.event_bus import EventBus, EventStream, Subscription
from torrent_engine.engine.job_log import JobLog
from torrent_engine.engine.manager_records import SavedSession, settings_of
from torrent_engine.engine.manager_stats import ManagerStats, manager_stats
from torrent_engine.engine.manager_store import ManagerStore
from torrent_engine.engine.owners import Owners
from torrent_engine.engine.queue_keeper import QueueKeeper
from torrent_engine.engine.session import Session
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import State
from torrent_engine.engine.torrent_source import Source, load_torrent
from torrent_engine.policy.queue_positions import QueuePositions

logger = logging.getLogger(__name__)


class TorrentManager:
    """Runs many torrents with one SharedResources; ``async with`` restores them and starts.

    Leaving the block closes all Sessions; the next manager with the same state folder takes them
    up again in their old states. A second manager with that folder is refused at the same time.
    """

    def __init__(
        self,
        config: ManagerConfig | None = None,
        *,
        shared: SharedResources | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.config = config or ManagerConfig()
        self._owns_shared = shared is None
        self.shared = shared or SharedResources(
            manager_parts.shared_config(self.config), clock=clock, rng=rng
        )
        self.events = EventBus()
        self._sessions: dict[InfoHash, Session] = {}
        self._positions: QueuePositions[InfoHash] = QueuePositions()
        self._order: tuple[Session, ...] | None = None
        self._priorities: dict[InfoHash, int] = {}
        self._frozen: dict[InfoHash, State] = {}
        """The states that are to be restored, once the manager is closing."""
        self._folders: dict[str, Path] = {}
        """Most torrents share one; a Path is a kilobyte."""
        self._is_closing = False
        self._is_restoring = False
        self._records: ManagerStore | None = None
        self._queue = QueueKeeper(self, self.config.queue, self.shared.clock)
        self._stack = AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self.restored = 0
        """How many torrents were taken up again at the start."""

    # -- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the shared resources and take up the torrents of the last run.

        Raises StateDatabaseError if another manager uses the state folder.
        """
        async with AsyncExitStack() as stack:
            if self._owns_shared:
                await stack.enter_async_context(self.shared)
            else:
                await self.shared.acquire()
                stack.push_async_callback(self.shared.release)
            store = self.shared.store
            store.claim_manager()
            stack.callback(store.release_manager)
            self._records = ManagerStore(store, self._record, self._stored)
            self._tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(self._tasks.cancel_scope.cancel)
            self.shared.session_hearers.append(self._moved)
            stack.callback(self.shared.session_hearers.remove, self._moved)
            self._tasks.start_soon(self.events.run)
            self._tasks.start_soon(self._records.run)
            self._tasks.start_soon(self._queue.run)
            if self.config.restores:
                try:
                    await self._restore()
                except BaseException:
                    await self.close()
                    raise
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all Sessions, then the shared resources if they are ours."""
        try:
            await self.close()
        except Exception:
            await self._stack.aclose()
            raise
        if isinstance(error, Exception):  # leaves as itself, not in an exception group
            await self._stack.aclose()
        else:
            await self._stack.__aexit__(kind, error, trace)

    async def close(self) -> None:
        """Close all Sessions, in order and saved; nothing can be added after it."""
        with anyio.CancelScope(shield=True):
            await self._close_sessions()

    async def _close_sessions(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self._frozen = {key: each.state for key, each in self._sessions.items()} | self._frozen
        records = self._open
        try:
            with suppress(TorrentEngineError):  # tried again below
                await records.flush()
            async with anyio.create_task_group() as tasks:
                for info_hash, session in self._sessions.items():
                    if not session.is_resting:
                        records.changed(info_hash)
                    tasks.start_soon(session.close)
            await records.flush()
        finally:
            self._sessions.clear()
            self.events.close()

    @property
    def _open(self) -> ManagerStore:
        if self._records is None:
            raise LocalProtocolError("TorrentManager is used outside its 'async with' block")
        return self._records

    # -- adding and removing ------------------------------------------------------------------

    async def add_torrent(self, source: Source, **options: Any) -> Session:  # noqa: ANN401
        """Add a torrent by its path, its http(s) URL, its bytes, a magnet link or an info-hash.

        Options are those of :meth:`add_torrent_file`. Raises OSError, BencodeError, MetainfoError,
        MagnetError or HttpError if it cannot be read.
        """
        return await self._add(await load_torrent(source, self.shared.http), **options)

    async def add_torrent_file(self, metainfo: Metainfo, **options: Any) -> Session:  # noqa: ANN401
        """Add a torrent that is read already, and start it.

        ``save_path`` and ``config`` (SessionConfig) are those of the manager if not given;
        ``owner`` ties it to somebody (OwnerTie), ``priority`` and ``position`` are those of the
        queue, ``overwrite`` and ``allow_hidden`` are as in SessionConfig. One that is there already
        is returned as it is, with the trackers of both. It is in the database a moment later
        (:meth:`flush`). Raises SessionError if there are ``max_torrents`` already,
        OwnerChangedError if the owner's generation is over.
        """
        return await self._add(metainfo, **options)

    async def add_magnet(self, link: str | Magnet, **options: Any) -> Session:  # noqa: ANN401
        """Add a magnet link or an info-hash; as :meth:`add_torrent_file`. Raises MagnetError."""
        return await self._add(Magnet.parse(link) if isinstance(link, str) else link, **options)

    async def _add(  # noqa: PLR0913 - all that may be said of a torrent at its start
        self,
        torrent: Metainfo | Magnet,
        *,
        save_path: str | os.PathLike[str] | None = None,
        config: SessionConfig | None = None,
        owner: OwnerTie | None = None,
        priority: int = 0,
        position: int | None = None,
        overwrite: bool = False,
        allow_hidden: bool = False,
    ) -> Session:
        if (known := self._sessions.get(torrent.info_hash)) is not None:
            manager_parts.merge_trackers(known, torrent)
            return known
        self._check_room()
        chosen = config or self.config.session
        chosen = chosen if owner is None else replace(chosen, owner=owner)
        if overwrite or allow_hidden:
            chosen = replace(
                chosen,
                overwrite=overwrite or chosen.overwrite,
                allow_hidden=allow_hidden or chosen.allow_hidden,
            )
        self.shared.owners.check(chosen.owner)
        name = os.fspath(self.config.save_path if save_path is None else save_path)
        session = await self._make(torrent, self._folder(name), chosen)
        self._place(session, priority, position)
        try:
            await session.start()
        except BaseException:
            self._forget(torrent.info_hash)
            raise
        self.shared.session_jobs.added(torrent)
        self._open.changed(torrent.info_hash)
        return session

    def _folder(self, name: str) -> Path:
        return self._folders.setdefault(name, Path(name))

    def _check_room(self) -> None:
        limit = self.config.max_torrents
        if self._is_closing or self._records is None:
            raise LocalProtocolError("TorrentManager is used outside its 'async with' block")
        if limit and len(self._sessions) >= limit:
            raise SessionError(f"there are {limit} torrents already, and no more may be")

    async def _make(
        self, source: Metainfo | Magnet | InfoHash, folder: Path, config: SessionConfig
    ) -> Session:
        session = await Session.create(source, self.shared, save_path=folder, config=config)
        session.events.parent = self.events
        session.allow_rest(self.shared.config.rest, is_stored=isinstance(source, bytes))
        session.is_held = self._queue.has_limits
        session.on_owner_gone = self.remove_torrent
        return session

    def _place(self, session: Session, priority: int, position: int | None, place: int = 0) -> None:
        self._sessions[session.info_hash] = session
        if priority:
            self._priorities[session.info_hash] = priority
        self._positions.add(session.info_hash, position)
        self._open.appended(session.info_hash, place)
        if position is not None:
            self._open.reordered(self._positions.order())
        self._order = None
        self._queue.changed()

    def _forget(self, info_hash: InfoHash) -> None:
        self._sessions.pop(info_hash, None)
        self._priorities.pop(info_hash, None)
        self._positions.remove(info_hash)
        self._open.forget(info_hash)
        self._order = None
        self._queue.changed()

    async def remove_torrent(self, info_hash: InfoHash, *, delete_files: bool = False) -> None:
        """End a torrent and forget it; with ``delete_files`` remove its files too.

        Files of others in the same folders stay. Raises KeyError if it is not there, StorageError
        if a file cannot be removed.
        """
        session = self._sessions[info_hash]
        with anyio.CancelScope(shield=True):
            try:
                await session.cancel(delete_files=delete_files)
            finally:
                if self._sessions.get(info_hash) is session:  # else somebody else removed it
                    self._forget(info_hash)
                    await session.close()
                    await self._open.remove(info_hash)

    # -- what is there ------------------------------------------------------------------------

    def get_session(self, info_hash: InfoHash) -> Session | None:
        """Return the Session of a torrent; None if it is not there."""
        return self._sessions.get(info_hash)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """All Sessions, in the order of the queue."""
        if self._order is None:
            self._order = tuple(self._sessions[each] for each in self._positions.order())
        return self._order

    @property
    def jobs(self) -> JobLog:
        """The records of what is done."""
        return self.shared.jobs

    @property
    def owners(self) -> Owners:
        """The generations of those for whom torrents are."""
        return self.shared.owners

    def stats(self) -> ManagerStats:
        """Return the numbers of all torrents together."""
        return manager_stats(self._sessions.values(), self.shared)

    # -- all at once --------------------------------------------------------------------------

    async def pause_all(self) -> None:
        """Pause every torrent that can be paused."""
        for session in self.sessions:
            if not session.is_paused_by_user and session.state not in {State.STOPPED, State.ERROR}:
                await session.pause()

    async def resume_all(self) -> None:
        """Let all go on that are paused."""
        for session in self.sessions:
            if session.state is State.PAUSED:
                await session.resume()

    def subscribe_all(self, event_type: str, subscriber: Callable[[Any], object]) -> Subscription:
        """Call ``subscriber(event)`` for the events of all torrents; as EventBus.subscribe."""
        return self.events.subscribe(event_type, subscriber)

    def stream_all(self, *types: str, max_queue: int = 10_000) -> EventStream:
        """Return a stream of the events of all torrents; as EventBus.stream."""
        return self.events.stream(*types, max_queue=max_queue)

    # -- limits and queue ---------------------------------------------------------------------

    def set_limits(
        self, *, download_bytes_per_s: int | None = None, upload_bytes_per_s: int | None = None
    ) -> None:
        """Change the limits over all torrents; 0 is unlimited, None leaves as it is."""
        self.shared.set_rate_limits(
            download_bytes_per_s=download_bytes_per_s, upload_bytes_per_s=upload_bytes_per_s
        )

    def priority(self, info_hash: InfoHash) -> int:
        """Return a torrent's priority in the queue; 0 unless it was set."""
        return self._priorities.get(info_hash, 0)

    def set_priority(self, info_hash: InfoHash, priority: int) -> None:
        """Let a torrent go before those of lower priority; KeyError if it is not there."""
        session = self._sessions[info_hash]
        self._priorities[session.info_hash] = priority
        self._open.changed(info_hash)
        self._queue.changed()

    def move_to(self, info_hash: InfoHash, position: int) -> None:
        """Put a torrent at a place in the queue, from 0; KeyError if it is not there."""
        self._positions.move_to(info_hash, position)
        self._order = None
        self._open.reordered(self._positions.order())
        self._queue.changed()

    async def flush(self) -> None:
        """Wait until the database has all that was added and changed."""
        await self._open.flush()

    # -- the database -------------------------------------------------------------------------

    def _moved(self, session: Session, old: State, new: State) -> None:
        """Hear of a move of a Session, perhaps of somebody else's."""
        if self._sessions.get(session.info_hash) is not session or self._is_closing:
            return
        if not self._is_restoring:
            self._frozen.pop(session.info_hash, None)
            self._open.changed(session.info_hash)
            self._queue.moved(session, old, new)

    def _record(self, info_hash: InfoHash) -> SessionRecord | None:
        if (session := self._sessions.get(info_hash)) is None:
            return None
        state = self._frozen.get(info_hash)
        settings = settings_of(session, priority=self.priority(info_hash), state=state)
        is_known = self._open.has_metainfo(info_hash)
        metainfo = None if is_known else session.metainfo
        source = b"" if metainfo is None else metainfo.source
        return SessionRecord(info_hash, self._open.place_of(info_hash), settings, source)

    def _stored(self, info_hash: InfoHash) -> None:
        if (session := self._sessions.get(info_hash)) is not None:
            session.metainfo_is_stored()

    async def _restore(self) -> None:
        self._is_restoring = True
        try:
            for record, saved in await manager_parts.saved_torrents(self.shared.store):
                await self._restore_one(record, saved)
        finally:
            self._is_restoring = False
        self.restored = len(self._sessions)

    async def _restore_one(self, record: SessionRecord, saved: SavedSession) -> None:
        """Take up one torrent; a fault of one reaches no other."""
        info_hash = record.info_hash
        try:
            session = await self._make_again(info_hash, saved)
            self._place(session, saved.priority, None, record.position)
            self._frozen[info_hash] = saved.state  # what is written down until it is started
            await manager_parts.start_again(session, saved)
            del self._frozen[info_hash]
        except Exception:
            logger.exception("torrent %s was not taken up again", info_hash.hex())

    async def _make_again(self, info_hash: InfoHash, saved: SavedSession) -> Session:
        is_link = saved.magnet is not None and saved.facts is None
        source = (saved.magnet if is_link else None) or info_hash
        session = await self._make(source, self._folder(saved.save_path), saved.config)
        if not is_link:
            self._open.restored([info_hash])
        session.take_up(saved)
        return session
