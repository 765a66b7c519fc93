"""The numbers of one torrent at one moment."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SessionBrief, SessionStats, TorrentFacts
from torrent_engine.engine.swarm.peer import Peer

if TYPE_CHECKING:
    from torrent_engine.engine.runs.metadata_run import MetadataRun
    from torrent_engine.engine.runs.parts import RunParts


def idle_stats(state: State, name: str, facts: TorrentFacts | None) -> SessionStats:
    """Return the numbers of a torrent that has not run; None: its size is not known."""
    total_bytes = 0 if facts is None else facts.total_bytes
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
        pieces_total=0 if facts is None else facts.piece_count,
        peers=0,
        seeds=0,
        connecting=0,
        ratio=0.0,
        elapsed_s=0.0,
        checked_fraction=0.0,
        have=b"",
    )


def idle_brief(state: State, name: str, facts: TorrentFacts | None) -> SessionBrief:
    """Return the same, in short."""
    total_bytes = 0 if facts is None else facts.total_bytes
    return SessionBrief(
        state=state,
        name=name,
        completed_bytes=0,
        wanted_bytes=total_bytes,
        total_bytes=total_bytes,
        left_bytes=total_bytes,
        all_downloaded_bytes=0,
        all_uploaded_bytes=0,
        all_wasted_bytes=0,
        all_failed_bytes=0,
        download_bytes_per_s=0.0,
        upload_bytes_per_s=0.0,
        eta_s=None,
        pieces_have=0,
        pieces_total=0 if facts is None else facts.piece_count,
        peers=0,
        seeds=0,
        connecting=0,
        ratio=0.0,
        checked_fraction=0.0,
    )


def fetch_brief(fetch: "MetadataRun", state: State, name: str) -> SessionBrief:
    """Return the numbers of a torrent whose metadata is being fetched, in short."""
    return replace(
        idle_brief(state, name, None),
        peers=len(fetch.swarm.peers),
        connecting=fetch.pool.connecting,
    )


def run_brief(parts: "RunParts", state: State, now: float) -> SessionBrief:
    """Return the numbers of a torrent that runs, or has run, in short."""
    torrent, progress, totals = parts.torrent, parts.progress, parts.totals
    metainfo, wanted_bytes = torrent.metainfo, progress.wanted_bytes
    down, up = rates(parts, now)
    peers = torrent.peers
    return SessionBrief(
        state=state,
        name=metainfo.name,
        completed_bytes=progress.completed_bytes,
        wanted_bytes=wanted_bytes,
        total_bytes=metainfo.total_bytes,
        left_bytes=progress.left_bytes,
        all_downloaded_bytes=totals.downloaded_bytes,
        all_uploaded_bytes=totals.uploaded_bytes,
        all_wasted_bytes=totals.failed_bytes + totals.redundant_bytes,
        all_failed_bytes=totals.failed_bytes,
        download_bytes_per_s=down,
        upload_bytes_per_s=up,
        eta_s=eta_s(wanted_bytes - progress.completed_bytes, down),
        pieces_have=torrent.table.have.count,
        pieces_total=metainfo.piece_count,
        peers=len(torrent.peers),
        seeds=sum(peer.has_all for peer in torrent.peers),
        connecting=parts.transfer.pool.connecting,
        ratio=totals.uploaded_bytes / (totals.downloaded_bytes or wanted_bytes or 1),
        checked_fraction=parts.check.checked_pieces / max(parts.check.pieces_to_check, 1),
        sending_to_us=sum(peer.download_rate.rate(now) > 0 for peer in peers) if down else 0,
        getting_from_us=sum(peer.upload_rate.rate(now) > 0 for peer in peers) if up else 0,
    )


def fetch_stats(fetch: "MetadataRun", state: State, name: str, elapsed_s: float) -> SessionStats:
    """Return the numbers of a torrent whose metadata is being fetched."""
    return replace(
        idle_stats(state, name, None),
        peers=len(fetch.swarm.peers),
        connecting=fetch.pool.connecting,
        elapsed_s=elapsed_s,
        sources=fetch.source_totals.counts(),
        links=_links(fetch.swarm.peers),
    )


def run_stats(parts: "RunParts", state: State, now: float, elapsed_s: float) -> SessionStats:
    """Return the numbers of a torrent that runs, or has run."""
    torrent, progress = parts.torrent, parts.progress
    metainfo, totals, have = torrent.metainfo, torrent.totals, torrent.table.have
    down, up = rates(parts, now)
    base_bytes = parts.totals.downloaded_bytes or progress.wanted_bytes or 1
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
        connecting=parts.transfer.pool.connecting,
        ratio=parts.totals.uploaded_bytes / base_bytes,
        elapsed_s=elapsed_s,
        checked_fraction=parts.check.checked_pieces / max(parts.check.pieces_to_check, 1),
        have=have.to_bytes(),
        all_downloaded_bytes=parts.totals.downloaded_bytes,
        all_uploaded_bytes=parts.totals.uploaded_bytes,
        all_wasted_bytes=parts.totals.failed_bytes + parts.totals.redundant_bytes,
        all_failed_bytes=parts.totals.failed_bytes,
        sources=parts.transfer.source_totals.counts(),
        links=_links(torrent.peers),
    )


def _links(peers: Iterable[Peer]) -> dict[str, int]:
    transports = (peer.link.transport for peer in peers)
    return dict(Counter(f"{each.protocol}/{each.encryption}" for each in transports))


def rates(parts: "RunParts", now: float) -> tuple[float, float]:
    """Return download and upload rate over all peers and web seeds, in bytes per second."""
    down, up = parts.transfer.web_seeds.bytes_per_s(now), 0.0
    for peer in parts.torrent.peers:
        down += peer.download_rate.rate(now)
        up += peer.upload_rate.rate(now)
    return down, up


def eta_s(left_bytes: int, bytes_per_s: float) -> float | None:
    """Return the seconds that are left at a rate; None if nothing is left or nothing comes."""
    return left_bytes / bytes_per_s if left_bytes > 0 and bytes_per_s >= 1 else None
