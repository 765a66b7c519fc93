"""Owns the question whether an address may be a peer of a torrent at all, ever or for now.

Source: BEP 27 (private torrents).
"""

from typing import Final

from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.policy.addresses import is_dialable
from torrent_engine.policy.bans import BanList
from torrent_engine.policy.candidate import PRIVATE_SOURCES, Source
from torrent_engine.policy.ip_filter import AddressVerdicts, IpFilter

MAX_EXCLUDED: Final = 1_000  # ours: entries of memory; the oldest go first


class Admission:
    """Knows what kind of torrent it is, who is ourselves, who is banned, and the IP filter."""

    def __init__(
        self, bans: BanList, ip_filter: AddressVerdicts | None, *, is_private: bool
    ) -> None:
        self.is_private = is_private
        self._excluded: dict[PeerAddress, None] = {}
        self.ip_filter: AddressVerdicts = IpFilter() if ip_filter is None else ip_filter
        self._bans = bans

    def refuses(
        self, address: PeerAddress, source: Source, now: float, *, allow_local: bool
    ) -> bool:
        """Tell whether an address that somebody names is not to be known."""
        if self.is_private and not source & PRIVATE_SOURCES:
            return True
        if address in self._excluded or not is_dialable(address, allow_local=allow_local):
            return True
        return self.forbids_dial(address, now)

    def exclude(self, address: PeerAddress) -> None:
        """Never dial an address: it is our own, or whoever is there says so."""
        self._excluded.pop(address, None)
        self._excluded[address] = None
        if len(self._excluded) > MAX_EXCLUDED:
            del self._excluded[next(iter(self._excluded))]

    def forbids_dial(self, address: PeerAddress, now: float) -> bool:
        """Tell whether an address must not be dialled now."""
        return self._bans.is_banned(address, None, now) or not self.ip_filter.allows_dial(address)

    def forbids(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> bool:
        """Tell whether a link with a peer must not be, whoever dialled."""
        return self._bans.is_banned(address, peer_id, now) or not self.ip_filter.allows(address)
