"""Configuration of SharedResources and TorrentManager."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from os import PathLike
from typing import Any

from torrent_engine.base.checks import Checked, Port
from torrent_engine.base.config.discovery import (
    DhtConfig,
    FeedConfig,
    LsdConfig,
    MetadataConfig,
    PexConfig,
    TrackerConfig,
)
from torrent_engine.base.config.disk import DiskConfig
from torrent_engine.base.config.network import NetworkConfig, PortMappingConfig
from torrent_engine.base.config.session import SessionConfig
from torrent_engine.base.config.transfer import (
    BandwidthConfig,
    ChokerConfig,
    PoolConfig,
    ReaderConfig,
    SuperSeedConfig,
    TransferConfig,
    WebSeedConfig,
)
from torrent_engine.base.config.units import MIB
from torrent_engine.base.config.wire import WireLimits
from torrent_engine.base.errors import ConfigError


@dataclass(frozen=True, slots=True, repr=False)
class QueueConfig(Checked):
    """How many torrents are active at once; the others are queued. 0 is unlimited."""

    max_active_downloads: int = 0
    """Active downloads, magnet links that fetch metadata included."""
    max_active_seeds: int = 0
    """Active seeds."""
    max_active: int = 0
    """Active downloads and seeds together, slow ones included; downloads go before seeds."""
    max_active_checks: int = 0
    """Torrents whose files are being hashed; these count against no other limit."""
    count_slow_torrents: bool = False
    """Count slow torrents against :attr:`max_active_downloads` and :attr:`max_active_seeds`."""
    slow_download_bytes_per_s: float = 2_048.0
    """Rate below which a download is slow; the default is libtorrent's."""
    slow_upload_bytes_per_s: float = 2_048.0
    """Rate below which a seed is slow."""
    slow_after_s: float = 60.0
    """Time below (or above) that rate after which a torrent becomes slow (or stops being slow)."""
    seed_turn_s: float = 1_800.0
    """Time after which an active seed gives its slot to a queued one; as in libtorrent."""
    check_interval_s: float = 5.0
    """Time between two checks of the rates, if there is a limit."""


@dataclass(frozen=True, slots=True, repr=False)
class SeedingConfig(Checked):
    """Rules that stop seeding, for torrents without rules of their own.

    None: no rule; 0: stop at once.
    """

    seed_ratio: float | None = None
    """Stop at this ratio of uploaded to downloaded bytes."""
    seed_time_s: float | None = None
    """Stop after this time of seeding, pauses not counted."""
    seed_idle_s: float | None = None
    """Stop after this time of seeding without an upload, pauses not counted."""


@dataclass(frozen=True, slots=True, repr=False)
class DormancyConfig(Checked):
    """When an idle torrent of a TorrentManager becomes dormant.

    A dormant torrent has no tasks and no open files, but still announces and answers peers.
    """

    enabled: bool = True
    """Let idle torrents become dormant."""
    after_s: float = 60.0
    """Time without peers, candidates and requests after which a torrent becomes dormant."""
    max_announces_per_s: float = 50.0
    """Announces of dormant torrents that start per second; more are queued."""
    max_dormant_connections: int = 200
    """Peer connections to all dormant torrents whose handshake is done and that want nothing yet;
    at most :attr:`PoolConfig.max_half_open_incoming`."""
    max_connection_s: float = 30.0
    """Time after which such a connection is closed."""
    max_wakes_per_s: float = 10.0
    """Average number of dormant torrents per second that peers can make active again."""
    wake_burst: int = 30
    """Dormant torrents that peers can make active at once."""
    max_wakes_per_ip_per_s: float = 5.0
    """As :attr:`max_wakes_per_s`, for one IPv4 address or IPv6 /64."""
    wake_burst_per_ip: int = 20
    """As :attr:`wake_burst`, for one IPv4 address or IPv6 /64."""


@dataclass(frozen=True, slots=True, repr=False)
class JobConfig(Checked):
    """The job log: records of adding, checking, downloading, seeding, moving and creating."""

    keep_s: float = 86_400.0
    """Time for which a finished job is kept."""
    keep_paused_s: float = 30 * 86_400.0
    """Time for which an unfinished job is kept that no process continues."""
    max_finished: int = 50_000
    """Finished jobs that are kept; the oldest are deleted first."""
    write_interval_s: float = 0.5
    """Time for which changes are collected before they are written together."""
    retry_interval_s: float = 10.0
    """Wait after a failed write to the database."""
    progress_interval_s: float = 2.0
    """Time between two updates of the progress of running jobs."""
    clean_interval_s: float = 3_600.0
    """Time between two deletions of old jobs."""


