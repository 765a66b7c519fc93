"""Our external addresses, by votes of trackers and peers.

Source: BEP 10 ("yourip"), BEP 24 ("external ip"). Reports may be wrong or forged: each voter has
one vote in each family, its latest, and a tracker's vote counts as much as those of a few peers. A
peer votes in the family of its own address only: in the other one it cannot know.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from torrent_engine.base.operators import operator_of

NEEDED_VOTES: Final = 3  # ours: peers that agree
TRACKER_VOTES: Final = NEEDED_VOTES
MAX_VOTERS: Final = 100  # ours: peers of one family, or others; their oldest are dropped first


class _Vote(NamedTuple):
    host: str
    weight: int


class ExternalAddresses:
    """The votes of trackers and peers on our external addresses; shared by all torrents."""

    def __init__(self) -> None:
        self.hosts: tuple[str, ...] = ()
        """The result: at most one IPv4 and one IPv6 address."""
        self.mapped_port: int | None = None
        """The external TCP port mapped by the gateway (IPv4); None: not mapped, or the same."""
        self._votes: dict[tuple[int, bool], OrderedDict[str, _Vote]] = {}
        """By family and whether they are those of peers, which cannot push out the others."""

    def add_vote(self, address: str | bytes, voter: str, votes: int | None = None) -> None:
        """Count a vote for an address; ignore non-public addresses.

        ``voter`` is the address of a peer, whose vote counts once; with ``votes`` it is the URL of
        a tracker, or the name of something else that is trusted. Voters of one operator (an IPv4
        address, an IPv6 /64) share one vote.
        """
        ip = _parse(address)
        if ip is None or not ip.is_global:
            return
        if votes is None and ((peer := _parse(voter)) is None or peer.version != ip.version):
            return
        kept = self._votes.setdefault((ip.version, votes is None), OrderedDict())
        operator = operator_of(voter)
        kept[operator] = _Vote(str(ip), votes or 1)
        kept.move_to_end(operator)
        if len(kept) > MAX_VOTERS:
            kept.popitem(last=False)
        self.hosts = tuple(host for version in (4, 6) if (host := self._winner(version)))

    def port_seen_by(self, host: str, listen_port: int) -> int:
        """Return the port at which a host at a literal address can reach us.

        For the local network and all of IPv6 that is the port on which we listen.
        """
        ip = _parse(host)
        is_outside = ip is not None and ip.version == 4 and ip.is_global
        return self.mapped_port or listen_port if is_outside else listen_port

    def _winner(self, version: int) -> str | None:
        """Return the address with enough votes; the current one wins a draw."""
        counts: Counter[str] = Counter()
        for is_peers in (False, True):
            for vote in self._votes.get((version, is_peers), {}).values():
                counts[vote.host] += vote.weight
        best = max(counts, key=lambda host: (counts[host], host in self.hosts), default=None)
        return best if best is not None and counts[best] >= NEEDED_VOTES else None


def _parse(address: str | bytes) -> IPv4Address | IPv6Address | None:
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def own_hosts(listen_hosts: Sequence[str]) -> set[str]:
    """Return addresses at which we certainly listen; loopback addresses if unbound."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    return {everywhere.get(host, host) for host in listen_hosts}


def listens_at(host: str, listen_hosts: Sequence[str]) -> bool:
    """Return whether we listen at a local address."""
    return host in listen_hosts or ("::" if ":" in host else "0.0.0.0") in listen_hosts  # noqa: S104
