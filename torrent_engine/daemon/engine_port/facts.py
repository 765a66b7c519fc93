"""Facts about torrents as the engine tells them to the daemon: frozen, comparable, with defaults.

Sizes are bytes, rates bytes per second, dates seconds since 1970 (0.0: never or unknown).
"""

from dataclasses import dataclass, field
from enum import StrEnum

from torrent_engine.base.ids import InfoHash, InfoHashV2, OwnerTie
from torrent_engine.disk.filesystem import usable_path


class EngineState(StrEnum):
    """What a torrent does in the engine; the values are those of the engine's ``State``."""

    STOPPED = "stopped"
    CHECKING = "checking"
    FETCHING_METADATA = "fetching_metadata"
    DOWNLOADING = "downloading"
    SEEDING = "seeding"
    PAUSED = "paused"
    ERROR = "error"


class ErrorKind(StrEnum):
    """What kind of fault a torrent has; trackers that cannot be reached are none."""

    NONE = ""
    TRACKER_WARNING = "tracker_warning"
    TRACKER_ERROR = "tracker_error"
    DISK = "disk"
    MISSING_FILES = "missing_files"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one torrent; 0 is unlimited."""

    download_bytes_per_s: int = 0
    upload_bytes_per_s: int = 0
    peer_download_bytes_per_s: int = 0
    peer_upload_bytes_per_s: int = 0
    max_peers: int = 0
    """Peers of this torrent; 0: as for all torrents."""


@dataclass(frozen=True, slots=True)
class SeedRules:
    """When seeding ends; None: the general rule, infinity: never."""

    ratio: float | None = None
    time_s: float | None = None
    idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class AboutFacts:
    """What a torrent is; changes when metadata arrives or its root is renamed."""

    name: str = ""
    total_bytes: int = 0
    piece_bytes: int = 0
    piece_count: int = 0
    """0 before the metadata."""
    file_count: int = 0
    is_private: bool = False
    comment: str = ""
    creator: str = ""
    created_at: float = 0.0
    added_at: float = 0.0
    magnet: str = ""
    """The magnet link of the torrent, with its trackers."""
    source: str = ""
    """Field "source" of the info dictionary."""
    largest_suffix: str = ""
    """Of the name of the largest file, such as ".mkv"."""
    info_hash_v1: InfoHash | None = None
    """None: there is none, or it is that of the torrent."""
    info_hash_v2: InfoHashV2 | None = None
    """Of a v2 or hybrid torrent, once it is known (BEP 52)."""

    @property
    def root(self) -> str:
        """What its file, or the folder of its files, is called on this system."""
        return usable_path((self.name,))[0]

    @property
    def has_metadata(self) -> bool:
        """Whether it is known which files there are."""
        return self.piece_count > 0


@dataclass(frozen=True, slots=True)
class SettingFacts:
    """What users and clients decide about a torrent."""

    save_path: str = ""
    """Where the files belong once they are complete."""
    current_path: str = ""
    """Where the files are now."""
    priority: int = 0
    """In the queue."""
    queue_position: int = 0
    """From 0."""
    is_forced: bool = False
    """It runs whatever the queue says."""
    limits: Limits = field(default_factory=Limits)
    seed_rules: SeedRules = field(default_factory=SeedRules)
    is_sequential: bool = False
    sequential_from: int = 0
    """The piece at which its order begins."""
    is_first_last_first: bool = False
    """The first and last pieces of files are downloaded before others."""
    group: str = ""
    """Name of the torrents that share limits with it; see :class:`GroupFacts`."""
    honors_session_limits: bool = True
    """Whether the limits over all torrents, and those of the group, are for this one too."""
    is_super_seeding: bool = False
    trackers: tuple[tuple[str, ...], ...] = ()
    """URLs tier by tier, with their secrets."""
    web_seeds: tuple[str, ...] = ()
    file_priorities: tuple[int, ...] | None = None
    """0 (skip) to 7 for each file of the metainfo; None: all alike."""
    incomplete_path: str = ""
    """Where the files are until they are complete; "": at the save path."""
    owner: OwnerTie | None = None
    """Whose end cancels it."""
    user_data: tuple[tuple[str, str], ...] = ()
    """What the daemon keeps with the torrent: sorted keys and values; see ``state.labels``."""


@dataclass(frozen=True, slots=True)
class TrackerSummary:
    """The tracker that says most about a torrent."""

    host: str = ""
    """Of the first tracker that works, else of the first."""
    state: str = ""
    """"working", "announcing", "waiting", "failed", "disabled"; "" without trackers."""
    message: str = ""
    """Its error or warning; why it cannot be reached, too, which is no fault of the torrent."""
    kind: ErrorKind = ErrorKind.NONE
    """TRACKER_WARNING, TRACKER_ERROR or NONE."""


@dataclass(frozen=True, slots=True)
class ProgressFacts:
    """How far a torrent is, in the engine's words; ``state.rows`` derives the status."""

    state: EngineState = EngineState.STOPPED
    paused_state: EngineState | None = None
    """The state before the pause; None unless PAUSED."""
    is_held: bool = False
    """The queue holds it back."""
    is_paused_by_user: bool = False
    is_moving: bool = False
    """Its files move to another folder."""
    is_resting: bool = False
    """It has no task: none of its numbers changes."""
    stop_reason: str = ""
    """Why it is stopped, such as "ratio", "time", "idle"; "" while it is not."""
    error: str = ""
    """Why the state is ERROR."""
    error_kind: ErrorKind = ErrorKind.NONE
    completed_bytes: int = 0
    """Verified, of what is wanted."""
    wanted_bytes: int = 0
    have_bytes: int = 0
    """Verified, skipped files too."""
    pieces_have: int = 0
    checked_fraction: float = 0.0
    """Of a check that runs; else 0.0."""
    metadata_fraction: float = 0.0
    """Of the metadata of a magnet link; 1.0 once it is there."""
    started_at: float = 0.0
    completed_at: float = 0.0
    activity_at: float = 0.0
    """When payload moved last."""
    edited_at: float = 0.0
    """When trackers or web seeds were changed last."""
    all_downloaded_bytes: int = 0
    """Over all runs, as the next four."""
    all_uploaded_bytes: int = 0
    wasted_bytes: int = 0
    failed_bytes: int = 0
    """Of wasted_bytes: what failed its SHA-1."""
    ratio: float = 0.0
    """Uploaded over downloaded; over the size if nothing was downloaded."""
    seeding_s: float = field(default=0.0, compare=False)
    """Over all runs, as the next; not compared: they run like a clock."""
    downloading_s: float = field(default=0.0, compare=False)
    tracker: TrackerSummary = field(default_factory=TrackerSummary)


