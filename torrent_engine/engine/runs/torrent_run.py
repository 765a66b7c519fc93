"""One run of a torrent, from its lock on the files to their release.

A run has phases, one at a time: check, transfer, pause. A change of the Session's state ends the
present phase by :meth:`TorrentRun.interrupt`; the loop begins the phase of the new state.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import DiskFullError, TorrentEngineError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.disk.resume.file_names import settle_names
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.disk.resume.start_plan import StartPlan
from torrent_engine.engine.events import SessionCompleted, StatsUpdated
from torrent_engine.engine.jobs.session_jobs import WorkDone
from torrent_engine.engine.resources.bandwidth_manager import RateLimits
from torrent_engine.engine.resources.owners import OWNER_CHANGED
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.file_selection import renames
from torrent_engine.engine.runs.idle import IdleTimer
from torrent_engine.engine.runs.parts import RunParts, RunSettings
from torrent_engine.engine.runs.recheck import RunCheck
from torrent_engine.engine.runs.removal import remove_files
from torrent_engine.engine.runs.saved_totals import SavedTotals
from torrent_engine.engine.runs.seeding_rules import SeedingRules, rules_of
from torrent_engine.engine.states import Signal, State
from torrent_engine.engine.stats import WebSeedStats
from torrent_engine.engine.swarm.context import Swarm, Torrent
from torrent_engine.engine.swarm.parked_links import ParkedLinks
from torrent_engine.engine.swarm.peer_sources import PeerSources
from torrent_engine.engine.transfer.file_claims import FileClaims
from torrent_engine.engine.transfer.handover import Handover
from torrent_engine.engine.transfer.piece_assembly import PieceAssembly
from torrent_engine.engine.transfer.progress import (
    MANY_FILES,
    DownloadProgress,
    check_priorities,
    edge_pieces,
    piece_priorities,
    skipped_by,
)
from torrent_engine.engine.transfer.transfer import Transfer, TransferCallbacks
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.peers.smart_ban import SmartBan
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceTable

logger = logging.getLogger(__name__)

REST: Final = "rest"
BY_USER: Final = "by user"  # whose deadlines they are that no reader has
BETWEEN: Final = "between"
MOVING: Final = frozenset({State.DOWNLOADING, State.SEEDING})
SAVE_AGAIN_S: Final = 1.0  # ours: between two tries to save while it is checked
SETTLE_TIMEOUT_S: Final = 30.0  # ours: what is queued for the disk is written within this


class TorrentRun:
    """Runs one torrent once."""

    def __init__(
        self,
        settings: RunSettings,
        shared: SharedResources,
        *,
        trust: bool,
        handover: Handover | None = None,
    ) -> None:
        self.stop_reason: str | None = None
        self.failure: TorrentEngineError | None = None
        self._deletes_files = False
        self._is_closing = False
        self.has_deleted_files = False
        self._settings = settings
        self._shared = shared
        self._trust = trust
        self._phase = anyio.CancelScope()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._early: list[Callable[[], Awaitable[None]]] = []
        """Work of pieces that were whole at the start."""
        self._started_s = shared.clock()
        config, metainfo = settings.config, settings.metainfo
        self.all_totals = SavedTotals(shared.store, metainfo.info_hash, settings.totals)
        self.progress = DownloadProgress(metainfo)
        rules = rules_of(config, shared.seeding_rules)
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
            TransferCallbacks(
                start_task=self._start_task,
                keeps_sources=lambda: self.keeps_sources,
                on_piece=settings.on_piece,
                on_complete=self._on_complete,
                on_second=self._on_second,
                on_error=self._refused,
                on_learned=settings.on_learned,
            ),
            handover,
        )
        self.reads = self.transfer.reads
        """Reads of the files while they are open."""
        self.check = RunCheck(self.torrent, self._keeper, shared)
        self.parts = RunParts(
            self.torrent, self.progress, self.transfer, self.all_totals, self.check
        )
        self._idle_timer = IdleTimer(self.parts, settings, shared.run_slots, self)
        settings.edits.apply_to_trackers(self.transfer.trackers)
        settings.edits.apply_to_web_seeds(self.transfer.web_seeds)

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
            follow_links=settings.config.follow_links,
            storage=settings.storage.get(metainfo, settings.save_path, settings.config),
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
            smart_ban=SmartBan(),
            bus=settings.bus,
            peers=set(),
            totals=settings.totals,
            buffers=shared.buffers,
            link_budget=shared.link_budget,
            read_buffers=shared.read_buffers,
            clock=shared.clock,
            rng=shared.rng,
            tracker_log=settings.tracker_log,
            v2_hash=metainfo.v2_swarm,
            v1_hash=metainfo.v1_swarm,
        )

    # -- the run ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until :meth:`stop` or a failure, which is raised at the end.

        While there are no descriptors for its files it waits, and holds none.
        """
        try:
            await self._take_slot()
            if self.stop_reason is None or self._removes_files:
                await self._run()
            else:
                await self._leave_swarm()
        finally:
            self._look_at_activity()
            self._shared.run_slots.give_back(self)

    async def _take_slot(self) -> None:
        """Wait for a slot; a run that was ended needs none, not even to remove files.

        No other torrent gives up its slot for a paused one.
        """
        self.progress.recount(self.torrent.table.have)
        slots, machine = self._shared.run_slots, self._settings.machine
        while self.stop_reason is None:
            with anyio.CancelScope() as self._phase:
                if machine.state is State.PAUSED and not slots.is_free:
                    await anyio.sleep_forever()
                await slots.take(self)
                return

    @property
    def _removes_files(self) -> bool:
        return self._deletes_files or self.torrent.is_abandoned

    async def _run(self) -> None:
        storage, keeper, shared = self.torrent.storage, self._keeper, self._shared
        await settle_names(storage, shared.store, shared.name_foldings)
        await keeper.refuse_missing_disk()
        await storage.open(
            create=not self._settings.config.check_only,
            makes_empty=False,
            skips_conflicts=self._removes_files,  # they stay, the others go
        )
        try:
            await self._claims.enter()
            await self.order_pieces()
            refuses_missing = self._settings.refuses_missing and self._is_to_run
            self._apply(await keeper.plan(trust=self._trust, refuses_missing=refuses_missing))
            self.reads.open()
            try:
                await self.all_totals.load()
                await self._run_tasks()
            finally:
                await self._refuse_changes()
                await self._save_last(self._keeper.close)
            if self._removes_files:
                machine, removes_all = self._settings.machine, self._deletes_files
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
                await self.reads.close()
                await storage.close()
        if self.failure is not None:
            raise self.failure

    @property
    def _is_to_run(self) -> bool:
        """Whether it runs, and is not only made to remove files."""
        return self._settings.machine.state not in {State.STOPPED, State.ERROR}

    def _apply(self, plan: StartPlan) -> None:
        self.check.begin(plan)
        self.transfer.proof.take_doubts()
        self.progress.recount(self.torrent.table.have)
        machine = self._settings.machine
        if State.CHECKING in {machine.state, machine.paused_state}:
            return
        if not self._is_to_run:
            return
        if self.check.is_needed:  # after a rest, and files have changed meanwhile
            machine.fire(Signal.RECHECK)
        else:
            self._look_at_state()
            self.check.restore_partial(self.transfer)

    def _look_at_state(self) -> None:
        """Change the state to what the pieces require."""
        machine = self._settings.machine
        if not self.progress.is_complete and machine.can(Signal.PIECES_MISSING):
            machine.fire(Signal.PIECES_MISSING)

    async def _run_tasks(self) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                for finish in self._early:
                    tasks.start_soon(self._guard, finish)
                tasks.start_soon(self.transfer.writer.run)
                tasks.start_soon(self._keep_saving, self._keeper.run)
                tasks.start_soon(self._keep_saving, self.all_totals.run)
                await self._phases()
                await self._leave_swarm()
                with anyio.move_on_after(SETTLE_TIMEOUT_S, shield=True):
                    await self.transfer.writer.drain()
                    await self._save_last(self.all_totals.save)
                tasks.cancel_scope.cancel()
        finally:
            self._tasks = None  # it takes no more of them

    def _start_task(
        self, work: Callable[[PieceAssembly], Awaitable[None]], assembly: PieceAssembly
    ) -> None:
        async def finish() -> None:
            await work(assembly)

        if self._tasks is None:
            self._early.append(finish)
        else:
            self._tasks.start_soon(self._guard, finish)

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run one of our tasks; what it raises ends the run."""
        try:
            await work()
        except TorrentEngineError as error:
            self.fail(error)

    async def _keep_saving(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a task that saves; once more when there is space again, if nothing was lost."""
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
        """Take an error of the disk: a full disk is waited for, other errors end the run."""
        state, disk_full = self._settings.machine.state, self._settings.disk_full
        is_between = state in {State.DOWNLOADING, State.SEEDING, State.PAUSED, State.ERROR}
        if not isinstance(error, DiskFullError) or not is_between:
            self.fail(error)
        elif disk_full.error is None and self.stop_reason is None and self.failure is None:
            disk_full.begin(error, self._go_on)
            if self._tasks is not None:
                self._tasks.start_soon(disk_full.wait)
            self.transfer.stop_writing()
            if state is not State.PAUSED:
                self._settings.on_waiting(error)

    def _go_on(self) -> None:
        """Download again: there may be space. Uploads continued meanwhile."""
        if self._settings.machine.state is not State.ERROR:
            return  # paused: the transfer looks when it is resumed
        if self.stop_reason is not None or self.failure is not None:
            return  # it ends: the next run looks
        self._settings.on_room()
        if self._tasks is not None:
            self._tasks.start_soon(self._guard, self._write_again)

    async def _write_again(self) -> None:
        """Claim the files, if there was no space for that, and download while they are uploaded."""
        machine = self._settings.machine
        if machine.state in MOVING:
            await self._claim()
        if machine.state not in MOVING:
            return
        is_complete = self.progress.is_complete
        if not is_complete and machine.can(Signal.PIECES_MISSING):
            machine.fire(Signal.PIECES_MISSING)  # wanted since then
        self.transfer.begin_writing()
        if is_complete:
            self._on_complete()

    async def _refuse_changes(self) -> None:
        """Make no files for other priorities from now on: nobody would record whose they are."""
        with anyio.CancelScope(shield=True):
            async with self._claims.changes:
                self._is_closing = True

    async def _claim(self) -> None:
        """Claim the files; without space for that they are only read until there is some."""
        self._wait_for_room(await self._claim_if_room())

    async def _claim_if_room(self) -> DiskFullError | None:
        """Claim the files; return what there is no space for."""
        try:
            await self._claims.claim()
        except DiskFullError as error:
            return error
        return None

    def _wait_for_room(self, error: DiskFullError | None) -> None:
        """Wait for the space that the files need; one that is paused tries when it is resumed."""
        if error is not None and self._settings.machine.state in MOVING:
            self._refused(error)

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
                    await self._leave_swarm()
                    await self._idle_timer.until_rest_paused()
                    self.stop(REST)
                else:
                    if machine.state is not State.ERROR:  # else it waits for space
                        await self._guard(self._claim)
                    await self._transfer()

    async def _leave_swarm(self) -> None:
        """Close what came with the metadata, if no transfer continued with it."""
        self.transfer.pool.close_adopted()
        if not self.keeps_sources:
            self._shared.router.unregister(self.torrent.info_hash)
            await self.transfer.sources.stop()

    @property
    def keeps_sources(self) -> bool:
        """Whether the torrent is announced without a break after this run."""
        return self.stop_reason in {REST, BETWEEN} and self.failure is None

    def interrupt(self) -> None:
        """End the present phase: the state has changed."""
        self._phase.cancel()

    def stop(self, reason: str) -> None:
        """End the run; the first reason given is kept."""
        if self.stop_reason in {None, REST}:
            self.stop_reason = reason
        self.interrupt()

    def cancel(self, reason: str, *, deletes_files: bool) -> None:
        """End the run for good; it may remove the files of the torrent at its end."""
        self._deletes_files = self._deletes_files or deletes_files
        self.stop(reason)

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
        error: DiskFullError | None = None
        if self._settings.config.check_only:
            self.stop("checked")
        else:
            error = await self._claim_if_room()
        is_complete = self.progress.is_complete
        self._settings.machine.fire(
            Signal.CHECK_DONE_COMPLETE if is_complete else Signal.CHECK_DONE_INCOMPLETE
        )
        self._wait_for_room(error)

    async def _transfer(self) -> None:
        if self.failure is not None:
            return
        if self.progress.is_complete:
            self._on_complete()  # the last pieces were written while paused
            self._begin_seeding()
        try:
            if self.stop_reason is None:
                is_waiting = self._settings.machine.state is State.ERROR
                await self.transfer.run(writes=not is_waiting)
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
            return  # paused meanwhile: noticed when it is resumed
        machine.fire(Signal.ALL_PIECES_PRESENT)
        elapsed_s = self._shared.clock() - self._started_s
        settings.bus.publish(
            SessionCompleted(
                settings.metainfo.info_hash, settings.totals.downloaded_bytes, elapsed_s
            )
        )
        settings.on_completed()
        self.transfer.completed(is_whole=not self.torrent.table.missing)
        self._begin_seeding()

    def _apply_rules(self, now: float) -> None:
        if self._settings.machine.state is State.SEEDING:
            reason = self.seeding.reason(now)
            if reason is not None:
                self.stop(reason)

    def _look_at_activity(self) -> None:
        totals = self._settings.totals
        moved_bytes = totals.downloaded_bytes + totals.uploaded_bytes
        self._settings.times.moved(moved_bytes, self._shared.wall_clock())

    def _on_second(self, now: float) -> None:
        self._look_at_activity()
        self._apply_rules(now)
        if self._idle_timer.is_over(now):
            self.stop(REST)
        bus = self._settings.bus
        if bus.has_listeners:
            bus.publish(StatsUpdated(self._settings.metainfo.info_hash, self._settings.stats()))

    # -- what others ask --------------------------------------------------------------------

    @property
    def swarm(self) -> Swarm:
        """The torrent, as far as its swarm knows it."""
        return self.torrent

    @property
    def sources(self) -> PeerSources:
        """What looks for peers."""
        return self.transfer.sources

    @property
    def needs_check(self) -> bool:
        """Whether a piece waits to be hashed."""
        return self.check.is_needed

    @property
    def ratio(self) -> float:
        """Uploaded over downloaded, over all runs; over the size if nothing was downloaded."""
        base_bytes = self.all_totals.downloaded_bytes or self.progress.wanted_bytes or 1
        return self.all_totals.uploaded_bytes / base_bytes

    def work_done(self) -> WorkDone:
        """Return the progress; cheap."""
        return WorkDone(
            self.torrent.metainfo.total_bytes,
            self.progress.wanted_bytes,
            self.progress.completed_bytes,
            self.all_totals.uploaded_bytes,
            self.check.pieces_to_check,
            self.check.checked_pieces,
        )

    def web_seeds(self, *, secrets: bool = False) -> list[WebSeedStats]:
        """Return the numbers of each web seed."""
        return self.transfer.web_seeds.stats(self._shared.clock(), secrets=secrets)

    def next_dial_due_s(self, now: float) -> float | None:
        """Return when the next candidate is due to be dialled; None if there is none."""
        return self.transfer.pool.next_dial_due_s(now)

    def hand_over(self, links: ParkedLinks) -> Handover:
        """Return what the next run of the torrent continues with."""
        return Handover(links, self.transfer.pool.candidates, self.transfer.sources, None)

    # -- while it runs ----------------------------------------------------------------------

    def add_peers(self, addresses: Iterable[PeerAddress], source: Source) -> None:
        """Dial these peers as soon as that is possible."""
        self.transfer.pool.add(addresses, source)

    def add_web_seed(self, url: str, bep: int) -> None:
        """Download from one more web seed."""
        self.transfer.add_web_seed(url, bep)

    def remove_web_seed(self, url: str) -> None:
        """Download from a web seed no more."""
        self.transfer.web_seeds.remove(url)

    def take_config(self, config: SessionConfig) -> None:
        """Apply what holds at once: limits of rates and peers, the order of pieces."""
        self.torrent.config = config
        self.torrent.picker.is_sequential = config.sequential
        self.torrent.picker.sequential_from = config.sequential_from
        self.transfer.bandwidth.set_limits(RateLimits.of(config))
        self.transfer.pool.wake()

    async def order_pieces(self) -> None:
        """Put the first and last pieces of files first, or no longer, as the configuration says."""
        metainfo, picker = self._settings.metainfo, self.torrent.picker
        picker.sequential_from = self.torrent.config.sequential_from
        edges = 0
        if self.torrent.config.first_last_first and len(metainfo.files) < MANY_FILES:
            edges = edge_pieces(metainfo)
        elif self.torrent.config.first_last_first:
            edges = await anyio.to_thread.run_sync(edge_pieces, metainfo)
        picker.set_edges(edges)

    @property
    def is_super_seeding(self) -> bool:
        """Whether pieces are shown one by one (BEP 16)."""
        return self.transfer.super_seeding.is_on

    def set_super_seeding(self, *, is_on: bool) -> None:
        """Show pieces one by one from now on, or all of them (BEP 16)."""
        self.torrent.config = replace(self.torrent.config, super_seeding=is_on)
        if is_on:
            self.transfer.super_seeding.begin()
        else:
            self.transfer.super_seeding.end()

    def set_piece_deadline(self, piece: int, seconds: float | None) -> None:
        """Download a piece before others, within so many seconds; None: as all others."""
        deadlines = self.torrent.picker.deadlines
        if seconds is None:
            deadlines.forget(BY_USER, piece)
        elif not self.torrent.table.have.has(piece):
            deadlines.add(BY_USER, piece, self._shared.clock() + seconds)
            self.transfer.request_due()

    def want_pieces(self, reader: object, by_s: Mapping[int, float]) -> None:
        """Set the deadlines of a reader, in place of those that it had; {}: none."""
        deadlines = self.torrent.picker.deadlines
        before = deadlines.bits
        deadlines.want(reader, by_s)
        if deadlines.bits & ~before:
            self.transfer.request_due()

    async def set_file_priorities(self, priorities: tuple[int, ...]) -> None:
        """Change what is wanted; ConfigError if the numbers do not fit.

        A run that is ending leaves the files to the next one, which begins with the configuration.
        """
        check_priorities(self._settings.metainfo, priorities)
        async with self._claims.changes:
            await self._change_wanted(priorities)

    async def _change_wanted(self, priorities: tuple[int, ...]) -> None:
        metainfo = self._settings.metainfo
        pieces = await anyio.to_thread.run_sync(piece_priorities, metainfo, priorities)
        skipped = await anyio.to_thread.run_sync(skipped_by, priorities)
        if not self._is_closing:
            if self._claims.is_claimed:
                await self._claims.check(skipped)
            await self.torrent.storage.set_skipped(skipped)
        self.progress.take(priorities, pieces)
        self.torrent.picker.set_priorities(pieces)
        self.progress.recount(self.torrent.table.have)
        self.transfer.copies.look_again()
        machine = self._settings.machine
        is_complete = self.progress.is_complete
        self.transfer.pool.set_wanting(wanting=not is_complete)
        self.transfer.say_wanting()
        signal = Signal.ALL_PIECES_PRESENT if is_complete else Signal.PIECES_MISSING
        was_downloading = machine.state is State.DOWNLOADING
        if machine.can(signal):
            machine.fire(signal)
        if was_downloading and is_complete:
            self._settings.on_completed()
        if machine.state is State.SEEDING:
            self._begin_seeding()
        elif not is_complete:
            self.seeding.clock.reset()
        if machine.state in {State.DOWNLOADING, State.SEEDING}:
            self.transfer.downloads.set_active(active=not is_complete)
