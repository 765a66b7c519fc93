"""The numbers of all torrents together at one moment."""

from collections import Counter
from typing import TYPE_CHECKING

from torrent_engine.engine.runs.run_stats import rates
from torrent_engine.engine.stats import ManagerStats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torrent_engine.engine.resources.shared_resources import SharedResources
    from torrent_engine.engine.session.session import Session
    from torrent_engine.engine.states import State


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
        run = session.admin.run
        if run is not None:
            peers += len(run.torrent.peers)
            run_down, run_up = rates(run.parts, now)
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