@dataclass(frozen=True, slots=True)
class RateFacts:
    """What changes by the second while a torrent runs."""

    download_bytes_per_s: int = 0
    upload_bytes_per_s: int = 0
    eta_s: int | None = None
    """Until complete at the present rate; None: unknown or done."""
    peers: int = 0
    seeds: int = 0
    connecting: int = 0
    sending_to_us: int = 0
    """Peers that send payload to us."""
    getting_from_us: int = 0
    web_seeds_sending: int = 0
    swarm_seeds: int | None = None
    """What trackers say; None: unknown."""
    swarm_leeches: int | None = None


@dataclass(frozen=True, slots=True)
class FactSheet:
    """Everything about one torrent that costs little to tell."""

    info_hash: InfoHash
    about: AboutFacts = field(default_factory=AboutFacts)
    settings: SettingFacts = field(default_factory=SettingFacts)
    progress: ProgressFacts = field(default_factory=ProgressFacts)
    rates: RateFacts = field(default_factory=RateFacts)


# -- details, told on request only ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of a torrent; pad files are not told."""

    index: int
    """Its number in the torrent, from 0, pad files counted."""
    path: str
    """Below the save path, with "/"."""
    size_bytes: int
    completed_bytes: int = 0
    priority: int = 4
    """0 (not wanted) to 7."""
    first_piece: int = 0
    end_piece: int = 0
    """The piece behind its last one."""


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """One connected peer."""

    host: str
    port: int
    client: str = ""
    peer_id: bytes = b""
    source: str = ""
    """"tracker", "dht", "pex", "lsd", "incoming", "manual" or "resume"."""
    transport: str = "tcp"
    """"tcp" or "utp"."""
    encryption: str = "none"
    """"none", "plaintext" or "rc4": as the handshake negotiated."""
    is_incoming: bool = False
    is_seed: bool = False
    is_optimistic: bool = False
    is_snubbed: bool = False
    sends_to_us: bool = False
    """Payload came from it in the last seconds."""
    gets_from_us: bool = False
    """Payload went to it in the last seconds."""
    am_interested: bool = False
    am_choking: bool = True
    peer_interested: bool = False
    peer_choking: bool = True
    progress: float = 0.0
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    download_bytes_per_s: float = 0.0
    upload_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TrackerRequestFacts:
    """The last announce to a tracker, or the last scrape of it."""

    began_at: float
    ended_at: float = 0.0
    """0.0: there is no answer yet."""
    error: str = ""
    """Why it failed, without secrets."""
    is_timeout: bool = False
    is_refusal: bool = False
    """The tracker answered, and refused."""
    warning: str = ""
    peers: int = 0
    """Named by the answer to an announce."""

    @property
    def is_success(self) -> bool:
        """Whether the tracker answered what was asked."""
        return self.ended_at > 0.0 and not self.error


