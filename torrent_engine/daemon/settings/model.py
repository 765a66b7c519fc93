"""All settings of the daemon, by the sections of ``daemon.toml``; rates in kB/s (1,000 bytes)."""

from dataclasses import dataclass, field
from typing import Final

from torrent_engine.daemon.settings.fields import Applies, Spec, setting, specs_of

LIVE, RESTART, PROCESS = Applies.LIVE, Applies.RESTART, Applies.PROCESS
MAX_PORT: Final = 65_535
MAX_RATE: Final = 100_000_000
MAX_COUNT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where interfaces are served, and to whom."""

    address: str = setting(
        "127.0.0.1:9091", "HOST:PORT of the HTTP interfaces; empty: only the socket.", PROCESS,
        file_only=True,
    )  # fmt: skip
    socket: str = setting(
        "auto", "Path of the unix socket; auto: in the state folder; empty: none.", PROCESS,
        file_only=True,
    )  # fmt: skip
    hosts: tuple[str, ...] = setting(
        (), "Names under which the daemon may be asked, beside IP addresses and localhost."
    )
    origins: tuple[str, ...] = setting((), "Sites whose pages may use the interfaces.")
    allow_from: tuple[str, ...] = setting((), "Networks that may ask; empty: all.")
    trusted_proxies: tuple[str, ...] = setting((), "Networks whose X-Forwarded fields count.")
    root_path: str = setting("", "Path below which a proxy shows the interfaces.")
    allow_plain_http: bool = setting(
        False,
        "Allow HTTP without TLS beyond this machine.",
        PROCESS,
        file_only=True,
    )
    socket_users: tuple[str, ...] = setting(
        (), "Users, by name or number, who need no credential at the socket.", file_only=True
    )


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Certificate of the HTTP interfaces."""

    certificate: str = setting("", "File of the certificate chain, PEM.", PROCESS, file_only=True)
    key: str = setting("", "File of the private key, PEM.", PROCESS, file_only=True)
    self_signed: bool = setting(
        False,
        "Make a certificate if there is none.",
        PROCESS,
        file_only=True,
    )
    hsts_s: int = setting(0, "Strict-Transport-Security; 0: not sent.", minimum=0)


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may use the interfaces."""

    user: str = setting("torrent", "What Basic must name; empty: anything.")
    password: str = setting("", "Password; better set by `daemon password`.", secret=True,
        file_only=True)  # fmt: skip
    password_hash: str = setting("", "Hash that `daemon password` makes.", secret=True,
        file_only=True)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PathSettings:
    """Folders."""

    download: str = setting("", "Folder of downloads; empty: the user's download folder.", RESTART)
    incomplete: str = setting("", "Folder of incomplete downloads; empty: none.", RESTART)
    allowed: tuple[str, ...] = setting(
        (), "Further folders that interfaces may name.", file_only=True
    )
    local_data: tuple[str, ...] = setting(
        (), "Folders whose files are copied instead of downloaded.", RESTART, file_only=True
    )
    similar_torrents: bool = setting(
        False, "Copy what torrents have that a new one names as similar.", RESTART, file_only=True
    )
    torrents_copy: str = setting("", "Folder for a copy of each .torrent; empty: none.")
    min_free_mib: int = setting(1024, "Downloads wait below this free space.", minimum=0)


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """The engine's network."""

    port: int = setting(6881, "Port for peers.", RESTART, minimum=0, maximum=MAX_PORT)
    listen_hosts: tuple[str, ...] = setting(
        ("0.0.0.0", "::"),  # noqa: S104 - peers come from anywhere
        "Addresses to listen on for peers.",
        RESTART,
    )
    port_mapping: bool = setting(True, "Ask the router to open the port.", RESTART)
    dht: bool = setting(True, "Distributed hash table.", RESTART)
    dht_bootstrap: tuple[str, ...] = setting(
        (), "HOST:PORT of nodes to enter it by; none: public ones.", RESTART, file_only=True
    )
    tracker_dns: bool = setting(
        False, "Ask the DNS which ports of a host are trackers (BEP 34).", RESTART
    )
    pex: bool = setting(True, "Peer exchange.", RESTART)
    lsd: bool = setting(True, "Local service discovery.", RESTART)
    utp: bool = setting(True, "uTP beside TCP.", RESTART)
    tcp: bool = setting(True, "TCP beside uTP.", RESTART)
    encryption: str = setting(
        "preferred", "Encryption of new peer connections.",
        choices=("disabled", "allowed", "preferred", "required"),
    )  # fmt: skip
    proxy: str = setting("", "URL of a proxy; empty: none.", RESTART, secret=True, file_only=True)
    ip_filter: tuple[str, ...] = setting((), "Files with address ranges.", RESTART, file_only=True)
    ip_filter_enabled: bool = setting(True, "Refuse the addresses of all lists.")
    loopback_only: bool = setting(
        False,
        "Use only this machine, for tests.",
        RESTART,
        file_only=True,
    )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Rates and connections. 0: unlimited."""

    download_kb_s: int = setting(0, "Download rate.", minimum=0, maximum=MAX_RATE)
    upload_kb_s: int = setting(0, "Upload rate.", minimum=0, maximum=MAX_RATE)
    alt_enabled: bool = setting(False, "Use the alternative rates now.")
    alt_download_kb_s: int = setting(50, "Alternative download rate.", minimum=0, maximum=MAX_RATE)
    alt_upload_kb_s: int = setting(50, "Alternative upload rate.", minimum=0, maximum=MAX_RATE)
    alt_schedule: bool = setting(False, "Switch to them by the clock.")
    alt_begin_min: int = setting(540, "Begin, in minutes from midnight.", minimum=0, maximum=1439)
    alt_end_min: int = setting(1020, "End, in minutes from midnight.", minimum=0, maximum=1439)
    alt_days: int = setting(127, "Days, a bit each: 1 Sunday ... 64 Saturday.", minimum=0,
        maximum=127)  # fmt: skip
    peers: int = setting(200, "Peer connections of all torrents.", minimum=1, maximum=MAX_COUNT)
    peers_per_torrent: int = setting(50, "Peer connections of one torrent.", minimum=1,
        maximum=MAX_COUNT)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How many torrents are active at once. 0: unlimited."""

    downloads: int = setting(5, "Active downloads.", minimum=0, maximum=MAX_COUNT)
    seeds: int = setting(0, "Active seeds.", minimum=0, maximum=MAX_COUNT)
    active: int = setting(0, "Active torrents in all.", minimum=0, maximum=MAX_COUNT)
    checks: int = setting(1, "Torrents that are checked at once.", minimum=0, maximum=MAX_COUNT)
    count_slow: bool = setting(False, "Count slow torrents too.", RESTART)
    slow_download_kb_s: int = setting(2, "Rate below which a download is slow.", RESTART, minimum=0,
        maximum=MAX_RATE)  # fmt: skip
    slow_upload_kb_s: int = setting(2, "Rate below which a seed is slow.", RESTART, minimum=0,
        maximum=MAX_RATE)  # fmt: skip
    slow_after_s: int = setting(60, "Time below it.", RESTART, minimum=1, maximum=86_400)


