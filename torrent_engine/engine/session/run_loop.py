"""The task of a started Session: fetch the metadata, then run after run until it is stopped."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from torrent_engine.base.errors import DiskFullError, SessionError, TorrentEngineError
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.os_errors import is_out_of_descriptors
from torrent_engine.engine.dormancy.dormant_links import DormantLinks
from torrent_engine.engine.events import SessionErrored, SessionResumed, SessionStopped
from torrent_engine.engine.resources.connection_slots import SlotShare
from torrent_engine.engine.runs.metadata_run import FetchSettings, MetadataRun
from torrent_engine.engine.runs.parts import RunSettings
from torrent_engine.engine.runs.torrent_run import BETWEEN, REST, TorrentRun
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.metadata import Metadata
from torrent_engine.engine.session.relocation import Relocation
from torrent_engine.engine.states import Signal, State
from torrent_engine.engine.stats import SessionStats
from torrent_engine.engine.swarm.parked_links import ParkedLinks, no_link
from torrent_engine.engine.transfer.handover import Handover

if TYPE_CHECKING:
    from torrent_engine.engine.transfer.progress import RankedPieces

logger = logging.getLogger(__name__)

OPEN_AGAIN_S: Final = 0.5  # ours: others may have given descriptors back by then (row F9)
MANY_WAITS: Final = 20  # ours: who has none for so long is told more clearly
RECHECK: Final = "recheck"
METADATA_ONLY: Final = "metadata"
OF_THE_RUN: Final = frozenset({None, RECHECK, BETWEEN, REST})
"""Reasons to stop a run after which the next one follows."""


class WorkBetweenRuns:
    """Work that the task of the Session does once; its error is raised to the caller."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._done = anyio.Event()
        self._error: Exception | None = None

    async def do(self) -> None:
        """Do the work."""
        try:
            await self._work()
        except Exception as error:
            self._error = error
        except BaseException:
            self._error = SessionError("the shared resources ended before the work was done")
            raise
        finally:
            self._done.set()

    def fail(self, error: Exception) -> None:
        """End without having been done."""
        self._error = error
        self._done.set()

    async def wait(self) -> None:
        """Wait for the end of the work; raises what it raised."""
        await self._done.wait()
        if self._error is not None:
            raise self._error


class EnterDormancy(Protocol):
    """Called after a run that ended for want of work."""

    def __call__(self, run: TorrentRun, *, has_work: bool) -> bool:
        """Return whether the torrent is dormant now; if not, the next run begins."""


