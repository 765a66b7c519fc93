"""The peers announced to us, by torrent; bounded.

What is full takes first of the network with the most entries, there of the operator with the most.
Source: BEP 5; BEP 33 (one peer an operator and torrent, seeds apart); BEP 51 (samples); row C2.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.base.operators import network_of, operator_of
from torrent_engine.protocol.dht.crowds import most_crowded
from torrent_engine.protocol.dht.hosts import is_local, packed_host
from torrent_engine.protocol.dht.krpc import compact_address
from torrent_engine.protocol.dht.scrape_filter import ScrapeFilter

SWEEPS_PER_EXPIRY: Final = 10  # ours: how often expired peers are removed
MAX_EXPIRED: Final = 2_000  # ours: of these at once, some ms; the next calls remove the rest
MAX_CHARGES: Final = 30  # ours: torrents that pass to others for one new torrent


class _StoredPeer(NamedTuple):
    compact: bytes
    is_seed: bool
    expires_s: float
    host: str
    operator: str
    network: str
    key: str | bytes


class _Swarm:
    """The peers of one torrent, in the order of their announces."""

    __slots__ = ("filters", "info_hash", "network", "operator", "peers")

    def __init__(self, info_hash: bytes, operator: str, network: str) -> None:
        self.info_hash = info_hash
        self.operator = operator
        """The operator that is charged with it: the first, until it passes to another one."""
        self.network = network
        self.peers: dict[str | bytes, _StoredPeer] = {}
        self.filters: tuple[ScrapeFilter, ScrapeFilter] | None = None
        """Filters of seeds and leeches; None: to be rebuilt."""


class PeerStore:
    """The stored peers by info-hash; ``now`` must not run backwards."""

    def __init__(self, config: DhtConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._swarms: dict[bytes, _Swarm] = {}
        self._torrents_of: Counter[str] = Counter()
        self._next_sweep_s = float("-inf")
        self._sample: list[bytes] = []
        self._sample_until_s = float("-inf")

    def __len__(self) -> int:
        """Return the number of torrents."""
        return len(self._swarms)

    def announce(
        self, info_hash: bytes, address: PeerAddress, *, is_seed: bool, now: float
    ) -> bool:
        """Store a peer in place of one of the same operator; return whether it is stored."""
        self._sweep(now)
        compact = compact_address(address)
        if not compact:
            return False
        operator, network = operator_of(address.host), network_of(address.host)
        key = compact if is_local(address.host) else operator
        swarm = self._swarms.get(info_hash)
        if swarm is not None and key in swarm.peers:
            self._drop(swarm, key)
        elif not is_local(address.host) and self._is_in_too_many(operator):
            return False
        swarm = self._swarm(info_hash, operator, network)
        if len(swarm.peers) >= self._config.max_peers_per_torrent:
            self._drop(swarm, most_crowded(swarm.peers.values(), operator, network)[0].key)
        swarm.peers[key] = _StoredPeer(
            compact, is_seed, now + self._config.peer_expiry_s, address.host, operator, network, key
        )
        self._torrents_of[operator] += 1
        if swarm.filters is not None:
            swarm.filters[0 if is_seed else 1].add(packed_host(address.host))
        return True

    def peers(
        self, info_hash: bytes, count: int, *, now: float, no_seed: bool = False
    ) -> list[bytes]:
        """Return up to ``count`` random peers, 6 or 18 bytes each.

        With ``no_seed`` seeds are used only to fill up (BEP 33).
        """
        swarm = self._living(info_hash, now)
        if swarm is None or count < 1:
            return []
        if no_seed:
            leeches = [peer.compact for peer in swarm.peers.values() if not peer.is_seed]
            if len(leeches) >= count:
                return self._some(leeches, count)
            seeds = [peer.compact for peer in swarm.peers.values() if peer.is_seed]
            return leeches + self._some(seeds, count - len(leeches))
        return self._some([peer.compact for peer in swarm.peers.values()], count)

    def addresses(
        self, info_hash: bytes, *, now: float, no_seed: bool = False
    ) -> tuple[PeerAddress, ...]:
        """Return all peers of a torrent, or only leeches."""
        swarm = self._living(info_hash, now)
        if swarm is None:
            return ()
        return tuple(
            PeerAddress(peer.host, int.from_bytes(peer.compact[-2:], "big"))
            for peer in swarm.peers.values()
            if not (no_seed and peer.is_seed)
        )

    def count(self, info_hash: bytes, now: float) -> int:
        """Return the number of peers of a torrent."""
        swarm = self._living(info_hash, now)
        return 0 if swarm is None else len(swarm.peers)

    def filters(self, info_hash: bytes, now: float) -> tuple[ScrapeFilter, ScrapeFilter] | None:
        """Return the filters of seeds and leeches (BEP 33); None without any."""
        swarm = self._living(info_hash, now)
        if swarm is None:
            return None
        if swarm.filters is None:
            swarm.filters = ScrapeFilter(), ScrapeFilter()
            for peer in swarm.peers.values():
                swarm.filters[0 if peer.is_seed else 1].add(packed_host(peer.host))
        return swarm.filters

    def sample(self, now: float) -> bytes:
        """Return a sample of info-hashes, 20 bytes each.

        It stays the same for ``sample_interval_s``, except that expired torrents are replaced.
        """
        self._sweep(now)
        if now >= self._sample_until_s:
            self._sample = []
            self._sample_until_s = now + self._config.sample_interval_s
        living = [each for each in self._sample if each in self._swarms]
        missing = min(self._config.max_samples, len(self._swarms)) - len(living)
        if missing > 0:
            living += self._some([each for each in self._swarms if each not in living], missing)
        self._sample = living
        return b"".join(living)

    def sample_interval_s(self, now: float) -> int:
        """Return the seconds until the sample changes."""
        return max(int(self._sample_until_s - now), 0)

    def _some(self, everything: list[bytes], count: int) -> list[bytes]:
        return everything if len(everything) <= count else self._rng.sample(everything, count)

    def _is_in_too_many(self, operator: str) -> bool:
        return self._torrents_of[operator] >= self._config.max_torrents_per_ip

    def _swarm(self, info_hash: bytes, operator: str, network: str) -> _Swarm:
        """Return the swarm of a torrent, creating it; evict one if there are too many."""
        swarm = self._swarms.get(info_hash)
        if swarm is None:
            if len(self._swarms) >= self._config.max_torrents:
                self._remove(self._surplus(operator, network).info_hash)
            swarm = self._swarms[info_hash] = _Swarm(info_hash, operator, network)
        return swarm

    def _surplus(self, operator: str, network: str) -> _Swarm:
        """Return the smallest torrent of who has most; those of others, too, pass to them first."""
        crowd = most_crowded(self._swarms.values(), operator, network)
        charged = Counter(each.network for each in self._swarms.values())
        for _ in range(MAX_CHARGES):
            smallest = min(crowd, key=_size)
            heir = _heir(smallest, charged)
            if heir is None:
                return smallest
            charged.subtract((smallest.network,))
            charged.update((heir.network,))
            smallest.operator, smallest.network = heir.operator, heir.network
            crowd.remove(smallest)
            if not crowd:  # all of it passed to others: somebody else has most now
                crowd = most_crowded(self._swarms.values(), operator, network)
        return min(crowd, key=_size)

    def _living(self, info_hash: bytes, now: float) -> _Swarm | None:
        """Return the swarm of a torrent after removing expired peers; None if none is left."""
        self._forget_expired(info_hash, now)
        return self._swarms.get(info_hash)

    def _sweep(self, now: float) -> None:
        """Remove the expired peers of all torrents, now and then; of very many a part."""
        if now < self._next_sweep_s:
            return
        expired = 0
        for info_hash in list(self._swarms):
            expired += self._forget_expired(info_hash, now)
            if expired >= MAX_EXPIRED:
                return
        self._next_sweep_s = now + self._config.peer_expiry_s / SWEEPS_PER_EXPIRY

    def _forget_expired(self, info_hash: bytes, now: float) -> int:
        """Remove the expired peers of a torrent; return their number."""
        swarm = self._swarms.get(info_hash)
        if swarm is None:
            return 0
        expired = list(_expired(swarm, now))
        for key in expired:
            self._drop(swarm, key)
        if not swarm.peers:
            del self._swarms[info_hash]
        return len(expired)

    def _remove(self, info_hash: bytes) -> None:
        swarm = self._swarms.pop(info_hash)
        for key in list(swarm.peers):
            self._drop(swarm, key)

    def _drop(self, swarm: _Swarm, key: str | bytes) -> None:
        operator = swarm.peers.pop(key).operator
        swarm.filters = None
        self._torrents_of[operator] -= 1
        if not self._torrents_of[operator]:
            del self._torrents_of[operator]


def _size(swarm: _Swarm) -> int:
    return len(swarm.peers)


def _heir(swarm: _Swarm, charged: Mapping[str, int]) -> _StoredPeer | None:
    """Return a peer whose network has fewer torrents and may be charged; None without any."""
    most = charged[swarm.network] - 1
    return next((peer for peer in swarm.peers.values() if charged[peer.network] < most), None)


def _expired(swarm: _Swarm, now: float) -> Iterator[str | bytes]:
    """Iterate over the expired peers, which are at the front."""
    for key, peer in swarm.peers.items():
        if peer.expires_s > now:
            return
        yield key
