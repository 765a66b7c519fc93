"""What managers, jobs and programs do with a Session, beyond what its users may do."""

from pathlib import Path
from typing import Any

import anyio.to_thread

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.state.session_table import SessionClocks
from torrent_engine.engine.events import ChangedGroup
from torrent_engine.engine.jobs.session_jobs import WorkDone
from torrent_engine.engine.runs.facts import shared
from torrent_engine.engine.runs.source_edits import edits_from
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.core import SessionCore
from torrent_engine.engine.session.lifecycle import Lifecycle
from torrent_engine.engine.session.relocation import Relocation
from torrent_engine.engine.session.saved import SavedSession
from torrent_engine.engine.session.status import FileNames, QueueFacts, Status
from torrent_engine.engine.states import State
from torrent_engine.policy.queue.seeding_clock import SeedingClock
from torrent_engine.policy.queue.torrent_times import SavedTimes, TorrentTimes

DORMANT_STATES = frozenset({State.DOWNLOADING, State.SEEDING})


class SessionAdmin:
    """The side of one Session for its manager, its queue, the job log and programs around it."""

    __slots__ = ("_core", "_lifecycle", "_relocation", "_status", "file_names")

    def __init__(
        self,
        core: SessionCore,
        lifecycle: Lifecycle,
        relocation: Relocation,
        status: Status,
        file_names: FileNames,
    ) -> None:
        self.file_names = file_names
        self._core = core
        self._lifecycle = lifecycle
        self._relocation = relocation
        self._status = status

    # -- facts ----------------------------------------------------------------------------------

    @property
    def info_hash(self) -> InfoHash:
        """The SHA-1 of the info dictionary."""
        return self._core.info_hash

    @property
    def name(self) -> str:
        """The torrent's name."""
        return self._core.name

    @property
    def config(self) -> SessionConfig:
        """The present configuration."""
        return self._core.config

    @property
    def state(self) -> State:
        """The present state."""
        return self._core.state

    @property
    def paused_state(self) -> State | None:
        """The state before the pause; None unless the state is PAUSED."""
        return self._core.machine.paused_state

    @property
    def error(self) -> TorrentEngineError | None:
        """Why the state is ERROR."""
        return self._core.error

    @property
    def stop_reason(self) -> str:
        """Why the run ended, or ends."""
        return self._core.stop_reason

    @property
    def is_held(self) -> bool:
        """Whether it waits for its turn in the queue."""
        return self._core.is_held

    @property
    def is_paused_by_user(self) -> bool:
        """Whether it is paused whatever the queue decides."""
        return self._core.is_paused_by_user

    @property
    def is_forced(self) -> bool:
        """Whether it runs outside of the queue."""
        return self._core.is_forced

    @property
    def is_resting(self) -> bool:
        """Whether it is dormant, so that none of its numbers changes."""
        return self._core.dormant is not None

    @property
    def run(self) -> TorrentRun | None:
        """The present run, or the last one; None before the first and while dormant."""
        return self._core.run

    def queue_facts(self, now: float) -> QueueFacts:
        """Return what the queue has to know; cheap for very many torrents."""
        return self._status.queue_facts(now)

    def work_done(self) -> WorkDone:
        """Return the progress of the present or last run; cheap."""
        return self._status.work_done()

    def seeding_rules_changed(self) -> None:
        """Apply the rules that end seeding of all torrents, which have changed."""
        self._lifecycle.seeding_rules_changed()

    # -- queue ----------------------------------------------------------------------------------

    def hold(self) -> None:
        """Pause for the queue until :meth:`unhold`; one that is not started yet is paused then."""
        self._lifecycle.hold()

    def unhold(self) -> None:
        """Continue, unless the user paused it."""
        self._lifecycle.unhold()

    # -- restarts of the manager ----------------------------------------------------------------

    def saved(self, *, priority: int, state: State | None = None) -> SavedSession:
        """Return what is to be saved of the Session; ``state`` in place of its present one."""
        core = self._core
        return SavedSession(
            save_path=str(self._relocation.final_path),
            files_path=None if core.final_home is None else str(core.save_path),
            state=core.state if state is None else state,
            paused_state=core.machine.paused_state,
            is_paused=core.is_paused_by_user,
            priority=priority,
            config=core.config,
            magnet=core.magnet,
            snapshot=self._status.snapshot,
            was_resting=core.dormant is not None,
            extras=core.edits.values(),
            seeding_s=core.seeding.seeding_s(core.shared.clock()),
            facts=core.facts,
            is_forced=core.is_forced,
            times=core.times.saved(core.shared.clock()),
            user_data=core.user_data,
        )

    def clocks(self, *, if_running: bool = False) -> SessionClocks | None:
        """Return what changes of it all the time that it runs; with ``if_running`` else None."""
        core, now = self._core, self._core.shared.clock()
        times = core.times
        is_running = core.run is not None or core.seeding.is_running or times.is_downloading
        if if_running and not is_running:
            return None
        seeding_s = core.seeding.seeding_s(now)
        return SessionClocks(seeding_s, times.downloading_s(now), times.activity_s)

    def restore(self, saved: SavedSession) -> None:
        """Take what another process has saved; before the start."""
        core = self._core
        core.snapshot = saved.snapshot
        core.is_paused_by_user = saved.is_paused
        core.is_forced = saved.is_forced
        core.is_held = core.is_held and not saved.is_forced
        core.seeding = SeedingClock(saved.seeding_s)
        core.times = TorrentTimes(saved.times or SavedTimes())
        core.user_data = saved.user_data
        core.edits = edits_from(saved.extras)
        if saved.files_path is not None:
            core.final_home, core.save_path = core.save_path, shared(Path(saved.files_path))
        if saved.facts is not None:
            core.know(saved.facts)

    async def start_as_saved(self, saved: SavedSession) -> None:
        """Start in the state that another process has saved; stopped torrents stay stopped.

        One whose owner has moved on is removed soon.
        """
        snapshot, state = saved.snapshot, saved.paused_state or saved.state
        if not self._lifecycle.follow_owner() or saved.state is State.STOPPED:
            return
        is_to_move = saved.files_path is not None and state is State.SEEDING
        is_dormant = saved.was_resting and state in DORMANT_STATES and not is_to_move
        if snapshot is None or not is_dormant:
            await self._lifecycle.start()
            return
        await self._lifecycle.begin_dormant(snapshot, state, is_paused_by_user=saved.is_paused)

    async def learn_facts(self) -> None:
        """Read the facts of the torrent from its metainfo, where an old record has none."""
        core = self._core
        if core.facts is None and core.is_stored:
            await anyio.to_thread.run_sync(core.read_facts)
        if core.facts is not None:
            core.settings_changed(ChangedGroup.ABOUT)

    def metainfo_saved(self) -> None:
        """Record that the database has the metainfo, so that it need not stay in memory."""
        core = self._core
        core.is_stored = True
        if core.dormant is not None:
            core.drop_metainfo()

    def metainfo_source(self) -> bytes:
        """Return the bytes of the .torrent; empty before the metadata of a magnet link."""
        metainfo = self._core.metainfo
        return b"" if metainfo is None else metainfo.source

    def extras(self) -> dict[str, Any]:
        """Return the trackers and web seeds that were added or removed, as JSON has them."""
        return self._core.edits.values()
