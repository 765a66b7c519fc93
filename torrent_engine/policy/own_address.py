"""Owns one belief: at which address, one of each family, the internet sees us.

Source: BEP 10 ("yourip"), BEP 24 ("external ip"). Tellers may be wrong or lie: each has one vote a
family, its last, and a tracker's word weighs as much as that of a few peers.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from torrent_engine.base.operators import operator_of

NEEDED_VOTES: Final = 3  # ours: peers that agree
TRACKER_VOTES: Final = NEEDED_VOTES
MAX_TELLERS: Final = 100  # ours: the oldest words go first


class _Vote(NamedTuple):
    host: str
    weight: int


class OwnAddress:
    """Counts what trackers and peers say of our address; serves all torrents."""

    def __init__(self) -> None:
        self.hosts: tuple[str, ...] = ()
        """What is believed: at most one IPv4 and one IPv6 address."""
        self.mapped_port: int | None = None
        """The TCP port of IPv4 that our gateway leads to us; None: it leads none, or the same."""
        self._votes: OrderedDict[tuple[int, str], _Vote] = OrderedDict()

    def told(self, address: str | bytes, teller: str, votes: int = 1) -> None:
        """Hear from a teller, named by its own address or URL; what is not public is ignored.

        Those of one operator (an IPv4 address, an IPv6 /64) are one teller.
        """
        ip = _parse(address)
        if ip is None or not ip.is_global:
            return
        key = (ip.version, operator_of(teller))
        self._votes[key] = _Vote(str(ip), votes)
        self._votes.move_to_end(key)
        if len(self._votes) > MAX_TELLERS:
            self._votes.popitem(last=False)
        self.hosts = tuple(host for version in (4, 6) if (host := self._winner(version)))

    def port_seen_by(self, host: str, listen_port: int) -> int:
        """Return at which port we are found by who is at a literal address.

        Our own network, and all of IPv6, sees the port on which we listen.
        """
        ip = _parse(host)
        is_outside = ip is not None and ip.version == 4 and ip.is_global
        return self.mapped_port or listen_port if is_outside else listen_port

    def _winner(self, version: int) -> str | None:
        """Return who leads with enough votes; at a draw who is believed already."""
        counts: Counter[str] = Counter()
        for (voted, _), vote in self._votes.items():
            if voted == version:
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
    """Return the addresses at which we surely listen; who listens everywhere, on loopback too."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    return {everywhere.get(host, host) for host in listen_hosts}


def listens_at(host: str, listen_hosts: Sequence[str]) -> bool:
    """Tell whether we listen at a local address."""
    return host in listen_hosts or ("::" if ":" in host else "0.0.0.0") in listen_hosts  # noqa: S104
