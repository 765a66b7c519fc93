"""The swarms of a tracker; bounded, with expiry of peers.

An announce takes constant time. If the store is full, the oldest entry of the operator (an IPv4
address, an IPv6 /64) with the most entries is evicted. A torrent is an entry of one operator: while
another announces it that has fewer torrents, it passes to that one instead of being evicted.
Source: BEP 3 (announces), BEP 48 (counts).
"""

import random
from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import Final

from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.base.operators import operator_of
from torrent_engine.protocol.tracker.announce import AnnounceEvent, AnnounceRequest, ScrapeCounts
from torrent_engine.protocol.tracker.fair_shares import FairShares

EXPIRY_INTERVALS: Final = 2.5  # ours: a peer may miss one announce
MAX_EXPIRED: Final = 2_000  # ours: at once, some ms; later requests remove the rest
EXPIRY_PAUSE_S: Final = 0.1  # ours: after so many; a scrape of many torrents asks for each
MAX_CHARGES: Final = 500  # ours: passed on for one new torrent, some ms
SPARE_DRAWS: Final = 4  # ours: the announcing peer, and its peer id, may be drawn
NOTHING: Final = ScrapeCounts(seeds=0, leeches=0, downloads=0)


@dataclass(frozen=True, slots=True)
class SwarmLimits:
    """The limits of a tracker; a peer or a torrent takes about 1 KB."""

    max_torrents: int = 10_000
    max_torrents_of_one: int = 2_500
    """Torrents that are charged to one operator."""
    max_peers: int = 100_000
    """Over all torrents."""
    max_peers_of_one: int = 5_000
    """Over all torrents, of one operator."""
    max_peers_per_torrent: int = 5_000
    max_peers_per_torrent_of_one: int = 256
    """Above 1, because many peers may share an address by NAT."""


class SwarmPeer:
    """One peer of a swarm at its last announce."""

    __slots__ = ("address", "is_seed", "operator", "peer_id", "place", "seen_s", "swarm")

    def __init__(self, swarm: "TrackerSwarm", address: PeerAddress, operator: str) -> None:
        self.swarm = swarm
        self.address = address
        self.operator = operator
        self.peer_id = b""
        self.is_seed = False
        self.seen_s = 0.0
        self.place = 0
        """Its index in its group."""


