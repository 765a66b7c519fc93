"""What may be changed of one torrent at any time, through the manager."""

from collections.abc import Mapping, Sequence

from torrent_engine.base.config import SeedingConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import Limits, SeedRules
from torrent_engine.daemon.engine_port.opened import OpenManager


class ManagerSettings:
    """A :class:`TorrentSettings` of the open manager."""

    def __init__(self, opened: OpenManager) -> None:
        self._opened = opened

    def set_limits(self, info_hash: InfoHash, limits: Limits) -> None:
        """Set all limits of a torrent."""
        session = self._opened.session(info_hash)
        session.set_max_connections(limits.max_peers)
        session.set_rate_limits(
            download_bytes_per_s=limits.download_bytes_per_s,
            upload_bytes_per_s=limits.upload_bytes_per_s,
            peer_download_bytes_per_s=limits.peer_download_bytes_per_s,
            peer_upload_bytes_per_s=limits.peer_upload_bytes_per_s,
        )

    def set_seed_rules(self, info_hash: InfoHash, rules: SeedRules) -> None:
        """Set when seeding ends."""
        self._opened.session(info_hash).set_seeding_rules(seeding_config(rules))

    def set_sequential(
        self, info_hash: InfoHash, *, is_sequential: bool, from_piece: int | None = None
    ) -> None:
        """Download pieces in their order, beginning at one, or the rarest first."""
        self._opened.session(info_hash).set_sequential(is_sequential, from_piece=from_piece)

    async def set_first_last_first(self, info_hash: InfoHash, *, is_first: bool) -> None:
        """Download the first and last pieces of files before others, or not."""
        await self._opened.session(info_hash).set_first_last_first(is_first)

    def set_group(self, info_hash: InfoHash, name: str, *, honors_session_limits: bool) -> None:
        """Share the limits of a group, "" for none, and those over all torrents or not."""
        self._opened.session(info_hash).set_bandwidth(
            group=name, honors_session_limits=honors_session_limits
        )

    def set_super_seeding(self, info_hash: InfoHash, *, is_super_seeding: bool) -> None:
        """Show pieces one by one (BEP 16), or all of them."""
        self._opened.session(info_hash).set_super_seeding(is_super_seeding)

    async def set_file_priorities(self, info_hash: InfoHash, priorities: Mapping[int, int]) -> None:
        """Set the priorities of some files; see :class:`TorrentSettings`."""
        await self._opened.session(info_hash).set_file_priorities(priorities)

    def set_user_data(self, info_hash: InfoHash, values: dict[str, str]) -> None:
        """Replace what the daemon keeps with a torrent; at most 4 KiB."""
        self._opened.session(info_hash).set_user_data(values)

    def set_trackers(self, info_hash: InfoHash, tiers: Sequence[Sequence[str]]) -> None:
        """Replace all trackers. Raises TrackerError, and changes nothing, for an unusable URL."""
        self._opened.session(info_hash).set_trackers(tiers)

    def add_tracker(self, info_hash: InfoHash, url: str, tier: int | None = None) -> bool:
        """Announce to one more tracker; return whether it is new."""
        return self._opened.session(info_hash).add_tracker(url, tier)

    def remove_tracker(self, info_hash: InfoHash, url: str) -> bool:
        """Announce to a tracker no more; False if there is none such."""
        return self._opened.session(info_hash).remove_tracker(url)

    def add_web_seed(self, info_hash: InfoHash, url: str) -> bool:
        """Download from one more web server; return whether it is new."""
        return self._opened.session(info_hash).add_web_seed(url)

    def remove_web_seed(self, info_hash: InfoHash, url: str) -> bool:
        """Download from a web server no more; False if there is none such."""
        return self._opened.session(info_hash).remove_web_seed(url)

    async def add_peer(self, info_hash: InfoHash, host: str, port: int) -> None:
        """Try a peer at once, or when the torrent starts."""
        await self._opened.session(info_hash).add_peer(host, port)


def seeding_config(rules: SeedRules) -> SeedingConfig:
    """Return the rules as the engine takes them."""
    return SeedingConfig(rules.ratio, rules.time_s, rules.idle_s)
