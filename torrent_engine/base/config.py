"""Every limit and interval, with its unit in its name, its default and where the default is from.

Frozen dataclasses: make a changed copy with :func:`dataclasses.replace`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from torrent_engine.base.discovery_config import (
    KIB,
    MIB,
    DhtConfig,
    LsdConfig,
    MagnetLimits,
    MetadataConfig,
    PexConfig,
    WebSeedConfig,
)
from torrent_engine.base.ids import OwnerTie
from torrent_engine.base.manager_config import (
    BandwidthConfig,
    JobConfig,
    PortMappingConfig,
    QueueConfig,
    RestConfig,
    SeedingConfig,
)
from torrent_engine.base.network_config import (
    AddressClass,
    ClassRule,
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
    HolepunchConfig,
    IpFilterConfig,
    LinkEncryption,
    LinkProtocol,
    NetworkConfig,
    ProxyConfig,
    ProxyKind,
    UtpConfig,
)
from torrent_engine.base.reading_config import ReaderConfig, SuperSeedConfig

__all__ = [
    "DHT_BENCODE_LIMITS",
    "EXTENSION_BENCODE_LIMITS",
    "FILE_BENCODE_LIMITS",
    "KIB",
    "METADATA_BENCODE_LIMITS",
    "METADATA_MESSAGE_BENCODE_LIMITS",
    "MIB",
    "PEX_BENCODE_LIMITS",
    "STORED_BENCODE_LIMITS",
    "TRACKER_BENCODE_LIMITS",
    "AddressClass",
    "BandwidthConfig",
    "BencodeLimits",
    "ChokerConfig",
    "ClassRule",
    "DhtConfig",
    "DiskConfig",
    "EncryptionConfig",
    "EncryptionLevel",
    "EncryptionPolicy",
    "HolepunchConfig",
    "IpFilterConfig",
    "JobConfig",
    "LinkEncryption",
    "LinkProtocol",
    "LsdConfig",
    "MagnetLimits",
    "ManagerConfig",
    "MetadataConfig",
    "NetworkConfig",
    "PexConfig",
    "PoolConfig",
    "PortMappingConfig",
    "ProxyConfig",
    "ProxyKind",
    "QueueConfig",
    "ReaderConfig",
    "RestConfig",
    "SeedingConfig",
    "SessionConfig",
    "SharedConfig",
    "SuperSeedConfig",
    "TrackerConfig",
    "TransferConfig",
    "UtpConfig",
    "WebSeedConfig",
    "WireLimits",
]


@dataclass(frozen=True, slots=True)
class BencodeLimits:
    """What a decoder accepts before it refuses the input (RELIABILITY rows A1 to A4)."""

    max_depth: int = 100
    """Containers inside each other."""
    max_tokens: int = 3_000_000
    """Integers, strings, lists and dictionaries together."""
    max_bytes: int = 64 * MIB
    """Length of the whole input: 2,097,152 pieces are 40 MiB of hashes, the rest is for names."""


@dataclass(frozen=True, slots=True)
class WireLimits:
    """What one peer connection accepts (BEP 3, 6, 10; rows B1, B4, B5, B8)."""

    max_message_bytes: int = MIB + 9
    """Length of one message, unless it is a bitfield that fits the torrent."""
    max_queued_requests: int = 2_000
    """Requests of a peer that wait for their block; more are rejected."""
    max_choked_requests: int = 300
    """Requests sent while choked before the peer is dropped."""
    max_unrequested_blocks: int = 50
    """Blocks that nobody asked for before the peer is dropped."""
    max_extension_message_bytes: int = 512 * KIB
    """Length of one BEP 10 message."""
    max_early_pieces: int = 0x200000
    """Pieces of which a peer may speak while it is not known how many there are."""
    max_early_bytes: int = 16 * MIB
    """What all links together may make us hold of such pieces; who takes most is closed."""
    handshake_timeout_s: float = 10.0
    idle_timeout_s: float = 120.0
    """Silence after which a connection is closed."""
    unread_timeout_s: float = 60.0
    """Time in which a peer took next to nothing of what waits for it before it is closed."""
    min_read_bytes: int = 8 * KIB
    """What it must take in that time, unless it takes all there is; and what must come of a block
    in :attr:`message_timeout_s`. 137 bytes a second."""
    max_unsent_bytes: int = 500 * KIB
    """What may wait for one peer to read it, beside payload; then the connection is closed."""
    message_timeout_s: float = 60.0
    """Time in which a message that has begun must be whole. For a block :attr:`min_read_bytes` of
    it are enough, so that 137 bytes a second are not too slow."""
    max_unfinished_bytes: int = 8 * MIB
    """What unfinished messages of all links together may take beyond their usual receive buffers;
    if it is more, who has taken most of it for longest is closed."""
    inactivity_timeout_s: float = 600.0
    """Time in which neither side wanted or moved payload; then the connection is closed."""
    max_control_units_per_s: float = 50.0
    """Messages beside payload that each link may send in the long run; while it is over that, it
    is not read. Costly kinds count more than once; who moves payload may send more. 0 is unlimited.
    """
    control_burst_units: int = 2_000
    """The same at once."""
    max_shared_control_units_per_s: int = 10_000
    """What all links may send together beyond that, whoever it is: about 4 % of a processor."""
    keep_alive_s: float = 110.0
    """Our own silence after which we send a keep-alive; BEP 3 says about two minutes."""
    reqq: int = 2_000
    """What we announce as our request queue (BEP 10)."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How many connections, and how eagerly they are made."""

    max_connections_per_torrent: int = 200
    max_connections: int = 500
    """Over all torrents, which share them fairly; 0 is unlimited."""
    max_half_open: int = 50
    """Dials of one torrent that are under way, handshakes included."""
    max_half_open_incoming: int = 200
    """Connections that others began and whose handshake is not here yet, over all torrents."""
    max_incoming_per_ip_per_s: float = 50.0
    """Connections of one IP address that are taken, on average; 0 is unlimited."""
    incoming_burst_per_ip: int = 300
    """The same at once: a network of many peers behind one address, after our start."""
    max_per_ip: int = 1
    """Connections from one IP address; more only where :attr:`allow_multiple_per_ip` is set."""
    allow_multiple_per_ip: bool = False
    connect_timeout_s: float = 10.0
    max_candidates: int = 3_000
    max_dials_per_ip_per_minute: int = 5
    backoff_first_s: float = 15.0
    """Wait after the first failed dial; doubled after each further one."""
    quick_retry_first_s: float = 3.0
    """The same, times 0.5 to 1.5 by chance, where the next dial may well succeed: the peer hung up
    before it answered our handshake, or the user named it."""
    backoff_max_s: float = 1_800.0
    max_failures: int = 6
    """Dials that may fail in a row before a candidate is forgotten."""
    max_candidates_per_ip: int = 8
    """Ports of one IP address that are remembered, unless :attr:`allow_multiple_per_ip`."""
    ban_s: float = 3_600.0
    """How long a peer that sent bad data stays out."""
    replacement_interval_s: float = 10.0
    """Least time between two peers of a full torrent that make room for one of higher priority
    (BEP 40)."""
    bans_before_ip_ban: int = 3
    """Different peers of one IP address that are banned before all of it is."""


