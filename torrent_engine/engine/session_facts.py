"""Owns what can be asked of a Session at any time, whether it runs or not."""

from typing import TYPE_CHECKING

from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.peer import PeerStats, peer_stats
from torrent_engine.engine.session_stats import SessionStats, idle_stats, run_stats
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.states import State, StateMachine
from torrent_engine.engine.tracker_coordinator import TrackerStatus

if TYPE_CHECKING:
    from torrent_engine.engine.session_run import SessionRun


class SessionFacts:
    """The facts of one torrent: who is connected, how trackers answer, the numbers."""

    def __init__(self, metainfo: Metainfo, shared: SharedResources, machine: StateMachine) -> None:
        self.metainfo = metainfo
        self._shared = shared
        self._machine = machine
        self._run: SessionRun | None = None
        self._started_s = 0.0

    @property
    def info_hash(self) -> InfoHash:
        """The SHA-1 of the info dictionary."""
        return self.metainfo.info_hash

    @property
    def name(self) -> str:
        """The torrent's name, cleaned for the file system."""
        return self.metainfo.name

    @property
    def state(self) -> State:
        """What the Session does now."""
        return self._machine.state

    def peers(self) -> list[PeerStats]:
        """Return what can be told of each connected peer."""
        if self._run is None:
            return []
        now = self._shared.clock()
        return [peer_stats(peer, now) for peer in self._run.torrent.peers]

    def trackers(self) -> list[TrackerStatus]:
        """Return how each tracker answers."""
        return [] if self._run is None else self._run.transfer.trackers.status()

    def stats(self) -> SessionStats:
        """Return the numbers of this moment; after the end those of the last run."""
        if self._run is None:
            return idle_stats(self.state, self.metainfo)
        now = self._shared.clock()
        return run_stats(self._run, self.state, now, now - self._started_s)
