"""Owns the parts that the managers of one torrent share; decides nothing itself."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from torrent_engine.base.config import SessionConfig, SharedConfig
from torrent_engine.base.ids import InfoHash, PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.storage import StorageManager
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.read_buffers import ReadBuffers
from torrent_engine.net.link_budget import LinkBudget
from torrent_engine.policy.picker import Picker
from torrent_engine.policy.pieces import PieceTable
from torrent_engine.policy.suspicion import Suspicion
from torrent_engine.protocol.wire.buffers import BufferPool


@dataclass(slots=True)
class Totals:
    """Payload that one torrent moved in this run, in bytes."""

    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    failed_bytes: int = 0
    """Received and thrown away: pieces that failed their SHA-1, blocks of peers that lied."""
    redundant_bytes: int = 0
    """Received and thrown away: blocks that were here already, or that nobody asked for."""

    @property
    def wasted_bytes(self) -> int:
        """All that was received and thrown away."""
        return self.failed_bytes + self.redundant_bytes


@dataclass(slots=True, kw_only=True)
class Swarm:
    """What is known of a torrent before its metadata: who is in its swarm, and who we are there."""

    info_hash: InfoHash
    config: SessionConfig
    shared_config: SharedConfig
    peer_id: PeerId
    bus: EventBus
    peers: set[Peer]
    """Who is connected now; only the PeerPool changes it."""
    totals: Totals
    buffers: BufferPool
    link_budget: LinkBudget
    clock: Callable[[], float]
    rng: random.Random


@dataclass(slots=True, kw_only=True)
class Torrent(Swarm):
    """What the managers of one torrent share once its metadata is there."""

    metainfo: Metainfo
    storage: StorageManager
    table: PieceTable
    picker: Picker
    suspicion: Suspicion
    read_buffers: ReadBuffers
    is_abandoned: bool = False
    """Nobody wants the outcome of the run any more: what comes is thrown away."""

    @property
    def is_complete(self) -> bool:
        """Whether every wanted piece is here; one that is only begun is not."""
        have = self.table.have
        return have.all() or not self.picker.wanted & ~have.as_int()
