"""Owns the parts that move one torrent's payload, and the tasks that drive them.

Made when a Session has planned its start, dropped when it stops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import BLOCK_BYTES, FileIndex
from torrent_engine.disk.resume import ResumeKeeper
from torrent_engine.disk.writer import PieceWriter
from torrent_engine.engine.bandwidth_manager import RateLimits
from torrent_engine.engine.download_manager import DownloadManager
from torrent_engine.engine.events import FileCompleted
from torrent_engine.engine.greeting import TorrentGreeting
from torrent_engine.engine.holepunch import Holepunch, make_holepunch
from torrent_engine.engine.inheritance import Inheritance
from torrent_engine.engine.metadata_serving import MetadataServing
from torrent_engine.engine.peer import SENDERS, Peer
from torrent_engine.engine.peer_events import ExtensionHandler, PayloadEvents, PeerHearers
from torrent_engine.engine.peer_exchange import PeerExchange
from torrent_engine.engine.peer_pool import PeerPool, PoolRole
from torrent_engine.engine.peer_sources import PeerSources, SourceFacts
from torrent_engine.engine.piece_finisher import PieceFinisher
from torrent_engine.engine.piece_proof import PieceProof
from torrent_engine.engine.progress import Progress
from torrent_engine.engine.read_gate import ReadGate
from torrent_engine.engine.saved_peers import SavedPeers, good_peers
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.source_counts import SourceTotals
from torrent_engine.engine.super_seeding import SuperSeeding
from torrent_engine.engine.torrent import Torrent
from torrent_engine.engine.tracker_coordinator import TrackerCoordinator
from torrent_engine.engine.upload_manager import UploadManager
from torrent_engine.engine.web_seeds import WebSeeds
from torrent_engine.policy.candidates import CandidateList
from torrent_engine.policy.suspicion import Verdict
from torrent_engine.protocol.tracker.announce import AnnounceTotals
from torrent_engine.protocol.wire.exchange import UT_PEX
from torrent_engine.protocol.wire.metadata import UT_METADATA

TICK_S: Final = 0.25  # ours: "have" messages are gathered this long
TICKS_PER_SECOND: Final = 4


@dataclass(frozen=True, slots=True)
class TransferCallbacks:
    """What a Transfer tells the run that it belongs to."""

    on_complete: Callable[[], None]
    """The last wanted piece is verified and written."""
    on_second: Callable[[float], None]
    on_error: Callable[[StorageError], None]


class Transfer:
    """Downloads and uploads one torrent while :meth:`run` runs."""

    def __init__(
        self,
        torrent: Torrent,
        shared: SharedResources,
        keeper: ResumeKeeper,
        progress: Progress,
        callbacks: TransferCallbacks,
        inheritance: Inheritance | None = None,
    ) -> None:
        self.torrent = torrent
        self.progress = progress
        self._shared = shared
        self._callbacks = callbacks
        self._fresh_pieces: list[int] = []
        self._has_freed_blocks = False
        self.keeps_sources = False
        """Whether others are to go on finding us when :meth:`run` ends."""
        self.reads = ReadGate()
        now = torrent.clock()
        self.bandwidth = shared.bandwidth.of_torrent(RateLimits.of(torrent.config))
        self.finisher = PieceFinisher(
            torrent,
            keeper,
            hash_limiter=shared.hash_limiter,
            on_have=self._on_have,
            on_verdict=self._on_verdict,
            on_error=callbacks.on_error,
        )
        self.writer = self.finisher.writer = PieceWriter(
            torrent.storage,
            config=shared.config.disk,
            limiter=shared.disk_limiter,
            on_written=self.finisher.written,
            on_failed=self.finisher.write_failed,
        )
        self.downloads = DownloadManager(torrent, self.finisher)
        self.web_seeds = WebSeeds(
            torrent, self.downloads, shared.web_seed_http, self.writer, self.bandwidth
        )
        self.downloads.urgent.others = self.web_seeds
        self._tasks: anyio.abc.TaskGroup | None = None
        self.proof = PieceProof(torrent, keeper, shared.hash_limiter)
        self.uploads = UploadManager(
            torrent, self.proof, callbacks.on_error, self.bandwidth.upload_load
        )
        self.super_seeding = SuperSeeding(torrent, self.downloads)
        self.pool = self._make_pool(inheritance)
        self.source_totals = SourceTotals(self.pool.candidates)
        self._saved_peers = SavedPeers(shared.store, torrent.metainfo, self.pool.candidates)
        self.sources = self._make_sources(inheritance)
        self._started_s = now

    @property
    def trackers(self) -> TrackerCoordinator:
        """The talk with the trackers."""
        return self.sources.trackers

    def _make_pool(self, inheritance: Inheritance | None) -> PeerPool:
        torrent, shared = self.torrent, self._shared
        metainfo = torrent.metainfo
        if inheritance is None:
            candidates = CandidateList(
                shared.config.pool,
                torrent.rng,
                is_private=metainfo.is_private,
                bans=shared.bans,
                dial_limiter=shared.dial_limiter,
                ip_filter=shared.ip_filter,
            )
        else:
            candidates = inheritance.candidates
        self._serving = MetadataServing(metainfo, torrent.shared_config.metadata, torrent.clock)
        extensions: dict[str, ExtensionHandler] = {UT_METADATA: self._serving.on_message}
        self._pex = self._make_pex(candidates, inheritance)
        if self._pex is not None:
            extensions[UT_PEX] = self._pex.on_message
        hearers = PeerHearers(extensions, self._on_extension_handshake, self._on_dht_port)
        role = PoolRole(
            TorrentGreeting(torrent, shared.dht_port, lambda: self.super_seeding.is_on),
            PayloadEvents(hearers, self.downloads, self.uploads).handle,
            self._on_joined,
            self._on_left,
            self.writer,
        )
        pool = PeerPool(torrent, candidates, shared.connection_slots, role, shared.network)
        pool.own.public = shared.own_address
        self._holepunch: Holepunch | None = None
        if not metainfo.is_private:
            self._holepunch = make_holepunch(torrent, pool, self._pex, extensions)
        if inheritance is not None:
            pool.adopt(inheritance.links)
        return pool

    def _make_pex(
        self, candidates: CandidateList, inheritance: Inheritance | None
    ) -> PeerExchange | None:
        """Return what talks with peers about peers; it goes on where the search had one."""
        torrent, config = self.torrent, self._shared.config
        if not config.pex.enabled or torrent.metainfo.is_private:
            return None
        if inheritance is not None and inheritance.pex is not None:
            inheritance.pex.on_new = self._wake_pool
            return inheritance.pex
        pex = PeerExchange(
            config.pex,
            config.pool,
            candidates,
            clock=torrent.clock,
            rng=torrent.rng,
            on_new=self._wake_pool,
        )
        pex.on_prefers_encryption = self._shared.network.reach.told_to_encrypt
        return pex

    def _make_sources(self, inheritance: Inheritance | None) -> PeerSources:
        metainfo = self.torrent.metainfo
        facts = SourceFacts(
            tiers=metainfo.tiers,
            nodes=metainfo.nodes,
            is_private=metainfo.is_private,
            totals=self._announce_totals,
            is_seed=lambda: self.progress.is_complete,
        )
        if inheritance is None or inheritance.sources is None:
            return PeerSources(
                self.torrent, self._shared, self.pool, facts, saved_peers=self._saved_peers
            )
        sources = inheritance.sources
        sources.rebind(self.torrent, self.pool, facts, self._saved_peers)
        return sources

    def _announce_totals(self) -> AnnounceTotals:
        totals, progress = self.torrent.totals, self.progress
        return AnnounceTotals(
            uploaded_bytes=totals.uploaded_bytes,
            downloaded_bytes=totals.downloaded_bytes,
            left_bytes=self.torrent.metainfo.total_bytes - progress.have_bytes,
        )

    # -- the network phase ------------------------------------------------------------------

    async def run(self) -> None:
        """Move payload until cancelled; every link has ended and trackers were told after that."""
        torrent, info_hash = self.torrent, self.torrent.metainfo.info_hash
        self.pool.listen_port = self._shared.listen_port
        self.bandwidth.join()
        if self.progress.is_complete:
            self.trackers.want_peers()  # those who know us from before the metadata learn it
        if torrent.config.super_seeding:
            self.super_seeding.begin()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                await tasks.start(self.pool.run)
                tasks.start_soon(self.sources.run)
                tasks.start_soon(self.web_seeds.run)
                self._shared.router.register(info_hash, self.pool.accept)
                self.downloads.set_active(active=not self.progress.is_complete)
                self.uploads.set_active(active=True)
                await self._tick_forever()
        finally:
            self._tasks = None
            self._shared.router.unregister(info_hash)
            self.bandwidth.leave()
            self.downloads.is_active = self.uploads.is_active = False
            self.finisher.write_ahead(torrent.clock(), 0.0)
            with anyio.CancelScope(shield=True):
                await self._saved_peers.save(good_peers(self.pool.candidates))
            if not self.keeps_sources:
                await self.sources.stop()

    async def _tick_forever(self) -> None:
        ticks = 0
        while True:
            await anyio.sleep(TICK_S)
            self._announce_pieces()
            self._serving.tick(self.torrent.clock())
            self.uploads.run_round(self.torrent.clock())
            self._ask_for_freed_blocks()
            if self.bandwidth.limits_downloads:
                self._hold_back(self.torrent.clock())
            if self.torrent.picker.deadlines.bits:
                self.downloads.urgent.tick(self.torrent.clock())
            self.super_seeding.tick(self.torrent.clock())
            ticks += 1
            if ticks % TICKS_PER_SECOND == 0:
                self._tick_second(self.torrent.clock())

    def _tick_second(self, now: float) -> None:
        self.downloads.tick(now)
        self.uploads.tick(now)
        self.pool.tick(now)
        self.sources.tick(now)
        if self._pex is not None:
            self._pex.tick(now)
        self.source_totals.web_seeds = self.web_seeds.counts(now)
        self._callbacks.on_second(now)

    def _ask_for_freed_blocks(self) -> None:
        """Ask others for what peers that left still owed us; together, for many may come and go."""
        if self._has_freed_blocks:
            self._has_freed_blocks = False
            self.downloads.wanted_changed()

    def _hold_back(self, now: float) -> None:
        """Ask no more of peers than a rate limit will let in soon."""
        for peer in self.torrent.peers:
            if peer.link.was_held_back():
                peer.pipeline.hold_back(peer.download_rate.rate(now))

    def _is_too_much_to_ask(self) -> bool:
        """Tell whether first requests of all peers are more than a rate limit lets in soon."""
        first_bytes = self.torrent.shared_config.transfer.min_outstanding_requests * BLOCK_BYTES
        return self.bandwidth.is_short_of_downloads(len(self.torrent.peers) * first_bytes)

    def _announce_pieces(self) -> None:
        fresh, self._fresh_pieces = self._fresh_pieces, []
        if fresh:
            for peer in tuple(self.torrent.peers):
                peer.connection.send_have(fresh)
                peer.link.flush()

    # -- what the parts tell each other -------------------------------------------------------

    def _on_joined(self, peer: Peer) -> None:
        peer.link.source = self.uploads.source(peer)
        self.bandwidth.add_link(peer.link, peer.address.host)
        if peer.link.download_throttle is not None and self._is_too_much_to_ask():
            peer.pipeline.hold_back(0.0)
        self.source_totals.joined(peer)
        self.super_seeding.joined(peer)
        if peer.is_adopted:
            self._on_extension_handshake(peer)  # it came before the metadata

    def _on_extension_handshake(self, peer: Peer) -> None:
        if self._pex is not None:
            self._pex.on_joined(peer)

    def _on_dht_port(self, peer: Peer, port: int) -> None:
        if not self.torrent.metainfo.is_private:
            self._shared.discovery.add_dht_node(peer.address.host, port)

    def add_web_seed(self, url: str, bep: int) -> None:
        """Ask one more web seed."""
        self.web_seeds.add(url, bep)
        if self._tasks is not None and not self.web_seeds.is_running:
            self._tasks.start_soon(self.web_seeds.run)

    def _wake_pool(self) -> None:
        self.pool.wake()

    def _on_left(self, peer: Peer) -> None:
        self.bandwidth.remove_link(peer.link)
        self.source_totals.left(peer)
        self.super_seeding.left(peer)
        self._serving.on_left(peer)
        if self._pex is not None:
            self._pex.on_left(peer)
        if self._holepunch is not None:
            self._holepunch.on_left(peer)
        self.downloads.peer_left(peer)
        self.uploads.peer_left(peer)
        self._has_freed_blocks = True

    def _on_verdict(self, verdict: Verdict) -> None:
        self.pool.judge(verdict)
        self.web_seeds.judge(verdict)
        self.downloads.drop_blocks_of([key for key in verdict.ban if isinstance(key, SENDERS)])
        self.downloads.wanted_changed()

    def _on_have(self, piece: int) -> None:
        torrent = self.torrent
        self._fresh_pieces.append(piece)
        torrent.picker.deadlines.done(piece)
        self.downloads.on_piece_here(piece)
        if self.reads.listener is not None:
            self.reads.listener()
        for index in self.progress.piece_here(piece):
            path = str(torrent.storage.path_of(index))
            torrent.bus.publish(FileCompleted(torrent.metainfo.info_hash, FileIndex(index), path))
        if self.progress.is_complete:
            self._callbacks.on_complete()

    def completed(self, *, is_whole: bool) -> None:
        """Tell trackers, and end the links to other seeds: nobody has anything to give.

        Trackers hear of it only if no file was left out (BEP 21).
        """
        self._announce_pieces()
        if is_whole:
            self.trackers.completed()
        self.downloads.set_active(active=False)
        self.pool.candidates.set_wanting(wanting=False)
        for peer in tuple(self.torrent.peers):
            if peer.wants_nothing:
                peer.link.end("both sides are complete")

    def abandon(self) -> None:
        """Throw away what comes from now on: nobody wants it any more."""
        self.torrent.is_abandoned = True
        self.downloads.is_active = False
        self.finisher.assemblies.clear()