@dataclass(frozen=True, slots=True)
class ChokerConfig:
    """Who may download from us (BEP 3)."""

    upload_slots: int = 8
    """Peers unchoked by rate at once, for one torrent."""
    optimistic_slots: int = 1
    rechoke_interval_s: float = 10.0
    optimistic_interval_s: float = 30.0
    snub_timeout_s: float = 60.0
    """A peer that owes us blocks and sent none for this long is snubbed."""
    seed_round_robin_bytes: int = 32 * MIB
    """What a leech may take from our seed before its slot goes round."""
    seed_turn_s: float = 60.0
    """How long a slow leech may keep a slot of our seed while others wait."""


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Announcing (BEP 3, 7, 12, 15, 23, 31, 41, 48)."""

    numwant: int = 50
    max_response_bytes: int = MIB
    """After decompression."""
    max_header_bytes: int = 16 * KIB
    max_redirects: int = 5
    max_peers: int = 2_000
    """Peers kept of one response."""
    read_timeout_s: float = 10.0
    total_timeout_s: float = 30.0
    stop_grace_s: float = 5.0
    max_concurrent: int = 50
    min_interval_s: float = 60.0
    """Floor below which no tracker's interval is believed."""
    default_interval_s: float = 1_800.0
    backoff_first_s: float = 10.0
    backoff_max_s: float = 3_600.0
    udp_first_timeout_s: float = 15.0
    """BEP 15: 15 x 2^n seconds, n up to :attr:`udp_max_retries`."""
    udp_max_retries: int = 8
    udp_connection_id_s: float = 60.0
    verify_tls: bool = True


