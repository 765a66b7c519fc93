"""Owns what we send: who is unchoked, and the blocks for those who are.

Source: BEP 3 (choking), BEP 6 (rejects).
"""

from collections.abc import Callable
from typing import Final

import anyio

from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.engine.peer import Peer
from torrent_engine.engine.read_buffers import READ_AHEAD_BYTES
from torrent_engine.engine.torrent import Torrent
from torrent_engine.engine.transfer_limits import TransferLimits
from torrent_engine.net.peer_link import Refill
from torrent_engine.policy.choker import Choker, slots_for_rate
from torrent_engine.policy.peer_view import PeerView
from torrent_engine.protocol.wire.messages import (
    BlockRequest,
    PeerInterested,
    PeerNotInterested,
)

MAX_LIMITED_BYTES: Final = 4 * BLOCK_BYTES  # what one peer may take at once of a limited rate
MIN_DELAY_S: Final = 0.01


class UploadManager:
    """Decides who is unchoked, and makes the block source of each peer."""

    def __init__(
        self,
        torrent: Torrent,
        limits: TransferLimits,
        on_error: Callable[[StorageError], None],
    ) -> None:
        self._torrent = torrent
        self._on_error = on_error
        self.limits = limits
        config = torrent.shared_config.choker
        self._choker = Choker(config, torrent.rng)
        self._next_rechoke_s = 0.0
        self.is_active = False

    def source(self, peer: Peer) -> "PeerUploads":
        """Return what gives one peer's link the blocks that it asked for."""
        return PeerUploads(peer, self._torrent, self.limits, self._on_error)

    def on_interested(self, _peer: Peer, _event: PeerInterested) -> None:
        """Give a free slot away at once."""
        self.rechoke(self._torrent.clock())

    def on_not_interested(self, peer: Peer, _event: PeerNotInterested) -> None:
        """Take back the slot of a peer that does not want it."""
        peer.connection.choke()
        self.rechoke(self._torrent.clock())

    def peer_left(self, peer: Peer) -> None:
        """Give a slot to others."""
        if not peer.connection.am_choking:
            self.rechoke(self._torrent.clock())

    def tick(self, now: float) -> None:
        """Rechoke when it is time."""
        if now >= self._next_rechoke_s:
            self.rechoke(now)
            self._next_rechoke_s = now + self._torrent.shared_config.choker.rechoke_interval_s

    def set_active(self, *, active: bool) -> None:
        """Begin or stop to unchoke anybody."""
        self.is_active = active
        self.rechoke(self._torrent.clock())

    def rechoke(self, now: float) -> None:
        """Choke and unchoke so that the slots are where the choker wants them."""
        chosen: frozenset[object] = frozenset()
        if self.is_active:
            peers = [self._view(peer, now) for peer in self._torrent.peers]
            seeding = not self._torrent.table.missing & self._torrent.picker.wanted
            chosen = self._choker.rechoke(peers, now=now, seeding=seeding, slots=self._slots(now))
        for peer in tuple(self._torrent.peers):
            connection = peer.connection
            if peer in chosen:
                if connection.am_choking:
                    connection.unchoke()
                    peer.unchoked_s = now
                    peer.uploaded_at_unchoke_bytes = peer.uploaded_bytes
                    peer.link.flush()
            elif not connection.am_choking:
                connection.choke()
                peer.link.flush()

    def _slots(self, now: float) -> int:
        rate = sum(peer.upload_rate.rate(now) for peer in self._torrent.peers)
        return slots_for_rate(self._torrent.shared_config.choker, rate)

    @staticmethod
    def _view(peer: Peer, now: float) -> PeerView:
        connection = peer.connection
        return PeerView(
            key=peer,
            connected_since_s=peer.connected_s,
            interested=connection.peer_interested,
            unchoked=not connection.am_choking,
            unchoked_since_s=peer.unchoked_s,
            uploaded_bytes_since_unchoke=peer.uploaded_bytes - peer.uploaded_at_unchoke_bytes,
            download_bytes_per_s=peer.download_rate.rate(now),
            upload_bytes_per_s=peer.upload_rate.rate(now),
            is_snubbed=peer.pipeline.is_snubbed,
            is_upload_only=peer.is_upload_only or peer.has_all,
        )


