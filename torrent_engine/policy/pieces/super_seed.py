"""Super-seeding (BEP 16): which pieces are offered to which peer, each about once.

A few pieces that no peer has are revealed to each peer, and further ones once other peers have
those, which proves that the peer uploads them. A peer that claims all pieces is offered none, and
its claim is ignored when pieces are chosen for others, because it costs one message: a piece that
was never revealed cannot have spread. For the same reason a claim counts only once the peer that
the piece was revealed to has it, and one operator's claims only in proportion to what it took from
us, unless another operator says the same. Source: BEP 16.
"""

import random
import re
from collections.abc import Callable, Collection
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
FIRST_CLAIMS: Final = 4  # ours: of an operator that took nothing from us; believed once
CLAIMS_PER_PIECE: Final = 32  # ours: and as many more for each piece that it took
MAX_CLAIMS: Final = 1_024  # ours: of an operator that is not believed yet
MAX_OPERATORS: Final = 4_096  # ours: remembered, half a megabyte
_BYTE_WITH_BITS: Final = re.compile(rb"[^\0]")


def _nothing() -> int:
    return 0


@dataclass(slots=True)
class _Operator:
    """What all peers of one address took from us, and how often their word counted."""

    taken_bytes: int = 0
    used_claims: int = 0
    claims: dict[int, None] = field(default_factory=dict)
    """Pieces that it claims, and is not believed yet; some of them."""


@dataclass(slots=True)
class _Peer:
    """The pieces that one peer has and was offered."""

    pieces: PeerPieces
    operator: str
    uploaded_bytes: Callable[[], int]
    """How much we sent to it."""
    counted_bytes: int = 0
    """How much of that is counted at its operator."""
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
        self._piece_bytes = piece_bytes
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
        self._operators: dict[str, _Operator] = {}
        self._claims: dict[int, str] = {}
        """Piece of an owner that has it -> the operator alone in saying that it spread."""
        self._revealed = 0
        self._ever_revealed = 0
        self._remaining: dict[object, Iterator[int]] = {}
        """Peer -> pieces still to be announced to it after super-seeding."""
        self.is_over = False
        """Whether super-seeding has ended: all pieces are announced to all peers."""

    def joined(
        self,
        key: object,
        pieces: PeerPieces,
        now: float,
        operator: str,
        uploaded_bytes: Callable[[], int] = _nothing,
    ) -> None:
        """Add a peer that nothing is revealed to; ``pieces`` are those it has.

        ``operator`` is that of its address, ``uploaded_bytes`` returns how much we sent to it.
        """
        self._peers[key] = _Peer(pieces, operator, uploaded_bytes, progress_s=now)

    def left(self, key: object) -> None:
        """Remove a peer; pieces revealed only to it can be revealed to others."""
        peer = self._peers.pop(key, None)
        self._remaining.pop(key, None)
        if peer is not None:
            if peer.uploaded_bytes():
                self._operator_of(peer)
            self._stop_waiting(key, peer, tuple(peer.waiting))

    def is_another_seed_likely(self) -> bool:
        """Return whether a peer claims to have everything, and that is likely.

        It is if another operator claims the same, or if it took its share from us.
        """
        seeds = [peer for peer in self._peers.values() if peer.pieces.has_all]
        if len({peer.operator for peer in seeds}) > 1:
            return True
        return any(
            self._taken_pieces(self._operator_of(peer)) * CLAIMS_PER_PIECE >= self._piece_count
            for peer in seeds
        )

    def _operator_of(self, peer: _Peer) -> _Operator:
        """Return the operator of a peer, with what the peer took by now."""
        operator = self._operators.setdefault(peer.operator, _Operator())
        if len(self._operators) > MAX_OPERATORS:
            del self._operators[next(iter(self._operators))]
        uploaded_bytes = peer.uploaded_bytes()
        operator.taken_bytes += uploaded_bytes - peer.counted_bytes
        peer.counted_bytes = uploaded_bytes
        return operator

    def _taken_pieces(self, operator: _Operator) -> int:
        return operator.taken_bytes // self._piece_bytes

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
        name, operator = self._peers[key].operator, self._operator_of(self._peers[key])
        before = list(islice(operator.claims, self._credit(operator)))  # they may count now
        for piece in before:
            del operator.claims[piece]
        spread: dict[object, list[int]] = {}
        for piece in dict.fromkeys((*pieces, *before)):
            owners = self._owners.get(piece, ())
            fed = [who for who in owners if who != key and self._peers[who].pieces.has(piece)]
            if fed and self._is_believed(name, operator, piece):
                for owner in fed:
                    spread.setdefault(owner, []).append(piece)
        freed = list[int]()
        for owner, its_pieces in spread.items():
            freed += self._forget_waiting(owner, self._peers[owner], its_pieces)
        self._revealed ^= bits_of(freed)
        return dict.fromkeys(spread)

    def _is_believed(self, name: str, operator: _Operator, piece: int) -> bool:
        """Return whether an operator's claim to have a piece counts."""
        if self._claims.setdefault(piece, name) != name:
            return True
        if self._credit(operator):
            operator.used_claims += 1
            return True
        if len(operator.claims) < MAX_CLAIMS:
            operator.claims[piece] = None
        return False

    def _credit(self, operator: _Operator) -> int:
        """Return how many claims of an operator may count now."""
        most = FIRST_CLAIMS + CLAIMS_PER_PIECE * self._taken_pieces(operator)
        return max(most - operator.used_claims, 0)

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
                self._claims.pop(piece, None)
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
