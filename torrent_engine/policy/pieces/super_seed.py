"""Super-seeding (BEP 16): which pieces are offered to which peer, each about once.

A few pieces that no peer has are revealed to each peer, and further ones once other peers have
those, which proves that the peer uploads them. A peer that claims all pieces is offered none, and
its claim is ignored when pieces are chosen for others, because it costs one message: a piece that
was never revealed cannot have spread. Source: BEP 16.
"""

import random
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from torrent_engine.base.config import SuperSeedConfig
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.policy.pieces.availability import Availability
from torrent_engine.policy.pieces.peer_pieces import PeerPieces, all_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

UNFETCHED_TIMEOUTS: Final = 3  # ours: timeouts after which a piece that was not fetched is freed
REVEALED_SHARE: Final = 32  # ours: of a small torrent, 1/32 is revealed to a peer at a time
SINGLE_PEER_FACTOR: Final = 4  # ours: as many times that if there is only one peer


@dataclass(slots=True)
class _Peer:
    """The pieces that one peer has and was offered."""

    pieces: PeerPieces
    revealed: int = 0
    waiting: dict[int, float] = field(default_factory=dict)
    """Revealed piece that no other peer has yet -> when it was revealed."""
    progress_s: float = 0.0
    """When it last completed a piece or was offered one."""


class SuperSeed:
    """The pieces revealed to each peer; peers are identified by keys, sets of pieces are bits."""

    def __init__(
        self,
        piece_count: int,
        piece_bytes: int,
        availability: Availability,
        config: SuperSeedConfig,
        rng: random.Random,
    ) -> None:
        self._piece_count = piece_count
        self._all = all_pieces(piece_count)
        self._availability = availability
        self._config = config
        self._rng = rng
        many = min(config.max_revealed_bytes // piece_bytes, piece_count // REVEALED_SHARE)
        self._max_revealed = max(config.max_revealed_pieces, many)
        single = min(
            config.single_peer_bytes // piece_bytes,
            SINGLE_PEER_FACTOR * piece_count // REVEALED_SHARE,
        )
        self._max_single_peer = max(self._max_revealed, single)
        self._peers: dict[object, _Peer] = {}
        self._owners: dict[int, dict[object, None]] = {}
        """Piece -> the peers it is revealed to, until another peer has it."""
        self._revealed = 0
        self._ever_revealed = 0
        self._remaining: dict[object, Iterator[int]] = {}
        """Peer -> pieces still to be announced to it after super-seeding."""
        self.is_over = False
        """Whether super-seeding has ended: all pieces are announced to all peers."""

    def joined(self, key: object, pieces: PeerPieces, now: float) -> None:
        """Add a peer that nothing is revealed to; ``pieces`` are those it has."""
        self._peers[key] = _Peer(pieces, progress_s=now)

    def left(self, key: object) -> None:
        """Remove a peer; pieces revealed only to it can be revealed to others."""
        peer = self._peers.pop(key, None)
        self._remaining.pop(key, None)
        if peer is not None:
            for piece in tuple(peer.waiting):
                self._stop_waiting(key, peer, piece)

    def has(self, key: object, piece: int, now: float) -> list[object]:
        """Handle a "have"; return the peers that further pieces may be revealed to."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        peer.progress_s = now
        ready = {key: None} if len(self._peers) == 1 else {}
        return list(ready | self._seen(key, piece))

    def has_several(self, key: object, now: float) -> list[object]:
        """Handle a message about all pieces of a peer; return as :meth:`has`."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        peer.progress_s = now
        ready = {key: None} if len(self._peers) == 1 else {}
        if not peer.pieces.has_all:
            for piece in [piece for piece in self._owners if peer.pieces.has(piece)]:
                ready |= self._seen(key, piece)
        return list(ready)

    def _seen(self, key: object, piece: int) -> dict[object, None]:
        """Record that a piece has spread; return the peers it was revealed to."""
        ready = dict.fromkeys(owner for owner in self._owners.get(piece, ()) if owner != key)
        for owner in ready:
            self._stop_waiting(owner, self._peers[owner], piece)
        return ready

    def pieces_to_reveal(self, key: object, now: float) -> list[int]:
        """Return the pieces to reveal to a peer now; they count as revealed."""
        peer = self._peers.get(key)
        if peer is None or self.is_over or peer.pieces.has_all:
            return []
        is_single = len(self._peers) == 1
        self._expire(key, peer, now, is_single=is_single)
        room = (self._max_single_peer if is_single else self._max_revealed) - len(peer.waiting)
        pieces: list[int] = []
        while len(pieces) < room and (piece := self._choose(peer, now)) is not None:
            pieces.append(piece)
            bit = 1 << piece
            peer.revealed |= bit
            self._ever_revealed |= bit
            peer.waiting[piece] = peer.progress_s = now
            self._owners.setdefault(piece, {})[key] = None
            self._revealed |= bit
        return pieces

    @property
    def is_announced(self) -> bool:
        """Whether super-seeding ended and all pieces were announced to every peer."""
        return self.is_over and not self._peers

    def next_announcement(self, most: int) -> tuple[object, list[int]] | None:
        """Return a peer and up to ``most`` pieces to announce to it; None when none are left.

        For use once :attr:`is_over`. One peer is completed before the next, because the list of
        its pieces takes a byte for each piece.
        """
        while self._peers:
            key, peer = next(iter(self._peers.items()))
            if key not in self._remaining:
                hidden = self._all ^ (self._all & (peer.pieces.bits | peer.revealed))
                self._remaining[key] = Bitfield.from_int(hidden, self._piece_count).present()
            if pieces := list(islice(self._remaining[key], most)):
                return key, pieces
            del self._peers[key], self._remaining[key]
        return None

    def _expire(self, key: object, peer: _Peer, now: float, *, is_single: bool) -> None:
        """Stop waiting for pieces that no other peer gets, or that this peer does not fetch."""
        patience_s = self._config.reveal_timeout_s
        for piece, revealed_s in tuple(peer.waiting.items()):
            is_fetched = peer.pieces.has(piece)
            age_s = now - revealed_s
            is_old = age_s >= (patience_s if is_fetched else patience_s * UNFETCHED_TIMEOUTS)
            if is_old or (is_single and is_fetched):
                self._stop_waiting(key, peer, piece)

    def _stop_waiting(self, key: object, peer: _Peer, piece: int) -> None:
        del peer.waiting[piece]
        owners = self._owners[piece]
        del owners[key]
        if not owners:
            del self._owners[piece]
            self._revealed ^= 1 << piece

    def _choose(self, peer: _Peer, now: float) -> int | None:
        """Choose a piece that no peer has and that is revealed to none.

        Otherwise one that was never revealed, whatever peers claim to have; otherwise, for a peer
        without progress, a rarest one.
        """
        hidden = self._all ^ (self._all & (peer.pieces.bits | peer.revealed))
        fresh = _without(self._availability.missing_of_leeches(hidden), self._revealed)
        if not fresh:
            fresh = _without(hidden, self._ever_revealed)
        if not fresh and now - peer.progress_s >= self._config.reveal_timeout_s:
            fresh = self._availability.rarest(hidden) if hidden else 0
        if not fresh:
            return None
        start = self._rng.randrange(fresh.bit_length())
        rest = fresh >> start
        return start + (rest & -rest).bit_length() - 1


def _without(bits: int, others: int) -> int:
    return bits ^ (bits & others)