class RunLoop:
    """The runs of one torrent, one after the other, in a task that :meth:`start` starts."""

    __slots__ = (
        "_core",
        "_enter_dormancy",
        "_handover",
        "_metadata",
        "_ranked",
        "_relocation",
        "_stats",
        "_waits_for_descriptors",
        "_work",
    )

    def __init__(
        self,
        core: SessionCore,
        metadata: Metadata,
        relocation: Relocation,
        enter_dormancy: EnterDormancy,
        stats: Callable[[], SessionStats],
    ) -> None:
        self._core = core
        self._metadata = metadata
        self._relocation = relocation
        self._enter_dormancy = enter_dormancy
        self._stats = stats
        self._handover: Handover | None = None
        self._ranked: RankedPieces | None = None
        self._work: WorkBetweenRuns | None = None
        self._waits_for_descriptors = 0

    @property
    def has_work(self) -> bool:
        """Whether there is work to be done before the next run."""
        return self._work is not None

    def start(self, handover: Handover | None = None) -> None:
        """Start the task; the first run continues with what is handed over."""
        self._handover = handover
        self._core.shared.start_task(self._run)

    def start_with_links(self, handover: Handover, links: DormantLinks, slots: SlotShare) -> None:
        """Start the task; the first run continues with the links of a dormant torrent, too."""
        self._handover = handover
        self._core.shared.start_task(partial(self._run_with, links, slots))

    async def _run_with(self, links: DormantLinks, slots: SlotShare) -> None:
        with anyio.CancelScope(shield=True):
            kept = await links.hand_over(slots)
        if self._handover is None:
            kept.close()
        else:
            self._handover.links = kept
        await self._run()

    async def _run(self) -> None:
        """Run until stopped or dormant; any error ends in state ERROR and nowhere else."""
        is_dormant = False
        try:
            is_dormant = await self._run_until_stopped()
        except TorrentEngineError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("torrent %s: a bug ended its run", self._core.info_hash.hex())
            self._fail(SessionError(f"internal error: {error!r}"))
        finally:
            if not is_dormant:
                with anyio.CancelScope(shield=True):
                    await self.end()

    async def _run_until_stopped(self) -> bool:
        """Return whether the torrent is dormant now; else it was stopped."""
        core = self._core
        while core.stop_wanted is None:
            await self._relocation.finish_unfinished()
            await self._metadata.load_stored()
            core.claim_other_hash()
            self._ranked = await self._metadata.rank_pieces()
            await self._relocation.settle(core.held_metainfo)
            await self._relocation.go_home(core.held_metainfo)
            await self._metadata.learn_trackers()
            if self._work is not None:  # nothing is awaited from here to the run
                await self.do_work()
                continue  # it may have left a move to be finished, and more work may have come
            metainfo = core.held_metainfo
            if core.stop_wanted is not None:
                break
            if metainfo is None:
                await self._fetch_metadata()
            elif core.config.metadata_only:
                core.stop_wanted = METADATA_ONLY
            elif await self._run_and_rest(metainfo):
                return True
        core.stop_reason = core.stop_wanted
        core.error = None  # it was stopped while the disk was full
        return False

    async def _run_and_rest(self, metainfo: Metainfo) -> bool:
        """Run once; return whether the torrent is dormant after it."""
        try:
            run = await self._run_once(metainfo)
        finally:
            await self._close_handover()
        if run is None:
            return False
        if self._enter_dormancy(run, has_work=self._work is not None):
            return True
        links = ParkedLinks(self._core.shared.connection_slots.share(no_link))
        self._handover = run.hand_over(links)
        return False

    async def _run_once(self, metainfo: Metainfo) -> TorrentRun | None:
        """Run once; return the run if its announces are to go on after it."""
        core = self._core
        core.run = run = self.make_run(metainfo, trust=core.trusts_resume)
        try:
            await run.run()
        except TorrentEngineError as error:
            if run.stop_reason not in OF_THE_RUN:
                raise
            await self._wait_out(error)
        finally:
            if not run.keeps_sources:
                with anyio.CancelScope(shield=True):
                    await run.sources.stop()
        is_to_check = State.CHECKING in {core.state, core.machine.paused_state}
        if run.keeps_sources and not (run.needs_check or is_to_check):
            core.trusts_resume = True  # all was hashed that was to be
        if run.keeps_sources:
            if self._handover is not None:
                self._handover.sources = None
            return run
        if run.stop_reason not in OF_THE_RUN:  # it may have come in a wait after a failed run
            core.stop_wanted = run.stop_reason
        return None

    async def _wait_out(self, error: TorrentEngineError) -> None:
        """Wait until what ended a run may be over; raise it if it does not pass."""
        if isinstance(error, DiskFullError):
            if self._work is None:  # which may be a move to another disk
                await self._wait_for_room(error)
            return
        if not is_out_of_descriptors(error):
            raise error
        self._waits_for_descriptors += 1
        is_long = self._waits_for_descriptors == MANY_WAITS
        level = logging.WARNING if is_long else logging.INFO
        info_hash = self._core.info_hash.hex()
        logger.log(level, "torrent %s: tried again soon: %s", info_hash, error)
        await anyio.sleep(OPEN_AGAIN_S)

    def make_run(self, metainfo: Metainfo, *, trust: bool) -> TorrentRun:
        """Return the next run; with ``trust`` false all data is hashed."""
        core = self._core
        core.room.drop()
        core.room.needed_bytes = min(metainfo.geometry.piece_bytes, metainfo.total_bytes)
        settings = RunSettings(
            metainfo,
            core.save_path,
            core.config,
            core.peer_id,
            core.events,
            core.machine,
            core.totals,
            core.room,
            self._fail,
            partial(self._has_room, Signal.RESUME),
            core.seeding,
            core.times,
            core.rest_config,
            lambda: core.has_readers,
            not (core.fetches_missing or core.config.fetch_missing),
            core.edits,
            self._relocation.download_completed,
            core.storage,
            core.wake_readers,
            self._stats,
            core.tracker_log,
            core.hold_metainfo,
            self._ranked,
        )
        core.fetches_missing = False
        return TorrentRun(settings, core.shared, trust=trust, handover=self._handover)

    async def _fetch_metadata(self) -> None:
        """Ask the swarm for the metadata; its links are kept for the run."""
        core = self._core
        magnet = core.magnet or Magnet(core.info_hash)
        settings = FetchSettings(
            magnet,
            core.edits,
            core.config,
            core.peer_id,
            core.events,
            core.machine,
            self._stats,
            core.tracker_log,
        )
        core.fetch = fetch = MetadataRun(settings, core.shared)
        try:
            await fetch.run()
            self._handover = fetch.handover
            if fetch.metainfo is not None:
                core.claim_other_hash(fetch.metainfo.v2_swarm or fetch.metainfo.v1_swarm)
                await self._metadata.learn(fetch.metainfo, magnet)
            elif fetch.stop_reason is not None:
                core.stop_wanted = fetch.stop_reason
        finally:
            core.fetch = None

    async def _close_handover(self) -> None:
        """Close what an earlier run handed over, as far as no run continued with it."""
        handover, self._handover = self._handover, None
        if handover is not None:
            await handover.close()

    # -- a full disk ----------------------------------------------------------------------------

    async def _wait_for_room(self, error: DiskFullError) -> None:
        """Stay in state ERROR until there is space on the disk; nothing runs meanwhile."""
        self._core.room.begin(error, partial(self._has_room, Signal.START))
        self._fail(error)
        await self._core.room.wait()

    def _has_room(self, signal: Signal) -> None:
        """Leave state ERROR: a new run starts, or the one that waited continues."""
        core = self._core
        core.error = None
        core.machine.fire(signal)
        core.events.publish(SessionResumed(core.info_hash, core.state.value))

    def _fail(self, error: TorrentEngineError) -> None:
        core = self._core
        core.error = error
        core.shared.disk_counts.failed(error)
        core.machine.fire(Signal.FAIL)
        core.events.publish(SessionErrored(core.info_hash, str(error)))

    # -- between two runs -----------------------------------------------------------------------

    def add_work(self, work: Callable[[], Awaitable[None]]) -> WorkBetweenRuns:
        """Return work that is done before the next run."""
        self._work = added = WorkBetweenRuns(work)
        return added

    def fail_work(self, error: Exception) -> None:
        """End the work that was added, undone: no run is to follow."""
        if self._work is not None:
            self._work.fail(error)
            self._work = None

    async def do_work(self) -> None:
        """Do all work that was added."""
        while (work := self._work) is not None:
            self._work = None
            await work.do()

    # -- the end --------------------------------------------------------------------------------

    async def end(self) -> None:
        """End the Session: its state becomes STOPPED unless it is ERROR."""
        try:
            await self._end()
        finally:
            self._core.ended.set()

    async def _end(self) -> None:
        core, shared = self._core, self._core.shared
        core.is_ending = True
        await self._close_handover()
        await self.do_work()  # it came too late for a run to follow it
        core.room.drop()  # another fault may have ended a run that waited
        shared.sessions.remove(core.info_hash)
        shared.router.unregister(core.info_hash)
        if core.error is None:
            if core.machine.can(Signal.STOP):
                core.machine.fire(Signal.STOP)
            core.events.publish(SessionStopped(core.info_hash, core.stop_reason))
        await shared.release()

    def end_dormant(self, say_goodbye: Callable[[], Awaitable[None]]) -> None:
        """End a Session that is dormant, in a task of its own, after ``say_goodbye``."""
        core = self._core

        async def end() -> None:
            with anyio.CancelScope(shield=True):
                try:
                    await say_goodbye()
                finally:
                    core.stop_reason = core.stop_wanted or core.stop_reason
                    await self.end()

        core.shared.start_task(end)
