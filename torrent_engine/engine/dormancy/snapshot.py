"""The numbers of a torrent that does not run, as they were when its last run ended."""

from dataclasses import dataclass, replace

from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.runs.parts import RunParts
from torrent_engine.engine.runs.run_stats import idle_stats
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SessionBrief, SessionStats
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.engine.transfer.progress import DownloadProgress


@dataclass(frozen=True, slots=True)
class TorrentSnapshot:
    """The numbers of a torrent that does not run; bytes are payload."""

    name: str
    total_bytes: int
    wanted_bytes: int
    completed_bytes: int
    """Verified, of what is wanted."""
    left_bytes: int
    """Not verified, of the whole torrent."""
    piece_count: int
    pieces_have: int
    have: bytes
    """As a BEP 3 bitfield; empty: none or all, as :attr:`pieces_have` says."""
    is_private: bool
    tiers: tuple[tuple[str, ...], ...] = ()
    nodes: tuple[PeerAddress, ...] = ()
    all_downloaded_bytes: int = 0
    """Over all runs."""
    all_uploaded_bytes: int = 0
    metadata_bytes: int = 0
    """Length of the info dictionary; 0: not known."""
    all_failed_bytes: int = 0
    all_redundant_bytes: int = 0
    v2_hash: InfoHash | None = None
    """As :attr:`Swarm.v2_hash`."""
    v1_hash: InfoHash | None = None
    """As :attr:`Swarm.v1_hash`."""
    missing_pad_bytes: int = 0
    """Padding in :attr:`left_bytes`, which the "left" of an announce leaves out (BEP 3, 47)."""

    @property
    def is_complete(self) -> bool:
        """Whether every wanted piece is here."""
        return self.completed_bytes == self.wanted_bytes

    @property
    def ratio(self) -> float:
        """Uploaded over downloaded, over all runs; over the size if nothing was downloaded."""
        return self.all_uploaded_bytes / (self.all_downloaded_bytes or self.wanted_bytes or 1)

    def bitfield(self) -> bytes:
        """Return the verified pieces as a BEP 3 bitfield."""
        if self.have:
            return self.have
        make = Bitfield.full if self.pieces_have else Bitfield
        return make(self.piece_count).to_bytes()


def snapshot_of_new(metainfo: Metainfo, priorities: tuple[int, ...] | None) -> TorrentSnapshot:
    """Return the numbers of a torrent of which nothing is here."""
    wanted_bytes, progress = metainfo.total_bytes, DownloadProgress(metainfo)
    if priorities is not None:
        progress.set_priorities(priorities)
        progress.recount(Bitfield(metainfo.piece_count))
        wanted_bytes = progress.wanted_bytes
    return TorrentSnapshot(
        name=metainfo.name,
        total_bytes=metainfo.total_bytes,
        wanted_bytes=wanted_bytes,
        completed_bytes=0,
        left_bytes=metainfo.total_bytes,
        piece_count=metainfo.piece_count,
        pieces_have=0,
        have=b"",
        is_private=metainfo.is_private,
        tiers=metainfo.tiers,
        nodes=metainfo.nodes,
        metadata_bytes=len(metainfo.info_bytes),
        v2_hash=metainfo.v2_swarm,
        v1_hash=metainfo.v1_swarm,
        missing_pad_bytes=progress.missing_pad_bytes,
    )


def snapshot_of_run(parts: RunParts) -> TorrentSnapshot:
    """Return the numbers of a run, at its end."""
    metainfo, progress, have = parts.torrent.metainfo, parts.progress, parts.torrent.table.have
    return TorrentSnapshot(
        name=metainfo.name,
        total_bytes=metainfo.total_bytes,
        wanted_bytes=progress.wanted_bytes,
        completed_bytes=progress.completed_bytes,
        left_bytes=progress.left_bytes,
        piece_count=metainfo.piece_count,
        pieces_have=have.count,
        have=b"" if have.count in {0, metainfo.piece_count} else have.to_bytes(),
        is_private=metainfo.is_private,
        tiers=metainfo.tiers,
        nodes=metainfo.nodes,
        all_downloaded_bytes=parts.totals.downloaded_bytes,
        all_uploaded_bytes=parts.totals.uploaded_bytes,
        metadata_bytes=len(metainfo.info_bytes),
        all_failed_bytes=parts.totals.failed_bytes,
        all_redundant_bytes=parts.totals.redundant_bytes,
        v2_hash=metainfo.v2_swarm,
        v1_hash=metainfo.v1_swarm,
        missing_pad_bytes=progress.missing_pad_bytes,
    )


def dormant_brief(snapshot: TorrentSnapshot, state: State) -> SessionBrief:
    """Return the statistics of a dormant torrent, in short."""
    return SessionBrief(
        state=state,
        name=snapshot.name,
        completed_bytes=snapshot.completed_bytes,
        wanted_bytes=snapshot.wanted_bytes,
        total_bytes=snapshot.total_bytes,
        left_bytes=snapshot.left_bytes,
        all_downloaded_bytes=snapshot.all_downloaded_bytes,
        all_uploaded_bytes=snapshot.all_uploaded_bytes,
        all_wasted_bytes=snapshot.all_failed_bytes + snapshot.all_redundant_bytes,
        all_failed_bytes=snapshot.all_failed_bytes,
        download_bytes_per_s=0.0,
        upload_bytes_per_s=0.0,
        eta_s=None,
        pieces_have=snapshot.pieces_have,
        pieces_total=snapshot.piece_count,
        peers=0,
        seeds=0,
        connecting=0,
        ratio=snapshot.ratio,
        checked_fraction=0.0,
    )


def dormant_stats(
    snapshot: TorrentSnapshot, state: State, totals: Totals, elapsed_s: float
) -> SessionStats:
    """Return the statistics of a dormant torrent."""
    return replace(
        idle_stats(state, snapshot.name, None),
        completed_bytes=snapshot.completed_bytes,
        wanted_bytes=snapshot.wanted_bytes,
        total_bytes=snapshot.total_bytes,
        downloaded_bytes=totals.downloaded_bytes,
        uploaded_bytes=totals.uploaded_bytes,
        wasted_bytes=totals.wasted_bytes,
        failed_bytes=totals.failed_bytes,
        redundant_bytes=totals.redundant_bytes,
        pieces_have=snapshot.pieces_have,
        pieces_total=snapshot.piece_count,
        ratio=snapshot.ratio,
        elapsed_s=elapsed_s,
        have=snapshot.bitfield(),
        all_downloaded_bytes=snapshot.all_downloaded_bytes,
        all_uploaded_bytes=snapshot.all_uploaded_bytes,
        all_wasted_bytes=snapshot.all_failed_bytes + snapshot.all_redundant_bytes,
        all_failed_bytes=snapshot.all_failed_bytes,
    )
