"""Which pieces a seed shows to whom, so that it sends each of them about once.

A peer is shown few pieces that nobody has, and the next ones when somebody else has those: then it
passes on what it gets. Who claims to have everything at once is shown nothing and changes nothing
for the others: a claim costs one message. A piece that was shown to nobody has not left us.
Source: BEP 16.
"""

import random
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from torrent_engine.base.config import SuperSeedConfig
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.policy.availability import Availability
from torrent_engine.policy.peer_pieces import PeerPieces, all_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

FORGET_AFTER: Final = (
    3  # ours: of the patience; who has not fetched a piece by then may not want it
)
SHARE: Final = 32  # ours: a peer is shown one piece in so many at a time, of a small torrent
LONELY: Final = 4  # ours: and so many times that while it is the only one


@dataclass(slots=True)
class _Peer:
    """What one peer has, and was shown."""

    pieces: PeerPieces
    shown: int = 0
    waiting: dict[int, float] = field(default_factory=dict)
    """Pieces that it was shown and nobody else has yet, and when."""
    fed_s: float = 0.0
    """When it last got a piece, from anybody, or was shown one."""


class SuperSeed:
    """What each peer was shown; peers are known by keys, several pieces are bits."""

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
        many = min(config.at_a_time_bytes // piece_bytes, piece_count // SHARE)
        self._at_a_time = max(config.pieces_at_a_time, many)
        lonely = min(config.lonely_bytes // piece_bytes, LONELY * piece_count // SHARE)
        self._lonely = max(self._at_a_time, lonely)
        self._peers: dict[object, _Peer] = {}
        self._owners: dict[int, dict[object, None]] = {}
        """Who waits for each piece to be seen elsewhere."""
        self._out = 0
        self._ever_shown = 0
        self._rests: dict[object, Iterator[int]] = {}
        """What the peers are still to be shown, once it is over."""
        self.is_over = False
        """Everything is shown to everybody."""

    def joined(self, key: object, pieces: PeerPieces, now: float) -> None:
        """Take a peer that was shown nothing; ``pieces`` always says what it has."""
        self._peers[key] = _Peer(pieces, fed_s=now)

    def left(self, key: object) -> None:
        """Forget a peer; what only it was shown is shown to others."""
        peer = self._peers.pop(key, None)
        self._rests.pop(key, None)
        if peer is not None:
            for piece in tuple(peer.waiting):
                self._settle(key, peer, piece)

    def has(self, key: object, piece: int, now: float) -> list[object]:
        """Take a piece that a peer has now; return whom there may be something to show now."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        peer.fed_s = now
        fed = {key: None} if len(self._peers) == 1 else {}
        return list(fed | self._seen(key, piece))

    def has_several(self, key: object, now: float) -> list[object]:
        """Take all the pieces that a peer has; return as :meth:`has`."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        peer.fed_s = now
        fed = {key: None} if len(self._peers) == 1 else {}
        if not peer.pieces.has_all:
            for piece in [piece for piece in self._owners if peer.pieces.has(piece)]:
                fed |= self._seen(key, piece)
        return list(fed)

    def _seen(self, key: object, piece: int) -> dict[object, None]:
        """Take that a piece is elsewhere than at those it was shown to; return who they are."""
        fed = dict.fromkeys(owner for owner in self._owners.get(piece, ()) if owner != key)
        for owner in fed:
            self._settle(owner, self._peers[owner], piece)
        return fed

    def to_show(self, key: object, now: float) -> list[int]:
        """Return the pieces to show to a peer now; they count as shown."""
        peer = self._peers.get(key)
        if peer is None or self.is_over or peer.pieces.has_all:
            return []
        is_lonely = len(self._peers) == 1
        self._settle_old(key, peer, now, is_lonely=is_lonely)
        room = (self._lonely if is_lonely else self._at_a_time) - len(peer.waiting)
        pieces: list[int] = []
        while len(pieces) < room and (piece := self._choose(peer, now)) is not None:
            pieces.append(piece)
            bit = 1 << piece
            peer.shown |= bit
            self._ever_shown |= bit
            peer.waiting[piece] = peer.fed_s = now
            self._owners.setdefault(piece, {})[key] = None
            self._out |= bit
        return pieces

    @property
    def is_told(self) -> bool:
        """Whether it is over and everybody was shown everything."""
        return self.is_over and not self._peers

    def rest(self, most: int) -> tuple[object, list[int]] | None:
        """Return a peer and up to ``most`` pieces that it lacks and was not shown; None: all told.

        To be called once :attr:`is_over`. One peer is told everything, then the next: what a
        peer lacks takes a byte a piece while it is told.
        """
        while self._peers:
            key, peer = next(iter(self._peers.items()))
            if key not in self._rests:
                hidden = self._all ^ (self._all & (peer.pieces.bits | peer.shown))
                self._rests[key] = Bitfield.from_int(hidden, self._piece_count).present()
            if pieces := list(islice(self._rests[key], most)):
                return key, pieces
            del self._peers[key], self._rests[key]
        return None

    def _settle_old(self, key: object, peer: _Peer, now: float, *, is_lonely: bool) -> None:
        """Wait no more for pieces that nobody else fetches, or that this peer does not."""
        patience_s = self._config.patience_s
        for piece, shown_s in tuple(peer.waiting.items()):
            is_here = peer.pieces.has(piece)
            age_s = now - shown_s
            is_old = age_s >= (patience_s if is_here else patience_s * FORGET_AFTER)
            if is_old or (is_lonely and is_here):
                self._settle(key, peer, piece)

    def _settle(self, key: object, peer: _Peer, piece: int) -> None:
        del peer.waiting[piece]
        owners = self._owners[piece]
        del owners[key]
        if not owners:
            del self._owners[piece]
            self._out ^= 1 << piece

    def _choose(self, peer: _Peer, now: float) -> int | None:
        """Choose a piece that nobody has and nobody else was shown; any rare one for the hungry.

        A piece that never left us comes before that, whatever peers claim to have.
        """
        hidden = self._all ^ (self._all & (peer.pieces.bits | peer.shown))
        fresh = _without(self._availability.missing_of_leeches(hidden), self._out)
        if not fresh:
            fresh = _without(hidden, self._ever_shown)
        if not fresh and now - peer.fed_s >= self._config.patience_s:
            fresh = self._availability.rarest(hidden) if hidden else 0
        if not fresh:
            return None
        start = self._rng.randrange(fresh.bit_length())
        rest = fresh >> start
        return start + (rest & -rest).bit_length() - 1


def _without(bits: int, others: int) -> int:
    return bits ^ (bits & others)
