"""Owns one belief: at which address the internet sees our socket.

Source: BEP 42 ("ip" of answers). Tellers may be wrong or lie, and one of them may have many
addresses: each network of them has one vote, its last, and most of the votes must agree.
"""

from collections import Counter, OrderedDict
from ipaddress import ip_address

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.protocol.dht.hosts import is_local, packed_host, site_of
from torrent_engine.protocol.dht.named_nodes import is_unicast


class ExternalAddress:
    """Counts what the nodes that we asked say of our address."""

    def __init__(self, config: DhtConfig, *, is_ipv6: bool) -> None:
        self.believed: PeerAddress | None = None
        """Port 0 where the tellers do not agree on the port."""
        self._hint: PeerAddress | None = None
        self._config = config
        self._is_ipv6 = is_ipv6
        self._votes: OrderedDict[bytes, PeerAddress] = OrderedDict()

    def told(self, address: PeerAddress, teller: PeerAddress) -> bool:
        """Hear where somebody sees us; tell whether that changed what is believed.

        Only addresses of the internet count: on others every node id is right.
        """
        if (":" in address.host) != self._is_ipv6 or is_local(address.host):
            return False
        if not is_unicast(address.host):
            return False
        site = site_of(packed_host(teller.host))
        self._votes[site] = address
        self._votes.move_to_end(site)
        if len(self._votes) > self._config.max_external_votes:
            self._votes.popitem(last=False)
        winner = self._winner()
        changed = winner is not None and winner != self.believed
        self.believed = winner or self.believed
        return changed

    def hinted(self, address: PeerAddress) -> bool:
        """Believe our own gateway as long as nothing else is believed; tell whether that is so.

        It may stand behind another gateway: what it says holds if it is of the internet.
        """
        if self.believed not in (None, self._hint) or self.believed == address:
            return False
        if (":" in address.host) != self._is_ipv6 or not is_unicast(address.host):
            return False
        if not ip_address(address.host).is_global:  # a gateway of a carrier has one of 100.64/10
            return False
        self.believed = self._hint = address
        return True

    def _winner(self) -> PeerAddress | None:
        hosts = Counter(vote.host for vote in self._votes.values())
        host, votes = hosts.most_common(1)[0]
        if not self._is_enough(votes):
            return None
        ports = Counter(vote.port for vote in self._votes.values() if vote.host == host)
        port, agreeing = ports.most_common(1)[0]
        return PeerAddress(host, port if self._is_enough(agreeing) else 0)

    def _is_enough(self, votes: int) -> bool:
        return votes >= self._config.external_votes and 2 * votes > len(self._votes)
