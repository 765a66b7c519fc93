"""One attempt to get the metadata of a torrent from its swarm, from an info-hash on.

Source: BEP 9; rows B2 and B3. What it leaves to the run of the torrent: the links, the candidates
and the talk with the trackers.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import BLOCK_BYTES, PeerId
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import MetadataReceived, StatsUpdated
from torrent_engine.engine.greeting import MagnetGreeting
from torrent_engine.engine.holepunch import make_holepunch
from torrent_engine.engine.inheritance import Inheritance
from torrent_engine.engine.metadata_exchange import MetadataExchange
from torrent_engine.engine.peer import Identity, Peer
from torrent_engine.engine.peer_events import ExtensionHandler, PeerEvents, PeerHearers
from torrent_engine.engine.peer_exchange import PeerExchange
from torrent_engine.engine.peer_pool import PeerPool, PoolRole
from torrent_engine.engine.peer_sources import PeerSources, SourceFacts
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.source_counts import SourceTotals
from torrent_engine.engine.states import Signal, State, StateMachine
from torrent_engine.engine.torrent import Swarm, Totals
from torrent_engine.policy.candidates import PRIVATE_SOURCES, CandidateList
from torrent_engine.protocol.tracker.announce import AnnounceTotals
from torrent_engine.protocol.wire.exchange import UT_PEX
from torrent_engine.protocol.wire.metadata import UT_METADATA

TICK_S: Final = 0.25  # ours: requests that nobody answered are asked of somebody else this soon
TICKS_PER_SECOND: Final = 4


class NoGate:
    """Nothing holds back reading: there is no payload for the disk."""

    full = False

    async def wait_for_room(self) -> None:
        """Return at once."""


@dataclass(slots=True)
class FetchSettings:
    """What a Session hands to an attempt."""

    magnet: Magnet
    added_trackers: dict[str, int | None]
    config: SessionConfig
    peer_id: PeerId
    bus: EventBus
    machine: StateMachine


class MetadataRun:
    """Looks for metadata until it is there, or until told to stop."""

    def __init__(self, settings: FetchSettings, shared: SharedResources) -> None:
        self.stop_reason: str | None = None
        self.failure: TorrentEngineError | None = None
        self.metainfo: Metainfo | None = None
        self.inheritance: Inheritance | None = None
        self._settings = settings
        self._shared = shared
        self._phase = anyio.CancelScope()
        self._info_bytes: bytes | None = None
        self._is_received = anyio.Event()
        self.swarm = self._make_swarm()
        self._exchange = MetadataExchange(
            self.swarm, on_metadata=self._on_metadata, on_liar=self._on_liar
        )
        self.candidates = CandidateList(
            shared.config.pool,
            shared.rng,
            bans=shared.bans,
            dial_limiter=shared.dial_limiter,
            ip_filter=shared.ip_filter,
        )
        self.source_totals = SourceTotals(self.candidates)
        self.pool = self._make_pool()
        self.sources = PeerSources(self.swarm, shared, self.pool, self._facts())
        for url, tier in settings.added_trackers.items():
            self.sources.trackers.add_tracker(url, tier)

    def _make_swarm(self) -> Swarm:
        settings, shared = self._settings, self._shared
        return Swarm(
            info_hash=settings.magnet.info_hash,
            config=settings.config,
            shared_config=shared.config,
            peer_id=settings.peer_id,
            bus=settings.bus,
            peers=set(),
            totals=Totals(),
            buffers=shared.buffers,
            link_budget=shared.link_budget,
            clock=shared.clock,
            rng=shared.rng,
        )

    def _make_pool(self) -> PeerPool:
        shared = self._shared
        extensions: dict[str, ExtensionHandler] = {UT_METADATA: self._exchange.on_message}
        self._pex: PeerExchange | None = None
        if shared.config.pex.enabled:
            self._pex = PeerExchange(
                shared.config.pex,
                shared.config.pool,
                self.candidates,
                clock=shared.clock,
                rng=shared.rng,
                on_new=self._wake_pool,
            )
            self._pex.on_prefers_encryption = shared.network.reach.told_to_encrypt
            extensions[UT_PEX] = self._pex.on_message
        hearers = PeerHearers(extensions, self._on_extension_handshake, self._on_dht_port)
        pool = PeerPool(
            self.swarm,
            self.candidates,
            shared.connection_slots,
            PoolRole(
                greeting=MagnetGreeting(shared.config, shared.dht_port),
                handle=PeerEvents(hearers).handle,
                on_joined=self._on_joined,
                on_left=self._on_left,
                gate=NoGate(),
            ),
            shared.network,
        )
        pool.own.public = shared.own_address
        self._holepunch = make_holepunch(self.swarm, pool, self._pex, extensions)
        return pool

    def _facts(self) -> SourceFacts:
        return SourceFacts(
            tiers=[[url] for url in self._settings.magnet.trackers],
            nodes=(),
            is_private=False,
            totals=lambda: AnnounceTotals(
                uploaded_bytes=0, downloaded_bytes=0, left_bytes=BLOCK_BYTES
            ),
            is_seed=lambda: False,
        )

    # -- the run ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until the metadata is there, told to stop, or it is no torrent that we can load."""
        machine = self._settings.machine
        while not self._is_over:
            with anyio.CancelScope() as self._phase:
                if machine.state is State.PAUSED:
                    await anyio.sleep_forever()
                else:
                    await self._fetch()
        if self.failure is not None:
            raise self.failure
        if self.metainfo is not None:
            machine.fire(Signal.METADATA_RECEIVED)
            self._publish(self.metainfo)

    def _publish(self, metainfo: Metainfo) -> None:
        self.swarm.bus.publish(
            MetadataReceived(
                metainfo.info_hash,
                metainfo.name,
                metainfo.total_bytes,
                metainfo.piece_count,
                len(metainfo.files),
            )
        )

    @property
    def _is_over(self) -> bool:
        return any((self.stop_reason, self.failure, self.metainfo))

    async def _fetch(self) -> None:
        shared, info_hash = self._shared, self.swarm.info_hash
        self.pool.listen_port = shared.listen_port
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.pool.run)
                tasks.start_soon(self.sources.run)
                tasks.start_soon(self._parse_metadata)
                shared.router.register(info_hash, self.pool.accept)
                await self._tick_forever()
        finally:
            shared.router.unregister(info_hash)
            self._bequeath()
            if self.inheritance is None or self.inheritance.sources is None:
                await self.sources.stop()

    def _bequeath(self) -> None:
        """Keep what the run of the torrent goes on with."""
        if self.metainfo is None:
            return
        sources: PeerSources | None = self.sources
        if self.metainfo.is_private:
            sources, self._pex = None, None
            self._part_with_strangers()
        self.inheritance = Inheritance(self.pool.kept, self.candidates, sources, self._pex)

    def _part_with_strangers(self) -> None:
        """Forget who was not named by a tracker or the user: the torrent is private (BEP 27)."""
        kept, candidates = self.pool.kept, self.candidates
        kept.close_some(
            [
                peer
                for peer in kept
                if not (peer.source | candidates.sources(peer.address)) & PRIVATE_SOURCES
            ]
        )
        candidates.become_private()

    async def _tick_forever(self) -> None:
        ticks = 0
        while True:
            await anyio.sleep(TICK_S)
            now = self.swarm.clock()
            self._exchange.tick(now)
            ticks += 1
            if ticks % TICKS_PER_SECOND == 0:
                self.pool.tick(now)
                self.sources.tick(now)
                if self._pex is not None:
                    self._pex.tick(now)
                self._publish_stats()

    def _publish_stats(self) -> None:
        info_hash, state = self.swarm.info_hash, self._settings.machine.state.value
        peers, sources = len(self.swarm.peers), self.source_totals.counts()
        self.swarm.bus.publish(
            StatsUpdated(info_hash, state, 0.0, 0.0, 0, 0, 0, 0, peers, 0, sources)
        )

    def interrupt(self) -> None:
        """End the present phase: something has changed."""
        self._phase.cancel()

    def stop(self, reason: str) -> None:
        """End the run; the first reason given is kept."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.interrupt()

    # -- what the parts tell ------------------------------------------------------------------

    def _on_metadata(self, info_bytes: bytes) -> None:
        """Take an info dictionary whose SHA-1 is the info-hash."""
        self._info_bytes = info_bytes
        self._is_received.set()

    async def _parse_metadata(self) -> None:
        """Wait for the info dictionary and read it, in a thread: it may name very many files."""
        await self._is_received.wait()
        magnet, info_bytes = self._settings.magnet, self._info_bytes or b""
        tiers = tuple((url,) for url in magnet.trackers)
        read = partial(
            Metainfo.from_info_bytes, info_bytes, tiers=tiers, web_seeds=magnet.web_seeds
        )
        try:
            self.metainfo = await anyio.to_thread.run_sync(read)
        except TorrentEngineError as error:
            self.failure = error
        else:
            self.pool.detach()
            if not self.metainfo.is_private:
                self.sources.keep()
        self.interrupt()

    def _on_liar(self, liar: Identity, reason: str) -> None:
        self.pool.ban(liar, reason)

    def _on_joined(self, peer: Peer) -> None:
        self.source_totals.joined(peer)

    def _on_left(self, peer: Peer) -> None:
        self.source_totals.left(peer)
        self._exchange.on_left(peer)
        if self._pex is not None:
            self._pex.on_left(peer)
        if self._holepunch is not None:
            self._holepunch.on_left(peer)

    def _on_extension_handshake(self, peer: Peer) -> None:
        self._exchange.on_extension_handshake(peer)
        if self._pex is not None:
            self._pex.on_joined(peer)

    def _on_dht_port(self, peer: Peer, port: int) -> None:
        self._shared.discovery.add_dht_node(peer.address.host, port)

    def _wake_pool(self) -> None:
        self.pool.wake()
