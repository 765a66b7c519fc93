"""The numbers of all torrents together at one moment."""

from collections import Counter
from typing import TYPE_CHECKING

from torrent_engine.engine.runs.run_stats import rates
from torrent_engine.engine.stats import DiskStats, ManagerStats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torrent_engine.base.config import ConnectionEncryption, TransportProtocol
    from torrent_engine.engine.resources.shared_resources import SharedResources
    from torrent_engine.engine.session.session import Session
    from torrent_engine.engine.states import State
    from torrent_engine.engine.swarm.peer import Peer


def manager_stats(sessions: "Iterable[Session]", shared: "SharedResources") -> ManagerStats:
    """Add up the numbers of Sessions."""
    states: Counter[State] = Counter()
    links: Counter[tuple[TransportProtocol, ConnectionEncryption]] = Counter()
    resting = downloaded = uploaded = wasted = queued = count = 0
    down = up = 0.0
    now = shared.clock()
    for session in sessions:
        count += 1
        states[session.state] += 1
        resting += session.is_resting
        totals = session.totals
        downloaded += totals.downloaded_bytes
        uploaded += totals.uploaded_bytes
        wasted += totals.wasted_bytes
        run = session.admin.run
        if run is not None:
            links.update(map(_link_of, run.torrent.peers))
            queued += run.transfer.writer.queued_bytes
            run_down, run_up = rates(run.parts, now)
            down, up = down + run_down, up + run_up
    disk = shared.disk_counts
    return ManagerStats(
        count,
        dict(states),
        resting,
        links.total(),
        shared.connection_slots.used,
        downloaded,
        uploaded,
        down,
        up,
        shared.loop_watch.lag(),
        wasted,
        dict(links),
        DiskStats(queued, disk.checked_bytes, dict(disk.errors)),
        {"filter": shared.ip_filter.refusals, "ban": shared.bans.refusals},
    )


def _link_of(peer: "Peer") -> "tuple[TransportProtocol, ConnectionEncryption]":
    transport = peer.link.transport
    return transport.protocol, transport.encryption
