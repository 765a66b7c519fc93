"""The swarms of a tracker; bounded, with expiry of peers.

An announce takes constant time. If the store is full, an entry of the network (an IPv4 /24, an IPv6
/48) with the most entries is evicted, there one of the operator (an IPv4 address, an IPv6 /64) with
the most, of these the one that was announced least recently. A torrent is an entry of one operator:
while another announces it that has fewer torrents, it passes to that one instead of being evicted.
Source: BEP 3 (announces), BEP 48 (counts).
"""

import random
from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import Final

from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.base.operators import network_of, operator_of
from torrent_engine.protocol.tracker.announce import AnnounceEvent, AnnounceRequest, ScrapeCounts
from torrent_engine.protocol.tracker.fair_shares import Entry, FairShares

EXPIRY_INTERVALS: Final = 2.5  # ours: a peer may miss one announce
MAX_EXPIRED: Final = 2_000  # ours: at once, some ms; later requests remove the rest
MAX_DETACHED: Final = 25  # ours: peers of evicted torrents that an announce removes, 0.1 ms
EXPIRY_PAUSE_S: Final = 0.1  # ours: after so many; a scrape of many torrents asks for each
MAX_CHARGES: Final = 100  # ours: passed on for one new torrent, a ms
HEIR_DRAWS: Final = 32  # ours: peers of a torrent of which one may be charged with it
SPARE_DRAWS: Final = 4  # ours: the announcing peer, and its peer id, may be drawn
NOTHING: Final = ScrapeCounts(seeds=0, leeches=0, downloads=0)


@dataclass(frozen=True, slots=True)
class SwarmLimits:
    """The limits of a tracker; a peer or a torrent takes about 1 KB."""

    max_torrents: int = 10_000
    max_torrents_of_one: int = 2_500
    """Torrents that are charged to one operator, while at least half of all are in use."""
    max_peers: int = 100_000
    """Over all torrents."""
    max_peers_of_one: int = 5_000
    """Over all torrents, of one operator, while at least half of all are in use."""
    max_peers_per_torrent: int = 5_000
    max_peers_per_torrent_of_one: int = 256
    """Above 1, because many peers may share an address by NAT."""


class SwarmPeer:
    """One peer of a swarm at its last announce."""

    __slots__ = ("address", "is_seed", "network", "operator", "peer_id", "place", "seen_s", "swarm")

    def __init__(
        self, swarm: "TrackerSwarm", address: PeerAddress, operator: str, network: str
    ) -> None:
        self.swarm = swarm
        self.address = address
        self.operator = operator
        self.network = network
        self.peer_id = b""
        self.is_seed = False
        self.seen_s = 0.0
        self.place = 0
        """Its index in its group."""


NO_PEERS: Final[list[SwarmPeer]] = []
"""A group that had none yet; shared, as the garbage collector looks at each list."""


class TrackerSwarm:
    """The peers of one torrent, in four groups: IPv4 and IPv6, leeches and seeds."""

    __slots__ = ("downloads", "groups", "info_hash", "network", "operator", "peers", "shares")

    def __init__(self, info_hash: InfoHash, operator: str, network: str) -> None:
        self.info_hash = info_hash
        self.operator = operator
        """The operator that it is charged to: the first, until one that has fewer announces it."""
        self.network = network
        self.peers: dict[PeerAddress, SwarmPeer] = {}
        """The least recent announce first."""
        self.groups = [NO_PEERS] * 4
        self.shares: FairShares[SwarmPeer] | None = None
        """None while the swarm is small."""
        self.downloads = 0

    def counts(self) -> ScrapeCounts:
        """Return the numbers of seeds, leeches and completed downloads."""
        seeds = len(self.groups[1]) + len(self.groups[3])
        return ScrapeCounts(seeds=seeds, leeches=len(self.peers) - seeds, downloads=self.downloads)

    def put(self, peer: SwarmPeer, *, is_seed: bool) -> None:
        """Add a peer, or update it after another announce."""
        is_known = self.peers.pop(peer.address, None) is not None
        self.peers[peer.address] = peer
        if not is_known or is_seed != peer.is_seed:
            if is_known:
                self._leave_group(peer)
            peer.is_seed = is_seed
            self._join_group(peer)
        if self.shares is not None:
            self.shares.add(peer)

    def remove(self, peer: SwarmPeer) -> None:
        """Remove one of its peers."""
        del self.peers[peer.address]
        self._leave_group(peer)
        if self.shares is not None:
            self.shares.remove(peer)

    def surplus(self, operator: str, network: str, limits: SwarmLimits) -> SwarmPeer | None:
        """Return the peer to evict for a new one of an operator; None if there is room."""
        is_full = len(self.peers) >= limits.max_peers_per_torrent
        if not is_full and len(self.peers) < limits.max_peers_per_torrent_of_one:
            return None
        shares = self._counted()
        if shares.count(operator) >= limits.max_peers_per_torrent_of_one:
            return shares.oldest(operator)
        return shares.surplus(operator, network) if is_full else None

    def draw(
        self, count: int, *, v6: bool | None, with_seeds: bool, rng: random.Random
    ) -> list[SwarmPeer]:
        """Return up to ``count`` random peers."""
        leeches4, seeds4, leeches6, seeds6 = self.groups
        groups = [leeches4] if v6 is False else [leeches6] if v6 else [leeches4, leeches6]
        if with_seeds:
            groups += [seeds4] if v6 is False else [seeds6] if v6 else [seeds4, seeds6]
        total = sum(map(len, groups))
        if count >= total:
            return [peer for group in groups for peer in group]
        drawn: list[SwarmPeer] = []
        for place in rng.sample(range(total), count):
            for group in groups:
                if place < len(group):
                    drawn.append(group[place])
                    break
                place -= len(group)  # noqa: PLW2901 - counted on through the groups
        return drawn

    def _counted(self) -> FairShares[SwarmPeer]:
        if self.shares is None:
            self.shares = FairShares()
            for peer in self.peers.values():
                self.shares.add(peer)
        return self.shares

    def any_peer(self) -> SwarmPeer | None:
        """Return one of its peers; None if it has none."""
        return next((group[-1] for group in self.groups if group), None)

    def _join_group(self, peer: SwarmPeer) -> None:
        number = _group_of(peer)
        group = self.groups[number]
        if group is NO_PEERS:
            group = self.groups[number] = []
        peer.place = len(group)
        group.append(peer)

    def _leave_group(self, peer: SwarmPeer) -> None:
        """Remove a peer from its group by moving the last one to its index."""
        group = self.groups[_group_of(peer)]
        last = group.pop()
        if last is not peer:
            group[peer.place] = last
            last.place = peer.place


