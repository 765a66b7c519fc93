"""The events that a Session publishes: frozen facts, each with a ``type`` string."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torrent_engine.base.ids import FileIndex, InfoHash, PeerAddress, PieceIndex
from torrent_engine.base.network_config import LinkEncryption, LinkProtocol
from torrent_engine.engine.source_counts import SourceCounts


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events: ``type`` names the kind, ``info_hash`` (20 bytes) the torrent."""

    type: ClassVar[str] = "event"
    info_hash: InfoHash


@dataclass(frozen=True, slots=True)
class SessionStarted(Event):
    """The Session runs: it checks, downloads or seeds."""

    type: ClassVar[str] = "session.started"
    state: str


@dataclass(frozen=True, slots=True)
class SessionPaused(Event):
    """No payload moves until ``resume()``."""

    type: ClassVar[str] = "session.paused"


@dataclass(frozen=True, slots=True)
class SessionResumed(Event):
    """Payload moves again."""

    type: ClassVar[str] = "session.resumed"
    state: str


@dataclass(frozen=True, slots=True)
class SessionCompleted(Event):
    """Every wanted piece is verified and written."""

    type: ClassVar[str] = "session.completed"
    downloaded_bytes: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class SessionStopped(Event):
    """The Session ended."""

    type: ClassVar[str] = "session.stopped"
    reason: str
    """"stopped", "ratio", "time", "idle", "checked", "metadata", "cancelled" or "owner_changed"."""


@dataclass(frozen=True, slots=True)
class SessionErrored(Event):
    """The Session is in state ERROR; ``message`` says why."""

    type: ClassVar[str] = "session.error"
    message: str


@dataclass(frozen=True, slots=True)
class CheckProgress(Event):
    """Existing data is being hashed."""

    type: ClassVar[str] = "check.progress"
    checked_pieces: int
    total_pieces: int
    valid_pieces: int


@dataclass(frozen=True, slots=True)
class PieceCompleted(Event):
    """A piece matched its SHA-1 and is written."""

    type: ClassVar[str] = "piece.completed"
    piece_index: PieceIndex


@dataclass(frozen=True, slots=True)
class PieceHashFailed(Event):
    """A piece did not match its SHA-1 and is fetched again."""

    type: ClassVar[str] = "piece.hash_failed"
    piece_index: PieceIndex
    peers: tuple[PeerAddress, ...]
    """Who sent blocks of it."""
    web_seeds: tuple[str, ...] = ()
    """URLs, without secrets, of web seeds that sent blocks of it."""


@dataclass(frozen=True, slots=True)
class FileCompleted(Event):
    """Every piece of a file is verified and written."""

    type: ClassVar[str] = "file.completed"
    file_index: FileIndex
    path: str


@dataclass(frozen=True, slots=True)
class FileRenamed(Event):
    """A file has another path below the save path; ``path`` is the whole of it."""

    type: ClassVar[str] = "file.renamed"
    file_index: FileIndex
    path: str


@dataclass(frozen=True, slots=True)
class StorageMoved(Event):
    """All files are in another save path, ``path``."""

    type: ClassVar[str] = "storage.moved"
    path: str


@dataclass(frozen=True, slots=True)
class StorageMoveFailed(Event):
    """The files could not be moved to ``path`` and are where they were; ``message`` says why."""

    type: ClassVar[str] = "storage.move_failed"
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class PeerConnected(Event):
    """A peer passed the handshake, and has said what it is if it speaks BEP 10."""

    type: ClassVar[str] = "peer.connected"
    address: PeerAddress
    client: str
    """What it calls itself (BEP 10), else what its peer id says (BEP 20), else "". Not escaped."""
    incoming: bool
    transport: LinkProtocol = LinkProtocol.TCP
    encryption: LinkEncryption = LinkEncryption.NONE


@dataclass(frozen=True, slots=True)
class PeerDisconnected(Event):
    """A peer's link ended; ``reason`` is a short sentence."""

    type: ClassVar[str] = "peer.disconnected"
    address: PeerAddress
    reason: str


@dataclass(frozen=True, slots=True)
class PeerBanned(Event):
    """A peer sent data that was proved wrong, or broke the protocol too often."""

    type: ClassVar[str] = "peer.banned"
    address: PeerAddress
    reason: str


@dataclass(frozen=True, slots=True)
class TrackerSucceeded(Event):
    """A tracker answered an announce."""

    type: ClassVar[str] = "tracker.success"
    url: str
    """Without passkeys and other secrets."""
    peers: int
    seeds: int | None
    leeches: int | None
    interval_s: float


@dataclass(frozen=True, slots=True)
class TrackerFailed(Event):
    """A tracker did not answer, or refused."""

    type: ClassVar[str] = "tracker.failed"
    url: str
    message: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class MetadataReceived(Event):
    """The metadata of a magnet link came from a peer, and is right (BEP 9)."""

    type: ClassVar[str] = "metadata.received"
    name: str
    total_bytes: int
    piece_count: int
    file_count: int


@dataclass(frozen=True, slots=True)
class DhtPeersFound(Event):
    """A round of questions to the DHT ended (BEP 5)."""

    type: ClassVar[str] = "dht.peers"
    count: int
    """Peers that it named."""
    new: int
    """Those of them that nobody had named before."""


@dataclass(frozen=True, slots=True)
class WebSeedFailed(Event):
    """A request to a web seed failed."""

    type: ClassVar[str] = "web_seed.failed"
    url: str
    """Without secrets."""
    message: str
    retry_in_s: float
    """Infinity: it is given up."""


@dataclass(frozen=True, slots=True)
class WebSeedBanned(Event):
    """A web seed sent data that was proved wrong."""

    type: ClassVar[str] = "web_seed.banned"
    url: str
    """Without secrets."""
    reason: str


@dataclass(frozen=True, slots=True)
class StatsUpdated(Event):
    """Once a second: rates and totals."""

    type: ClassVar[str] = "stats.update"
    state: str
    download_bytes_per_s: float
    upload_bytes_per_s: float
    downloaded_bytes: int
    uploaded_bytes: int
    completed_bytes: int
    wanted_bytes: int
    peers: int
    seeds: int
    sources: Mapping[str, SourceCounts] = field(default_factory=dict)
    """What came from where, as in ``SessionStats.sources``."""
    links: Mapping[str, int] = field(default_factory=dict)
    """How peers are connected, as in ``SessionStats.links``."""


@dataclass(frozen=True, slots=True)
class EventsDropped(Event):
    """A stream was not read fast enough: ``dropped`` events are missing before the next one."""

    type: ClassVar[str] = "events.dropped"
    dropped: int