class TrackerSwarm:
    """The peers of one torrent, in four groups: IPv4 and IPv6, leeches and seeds."""

    __slots__ = ("downloads", "groups", "info_hash", "operator", "peers", "shares")

    def __init__(self, info_hash: InfoHash, operator: str) -> None:
        self.info_hash = info_hash
        self.operator = operator
        """The operator that it is charged to: the first, until one that has fewer announces it."""
        self.peers: dict[PeerAddress, SwarmPeer] = {}
        """The least recent announce first."""
        self.groups: tuple[list[SwarmPeer], ...] = ([], [], [], [])
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
            group = self._group_of(peer)
            peer.place = len(group)
            group.append(peer)
        if self.shares is not None:
            self.shares.add(peer.operator, peer)

    def remove(self, peer: SwarmPeer) -> None:
        """Remove one of its peers."""
        del self.peers[peer.address]
        self._leave_group(peer)
        if self.shares is not None:
            self.shares.remove(peer.operator, peer)

    def surplus(self, operator: str, limits: SwarmLimits) -> SwarmPeer | None:
        """Return the peer to evict for a new one of an operator; None if there is room."""
        is_full = len(self.peers) >= limits.max_peers_per_torrent
        if not is_full and len(self.peers) < limits.max_peers_per_torrent_of_one:
            return None
        shares = self._counted()
        if shares.count(operator) >= limits.max_peers_per_torrent_of_one:
            return shares.oldest(operator)
        if not is_full:
            return None
        return shares.surplus(operator) or next(iter(self.peers.values()))

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
                self.shares.add(peer.operator, peer)
        return self.shares

    def _group_of(self, peer: SwarmPeer) -> list[SwarmPeer]:
        return self.groups[2 * (":" in peer.address.host) + peer.is_seed]

    def _leave_group(self, peer: SwarmPeer) -> None:
        """Remove a peer from its group by moving the last one to its index."""
        group = self._group_of(peer)
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
        announce: aria2 announces left=0 for magnet links. If the store is full, the oldest entry of
        the operator with the most entries is evicted.
        """
        self._expire(now)
        if request.event is AnnounceEvent.STOPPED:
            self._stopped(request.info_hash, address)
            return []
        operator = operator_of(address.host)
        swarm = self._swarm(request.info_hash, operator)
        known = swarm.peers.get(address)
        is_seed = request.totals.left_bytes == 0
        if request.event is AnnounceEvent.COMPLETED and known is not None and not known.is_seed:
            swarm.downloads += 1
        peer = known or self._new_peer(swarm, address, operator)
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
        return len(self._swarms), len(self._peers)

    def _update(
        self, peer: SwarmPeer, request: AnnounceRequest, now: float, *, is_seed: bool
    ) -> None:
        peer.peer_id, peer.seen_s = request.peer_id, now
        peer.swarm.put(peer, is_seed=is_seed)
        self._peers[peer] = None
        self._peers.move_to_end(peer)
        self._operators.add(peer.operator, peer)

    def _swarm(self, info_hash: InfoHash, operator: str) -> TrackerSwarm:
        """Return the swarm of a torrent, creating it if needed."""
        swarm = self._swarms.get(info_hash)
        if swarm is None:
            self._make_room_for_swarm(operator)
            swarm = self._swarms[info_hash] = TrackerSwarm(info_hash, operator)
        elif self._has_fewer(operator, swarm):
            self._charge(swarm, operator)
        self._owners.add(swarm.operator, swarm)
        return swarm

    def _make_room_for_swarm(self, operator: str) -> None:
        """Evict a swarm if there are too many; those that others announce pass to them first."""
        for _ in range(MAX_CHARGES):
            surplus = self._surplus_swarm(operator)
            heir = None if surplus is None else self._heir(surplus)
            if surplus is None or heir is None:
                break
            self._charge(surplus, heir)
        if surplus is not None:
            for peer in list(surplus.peers.values()):
                self._remove(peer)
            self._remove_swarm(surplus)

    def _surplus_swarm(self, operator: str) -> TrackerSwarm | None:
        """Return the swarm to evict for a new one of an operator; None if there is room."""
        if self._owners.count(operator) >= self._limits.max_torrents_of_one:
            return self._owners.oldest(operator)
        if len(self._swarms) >= self._limits.max_torrents:
            return self._owners.surplus(operator) or next(iter(self._swarms.values()))
        return None

    def _heir(self, swarm: TrackerSwarm) -> str | None:
        """Return an operator with a peer there that may be charged instead; None if none may."""
        operators = (peer.operator for peer in swarm.peers.values())
        return next((each for each in operators if self._has_fewer(each, swarm)), None)

    def _has_fewer(self, operator: str, swarm: TrackerSwarm) -> bool:
        """Return whether an operator charged with a swarm has fewer than the present one has."""
        return self._owners.count(operator) + 1 < self._owners.count(swarm.operator)

    def _charge(self, swarm: TrackerSwarm, operator: str) -> None:
        self._owners.remove(swarm.operator, swarm)
        swarm.operator = operator
        self._owners.add(operator, swarm)

    def _new_peer(self, swarm: TrackerSwarm, address: PeerAddress, operator: str) -> SwarmPeer:
        """Create a peer, making room for it; it is not in the swarm yet."""
        if (surplus := swarm.surplus(operator, self._limits)) is not None:
            self._remove(surplus, keeps=swarm)
        if (surplus := self._surplus(operator)) is not None:
            self._remove(surplus, keeps=swarm)
        return SwarmPeer(swarm, address, operator)

    def _surplus(self, operator: str) -> SwarmPeer | None:
        """Return the peer to evict for a new one of an operator; None if there is room."""
        if self._operators.count(operator) >= self._limits.max_peers_of_one:
            return self._operators.oldest(operator)
        if len(self._peers) >= self._limits.max_peers:
            return self._operators.surplus(operator) or next(iter(self._peers))
        return None

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
        self._operators.remove(peer.operator, peer)
        if not swarm.peers and not swarm.downloads and swarm is not keeps:
            self._remove_swarm(swarm)

    def _remove_swarm(self, swarm: TrackerSwarm) -> None:
        self._owners.remove(swarm.operator, swarm)
        self._swarms.pop(swarm.info_hash, None)

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
