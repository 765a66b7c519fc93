"""One attempt to get the metadata of a torrent from its swarm, from an info-hash on.

Source: BEP 9; BEP 52 (hashes of pieces); rows B2 and B3. The run of the torrent continues with its
links, candidates and tracker announces.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import SessionConfig
from torrent_engine.base.errors import MetainfoError, TorrentEngineError
from torrent_engine.base.ids import BLOCK_BYTES, InfoHash, InfoHashV2, PeerAddress, PeerId
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.discovery.tracker_log import TrackerLog
from torrent_engine.engine.event_bus import EventBus
from torrent_engine.engine.events import MetadataReceived, StatsUpdated
from torrent_engine.engine.extensions.layer_download import LayerDownload
from torrent_engine.engine.extensions.metadata_download import MetadataDownload
from torrent_engine.engine.extensions.swarm_builder import SwarmParts, SwarmSpec
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.runs.source_edits import SourceEdits
from torrent_engine.engine.states import Signal, State, StateMachine
from torrent_engine.engine.stats import SessionStats
from torrent_engine.engine.swarm.context import Swarm, Totals
from torrent_engine.engine.swarm.handshake import MagnetGreeting
from torrent_engine.engine.swarm.peer import Identity
from torrent_engine.engine.swarm.peer_dispatch import PeerEvents
from torrent_engine.engine.swarm.peer_sources import PeerSources, SourceFacts
from torrent_engine.engine.transfer.handover import Handover
from torrent_engine.policy.peers.candidates import PRIVATE_SOURCES, CandidateList, Source
from torrent_engine.protocol.tracker.announce import AnnounceTotals

TICK_S: Final = 0.25  # ours: how soon an unanswered request is sent to another peer
TICKS_PER_SECOND: Final = 4


class NoGate:
    """A gate that is always open: there is no payload that waits for the disk."""

    full = False

    async def wait_for_room(self) -> None:
        """Return at once."""


@dataclass(slots=True)
class FetchSettings:
    """What a Session gives to an attempt."""

    magnet: Magnet
    edits: SourceEdits
    config: SessionConfig
    peer_id: PeerId
    bus: EventBus
    machine: StateMachine
    stats: Callable[[], SessionStats]
    """Returns the present numbers, for the event."""
    tracker_log: TrackerLog


class MetadataRun:
    """Asks the swarm for the metadata until it is there, or until :meth:`stop`."""

    def __init__(self, settings: FetchSettings, shared: SharedResources) -> None:
        self.stop_reason: str | None = None
        self.failure: TorrentEngineError | None = None
        self.metainfo: Metainfo | None = None
        self.handover: Handover | None = None
        self._settings = settings
        self._shared = shared
        self._phase = anyio.CancelScope()
        self._info_bytes: bytes | None = None
        self._is_received = anyio.Event()
        self.swarm = self._make_swarm()
        self._exchange = MetadataDownload(
            self.swarm,
            self._full_hash,
            on_metadata=self._on_metadata,
            on_liar=self._on_liar,
        )
        self._layers = LayerDownload(self.swarm, on_liar=self._on_liar)
        self.candidates = CandidateList(
            shared.config.pool,
            shared.rng,
            bans=shared.bans,
            dial_limiter=shared.dial_limiter,
            ip_filter=shared.ip_filter,
        )
        self.swarm_parts = self._make_swarm_parts()
        self.pool = self.swarm_parts.pool
        self.source_totals = self.swarm_parts.source_totals
        self.sources = PeerSources(self.swarm, shared, self.pool, self._facts())
        settings.edits.apply_to_trackers(self.sources.trackers)

    @property
    def _full_hash(self) -> InfoHash | InfoHashV2:
        """Return what the metadata is checked with first."""
        magnet = self._settings.magnet
        return magnet.info_hash if magnet.has_v1 else magnet.info_hash_v2 or magnet.info_hash

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
            tracker_log=settings.tracker_log,
            is_v2=not settings.magnet.has_v1,
            v2_hash=settings.magnet.v2_swarm,
        )

    def _make_swarm_parts(self) -> SwarmParts:
        shared = self._shared
        spec = SwarmSpec(
            greeting=MagnetGreeting(shared.config, shared.dht_port),
            gate=NoGate(),
            metadata=self._exchange,
            dispatch=lambda handlers: PeerEvents(handlers, self._layers.handlers()).handle,
        )
        return SwarmParts(self.swarm, shared, self.candidates, spec)

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
        """Run until the metadata is there, :meth:`stop`, or it turns out to be unusable."""
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
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.pool.run)
                tasks.start_soon(self.sources.run)
                tasks.start_soon(self._exchange.check_copies)
                tasks.start_soon(self._parse_metadata)
                shared.router.register(info_hash, self.pool.accept, self.swarm.other_hash)
                await self._tick_forever()
        finally:
            shared.router.unregister(info_hash)
            self._prepare_handover()
            if self.handover is None or self.handover.sources is None:
                await self.sources.stop()

    def _prepare_handover(self) -> None:
        """Keep what the run of the torrent continues with."""
        if self.metainfo is None:
            return
        sources: PeerSources | None = self.sources
        pex = self.swarm_parts.pex
        if self.metainfo.is_private:
            sources, pex = None, None
            self._drop_untrusted_peers()
        self.handover = Handover(self.pool.kept, self.candidates, sources, pex)

    def _drop_untrusted_peers(self) -> None:
        """Drop peers that no tracker or user named: the torrent is private (BEP 27)."""
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
            self._layers.tick(now)
            ticks += 1
            if ticks % TICKS_PER_SECOND == 0:
                self.swarm_parts.tick(now)
                self.sources.tick(now)
                self._publish_stats()

    def _publish_stats(self) -> None:
        bus = self.swarm.bus
        if bus.has_listeners:
            bus.publish(StatsUpdated(self.swarm.info_hash, self._settings.stats()))

    def interrupt(self) -> None:
        """End the present phase: something has changed."""
        self._phase.cancel()

    def stop(self, reason: str) -> None:
        """End the run; the first reason given is kept."""
        if self.stop_reason is None:
            self.stop_reason = reason
        self.interrupt()

    def add_peers(self, addresses: Iterable[PeerAddress], source: Source) -> None:
        """Dial these peers as soon as that is possible."""
        self.pool.add(addresses, source)

    def take_config(self, config: SessionConfig) -> None:
        """Apply what holds at once: the limit of peers."""
        self.swarm.config = config
        self.pool.wake()

    # -- callbacks of the parts ------------------------------------------------------------------

    def _on_metadata(self, info_bytes: bytes) -> None:
        """Take an info dictionary whose hash is the info-hash."""
        self._info_bytes = info_bytes
        self._is_received.set()

    async def _parse_metadata(self) -> None:
        """Wait for the info dictionary and read it, in a thread: it may name very many files.

        Then wait for the hashes of pieces that it does not have.
        """
        await self._is_received.wait()
        magnet, info_bytes = self._settings.magnet, self._info_bytes or b""
        tiers = tuple((url,) for url in magnet.trackers)
        read = partial(
            Metainfo.from_info_bytes, info_bytes, tiers=tiers, web_seeds=magnet.web_seeds
        )
        try:
            metainfo = await anyio.to_thread.run_sync(lambda: read().known_by(magnet.info_hash))
            _check_link(metainfo, magnet)
            if metainfo.v2 is not None and not magnet.has_v1:
                layers = await self._layers.fetch(metainfo.v2, gives_up=True)
                metainfo = await anyio.to_thread.run_sync(metainfo.with_layers, layers)
            self.metainfo = metainfo
        except TorrentEngineError as error:
            self.failure = error
        else:
            self.pool.detach()
            if not self.metainfo.is_private:
                self.sources.keep()
        self.interrupt()

    def _on_liar(self, liar: Identity, reason: str) -> None:
        self.pool.ban(liar, reason)


def _check_link(metainfo: Metainfo, magnet: Magnet) -> None:
    """Raise MetainfoError unless the torrent has every info-hash of its link."""
    if metainfo.info_hash != magnet.info_hash:
        raise MetainfoError("the link is of v1, but the torrent of v2 (BEP 52)")
    if magnet.info_hash_v2 not in {None, metainfo.info_hash_v2}:
        raise MetainfoError("the torrent has not the v2 info-hash of the link (BEP 52)")