@dataclass(frozen=True, slots=True)
class TrackerFacts:
    """One tracker of a torrent."""

    id: int
    """Stable in a torrent."""
    url: str
    """With its secrets."""
    tier: int
    state: str = "waiting"
    """"announcing", "working", "waiting" (never asked yet), "failed" or "disabled"."""
    message: str = ""
    """The last error or warning."""
    kind: ErrorKind = ErrorKind.NONE
    is_backup: bool = False
    """Another tracker of its tier is used."""
    peers: int = 0
    """Named by the last answer."""
    seeds: int | None = None
    leeches: int | None = None
    downloads: int | None = None
    """How often the torrent was completed."""
    failures: int = 0
    """Since the last success."""
    next_announce_at: float = 0.0
    """0.0: it is not asked again."""
    last_announce: TrackerRequestFacts | None = None
    last_scrape: TrackerRequestFacts | None = None


@dataclass(frozen=True, slots=True)
class SwarmFacts:
    """What the connected peers have of a torrent."""

    distributed_copies: float = 0.0
    """Of the rarest piece; the fraction is the share of pieces that more peers have."""
    desired_bytes: int = 0
    """Wanted and not here, and a peer or web seed has it."""


@dataclass(frozen=True, slots=True)
class PeerLimits:
    """How many peers there may be."""

    all_torrents: int = 500
    """0: unlimited."""
    per_torrent: int = 200
    """Of torrents without a limit of their own."""


@dataclass(frozen=True, slots=True)
class WebSeedFacts:
    """One web seed of a torrent."""

    url: str
    """With its secrets."""
    bep: int = 19
    state: str = "idle"
    downloaded_bytes: int = 0
    download_bytes_per_s: float = 0.0
    active_requests: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class TotalFacts:
    """The numbers of all torrents together, in this process."""

    torrents: int = 0
    resting: int = 0
    peers: int = 0
    connections: int = 0
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    download_bytes_per_s: float = 0.0
    upload_bytes_per_s: float = 0.0
    loop_lag_s: float = 0.0
    """The latest the event loop was in the last minute."""
    wasted_bytes: int = 0
    """Received and discarded."""
    links: tuple[tuple[tuple[str, str], int], ...] = ()
    """Peers by transport and encryption, as in :class:`PeerFacts`."""
    disk_queue_bytes: int = 0
    """Received, and neither written nor failed."""
    checked_bytes: int = 0
    """Length of the pieces that checks of files have looked at."""
    disk_errors: tuple[tuple[str, int], ...] = ()
    """Failures by kind, such as "full"."""
    refused: tuple[tuple[str, int], ...] = ()
    """How often an address of a peer was refused by the "filter" or a "ban"."""


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """How the engine is reached."""

    listen_port: int = 0
    announced_port: int = 0
    """What trackers are told; another one behind a router."""
    tcp: tuple[str, ...] = ()
    """Endpoints, as "host:port"."""
    udp: tuple[str, ...] = ()
    external_addresses: tuple[str, ...] = ()
    """At most one of each family."""
    dht_nodes: int | None = None
    """Nodes that answer; None: there is no DHT."""
    mapping: str = ""
    """State of the port mapping: "" (off), "trying", "mapped" or "failed"."""
    mapped: tuple[tuple[str, bool], ...] = ()
    """Whether the router has opened our port for "tcp" and "udp"; empty if it is not asked."""
    incoming_at: float = 0.0
    """When a peer connected to us last."""
    internet_incoming_at: float = 0.0
    """The same, of peers that are not on the local network."""
    incoming_by_family: tuple[tuple[str, float], ...] = ()
    """As :attr:`incoming_at`, by "ipv4" and "ipv6"."""
    connections: int = 0
    dials: tuple[tuple[str, int], ...] = ()
    """How often dials ended as "done" (with a peer), "unreached" and so on."""
    dht_by_family: tuple[tuple[str, int], ...] = ()
    """As :attr:`dht_nodes`, by "ipv4" and "ipv6"."""
    dht_queries: tuple[tuple[str, int], ...] = ()
    """Since the start, by "in", "out" and "timeout"."""


