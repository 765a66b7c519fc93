"""Peer sources of one torrent: trackers, DHT, LSD, the user and its last run.

Peer exchange is not here: connected peers name others (``engine/extensions/pex.py``).
Source: BEP 27: a private torrent asks its trackers only.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.discovery.both_swarms_client import BothSwarmsClient
from torrent_engine.engine.discovery.tracker_coordinator import TrackerCoordinator
from torrent_engine.engine.events import DhtPeersFound
from torrent_engine.engine.resources.privacy import look_up
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.swarm.context import Swarm
from torrent_engine.engine.swarm.saved_peers import SavedPeers
from torrent_engine.net.sockets.name_resolver import resolving_for
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.peers.external_address import TRACKER_VOTES
from torrent_engine.protocol.tracker.announce import AnnounceTotals

if TYPE_CHECKING:
    from torrent_engine.engine.discovery.dormant_announcer import DormantAnnouncer

FEW_PEERS: Final = 5  # ours: with fewer, sources are asked again before their time
ASK_AGAIN_S: Final = 30.0  # ours; how soon each can be asked again is up to it
MAX_JOIN_NODES: Final = 50  # ours: a torrent may name a thousand, each a request at once


class Endpoints(Protocol):
    """Interface of :class:`OwnAddresses`."""

    def update(self) -> None:
        """Reload the public address that all torrents share."""


class Pool(Protocol):
    """Interface of the pool that gets the peers."""

    @property
    def connecting(self) -> int:
        """Number of handshakes in progress."""

    @property
    def own(self) -> Endpoints:
        """Our own addresses."""

    def add(
        self, addresses: Iterable[PeerAddress], source: Source, *, is_other: bool = False
    ) -> int:
        """Add candidates, of a hybrid's other swarm if that is said; return how many are new."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the sources need to know of the torrent."""

    tiers: Sequence[Sequence[str]]
    nodes: Sequence[PeerAddress]
    """DHT nodes that the torrent names (BEP 5); a host may be a name."""
    is_private: bool
    totals: Callable[[], AnnounceTotals]
    is_seed: Callable[[], bool]