@dataclass(frozen=True, slots=True)
class DiskConfig:
    """Files, the write queue and the resume database."""

    write_queue_high_bytes: int = 32 * MIB
    """Payload waiting for the disk at which peers are no longer read."""
    write_queue_low_bytes: int = 16 * MIB
    """Payload waiting at which they are read again."""
    max_open_files: int = 40
    sync_interval_s: float = 2.0
    sync_bytes: int = 64 * MIB
    """Verified payload, or time, after which files are synced and pieces become durable."""
    preallocate: bool = False
    write_threads: int = 2
    """Threads of one torrent that hash and write what came."""
    hash_threads: int = 2
    disk_threads: int = 4
    state_reserve_bytes: int = 64 * MIB
    partial_memory_bytes: int = 32 * MIB
    """Unverified blocks held in memory before they are written ahead of their piece."""
    retry_after_disk_full_s: float = 60.0


@dataclass(frozen=True, slots=True)
class TransferConfig:
    """The download pipeline."""

    receive_buffer_bytes: int = MIB
    slow_receive_buffer_bytes: int = 32 * KIB
    min_outstanding_requests: int = 4
    max_outstanding_requests: int = 1_000
    request_queue_s: float = 3.0
    """Seconds of a peer's present rate that are kept requested."""
    max_upload_queue_bytes: int = MIB
    """Payload read ahead for one peer and not yet taken by its socket."""


