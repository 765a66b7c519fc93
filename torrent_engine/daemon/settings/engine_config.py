"""What the engine is told of the settings."""

import os
import re
from collections.abc import Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from torrent_engine.base.config import (
    DhtConfig,
    DiskConfig,
    EncryptionConfig,
    EncryptionPolicy,
    FeedConfig,
    IpFilterConfig,
    LsdConfig,
    ManagerConfig,
    NetworkConfig,
    PexConfig,
    PoolConfig,
    PortMappingConfig,
    ProxyConfig,
    ProxyKind,
    QueueConfig,
    SeedingConfig,
    SessionConfig,
    SharedConfig,
    TrackerConfig,
    UtpConfig,
    WebSeedConfig,
)
from torrent_engine.base.errors import ConfigError
from torrent_engine.daemon.settings.model import MAX_PORT, DaemonSettings, NetworkSettings

KB: Final = 1000
_MINUTE_S: Final = 60.0
_LOOPBACK: Final = ("127.0.0.1", "::1")
_NODE: Final = re.compile(r"(?:(?P<host>[A-Za-z0-9._-]+)|\[(?P<v6>[^\]]+)\]):(?P<port>[0-9]{1,5})")


def manager_config(
    settings: DaemonSettings, state_dir: Path, block_lists: Sequence[str] = ()
) -> ManagerConfig:
    """Return the configuration of the manager. Raises ConfigError.

    ``block_lists`` are files of refused addresses beside those of the settings.
    """
    queue, paths = settings.queue, settings.paths
    return ManagerConfig(
        shared=shared_config(settings, state_dir, block_lists),
        save_path=str(download_folder(settings)),
        session=SessionConfig(
            incomplete_dir=str(_expanded(paths.incomplete)) if paths.incomplete else None
        ),
        queue=QueueConfig(
            max_active_downloads=queue.downloads,
            max_active_seeds=queue.seeds,
            max_active=queue.active,
            max_active_checks=queue.checks,
            count_slow_torrents=queue.count_slow,
            slow_download_bytes_per_s=float(queue.slow_download_kb_s * KB),
            slow_upload_bytes_per_s=float(queue.slow_upload_kb_s * KB),
            slow_after_s=float(queue.slow_after_s),
        ),
        feeds=FeedConfig(enabled=settings.adding.follow_feeds),
    )


def shared_config(
    settings: DaemonSettings, state_dir: Path, block_lists: Sequence[str] = ()
) -> SharedConfig:
    """Return the configuration of what torrents share. Raises ConfigError."""
    network, limits = settings.network, settings.limits
    is_local = network.loopback_only
    download, upload = present_rates(settings)
    return SharedConfig(
        listen_port=network.port,
        listen_hosts=_LOOPBACK if is_local else network.listen_hosts,
        state_dir=str(state_dir),
        max_download_bytes_per_s=download,
        max_upload_bytes_per_s=upload,
        pool=PoolConfig(
            max_connections=limits.peers,
            max_connections_per_torrent=limits.peers_per_torrent,
            allow_multiple_per_ip=is_local,
        ),
        port_mapping=PortMappingConfig(enabled=network.port_mapping and not is_local),
        dht=_dht(network),
        lsd=LsdConfig(enabled=network.lsd and not is_local),
        tracker=TrackerConfig(dns_preferences=network.tracker_dns),
        pex=PexConfig(enabled=network.pex),
        seeding=seeding_config(settings),
        web_seed=WebSeedConfig(allow_local=is_local),
        network=_network(network, block_lists),
        disk=DiskConfig(
            local_data=tuple(str(_expanded(each)) for each in settings.paths.local_data),
            similar_torrents=settings.paths.similar_torrents,
        ),
    )


def present_rates(settings: DaemonSettings) -> tuple[int, int]:
    """Return the rates for downloads and uploads in bytes a second; 0 is unlimited."""
    limits = settings.limits
    if limits.alt_enabled:
        return limits.alt_download_kb_s * KB, limits.alt_upload_kb_s * KB
    return limits.download_kb_s * KB, limits.upload_kb_s * KB


def seeding_config(settings: DaemonSettings) -> SeedingConfig:
    """Return when seeding ends."""
    rules = settings.seeding
    return SeedingConfig(rules.ratio, _seconds(rules.time_min), _seconds(rules.idle_min))


def _seconds(minutes: int | None) -> float | None:
    return None if minutes is None else minutes * _MINUTE_S


def _network(network: NetworkSettings, block_lists: Sequence[str]) -> NetworkConfig:
    lists = filter_files(network, block_lists)
    policy = EncryptionPolicy(network.encryption)
    return NetworkConfig(
        tcp=network.tcp,
        utp=UtpConfig(incoming=network.utp, outgoing=network.utp),
        encryption=EncryptionConfig(incoming=policy, outgoing=policy),
        proxy=parse_proxy(network.proxy) if network.proxy else None,
        ip_filter=IpFilterConfig(paths=lists),
        loopback_only=network.loopback_only,
    )


def filter_files(network: NetworkSettings, block_lists: Sequence[str]) -> tuple[str, ...]:
    """Return the files of addresses that are refused now."""
    if not network.ip_filter_enabled:
        return ()
    return (*(str(_expanded(path)) for path in network.ip_filter), *block_lists)


def _dht(network: NetworkSettings) -> DhtConfig:
    is_used = network.dht and not network.loopback_only
    if not network.dht_bootstrap:
        return DhtConfig(enabled=is_used)
    return DhtConfig(enabled=is_used, bootstrap=tuple(map(parse_node, network.dht_bootstrap)))


def parse_node(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ConfigError."""
    found = _NODE.fullmatch(text)
    if found is None or not 0 < int(found["port"]) <= MAX_PORT or not _is_v6(found["v6"]):
        raise ConfigError(f"network.dht_bootstrap: {text!r} is not HOST:PORT")
    return found["host"] or found["v6"], int(found["port"])


def _is_v6(text: str | None) -> bool:
    """Return whether there is no address, or a right one."""
    try:
        return text is None or bool(IPv6Address(text).packed)
    except ValueError:
        return False


def parse_proxy(url: str) -> ProxyConfig:
    """Read ``socks5://USER:PASSWORD@HOST:PORT``, ``socks4://`` or ``http://``.

    Raises ConfigError, without the password.
    """
    try:
        parts = urlsplit(url)
        kind, port = ProxyKind(parts.scheme), parts.port
    except ValueError:
        raise ConfigError("network.proxy: socks5, socks4 or http://HOST:PORT is needed") from None
    if not parts.hostname or not port:
        raise ConfigError("network.proxy: host and port are needed")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return ProxyConfig(kind, parts.hostname, port, user, password)


def download_folder(settings: DaemonSettings) -> Path:
    """Return where downloads go: as configured, else the user's folder of downloads."""
    if settings.paths.download:
        return _expanded(settings.paths.download)
    named = os.environ.get("XDG_DOWNLOAD_DIR", "")
    return Path(named) if Path(named).is_absolute() else Path.home() / "Downloads"


def _expanded(path: str) -> Path:
    return Path(path).expanduser().absolute()