class SwarmStore:
    """All swarms of a tracker. ``now`` is any monotonic time in seconds."""

    def __init__(
        self,
        *,
        interval_s: float,
        rng: random.Random,
        limits: SwarmLimits | None = None,
    ) -> None:
        self._expiry_s = interval_s * EXPIRY_INTERVALS
        self._expires_at_s = -inf
        self._rng = rng
        self._limits = limits or SwarmLimits()
        self._swarms: dict[InfoHash, TrackerSwarm] = {}
        self._owners: FairShares[TrackerSwarm] = FairShares()
        self._peers: OrderedDict[SwarmPeer, None] = OrderedDict()  # quiet longest first
        self._operators: FairShares[SwarmPeer] = FairShares()
        self._detached: list[TrackerSwarm] = []
        """Evicted torrents, whose peers are removed by later announces."""

    def announce(
        self,
        request: AnnounceRequest,
        address: PeerAddress,
        *,
        now: float,
        v6: bool | None = None,
    ) -> list[SwarmPeer]:
        """Record an announce; return up to ``numwant`` other peers at random.

        ``v6`` restricts them to one address family. A seed gets only leeches, except at its first
        announce: aria2 announces left=0 for magnet links. If the store is full, an entry of the
        network with the most entries is evicted.
        """
        self._expire(now)
        self._clear_detached()
        if request.event is AnnounceEvent.STOPPED:
            self._stopped(request.info_hash, address)
            return []
        operator, network = operator_of(address.host), network_of(address.host)
        swarm = self._swarm(request.info_hash, operator, network)
        known = swarm.peers.get(address)
        is_seed = request.totals.left_bytes == 0
        if request.event is AnnounceEvent.COMPLETED and known is not None and not known.is_seed:
            swarm.downloads += 1
        peer = known or self._new_peer(SwarmPeer(swarm, address, operator, network))
        self._update(peer, request, now, is_seed=is_seed)
        wanted = max(request.numwant, 0)
        drawn = swarm.draw(
            wanted + SPARE_DRAWS, v6=v6, with_seeds=known is None or not is_seed, rng=self._rng
        )
        return [each for each in drawn if each.peer_id != request.peer_id and each is not peer][
            :wanted
        ]

    def scrape(self, info_hash: InfoHash, *, now: float) -> ScrapeCounts:
        """Return the counts of one swarm; zeros for an unknown one."""
        self._expire(now)
        swarm = self._swarms.get(info_hash)
        return swarm.counts() if swarm else NOTHING

    def totals(self) -> tuple[int, int]:
        """Return the numbers of torrents and of peers."""
        detached = sum(len(swarm.peers) for swarm in self._detached)
        return len(self._swarms), len(self._peers) - detached

    def _update(
        self, peer: SwarmPeer, request: AnnounceRequest, now: float, *, is_seed: bool
    ) -> None:
        peer.peer_id, peer.seen_s = request.peer_id, now
        peer.swarm.put(peer, is_seed=is_seed)
        self._peers[peer] = None
        self._peers.move_to_end(peer)
        self._operators.add(peer)

    def _swarm(self, info_hash: InfoHash, operator: str, network: str) -> TrackerSwarm:
        """Return the swarm of a torrent, creating it if needed."""
        swarm = self._swarms.get(info_hash)
        if swarm is None:
            self._make_room_for_swarm(operator, network)
            swarm = self._swarms[info_hash] = TrackerSwarm(info_hash, operator, network)
        elif self._owners.has_fewer(operator, network, swarm):
            self._charge(swarm, operator, network)
        self._owners.add(swarm)
        return swarm

    def _make_room_for_swarm(self, operator: str, network: str) -> None:
        """Evict a swarm if there are too many; those that others announce pass to them first."""
        surplus = self._surplus_swarm(operator, network)
        for _ in range(MAX_CHARGES):
            heir = None if surplus is None else self._heir(surplus)
            if surplus is None or heir is None:
                break
            self._charge(surplus, heir.operator, heir.network)
            surplus = self._surplus_swarm(operator, network)
        if surplus is not None:
            self._remove_swarm(surplus)
            surplus.shares = None
            self._detached.append(surplus)
            self._clear_detached()

    def _surplus_swarm(self, operator: str, network: str) -> TrackerSwarm | None:
        """Return the swarm to evict for a new one of an operator; None if there is room."""
        most, most_of_one = self._limits.max_torrents, self._limits.max_torrents_of_one
        return _surplus(self._owners, operator, network, most, most_of_one)

    def _heir(self, swarm: TrackerSwarm) -> SwarmPeer | None:
        """Return a peer there whose operator may be charged instead; None if none may.

        Of a large swarm some peers are looked at.
        """
        peers = swarm.draw(HEIR_DRAWS, v6=None, with_seeds=True, rng=self._rng)
        has_fewer = self._owners.has_fewer
        return next((each for each in peers if has_fewer(each.operator, each.network, swarm)), None)

    def _charge(self, swarm: TrackerSwarm, operator: str, network: str) -> None:
        self._owners.remove(swarm)
        swarm.operator, swarm.network = operator, network
        self._owners.add(swarm)

    def _new_peer(self, peer: SwarmPeer) -> SwarmPeer:
        """Make room for a new peer, and return it; it is not in its swarm yet."""
        swarm, operator, network = peer.swarm, peer.operator, peer.network
        if (surplus := swarm.surplus(operator, network, self._limits)) is not None:
            self._remove(surplus, keeps=swarm)
        most, most_of_one = self._limits.max_peers, self._limits.max_peers_of_one
        surplus = _surplus(self._operators, operator, network, most, most_of_one)
        if surplus is not None:
            self._remove(surplus, keeps=swarm)
        return peer

    def _stopped(self, info_hash: InfoHash, address: PeerAddress) -> None:
        swarm = self._swarms.get(info_hash)
        peer = swarm.peers.get(address) if swarm else None
        if peer is not None:
            self._remove(peer)

    def _remove(self, peer: SwarmPeer, keeps: TrackerSwarm | None = None) -> None:
        """Remove a peer, and its swarm if that has neither peers nor a download count."""
        swarm = peer.swarm
        swarm.remove(peer)
        del self._peers[peer]
        self._operators.remove(peer)
        if not swarm.peers and not swarm.downloads and swarm is not keeps:
            self._remove_swarm(swarm)

    def _remove_swarm(self, swarm: TrackerSwarm) -> None:
        self._owners.remove(swarm)
        if self._swarms.get(swarm.info_hash) is swarm:
            del self._swarms[swarm.info_hash]

    def _clear_detached(self) -> None:
        """Remove peers of evicted torrents; of very many a part."""
        for _ in range(MAX_DETACHED):
            if not self._detached:
                return
            peer = self._detached[-1].any_peer()
            if peer is None:
                self._detached.pop()
            else:
                self._remove(peer)

    def _expire(self, now: float) -> None:
        """Remove peers without a recent announce; of very many a part."""
        if now < self._expires_at_s:
            return
        oldest_s = now - self._expiry_s
        for _ in range(min(len(self._peers), MAX_EXPIRED)):
            peer = next(iter(self._peers))
            if peer.seen_s >= oldest_s:
                return
            self._remove(peer)
        self._expires_at_s = now + EXPIRY_PAUSE_S


def _group_of(peer: SwarmPeer) -> int:
    return 2 * (":" in peer.address.host) + peer.is_seed


def _surplus(
    shares: FairShares[Entry], operator: str, network: str, most: int, most_of_one: int
) -> Entry | None:
    """Return the entry to evict for a new one of an operator; None if there is room."""
    is_half_full = len(shares) * 2 >= most
    if is_half_full and shares.count(operator) >= most_of_one:
        return shares.oldest(operator)
    return shares.surplus(operator, network) if len(shares) >= most else None
