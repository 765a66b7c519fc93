"""Whether a seed shows its pieces one by one, and the messages by which it does.

Source: BEP 16. Peers that know all that we have are parted from when it begins; they may come back.
"""

from collections.abc import Iterable
from typing import Final

from torrent_engine.base.operators import operator_of
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.policy.pieces.super_seed import SuperSeed

REST_AT_A_TIME: Final = 1_024  # ours: "have" messages in one buffer, 9 KiB
REST_PER_TICK: Final = 16_384  # ours: and in one tick over all peers; they take about 5 ms
LOOKED_AT_PER_TICK: Final = 16_000_000  # ours: pieces; choosing among half a million takes 0.1 ms
LEAST_SHOWN_PER_TICK: Final = 8  # ours: peers, of torrents with more pieces than that


class SuperSeeding:
    """Shows pieces to the peers of one torrent while it is on."""

    def __init__(self, torrent: Torrent, downloads: DownloadManager) -> None:
        self._torrent = torrent
        self._downloads = downloads
        self._plan: SuperSeed | None = None
        self._uploaded_before_bytes = 0
        self._may_show = 0
        """How many more peers are shown something before the next tick."""
        self._turns: dict[Peer, None] = {}
        """Its peers; who was shown something last comes last."""

    @property
    def is_on(self) -> bool:
        """Whether new peers are shown nothing at first."""
        return self._plan is not None and not self._plan.is_over

    def begin(self) -> None:
        """Begin, if every piece is here; other seeds may be liars and change nothing.

        What an earlier time still had to show is left out: the links that wait for it end.
        """
        torrent = self._torrent
        picker, geometry = torrent.picker, torrent.metainfo.geometry
        if self.is_on or not torrent.table.have.all():
            return
        config = torrent.shared_config.super_seed
        self._plan = SuperSeed(
            geometry.piece_count, geometry.piece_bytes, picker.availability, config, torrent.rng
        )
        self._uploaded_before_bytes = torrent.totals.uploaded_bytes
        self._downloads.watch_peers(self.has)
        for peer in tuple(torrent.peers):
            peer.link.end("super-seeding begins")

    def end(self) -> None:
        """Show everything to everybody."""
        if self._plan is not None:
            self._plan.is_over = True
            self.tick(self._torrent.clock())

    def joined(self, peer: Peer) -> None:
        """Add a peer to which the handshake showed no pieces."""
        if self._plan is not None and self.is_on:
            now, operator = self._torrent.clock(), operator_of(peer.address.host)
            self._plan.joined(
                peer,
                peer.pieces,
                now,
                operator,
                lambda: peer.uploaded_bytes,
                lambda: _waits_for_us(peer),
            )
            self._turns[peer] = None

    def left(self, peer: Peer) -> None:
        """Forget a peer."""
        self._turns.pop(peer, None)
        if self._plan is not None:
            self._plan.left(peer)

    def has(self, peer: Peer, piece: int | None) -> None:
        """Record a piece that a peer has now (None: all were named), and reveal further pieces."""
        plan, now = self._plan, self._torrent.clock()
        if plan is not None and not plan.is_over:
            fed = plan.has_several(peer, now) if piece is None else plan.has(peer, piece, now)
            self._show(plan, [each for each in fed if isinstance(each, Peer)], now)

    def tick(self, now: float) -> None:
        """Show what is to be shown to anybody, to a bounded number of peers."""
        plan = self._plan
        if plan is None:
            return
        plan.is_over = plan.is_over or self._is_another_seed_likely(plan)
        if plan.is_over:
            self._show_rest(plan)
        else:
            share = LOOKED_AT_PER_TICK // self._torrent.metainfo.piece_count
            self._may_show = max(share, LEAST_SHOWN_PER_TICK)
            self._show(plan, tuple(self._turns), now)

    def _is_another_seed_likely(self, plan: SuperSeed) -> bool:
        """Return whether a peer is likely to have everything, and a whole copy has left us.

        A claim alone is not believed: one message would end super-seeding for good.
        """
        torrent = self._torrent
        sent_bytes = torrent.totals.uploaded_bytes - self._uploaded_before_bytes
        return sent_bytes >= torrent.metainfo.total_bytes and plan.is_another_seed_likely()

    def _show(self, plan: SuperSeed, peers: Iterable[Peer], now: float) -> None:
        """Show some pieces to each that has room for them; who is too many waits for a tick."""
        for peer in peers:
            if not plan.wants_more(peer, now):
                continue
            if not self._may_show:
                return
            self._may_show -= 1
            self._turns.pop(peer, None)
            self._turns[peer] = None
            if pieces := plan.pieces_to_reveal(peer, now):
                peer.connection.sender.send_have(pieces)
                peer.link.flush()

    def _show_rest(self, plan: SuperSeed) -> None:
        """Show some more of what was hidden, a bounded part of it in one turn of the loop."""
        for _ in range(REST_PER_TICK // REST_AT_A_TIME):
            if (announcement := plan.next_announcement(REST_AT_A_TIME)) is None:
                self._plan = None
                self._downloads.watch_peers(None)
                return
            peer, pieces = announcement
            if isinstance(peer, Peer):
                peer.connection.sender.send_have(pieces)
                peer.link.flush()


def _waits_for_us(peer: Peer) -> bool:
    """Return whether a peer cannot download anything from us, although it would."""
    state = peer.connection.state
    return (state.peer_interested and state.am_choking) or peer.link.waits_for_us
