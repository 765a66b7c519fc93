"""Owns one run of a torrent, from its claim on the files to their release.

A run goes through phases, one at a time: check, transfer, pause. Whoever changes the state of the
Session ends the present phase with :meth:`SessionRun.interrupt`; the loop looks what is next.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread

from torrent_engine.base.config import RestConfig, SessionConfig
from torrent_engine.base.errors import DiskFullError, TorrentEngineError
from torrent_engine.base.ids import PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_names import settle_names
from torrent_engine.disk.resume import ResumeKeeper
from torrent_engine.disk.start_plan import StartPlan
from torrent_engine.disk.storage import StorageManager
from torrent_engine.engine.assembly import PieceAssembly
from torrent_engine.engine.disk_full import DiskFull
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import SessionCompleted
from torrent_engine.engine.file_choice import renames
from torrent_engine.engine.file_claims import FileClaims
from torrent_engine.engine.idleness import Idleness
from torrent_engine.engine.inheritance import Inheritance
from torrent_engine.engine.owners import OWNER_CHANGED
from torrent_engine.engine.progress import (
    Progress,
    RankedPieces,
    check_priorities,
    piece_priorities,
    skipped_by,
)
from torrent_engine.engine.removal import remove_files
from torrent_engine.engine.run_check import RunCheck
from torrent_engine.engine.saved_totals import SavedTotals
from torrent_engine.engine.seeding_rules import SeedingRules, rules_of
from torrent_engine.engine.session_stats import stats_event
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import Signal, State, StateMachine
from torrent_engine.engine.torrent import Torrent, Totals
from torrent_engine.engine.transfer import Transfer, TransferCallbacks
from torrent_engine.policy.picker import Picker
from torrent_engine.policy.pieces import PieceTable
from torrent_engine.policy.seeding_clock import SeedingClock
from torrent_engine.policy.suspicion import Suspicion

logger = logging.getLogger(__name__)

REST: Final = "rest"
BETWEEN: Final = "between"
SAVE_AGAIN_S: Final = 1.0  # ours: between two tries to save while it is checked
SETTLE_TIMEOUT_S: Final = 30.0  # ours: what is queued for the disk is written within this


@dataclass(slots=True)
class RunSettings:
    """What a Session hands to each of its runs."""

    metainfo: Metainfo
    save_path: Path
    config: SessionConfig
    peer_id: PeerId
    bus: EventBus
    machine: StateMachine
    totals: Totals
    disk_full: DiskFull
    on_waiting: Callable[[DiskFullError], None]
    """The state is to be ERROR while the run waits for room."""
    on_room: Callable[[], None]
    """The state is to be what it was before that."""
    seeding: SeedingClock
    rests: RestConfig | None
    """When the run ends for want of work; None: never."""
    is_needed: Callable[[], bool]
    """Whether somebody wants it to go on without work."""
    ranked: RankedPieces | None = None
    """The priorities of the pieces, if a thread has worked them out."""


class SessionRun:
    """Runs one torrent once."""

    def __init__(
        self,
        settings: RunSettings,
        shared: SharedResources,
        *,
        trust: bool,
        inheritance: Inheritance | None = None,
    ) -> None:
        self.stop_reason: str | None = None
        self.failure: TorrentEngineError | None = None
        self.deletes_files = False
        self.has_deleted_files = False
        self._settings = settings
        self._shared = shared
        self._trust = trust
        self._phase = anyio.CancelScope()
        self._started_s = shared.clock()
        config, metainfo = settings.config, settings.metainfo
        self.all_totals = SavedTotals(shared.store, metainfo.info_hash, settings.totals)
        self.progress = Progress(metainfo)
        rules = rules_of(config, shared.config.seeding)
        self.seeding = SeedingRules(rules, settings.seeding, self.all_totals, self.progress)
        priorities = self.progress.set_priorities(config.file_priorities, settings.ranked)
        self.torrent = self._make_torrent()
        self.torrent.picker.set_priorities(priorities)
        self._keeper = ResumeKeeper(
            shared.store, self.torrent.storage, metainfo, shared.config.disk, shared.clock
        )
        self._claims = FileClaims(
            shared.file_registry,
            shared.store,
            self.torrent.storage,
            self.progress,
            self._keeper,
            overwrite=config.overwrite,
        )
        self.transfer = Transfer(
            self.torrent,
            shared,
            self._keeper,
            self.progress,
            TransferCallbacks(self._on_complete, self._on_second, self._refused),
            inheritance,
        )
        self.check = RunCheck(self.torrent, self._keeper, shared)
        self._idleness = None if settings.rests is None else Idleness(self, settings)

    def _make_torrent(self) -> Torrent:
        settings, shared = self._settings, self._shared
        metainfo = settings.metainfo
        table = PieceTable(metainfo.geometry)
        storage = StorageManager(
            metainfo,
            settings.save_path,
            disk_limiter=shared.disk_limiter,
            config=shared.config.disk,
            renames=renames(settings.config),
            skipped=self.progress.skipped_files(),
            open_files=shared.open_files,
            overwrite=settings.config.overwrite,
            allow_hidden=settings.config.allow_hidden,
        )
        return Torrent(
            info_hash=metainfo.info_hash,
            metainfo=metainfo,
            config=settings.config,
            shared_config=shared.config,
            peer_id=settings.peer_id,
            storage=storage,
            table=table,
            picker=Picker(
                metainfo.geometry, table, shared.rng, is_sequential=settings.config.sequential
            ),
            suspicion=Suspicion(),
            bus=settings.bus,
            peers=set(),
            totals=settings.totals,
            buffers=shared.buffers,
            link_budget=shared.link_budget,
            read_buffers=shared.read_buffers,
            clock=shared.clock,
            rng=shared.rng,
        )

    # -- the run ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until told to stop or until something fails, which is raised at the end."""
        storage, keeper, shared = self.torrent.storage, self._keeper, self._shared
        await settle_names(storage, shared.store, shared.name_foldings)
        await storage.open(create=not self._settings.config.check_only, makes_empty=False)
        try:
            await self._claims.enter()
            self._apply(await keeper.plan(trust=self._trust))
            self.transfer.reads.open()
            try:
                await self.all_totals.load()
                await self._run_tasks()
            finally:
                await self._save_last(self._keeper.close)
            if self.deletes_files or self.torrent.is_abandoned:
                machine, removes_all = self._settings.machine, self.deletes_files
                await remove_files(
                    self.torrent,
                    machine,
                    keeper.earlier,
                    removes_all=removes_all,
                    shared=await self._claims.shared(),
                )
                await shared.store.remove(self._settings.metainfo.info_hash)
                self.has_deleted_files = True
        finally:
            self._claims.leave()
            with anyio.CancelScope(shield=True):
                await self.transfer.reads.close()
                await storage.close()
        if self.failure is not None:
            raise self.failure

    def _apply(self, plan: StartPlan) -> None:
        self.check.begin(plan)
        self.transfer.proof.take_doubts()
        self.progress.recount(self.torrent.table.have)
        machine = self._settings.machine
        if State.CHECKING in {machine.state, machine.paused_state}:
            return
        if machine.state in {State.STOPPED, State.ERROR}:
            return  # it does not run: its files are to be removed
        if self.check.is_needed:  # after a rest, and files have changed meanwhile
            machine.fire(Signal.RECHECK)
        else:
            self._look_at_state()
            self.check.restore_partial(self.transfer)

    def _look_at_state(self) -> None:
        """Let the state be what the pieces say."""
        machine = self._settings.machine
        if not self.progress.is_complete and machine.can(Signal.PIECES_MISSING):
            machine.fire(Signal.PIECES_MISSING)

    async def _run_tasks(self) -> None:
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            self.transfer.finisher.start_task = self._start_finishing
            tasks.start_soon(self.transfer.writer.run)
            tasks.start_soon(self._keep_saving, self._keeper.run)
            tasks.start_soon(self._keep_saving, self.all_totals.run)
            await self._phases()
            await self._part_from_swarm()
            with anyio.move_on_after(SETTLE_TIMEOUT_S, shield=True):
                await self.transfer.writer.drain()
                await self._save_last(self.all_totals.save)
            tasks.cancel_scope.cancel()

    def _start_finishing(
        self, work: Callable[[PieceAssembly], Awaitable[None]], assembly: PieceAssembly
    ) -> None:
        async def finish() -> None:
            await work(assembly)

        self._tasks.start_soon(self._guard, finish)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run one of our tasks; what it raises ends the run."""
        try:
            await work()
        except TorrentEngineError as error:
            self.fail(error)

    async def _keep_saving(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a task that saves; once more when there is room again, if nothing was lost."""
        while self.stop_reason is None and self.failure is None:
            try:
                await work()
            except TorrentEngineError as error:
                is_checking = self._settings.machine.state is State.CHECKING
                if self._keeper.has_lost_pieces:
                    self.fail(error)  # the next run hashes them
                elif isinstance(error, DiskFullError) and is_checking:
                    await anyio.sleep(SAVE_AGAIN_S)  # what is found can be seeded all the same
                else:
                    self._refused(error)
            await self._settings.disk_full.over()

    # -- a full disk ------------------------------------------------------------------------

    def _refused(self, error: TorrentEngineError) -> None:
        """Take an error of the disk: a full one is waited for, others end the run."""
        state, disk_full = self._settings.machine.state, self._settings.disk_full
        is_between = state in {State.DOWNLOADING, State.SEEDING, State.PAUSED, State.ERROR}
        if not isinstance(error, DiskFullError) or not is_between:
            self.fail(error)
        elif disk_full.error is None and self.stop_reason is None and self.failure is None:
            disk_full.begin(error, self._go_on)
            self._tasks.start_soon(disk_full.wait)
            self.transfer.downloads.set_active(active=False)
            if state is not State.PAUSED:
                self._settings.on_waiting(error)

    def _go_on(self) -> None:
        """Download again: there may be room. Uploads went on meanwhile."""
        machine, is_complete = self._settings.machine, self.progress.is_complete
        if machine.state is not State.ERROR:
            return  # paused: the transfer looks when it goes on
        self._settings.on_room()
        if not is_complete and machine.can(Signal.PIECES_MISSING):
            machine.fire(Signal.PIECES_MISSING)  # wanted since then
        self.transfer.downloads.set_active(active=not is_complete)
        if is_complete:
            self._on_complete()

    async def _save_last(self, work: Callable[[], Awaitable[None]]) -> None:
        """Save at the end; what fails is why the run failed, if nothing was before."""
        try:
            await work()
        except TorrentEngineError as error:
            if self.failure is None:
                self.failure = error
            else:
                logger.warning("resume data not saved: %s", error)

    # -- phases -----------------------------------------------------------------------------

    async def _phases(self) -> None:
        machine = self._settings.machine
        while self.stop_reason is None and self.failure is None:
            with anyio.CancelScope() as self._phase:
                if machine.state is State.CHECKING:
                    await self._guard(self._check)
                elif machine.state is State.PAUSED:
                    await self._part_from_swarm()
                    if self._idleness is not None and self._idleness.may_rest_paused():
                        self.stop(REST)
                    await anyio.sleep_forever()
                else:
                    await self._guard(self._claims.claim)
                    await self._transfer()

    async def _part_from_swarm(self) -> None:
        """Let go of what came with the metadata, if the transfer never went on with it."""
        self.transfer.pool.close_adopted()
        if not self.keeps_sources:
            self._shared.router.unregister(self.torrent.info_hash)
            await self.transfer.sources.stop()

    @property
    def keeps_sources(self) -> bool:
        """Whether others are to go on finding us after this run."""
        return self.stop_reason in {REST, BETWEEN} and self.failure is None

    def interrupt(self) -> None:
        """End the present phase: something has changed."""
        self._phase.cancel()

    def stop(self, reason: str) -> None:
        """End the run; the first reason given is kept."""
        if self.stop_reason in {None, REST}:
            self.stop_reason = reason
        self.transfer.keeps_sources = self.keeps_sources
        self.interrupt()

    def fail(self, error: TorrentEngineError) -> None:
        """End the run with an error; the first one is kept."""
        if self.failure is None:
            self.failure = error
        self.interrupt()

    def abandon(self) -> None:
        """End the run for good: its owner has moved on."""
        self.transfer.abandon()
        self.stop(OWNER_CHANGED)

    async def _check(self) -> None:
        await self.check.run()
        self.check.restore_partial(self.transfer)
        self.progress.recount(self.torrent.table.have)
        if self._settings.config.check_only:
            self.stop("checked")
        else:
            await self._claims.claim()
        is_complete = self.progress.is_complete
        self._settings.machine.fire(
            Signal.CHECK_DONE_COMPLETE if is_complete else Signal.CHECK_DONE_INCOMPLETE
        )

    async def _transfer(self) -> None:
        if self.failure is not None:
            return
        if self.progress.is_complete:
            self._on_complete()  # the last pieces were written while paused
            self._begin_seeding()
        try:
            if self.stop_reason is None:
                await self.transfer.run()
        finally:
            self.seeding.clock.end(self._shared.clock())

    def _begin_seeding(self) -> None:
        self.seeding.clock.begin(self._shared.clock())
        self._apply_rules(self._shared.clock())

    def _on_complete(self) -> None:
        machine, settings = self._settings.machine, self._settings
        if not self._shared.owners.is_current(settings.config.owner):
            self.abandon()
        if machine.state is not State.DOWNLOADING or self.torrent.is_abandoned:
            return  # paused meanwhile: noticed when it goes on
        machine.fire(Signal.ALL_PIECES_PRESENT)
        elapsed_s = self._shared.clock() - self._started_s
        settings.bus.publish(
            SessionCompleted(
                settings.metainfo.info_hash, settings.totals.downloaded_bytes, elapsed_s
            )
        )
        self.transfer.completed(is_whole=not self.torrent.table.missing)
        self._begin_seeding()

    def _apply_rules(self, now: float) -> None:
        if self._settings.machine.state is State.SEEDING:
            reason = self.seeding.reason(now)
            if reason is not None:
                self.stop(reason)

    def _on_second(self, now: float) -> None:
        self._apply_rules(now)
        if self._idleness is not None and self._idleness.is_over(now):
            self.stop(REST)
        self._settings.bus.publish(stats_event(self, self._settings.machine.state, now))

    # -- while it runs ----------------------------------------------------------------------

    async def set_file_priorities(self, priorities: tuple[int, ...]) -> None:
        """Change what is wanted; ConfigError if the numbers do not fit."""
        check_priorities(self._settings.metainfo, priorities)
        metainfo = self._settings.metainfo
        pieces = await anyio.to_thread.run_sync(piece_priorities, metainfo, priorities)
        skipped = await anyio.to_thread.run_sync(skipped_by, priorities)
        if self._claims.is_claimed:
            await self._claims.check(skipped)
        await self.torrent.storage.set_skipped(skipped)
        self.progress.take(priorities, pieces)
        self.torrent.picker.set_priorities(pieces)
        self.progress.recount(self.torrent.table.have)
        machine = self._settings.machine
        is_complete = self.progress.is_complete
        self.transfer.pool.candidates.set_wanting(wanting=not is_complete)
        signal = Signal.ALL_PIECES_PRESENT if is_complete else Signal.PIECES_MISSING
        if machine.can(signal):
            machine.fire(signal)
        if machine.state is State.SEEDING:
            self._begin_seeding()
        elif not is_complete:
            self.seeding.clock.reset()
        if machine.state in {State.DOWNLOADING, State.SEEDING}:
            self.transfer.downloads.set_active(active=not is_complete)
