"""Statistics: every number that a user of the library can ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Final

from torrent_engine.base.config import ConnectionEncryption, TransportProtocol
from torrent_engine.base.ids import FileIndex, InfoHash, InfoHashV2, PeerAddress
from torrent_engine.engine.states import State
from torrent_engine.net.nat.mapping_status import PortMappingStatus
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.tracker.announce import ScrapeCounts

WEB_SEED: Final = "web_seed"
NAMES_OF_FLAGS: Final = {
    Source.TRACKER: "tracker",
    Source.DHT: "dht",
    Source.PEX: "pex",
    Source.LSD: "lsd",
    Source.INCOMING: "incoming",
    Source.MANUAL: "manual",
    Source.RESUME: "resume",
}
SOURCE_NAMES: Final = (*NAMES_OF_FLAGS.values(), WEB_SEED)
"""The keys of ``SessionStats.sources``."""


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """What one source of peers gave to a torrent."""

    candidates: int = 0
    """Addresses known now that it named; one that several named counts for each of them."""
    connected: int = 0
    """Peers connected now that it was the first to name; of "web_seed" the servers in use."""
    downloaded_bytes: int = 0
    """Payload of this run from such peers, those that left included."""


@dataclass(frozen=True, slots=True)
class LoopLag:
    """How late the event loop was, over the life of the shared resources."""

    longest_s: float = 0.0
    """The longest time for which nothing else could run."""
    p99_s: float = 0.0
    """99 % of the looks found less than this; rounded up to a power of two of milliseconds."""
    late_count: int = 0
    """How often it was more than 0.1 s."""
    last_place: str = ""
    """What ran when it was last so late, as far as is known."""


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Statistics of one torrent; bytes are payload, rates are over the last seconds."""

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
    """Received and discarded: the next two together."""
    failed_bytes: int
    """Of pieces that failed their SHA-1, and of peers that sent wrong data."""
    redundant_bytes: int
    """Of blocks that were here already, or were not requested."""
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
    have: bytes = field(repr=False)
    """The verified pieces, as a BEP 3 bitfield."""
    sources: Mapping[str, SourceCounts] = field(default_factory=dict)
    """Peers and bytes by source: "tracker", "dht", "pex", "lsd", "web_seed", "incoming", "manual"
    and "resume"; empty while nothing runs."""
    links: Mapping[str, int] = field(default_factory=dict)
    """Peers by what carries their link and how it is encrypted, as "tcp/none" or "utp/rc4"."""
    loop_lag: LoopLag = field(default_factory=LoopLag)
    """How late the event loop was, which all torrents share."""
    all_downloaded_bytes: int = 0
    """Over all runs of all processes, as the next three."""
    all_uploaded_bytes: int = 0
    all_wasted_bytes: int = 0
    all_failed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SessionBrief:
    """What a list shows of one torrent: cheap for thousands of them, also at rest.

    Bytes are payload, rates are over the last seconds; totals are over all runs of all processes.
    """

    state: State
    name: str
    completed_bytes: int
    """Verified, of what is wanted."""
    wanted_bytes: int
    total_bytes: int
    left_bytes: int
    """Not verified, of the whole torrent."""
    all_downloaded_bytes: int
    all_uploaded_bytes: int
    all_wasted_bytes: int
    """Received and discarded."""
    all_failed_bytes: int
    """Of that what was proved wrong."""
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
    """As in :class:`SessionStats`."""
    checked_fraction: float
    """As in :class:`SessionStats`."""
    sending_to_us: int = 0
    """Peers from which payload came in the last seconds; web seeds are left out."""
    getting_from_us: int = 0
    """Peers to which payload went in the last seconds."""


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """When things happened to one torrent, in seconds since 1970, and for how long.

    None: it did not happen, or was before such times were saved.
    """

    added_s: float | None
    started_s: float | None
    """Started or resumed the last time."""
    completed_s: float | None
    """The last time that all that was wanted came to be here."""
    activity_s: float | None
    """Payload moved, to the second or so."""
    edited_s: float | None
    """Trackers or web seeds were added or removed."""
    downloading_s: float
    """How long it has been downloading, over all runs; pauses and checks do not count."""
    seeding_s: float
    """How long it has been seeding, since it became complete."""


