"""Owns the parts that move one torrent's payload, and the tasks that drive them.

Made when a Session has planned its start, dropped when it stops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.errors import NetworkError, StorageError
from torrent_engine.base.ids import FileIndex, PeerAddress
from torrent_engine.disk.resume import ResumeKeeper
from torrent_engine.disk.writer import PieceWriter
from torrent_engine.engine.download_manager import DownloadManager
from torrent_engine.engine.events import FileCompleted
from torrent_engine.engine.peer import Identity, Peer
from torrent_engine.engine.peer_events import PeerEvents
from torrent_engine.engine.peer_pool import PeerPool, PoolCallbacks
from torrent_engine.engine.piece_finisher import PieceFinisher
from torrent_engine.engine.progress import Progress
from torrent_engine.engine.saved_peers import SavedPeers
from torrent_engine.engine.shared_resources import SharedResources
from torrent_engine.engine.torrent import Torrent
from torrent_engine.engine.tracker_coordinator import TrackerCoordinator
from torrent_engine.engine.transfer_limits import TransferLimits
from torrent_engine.engine.upload_manager import UploadManager
from torrent_engine.net.streams import resolve
from torrent_engine.policy.candidates import CandidateList, Source
from torrent_engine.policy.own_address import TRACKER_VOTES
from torrent_engine.policy.rate import TokenBucket
from torrent_engine.policy.suspicion import Verdict
from torrent_engine.protocol.tracker.announce import AnnounceTotals

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
    ) -> None:
        self.torrent = torrent
        self.progress = progress
        self._shared = shared
        self._callbacks = callbacks
        self._fresh_pieces: list[int] = []
        now, config = torrent.clock(), torrent.config
        self.download_bucket = TokenBucket(config.max_download_bytes_per_s)
        self.upload_bucket = TokenBucket(config.max_upload_bytes_per_s)
        self._download_limits = TransferLimits(
            (shared.download_bucket, self.download_bucket), torrent.clock
        )
        upload_limits = TransferLimits((shared.upload_bucket, self.upload_bucket), torrent.clock)
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
        self.uploads = UploadManager(torrent, upload_limits, callbacks.on_error)
        self.pool = PeerPool(
            torrent,
            CandidateList(
                shared.config.pool,
                torrent.rng,
                is_private=torrent.metainfo.is_private,
                bans=shared.bans,
                dial_limiter=shared.dial_limiter,
            ),
            shared.connection_slots,
            PeerEvents(self.downloads, self.uploads),
            PoolCallbacks(self._on_joined, self._on_left),
            self.writer,
        )
        self.pool.own.public = shared.own_address
        self._saved_peers = SavedPeers(shared.store, torrent.metainfo)
        self.trackers = self._make_trackers()
        self._started_s = now

    def _make_trackers(self) -> TrackerCoordinator:
        torrent, shared = self.torrent, self._shared
        return TrackerCoordinator(
            metainfo_tiers=torrent.metainfo.tiers,
            info_hash=torrent.metainfo.info_hash,
            peer_id=torrent.peer_id,
            is_private=torrent.metainfo.is_private,
            config=shared.config.tracker,
            client=shared.trackers,
            totals=self._announce_totals,
            listen_port=lambda: shared.listen_port,
            on_peers=self._on_tracker_peers,
            on_external_ip=self._on_external_ip,
            publish=torrent.bus.publish,
            clock=torrent.clock,
            rng=torrent.rng,
        )

    def _announce_totals(self) -> AnnounceTotals:
        totals, progress = self.torrent.totals, self.progress
        return AnnounceTotals(
            uploaded_bytes=totals.uploaded_bytes,
            downloaded_bytes=totals.downloaded_bytes,
            left_bytes=self.torrent.metainfo.total_bytes - progress.have_bytes,
        )

    def _on_tracker_peers(self, addresses: list[PeerAddress]) -> None:
        self.pool.add(addresses, Source.TRACKER)

    def _on_external_ip(self, host: str, url: str) -> None:
        self.pool.own.exclude(host)
        self._shared.own_address.told(host, url, TRACKER_VOTES)
        self.pool.own.update()

    # -- the network phase ------------------------------------------------------------------

    async def run(self) -> None:
        """Move payload until cancelled; every link has ended and trackers were told after that."""
        torrent, info_hash = self.torrent, self.torrent.metainfo.info_hash
        self.pool.listen_port = self._shared.listen_port
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.pool.run)
                tasks.start_soon(self.trackers.run)
                tasks.start_soon(self._add_saved_peers)
                tasks.start_soon(self._add_configured_peers)
                self._shared.router.register(info_hash, self.pool.accept)
                self.downloads.set_active(active=not self.progress.is_complete)
                self.uploads.set_active(active=True)
                await self._tick_forever()
        finally:
            self._shared.router.unregister(info_hash)
            self.downloads.is_active = self.uploads.is_active = False
            self.finisher.write_ahead(torrent.clock(), 0.0)
            with anyio.CancelScope(shield=True):
                await self._saved_peers.save(self.pool.good_peers())
            await self.trackers.stop()

    async def _add_saved_peers(self) -> None:
        self.pool.restore(await self._saved_peers.load())

    async def _add_configured_peers(self) -> None:
        for host, port in self.torrent.config.peers:
            try:
                self.pool.add(await resolve(host, port), Source.MANUAL)
            except NetworkError:
                continue  # said when the option was read; a name may come back later

    async def _tick_forever(self) -> None:
        ticks = 0
        while True:
            await anyio.sleep(TICK_S)
            self._announce_pieces()
            ticks += 1
            if ticks % TICKS_PER_SECOND == 0:
                now = self.torrent.clock()
                for peer in self.torrent.peers:
                    self._throttle(peer)  # the limits over all torrents may have changed
                self.downloads.tick(now)
                self.uploads.tick(now)
                self.pool.tick(now)
                self._callbacks.on_second(now)

    def _announce_pieces(self) -> None:
        fresh, self._fresh_pieces = self._fresh_pieces, []
        if fresh:
            for peer in tuple(self.torrent.peers):
                peer.connection.send_have(fresh)
                peer.link.flush()

    # -- what the parts tell each other -------------------------------------------------------

    def _on_joined(self, peer: Peer) -> None:
        peer.link.source = self.uploads.source(peer)
        self._throttle(peer)

    def _throttle(self, peer: Peer) -> None:
        limits = self._download_limits
        peer.link.download_throttle = limits if limits.is_limited else None

    def _on_left(self, peer: Peer) -> None:
        self.downloads.peer_left(peer)
        self.uploads.peer_left(peer)
        self.downloads.wanted_changed()

    def _on_verdict(self, verdict: Verdict) -> None:
        self.pool.judge(verdict)
        self.downloads.drop_blocks_of([key for key in verdict.ban if isinstance(key, Identity)])
        self.downloads.wanted_changed()

    def _on_have(self, piece: int) -> None:
        torrent = self.torrent
        self._fresh_pieces.append(piece)
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
        for peer in tuple(self.torrent.peers):
            if peer.wants_nothing:
                peer.link.end("both sides are complete")

    def set_rate_limits(
        self, download_bytes_per_s: int | None, upload_bytes_per_s: int | None
    ) -> None:
        """Change this torrent's limits; 0 is unlimited, None leaves as it is."""
        now = self.torrent.clock()
        if download_bytes_per_s is not None:
            self.download_bucket.set_rate(download_bytes_per_s, now)
        if upload_bytes_per_s is not None:
            self.upload_bucket.set_rate(upload_bytes_per_s, now)
        for peer in self.torrent.peers:
            self._throttle(peer)