Run = tuple[int, memoryview]
"""Neighbouring blocks that are read at once: (offset in the payload, where they go)."""
ReadyBlock = tuple[int, int, memoryview]
"""(piece index, begin in bytes, payload)."""


class PeerUploads:
    """Gives one peer's link the blocks that it asked for; the hot path of an upload."""

    __slots__ = ("_buffer", "_buffers", "_cold", "_limits", "_on_error", "_peer", "_torrent")

    def __init__(
        self,
        peer: Peer,
        torrent: Torrent,
        limits: TransferLimits,
        on_error: Callable[[StorageError], None],
    ) -> None:
        self._peer = peer
        self._torrent = torrent
        self._limits = limits
        self._on_error = on_error
        self._buffers = torrent.read_buffers
        self._buffer: memoryview | None = None
        self._cold: tuple[list[Run], list[ReadyBlock]] | None = None

    def refill(self) -> Refill:
        """Queue blocks that the page cache has, at most one buffer of them."""
        limits, budget_bytes = self._limits, READ_AHEAD_BYTES
        if limits.is_limited:
            budget_bytes = limits.allowance(MAX_LIMITED_BYTES)
            if budget_bytes < BLOCK_BYTES:
                limits.give_back(budget_bytes)
                return Refill.LATER
        runs, blocks, used_bytes = self._take(budget_bytes)
        if limits.is_limited:
            limits.give_back(budget_bytes - used_bytes)
        if not blocks:
            return Refill.NOTHING
        read_now = self._torrent.storage.read_now
        for offset, view in runs:
            if not read_now(offset, view):
                self._cold = (runs, blocks)
                return Refill.LATER
        self._queue(blocks, used_bytes)
        return Refill.QUEUED

    async def load(self) -> None:
        """Wait for the rate limit, or read from the disk what the page cache does not have."""
        if self._cold is None:
            await anyio.sleep(max(self._limits.delay_s(), MIN_DELAY_S))
            return
        runs, blocks = self._cold
        try:
            for offset, view in runs:
                await self._torrent.storage.read(offset, view)
        except StorageError as error:
            self._on_error(error)
            return
        finally:
            self._cold = None
        self._queue(blocks, sum(len(view) for _, view in runs))

    def _take(self, budget_bytes: int) -> tuple[list[Run], list[ReadyBlock], int]:
        """Take requests off the peer's queue, and merge neighbours into one read.

        The buffer may be used again here: a link asks only after it sent all that was queued.
        """
        connection, torrent = self._peer.connection, self._torrent
        requests = connection.upload_requests.take(budget_bytes)
        if not torrent.table.have.all():
            requests = self._those_we_have(requests)
        buffer = self._buffer = self._buffer or self._buffers.take()
        piece_bytes = torrent.metainfo.geometry.piece_bytes
        runs: list[Run] = []
        blocks: list[ReadyBlock] = []
        used = run_start = run_used = run_end = 0
        for piece, begin, length in requests:
            offset = piece * piece_bytes + begin
            if offset != run_end:
                if used > run_used:
                    runs.append((run_start, buffer[run_used:used]))
                run_start, run_used = offset, used
            run_end = offset + length
            blocks.append((piece, begin, buffer[used : used + length]))
            used += length
        if used > run_used:
            runs.append((run_start, buffer[run_used:used]))
        return runs, blocks, used

    def _those_we_have(self, requests: list[BlockRequest]) -> list[BlockRequest]:
        """Reject the requests for pieces that we do not have; return the others."""
        has = self._torrent.table.have.has
        for request in requests:
            if not has(request[0]):
                self._peer.connection.reject(request)
        return [request for request in requests if has(request[0])]

    def rest(self) -> None:
        """Give the buffer to others: all that was queued is sent, and nothing is asked for."""
        if self._buffer is not None and self._cold is None:
            self._buffers.give_back(self._buffer)
            self._buffer = None

    def _queue(self, blocks: list[ReadyBlock], length_bytes: int) -> None:
        peer = self._peer
        peer.connection.send_blocks(blocks)
        peer.uploaded_bytes += length_bytes
        peer.upload_rate.add(length_bytes, self._torrent.clock())
        self._torrent.totals.uploaded_bytes += length_bytes
