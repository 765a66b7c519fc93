"""Super-seeding (BEP 16): which pieces are offered to which peer, each about once.

A few pieces that no peer has are revealed to each peer, and further ones once other peers have
those, which proves that the peer uploads them. A peer that claims all pieces is offered none, and
its claim is ignored when pieces are chosen for others, because it costs one message: a piece that
was never revealed cannot have spread. Source: BEP 16.
"""

import random
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from torrent_engine.base.config import SuperSeedConfig
from torrent_engine.codec.bitfield import Bitfield, bits_of
from torrent_engine.policy.pieces.availability import Availability
from torrent_engine.policy.pieces.peer_pieces import PeerPieces, all_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

UNFETCHED_TIMEOUTS: Final = 3  # ours: timeouts after which a piece that was not fetched is freed
REVEALED_SHARE: Final = 32  # ours: of a small torrent, 1/32 is revealed to a peer at a time
SINGLE_PEER_FACTOR: Final = 4  # ours: as many times that if there is only one peer
_BYTE_WITH_BITS: Final = re.compile(rb"[^\0]")


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
            self._stop_waiting(key, peer, tuple(peer.waiting))

    def has(self, key: object, piece: int, now: float) -> list[object]:
        """Handle a "have"; return the peers that further pieces may be revealed to."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        peer.progress_s = now
        ready = {key: None} if len(self._peers) == 1 else {}
        return list(ready | self._seen(key, (piece,)))

    def has_several(self, key: object, now: float) -> list[object]:
        """Handle a message about all pieces of a peer; return as :meth:`has`."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        peer.progress_s = now
        ready = {key: None} if len(self._peers) == 1 else {}
        if not peer.pieces.has_all:
            ready |= self._seen(key, [each for each in self._owners if peer.pieces.has(each)])
        return list(ready)

    def _seen(self, key: object, pieces: Collection[int]) -> dict[object, None]:
        """Record that pieces have spread; return the peers they were revealed to."""
        spread: dict[object, list[int]] = {}
        for piece in pieces:
            for owner in self._owners.get(piece, ()):
                if owner != key:
                    spread.setdefault(owner, []).append(piece)
        freed = list[int]()
        for owner, its_pieces in spread.items():
            freed += self._forget_waiting(owner, self._peers[owner], its_pieces)
        self._revealed ^= bits_of(freed)
        return dict.fromkeys(spread)

    def wants_more(self, key: object, now: float) -> bool:
        """Return whether pieces may be revealed to a peer now; the cheap part of that."""
        return self._room_of(key, now) > 0

    def _room_of(self, key: object, now: float) -> int:
        peer = self._peers.get(key)
        if peer is None or self.is_over or peer.pieces.has_all:
            return 0
        is_single = len(self._peers) == 1
        self._expire(key, peer, now, is_single=is_single)
        return (self._max_single_peer if is_single else self._max_revealed) - len(peer.waiting)

    def pieces_to_reveal(self, key: object, now: float) -> list[int]:
        """Return the pieces to reveal to a peer now; they count as revealed.

        Looks at all pieces a few times, however many it returns.
        """
        room, pieces = self._room_of(key, now), list[int]()
        while len(pieces) < room:
            peer = self._peers[key]
            if not (chosen := self._choose(peer, room - len(pieces), now)):
                break
            pieces += chosen
            bits = bits_of(chosen)
            peer.revealed |= bits
            self._ever_revealed |= bits
            self._revealed |= bits
            peer.progress_s = now
            for piece in chosen:
                peer.waiting[piece] = now
                self._owners.setdefault(piece, {})[key] = None
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
        patience_s, expired = self._config.reveal_timeout_s, list[int]()
        for piece, revealed_s in peer.waiting.items():
            is_fetched = peer.pieces.has(piece)
            age_s = now - revealed_s
            is_old = age_s >= (patience_s if is_fetched else patience_s * UNFETCHED_TIMEOUTS)
            if is_old or (is_single and is_fetched):
                expired.append(piece)
        self._stop_waiting(key, peer, expired)

    def _stop_waiting(self, key: object, peer: _Peer, pieces: Collection[int]) -> None:
        if pieces:
            self._revealed ^= bits_of(self._forget_waiting(key, peer, pieces))

    def _forget_waiting(self, key: object, peer: _Peer, pieces: Collection[int]) -> list[int]:
        """Stop waiting for pieces; return those that are revealed to nobody now."""
        freed = list[int]()
        for piece in pieces:
            del peer.waiting[piece]
            owners = self._owners[piece]
            del owners[key]
            if not owners:
                del self._owners[piece]
                freed.append(piece)
        return freed

    def _choose(self, peer: _Peer, count: int, now: float) -> list[int]:
        """Choose up to ``count`` pieces that no peer has and that are revealed to none.

        Otherwise some that were never revealed, whatever peers claim to have; otherwise, for a peer
        without progress, one of the rarest.
        """
        hidden = self._all ^ (self._all & (peer.pieces.bits | peer.revealed))
        fresh = _without(self._availability.missing_of_leeches(hidden), self._revealed)
        if not fresh:
            fresh = _without(hidden, self._ever_revealed)
        if not fresh and now - peer.progress_s >= self._config.reveal_timeout_s:
            fresh, count = self._availability.rarest(hidden) if hidden else 0, 1
        return _some_of(fresh, count, self._rng)


def _some_of(bits: int, count: int, rng: random.Random) -> list[int]:
    """Return up to ``count`` of these pieces, from random places."""
    if count == 1 and bits:
        start = rng.randrange(bits.bit_length())
        rest = bits >> start
        return [start + (rest & -rest).bit_length() - 1]
    data, found = bytearray(bits.to_bytes((bits.bit_length() + 7) // 8, "little")), list[int]()
    while len(found) < count and data:
        start = rng.randrange(len(data))
        hit = _BYTE_WITH_BITS.search(data, start) or _BYTE_WITH_BITS.search(data, 0, start)
        if hit is None:
            break
        at = hit.start()
        lowest = data[at] & -data[at]
        data[at] ^= lowest
        found.append(8 * at + lowest.bit_length() - 1)
    return found


def _without(bits: int, others: int) -> int:
    return bits ^ (bits & others)