@dataclass(frozen=True, slots=True)
class BanFacts:
    """An address, or one peer there, with which there are no connections."""

    host: str
    port: int | None = None
    """None: whatever the port."""
    ends_in_s: float | None = None
    """None: it does not end by itself."""
    is_by_user: bool = True
    """By a call, not for what the peer did."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One record of work: what was asked, how far it is, how it ended."""

    id: str
    kind: str
    """"add", "check", "download", "seed", "move" or "create"."""
    status: str
    """"pending", "running", "paused", "completed", "failed" or "cancelled"."""
    info_hash: InfoHash | None = None
    name: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0
    completed_at: float | None = None
    progress: float = 0.0
    total_bytes: int = 0
    done_bytes: int = 0
    error: str | None = None
    reason: str | None = None

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end."""
        return self.status in {"completed", "failed", "cancelled"}


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs; an empty field lets all pass."""

    statuses: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    info_hash: InfoHash | None = None
    id_prefix: str = ""
    limit: int = 0
    """The newest of them; 0: all."""


# -- what the daemon asks -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddedTorrent:
    """What became of a torrent that was added."""

    info_hash: InfoHash
    name: str
    is_new: bool
    """False: it was there already, and got the trackers of both."""


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """Torrents that share limits, beside those over all torrents; 0 is unlimited."""

    name: str
    download_bytes_per_s: int = 0
    upload_bytes_per_s: int = 0
    honors_session_limits: bool = True
    """Whether the limits over all torrents are for these too."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many torrents are active at once; 0 is unlimited."""

    max_active_downloads: int = 0
    max_active_seeds: int = 0
    max_active: int = 0
    max_active_checks: int = 0


# -- what the engine reports by itself ------------------------------------------------------------


class FactGroup(StrEnum):
    """A group of facts that change together."""

    ABOUT = "about"
    SETTINGS = "settings"
    PROGRESS = "progress"
    RATES = "rates"


@dataclass(frozen=True, slots=True)
class AddedNotice:
    """A torrent is there now."""

    info_hash: InfoHash
    is_restored: bool = False
    """It was there in an earlier process."""


@dataclass(frozen=True, slots=True)
class RemovedNotice:
    """A torrent is gone."""

    info_hash: InfoHash


@dataclass(frozen=True, slots=True)
class ChangedNotice:
    """Facts of a group may have changed."""

    info_hash: InfoHash
    group: FactGroup


@dataclass(frozen=True, slots=True)
class QueueNotice:
    """Torrents may have other positions in the queue."""


@dataclass(frozen=True, slots=True)
class JobNotice:
    """A job was begun, continued or ended."""

    job: JobFacts


@dataclass(frozen=True, slots=True)
class JobsGoneNotice:
    """Records of jobs were deleted."""

    ids: tuple[str, ...]


class Moment(StrEnum):
    """Something in the life of a torrent that happens at one moment."""

    METADATA = "metadata"
    COMPLETED = "completed"
    """All that is wanted is there, and lies where it stays."""
    STOPPED = "stopped"
    FAILED = "failed"
    FILE_COMPLETED = "file_completed"


@dataclass(frozen=True, slots=True)
class MomentNotice:
    """Something happened to a torrent."""

    info_hash: InfoHash
    moment: Moment
    text: str = ""
    """The reason of a stop, the error of a failure, the path of a file."""


Notice = (
    AddedNotice
    | RemovedNotice
    | ChangedNotice
    | QueueNotice
    | JobNotice
    | JobsGoneNotice
    | MomentNotice
)
