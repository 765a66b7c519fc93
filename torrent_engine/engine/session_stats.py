"""The numbers of one torrent at one moment."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.events import StatsUpdated
from torrent_engine.engine.loop_watch import LoopLag
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.source_counts import SourceCounts
from torrent_engine.engine.states import State
from torrent_engine.engine.torrent import Totals

if TYPE_CHECKING:
    from torrent_engine.engine.metadata_run import MetadataRun
    from torrent_engine.engine.resting import RestFacts
    from torrent_engine.engine.session_run import SessionRun


@dataclass(frozen=True, slots=True)
class SessionStats:
    """What a Session is and did; bytes are payload, rates are over the last seconds."""

    state: State
    name: str
    completed_bytes: int
    """Verified, of what is wanted."""
    wanted_bytes: int
    total_bytes: int
    downloaded_bytes: int
    """Received in this run."""
    uploaded_bytes: int
    wasted_bytes: int
    """Received and thrown away: the next two together."""
    failed_bytes: int
    """Of pieces that failed their SHA-1, and of peers that lied."""
    redundant_bytes: int
    """Of blocks that were here already, or that nobody asked for."""
    """Received in this run and thrown away."""
    download_bytes_per_s: float
    upload_bytes_per_s: float
    eta_s: float | None
    """Until complete at the present rate; None if that is unknown or done."""
    pieces_have: int
    pieces_total: int
    peers: int
    seeds: int
    connecting: int
    ratio: float
    """Uploaded over downloaded, over all runs; over the size if nothing was downloaded."""
    elapsed_s: float
    checked_fraction: float
    """Of the pieces that this start had to hash; 0.0 if there were none."""
    have: bytes
    """The verified pieces, as a BEP 3 bitfield."""
    sources: Mapping[str, SourceCounts] = field(default_factory=dict)
    """What came from where: "tracker", "dht", "pex", "lsd", "web_seed", "incoming", "manual" and
    "resume"; empty while nothing runs."""
    links: Mapping[str, int] = field(default_factory=dict)
    """Peers by what carries their link and how it is encrypted, as "tcp/none" or "utp/rc4"."""
    loop_lag: LoopLag = field(default_factory=LoopLag)
    """How late the event loop was that all torrents share."""


def idle_stats(state: State, name: str, metainfo: Metainfo | None) -> SessionStats:
    """Return the numbers of a torrent that has not run; None: its size is not known."""
    total_bytes = 0 if metainfo is None else metainfo.total_bytes
    return SessionStats(
        state=state,
        name=name,
        completed_bytes=0,
        wanted_bytes=total_bytes,
        total_bytes=total_bytes,
        downloaded_bytes=0,
        uploaded_bytes=0,
        wasted_bytes=0,
        failed_bytes=0,
        redundant_bytes=0,
        download_bytes_per_s=0.0,
        upload_bytes_per_s=0.0,
        eta_s=None,
        pieces_have=0,
        pieces_total=0 if metainfo is None else metainfo.piece_count,
        peers=0,
        seeds=0,
        connecting=0,
        ratio=0.0,
        elapsed_s=0.0,
        checked_fraction=0.0,
        have=b"",
    )


def rest_stats(facts: "RestFacts", state: State, totals: Totals, elapsed_s: float) -> SessionStats:
    """Return the numbers of a torrent that rests."""
    base_bytes = facts.all_downloaded_bytes or facts.wanted_bytes or 1
    return replace(
        idle_stats(state, facts.name, None),
        completed_bytes=facts.completed_bytes,
        wanted_bytes=facts.wanted_bytes,
        total_bytes=facts.total_bytes,
        downloaded_bytes=totals.downloaded_bytes,
        uploaded_bytes=totals.uploaded_bytes,
        wasted_bytes=totals.wasted_bytes,
        failed_bytes=totals.failed_bytes,
        redundant_bytes=totals.redundant_bytes,
        pieces_have=facts.pieces_have,
        pieces_total=facts.piece_count,
        ratio=facts.all_uploaded_bytes / base_bytes,
        elapsed_s=elapsed_s,
        have=facts.bitfield(),
    )


def fetch_stats(fetch: "MetadataRun", state: State, name: str, elapsed_s: float) -> SessionStats:
    """Return the numbers of a torrent whose metadata is looked for."""
    return replace(
        idle_stats(state, name, None),
        peers=len(fetch.swarm.peers),
        connecting=fetch.pool.connecting,
        elapsed_s=elapsed_s,
        sources=fetch.source_totals.counts(),
        links=_links(fetch.swarm.peers),
    )


def run_stats(run: "SessionRun", state: State, now: float, elapsed_s: float) -> SessionStats:
    """Return the numbers of a torrent that runs, or has run."""
    torrent, progress = run.torrent, run.progress
    metainfo, totals, have = torrent.metainfo, torrent.totals, torrent.table.have
    down, up = rates(run, now)
    base_bytes = run.all_totals.downloaded_bytes or progress.wanted_bytes or 1
    return SessionStats(
        state=state,
        name=metainfo.name,
        completed_bytes=progress.completed_bytes,
        wanted_bytes=progress.wanted_bytes,
        total_bytes=metainfo.total_bytes,
        downloaded_bytes=totals.downloaded_bytes,
        uploaded_bytes=totals.uploaded_bytes,
        wasted_bytes=totals.wasted_bytes,
        failed_bytes=totals.failed_bytes,
        redundant_bytes=totals.redundant_bytes,
        download_bytes_per_s=down,
        upload_bytes_per_s=up,
        eta_s=eta_s(progress.wanted_bytes - progress.completed_bytes, down),
        pieces_have=have.count,
        pieces_total=metainfo.piece_count,
        peers=len(torrent.peers),
        seeds=sum(peer.has_all for peer in torrent.peers),
        connecting=run.transfer.pool.connecting,
        ratio=run.all_totals.uploaded_bytes / base_bytes,
        elapsed_s=elapsed_s,
        checked_fraction=run.check.checked_pieces / max(run.check.pieces_to_check, 1),
        have=have.to_bytes(),
        sources=run.transfer.source_totals.counts(),
        links=_links(torrent.peers),
    )


def _links(peers: Iterable[Peer]) -> dict[str, int]:
    transports = (peer.link.transport for peer in peers)
    return dict(Counter(f"{each.protocol}/{each.encryption}" for each in transports))


def stats_event(run: "SessionRun", state: State, now: float) -> StatsUpdated:
    """Return the event that tells of these numbers."""
    torrent, progress = run.torrent, run.progress
    down, up = rates(run, now)
    return StatsUpdated(
        torrent.info_hash,
        state.value,
        down,
        up,
        torrent.totals.downloaded_bytes,
        torrent.totals.uploaded_bytes,
        progress.completed_bytes,
        progress.wanted_bytes,
        len(torrent.peers),
        sum(peer.has_all for peer in torrent.peers),
        run.transfer.source_totals.counts(),
        _links(torrent.peers),
    )


def rates(run: "SessionRun", now: float) -> tuple[float, float]:
    """Return download and upload rate over all peers and web seeds, in bytes per second."""
    down, up = run.transfer.web_seeds.bytes_per_s(now), 0.0
    for peer in run.torrent.peers:
        down += peer.download_rate.rate(now)
        up += peer.upload_rate.rate(now)
    return down, up


def eta_s(left_bytes: int, bytes_per_s: float) -> float | None:
    """Return the seconds that are left at a rate; None if nothing is left or nothing comes."""
    return left_bytes / bytes_per_s if left_bytes > 0 and bytes_per_s >= 1 else None