@dataclass(frozen=True, slots=True)
class TorrentFacts:
    """What the .torrent says, without its pieces and files; texts are not escaped."""

    name: str
    """Cleaned for the file system."""
    total_bytes: int
    piece_bytes: int
    piece_count: int
    file_count: int
    is_private: bool
    comment: str
    """Its first 4,096 characters; "" if there is none."""
    creator: str
    """The program that made it; "" if that is not known."""
    created_s: int | None
    """When it was made, in seconds since 1970, as far as its maker says the truth."""
    source_tag: str
    """"source" of the info dictionary; "" if there is none."""
    largest_suffix: str
    """Of the name of the largest file, as ".mkv"; "" if it has none."""
    tiers: tuple[tuple[str, ...], ...] = field(repr=False)
    """Trackers, best tier first (BEP 12); URLs may have secrets in them."""
    web_seeds: tuple[str, ...] = field(repr=False)
    """BEP 19."""
    http_seeds: tuple[str, ...] = field(repr=False)
    """BEP 17."""
    info_hash_v1: InfoHash | None = None
    """SHA-1; None: the torrent is of v2 alone, or an earlier version has saved it."""
    info_hash_v2: InfoHashV2 | None = None
    """SHA-256 of a v2 or hybrid torrent (BEP 52)."""

    def other_hash(self, info_hash: InfoHash) -> InfoHash | None:
        """Return the second info-hash of a hybrid that is known by one; None of other torrents."""
        if self.info_hash_v1 is None or self.info_hash_v2 is None:
            return None
        is_first = info_hash == self.info_hash_v1
        return self.info_hash_v2.truncated if is_first else self.info_hash_v1


@dataclass(frozen=True, slots=True)
class FileStats:
    """Statistics of one file of a torrent."""

    index: FileIndex
    """Its number in the torrent, from 0, pad files counted."""
    path: Path
    """Where it is or will be, below the save path."""
    size_bytes: int
    completed_bytes: int
    """Bytes of it that are in verified pieces."""
    priority: int
    """0 (not wanted) to 7."""
    pieces: range
    """The pieces that it has bytes in; empty for an empty file."""

    @property
    def is_complete(self) -> bool:
        """Whether all of it is verified."""
        return self.completed_bytes == self.size_bytes


@dataclass(frozen=True, slots=True)
class PeerStats:
    """Statistics of one peer."""

    address: PeerAddress
    client: str
    source: str
    is_incoming: bool
    transport: TransportProtocol
    encryption: ConnectionEncryption
    is_seed: bool
    am_interested: bool
    am_choking: bool
    peer_interested: bool
    peer_choking: bool
    is_snubbed: bool
    downloaded_bytes: int
    uploaded_bytes: int
    download_bytes_per_s: float
    upload_bytes_per_s: float
    outstanding_requests: int
    peer_id: bytes = b""
    """20 bytes (BEP 20)."""
    progress: float = 0.0
    """Which part of the pieces it has, 0 to 1; 0 until the metadata is there."""
    is_optimistic: bool = False
    """It is unchoked for a trial (BEP 3)."""
    sends_to_us: bool = False
    """Payload came from it in the last seconds."""
    gets_from_us: bool = False
    """Payload went to it in the last seconds."""


@dataclass(frozen=True, slots=True)
class TrackerRequest:
    """One announce to a tracker that has ended, or one scrape of it."""

    began_at: float
    """Unix time."""
    ended_at: float
    """Unix time."""
    error: str = ""
    """Why it failed, without secrets; "" if it succeeded."""
    is_timeout: bool = False
    """It failed because no answer came in time."""
    is_refusal: bool = False
    """It failed because the tracker refused."""
    warning: str = ""
    """What the tracker wants its users to know (BEP 3), not escaped."""
    peers: int = 0
    """How many the answer named; 0 for a scrape."""

    @property
    def is_success(self) -> bool:
        """Whether the tracker answered what was asked."""
        return not self.error


@dataclass(frozen=True, slots=True)
class TrackerStatus:
    """Status of one tracker; without secrets of its URL."""

    url: str
    tier: int
    """The number of its tier, from 0."""
    state: str
    """"announcing", "working", "waiting" (never asked yet), "failed" or "disabled"."""
    message: str
    """The last error or warning; "" if there is none."""
    peers: int
    """How many the last answer named."""
    seeds: int | None
    leeches: int | None
    next_announce_in_s: float | None
    """None if it will not be asked again."""
    failures: int
    external_ip: str | None
    tracker_id: int = 0
    """Its number among the trackers of the torrent; the same as long as the Session exists."""
    is_backup: bool = False
    """Another tracker of its tier is asked in place of it, unless that one fails."""
    downloads: int | None = None
    """How often the torrent was completed, ever; only some trackers say."""
    last_announce: TrackerRequest | None = None
    last_scrape: TrackerRequest | None = None
    next_announce_at: float | None = None
    """Unix time of the next announce, as :attr:`next_announce_in_s`; None while none is due."""


@dataclass(frozen=True, slots=True)
class TrackerScrape:
    """The counts of one tracker, or why there are none."""

    url: str
    """Without secrets."""
    counts: ScrapeCounts | None
    error: str