class PeerSources:
    """Feeds one pool while :meth:`run` runs."""

    def __init__(
        self,
        swarm: Swarm,
        shared: SharedResources,
        pool: Pool,
        facts: SourceFacts,
        *,
        saved_peers: SavedPeers | None = None,
    ) -> None:
        self.rebind(swarm, pool, facts, saved_peers)
        self.trackers = TrackerCoordinator(
            metainfo_tiers=facts.tiers,
            info_hash=swarm.info_hash,
            peer_id=swarm.peer_id,
            is_private=facts.is_private,
            config=shared.config.tracker,
            client=BothSwarmsClient(
                shared.trackers, lambda: self._swarm.other_hash, self._on_other_tracker_peers
            ),
            totals=self._totals,
            listen_port=lambda: shared.announced_port,
            on_peers=self._on_tracker_peers,
            on_external_ip=self._on_external_ip,
            publish=swarm.bus.publish,
            clock=swarm.clock,
            rng=swarm.rng,
            log=swarm.tracker_log,
        )
        self._shared = shared
        self._is_kept = False
        self._joined_other: InfoHash | None = None
        """The second info-hash of a hybrid that is announced."""
        self._new_by_dht = 0
        self._asked_again_s = swarm.clock()

    def rebind(
        self,
        swarm: Swarm,
        pool: Pool,
        facts: SourceFacts,
        saved_peers: SavedPeers | None = None,
    ) -> None:
        """Feed another pool from the next run on; trackers and the tiers stay as they are."""
        self._swarm = swarm
        self._pool = pool
        self._facts = facts
        self._saved_peers = saved_peers

    async def run(self) -> None:
        """Run all sources until cancelled."""
        try:
            if not self._is_kept:
                self._join()
            self._join_other()  # it may be known since the metadata is
            self._is_kept = False
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.trackers.run)
                tasks.start_soon(self._add_saved_peers)
                tasks.start_soon(self._add_configured_peers)
        finally:
            if not self._is_kept:
                self._leave_discovery()

    def keep(self) -> None:
        """Stay announced between this run and the next one of another pool."""
        self._is_kept = True

    def begin_rest(self, announcer: "DormantAnnouncer") -> None:
        """Go on without :meth:`run`: the torrent rests."""
        if not self._is_kept:
            self._join()
        self._join_other()
        self._is_kept = True
        announcer.join(self._swarm.info_hash, self.trackers)

    def end_rest(self, announcer: "DormantAnnouncer") -> None:
        """End that; :meth:`run` or :meth:`stop` follows."""
        announcer.leave(self._swarm.info_hash)

    async def stop(self) -> None:
        """Stop announcing and send `stopped` to the trackers; takes at most 5 s."""
        self.leave()
        await self.trackers.stop()

    def leave(self) -> None:
        """Stop announcing to the DHT and the local network."""
        self._is_kept = False
        self._leave_discovery()

    def _leave_discovery(self) -> None:
        self._shared.discovery.leave(self._swarm.info_hash)
        joined, self._joined_other = self._joined_other, None
        if joined is not None:
            self._shared.discovery.leave(joined, is_claim=True)

    def _join(self) -> None:
        """Announce to the DHT and the local network, unless the torrent is private (BEP 27)."""
        if self._facts.is_private:
            return
        nodes = self._facts.nodes
        if len(nodes) > MAX_JOIN_NODES:  # others at the next join
            nodes = self._swarm.rng.sample(nodes, MAX_JOIN_NODES)
        for node in nodes:
            self._shared.discovery.add_dht_node(*node)
        self._shared.discovery.join(
            self._swarm.info_hash,
            listen_port=self._shared.listen_port,
            is_seed=self._is_seed,
            on_peers=self._on_discovered,
            on_round=self._on_round,
        )

    def _join_other(self) -> None:
        """Announce a hybrid with its other info-hash, too (BEP 52), unless that is done already."""
        other, discovery = self._swarm.other_hash, self._shared.discovery
        if other is None or self._facts.is_private or other in discovery:
            return
        self._joined_other = other
        discovery.join(
            other,
            listen_port=self._shared.listen_port,
            is_seed=self._is_seed,
            on_peers=self._on_discovered_in_other,
            is_claim=True,
        )

    def tick(self, now: float) -> None:
        """Ask all sources again, as soon as each allows, while there are few peers."""
        if self._joined_other is None:
            self._join_other()  # a link with that info-hash may have ended meanwhile
        pool = self._pool
        is_lonely = (
            len(self._swarm.peers) + pool.connecting < FEW_PEERS and not self._facts.is_seed()
        )
        if is_lonely and now - self._asked_again_s >= ASK_AGAIN_S:
            self._asked_again_s = now
            self.trackers.want_peers()
            self._hurry()

    def reannounce(self) -> float | None:
        """Ask all sources as soon as each allows; return in how many seconds the first tracker is.

        None: there is no tracker.
        """
        self._hurry()
        return self.trackers.reannounce()

    def _hurry(self) -> None:
        if not self._facts.is_private:
            self._shared.discovery.hurry(self._swarm.info_hash)
        if self._joined_other is not None:
            self._shared.discovery.hurry(self._joined_other)

    def _is_seed(self) -> bool:
        return self._facts.is_seed()

    def _totals(self) -> AnnounceTotals:
        return self._facts.totals()

    def _on_tracker_peers(self, addresses: list[PeerAddress]) -> None:
        self._pool.add(addresses, Source.TRACKER)

    def _on_other_tracker_peers(self, addresses: Sequence[PeerAddress]) -> None:
        self._pool.add(addresses, Source.TRACKER, is_other=True)

    def _on_discovered_in_other(self, addresses: list[PeerAddress], source: Source) -> None:
        self._on_discovered(addresses, source, is_other=True)

    def _on_discovered(
        self, addresses: list[PeerAddress], source: Source, *, is_other: bool = False
    ) -> None:
        new = self._pool.add(addresses, source, is_other=is_other)
        if source is Source.DHT:
            self._new_by_dht += new

    def _on_round(self, source: Source, count: int) -> None:
        if source is Source.DHT:
            new, self._new_by_dht = self._new_by_dht, 0
            self._swarm.bus.publish(DhtPeersFound(self._swarm.info_hash, count, new))

    def _on_external_ip(self, host: str, url: str) -> None:
        self._shared.external_addresses.add_vote(host, url, TRACKER_VOTES)
        self._pool.own.update()

    async def _add_saved_peers(self) -> None:
        if self._saved_peers is not None:
            for peer in await self._saved_peers.load():
                self._pool.add([peer.address], Source.RESUME)
                self._saved_peers.was_added(peer)

    async def _add_configured_peers(self) -> None:
        async with anyio.create_task_group() as tasks:  # a name may take its time
            for host, port in self._swarm.config.peers:
                tasks.start_soon(self._add_configured_peer, host, port)

    async def _add_configured_peer(self, host: str, port: int) -> None:
        with suppress(NetworkError):  # said when the option was read; a name may come back later
            with resolving_for(self._swarm.info_hash):
                found = await look_up(self._shared.config, self._shared.resolver, host, port)
            self._pool.add(found, Source.MANUAL)
