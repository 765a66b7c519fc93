"""Our external address as other nodes report it (BEP 42).

Source: BEP 42 ("ip" of responses). Reports may be wrong or forged, and one operator may have many
addresses: each network has one vote, its latest, and a majority must agree.
"""

from collections import Counter, OrderedDict
from ipaddress import ip_address

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.protocol.dht.hosts import is_local, packed_host, subnet_of
from torrent_engine.protocol.dht.response_nodes import is_unicast


class ExternalAddress:
    """The votes of responding nodes on our address."""

    def __init__(self, config: DhtConfig, *, is_ipv6: bool) -> None:
        self.believed: PeerAddress | None = None
        """The accepted address; port 0 if the voters do not agree on the port."""
        self._hint: PeerAddress | None = None
        self._config = config
        self._is_ipv6 = is_ipv6
        self._votes: OrderedDict[bytes, PeerAddress] = OrderedDict()

    def add_vote(self, address: PeerAddress, voter: PeerAddress) -> bool:
        """Count a node's vote for our address; return whether the accepted address changed.

        Only global addresses count: on others every node id is valid.
        """
        if (":" in address.host) != self._is_ipv6 or is_local(address.host):
            return False
        if not is_unicast(address.host):
            return False
        subnet = subnet_of(packed_host(voter.host))
        self._votes[subnet] = address
        self._votes.move_to_end(subnet)
        if len(self._votes) > self._config.max_external_votes:
            self._votes.popitem(last=False)
        winner = self._winner()
        changed = winner is not None and winner != self.believed
        self.believed = winner or self.believed
        return changed

    def set_hint(self, address: PeerAddress) -> bool:
        """Accept the gateway's address until nodes agree on one; return whether it was accepted.

        Only a global address is accepted, because the gateway may be behind another one.
        """
        if self.believed not in (None, self._hint) or self.believed == address:
            return False
        if (":" in address.host) != self._is_ipv6 or not is_unicast(address.host):
            return False
        if not ip_address(
            address.host
        ).is_global:  # for example 100.64/10 behind a carrier-grade NAT
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