class ProblemKind(StrEnum):
    """Kind of a :class:`TorrentProblem`."""

    TRACKER_WARNING = "tracker_warning"
    """A tracker wants its users to know something, or refused while another one works."""
    TRACKER_ERROR = "tracker_error"
    """A tracker refused, and none works."""
    DISK = "disk"
    """Files or the state cannot be read or written."""
    MISSING_FILES = "missing_files"
    """Files with data are gone."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class TorrentProblem:
    """What is wrong with a torrent that its user should know."""

    kind: ProblemKind
    message: str
    """Without secrets; of a tracker its own words, not escaped."""


@dataclass(frozen=True, slots=True)
class SwarmAvailability:
    """Which pieces the connected peers have."""

    counts: bytes = field(repr=False)
    """A byte for each piece: how many peers have it, 255 for more; seeds are counted."""
    distributed_copies: float
    """Copies of the rarest piece; the fraction is the share of pieces that more peers have."""
    desired_bytes: int
    """Bytes that are wanted and missing, and that a peer or web seed has."""


@dataclass(frozen=True, slots=True)
class BandwidthGroup:
    """Torrents that share limits, beside those over all torrents; 0 is unlimited."""

    name: str
    download_bytes_per_s: int = 0
    upload_bytes_per_s: int = 0
    honors_session_limits: bool = True
    """Whether the limits over all torrents are for these too."""


@dataclass(frozen=True, slots=True)
class DhtTraffic:
    """What the DHT node of one family did since the start."""

    nodes: int
    """Nodes that answer."""
    queries_in: int
    queries_out: int
    timeouts: int
    """Of queries that were sent."""


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """Where a process is reached, and when it was."""

    listen_port: int
    """The TCP port that accepts peers; 0 if there is none."""
    tcp: tuple[PeerAddress, ...]
    """Addresses at which connections are accepted."""
    udp: tuple[PeerAddress, ...]
    """Addresses of uTP, the DHT and UDP trackers."""
    external_addresses: tuple[str, ...]
    """At most one of each family, as trackers, peers or the gateway say."""
    external_port: int | None
    """The TCP port of IPv4 that the gateway leads to us; None: none, or the same."""
    port_mappings: tuple[PortMappingStatus, ...]
    """How each port stands at the gateway of each family; none where it is switched off."""
    dht_nodes: int | None
    """Nodes that answer; None without a DHT."""
    last_incoming_at: Mapping[str, float]
    """Unix time at which a connection for a torrent came last, by "ipv4" and "ipv6"."""
    last_internet_incoming_at: Mapping[str, float]
    """The same, of those that did not come from the local network."""
    connections: int
    max_connections: int
    """0: no limit."""
    dials: Mapping[str, int] = field(default_factory=dict)
    """How often dials ended as "done" (with a peer), "unreached", "refused" and so on."""
    dht: Mapping[str, DhtTraffic] = field(default_factory=dict)
    """What the DHT did, by "ipv4" and "ipv6"."""


@dataclass(frozen=True, slots=True)
class BanRecord:
    """A peer, or a whole address, with which there are no connections."""

    host: str
    """An address; of IPv6 the first one of its /64 where all of that is banned."""
    port: int | None
    """None: whatever the port."""
    peer_id: bytes | None
    """Only the peer that calls itself so; None: whoever it is."""
    ends_in_s: float | None
    """None: it does not end by itself."""
    is_by_user: bool
    """By a call, not for what the peer did."""


class WebSeedState(Enum):
    """State of a web seed."""

    IDLE = "idle"
    """Nothing is asked of it now."""
    ACTIVE = "active"
    WAITING = "waiting"
    """A request failed; it is asked again later."""
    FAILED = "failed"
    """It has nothing that is needed, or may not be asked; asked again later all the same."""
    BANNED = "banned"
    """It sent bad data."""


@dataclass(frozen=True, slots=True)
class WebSeedStats:
    """Statistics of one web seed."""

    url: str
    """Without secrets, unless they were asked for."""
    bep: int
    """17 or 19."""
    state: WebSeedState
    downloaded_bytes: int
    download_bytes_per_s: float
    active_requests: int
    error: str
    """Of the last failure; "" if the last request went well."""


@dataclass(frozen=True, slots=True)
class DiskStats:
    """What the disks of all torrents have to do, and did in this process."""

    queued_bytes: int = 0
    """Received, and neither written nor failed."""
    checked_bytes: int = 0
    """Length of the pieces that checks of files have looked at."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failures that stopped a torrent, made it wait or ended a move: "full", "missing" (files are
    gone), "in_the_way", "database" and "other"."""


@dataclass(frozen=True, slots=True)
class ManagerStats:
    """Statistics of all torrents together, in this process; bytes are payload."""

    torrents: int
    states: Mapping[State, int]
    """How many are in each state; states that none is in are left out."""
    resting: int
    """How many are dormant: without work and without a task."""
    peers: int
    connections: int
    """Peers, and connections that are being made."""
    downloaded_bytes: int
    uploaded_bytes: int
    download_bytes_per_s: float
    upload_bytes_per_s: float
    loop_lag: LoopLag
    """How late the event loop was."""
    wasted_bytes: int = 0
    """Received and discarded."""
    links: Mapping[tuple[TransportProtocol, ConnectionEncryption], int] = field(
        default_factory=dict
    )
    """Peers by what carries their link and how it is encrypted."""
    disk: DiskStats = field(default_factory=DiskStats)
    refused: Mapping[str, int] = field(default_factory=dict)
    """How often an address of a peer was refused, to dial or as a peer, by the IP "filter" or a
    "ban"."""
