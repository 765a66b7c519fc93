"""What concerns all torrents, through the manager."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Final

from anyio.to_thread import run_sync as run_in_thread

from torrent_engine.base.config import ConnectionEncryption, EncryptionPolicy, TransportProtocol
from torrent_engine.base.errors import ConfigError, TrackerError, UnknownTorrentError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.codec.mutable_link import MutableLink
from torrent_engine.daemon.engine_port.facts import (
    AddedTorrent,
    BanFacts,
    GroupFacts,
    NetworkFacts,
    PeerLimits,
    QueueLimits,
    SeedRules,
    TotalFacts,
)
from torrent_engine.daemon.engine_port.opened import OpenManager
from torrent_engine.daemon.engine_port.settings import seeding_config
from torrent_engine.daemon.engine_port.user_data import UserData
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.session.torrent_loader import load_torrent
from torrent_engine.engine.stats import DhtTraffic
from torrent_engine.net.http.client import HttpClient, HttpResponse
from torrent_engine.net.http.torrent_fetch import FetchOptions, is_url
from torrent_engine.net.nat.mapping_status import PortMappingStatus
from torrent_engine.service.add_options import AddOptions

LIST_TIMEOUT_S: Final = 600.0  # ours: 64 MiB at a megabit a second


class ManagerControl:
    """An :class:`EngineControl` of the open manager."""

    def __init__(self, opened: OpenManager) -> None:
        self._opened = opened

    async def add(self, torrent: Metainfo | Magnet, options: AddOptions) -> AddedTorrent:
        """Add a torrent and start it; see :class:`EngineControl`."""
        manager = self._opened.manager
        known = manager.get_session(torrent.info_hash)
        while True:
            if known is not None and _is_to_stay(known, options):
                torrent, options = await self._taken_over(known, torrent, options)
            added = await manager.add(
                torrent,
                save_path=options.save_path,
                config=options.session_config(torrent, manager.config.session),
                priority=options.priority or 0,
                position=options.position,
                user_data=user_data_of(options),
            )
            known = added.session
            if not _is_to_stay(known, options):  # else another call added it meanwhile
                break
        for url in options.trackers or () if added.is_new else ():
            with suppress(TrackerError):  # of a scheme that is not spoken
                known.add_tracker(url)
        return AddedTorrent(known.info_hash, known.name, added.is_new)

    async def _taken_over(
        self, session: Session, torrent: Metainfo | Magnet, options: AddOptions
    ) -> tuple[Metainfo | Magnet, AddOptions]:
        """End an ephemeral torrent that is to stay now; return what is known of it.

        Its files are kept, and its trackers, its peers and its metadata need not be found again.
        """
        known = await run_in_thread(lambda: session.metainfo)
        trackers = [url for tier in session.tracker_tiers() for url in tier]
        options = replace(
            options,
            peers=_peers_of(session, torrent, options),
            trackers=(*trackers, *(options.trackers or ())),
            save_path=options.save_path or str(session.final_path),
        )
        with suppress(UnknownTorrentError):  # its owner has gone meanwhile
            await self._opened.manager.remove_torrent(session.info_hash)
        return known or torrent, options

    async def read_torrent(self, data: bytes) -> Metainfo:
        """Return what a .torrent says. Raises BencodeError or MetainfoError."""
        limits = self._opened.manager.shared.torrent_limits
        return await run_in_thread(lambda: Metainfo.from_bytes(data, limits=limits))

    async def fetch_torrent(self, url: str, options: FetchOptions) -> Metainfo | Magnet:
        """Return the torrent of a URL or of a link to a public key; see :class:`EngineControl`."""
        if not (is_url(url) or MutableLink.is_link(url)):
            raise ConfigError(f"url: {url!r:.80} is no http or https URL")
        shared = self._opened.manager.shared
        return await load_torrent(
            url, lambda: shared.http, shared.torrent_limits, options, lambda: shared.dht
        )

    def totals(self) -> TotalFacts:
        """Return the numbers of all torrents together."""
        stats = self._opened.manager.stats()
        return TotalFacts(
            stats.torrents,
            stats.resting,
            stats.peers,
            stats.connections,
            stats.downloaded_bytes,
            stats.uploaded_bytes,
            stats.download_bytes_per_s,
            stats.upload_bytes_per_s,
            stats.loop_lag.longest_s,
            wasted_bytes=stats.wasted_bytes,
            links=tuple(
                ((str(way), str(kind)), stats.links.get((way, kind), 0))
                for way, kind in product(TransportProtocol, ConnectionEncryption)
            ),
            disk_queue_bytes=stats.disk.queued_bytes,
            checked_bytes=stats.disk.checked_bytes,
            disk_errors=tuple(stats.disk.errors.items()),
            refused=tuple(stats.refused.items()),
        )

    def network(self) -> NetworkFacts:
        """Return how the engine is reached."""
        shared = self._opened.manager.shared
        status = self._opened.manager.network()
        return NetworkFacts(
            listen_port=status.listen_port,
            announced_port=shared.announced_port,
            tcp=tuple(map(str, status.tcp)),
            udp=tuple(map(str, status.udp)),
            external_addresses=status.external_addresses,
            dht_nodes=status.dht_nodes,
            mapping=(
                _mapping_state(status.port_mappings) if shared.config.port_mapping.enabled else ""
            ),
            mapped=_mapped(status.port_mappings),
            incoming_at=max(status.last_incoming_at.values(), default=0.0),
            internet_incoming_at=max(status.last_internet_incoming_at.values(), default=0.0),
            incoming_by_family=tuple(sorted(status.last_incoming_at.items())),
            connections=status.connections,
            dials=tuple(sorted(status.dials.items())),
            dht_by_family=tuple((family, each.nodes) for family, each in status.dht.items()),
            dht_queries=_dht_queries(status.dht.values()),
        )

    def bans(self) -> list[BanFacts]:
        """Return the bans that hold, those of users first."""
        return [
            BanFacts(each.host, each.port, each.ends_in_s, each.is_by_user)
            for each in self._opened.manager.bans()
        ]

    def ban(self, host: str, seconds: int | None = None) -> None:
        """Have no connections with a literal address; None: until :meth:`unban`. ConfigError."""
        self._opened.manager.ban(host, seconds)

    def unban(self, host: str) -> bool:
        """End all bans of an address; False if there are none."""
        return self._opened.manager.unban(host)

    def rate_limits(self) -> tuple[int, int]:
        """Return the download and upload limit of all torrents together; 0 is unlimited."""
        bandwidth = self._opened.manager.shared.bandwidth
        return round(bandwidth.download.rate_bytes_per_s), round(bandwidth.upload.rate_bytes_per_s)

    def set_rate_limits(self, download_bytes_per_s: int, upload_bytes_per_s: int) -> None:
        """Set the limits of all torrents together; 0 is unlimited."""
        self._opened.manager.set_rate_limits(
            download_bytes_per_s=download_bytes_per_s, upload_bytes_per_s=upload_bytes_per_s
        )

    def groups(self) -> list[GroupFacts]:
        """Return the groups whose limits were set; there may be others, which have none."""
        return [
            GroupFacts(
                each.name,
                each.download_bytes_per_s,
                each.upload_bytes_per_s,
                each.honors_session_limits,
            )
            for each in self._opened.manager.bandwidth_groups()
        ]

    def set_group(self, group: GroupFacts) -> None:
        """Set the limits of a group, which is made if need be; forgotten at the close."""
        self._opened.manager.set_bandwidth_group(
            group.name,
            download_bytes_per_s=group.download_bytes_per_s,
            upload_bytes_per_s=group.upload_bytes_per_s,
            honors_session_limits=group.honors_session_limits,
        )

    def peer_limits(self) -> PeerLimits:
        """Return how many peers there may be."""
        pool = self._opened.manager.shared.config.pool
        return PeerLimits(pool.max_connections, pool.max_connections_per_torrent)

    def set_peer_limits(self, limits: PeerLimits) -> None:
        """Set how many peers there may be; connections that are too many are closed."""
        self._opened.manager.set_connection_limits(
            max_connections=limits.all_torrents, max_connections_per_torrent=limits.per_torrent
        )

    def set_encryption(self, policy: str) -> None:
        """Set the encryption of new connections; see :class:`EngineControl`."""
        chosen = EncryptionPolicy(policy)
        config = self._opened.manager.shared.config
        encryption = replace(config.network.encryption, incoming=chosen, outgoing=chosen)
        network = replace(config.network, encryption=encryption)
        self._opened.manager.change_config(replace(config, network=network))

    def queue_limits(self) -> QueueLimits:
        """Return how many torrents are active at once."""
        config = self._opened.manager.queue_limits
        return QueueLimits(
            config.max_active_downloads,
            config.max_active_seeds,
            config.max_active,
            config.max_active_checks,
        )

    def set_queue_limits(self, limits: QueueLimits) -> None:
        """Set how many torrents are active at once."""
        self._opened.manager.set_queue_limits(
            max_active_downloads=limits.max_active_downloads,
            max_active_seeds=limits.max_active_seeds,
            max_active=limits.max_active,
            max_active_checks=limits.max_active_checks,
        )

    async def fetch_list(
        self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        """Fetch a long file; see :class:`EngineControl`."""
        shared = self._opened.manager.shared
        config = replace(shared.config.tracker, total_timeout_s=LIST_TIMEOUT_S)
        http = HttpClient(config, user_agent=shared.http.user_agent, route=shared.http.route)
        return await http.get(url, max_bytes=max_bytes, headers=headers)

    async def reload_ip_filter(self, paths: Sequence[str] | None = None) -> None:
        """Read the lists of the IP filter again, or others; see :class:`EngineControl`."""
        ip_filter = self._opened.manager.shared.ip_filter
        others = None if paths is None else replace(ip_filter.config, paths=tuple(paths))
        await ip_filter.reload(others)

    def bar_downloads(self, info_hashes: Iterable[InfoHash]) -> None:
        """Let these torrents not download, and all others again."""
        self._opened.manager.bar_downloads(frozenset(info_hashes))

    def seed_rules(self) -> SeedRules:
        """Return when seeding ends of torrents without a rule of their own."""
        rules = self._opened.manager.shared.seeding_rules
        return SeedRules(rules.seed_ratio, rules.seed_time_s, rules.seed_idle_s)

    def set_seed_rules(self, rules: SeedRules) -> None:
        """Set when seeding ends of torrents without a rule of their own."""
        self._opened.manager.set_seeding_rules(seeding_config(rules))

    def owner_generation(self, owner_id: str) -> int | None:
        """Return an owner's generation; None if it never announced one."""
        return self._opened.manager.owners.generation(owner_id)

    def advance_owner(self, owner_id: str, generation: int) -> int:
        """Set an owner's generation; return how many downloads of older ones were cancelled."""
        return self._opened.manager.owners.advance(owner_id, generation)

    async def flush(self) -> None:
        """Wait until the engine's database has all that was added and changed."""
        await self._opened.manager.flush()


