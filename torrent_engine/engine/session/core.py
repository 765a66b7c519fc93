"""The state of one torrent that the parts of its Session share."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import DormancyConfig, SessionConfig
from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.state.session_table import metainfos_now
from torrent_engine.disk.threads import run_in_thread
from torrent_engine.engine.bounded_log import BoundedLog
from torrent_engine.engine.discovery.tracker_log import TrackerLog
from torrent_engine.engine.dormancy.metadata_cache import read_first_whole
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import ChangedGroup, TorrentChanged
from torrent_engine.engine.resources.privacy import new_peer_id
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.disk_full import DiskFull
from torrent_engine.engine.runs.facts import facts_of
from torrent_engine.engine.runs.metadata_run import MetadataRun
from torrent_engine.engine.runs.session_storage import SessionStorage
from torrent_engine.engine.runs.source_edits import NO_EDITS
from torrent_engine.engine.runs.torrent_run import TorrentRun
from torrent_engine.engine.session.membership import Membership
from torrent_engine.engine.session.state_waiters import StateWaiters
from torrent_engine.engine.states import State, StateMachine
from torrent_engine.engine.stats import TorrentFacts
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.engine.swarm.peer_sources import PeerSources
from torrent_engine.policy.queue.seeding_clock import SeedingClock
from torrent_engine.policy.queue.torrent_times import SavedTimes, TorrentTimes

if TYPE_CHECKING:
    from torrent_engine.base.errors import TorrentEngineError
    from torrent_engine.engine.dormancy.dormant_torrent import DormantTorrent
    from torrent_engine.engine.dormancy.snapshot import TorrentSnapshot
    from torrent_engine.engine.reading.readers import Readers
    from torrent_engine.engine.runs.user_data import KeptTexts

logger = logging.getLogger(__name__)
_states = BoundedLog(logger)

STOPPED: Final = "stopped"


class SessionCore:
    """What one torrent is and does now; the parts of its Session read and change it.

    It starts no task. ``on_state`` is called with the old and the new state after each transition,
    and with the same state twice when a setting that is saved has changed.
    """

    __slots__ = (
        "__weakref__",
        "_facts",
        "_metainfo",
        "_on_state",
        "config",
        "dormant",
        "edits",
        "ended",
        "error",
        "events",
        "fetch",
        "fetches_missing",
        "final_home",
        "has_run",
        "info_hash",
        "is_closed",
        "is_ending",
        "is_forced",
        "is_held",
        "is_paused_by_user",
        "is_stored",
        "machine",
        "magnet",
        "peer_id",
        "readers",
        "rest_config",
        "room",
        "run",
        "save_path",
        "seeding",
        "shared",
        "snapshot",
        "started_s",
        "stop_reason",
        "stop_wanted",
        "storage",
        "times",
        "totals",
        "tracker_log",
        "trusts_resume",
        "user_data",
        "waiters",
    )

    def __init__(  # noqa: PLR0913 - all that makes a torrent
        self,
        source: Metainfo | Magnet | InfoHash,
        shared: SharedResources,
        save_path: Path,
        config: SessionConfig,
        events: EventBus,
        on_state: Callable[[State, State], None],
        membership: Membership | None = None,
    ) -> None:
        self.shared = shared
        self.events = events
        self._on_state = on_state
        self._metainfo = source if isinstance(source, Metainfo) else None
        self._facts: TorrentFacts | None = None
        self.magnet = source if isinstance(source, Magnet) else None
        """The link that the torrent was added by, if it was."""
        self.info_hash = source.info_hash if isinstance(source, Metainfo | Magnet) else source
        self.is_stored = membership is not None and isinstance(source, bytes)
        """The metainfo is in the database and may be dropped while it is not needed."""
        if self.magnet is not None:
            peers = (*config.peers, *self.magnet.peers)  # after a restart it may know them
            config = replace(config, peers=tuple(dict.fromkeys(peers)))
        self.config = config
        self.edits = NO_EDITS
        """Trackers and web seeds that the user added or removed."""
        self.tracker_log = TrackerLog(shared.wall_clock)
        self.save_path = save_path
        """Where the files are now."""
        self.final_home: Path | None = None
        """Where the files belong once they are complete; None: they are there."""
        self.storage = SessionStorage()
        self.peer_id = new_peer_id(shared.config)
        self.machine = StateMachine(self._state_changed)
        self.waiters = StateWaiters()
        self.totals = Totals()
        self.error: TorrentEngineError | None = None
        """Why the state is ERROR."""
        self.room = DiskFull(shared)
        self.seeding = SeedingClock()
        self.times = TorrentTimes(SavedTimes(added_s=shared.wall_clock()))
        self.user_data: KeptTexts = ()
        self.rest_config: DormancyConfig | None = None
        """When the torrent becomes dormant; None: only if others wait for descriptors."""
        if membership is not None and membership.rest.enabled:
            self.rest_config = membership.rest
        self._reset()

    def _reset(self) -> None:
        """Set what changes with each start to what it is before the first."""
        self.run: TorrentRun | None = None
        """The present run, or the last one; None before the first and while dormant."""
        self.fetch: MetadataRun | None = None
        """The present search for the metadata."""
        self.dormant: DormantTorrent | None = None
        self.snapshot: TorrentSnapshot | None = None
        """The numbers of a torrent that is dormant, or was last."""
        self.readers: Readers | None = None
        self.started_s = 0.0
        self.ended = anyio.Event()
        """Set while the Session is not started."""
        self.ended.set()
        self.has_run = False
        """It was started at least once."""
        self.is_ending = False
        self.is_closed = False
        self.is_held = False
        """It waits for its turn in the queue of a TorrentManager."""
        self.is_forced = False
        """It runs outside of the queue of a TorrentManager."""
        self.is_paused_by_user = False
        self.stop_wanted: str | None = None
        """Why the Session is to end; None: it is not."""
        self.stop_reason = STOPPED
        self.trusts_resume = True
        self.fetches_missing = False
        """The user asked for files that are gone to be downloaded again."""

    # -- what is known of the torrent -----------------------------------------------------------

    @property
    def named_tiers(self) -> tuple[tuple[str, ...], ...]:
        """The trackers that the .torrent or the magnet link names, tier by tier."""
        if self.facts is None and self.snapshot is not None:
            return self.snapshot.tiers  # the metainfo need not be read for it
        if (facts := self.read_facts()) is not None:
            return facts.tiers
        return () if self.magnet is None else tuple((url,) for url in self.magnet.trackers)

    @property
    def other_hash(self) -> InfoHash | None:
        """The second info-hash of a hybrid; None if there is none, or it is not known now."""
        known = self._metainfo
        if known is not None:
            return known.v2_swarm or known.v1_swarm
        if self.snapshot is not None:
            return self.snapshot.v2_hash or self.snapshot.v1_hash
        return None if self.facts is None else self.facts.other_hash(self.info_hash)

    def claim_other_hash(self, other_hash: InfoHash | None = None) -> None:
        """Claim the second info-hash of a hybrid, once it is known, for this Session.

        Raises BusyError if the hybrid has another one.
        """
        other_hash = other_hash or self.other_hash
        if other_hash is not None:
            self.shared.sessions.claim(self.info_hash, other_hash)

    @property
    def is_private(self) -> bool | None:
        """Whether peers come from its trackers only (BEP 27); None without the metadata."""
        if self.facts is None and self.snapshot is not None:
            return self.snapshot.is_private
        return None if (facts := self.read_facts()) is None else facts.is_private

    @property
    def held_metainfo(self) -> Metainfo | None:
        """The metainfo if it is in memory."""
        return self._metainfo

    @property
    def metainfo(self) -> Metainfo | None:
        """The metainfo, read from the database if it is only there; blocking."""
        if self._metainfo is None and self.is_stored:
            return self.read_stored()
        return self._metainfo

    async def load_metainfo(self) -> Metainfo | None:
        """Return :attr:`metainfo`, read in a thread where it must be read.

        Raises StateDatabaseError if there is no memory or no thread for it.
        """
        if self._metainfo is None and self.is_stored:
            limiter = anyio.to_thread.current_default_thread_limiter()
            return await run_in_thread(
                self.read_stored, limiter=limiter, failure=StateDatabaseError
            )
        return self._metainfo

    def hold_metainfo(self, metainfo: Metainfo) -> None:
        """Keep the metainfo in memory."""
        self._metainfo = metainfo

    def drop_metainfo(self) -> None:
        """Keep the metainfo in memory no longer; the database has it."""
        if self._metainfo is not None:
            self._facts, self._metainfo = self.facts, None

    def read_stored(self) -> Metainfo | None:
        """Return the metainfo that the database has; blocking."""
        found = metainfos_now(self.shared.store, self.info_hash)
        return read_first_whole(found, self.info_hash, self.magnet)

    @property
    def facts(self) -> TorrentFacts | None:
        """What the .torrent says, in short; None until there is a metainfo, or it was once."""
        if self._facts is None and self._metainfo is not None:
            self._facts = facts_of(self._metainfo)
        return self._facts

    def know(self, facts: TorrentFacts) -> None:
        """Take the facts of the torrent from who has read its metainfo."""
        self._facts = facts

    def read_facts(self) -> TorrentFacts | None:
        """Return :attr:`facts`, read from the database where they must be; blocking."""
        if self.facts is None and (metainfo := self.metainfo) is not None:
            self._facts = facts_of(metainfo)
        return self._facts

    @property
    def name(self) -> str:
        """The torrent's name, cleaned for the file system; before the metadata the link's."""
        if self._metainfo is not None:
            return self._metainfo.name
        if self.snapshot is not None:
            return self.snapshot.name
        link_name = self.magnet.name if self.magnet is not None else None
        return link_name or self.info_hash.hex()

    # -- what happens now -----------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The present state."""
        return self.machine.state

    @property
    def live_run(self) -> TorrentRun | None:
        """The present run; None while the Session is stopped, and between two runs."""
        return None if self.ended.is_set() else self.run

    @property
    def active(self) -> TorrentRun | MetadataRun | None:
        """What has a peer pool now; None while the Session is stopped or dormant."""
        return self.fetch or self.live_run

    @property
    def sources(self) -> PeerSources | None:
        """What looks for peers of this torrent, or did last."""
        if self.fetch is not None:
            return self.fetch.sources
        if self.dormant is not None:
            return self.dormant.sources
        return None if self.run is None else self.run.sources

    @property
    def has_readers(self) -> bool:
        """Whether a file of it is being read."""
        return bool(self.readers)

    @property
    def waits_for_room(self) -> bool:
        """Whether the state is ERROR only until there is space on the disk."""
        return self.room.error is not None and self.state is State.ERROR

    def wake_readers(self) -> None:
        """Wake who waits for a part of a file."""
        if self.readers is not None:
            self.readers.wake()

    def _state_changed(self, old: State, new: State) -> None:
        self.wake_readers()
        self.waiters.entered(new)
        if new is State.ERROR:
            _states.info("%s %r: %s, error: %s", self.info_hash.hex(), self.name, old, self.error)
        else:
            _states.info("%s %r: %s, then %s", self.info_hash.hex(), self.name, old, new)
        self._count_times(old, new)
        if new is State.SEEDING and self.config.overwrite:
            # It was asked for what was there before the torrent was complete.
            self.config = replace(self.config, overwrite=False)
        self._on_state(old, new)
        self.changed(ChangedGroup.PROGRESS)

    def _count_times(self, old: State, new: State) -> None:
        times = self.times
        times.set_downloading(self.shared.clock(), is_downloading=new is State.DOWNLOADING)
        if new is State.SEEDING and old is State.DOWNLOADING:
            times.completed_s = self.shared.wall_clock()
        elif new is State.SEEDING and old is State.CHECKING:
            times.checked_complete(self.shared.wall_clock())

    def state_restored(self) -> None:
        """Report a state that another process left as one that was entered."""
        self._state_changed(State.STOPPED, self.state)

    def change_config(self, **changes: Any) -> None:  # noqa: ANN401 - those of the fields
        """Change the configuration, that of a present run too, and report that.

        Raises TypeError or ConfigError, and changes nothing, for a value that is none.
        """
        self.config = replace(self.config, **changes)
        if (active := self.active) is not None:
            active.take_config(self.config)
        self.settings_changed()

    def settings_changed(self, group: ChangedGroup = ChangedGroup.SETTINGS) -> None:
        """Report that something has changed that is kept over a restart."""
        self._on_state(self.state, self.state)
        self.changed(group)

    def changed(self, group: ChangedGroup) -> None:
        """Publish that facts have changed."""
        self.events.publish(TorrentChanged(self.info_hash, group))
