"""What a run is given by its Session, and the parts of a run that others read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torrent_engine.base.config import DormancyConfig, SessionConfig
from torrent_engine.base.errors import DiskFullError
from torrent_engine.base.ids import PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.discovery.tracker_log import TrackerLog
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.runs.disk_full import DiskFull
from torrent_engine.engine.runs.recheck import RunCheck
from torrent_engine.engine.runs.saved_totals import SavedTotals
from torrent_engine.engine.runs.session_storage import SessionStorage
from torrent_engine.engine.runs.source_edits import SourceEdits
from torrent_engine.engine.states import StateMachine
from torrent_engine.engine.stats import SessionStats
from torrent_engine.engine.swarm.context import Torrent, Totals
from torrent_engine.engine.transfer.progress import DownloadProgress, RankedPieces
from torrent_engine.engine.transfer.transfer import Transfer
from torrent_engine.policy.queue.seeding_clock import SeedingClock
from torrent_engine.policy.queue.torrent_times import TorrentTimes


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a Session gives to each of its runs."""

    metainfo: Metainfo
    save_path: Path
    config: SessionConfig
    peer_id: PeerId
    bus: EventBus
    machine: StateMachine
    totals: Totals
    disk_full: DiskFull
    on_waiting: Callable[[DiskFullError], None]
    """Called when the run begins to wait for disk space: the state becomes ERROR."""
    on_room: Callable[[], None]
    """Called when there is disk space again: the state becomes what it was."""
    seeding: SeedingClock
    times: TorrentTimes
    rests: DormancyConfig | None
    """When the run ends for want of work; None: only if others wait for its slot."""
    is_needed: Callable[[], bool]
    """Return whether the run is to go on without work."""
    refuses_missing: bool
    """Whether the run fails if files are gone that had data."""
    edits: SourceEdits
    """Trackers and web seeds that the user added or removed."""
    on_completed: Callable[[], None]
    """Called when a download has become complete, after SessionCompleted was published."""
    storage: SessionStorage
    """The storage that the user gave, if any; the same object in every run of a Session."""
    on_piece: Callable[[], None]
    """Called when a piece is verified and written."""
    stats: Callable[[], SessionStats]
    """Returns the present numbers, for the event."""
    tracker_log: TrackerLog
    """What trackers answered in all runs."""
    on_learned: Callable[[Metainfo], None]
    """Called with the torrent when it has got hashes of pieces that it lacked."""
    ranked: RankedPieces | None = None
    """The priorities of the pieces, if they were computed in a thread before."""


@dataclass(frozen=True, eq=False, slots=True)
class RunParts:
    """The parts of one run, for what reads its numbers."""

    torrent: Torrent
    progress: DownloadProgress
    transfer: Transfer
    totals: SavedTotals
    """Payload over all runs."""
    check: RunCheck
