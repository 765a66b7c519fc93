"""Block requests to peers, and the blocks received until their piece is whole.

The life of a block: :meth:`DownloadManager.refill` requests it, :meth:`DownloadManager.on_block`
puts it into its PieceAssembly, and a whole piece goes to the PieceFinisher.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from math import inf
from typing import Final, Protocol

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bitfield import bits_of
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Peer, Sender
from torrent_engine.engine.swarm.peer_dispatch import PeerEventHandler
from torrent_engine.engine.transfer.deadline_requests import IsAsked, UrgentRequests
from torrent_engine.engine.transfer.piece_assembly import BannedBlocks, PieceAssembly
from torrent_engine.engine.transfer.piece_verifier import PieceFinisher
from torrent_engine.policy.peers.unproven_peers import UnprovenPeerLimits
from torrent_engine.policy.pieces.end_game import choose_duplicates, is_end, left_blocks
from torrent_engine.policy.pieces.owed_blocks import OwedBlocks
from torrent_engine.policy.pieces.peer_pieces import SwarmPieces
from torrent_engine.policy.pieces.picker import END_GAME_BLOCKS, among
from torrent_engine.policy.pieces.piece_table import Block, PartialPiece, PieceState
from torrent_engine.policy.pieces.sole_turns import SoleTurns
from torrent_engine.protocol.wire.messages import (
    AllowedFast,
    BlockReceived,
    BlockRequest,
    BlocksReceived,
    PeerBitfield,
    PeerChoked,
    PeerEvent,
    PeerHas,
    PeerLost,
    PeerUnchoked,
    RequestRejected,
    UnrequestedBlock,
)

REJECTED_PAUSE_S: Final = 1.5  # ours: a peer that rejects is asked again by the next tick but one
UNCHOKED_PAUSE_S: Final = 1.0  # ours: chokes and unchokes in turn make us pick blocks once a second
WHOLE_PIECE_S: Final = 20.0  # ours, as libtorrent's: who sends a piece so fast gets its own ones
SLOW_S: Final = 3  # ours: seconds after which a slow peer shares pieces, and loses those it has
SOLE_PATIENCE_S: Final = 60.0  # ours: a piece that is to have one author comes from a faster one
LEAST_BYTES_PER_S: Final = 2048.0  # ours: who is slower, or has sent nothing yet, has no longer
LAST_PATIENCE_S: Final = 5.0  # ours: the same once no other piece is left to begin
UNPROVEN_PATIENCE_S: Final = 8.0  # ours: it is snubbed so soon while proven peers could go on
LITTLE: Final = 8  # ours: part of an unproven peer's piece that is discarded to have one sender
TRIAL_LOOKS: Final = 200  # ours: pieces of unproven peers that one peer looks at in one go
TRIAL_PAUSE_S: Final = 0.2  # ours: before it looks at others
SNUBBED_PAUSE_S: Final = 30.0  # ours: a snubbed peer is not asked for late blocks, others are
DUPLICATE_PAUSE_S: Final = 0.2  # ours: before we look again what an idle peer could send sooner
NEWCOMER_DUPLICATES: Final = 4  # ours: late blocks that a peer of unknown rate is asked for, too
DUPLICATE_CANDIDATES: Final = 4 * END_GAME_BLOCKS  # ours: blocks from which the latest are chosen
MAX_NEW_REQUESTS: Final = 256  # ours: to a peer in one go; each may begin a piece, 20 to 50 us
SETTLED_BEFORE_PICK: Final = 2  # ours: peers counted anew, about 0.3 ms each at 500,000 pieces
SETTLED_PER_TICK: Final = 16
SNUBBED_BLOCKS_PER_TICK: Final = 2_000  # ours: given back to others at once, 10 us each
RESTARTED_BLOCKS_PER_TICK: Final = 8_192  # ours: of pieces of slow peers, 2 us a cancelled one
FLUSH_AGE_S: Final = 2.0  # row F4: at most this much of unverified blocks is lost


class BlockSender(Protocol):
    """Who sends blocks: a peer or a web seed."""

    received_blocks: int
    """Of the read that is being handled."""
    downloaded_now_bytes: int

    @property
    def identity(self) -> Sender:
        """Who it is, for blame and bans."""


class DownloadManager:
    """The begun pieces of one torrent and the requests for their blocks."""

    def __init__(self, torrent: Torrent, finisher: PieceFinisher) -> None:
        self._torrent = torrent
        self._picker = torrent.picker
        self._clock = torrent.clock
        self._finisher = finisher
        self._assemblies = finisher.assemblies
        self.banned = BannedBlocks(torrent, finisher.assemblies, self._dropped)
        """What banned peers sent, while it is being dropped."""
        self.has_duplicates = False
        """Whether some block was asked of several peers: the end game, or one comes too late."""
        self.is_active = False
        """Whether anything is asked of anybody: not while checking or paused."""
        self._on_peer_has: Callable[[Peer, int | None], None] | None = None
        self.urgent = UrgentRequests(torrent, self)
        self._owed = OwedBlocks(torrent.picker, self.urgent.latest_owed)
        self._deadlines = torrent.picker.deadlines
        geometry = torrent.metainfo.geometry
        self._unproven = UnprovenPeerLimits(
            torrent.smart_ban, geometry.blocks_per_piece, self._is_on_trial, torrent.rng
        )
        self._least_whole_bytes_per_s = geometry.piece_bytes / WHOLE_PIECE_S
        self._trials = OrderedDict[int, Peer]()  # pieces assigned to unproven peers
        self._bytes_per_s = 0.0
        self._unchecked_bytes = 0
        self._may_restart = 0
        self._has_fast = False
        self._sole_turns = SoleTurns()
        self._slow_s: dict[int, float] | None = None
        """Of pieces that slow peers owe us: how long a block may take; as seen since the tick."""
        self._able: list[Peer] = []
        """Who could be asked at the last tick."""
        self._swarm = SwarmPieces(torrent.metainfo.piece_count, torrent.picker.availability)

    def handlers(self) -> dict[type[PeerEvent], PeerEventHandler]:
        """Return the function that handles each kind of event of a peer."""
        return {
            BlockReceived: self.on_block,
            BlocksReceived: self.on_blocks,
            PeerBitfield: self.on_bitfield,
            PeerHas: self.on_have,
            PeerLost: self._on_lost,
            PeerChoked: self.on_choked,
            PeerUnchoked: self.on_unchoked,
            AllowedFast: self._on_allowed_fast,
            RequestRejected: self.on_rejected,
            UnrequestedBlock: self._on_unrequested,
        }

    def watch_peers(self, on_peer_has: Callable[[Peer, int | None], None] | None) -> None:
        """Call this with every piece that a peer has now, or None when it said all that it has.

        None: call nothing any more.
        """
        self._on_peer_has = on_peer_has

    # -- what peers have --------------------------------------------------------------------

    def on_bitfield(self, peer: Peer, event: PeerBitfield) -> None:
        """Record all the pieces that a peer has."""
        if not self._swarm.replaced(peer.pieces, event.bitfield):
            return
        self.update_interest(peer)
        if self._on_peer_has is not None:
            self._on_peer_has(peer, None)

    def on_have(self, peer: Peer, event: PeerHas) -> None:
        """Record one more piece that a peer has, at a cost that does not grow with the pieces."""
        piece = event.piece_index
        if not self._swarm.has(peer.pieces, piece):
            return
        if self._torrent.table.is_missing(piece) and self._picker.is_wanted(piece):
            peer.wanted_piece = piece
            peer.connection.sender.set_interested(interested=self.is_active)
            peer.wants_requests = True
        if self._on_peer_has is not None:
            self._on_peer_has(peer, piece)

    def _on_lost(self, peer: Peer, event: PeerLost) -> None:
        """Record that a peer no longer has a piece (BEP 54)."""
        self._swarm.lost(peer.pieces, event.piece_index)

    def peer_left(self, peer: Peer) -> None:
        """Release a peer's requests for other peers."""
        self._swarm.left(peer.pieces)
        self._release(peer.connection.state.outstanding_requests())
        self._unproven.forget(peer.identity)
        if (incoming := peer.connection.incoming_block) is not None:
            self._release((incoming,))
        peer.connection.outstanding.clear()
        self._disown(peer.identity)
        self._torrent.smart_ban.peer_left(peer.identity)

    # -- choking ----------------------------------------------------------------------------

    def on_choked(self, _peer: Peer, event: PeerChoked) -> None:
        """Release the requests that a choke discarded for other peers."""
        self._release(event.lost)

    def on_unchoked(self, peer: Peer, _event: PeerUnchoked) -> None:
        """Start requesting from a peer: now, or at the next tick if it unchoked us just before."""
        now = self._clock()
        if not peer.connection.outstanding:  # else it owes us blocks as long as it did before
            peer.last_block_s = now
        peer.wants_requests = now - peer.unchoked_us_s >= UNCHOKED_PAUSE_S
        if peer.wants_requests:
            peer.unchoked_us_s = now

    def _on_allowed_fast(self, peer: Peer, _event: AllowedFast) -> None:
        """Request an allowed-fast piece (BEP 6)."""
        peer.wants_requests = True

    def on_rejected(self, peer: Peer, event: RequestRejected) -> None:
        """Release a rejected request for other peers, and pause requests to this one."""
        self._picker.release(event.request[0], event.request[1] // BLOCK_BYTES)
        peer.quiet_until_s = self._clock() + REJECTED_PAUSE_S

    def _release(self, requests: Iterable[Block]) -> None:
        for piece, begin, _ in requests:
            self._picker.release(piece, begin // BLOCK_BYTES)

    def update_interest(self, peer: Peer) -> None:
        """Send interested or not interested, by what the peer has."""
        interested = self.is_active and self._is_interesting(peer)
        peer.connection.sender.set_interested(interested=interested)

    def _is_interesting(self, peer: Peer) -> bool:
        """Return whether a peer has something that we want: what it was before, as a rule."""
        picker = self._picker
        if not (picker.lacks(peer.wanted_piece) and peer.pieces.has(peer.wanted_piece)):
            peer.wanted_piece = picker.interesting_piece(peer.bits)
        return peer.wanted_piece >= 0

    # -- blocks -----------------------------------------------------------------------------

    def on_block(self, peer: BlockSender, event: BlockReceived) -> None:
        """Store one block; the hot path, about 1 us of its own."""
        piece, length = event.piece_index, event.length_bytes
        peer.received_blocks += 1
        peer.downloaded_now_bytes += length
        assembly = self._assemblies.get(piece)
        block = event.begin_bytes // BLOCK_BYTES
        if (
            assembly is None
            or (
                assembly.partial.is_single_source and assembly.partial.exclusive_to != peer.identity
            )
            or not assembly.partial.receive(block)
        ):
            self._torrent.totals.redundant_bytes += length
            return
        assembly.add(block, event.views, length, peer.identity)
        if self.has_duplicates:
            self._cancel_elsewhere(peer, assembly.partial.block(block))
        if not assembly.partial.left:
            self._whole(assembly)

    def on_blocks(self, peer: Peer, event: BlocksReceived) -> None:
        """Store neighbouring blocks; the hot path of a fast download."""
        piece, views, first = event.piece_index, event.views, event.begin_bytes // BLOCK_BYTES
        assembly = self._assemblies.get(piece)
        if (
            assembly is None
            or self.has_duplicates
            or assembly.partial.is_single_source
            or not assembly.partial.receive_run(first, len(views))
        ):
            for number, view in enumerate(views, first):
                begin, length = number * BLOCK_BYTES, len(view)
                self.on_block(peer, BlockReceived(piece, begin, length, (view,)))
            return
        peer.received_blocks += len(views)
        peer.downloaded_now_bytes += len(views) * BLOCK_BYTES
        assembly.add_run(first, views, peer.identity)
        if not assembly.partial.left:
            self._whole(assembly)

    def _whole(self, assembly: PieceAssembly) -> None:
        piece = assembly.partial.piece
        self.banned.drop_of(assembly)
        if assembly.partial.left:
            return
        if assembly.partial.pads:
            assembly.own_pads()
        self._picker.finished(piece)
        del self._assemblies[piece]
        self._finisher.finish(assembly)

    def drop_blocks_of(self, banned: Collection[Sender]) -> None:
        """Fetch again what these sent of begun pieces, rather than the pieces once they fail.

        Some of it now; then :attr:`banned` has to go on.
        """
        for peer in self._torrent.peers:
            if peer.identity in banned:
                peer.quiet_until_s = inf
        self.banned.add(banned)
        self.banned.drop_some()

    def _dropped(self, assembly: PieceAssembly) -> None:
        """Go on with a begun piece that lost blocks; one of nobody that has none begins anew."""
        partial = assembly.partial
        is_over = partial.exclusive_to is None and partial.is_untouched
        if not (is_over and self._restart([partial.piece])):
            self._finisher.blocks_dropped(assembly)

    def _on_unrequested(self, _peer: Peer, event: UnrequestedBlock) -> None:
        """Count a block that nobody asked for."""
        self._torrent.totals.redundant_bytes += event.length_bytes

    def after_read(self, peer: Peer) -> None:
        """Account for the blocks of one read and ask for more."""
        if count := peer.received_blocks:
            now, received_bytes = self._clock(), peer.downloaded_now_bytes
            peer.last_block_s = now
            peer.downloaded_bytes += received_bytes
            self._torrent.totals.downloaded_bytes += received_bytes
            peer.download_rate.add(received_bytes, now)
            peer.pipeline.blocks_received(count)
            peer.received_blocks = peer.downloaded_now_bytes = 0
            peer.wants_requests = True
            self.count_held(received_bytes)
        if peer.wants_requests:
            peer.wants_requests = False
            self.refill(peer)

    def count_held(self, received_bytes: int) -> None:
        """Write blocks ahead of their pieces as soon as too many are held in memory."""
        self._unchecked_bytes += received_bytes
        if self._unchecked_bytes * 2 > self._torrent.shared_config.disk.partial_memory_bytes:
            self._unchecked_bytes = 0
            self._finisher.write_ahead(self._clock(), inf, self.banned.pieces)

    def _cancel_elsewhere(self, peer: BlockSender, block: Block) -> None:
        for other in self._torrent.peers:
            if other is not peer and block in other.connection.outstanding:
                other.connection.sender.cancel(BlockRequest(*block))
                self._picker.release(block[0], block[1] // BLOCK_BYTES)
                other.link.flush()

    # -- requests ---------------------------------------------------------------------------

    def refill(self, peer: Peer) -> None:
        """Request blocks from a peer until its pipeline is full; cheap when it nearly is."""
        connection, depth = peer.connection, peer.pipeline.depth
        waiting = len(connection.outstanding)
        room = depth - waiting
        if room * 4 < depth and waiting:
            return  # asked for in batches: one pass of the picker, one buffer
        if room <= 0 or not self.is_active or self._clock() < peer.quiet_until_s:
            return
        if not self._swarm.is_settled:
            self._swarm.settle(SETTLED_BEFORE_PICK)
        bits = self._allowed_fast(peer) if connection.state.peer_choking else peer.bits
        pick = self.urgent.pick if self._deadlines.bits else self.pick
        if bits and (blocks := pick(peer, bits, min(room, MAX_NEW_REQUESTS))):
            connection.sender.request_blocks(blocks)

    def _allowed_fast(self, peer: Peer) -> int:
        lacks, has = self._picker.lacks, peer.pieces.has
        allowed = peer.connection.state.allowed_fast_in
        return bits_of([piece for piece in allowed if lacks(piece) and has(piece)])

    def pick_due(self, peer: Peer, bits: int, count: int) -> list[Block]:
        """Pick what a peer is asked for of the pieces with a deadline."""
        identity = peer.identity
        only_for = self._alone(identity)
        if not peer.is_proven and self._unproven.has_proven:
            if not self._unproven.max_new_pieces(identity, self._clock()):
                return []
            only_for = identity
        blocks = self._picker.pick_due(bits, count, key=identity, only_for=only_for)
        self._begin_pieces_of(blocks, identity, peer)
        return blocks

    def pick(self, peer: Peer, bits: int, room: int) -> list[Block]:
        """Pick what a peer is asked for, whatever has a deadline.

        Pieces of its own, if it is fast enough; who is slow shares them with others, and so do all
        in sequential mode, unless much of what came was bad. Who is not proven gets few.
        """
        picker, identity, unproven = self._picker, peer.identity, self._unproven
        sole = self._alone(identity)
        max_new_pieces = None
        if not peer.is_proven:  # who has nothing to begin takes no part in the draw
            now, can_begin = self._clock(), self._can_begin(bits)
            max_new_pieces = unproven.max_new_pieces(identity, now) if can_begin else 0
        is_fast = peer.slow_seconds < SLOW_S
        is_exclusive = (is_fast and not picker.is_sequential) or not unproven.is_clean
        is_trusted = peer.is_proven and sole is None
        blocks: list[Block] = []
        if is_exclusive and is_trusted and unproven.is_clean:
            blocks = picker.adopt(bits, room, identity)
        blocks += picker.pick(
            bits,
            room - len(blocks),
            key=identity,
            only_for=sole,
            is_exclusive=is_exclusive,
            max_new_pieces=max_new_pieces,
            takes_suspects=is_fast and (is_trusted or not unproven.has_proven),
        )
        if not blocks and not self._can_begin(bits):
            blocks = self._pick_last(peer, bits, room, sole)
        self._begin_pieces_of(blocks, identity, peer)
        if max_new_pieces:
            unproven.began_none(identity, self._clock())
        return blocks

    def _can_begin(self, bits: int) -> bool:
        """Return whether there is a wanted piece to begin among those of a peer."""
        return bool(bits & self._picker.startable & self._picker.wanted)

    def _pick_last(self, peer: Peer, bits: int, room: int, sole: Sender | None) -> list[Block]:
        """Pick for a peer that has no piece to begin: what others left, or have not come to."""
        picker, identity = self._picker, peer.identity
        if sole is not None:
            return self._pick_afresh(peer, bits, room)
        if not peer.is_proven and self._unproven.has_proven:
            blocks = self._adopt_on_trial(peer, bits, room)
            return blocks if blocks or self._has_fast else self._pick_again(peer, bits)
        if blocks := picker.adopt(bits, room, identity):
            return blocks
        if peer.is_proven and self._take_from_unproven(peer, bits):
            return picker.pick(bits, room, key=identity, is_exclusive=True)
        is_slow = peer.slow_seconds >= SLOW_S
        if not is_slow and (blocks := picker.pick_shared(bits, room, opens=peer.is_proven)):
            return blocks
        return [] if is_slow and self._has_fast else self._pick_again(peer, bits)

    def _adopt_on_trial(self, peer: Peer, bits: int, room: int) -> list[Block]:
        """Assign an unproven peer a piece that other peers left unfinished."""
        if self._picker.idle_partial(bits) is None:
            return []
        if not self._unproven.max_new_pieces(peer.identity, self._clock()):
            return []
        blocks = self._picker.adopt(bits, room, peer.identity)
        for piece in dict.fromkeys(block[0] for block in blocks):
            self._on_trial(peer, piece)
        self._unproven.began_none(peer.identity, self._clock())
        return blocks

    def _take_from_unproven(self, peer: Peer, bits: int) -> bool:
        """Begin the piece of a slow unproven peer again, if little of it has come."""
        now = self._clock()
        if now < peer.next_trial_s:
            return False
        # Some at a time, the others when it is looked again: a hundred peers that looked at all of
        # some hundred pieces, with a shift of half a million bits for each, took 0.4 s a second.
        looked = tuple(islice(self._trials.items(), TRIAL_LOOKS))
        few = (piece for piece, owner in looked if self._may_take(peer, owner, piece))
        for piece in among(few, bits):
            if self._restart([piece]):
                return True
        for piece, _ in looked:
            if self._torrent.table.is_missing(piece):  # it was wrong, or begun again
                del self._trials[piece]
            else:
                self._trials.move_to_end(piece)
        peer.next_trial_s = now + TRIAL_PAUSE_S
        return False

    def _may_take(self, peer: Peer, owner: Peer, piece: int) -> bool:
        if owner is peer or owner.is_proven or owner.slow_seconds < SLOW_S:
            return False
        partial = self._picker.partials.get(piece)
        if partial is None or (partial.block_count - partial.left) * LITTLE > partial.block_count:
            return False
        return peer.pieces.has(piece)

    def _pick_afresh(self, peer: Peer, bits: int, room: int) -> list[Block]:
        """Restart a piece that other peers left unfinished, for a peer on parole."""
        partial = self._picker.idle_partial(bits)
        if partial is None and self._clock() >= peer.next_duplicate_s:
            partial = self._stalled(bits)
        if partial is None or not self._restart([partial.piece]):
            return []
        max_new_pieces = None if peer.is_proven else 1
        identity = peer.identity
        return self._picker.pick(
            bits, room, key=identity, only_for=identity, max_new_pieces=max_new_pieces
        )

    def _stalled(self, bits: int) -> PartialPiece | None:
        """Return a begun piece of which nothing comes any more, though it was asked for."""
        now, patience_s = self._clock(), self._patience_s
        if self._slow_s is None:
            self._slow_s = self._look_at_slow(now, patience_s)
        slow_s = self._slow_s
        for piece in among(tuple(islice(self._assemblies, TRIAL_LOOKS)), bits):
            assembly, most_s = self._assemblies[piece], slow_s.get(piece, patience_s)
            if not assembly.partial.is_single_source and assembly.idle_s(now) >= most_s:
                return assembly.partial
        return None

    def _look_at_slow(self, now: float, patience_s: float) -> dict[int, float]:
        """Return how long the next block may take of pieces that slow peers owe us, if longer."""
        slow_s: dict[int, float] = {}
        for peer in self._torrent.peers:
            bytes_per_s = peer.downloaded_bytes / (now - peer.connected_s + 1)
            block_s = 2 * BLOCK_BYTES / max(bytes_per_s, LEAST_BYTES_PER_S)
            if block_s > patience_s:
                begun, owed = peer.connection.incoming_block, peer.connection.outstanding
                for piece in {block[0] for block in (owed if begun is None else (begun, *owed))}:
                    slow_s[piece] = max(block_s, slow_s.get(piece, 0.0))
        return slow_s

    @property
    def _patience_s(self) -> float:
        return LAST_PATIENCE_S if self._picker.is_end_game else SOLE_PATIENCE_S

    def _alone(self, sender: Sender) -> Sender | None:
        """Return the sender itself if it may only have pieces that are its own (row B6)."""
        return sender if self._torrent.smart_ban.is_on_parole(sender) else None

    def pick_range(
        self, sender: Sender, bits: int, count: int, last: int | None, is_asked: IsAsked
    ) -> list[Block]:
        """Pick what a web seed that has ``bits`` is asked for in one go; nothing while inactive.

        ``last`` is the piece that it was asked for last, ``is_asked`` knows what it owes us: in
        the end game it is asked for a few blocks that others owe us.
        """
        picker = self._picker
        if not self.is_active:
            return []
        alone = self._alone(sender)
        blocks = picker.pick_range(bits, count, key=sender, only_for=alone, last=last)
        if not blocks and alone is None and self._is_end():
            blocks = picker.pick_duplicates(bits, END_GAME_BLOCKS, is_asked)
            self.has_duplicates = self.has_duplicates or bool(blocks)
        self._begin_pieces_of(blocks, sender)
        return blocks

    def give_up(self, sender: Sender, blocks: Iterable[Block]) -> None:
        """Release blocks that a web seed will not send, and the pieces reserved for it."""
        self._release(blocks)
        self._disown(sender)

    def needs_any(self, blocks: Iterable[Block]) -> bool:
        """Return whether any of these blocks is not here yet."""
        assemblies = self._assemblies
        return any(
            (assembly := assemblies.get(piece)) is not None
            and not assembly.partial.has(begin // BLOCK_BYTES)
            for piece, begin, _ in blocks
        )

    def _begin_pieces_of(
        self, blocks: Sequence[Block], _sender: Sender, peer: Peer | None = None
    ) -> None:
        for piece, _, _ in blocks:
            if piece not in self._assemblies:
                self._begin(piece)
                if peer is not None and not peer.is_proven:
                    self._on_trial(peer, piece)

    def _on_trial(self, peer: Peer, piece: int) -> None:
        self._unproven.begun(peer.identity, piece, self._clock())
        self._trials[piece] = peer

    def _is_on_trial(self, sender: object, piece: int) -> bool:
        """Return whether a piece is one unproven peer's alone, or is being verified.

        For one that cannot be verified alone the next one does not wait.
        """
        partial = self._picker.partials.get(piece)
        if partial is None:
            is_here = self._torrent.table.state(piece) is PieceState.PARTIAL
            return is_here and not self._finisher.waits_for_hash(piece)
        return partial.exclusive_to == sender

    def on_piece_here(self, piece: int) -> None:
        """Request more from an unproven peer, now that a piece of its own has passed."""
        peer = self._trials.pop(piece, None) if self._trials else None
        if peer is None:
            return
        if not peer.is_proven and self._torrent.smart_ban.is_proven(peer.identity):
            self._unproven.forget(peer.identity)
            peer.is_proven = self._unproven.has_proven = True
            if peer in self._torrent.peers:
                self.refill(peer)
                peer.link.flush()

    def _pick_again(self, peer: Peer, bits: int) -> list[Block]:
        """Pick for the end game: a few blocks that this peer would send much sooner than others.

        Who has sent nothing yet, or is unproven beside proven ones, is only asked for late ones.
        """
        is_new = not peer.downloaded_bytes
        most = NEWCOMER_DUPLICATES if is_new else END_GAME_BLOCKS
        now, room = self._clock(), most - len(peer.connection.outstanding)
        if now < peer.next_duplicate_s or room <= 0:
            return []
        rate = max(
            peer.download_rate.rate(now), peer.downloaded_bytes / (now - peer.connected_s + 1)
        )
        if is_new:
            rate = float(BLOCK_BYTES)
        self._owed.look(now)
        asked = {*peer.connection.outstanding, peer.connection.incoming_block}
        expected = self._owed.latest(bits, asked, DUPLICATE_CANDIDATES)
        at_end = (
            not is_new
            and (peer.is_proven or not self._unproven.has_proven)
            and self._picker.is_end_game
            and is_end(self._owed.left_blocks, self._bytes_per_s)
        )
        chosen = choose_duplicates(expected, rate, room, at_end=at_end)
        blocks = self._picker.duplicate(chosen) if chosen else []
        self.has_duplicates = self.has_duplicates or bool(blocks)
        if not blocks:
            peer.next_duplicate_s = now + DUPLICATE_PAUSE_S
        return blocks

    def _is_end(self) -> bool:
        """Return whether what is left comes within a second or two."""
        picker = self._picker
        if not picker.is_end_game or not picker.partials:
            return False
        return is_end(left_blocks(picker), self._bytes_per_s)

    # -- pieces of one peer ------------------------------------------------------------------

    def _disown(self, sender: Sender) -> None:
        """Release the pieces of a peer; a piece that must have one sender begins again."""
        owned = self._picker.owned_by(sender)
        again = [
            partial.piece for partial in owned if partial.is_untouched or partial.is_single_source
        ]
        restarted = self._restart(again)
        for partial in owned:
            if partial.piece not in restarted:
                self._picker.give_to(partial, None)

    def _restart(self, pieces: Iterable[int]) -> set[int]:
        """Throw away what came of begun pieces; return those of which no part is being written."""
        restarted: dict[int, PartialPiece] = {}
        for piece in pieces:
            assembly = self._assemblies.get(piece)
            if assembly is None or not assembly.is_settled:
                continue
            del self._assemblies[piece]
            self._trials.pop(piece, None)
            self._torrent.totals.redundant_bytes += assembly.received_bytes
            self._finisher.restarted(piece)
            restarted[piece] = assembly.partial
        if restarted:
            self._cancel_all(restarted.values())
            self._picker.restart(*restarted)
        return set(restarted)

    def _cancel_all(self, partials: Iterable[PartialPiece]) -> None:
        """Cancel all requests for blocks of begun pieces."""
        shared: set[Block] = set()
        sole: dict[object, set[Block]] = {}
        for partial in partials:
            is_sole = partial.is_single_source
            blocks = sole.setdefault(partial.exclusive_to, set()) if is_sole else shared
            blocks.update(partial.requested())
        # The intersection goes through the smaller one. To look for each block at each peer took
        # 0.2 s for 40 pieces of 16 MiB.
        for peer in self._torrent.peers:
            owed = peer.connection.outstanding.keys()
            if late := (owed & shared) | (owed & sole.get(peer.identity, set())):
                peer.connection.sender.cancel_blocks(late)

    def _check_pace(self, peer: Peer, bytes_per_s: float) -> None:
        """Notice a peer that is too slow for pieces of its own, and let others have those."""
        picker, identity = self._picker, peer.identity
        if bytes_per_s >= self._least_whole_bytes_per_s:
            peer.slow_seconds = 0
        elif peer.connection.outstanding or picker.owns(identity):
            peer.slow_seconds += 1
            if peer.slow_seconds % SLOW_S == 0:
                self._take_from_slow(peer, bytes_per_s)
        else:
            peer.slow_seconds = 0

    def _take_from_slow(self, peer: Peer, bytes_per_s: float) -> None:
        patience_s, late = self._patience_s, list[int]()
        for partial in self._picker.owned_by(peer.identity):
            if not partial.is_single_source:
                self._picker.give_to(partial, None)
            elif (
                self._may_restart > 0  # else others are slow, too, and its turn comes
                and self._has_fast
                and partial.left * BLOCK_BYTES > patience_s * bytes_per_s
            ):
                if self._picker.is_end_game:  # with nothing else to begin it would begin it again
                    self._pass_on(partial, peer, to_fast=True)
                else:
                    self._may_restart -= partial.block_count
                    late.append(partial.piece)
        self._restart(late)

    def _check_sole(self, peer: Peer, now: float) -> None:
        """Pass on what is to come from a peer alone, once it cannot be asked for it any more."""
        for partial in self._picker.owned_by(peer.identity):
            piece = partial.piece
            assembly = self._assemblies.get(piece)
            if assembly is None or not partial.is_single_source:
                continue
            is_urgent = self._picker.is_end_game or piece in self._deadlines
            patience_s = LAST_PATIENCE_S if is_urgent else SOLE_PATIENCE_S
            if assembly.idle_s(now) >= patience_s and self._is_out_of_reach(peer, piece, now):
                self._pass_on(partial, peer)

    def _is_out_of_reach(self, peer: Peer, piece: int, now: float) -> bool:
        """Return whether a peer owes us nothing of a piece, and cannot be asked for it."""
        connection = peer.connection
        if any(block[0] == piece for block in connection.outstanding):
            return False
        if now < peer.quiet_until_s or not peer.pieces.has(piece):
            return True
        return connection.state.peer_choking and piece not in connection.state.allowed_fast_in

    def _pass_on(self, partial: PartialPiece, owner: Peer, *, to_fast: bool = False) -> None:
        """Begin a piece that has one sender again, with another one.

        Where only web seeds have it they are left to find it; where nobody has it stays.
        """
        piece = partial.piece
        if self._may_restart <= 0 or not self._picker.is_wanted(piece):
            return
        taker = self._taker(piece, owner, to_fast=to_fast)
        if taker is None and (to_fast or not self.urgent.others_have(piece)):
            return
        if not self._restart([piece]):
            return
        self._may_restart -= partial.block_count
        self._sole_turns.lost(owner.identity, self._clock())
        if taker is None:
            owner.quiet_until_s = max(owner.quiet_until_s, self._clock() + LAST_PATIENCE_S)
            return
        self._picker.begin(piece, taker.identity, is_single_source=True)
        self._begin(piece)
        if not taker.is_proven:
            self._on_trial(taker, piece)
        self.refill(taker)
        taker.link.flush()

    def _taker(self, piece: int, owner: Peer, *, to_fast: bool) -> Peer | None:
        """Return whose turn it is to send a piece in place of its owner."""
        able = [peer for peer in self._able if peer is not owner and peer.pieces.has(piece)]
        if to_fast:
            able = [peer for peer in able if peer.is_proven and not peer.slow_seconds]
        able.sort(key=self._place)
        now, unproven = self._clock(), self._unproven
        allowed = (
            peer
            for peer in able
            if peer.is_proven or unproven.max_new_pieces(peer.identity, now) > 0
        )
        return next(allowed, None)

    def _place(self, peer: Peer) -> tuple[bool, float]:
        is_trusted = peer.is_proven and peer.slow_seconds < SLOW_S
        return self._sole_turns.place(peer.identity, peer.connected_s, is_trusted=is_trusted)

    def _look_around(self, now: float) -> None:
        """Note who can be asked, and how fast everything comes."""
        self._slow_s = None
        peers = self._torrent.peers
        self._bytes_per_s = sum(peer.download_rate.rate(now) for peer in peers)
        self._unproven.blocks_per_s = self._bytes_per_s / BLOCK_BYTES
        proven, self._able = [], []
        for peer in peers:
            peer.is_proven = peer.is_proven or self._torrent.smart_ban.is_proven(peer.identity)
            state = peer.connection.state
            if state.am_interested and not state.peer_choking:
                if peer.is_proven:
                    proven.append(peer)
                if now >= peer.quiet_until_s:
                    self._able.append(peer)
        self._unproven.has_proven = bool(proven)
        self._has_fast = any(not peer.slow_seconds for peer in proven)

    def _begin(self, piece: int) -> PieceAssembly:
        partial, geometry = self._picker.partials[piece], self._torrent.metainfo.geometry
        assembly = PieceAssembly(partial, geometry, self._clock())
        self._assemblies[piece] = assembly
        return assembly

    def restore(self, piece: int, block_bits: int) -> None:
        """Resume a piece of which some blocks are on the disk from an earlier run."""
        partial = self._picker.begin(piece)
        assembly = self._begin(piece)
        for block in range(partial.block_count):
            if block_bits >> block & 1 and partial.receive(block):
                assembly.restore(block)
        if not partial.left:
            self._whole(assembly)

    # -- once a second ----------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Adapt pipelines, notice peers that owe us blocks, write old partial pieces ahead."""
        self._look_around(now)
        self._swarm.settle(SETTLED_PER_TICK)
        may_give_back = SNUBBED_BLOCKS_PER_TICK
        self._may_restart = RESTARTED_BLOCKS_PER_TICK
        for peer in tuple(self._torrent.peers):
            rate = peer.download_rate.rate(now)
            peer.pipeline.tick(rate)
            self._check_pace(peer, rate)
            if may_give_back > 0:  # else all of us were cut off, and a second later will do
                may_give_back -= self._check_snubbed(peer, now)
            if self.is_active:
                self._check_sole(peer, now)
            self.update_interest(peer)
            self.refill(peer)
            peer.link.flush()
        if self.is_active:  # not onto a full disk
            self._finisher.write_ahead(now, FLUSH_AGE_S, self.banned.pieces)
        if self.has_duplicates:
            partials = self._picker.partials.values()
            self.has_duplicates = any(partial.has_duplicates for partial in partials)

    def _check_snubbed(self, peer: Peer, now: float) -> int:
        """Give the requests of a silent peer back to others; return how many."""
        connection = peer.connection
        if not connection.outstanding and connection.incoming_block is None:
            peer.last_block_s = now
            return 0
        snub_timeout_s = self._torrent.shared_config.choker.snub_timeout_s
        if self._has_fast and not peer.is_proven:
            snub_timeout_s = min(snub_timeout_s, UNPROVEN_PATIENCE_S)
        if now - peer.last_block_s <= snub_timeout_s:
            return 0
        late = connection.state.outstanding_requests()
        connection.state.abandon(late)
        self._release(late)
        for partial in self._picker.owned_by(peer.identity):
            if partial.is_single_source:  # given back, it would be asked for it again
                self._pass_on(partial, peer)
        self._disown(peer.identity)
        peer.pipeline.snubbed()
        peer.next_duplicate_s = now + SNUBBED_PAUSE_S
        peer.last_block_s = now
        return len(late)

    def set_active(self, *, active: bool) -> None:
        """Begin or stop to ask peers."""
        self.is_active = active
        self.wanted_changed()

    def wanted_changed(self) -> None:
        """Look again at what every peer can be asked for."""
        for peer in tuple(self._torrent.peers):
            self.update_interest(peer)
            self.refill(peer)
            peer.link.flush()
