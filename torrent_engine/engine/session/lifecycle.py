"""The life of a Session: start, pause, resume, recheck, stop, removal."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

import anyio

from torrent_engine.base.errors import (
    BusyError,
    ClosedError,
    MissingFilesError,
    OwnerChangedError,
    SessionError,
    StateTransitionError,
)
from torrent_engine.base.ids import InfoHash
from torrent_engine.engine.dormancy.snapshot import TorrentSnapshot
from torrent_engine.engine.events import (
    ChangedGroup,
    SessionPaused,
    SessionResumed,
    SessionStarted,
)
from torrent_engine.engine.runs.torrent_run import BETWEEN, TorrentRun
from torrent_engine.engine.session.core import STOPPED, SessionCore
from torrent_engine.engine.session.dormancy import Dormancy
from torrent_engine.engine.session.metadata import Metadata
from torrent_engine.engine.session.ownership import Ownership
from torrent_engine.engine.session.removal import Removal
from torrent_engine.engine.session.run_loop import RECHECK, RunLoop
from torrent_engine.engine.states import Signal, State

CANCELLED = "cancelled"


class Lifecycle:
    """Starts and ends one torrent.

    Its ports for the parts beside it are :meth:`need_run` and :meth:`between_runs`.
    """

    __slots__ = (
        "_core",
        "_dormancy",
        "_is_bus_running",
        "_metadata",
        "_on_owner_gone",
        "_ownership",
        "_removal",
        "_runs",
    )

    def __init__(
        self,
        core: SessionCore,
        metadata: Metadata,
        removal: Removal,
        runs: RunLoop,
        dormancy: Dormancy,
        on_owner_gone: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._core = core
        self._metadata = metadata
        self._removal = removal
        self._runs = runs
        self._dormancy = dormancy
        self._ownership: Ownership | None = None
        self._on_owner_gone = on_owner_gone
        self._is_bus_running = False

    # -- start ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to check, then to download or seed; see :meth:`Session.start`."""
        if self._core.waits_for_room:
            await self.resume()
        else:
            await self._begin(Signal.START, trust=self._core.config.use_resume)

    async def _begin(self, signal: Signal, *, trust: bool) -> None:
        """Start a run by a signal; with ``trust`` false all the data is hashed."""
        core = self._core
        self._check_start(signal)
        await self._open(trust=trust)
        has_metainfo = core.held_metainfo is not None or core.is_stored
        core.machine.fire(signal if has_metainfo else Signal.METADATA_NEEDED)
        core.is_paused_by_user = core.config.paused
        if core.config.paused or core.is_held:
            core.machine.fire(Signal.PAUSE)
        core.events.publish(SessionStarted(core.info_hash, core.state.value))
        if not self._dormancy.begin_new():
            self._runs.start()

    async def begin_dormant(
        self,
        snapshot: TorrentSnapshot,
        state: State,
        *,
        is_paused_by_user: bool,
    ) -> None:
        """Start dormant, in the state that another process left. Raises as :meth:`start`.

        It is paused, whatever ``state``, if its user paused it or the queue holds it.
        """
        core = self._core
        self._check_start(Signal.START)
        await self._open(trust=True, other_hash=snapshot.v2_hash or snapshot.v1_hash)
        is_paused = is_paused_by_user or core.is_held  # or no more: that took a while
        core.machine.place(State.PAUSED if is_paused else state, state)
        core.is_paused_by_user = is_paused_by_user
        self._dormancy.begin(snapshot)
        core.state_restored()
        core.events.publish(SessionStarted(core.info_hash, core.state.value))
        if core.stop_wanted is not None:  # while it was started
            self._dormancy.end()

    def _check_start(self, signal: Signal) -> None:
        core = self._core
        if core.is_closed:
            raise ClosedError(core.name, f"{signal.name} is not possible: the Session is closed")
        if self._removal.is_under_way:
            raise StateTransitionError(f"{signal.name} is not possible: the torrent is removed")
        if self._removal.keeps_stopped:
            reason = f"{signal.name} is not possible while its files are moved"
            raise BusyError(core.info_hash.hex(), reason)
        if not core.ended.is_set() or not core.machine.can(signal):
            raise StateTransitionError(f"{signal.name} is not possible while {core.state.value}")

    async def _open(self, *, trust: bool, other_hash: InfoHash | None = None) -> None:
        """Take what a started Session holds of the shared resources.

        ``other_hash`` is the second info-hash of a hybrid, where it is known without the metadata.
        """
        core = self._core
        core.run = None
        core.ended = anyio.Event()  # a stop waits for its end from now on
        core.is_ending = False
        core.stop_wanted = None
        core.trusts_resume = trust
        core.started_s = core.shared.clock()
        core.times.started_s = core.shared.wall_clock()
        try:
            await self._claim(other_hash)
        except BaseException:
            self._runs.fail_work(SessionError(f"{core.name}: was not started"))
            core.ended.set()
            raise
        core.has_run = True
        core.error = None
        core.shared.file_registry.sessions.add(core.info_hash)

    async def _claim(self, other_hash: InfoHash | None) -> None:
        """Watch the owner, and take the torrent's place in the shared resources."""
        is_watch_new = self._watch_owner()
        try:
            await self._enter_shared(other_hash)
        except BaseException:
            if is_watch_new and self._ownership is not None:
                self._ownership.abandon()  # who was not started may be another's torrent
            raise

    async def _enter_shared(self, other_hash: InfoHash | None) -> None:
        core, shared = self._core, self._core.shared
        await shared.acquire()
        self.listen()
        try:
            shared.sessions.add(core.info_hash, self.close)
        except BaseException:
            await shared.release()
            raise
        try:
            await self._metadata.recall()
            await self._metadata.learn_trackers()
            core.claim_other_hash(other_hash)
        except BaseException:
            shared.sessions.remove(core.info_hash)
            with anyio.CancelScope(shield=True):
                await shared.release()
            raise

    def _watch_owner(self) -> bool:
        """Watch the owner, if there is one; return whether that is new.

        Raises OwnerChangedError if it has moved on.
        """
        tie = self._core.config.owner
        if tie is None:
            return False
        if self._ownership is None:
            self._ownership = Ownership(
                self._core, self._removal, self._ask_to_stop, self._on_owner_gone
            )
        return self._ownership.begin(tie)

    def follow_owner(self) -> bool:
        """Watch the owner of a restored torrent, before its start and if it is stopped, too.

        Returns whether there is no owner, or it has not moved on; else the torrent is removed soon.
        """
        try:
            self._watch_owner()
        except OwnerChangedError:
            if self._ownership is not None:
                self._ownership.owner_changed()
            return False
        return True

    def listen(self) -> None:
        """Deliver events from now on: a bus that nobody listens to needs no task."""
        core = self._core
        if core.events.is_listening and not self._is_bus_running and not core.ended.is_set():
            core.shared.start_task(self._deliver)
            self._is_bus_running = True

    async def _deliver(self) -> None:
        try:
            await self._core.events.run()
        finally:
            self._is_bus_running = False  # the shared resources may be opened again

    # -- ports ----------------------------------------------------------------------------------

    def need_run(self) -> None:
        """Start a run if the torrent is dormant."""
        self._dormancy.wake()

    async def between_runs(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do work while no run holds the files, then continue in the old state.

        Raises what ``work`` raises; the Session continues all the same. One at a time. Raises
        ClosedError if the Session is closed, and StateTransitionError if the torrent is removed
        before it is the turn of this.
        """
        core = self._core
        if core.is_closed:
            raise ClosedError(core.name, "files cannot be moved: the Session is closed")
        async with self._removal.kept_off():
            if core.is_ending:
                await core.ended.wait()  # no work is done between runs any more
            if core.ended.is_set():
                with self._removal.keeping_stopped():
                    await self._removal.while_open(work)
                return
            if core.fetch is not None:
                await work()
                return
            added = self._runs.add_work(work)
            core.room.retry()  # what waits for disk space is no run, and begins with the work
            if core.run is not None:
                core.run.stop(BETWEEN)
            self.need_run()
            await added.wait()

    # -- pause ----------------------------------------------------------------------------------

    @property
    def can_pause(self) -> bool:
        """Whether the user may pause it: it is neither paused by the user nor at an end."""
        core = self._core
        is_failed = core.state is State.ERROR and not core.waits_for_room
        return not (core.is_paused_by_user or is_failed or core.state is State.STOPPED)

    async def pause(self) -> None:
        """Let no payload move until :meth:`resume`; peers are disconnected."""
        core = self._core
        if core.waits_for_room:
            core.room.retry()  # leaves ERROR; paused before anything is written
        if not (core.is_held and core.state is State.PAUSED):
            self._pause()
        core.is_paused_by_user, core.is_forced = True, False
        core.settings_changed(ChangedGroup.PROGRESS)

    def _pause(self) -> None:
        core = self._core
        core.machine.fire(Signal.PAUSE)
        self._interrupt()
        self._dormancy.pause()
        core.events.publish(SessionPaused(core.info_hash))

    async def resume(self) -> None:
        """Continue after :meth:`pause` or a fault; see :meth:`Session.resume`."""
        core = self._core
        core.config = replace(core.config, paused=False)  # was meant for the first start
        if core.state is State.ERROR:
            if core.waits_for_room:
                core.room.retry()
            else:
                core.fetches_missing = isinstance(core.error, MissingFilesError)
                await self.start()
            return
        is_checking = core.is_paused_by_user and core.state is State.CHECKING
        core.times.started_s = core.shared.wall_clock()
        if not (is_checking or (core.is_held and core.state is State.PAUSED)):
            self._resume()
        core.is_paused_by_user = False
        core.settings_changed(ChangedGroup.PROGRESS)

    def _resume(self) -> None:
        core = self._core
        core.machine.fire(Signal.RESUME)
        core.room.retry()
        self._interrupt()
        self._dormancy.resume()
        core.events.publish(SessionResumed(core.info_hash, core.state.value))

    async def start_now(self) -> None:
        """Start or continue at once, outside of the queue; see :meth:`Session.start_now`."""
        core = self._core
        core.is_forced, core.is_held = True, False
        core.config = replace(core.config, paused=False)
        if core.state in {State.STOPPED, State.ERROR}:
            try:
                await (self.resume() if core.state is State.ERROR else self.start())
            except BaseException:
                core.is_forced = False
                raise
        core.is_paused_by_user = False
        if core.state is State.PAUSED:
            self._resume()
        core.settings_changed(ChangedGroup.PROGRESS)

    def set_forced(self, *, is_forced: bool) -> None:
        """Leave the queue, or come back to it; see :meth:`Session.set_forced`."""
        core = self._core
        if core.is_forced is is_forced:
            return
        core.is_forced = is_forced
        if is_forced and core.is_held:
            self.unhold()
        core.settings_changed()

    def hold(self) -> None:
        """Pause for the queue until :meth:`unhold`; one that is not started yet is paused then."""
        core = self._core
        core.is_held = True
        if core.state is not State.PAUSED and core.machine.can(Signal.PAUSE):
            self._pause()

    def unhold(self) -> None:
        """Continue, unless the user paused it."""
        core = self._core
        core.is_held = False
        if core.state is State.PAUSED and not core.is_paused_by_user:
            self._resume()

    def _interrupt(self) -> None:
        if self._core.fetch is not None:
            self._core.fetch.interrupt()
        if self._core.run is not None:
            self._core.run.interrupt()

    async def recheck(self, *, while_paused: bool = False) -> None:
        """Hash all data again; see :meth:`Session.recheck`."""
        core = self._core
        if core.stop_wanted is not None:
            await core.ended.wait()  # its last announce may take seconds
        if core.ended.is_set():
            await self._begin(Signal.RECHECK, trust=False)
            return
        if not (while_paused and core.machine.paused_state is State.CHECKING):  # not checked yet
            core.machine.fire(Signal.RECHECK)
        core.error = None
        core.trusts_resume = False
        if core.run is not None:
            core.run.stop(RECHECK)
        if while_paused and core.state is State.PAUSED:
            core.machine.fire(Signal.RESUME)  # to CHECKING; checked() pauses it again
        self.need_run()
        core.room.drop()

    def checked(self) -> None:
        """Pause again after a check, unless it was resumed meanwhile."""
        core = self._core
        is_moving = core.state in {State.DOWNLOADING, State.SEEDING}
        if is_moving and (core.is_paused_by_user or core.is_held):
            self._pause()

    # -- the end --------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End the run in order: data written, state saved, trackers notified (5 s at most)."""
        self._ask_to_stop(STOPPED, lambda run: run.stop(STOPPED))
        await self._core.ended.wait()

    async def cancel(self, *, delete_files: bool = False) -> None:
        """End the run and remove the torrent; see :meth:`Session.cancel`."""
        core = self._core
        end = partial(_cancel, deletes_files=delete_files)
        with self._removal.announced():  # no other call starts it between its end and the removal
            self._ask_to_stop(CANCELLED, end)
            await core.ended.wait()
            core.shared.session_jobs.removed(core.info_hash, reason=CANCELLED)
            await self._removal.remove(end if delete_files else None)

    async def close(self) -> None:
        """Stop, then end the events; the Session cannot be started after that."""
        core = self._core
        core.is_closed = True
        if core.has_run:  # else it may be another's
            core.shared.file_registry.sessions.discard(core.info_hash)
        if self._ownership is not None:
            self._ownership.cancel()
        await self.stop()
        if self._ownership is not None:
            await self._ownership.wait_removed()
        core.waiters.entered(core.state)  # tasks that wait for a start wait in vain
        core.events.close()

    def _ask_to_stop(self, reason: str, end: Callable[[TorrentRun], None]) -> None:
        """Begin to end the Session, a run by ``end``; it has ended when ``ended`` is set."""
        core = self._core
        if not core.ended.is_set():
            core.stop_wanted = core.stop_wanted or reason
            if core.run is not None:
                end(core.run)
            if core.fetch is not None:
                core.fetch.stop(reason)
            core.room.drop()
            self._dormancy.end()

    # -- waiting --------------------------------------------------------------------------------

    def seeding_rules_changed(self) -> None:
        """Apply the present rules that end seeding, to a run or to a dormant seed."""
        core = self._core
        if core.run is not None:
            core.run.seeding.change(core.config, core.shared.seeding_rules)
        self._dormancy.seeding_rules_changed()

    async def wait(self, *states: State) -> State:
        """Wait until the Session is in one of these states; see :meth:`Session.wait`."""
        core = self._core
        seen = core.state
        is_starting = not (core.ended.is_set() or core.is_ending)
        is_new = not core.is_closed and (is_starting or not core.has_run)
        if seen not in {*states, State.ERROR} and (is_new or seen is not State.STOPPED):
            seen = await core.waiters.wait(frozenset({*states, State.ERROR, State.STOPPED}))
        if seen in states:
            return seen
        if seen is State.ERROR and core.error is not None:
            raise core.error
        raise SessionError(f"stopped before it was {' or '.join(states)}")

    async def wait_stopped(self) -> str:
        """Wait for the end of the run and return its reason; see :meth:`Session.wait_stopped`."""
        core = self._core
        while not core.ended.is_set() and not core.waits_for_room:
            if core.is_ending:
                await core.ended.wait()
            else:
                await core.waiters.wait(frozenset({State.STOPPED, State.ERROR}))
        if core.error is not None:
            raise SessionError(str(core.error)) from core.error
        return core.stop_reason


def _cancel(run: TorrentRun, *, deletes_files: bool) -> None:
    """End a run for good, for the user."""
    run.cancel(CANCELLED, deletes_files=deletes_files)
