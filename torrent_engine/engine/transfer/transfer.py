"""The parts that move one torrent's payload, and the tasks that drive them.

Made when a Session has planned its start, dropped when it stops.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import BLOCK_BYTES, FileIndex
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.pieces.writer import PieceWriter
from torrent_engine.disk.resume.keeper import ResumeKeeper
from torrent_engine.engine.content.first_copies import FirstCopies
from torrent_engine.engine.content.folder_copies import FolderCopies
from torrent_engine.engine.content.local_copies import CopyPorts, LocalCopies
from torrent_engine.engine.content.piece_sharing import PieceSharing
from torrent_engine.engine.content.similar_torrents import SimilarTorrentFiles
from torrent_engine.engine.discovery.tracker_coordinator import TrackerCoordinator
from torrent_engine.engine.events import FileCompleted
from torrent_engine.engine.extensions.metadata_upload import MetadataUpload
from torrent_engine.engine.extensions.swarm_builder import SwarmParts, SwarmSpec
from torrent_engine.engine.resources.bandwidth_manager import RateLimits
from torrent_engine.engine.resources.shared_resources import SharedResources
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.handshake import TorrentGreeting
from torrent_engine.engine.swarm.peer import SENDERS, Identity, Peer
from torrent_engine.engine.swarm.peer_dispatch import joined
from torrent_engine.engine.swarm.peer_sources import PeerSources, SourceFacts
from torrent_engine.engine.swarm.saved_peers import SavedPeers, good_peers
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.engine.transfer.handover import Handover
from torrent_engine.engine.transfer.missing_layers import LayerPorts, MissingLayers
from torrent_engine.engine.transfer.payload_dispatch import PayloadEvents
from torrent_engine.engine.transfer.payload_reader import PayloadReader
from torrent_engine.engine.transfer.piece_proof import PieceProof
from torrent_engine.engine.transfer.piece_verifier import (
    PieceFinisher,
    StartTask,
    VerifierCallbacks,
)
from torrent_engine.engine.transfer.progress import DownloadProgress
from torrent_engine.engine.transfer.super_seeding import SuperSeeding
from torrent_engine.engine.transfer.upload_manager import UploadManager
from torrent_engine.engine.transfer.web_seeds import WebSeeds
from torrent_engine.policy.peers.candidates import CandidateList
from torrent_engine.policy.peers.smart_ban import BanVerdict
from torrent_engine.protocol.tracker.announce import AnnounceTotals
from torrent_engine.protocol.wire.messages import encode_haves

TICK_S: Final = 0.25  # ours: "have" messages are gathered this long
TICKS_PER_SECOND: Final = 4


@dataclass(frozen=True, slots=True)
class TransferCallbacks:
    """What a Transfer calls of the run that it belongs to."""

    start_task: StartTask
    """Runs a task until the end of the run, which what it raises ends."""
    keeps_sources: Callable[[], bool]
    """Return whether the torrent is announced without a break after :meth:`Transfer.run`."""
    on_piece: Callable[[], None]
    """A piece is verified and written."""
    on_complete: Callable[[], None]
    """The last wanted piece is verified and written."""
    on_second: Callable[[float], None]
    on_error: Callable[[TorrentEngineError], None]
    on_learned: Callable[[Metainfo], None]
    """The torrent has got the hashes of pieces that it lacked (BEP 52)."""


class Transfer:
    """Downloads and uploads one torrent while :meth:`run` runs."""

    def __init__(
        self,
        torrent: Torrent,
        shared: SharedResources,
        keeper: ResumeKeeper,
        progress: DownloadProgress,
        callbacks: TransferCallbacks,
        handover: Handover | None = None,
    ) -> None:
        self.torrent = torrent
        self.progress = progress
        self._shared = shared
        self._callbacks = callbacks
        self._keeper = keeper
        self._fresh_pieces: list[int] = []
        self._has_freed_blocks = False
        now = torrent.clock()
        self.bandwidth = shared.bandwidth.of_torrent(RateLimits.of(torrent.config))
        self.finisher = PieceFinisher(
            torrent,
            keeper,
            hash_limiter=shared.hash_limiter,
            make_writer=partial(
                PieceWriter,
                torrent.storage,
                config=shared.config.disk,
                limiter=shared.disk_limiter,
            ),
            callbacks=VerifierCallbacks(
                start_task=callbacks.start_task,
                on_have=self._on_have,
                on_verdict=self._on_verdict,
                on_error=callbacks.on_error,
                on_learned=self._on_learned,
            ),
        )
        self.writer = self.finisher.writer
        self.downloads = DownloadManager(torrent, self.finisher)
        self._urgent = self.downloads.urgent
        self.web_seeds = WebSeeds(
            torrent, self.downloads, shared.web_seed_http, self.writer, self.bandwidth
        )
        self._urgent.add_senders(self.web_seeds)
        self._tasks: anyio.abc.TaskGroup | None = None
        self._may_write = True
        self.proof = PieceProof(torrent, keeper, shared.hash_limiter, callbacks.on_error)
        self.reads = PayloadReader(torrent.storage, self.proof)
        """Reads of the files while they are open."""
        ports = CopyPorts(self.finisher, self.downloads, PieceSharing(torrent, shared.reflinks))
        self.copies = LocalCopies(torrent, ports, self.reads, shared.content)
        self._folder_copies = FolderCopies(
            torrent,
            ports,
            torrent.storage,
            shared.local_files,
            SimilarTorrentFiles(
                shared.store, shared.known_roots, shared.content, shared.config.disk
            ),
        )
        self._first_copies = FirstCopies(
            lambda: self.progress.is_complete, self.copies, self._folder_copies
        )
        self.uploads = UploadManager(
            torrent, self.proof, callbacks.on_error, self.bandwidth.upload_load
        )
        self.bandwidth.add_sender(self.uploads.hashes)
        self.super_seeding = SuperSeeding(torrent, self.downloads)
        self._layers = MissingLayers(
            torrent,
            shared.store.copies,
            LayerPorts(
                on_liar=self._on_liar,
                move_to_v2=self._move_to_v2,
                on_learned=self._on_learned,
            ),
        )
        config = torrent.shared_config
        self._metadata = MetadataUpload(
            torrent.metainfo, config.metadata, torrent.clock, config.pool
        )
        self.bandwidth.add_sender(self._metadata)
        self._greeting = TorrentGreeting(torrent, shared.dht_port, lambda: self.super_seeding.is_on)
        self.swarm_parts = self._make_swarm_parts(handover)
        self.pool = self.swarm_parts.pool
        self.source_totals = self.swarm_parts.source_totals
        self._saved_peers = SavedPeers(shared.store, torrent.metainfo, self.pool.candidates)
        self.sources = self._make_sources(handover)
        self._started_s = now

    @property
    def is_copying(self) -> bool:
        """Whether pieces are being copied from other files."""
        return self.copies.is_busy or self._folder_copies.is_busy

    @property
    def trackers(self) -> TrackerCoordinator:
        """Announces to the trackers."""
        return self.sources.trackers

    def _make_swarm_parts(self, handover: Handover | None) -> SwarmParts:
        torrent, shared = self.torrent, self._shared
        spec = SwarmSpec(
            greeting=self._greeting,
            gate=self.writer,
            metadata=self._metadata,
            dispatch=lambda each: (
                PayloadEvents(
                    each,
                    self.downloads,
                    self.uploads,
                    joined(self._layers.handlers(), self.finisher.blame.handlers()),
                ).handle
            ),
            on_joined=self._on_joined,
            on_left=self._on_left,
            is_private=torrent.metainfo.is_private,
            links=None if handover is None else handover.links,
            pex=None if handover is None else handover.pex,
        )
        return SwarmParts(torrent, shared, self._candidates(handover), spec)

    def _candidates(self, handover: Handover | None) -> CandidateList:
        if handover is not None:
            return handover.candidates
        shared = self._shared
        return CandidateList(
            shared.config.pool,
            self.torrent.rng,
            is_private=self.torrent.metainfo.is_private,
            bans=shared.bans,
            dial_limiter=shared.dial_limiter,
            ip_filter=shared.ip_filter,
        )

    def _make_sources(self, handover: Handover | None) -> PeerSources:
        metainfo = self.torrent.metainfo
        facts = SourceFacts(
            tiers=metainfo.tiers,
            nodes=metainfo.nodes,
            is_private=metainfo.is_private,
            totals=self._announce_totals,
            is_seed=lambda: self.progress.is_complete,
        )
        if handover is None or handover.sources is None:
            return PeerSources(
                self.torrent, self._shared, self.pool, facts, saved_peers=self._saved_peers
            )
        sources = handover.sources
        sources.rebind(self.torrent, self.pool, facts, self._saved_peers)
        return sources

    def _announce_totals(self) -> AnnounceTotals:
        totals, progress = self.torrent.totals, self.progress
        left_bytes = progress.left_bytes - progress.missing_pad_bytes
        return AnnounceTotals(
            uploaded_bytes=totals.uploaded_bytes,
            downloaded_bytes=totals.downloaded_bytes,
            left_bytes=left_bytes,
            is_partial_seed=progress.is_complete and left_bytes > 0,
        )

    # -- the network phase ------------------------------------------------------------------

    async def run(self, *, writes: bool = True) -> None:
        """Move payload until cancelled; then all links have ended and trackers know it.

        Unless ``writes`` it only uploads until :meth:`begin_writing`.
        """
        torrent, info_hash = self.torrent, self.torrent.metainfo.info_hash
        self._may_write = writes
        self._first_copies.again()
        self.bandwidth.join()
        if self.progress.is_complete:
            self.trackers.want_peers()  # peers from before the metadata do not know that we seed
        if torrent.config.super_seeding:
            self.super_seeding.begin()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                await tasks.start(self.pool.run)
                tasks.start_soon(self.sources.run)
                self.web_seeds.start(tasks)
                tasks.start_soon(self.uploads.hashes.run)
                tasks.start_soon(self._metadata.run)
                tasks.start_soon(self._layers.run)
                self._shared.router.register(info_hash, self.pool.accept, torrent.other_hash)
                self.uploads.set_active(active=True)
                if self._may_write:
                    await self._write(tasks)
                await self._tick_forever()
        finally:
            self._tasks = None
            self._shared.router.unregister(info_hash)
            self.bandwidth.leave()
            self.downloads.is_active = self.uploads.is_active = False
            with anyio.CancelScope(shield=True):
                while self.downloads.banned.drop_some():
                    await anyio.lowlevel.checkpoint()
                self.finisher.write_ahead(torrent.clock(), 0.0)
                await self._saved_peers.save(good_peers(self.pool.candidates))
            if not self._callbacks.keeps_sources():
                await self.sources.stop()

    def begin_writing(self) -> None:
        """Copy and download after :meth:`stop_writing`, if payload moves."""
        self._may_write = True
        if self._tasks is not None:
            self._tasks.start_soon(self._write, self._tasks)

    def stop_writing(self) -> None:
        """Only upload until :meth:`begin_writing`."""
        self._may_write = False
        self.downloads.set_active(active=False)

    async def _write(self, tasks: anyio.abc.TaskGroup) -> None:
        await self._first_copies.begin(tasks)
        if self._may_write:
            self.downloads.set_active(active=not self.progress.is_complete)
            self.web_seeds.wake()

    async def _tick_forever(self) -> None:
        ticks = 0
        while True:
            await anyio.sleep(TICK_S)
            self._announce_pieces()
            self._metadata.tick(self.torrent.clock())
            self._layers.tick(self.torrent.clock())
            self.uploads.run_round(self.torrent.clock())
            self._ask_for_freed_blocks()
            if self.bandwidth.limits_downloads:
                self._hold_back(self.torrent.clock())
            if self.torrent.picker.deadlines.bits:
                self._urgent.tick(self.torrent.clock())
            self.super_seeding.tick(self.torrent.clock())
            ticks += 1
            if ticks % TICKS_PER_SECOND == 0:
                self._tick_second(self.torrent.clock())

    def _tick_second(self, now: float) -> None:
        self.downloads.tick(now)
        self.finisher.prove_files()
        self.copies.tick()
        self.uploads.tick(now)
        self.say_wanting()
        self.swarm_parts.tick(now)
        self.sources.tick(now)
        self.source_totals.web_seeds = self.web_seeds.counts(now)
        self._callbacks.on_second(now)

    def say_wanting(self) -> None:
        """Send peers whether we download, if that has changed; before "interested" says so."""
        self._greeting.tell_changes(self.torrent.peers, self.pool.own.port_seen_by)

    def _ask_for_freed_blocks(self) -> None:
        """Request from others what peers that left still owed, or sent before they were banned.

        In one go, for many may leave.
        """
        if self.downloads.banned.drop_some() or self._has_freed_blocks:
            self._has_freed_blocks = False
            self.downloads.wanted_changed()

    def _hold_back(self, now: float) -> None:
        """Limit outstanding requests to what a rate limit will admit soon."""
        for peer in self.torrent.peers:
            if peer.link.was_held_back():
                peer.pipeline.hold_back(peer.download_rate.rate(now))

    def _is_too_much_to_ask(self) -> bool:
        """Return whether first requests to all peers exceed what a rate limit admits soon."""
        first_bytes = self.torrent.shared_config.transfer.min_outstanding_requests * BLOCK_BYTES
        return self.bandwidth.is_short_of_downloads(len(self.torrent.peers) * first_bytes)

    def _announce_pieces(self) -> None:
        fresh, self._fresh_pieces = self._fresh_pieces, []
        if fresh:
            messages = encode_haves(fresh)
            for peer in tuple(self.torrent.peers):
                peer.connection.sender.send_encoded_haves(messages)
                peer.link.flush()

    # -- callbacks of the parts ------------------------------------------------------------

    def _on_joined(self, peer: Peer) -> None:
        peer.link.source = self.uploads.source(peer)
        self.bandwidth.add_link(peer.link, peer.address.host)
        if peer.link.download_throttle is not None and self._is_too_much_to_ask():
            peer.pipeline.hold_back(0.0)
        self.super_seeding.joined(peer)

    def request_due(self) -> None:
        """Request at once what has got a deadline; requests for other pieces make room."""
        self._urgent.hurry()

    def add_web_seed(self, url: str, bep: int) -> None:
        """Add a web seed."""
        self.web_seeds.add(url, bep)
        if self._tasks is not None:
            self.web_seeds.start(self._tasks)

    def _on_left(self, peer: Peer) -> None:
        self.bandwidth.remove_link(peer.link)
        self.super_seeding.left(peer)
        self.downloads.peer_left(peer)
        self.finisher.blame.peer_left(peer)
        self.uploads.peer_left(peer)
        self._has_freed_blocks = True

    def _on_verdict(self, verdict: BanVerdict, piece: int) -> None:
        self.pool.judge(verdict)
        self.web_seeds.judge(verdict, piece)
        self.downloads.drop_blocks_of([key for key in verdict.ban if isinstance(key, SENDERS)])
        while self._tasks is None and self.downloads.banned.drop_some():
            pass  # paused: there are no ticks, and the run may end
        self.downloads.wanted_changed()

    def _on_liar(self, liar: Identity, reason: str) -> None:
        self.pool.ban(liar, reason)

    def _move_to_v2(self, peer: Peer) -> None:
        self.pool.move_to_v2(peer)

    def _on_learned(self, metainfo: Metainfo) -> None:
        """Go on with a torrent that has the hashes of pieces that it lacked."""
        self.torrent.metainfo = metainfo
        self._keeper.metainfo_changed(metainfo)
        self.finisher.hashes_changed()
        self.uploads.hashes.hashes_changed()
        self.proof.hashes_changed()
        self.copies.look_again()
        self._callbacks.on_learned(metainfo)

    def _on_have(self, piece: int) -> None:
        torrent = self.torrent
        self._fresh_pieces.append(piece)
        torrent.picker.deadlines.done(piece)
        self.copies.on_have(piece)
        self.downloads.on_piece_here(piece)
        self._callbacks.on_piece()
        if files := self.progress.piece_here(piece):
            torrent.bus.publish_each(FileCompleted, partial(_completed, torrent, files))
        if self.progress.is_complete:
            self._callbacks.on_complete()

    def completed(self, *, is_whole: bool) -> None:
        """Announce `completed`, and disconnect other seeds: neither side has anything to give.

        Trackers get it only if no file was left out (BEP 21).
        """
        self._announce_pieces()
        if is_whole:
            self.trackers.completed()
        self.downloads.set_active(active=False)
        self.pool.set_wanting(wanting=False)
        for peer in tuple(self.torrent.peers):
            if peer.wants_nothing:
                peer.link.end("both sides are complete")

    def abandon(self) -> None:
        """Throw away what comes from now on: nobody wants it any more."""
        self.torrent.is_abandoned = True
        self.downloads.is_active = False
        self.finisher.assemblies.clear()


def _completed(torrent: Torrent, files: Sequence[int]) -> Iterator[FileCompleted]:
    info_hash, path_of = torrent.metainfo.info_hash, torrent.storage.path_of
    return (FileCompleted(info_hash, FileIndex(index), str(path_of(index))) for index in files)
