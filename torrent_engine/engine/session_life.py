"""Owns the inner life of a Session: what runs between its start and its end, one thing at a time.

The metadata is fetched, then run follows run until it is stopped; what goes wrong is state ERROR.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import RestConfig, SessionConfig
from torrent_engine.base.errors import DiskFullError, SessionError, TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.between_work import BetweenWork
from torrent_engine.engine.confinement import new_peer_id
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import SessionErrored, SessionResumed, SessionStopped
from torrent_engine.engine.file_choice import choose_files
from torrent_engine.engine.inheritance import Inheritance
from torrent_engine.engine.kept_links import KeptLinks, no_link
from torrent_engine.engine.kept_metadata import recall
from torrent_engine.engine.metadata_run import FetchSettings, MetadataRun
from torrent_engine.engine.progress import (
    MANY_FILES,
    RankedPieces,
    check_priorities,
    piece_priorities,
)
from torrent_engine.engine.session_run import BETWEEN, RunSettings, SessionRun
from torrent_engine.engine.session_waiting import SessionWaiting
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import Signal, State
from torrent_engine.policy.seeding_clock import SeedingClock

logger = logging.getLogger(__name__)

RECHECK: Final = "recheck"
METADATA_ONLY: Final = "metadata"


class SessionLife(SessionWaiting):
    """What happens inside while a Session is started."""

    def __init__(
        self,
        source: Metainfo | Magnet | InfoHash,
        shared: SharedResources,
        save_path: Path,
        config: SessionConfig,
    ) -> None:
        super().__init__(source, shared, config)
        self.save_path = save_path
        self.events = EventBus()
        self.events.on_listening = self._run_bus
        self._inheritance: Inheritance | None = None
        self._stop_wanted: str | None = None
        self._trusts_resume = True
        self._is_bus_running = False
        self.is_held = False
        """It waits for its turn in the queue of a TorrentManager."""
        self.is_paused_by_user = False
        self._peer_id = new_peer_id(shared.config)
        self._rests: RestConfig | None = None
        """When it rests; None: never."""
        self._seeding = SeedingClock()
        self._ranked: RankedPieces | None = None
        self._between: BetweenWork | None = None
        self._between_lock: anyio.Lock | None = None

    def _run_bus(self) -> None:
        """Hand out events from now on: a bus that nobody listens to needs no task."""
        if self.events.is_listening and not self._is_bus_running and not self._ended.is_set():
            self._shared.start_task(self.events.run)
            self._is_bus_running = True

    def _launch(self) -> None:
        """Begin to run."""
        self._shared.start_task(self._live)

    async def _live(self) -> None:
        """Run until stopped or at rest; what goes wrong ends in state ERROR and nowhere else."""
        is_resting = False
        try:
            is_resting = await self._run_until_stopped()
        except TorrentEngineError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("torrent %s: a bug ended its run", self.info_hash.hex())
            self._fail(SessionError(f"internal error: {error!r}"))
        finally:
            if not is_resting:
                with anyio.CancelScope(shield=True):
                    await self._end()

    async def _run_until_stopped(self) -> bool:
        """Return whether the torrent rests now; else it was stopped."""
        while self._stop_wanted is None:
            await self._finish_move()
            await self._load_stored()
            await self._rank_pieces()
            if self._between is not None:  # nothing is awaited from here to the run
                await self._do_work_between()
                continue  # it may have left a move to be finished, and more work may have come
            metainfo = self._metainfo
            if self._stop_wanted is not None:
                break
            if metainfo is None:
                await self._fetch_metadata()
            elif self.config.metadata_only:
                self._stop_wanted = METADATA_ONLY
            else:
                try:
                    kept = await self._run_once(metainfo)
                finally:
                    await self._close_inheritance()
                if kept is not None and self._lie_down(kept):
                    return True
        self._stop_reason = self._stop_wanted
        self.error = None  # it was stopped while the disk was full
        return False

    async def _load_stored(self) -> None:
        """Read the metainfo that the database keeps for a torrent at rest.

        Raises SessionError if it is not there whole: there is nothing to go on with.
        """
        if self._metainfo is None and self._is_stored:
            self._metainfo = await anyio.to_thread.run_sync(self._read_stored)
            if self._metainfo is None:
                message = "its .torrent in the state folder is missing or damaged; add it again"
                raise SessionError(message)

    async def _rank_pieces(self) -> None:
        """Work out which pieces the chosen files need; of very many files in a thread."""
        metainfo, priorities = self._metainfo, self.config.file_priorities
        self._ranked = None
        if metainfo is None or priorities is None or len(priorities) < MANY_FILES:
            return
        check_priorities(metainfo, priorities)
        pieces = await anyio.to_thread.run_sync(piece_priorities, metainfo, priorities)
        self._ranked = RankedPieces(priorities, pieces)

    async def _run_once(self, metainfo: Metainfo) -> SessionRun | None:
        """Run once; return the run if its talk with the trackers is to go on after it."""
        self._metainfo = metainfo
        self._run = run = self._make_run(metainfo, trust=self._trusts_resume)
        try:
            await run.run()
        except DiskFullError as error:
            if run.stop_reason is not None:
                raise
            await self._wait_for_room(error)
        finally:
            if not run.keeps_sources:
                with anyio.CancelScope(shield=True):
                    await run.transfer.sources.stop()
        is_to_check = State.CHECKING in {self.state, self._machine.paused_state}
        if run.keeps_sources and not (run.check.is_needed or is_to_check):
            self._trusts_resume = True  # all was hashed that was to be
        if run.keeps_sources:
            if self._inheritance is not None:
                self._inheritance.sources = None
            return run
        if run.stop_reason not in {RECHECK, None}:
            self._stop_wanted = run.stop_reason
        return None

    def _lie_down(self, run: SessionRun) -> bool:
        """Rest after a run, or let the next one go on with its talk with the trackers."""
        transfer = run.transfer
        links = KeptLinks(self._shared.connection_slots.share(no_link))
        self._inheritance = Inheritance(links, transfer.pool.candidates, transfer.sources, None)
        return False

    # -- between two runs -------------------------------------------------------------------

    async def _between_runs(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something while no run holds the files, then go on in the old state.

        Raises what ``work`` raises; the Session goes on all the same. One at a time.
        """
        if self._between_lock is None:
            self._between_lock = anyio.Lock()
        async with self._between_lock:
            if self._is_ending:
                await self._ended.wait()  # nobody does work between any more
            if self._ended.is_set():
                await self._while_open(work)
                return
            if self._fetch is not None:
                await work()
                return
            self._between = between = BetweenWork(work)
            self._disk_full.retry()  # what waits for room is no run, and begins with the work
            if self._run is not None:
                self._run.stop(BETWEEN)
            self._wake()
            await between.wait()

    async def _do_work_between(self) -> None:
        while (between := self._between) is not None:
            self._between = None
            await between.do()

    async def _close_inheritance(self) -> None:
        """Part with what an earlier run left, as far as no run went on with it."""
        inheritance, self._inheritance = self._inheritance, None
        if inheritance is not None:
            await inheritance.close()

    async def _fetch_metadata(self) -> None:
        """Ask the swarm what the torrent is; its links are kept for the run."""
        settings = FetchSettings(
            self._magnet or Magnet(self.info_hash),
            dict(self._edits.trackers),
            self.config,
            self._peer_id,
            self.events,
            self._machine,
        )
        self._fetch = fetch = MetadataRun(settings, self._shared)
        self._edits.apply_to_trackers(fetch.sources.trackers)
        try:
            await fetch.run()
            self._inheritance = fetch.inheritance
            if fetch.metainfo is not None:
                await self._learn(fetch.metainfo, settings.magnet)
            elif fetch.stop_reason is not None:
                self._stop_wanted = fetch.stop_reason
        finally:
            self._fetch = None

    async def _learn(self, metainfo: Metainfo, magnet: Magnet) -> None:
        """Take the metadata: from now on this is a torrent as any other.

        Where there are very many files, they are chosen in a thread.
        """
        choose = partial(choose_files, magnet=magnet, metainfo=metainfo)
        if len(metainfo.files) < MANY_FILES:
            chosen = choose(self.config)
        else:
            before = None
            while self.config is not before:  # it may be changed meanwhile
                before = self.config
                chosen = await anyio.to_thread.run_sync(choose, before)
        self.config = chosen
        self._metainfo = metainfo

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
            self._rests,
            lambda: self._run_users > 0 or bool(self._readings),
            self._ranked,
        )
        run = SessionRun(settings, self._shared, trust=trust, inheritance=self._inheritance)
        self._edits.apply_to_trackers(run.transfer.trackers)
        self._edits.apply_to_web_seeds(run.transfer.web_seeds)
        return run

    def _fail(self, error: TorrentEngineError) -> None:
        self.error = error
        self._machine.fire(Signal.FAIL)
        self.events.publish(SessionErrored(self.info_hash, str(error)))

    async def _end(self) -> None:
        self._is_ending = True
        await self._close_inheritance()
        await self._do_work_between()  # it came too late for a run to go on after it
        self._disk_full.drop()  # another fault may have ended a run that waited
        self._shared.unregister(self.info_hash)
        self._shared.router.unregister(self.info_hash)
        if self.error is None:
            if self._machine.can(Signal.STOP):
                self._machine.fire(Signal.STOP)
            self.events.publish(SessionStopped(self.info_hash, self._stop_reason))
        await self._shared.release()
        self._ended.set()

    async def _recall_metadata(self) -> None:
        """Take the metadata of an earlier run, if there is any."""
        if self._metainfo is None and self._magnet is not None and not self._is_stored:
            found = await recall(self._shared.store, self._magnet)
            if found is not None:
                await self._learn(found, self._magnet)

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
