"""Owns who is in which swarm, as a tracker knows it: bounded, and forgotten when silent.

Source: BEP 3 (what an announce changes), BEP 48 (what is counted).
"""

import random
from dataclasses import dataclass, field
from typing import Final

from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.protocol.tracker.announce import AnnounceEvent, AnnounceRequest, ScrapeCounts

EXPIRY_INTERVALS: Final = 2.5  # ours: a peer may miss one announce


@dataclass(frozen=True, slots=True)
class SwarmPeer:
    """One peer of a swarm at its last announce."""

    address: PeerAddress
    peer_id: bytes
    is_seed: bool
    seen_s: float


@dataclass(slots=True)
class _Swarm:
    peers: dict[PeerAddress, SwarmPeer] = field(default_factory=dict)
    downloads: int = 0

    def counts(self) -> ScrapeCounts:
        seeds = sum(peer.is_seed for peer in self.peers.values())
        return ScrapeCounts(seeds=seeds, leeches=len(self.peers) - seeds, downloads=self.downloads)


class SwarmStore:
    """All swarms of a tracker. ``now`` is any monotonic time in seconds."""

    def __init__(
        self,
        *,
        interval_s: float,
        rng: random.Random,
        max_torrents: int = 10_000,
        max_peers_per_torrent: int = 5_000,
    ) -> None:
        self._expiry_s = interval_s * EXPIRY_INTERVALS
        self._rng = rng
        self._max_torrents = max_torrents
        self._max_peers = max_peers_per_torrent
        self._swarms: dict[InfoHash, _Swarm] = {}
        self._next_sweep_s = 0.0

    def announce(
        self,
        request: AnnounceRequest,
        address: PeerAddress,
        *,
        now: float,
        v6: bool | None = None,
    ) -> list[SwarmPeer]:
        """Record what a peer says of itself; return up to ``numwant`` others, drawn at random.

        ``v6`` restricts them to one address family. A seed is given leeches only, but for its first
        announce: aria2 with a magnet link says that nothing is left to download. A peer or torrent
        that would exceed the store's bounds is answered but not recorded.
        """
        self._sweep(now)
        if request.event is AnnounceEvent.STOPPED:
            self._remove(request.info_hash, address)
            return []
        swarm = self._swarm(request.info_hash)
        known = swarm.peers.get(address)
        is_seed = request.totals.left_bytes == 0
        if known is not None or len(swarm.peers) < self._max_peers:
            swarm.peers[address] = SwarmPeer(address, request.peer_id, is_seed, now)
        if request.event is AnnounceEvent.COMPLETED and known is not None and not known.is_seed:
            swarm.downloads += 1
        others = [
            peer
            for peer in self._others(swarm, request, address, v6)
            if not (is_seed and peer.is_seed and known is not None)
        ]
        wanted = min(max(request.numwant, 0), len(others))
        return self._rng.sample(others, wanted)

    def scrape(self, info_hash: InfoHash, *, now: float) -> ScrapeCounts:
        """Return the counts of one swarm; zeros for an unknown one."""
        self._sweep(now)
        swarm = self._swarms.get(info_hash)
        return swarm.counts() if swarm else ScrapeCounts(seeds=0, leeches=0, downloads=0)

    def totals(self) -> tuple[int, int]:
        """Return the numbers of torrents and of peers."""
        return len(self._swarms), sum(len(swarm.peers) for swarm in self._swarms.values())

    def _swarm(self, info_hash: InfoHash) -> _Swarm:
        swarm = self._swarms.get(info_hash)
        if swarm is None:
            swarm = _Swarm()
            if len(self._swarms) < self._max_torrents:
                self._swarms[info_hash] = swarm
        return swarm

    def _others(
        self,
        swarm: _Swarm,
        request: AnnounceRequest,
        address: PeerAddress,
        v6: bool | None,  # noqa: FBT001 - private
    ) -> list[SwarmPeer]:
        return [
            peer
            for peer in swarm.peers.values()
            if peer.address != address
            and peer.peer_id != request.peer_id
            and (v6 is None or (":" in peer.address.host) == v6)
        ]

    def _remove(self, info_hash: InfoHash, address: PeerAddress) -> None:
        swarm = self._swarms.get(info_hash)
        if swarm is not None:
            swarm.peers.pop(address, None)

    def _sweep(self, now: float) -> None:
        """Forget silent peers, and swarms that have neither peers nor a past."""
        if now < self._next_sweep_s:
            return
        self._next_sweep_s = now + self._expiry_s / 10
        oldest_s = now - self._expiry_s
        for info_hash, swarm in list(self._swarms.items()):
            gone = [peer.address for peer in swarm.peers.values() if peer.seen_s < oldest_s]
            for address in gone:
                del swarm.peers[address]
            if not swarm.peers and not swarm.downloads:
                del self._swarms[info_hash]