@dataclass(frozen=True, slots=True, repr=False)
class SharedConfig(Checked):
    """Configuration of SharedResources: everything that torrents share."""

    listen_port: Port = 6881
    """Port for incoming connections (TCP) and for uTP, DHT and UDP trackers (UDP). 0 lets the
    system choose; if the port is in use, one of the next few is taken."""
    listen_hosts: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104 - peers come from anywhere
    """IP addresses to listen on; an address family that the host does not support is left out."""
    state_dir: str | PathLike[str] | None = None
    """Folder of the resume database. None: the default below the user's state folder."""
    max_download_bytes_per_s: int = 0
    """Download rate of all torrents together; 0 is unlimited."""
    max_upload_bytes_per_s: int = 0
    """Upload rate of all torrents together; 0 is unlimited."""
    max_torrent_bytes: int = 100 * MIB
    """Length of a .torrent file, decompressed; at most :data:`MAX_TORRENT_BYTES`. A longer one
    raises MetainfoError."""
    user_agent: str = "torrent_engine/0.1.0"
    """``User-Agent`` header of HTTP requests."""
    freeze_garbage_collector: bool = False
    """Exempt all objects that the process has at the start from garbage collection (``gc.freeze``),
    which makes full collections, pauses of the event loop, some three times as short. It is for
    programs that do little else: of these objects, cycles that become garbage are never freed. The
    command line and the daemon do so in any case."""
    wire: WireLimits = field(default_factory=WireLimits)
    """Limits of peer connections."""
    pool: PoolConfig = field(default_factory=PoolConfig)
    """Number of connections and dialling."""
    choker: ChokerConfig = field(default_factory=ChokerConfig)
    """Upload slots."""
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    """Tracker announces and scrapes."""
    dht: DhtConfig = field(default_factory=DhtConfig)
    """The distributed hash table."""
    lsd: LsdConfig = field(default_factory=LsdConfig)
    """Local service discovery."""
    pex: PexConfig = field(default_factory=PexConfig)
    """Peer exchange."""
    metadata: MetadataConfig = field(default_factory=MetadataConfig)
    """Metadata exchange for magnet links."""
    web_seed: WebSeedConfig = field(default_factory=WebSeedConfig)
    """Web seeds."""
    disk: DiskConfig = field(default_factory=DiskConfig)
    """Files, write queue, hashing threads and resume database."""
    transfer: TransferConfig = field(default_factory=TransferConfig)
    """Request pipeline and buffers."""
    bandwidth: BandwidthConfig = field(default_factory=BandwidthConfig)
    """Exemptions from rate limits."""
    jobs: JobConfig = field(default_factory=JobConfig)
    """The job log."""
    dormancy: DormancyConfig = field(default_factory=DormancyConfig)
    """Idle torrents of a TorrentManager; others never become dormant."""
    port_mapping: PortMappingConfig = field(default_factory=PortMappingConfig)
    """Port mapping in the router."""
    seeding: SeedingConfig = field(default_factory=SeedingConfig)
    """When seeding stops, for torrents without rules of their own."""
    reader: ReaderConfig = field(default_factory=ReaderConfig)
    """Read-ahead of ``Session.open``."""
    super_seed: SuperSeedConfig = field(default_factory=SuperSeedConfig)
    """Super-seeding."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Transports, encryption, proxy, interface and IP filter."""

    @classmethod
    def local(cls, **changes: Any) -> "SharedConfig":  # noqa: ANN401 - those of the fields
        """Return a configuration that uses only this machine, for tests and demonstrations.

        It listens on loopback (see :attr:`NetworkConfig.loopback_only`) on a port that the system
        chooses, without DHT and local service discovery, and allows many connections with one IP
        address and web seeds on this machine. ``changes`` override fields of SharedConfig.
        """
        local: dict[str, Any] = {
            "listen_port": 0,
            "listen_hosts": ("127.0.0.1", "::1"),
            "dht": DhtConfig(enabled=False),
            "lsd": LsdConfig(enabled=False),
            "web_seed": WebSeedConfig(allow_local=True),
            "pool": PoolConfig(allow_multiple_per_ip=True),
            "network": NetworkConfig(loopback_only=True),
        }
        return cls(**{**local, **changes})

    def check_together(self) -> None:
        """Raise ConfigError for an invalid address, or one that ``loopback_only`` forbids."""
        for host in self.listen_hosts:
            try:
                address = ip_address(host)
            except ValueError:
                message = f"SharedConfig.listen_hosts: {host!r} is no literal address"
                raise ConfigError(message) from None
            if self.network.loopback_only and not address.is_loopback:
                raise ConfigError(f"SharedConfig.listen_hosts: {host!r} is not on loopback")


@dataclass(frozen=True, slots=True, repr=False)
class ManagerConfig(Checked):
    """Configuration of a TorrentManager."""

    shared: SharedConfig = field(default_factory=SharedConfig)
    """Configuration of what the torrents share."""
    save_path: str | PathLike[str] = "."
    """Save path of torrents that are added without one."""
    session: SessionConfig = field(default_factory=SessionConfig)
    """Configuration of torrents that are added without one."""
    max_torrents: int = 0
    """Torrents in the manager; adding more raises an error. 0 is unlimited."""
    max_connections: int | None = None
    """Peer connections of all torrents together, shared fairly. None:
    :attr:`PoolConfig.max_connections` of ``shared``."""
    max_download_bytes_per_s: int | None = None
    """Download rate of all torrents together; 0 is unlimited. None: as in ``shared``."""
    max_upload_bytes_per_s: int | None = None
    """Upload rate of all torrents together; 0 is unlimited. None: as in ``shared``."""
    restore_torrents: bool = True
    """Load the torrents of the last run and continue them in the state that they had."""
    queue: QueueConfig = field(default_factory=QueueConfig)
    """How many torrents are active at once."""
    feeds: FeedConfig = field(default_factory=FeedConfig)
    """Whether and when feeds of torrents are asked for newer versions (BEP 39)."""