@dataclass(frozen=True, slots=True)
class SharedConfig:
    """Everything that a SharedResources needs."""

    listen_port: int = 6881
    """TCP port; 0 lets the system choose, a busy one moves on to the next of a few."""
    listen_hosts: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104 - peers come from anywhere
    """Literal addresses to bind; an address family that the host lacks is left out."""
    state_dir: str | None = None
    """Folder of the resume database; None: below the user's state folder."""
    max_download_bytes_per_s: int = 0
    """Over all torrents; 0 is unlimited."""
    max_upload_bytes_per_s: int = 0
    user_agent: str = "torrent_engine/0.1.0"
    wire: WireLimits = field(default_factory=WireLimits)
    pool: PoolConfig = field(default_factory=PoolConfig)
    choker: ChokerConfig = field(default_factory=ChokerConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    dht: DhtConfig = field(default_factory=DhtConfig)
    lsd: LsdConfig = field(default_factory=LsdConfig)
    pex: PexConfig = field(default_factory=PexConfig)
    metadata: MetadataConfig = field(default_factory=MetadataConfig)
    web_seed: WebSeedConfig = field(default_factory=WebSeedConfig)
    disk: DiskConfig = field(default_factory=DiskConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    bandwidth: BandwidthConfig = field(default_factory=BandwidthConfig)
    jobs: JobConfig = field(default_factory=JobConfig)
    rest: RestConfig = field(default_factory=RestConfig)
    """Of torrents of a TorrentManager."""
    port_mapping: PortMappingConfig = field(default_factory=PortMappingConfig)
    seeding: SeedingConfig = field(default_factory=SeedingConfig)
    reader: ReaderConfig = field(default_factory=ReaderConfig)
    super_seed: SuperSeedConfig = field(default_factory=SuperSeedConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What one torrent may be told at its start."""

    sequential: bool = False
    super_seeding: bool = False
    """Show the pieces of a complete torrent one by one (BEP 16), until there is another seed."""
    file_priorities: tuple[int, ...] | None = None
    """One number a file, 0 (skip) to 7; None: all files at 4."""
    renamed_files: tuple[tuple[int, str], ...] = ()
    """(file index, path below the save path) pairs."""
    seed_ratio: float | None = None
    """Stop seeding at this ratio of uploaded to downloaded; None: no rule. 0: stop at once."""
    seed_time_s: float | None = None
    """Stop seeding after this long; None: no rule. 0: stop at once."""
    seed_idle_s: float | None = None
    """Stop seeding when nobody took anything for this long; None: no rule. 0: stop at once.

    Of these three each that is None is as :attr:`SharedConfig.seeding` says; infinity: no rule,
    whatever that says."""
    max_download_bytes_per_s: int = 0
    max_upload_bytes_per_s: int = 0
    max_peer_download_bytes_per_s: int = 0
    """Of each single peer, web seeds aside; 0 is unlimited."""
    max_peer_upload_bytes_per_s: int = 0
    use_resume: bool = True
    """Trust the resume database; if not, all data that is there is hashed."""
    check_only: bool = False
    """Hash what is there, then stop."""
    overwrite: bool = False
    """Write to files that are there and of which no piece matches, and cut those too long."""
    allow_hidden: bool = False
    """Let names at the top of the home folder begin with a dot."""
    paused: bool = False
    peers: tuple[tuple[str, int], ...] = ()
    """(host, port) of peers to try at once."""
    metadata_only: bool = False
    """Of a magnet link: stop, with reason "metadata", when the metadata is there."""
    file_priorities_of: Callable[[Any], tuple[int, ...] | None] | None = None
    """Of a magnet link: called once with its Metainfo, gives :attr:`file_priorities`."""
    renamed_files_of: Callable[[Any], tuple[tuple[int, str], ...]] | None = None
    """Of a magnet link: called once with its Metainfo, gives :attr:`renamed_files`."""
    owner: OwnerTie | None = None
    """For whom this is downloaded: cancelled once that owner's generation has moved on."""


@dataclass(frozen=True, slots=True)
class ManagerConfig:
    """Everything that a TorrentManager needs."""

    shared: SharedConfig = field(default_factory=SharedConfig)
    save_path: str = "."
    """Folder of torrents that are added without one."""
    session: SessionConfig = field(default_factory=SessionConfig)
    """What torrents are told that are added without a configuration of their own."""
    max_torrents: int = 0
    """More are refused; 0 is unlimited."""
    max_connections: int | None = None
    """Over all torrents, shared fairly; None: as ``shared.pool`` says."""
    global_download_limit: int | None = None
    """Bytes per second over all torrents, 0 is unlimited; None: as ``shared`` says."""
    global_upload_limit: int | None = None
    restores: bool = True
    """Take up the torrents of the last run, in their old state."""
    queue: QueueConfig = field(default_factory=QueueConfig)


FILE_BENCODE_LIMITS: Final = BencodeLimits()
METADATA_BENCODE_LIMITS: Final = FILE_BENCODE_LIMITS
"""What a peer may send is bounded by ``MetadataConfig.max_bytes``, which is less."""
STORED_BENCODE_LIMITS: Final = BencodeLimits(max_tokens=3_100_000, max_bytes=80 * MIB)
"""What was accepted and kept, with trackers around it, must never be too long to be read again."""
METADATA_MESSAGE_BENCODE_LIMITS: Final = BencodeLimits(
    max_depth=10, max_tokens=500, max_bytes=17 * KIB
)
TRACKER_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=20_000, max_bytes=MIB)
EXTENSION_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=2_000, max_bytes=64 * KIB)
PEX_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=2_000, max_bytes=500 * KIB)
DHT_BENCODE_LIMITS: Final = BencodeLimits(max_depth=10, max_tokens=500, max_bytes=4 * KIB)