@dataclass(frozen=True, slots=True)
class SeedingSettings:
    """When seeding ends, of torrents without rules of their own."""

    ratio: float | None = setting(None, "Ratio of uploaded to downloaded bytes.", minimum=0.0)
    time_min: int | None = setting(None, "Time of seeding, in minutes.", minimum=0)
    idle_min: int | None = setting(None, "Time without an upload, in minutes.", minimum=0)
    then: str = setting(
        "stop", "What happens then.",
        choices=("stop", "remove", "remove_with_files", "super_seed"),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class AddingSettings:
    """What counts for torrents that are added, where nothing else is said."""

    paused: bool = setting(False, "Add paused.")
    sequential: bool = setting(False, "Download pieces in their order.")
    trackers: tuple[str, ...] = setting((), "Further trackers of torrents that are not private.")
    follow_feeds: bool = setting(
        False, "Replace torrents by newer versions from their feeds (BEP 39).", RESTART
    )
    from_private_networks: bool = setting(
        False, "Fetch torrents from private addresses too, such as an indexer's.", file_only=True
    )


@dataclass(frozen=True, slots=True)
class TransmissionSettings:
    """The interface that Transmission's remotes speak."""

    enabled: bool = setting(True, "Serve /transmission/rpc.", PROCESS)
    rpc_version: int = setting(19, "Version that is told.", PROCESS, minimum=14, maximum=19)
    web_root: str = setting("", "Folder of a web interface for it.", PROCESS, file_only=True)
    can_close: bool = setting(
        False,
        "Let session-close stop the daemon.",
        file_only=True,
    )
    port_test_url: str = setting("", "Service that says if the port is open.", file_only=True)


@dataclass(frozen=True, slots=True)
class QbittorrentSettings:
    """The interface that qBittorrent's remotes speak."""

    enabled: bool = setting(False, "Serve /api/v2.", PROCESS)
    web_root: str = setting(
        "", "Folder of a web interface for it, served at /qbittorrent/.", PROCESS, file_only=True
    )


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Numbers for Prometheus."""

    enabled: bool = setting(True, "Serve /metrics.", PROCESS)
    torrents: bool = setting(False, "Numbers of each torrent too.")
    names: bool = setting(False, "Names of torrents as labels.")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Files for media players."""

    enabled: bool = setting(True, "Serve /stream.", PROCESS)
    public_url: str = setting("", "Address that players use; empty: that of the request.")
    read_timeout_s: int = setting(60, "Wait for a missing piece.", minimum=1, maximum=3_600)
    link_hours: int = setting(24, "Life of a signed link.", minimum=1, maximum=8_760)


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Records for people."""

    level: str = setting(
        "info", "Lowest level that is logged.", choices=("debug", "info", "warning", "error")
    )
    json: bool = setting(False, "One JSON object a line.", PROCESS)


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """All settings that have one value."""

    listen: ListenSettings = field(default_factory=ListenSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    paths: PathSettings = field(default_factory=PathSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    seeding: SeedingSettings = field(default_factory=SeedingSettings)
    adding: AddingSettings = field(default_factory=AddingSettings)
    transmission: TransmissionSettings = field(default_factory=TransmissionSettings)
    qbittorrent: QbittorrentSettings = field(default_factory=QbittorrentSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    log: LogSettings = field(default_factory=LogSettings)


SECTIONS: Final[dict[str, type]] = {
    "listen": ListenSettings,
    "tls": TlsSettings,
    "auth": AuthSettings,
    "paths": PathSettings,
    "network": NetworkSettings,
    "limits": LimitSettings,
    "queue": QueueSettings,
    "seeding": SeedingSettings,
    "adding": AddingSettings,
    "transmission": TransmissionSettings,
    "qbittorrent": QbittorrentSettings,
    "metrics": MetricsSettings,
    "stream": StreamSettings,
    "log": LogSettings,
}

SPECS: Final[dict[str, Spec]] = {
    spec.key: spec for name, kind in SECTIONS.items() for spec in specs_of(name, kind)
}
"""Every setting by its key, such as ``limits.download_kb_s``."""
