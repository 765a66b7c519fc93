"""The events of Sessions and managers: frozen facts, each with a ``type`` string."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from torrent_engine.base.config import ConnectionEncryption, TransportProtocol
from torrent_engine.base.ids import FileIndex, InfoHash, PeerAddress, PieceIndex
from torrent_engine.disk.state.job_table import Job
from torrent_engine.engine.stats import SessionStats


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events: ``type`` names the kind, ``info_hash`` (20 bytes) the torrent.

    The info-hash of an event that is about no torrent is empty.
    """

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
class DownloadFinished(Event):
    """A download is complete and its files are where they stay, below the save path ``path``.

    Published after SessionCompleted, or once the rest is no longer wanted, and after the move out
    of the folder for incomplete files; if that failed, ``path`` is where the files are instead.
    """

    type: ClassVar[str] = "download.finished"
    path: str


@dataclass(frozen=True, slots=True)
class SessionStopped(Event):
    """The Session ended."""

    type: ClassVar[str] = "session.stopped"
    reason: str
    """"stopped", "ratio", "time", "idle", "checked", "metadata", "cancelled" or "owner_changed"."""


@dataclass(frozen=True, slots=True)
class SessionErrored(Event):
    """The Session is in state ERROR; ``message`` is the reason."""

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
    """Addresses of the peers that sent blocks of it."""
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
    """The files could not be moved to ``path`` and stay where they were; ``message`` says why."""

    type: ClassVar[str] = "storage.move_failed"
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class PeerConnected(Event):
    """A peer has completed the handshake, and that of BEP 10 if it supports it."""

    type: ClassVar[str] = "peer.connected"
    address: PeerAddress
    client: str
    """Client name from BEP 10, else from the peer id (BEP 20), else "". Not escaped."""
    incoming: bool
    transport: TransportProtocol = TransportProtocol.TCP
    encryption: ConnectionEncryption = ConnectionEncryption.NONE


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
    warning: str = ""
    """What it wants its users to know (BEP 3 "warning message"), not escaped; mostly ""."""
    elapsed_s: float = 0.0
    """How long the answer took."""


@dataclass(frozen=True, slots=True)
class TrackerFailed(Event):
    """A tracker did not answer, or refused."""

    type: ClassVar[str] = "tracker.failed"
    url: str
    message: str
    retry_in_s: float
    elapsed_s: float = 0.0
    """How long it took to fail."""


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
    """A round of DHT queries ended (BEP 5)."""

    type: ClassVar[str] = "dht.peers"
    count: int
    """Peers that it named."""
    new: int
    """The number of those that were not known before."""


@dataclass(frozen=True, slots=True)
class WebSeedFailed(Event):
    """A request to a web seed failed."""

    type: ClassVar[str] = "web_seed.failed"
    url: str
    """Without secrets."""
    message: str
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class WebSeedBanned(Event):
    """A web seed sent data that was proved wrong."""

    type: ClassVar[str] = "web_seed.banned"
    url: str
    """Without secrets."""
    reason: str


@dataclass(frozen=True, slots=True)
class StatsUpdated(Event):
    """Once a second while it runs: what ``Session.stats()`` returns."""

    type: ClassVar[str] = "stats.update"
    stats: SessionStats


@dataclass(frozen=True, slots=True)
class EventsDropped(Event):
    """A stream was not read fast enough: ``dropped`` events are missing before the next one."""

    type: ClassVar[str] = "events.dropped"
    dropped: int


# -- of a TorrentManager --------------------------------------------------------------------------


class ChangedGroup(StrEnum):
    """Facts of a torrent that change together; rates and totals change without an event."""

    ABOUT = "about"
    """What it is: its metadata came, or a file has another name."""
    SETTINGS = "settings"
    """What was chosen for it: limits, rules, priorities, trackers, places, user data."""
    PROGRESS = "progress"
    """What it does: its state, its error, whether its files are being moved."""


@dataclass(frozen=True, slots=True)
class TorrentAdded(Event):
    """The manager has one more torrent; its Session is about to start."""

    type: ClassVar[str] = "torrent.added"
    name: str
    is_restored: bool
    """Whether it was there in an earlier run of the manager."""


@dataclass(frozen=True, slots=True)
class TorrentRemoved(Event):
    """The manager has a torrent no more; no other event of it follows."""

    type: ClassVar[str] = "torrent.removed"


@dataclass(frozen=True, slots=True)
class TorrentChanged(Event):
    """Facts of a torrent have changed: who shows them asks for them anew.

    Published by every Session, after the change.
    """

    type: ClassVar[str] = "torrent.changed"
    group: ChangedGroup


@dataclass(frozen=True, slots=True)
class QueueChanged(Event):
    """The order of the queue or a priority has changed because of this torrent.

    Published when it is moved, gets another priority, is removed, or added before others.
    """

    type: ClassVar[str] = "queue.changed"


@dataclass(frozen=True, slots=True)
class JobChanged(Event):
    """A job of the log was begun, continued or ended; ``job`` is what the database has now.

    What changes within half a second is one event.
    """

    type: ClassVar[str] = "job.changed"
    job: Job


@dataclass(frozen=True, slots=True)
class JobsRemoved(Event):
    """Jobs were deleted from the log, by a user or because they are old."""

    type: ClassVar[str] = "jobs.removed"
    job_ids: tuple[str, ...]
