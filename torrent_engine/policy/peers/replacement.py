"""Replacement of a peer by another one when a torrent has all its connections.

Only a link that carried no payload of late ends for a new peer, and of peers of one larger
network a quarter may stay: whoever has such a network chooses addresses of the highest priority
(BEP 40). New peers of low priority have the place of one that was idle for long, now and then.
Source: BEP 40; row B5.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from torrent_engine.base.config import PoolConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import network_of
from torrent_engine.policy.addresses import is_private_or_shared
from torrent_engine.policy.peers.candidates import CandidateList

LONG_IDLE_S: Final = 600.0  # ours: who is to be unchoked in turn has been, in most torrents
ROTATION_S: Final = 60.0  # ours: a tenth of the links of a full torrent in 20 minutes
NETWORK_SHARE: Final = 4  # ours: a network has one in so many places of a full torrent


class Replacement:
    """Occasional replacement of one peer by another; ``now`` must not run backwards."""

    def __init__(self, config: PoolConfig, candidates: CandidateList) -> None:
        self._config = config
        self._candidates = candidates
        self._next_at = self._next_rotation = float("-inf")

    def peer_to_replace(
        self, new_peer: PeerAddress, idle_s: Mapping[PeerAddress, float], now: float
    ) -> PeerAddress | None:
        """Return the connected peer that is to leave for a new one, None if that is rejected.

        ``idle_s`` says of each connected peer for how long its link has carried no payload. None
        leaves shortly after another replacement.
        """
        if now < self._next_at:
            return None
        networks = Counter(filter(None, map(self._network, idle_s)))
        most = max(len(idle_s) // NETWORK_SHARE, 1)
        if networks[self._network(new_peer)] >= most:
            return None
        least_s = self._config.replacement_idle_s
        idle = [each for each, seconds in idle_s.items() if seconds >= least_s]
        leaving = self._lowest(each for each in idle if networks[self._network(each)] > most)
        leaving = leaving or self._lower_than(new_peer, idle) or self._longest_idle(idle_s, now)
        if leaving is not None:
            self._next_at = now + self._config.replacement_interval_s
        return leaving

    def _network(self, address: PeerAddress) -> str:
        """Return the larger network of a public address, nothing for another one."""
        host = address.host
        return "" if is_private_or_shared(host, self._config) else network_of(host)

    def _lowest(self, peers: Iterable[PeerAddress]) -> PeerAddress | None:
        priority = self._candidates.canonical_priority
        return min(peers, key=lambda each: (priority(each) or 0, each), default=None)

    def _lower_than(
        self, new_peer: PeerAddress, peers: Iterable[PeerAddress]
    ) -> PeerAddress | None:
        """Return the peer of lowest priority if it is below that of a new one (BEP 40)."""
        priority = self._candidates.canonical_priority
        theirs, lowest = priority(new_peer), self._lowest(peers)
        if theirs is None or lowest is None or (priority(lowest) or 0) >= theirs:
            return None
        return lowest

    def _longest_idle(self, idle_s: Mapping[PeerAddress, float], now: float) -> PeerAddress | None:
        """Return now and then who has been idle for longest, if that is long."""
        longest = max(idle_s, key=lambda each: (idle_s[each], each), default=None)
        if longest is None or idle_s[longest] < LONG_IDLE_S or now < self._next_rotation:
            return None
        self._next_rotation = now + ROTATION_S
        return longest
