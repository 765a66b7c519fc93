"""Owns the life of one torrent: its state, and what may be asked of it when.

The work is done by its parts: a SessionRun (one run, from the claim on the files to their release)
with a StorageManager, a ResumeKeeper and a Transfer; the EventBus tells who listens.
"""

import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import (
    DiskFullError,
    SessionError,
    StateTransitionError,
    TorrentEngineError,
)
from torrent_engine.base.ids import CLIENT_PREFIX, PeerId
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import (
    SessionErrored,
    SessionPaused,
    SessionResumed,
    SessionStarted,
    SessionStopped,
)
from torrent_engine.engine.file_choice import choose_files
from torrent_engine.engine.kept_metadata import recall
from torrent_engine.engine.metadata_run import FetchSettings, MetadataRun
from torrent_engine.engine.session_run import RunSettings, SessionRun
from torrent_engine.engine.session_waiting import SessionWaiting
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import Signal, State
from torrent_engine.engine.torrent import Totals
from torrent_engine.policy.seeding_clock import SeedingClock

if TYPE_CHECKING:
    from torrent_engine.engine.inheritance import Inheritance

logger = logging.getLogger(__name__)

RECHECK: Final = "recheck"
METADATA_ONLY: Final = "metadata"


class Session(SessionWaiting):
    """One torrent: downloads it, then seeds it; borrows from SharedResources.

    Of a magnet link it asks peers for the metadata first (BEP 9). Make it with :meth:`create`;
    ``async with`` starts it, and closes it at the end.
    """

    def __init__(
        self,
        source: Metainfo | Magnet,
        shared: SharedResources,
        save_path: Path,
        config: SessionConfig,
    ) -> None:
        super().__init__(source, shared, config)
        self.save_path = save_path
        self.events = EventBus()
        self.totals = Totals()
        self._seeding = SeedingClock()
        self._inheritance: Inheritance | None = None
        self._stop_wanted: str | None = None
        self._trusts_resume = True
        self._is_bus_running = False
        self._peer_id = PeerId(CLIENT_PREFIX + os.urandom(12))

    @classmethod
    async def create(
        cls,
        source: Metainfo | Magnet,
        shared: SharedResources,
        *,
        save_path: str | os.PathLike[str],
        config: SessionConfig | None = None,
    ) -> Self:
        """Make a Session that keeps its files below ``save_path``; nothing runs yet."""
        return cls(source, shared, Path(save_path), config or SessionConfig())

    # -- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        with anyio.CancelScope(shield=True):
            await self.close()

    async def start(self) -> None:
        """Begin to check, then to download or seed; returns at once.

        In state ERROR because of a full disk this is :meth:`resume`.
        Raises StateTransitionError if it runs already or is closed, LocalProtocolError if another
        Session of the same torrent runs with the same SharedResources.
        """
        if self._is_disk_full:
            await self.resume()
        else:
            await self._begin(Signal.START, trust=self.config.use_resume)

    async def _begin(self, signal: Signal, *, trust: bool) -> None:
        """Start a run by a signal; with ``trust`` false all the data is hashed."""
        self._check_start(signal)
        self._run = None
        self._ended = anyio.Event()  # from now on who stops it waits for the end
        self._is_ending = False
        self._stop_wanted = None
        self._trusts_resume = trust
        self._started_s = self._shared.clock()
        try:
            await self._claim()
        except BaseException:
            self._ended.set()
            raise
        self._has_run = True
        self.error = None
        self._machine.fire(signal if self.metainfo is not None else Signal.METADATA_NEEDED)
        if self.config.paused:
            self._machine.fire(Signal.PAUSE)
        self.events.publish(SessionStarted(self.info_hash, self.state.value))

    def _check_start(self, signal: Signal) -> None:
        if self._is_closed:
            raise StateTransitionError(f"{signal.name} is not possible: the Session is closed")
        if not self._ended.is_set() or not self._machine.can(signal):
            raise StateTransitionError(f"{signal.name} is not possible while {self.state.value}")

    async def _claim(self) -> None:
        """Take a reference to the shared resources and the torrent's place in them, and begin."""
        await self._shared.acquire()
        try:
            self._shared.register(self.info_hash, self.close)
        except BaseException:
            await self._shared.release()
            raise
        try:
            await self._recall_metadata()
            if not self._is_bus_running:
                self._shared.start_task(self.events.run)
                self._is_bus_running = True
            self._shared.start_task(self._live)
        except BaseException:
            self._shared.unregister(self.info_hash)
            with anyio.CancelScope(shield=True):
                await self._shared.release()
            raise

    async def _recall_metadata(self) -> None:
        """Take the metadata of an earlier run, if there is any."""
        if self.metainfo is None and self._magnet is not None:
            found = await recall(self._shared.store, self._magnet)
            if found is not None:
                self._learn(found, self._magnet)

    async def pause(self) -> None:
        """Let no payload move until :meth:`resume`; peers are disconnected."""
        self._machine.fire(Signal.PAUSE)
        self._interrupt()
        self.events.publish(SessionPaused(self.info_hash))

    async def resume(self) -> None:
        """Go on where :meth:`pause`, or a fault, ended it.

        While the disk is full this tries again at once; else it is done now and then.
        """
        if self.state is State.ERROR:
            if self._is_disk_full:
                self._disk_full.retry()
            else:
                await self.start()
            return
        self._machine.fire(Signal.RESUME)
        self._disk_full.retry()
        self._interrupt()
        self.events.publish(SessionResumed(self.info_hash, self.state.value))

    async def recheck(self) -> None:
        """Hash all the data that is there again; does not trust the resume data.

        A Session that does not run is started by this.
        """
        if self._ended.is_set():
            await self._begin(Signal.RECHECK, trust=False)
            return
        self._machine.fire(Signal.RECHECK)
        self.error = None
        self._trusts_resume = False
        if self._run is not None:
            self._run.stop(RECHECK)
        self._disk_full.drop()

    async def stop(self) -> None:
        """End the run in order: data written, state saved, trackers told (5 s at most)."""
        await self._stop("stopped")

    async def cancel(self, *, delete_files: bool = False) -> None:
        """End the run for good: the torrent is forgotten, its files removed if asked for.

        Files of somebody else in the same folders stay. Raises StorageError if a file cannot be
        removed.
        """
        await self._stop("cancelled", deletes_files=delete_files)
        if self.metainfo is None:
            await self._while_open(self._recall_metadata)
        metainfo, run = self.metainfo, self._run
        if metainfo is None:
            return
        if delete_files and not (run is not None and run.has_deleted_files):
            run = self._make_run(metainfo, trust=True)
            run.deletes_files = True
            run.stop("cancelled")
            await self._while_open(run.run)
        elif not delete_files:
            await self._while_open(lambda: self._shared.store.remove(self.info_hash))

    async def close(self) -> None:
        """Stop, then end the events; the Session cannot be started after that."""
        self._is_closed = True
        await self.stop()
        self._waiters.moved(self.state, self.state)  # who waits for a start waits in vain
        self.events.close()

    async def _stop(self, reason: str, *, deletes_files: bool = False) -> None:
        if not self._ended.is_set():
            self._stop_wanted = self._stop_wanted or reason
            if self._run is not None:
                self._run.deletes_files = self._run.deletes_files or deletes_files
                self._run.stop(reason)
            if self._fetch is not None:
                self._fetch.stop(reason)
            self._disk_full.drop()
        await self._ended.wait()

    async def _while_open(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something with the shared resources for a torrent that does not run."""
        await self._shared.acquire()
        try:
            await work()
        finally:
            with anyio.CancelScope(shield=True):
                await self._shared.release()

    def _interrupt(self) -> None:
        if self._fetch is not None:
            self._fetch.interrupt()
        if self._run is not None:
            self._run.interrupt()

    async def _live(self) -> None:
        """Run until stopped; what goes wrong ends in state ERROR and nowhere else."""
        try:
            await self._run_until_stopped()
        except TorrentEngineError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("torrent %s: a bug ended its run", self.info_hash.hex())
            self._fail(SessionError(f"internal error: {error!r}"))
        finally:
            with anyio.CancelScope(shield=True):
                await self._end()

    async def _run_until_stopped(self) -> None:
        while self._stop_wanted is None:
            if self.metainfo is None:
                await self._fetch_metadata()
            elif self.config.metadata_only:
                self._stop_wanted = METADATA_ONLY
            else:
                try:
                    await self._run_once(self.metainfo)
                finally:
                    await self._close_inheritance()
        self._stop_reason = self._stop_wanted
        self.error = None  # it was stopped while the disk was full

    async def _run_once(self, metainfo: Metainfo) -> None:
        self._run = run = self._make_run(metainfo, trust=self._trusts_resume)
        try:
            await run.run()
        except DiskFullError as error:
            if run.stop_reason is not None:
                raise
            await self._wait_for_room(error)
        if run.stop_reason != RECHECK and run.stop_reason is not None:
            self._stop_wanted = run.stop_reason

    async def _close_inheritance(self) -> None:
        """Part with what came with the metadata, as far as no run went on with it."""
        inheritance, self._inheritance = self._inheritance, None
        if inheritance is not None:
            await inheritance.close()

    async def _fetch_metadata(self) -> None:
        """Ask the swarm what the torrent is; its links are kept for the run."""
        settings = FetchSettings(
            self._magnet or Magnet(self.info_hash),
            self._added_trackers,
            self.config,
            self._peer_id,
            self.events,
            self._machine,
        )
        self._fetch = fetch = MetadataRun(settings, self._shared)
        try:
            await fetch.run()
            self._inheritance = fetch.inheritance
            if fetch.metainfo is not None:
                self._learn(fetch.metainfo, settings.magnet)
            elif fetch.stop_reason is not None:
                self._stop_wanted = fetch.stop_reason
        finally:
            self._fetch = None

    def _learn(self, metainfo: Metainfo, magnet: Magnet) -> None:
        """Take the metadata: from now on this is a torrent as any other."""
        self.config = choose_files(self.config, magnet, metainfo)
        self.metainfo = metainfo

    async def _wait_for_room(self, error: DiskFullError) -> None:
        """Stay in state ERROR until there is room; nothing runs meanwhile."""
        self._disk_full.begin(error, partial(self._has_room, Signal.START))
        self._fail(error)
        await self._disk_full.wait()

    def _has_room(self, signal: Signal) -> None:
        """Leave state ERROR: a new run starts, or the one that waited goes on."""
        self.error = None
        self._machine.fire(signal)
        self.events.publish(SessionResumed(self.info_hash, self.state.value))

    def _make_run(self, metainfo: Metainfo, *, trust: bool) -> SessionRun:
        self._disk_full.drop()
        self._disk_full.needed_bytes = metainfo.geometry.piece_bytes
        settings = RunSettings(
            metainfo,
            self.save_path,
            self.config,
            self._peer_id,
            self.events,
            self._machine,
            self.totals,
            self._disk_full,
            self._fail,
            partial(self._has_room, Signal.RESUME),
            self._seeding,
        )
        run = SessionRun(settings, self._shared, trust=trust, inheritance=self._inheritance)
        for url, tier in self._added_trackers.items():
            run.transfer.trackers.add_tracker(url, tier)
        return run

    def _fail(self, error: TorrentEngineError) -> None:
        self.error = error
        self._machine.fire(Signal.FAIL)
        self.events.publish(SessionErrored(self.info_hash, str(error)))

    async def _end(self) -> None:
        self._is_ending = True
        await self._close_inheritance()
        self._disk_full.drop()  # another fault may have ended a run that waited
        self._shared.unregister(self.info_hash)
        if self.error is None:
            if self._machine.can(Signal.STOP):
                self._machine.fire(Signal.STOP)
            self.events.publish(SessionStopped(self.info_hash, self._stop_reason))
        await self._shared.release()
        self._ended.set()
