"""Context objects that the parts of one torrent share."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from torrent_engine.base.config import SessionConfig, SharedConfig
from torrent_engine.base.ids import InfoHash, PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.storage_manager import StorageManager
from torrent_engine.engine.discovery.tracker_log import TrackerLog
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.resources.read_buffers import ReadBuffers
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.net.peers.link_budget import LinkBudget
from torrent_engine.policy.peers.smart_ban import SmartBan
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceTable
from torrent_engine.protocol.wire.buffers import BufferPool


@dataclass(slots=True)
class Totals:
    """Payload that one torrent moved in this run, in bytes."""

    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    failed_bytes: int = 0
    """Received and thrown away: pieces that failed their SHA-1, blocks of peers that lied."""
    redundant_bytes: int = 0
    """Received and thrown away: duplicate and unrequested blocks."""

    @property
    def wasted_bytes(self) -> int:
        """All that was received and thrown away."""
        return self.failed_bytes + self.redundant_bytes


@dataclass(slots=True, kw_only=True)
class Swarm:
    """Context of a torrent without metadata: its identifiers, configuration and peers."""

    info_hash: InfoHash
    config: SessionConfig
    shared_config: SharedConfig
    peer_id: PeerId
    bus: EventBus
    peers: set[Peer]
    """The connected peers; only the PeerPool changes this set."""
    totals: Totals
    buffers: BufferPool
    link_budget: LinkBudget
    clock: Callable[[], float]
    rng: random.Random
    tracker_log: TrackerLog = field(default_factory=TrackerLog)
    is_v2: bool = False
    """Whether only the v2 part of the torrent is known before the metadata is (BEP 52)."""
    v2_hash: InfoHash | None = None
    """The info-hash of a hybrid torrent's v2 swarm, cut to 20 bytes; None of other torrents."""
    v1_hash: InfoHash | None = None
    """That of its v1 swarm, if the hybrid is known by the other; None of other torrents."""

    @property
    def other_hash(self) -> InfoHash | None:
        """The info-hash of the swarm that a hybrid has besides."""
        return self.v2_hash or self.v1_hash


@dataclass(slots=True, kw_only=True)
class Torrent(Swarm):
    """What the managers of one torrent share once its metadata is there."""

    metainfo: Metainfo
    storage: StorageManager
    table: PieceTable
    picker: Picker
    smart_ban: SmartBan
    read_buffers: ReadBuffers
    is_abandoned: bool = False
    """Whether the run is abandoned: received data is thrown away."""

    @property
    def is_complete(self) -> bool:
        """Whether every wanted piece is here; one that is only begun is not."""
        have = self.table.have
        return have.all() or not self.picker.wanted & ~have.as_int()
