"""The numbers of all torrents together at one moment."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torrent_engine.engine.loop_watch import LoopLag
from torrent_engine.engine.session_stats import rates
from torrent_engine.engine.states import State

if TYPE_CHECKING:
    from torrent_engine.engine.session import Session
    from torrent_engine.engine.shared_resources import SharedResources


@dataclass(frozen=True, slots=True)
class ManagerStats:
    """What all torrents are and did in this process; bytes are payload."""

    torrents: int
    states: Mapping[State, int]
    """How many are in each state; states that none is in are left out."""
    resting: int
    """How many have nothing to do, and no task."""
    peers: int
    connections: int
    """Peers, and connections that are being made."""
    downloaded_bytes: int
    uploaded_bytes: int
    download_bytes_per_s: float
    upload_bytes_per_s: float
    loop_lag: LoopLag
    """How late the event loop was."""


def manager_stats(sessions: "Iterable[Session]", shared: "SharedResources") -> ManagerStats:
    """Add up the numbers of Sessions."""
    states: Counter[State] = Counter()
    resting = peers = downloaded = uploaded = count = 0
    down = up = 0.0
    now = shared.clock()
    for session in sessions:
        count += 1
        states[session.state] += 1
        resting += session.is_resting
        downloaded += session.totals.downloaded_bytes
        uploaded += session.totals.uploaded_bytes
        run = session.present_run
        if run is not None:
            peers += len(run.torrent.peers)
            run_down, run_up = rates(run, now)
            down, up = down + run_down, up + run_up
    return ManagerStats(
        count,
        dict(states),
        resting,
        peers,
        shared.connection_slots.used,
        downloaded,
        uploaded,
        down,
        up,
        shared.loop_watch.lag(),
    )
