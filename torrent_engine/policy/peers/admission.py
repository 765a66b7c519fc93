"""The admission rules of a torrent: source of the address, bans and IP filter.

Source: BEP 27 (private torrents).
"""

from typing import Final

from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.policy.addresses import is_dialable
from torrent_engine.policy.ip_filter.filter import AddressVerdicts, IpFilter
from torrent_engine.policy.peers.bans import BanList
from torrent_engine.policy.peers.candidate import PRIVATE_SOURCES, Source

MAX_EXCLUDED: Final = 1_000  # ours: the oldest entries are dropped first


class Admission:
    """The admission rules of a torrent: private or not, own addresses, bans, IP filter."""

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
        """Return whether an address must not be added to the candidates."""
        if self.is_private and not source & PRIVATE_SOURCES:
            return True
        if address in self._excluded or not is_dialable(address, allow_local=allow_local):
            return True
        return self.forbids_dial(address, now)

    def exclude(self, address: PeerAddress) -> None:
        """Never dial an address: it is our own, or the peer requested it."""
        self._excluded.pop(address, None)
        self._excluded[address] = None
        if len(self._excluded) > MAX_EXCLUDED:
            del self._excluded[next(iter(self._excluded))]

    def forbids_dial(self, address: PeerAddress, now: float) -> bool:
        """Return whether an address must not be dialled now."""
        return self._bans.refuses(address, None, now) or not self.ip_filter.allows_dial(address)

    def forbids(self, address: PeerAddress, peer_id: PeerId | None, now: float) -> bool:
        """Return whether a connection with a peer is forbidden, in either direction."""
        return self._bans.refuses(address, peer_id, now) or not self.ip_filter.allows(address)
