"""Owns whether a seed shows its pieces one by one, and does it.

Source: BEP 16. Peers that know all that we have are parted from when it begins; they may come back.
"""

from collections.abc import Iterable

from torrent_engine.engine.download_manager import DownloadManager
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.torrent import Torrent
from torrent_engine.policy.super_seed import SuperSeed


class SuperSeeding:
    """Shows pieces to the peers of one torrent while it is on."""

    def __init__(self, torrent: Torrent, downloads: DownloadManager) -> None:
        self._torrent = torrent
        self._downloads = downloads
        self._plan: SuperSeed | None = None

    @property
    def is_on(self) -> bool:
        """Whether new peers are shown nothing at first."""
        return self._plan is not None and not self._plan.is_over

    def begin(self) -> None:
        """Begin, if every piece is here and no other seed is known."""
        torrent = self._torrent
        picker, geometry = torrent.picker, torrent.metainfo.geometry
        if self._plan is not None or not torrent.table.have.all() or picker.availability.seeds:
            return
        config = torrent.shared_config.super_seed
        self._plan = SuperSeed(
            geometry.piece_count, geometry.piece_bytes, picker.availability, config, torrent.rng
        )
        self._downloads.on_peer_has = self.has
        for peer in tuple(torrent.peers):
            peer.link.end("super-seeding begins")

    def end(self) -> None:
        """Show everything to everybody."""
        if self._plan is not None:
            self._plan.is_over = True
            self.tick(self._torrent.clock())

    def joined(self, peer: Peer) -> None:
        """Take a peer that was greeted as if we had nothing."""
        if self._plan is not None and self.is_on:
            self._plan.joined(peer, self._torrent.clock())

    def left(self, peer: Peer) -> None:
        """Forget a peer."""
        if self._plan is not None:
            self._plan.left(peer)

    def has(self, peer: Peer, bits: int) -> None:
        """Take pieces that a peer has, and show what that lets others see."""
        plan, now = self._plan, self._torrent.clock()
        if plan is not None:
            fed = plan.has(peer, bits, now)
            self._show(plan, [each for each in self._torrent.peers if each in fed], now)

    def tick(self, now: float) -> None:
        """Show what is to be shown to anybody."""
        if self._plan is not None:
            self._show(self._plan, tuple(self._torrent.peers), now)

    def _show(self, plan: SuperSeed, peers: Iterable[Peer], now: float) -> None:
        for peer in peers:
            if pieces := plan.to_show(peer, now):
                peer.connection.send_have(pieces)
                peer.link.flush()
        if plan.is_over:
            self._plan = self._downloads.on_peer_has = None