def _mapping_state(statuses: Sequence[PortMappingStatus]) -> str:
    """Return how the mapping of our ports stands, in one word."""
    if any(each.is_open for each in statuses):
        return "mapped"
    return "failed" if any(each.error for each in statuses) else "trying"


def _mapped(statuses: Sequence[PortMappingStatus]) -> tuple[tuple[str, bool], ...]:
    found: dict[str, bool] = {}
    for each in statuses:
        name = each.transport.name.lower()
        found[name] = found.get(name, False) or each.is_open
    return tuple(sorted(found.items()))


def _dht_queries(found: Collection[DhtTraffic]) -> tuple[tuple[str, int], ...]:
    if not found:
        return ()
    return (
        ("in", sum(each.queries_in for each in found)),
        ("out", sum(each.queries_out for each in found)),
        ("timeout", sum(each.timeouts for each in found)),
    )


def user_data_of(options: AddOptions) -> dict[str, str]:
    """Return what is kept with a torrent that is added so."""
    return UserData(
        category=options.category or "",
        labels=options.labels or (),
        name=options.rename,
        ephemeral=options.ephemeral or "",
    ).values()


def _is_to_stay(session: Session, options: AddOptions) -> bool:
    """Return whether a torrent that goes with its owner is added to stay."""
    return options.ephemeral is None and bool(UserData.read(session.user_data).ephemeral)


def _peers_of(
    session: Session, torrent: Metainfo | Magnet, options: AddOptions
) -> tuple[tuple[str, int], ...]:
    """Return the peers that a torrent can dial when it takes the place of another."""
    named = torrent.peers if isinstance(torrent, Magnet) else ()
    dialled = (each.address for each in session.peers() if not each.is_incoming)
    known = (*(options.peers or ()), *named, *session.config.peers, *dialled)
    return tuple(dict.fromkeys(known))
