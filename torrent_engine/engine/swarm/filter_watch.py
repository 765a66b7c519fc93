"""Connections that a new IP filter, or a new ban, forbids."""

from collections.abc import Iterable

from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.ip_filter.filter import AddressVerdicts
from torrent_engine.policy.peers.bans import BanList


class FilterWatch:
    """Finds the links of one torrent that a new filter forbids."""

    def __init__(self, ip_filter: AddressVerdicts) -> None:
        self._filter = ip_filter
        self._generation = ip_filter.generation

    def forbidden(self, peers: Iterable[Peer]) -> list[Peer]:
        """Return the peers that a changed filter forbids; checks all of them once a change."""
        if self._generation == self._filter.generation:
            return []
        self._generation = self._filter.generation
        return [peer for peer in peers if not self._filter.allows(peer.address)]


class BanWatch:
    """Finds the links of one torrent that the user has banned since they were made."""

    def __init__(self, bans: BanList) -> None:
        self._bans = bans
        self._generation = bans.generation

    def banned(self, peers: Iterable[Peer], now: float) -> list[Peer]:
        """Return the peers that are banned now; checks all of them once a change."""
        if self._generation == self._bans.generation:
            return []
        self._generation = self._bans.generation
        return [peer for peer in peers if self._bans.is_banned(*peer.identity, now)]
