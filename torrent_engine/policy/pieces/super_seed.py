"""Super-seeding (BEP 16): which pieces are offered to which peer, each about once.

A few pieces that no peer has are revealed to each peer, and further ones once other peers have
those, which proves that the peer uploads them. A peer that claims all pieces is offered none, and
its claim is ignored when pieces are chosen for others, because it costs one message: a piece that
was never revealed cannot have spread. For the same reason a claim counts only once the peer that
the piece was revealed to has it, and one operator's claims only in proportion to what it took from
us, unless another operator says the same.

Peers that take nothing, although they are not choked, cost the others little: what they do not
fetch within one timeout is free for others again, and a peer that alone takes something is treated
as the only one. While no piece spreads at all, who takes is shown more without delay, so that the
upload rate is used. Source: BEP 16.
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
from torrent_engine.policy.pieces.takers import Takers

if TYPE_CHECKING:
    from collections.abc import Iterator

UNFETCHED_TIMEOUTS: Final = 3  # ours: after these a peer is shown others than those it leaves
REVEALED_SHARE: Final = 32  # ours: of a small torrent, 1/32 is revealed to a peer at a time
SINGLE_PEER_FACTOR: Final = 4  # ours: as many times that if there is only one peer
FIRST_CLAIMS: Final = 4  # ours: of an operator that took nothing from us; believed once
UNUSED_TIMEOUTS: Final = 1 / 8  # ours: a slot unused for so long: idle; less than a turn (3 s)
TAKEN_SHARE: Final = 8  # ours: 1/8 of a piece must be sent to a peer for each that need not spread
CLAIMS_PER_PIECE: Final = 32  # ours: and as many more for each piece that it took
MAX_CLAIMS: Final = 1_024  # ours: of an operator that is not believed yet
MAX_OPERATORS: Final = 4_096  # ours: remembered, half a megabyte
_BYTE_WITH_BITS: Final = re.compile(rb"[^\0]")


def _nothing() -> int:
    return 0


def _never() -> bool:
    return False


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
    waits_for_us: Callable[[], bool]
    """Whether it can take nothing because of us: it is choked or held back."""
    counted_bytes: int = 0
    """How much of that is counted at its operator."""
    revealed: int = 0
    waiting: dict[int, float] = field(default_factory=dict)
    """Revealed piece that no other peer has yet -> when it was revealed."""
    progress_s: float = 0.0
    """When it last completed a piece or was offered one."""
    fed_s: float = 0.0
    """When it last completed a piece that it was not waiting for: others feed it."""
    looked_s: float = 0.0
    """When ``unused_s`` was last counted."""
    unused_s: float = 0.0
    """For how long it could take what it was shown, after a timeout in which it took nothing."""
    unspread: int = 0
    """Number of pieces after which it was shown others, although they had not spread."""


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
        """Piece -> the peers that it is kept for, until another peer has it."""
        self._operators: dict[str, _Operator] = {}
        self._claims: dict[int, str] = {}
        """Piece of an owner that has it -> the operator alone in saying that it spread."""
        self._takers = Takers(config.reveal_timeout_s)
        self._spread_s = 0.0
        """When a piece was last believed to have spread."""
        self._fed_s = float("-inf")
        """When a peer that took something from us was last fed by others."""
        self._revealed = 0
        """Pieces that are kept for somebody."""
        self._may_have_left = 0
        """Pieces that were revealed, but not those that only idle peers were shown."""
        self._fetched = 0
        """Pieces that a peer has to which they were revealed."""
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
        waits_for_us: Callable[[], bool] = _never,
    ) -> None:
        """Add a peer that nothing is revealed to; ``pieces`` are those it has.

        ``operator`` is that of its address, ``uploaded_bytes`` returns how much we sent to it,
        ``waits_for_us`` whether it can take nothing because of us: it is choked or held back.
        """
        if not self._peers:
            self._spread_s = now
        peer = _Peer(pieces, operator, uploaded_bytes, waits_for_us)
        peer.progress_s = peer.fed_s = peer.looked_s = now
        self._peers[key] = peer
        self._takers.joined(key, uploaded_bytes)

    def left(self, key: object) -> None:
        """Remove a peer; pieces revealed only to it can be revealed to others."""
        peer = self._peers.pop(key, None)
        self._remaining.pop(key, None)
        self._takers.left(key)
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
        if piece not in peer.waiting:
            peer.fed_s = now
            if self._taken_pieces(self._operator_of(peer)):  # else its word costs nothing
                self._fed_s = now
        ready = {key: None} if self._goes_on(key, now) else {}
        return list(ready | self._seen(key, (piece,), now))

    def has_several(self, key: object, now: float) -> list[object]:
        """Handle a message about all pieces of a peer; return as :meth:`has`."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        peer.progress_s = peer.fed_s = now
        ready = {key: None} if self._goes_on(key, now) else {}
        if not peer.pieces.has_all:
            ready |= self._seen(key, [each for each in self._owners if peer.pieces.has(each)], now)
        return list(ready)

    def _seen(self, key: object, pieces: Collection[int], now: float) -> dict[object, None]:
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
        if spread:
            self._spread_s = now
        freed = list[int]()
        for owner, its_pieces in spread.items():
            freed += self._forget_waiting(owner, self._peers[owner], its_pieces)
        self._revealed ^= bits_of(freed)
        self._fetched |= bits_of({piece for its_pieces in spread.values() for piece in its_pieces})
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
        self._takers.look(now)
        self._expire(key, peer, now)
        most = self._max_single_peer if self._is_single(key) else self._max_revealed
        return most - len(peer.waiting)

    def _is_single(self, key: object) -> bool:
        """Return whether a peer must download everything from us, for no other one takes much."""
        return len(self._peers) == 1 or self._takers.is_sole(key)

    def _goes_on(self, key: object, now: float) -> bool:
        """Return whether a peer is shown more as soon as it has something, spread or not."""
        patience_s = self._config.reveal_timeout_s
        return len(self._peers) == 1 or (
            self._takers.is_taking(key, patience_s, now)
            and (self._takers.is_sole(key) or now - self._spread_s >= patience_s)
        )

    def pieces_to_reveal(self, key: object, now: float) -> list[int]:
        """Return the pieces to reveal to a peer now; they count as revealed.

        Looks at all pieces a few times, however many it returns.
        """
        room, pieces = self._room_of(key, now), list[int]()
        while len(pieces) < room:
            peer = self._peers[key]
            if not (chosen := self._choose(key, peer, room - len(pieces), now)):
                break
            pieces += chosen
            bits = bits_of(chosen)
            peer.revealed |= bits
            peer.progress_s = now
            peer.waiting |= dict.fromkeys(chosen, now)
            if not self._is_idle(peer):
                self._keep(key, chosen, bits)
        return pieces

    def _keep(self, key: object, pieces: Collection[int], bits: int) -> None:
        """Reveal pieces to no others for now."""
        self._may_have_left |= bits
        self._revealed |= bits
        for piece in pieces:
            self._owners.setdefault(piece, {})[key] = None

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

    def _expire(self, key: object, peer: _Peer, now: float) -> None:
        """Stop waiting for pieces that no other peer gets, or that this peer does not fetch."""
        patience_s, goes_on = self._config.reveal_timeout_s, self._goes_on(key, now)
        expired, unfetched = list[int](), list[int]()
        for piece, revealed_s in peer.waiting.items():
            age_s = now - revealed_s
            if peer.pieces.has(piece):
                if age_s >= patience_s or (goes_on and self._may_leave_unspread(peer)):
                    expired.append(piece)
                continue
            unfetched.append(piece)
            if age_s >= patience_s * UNFETCHED_TIMEOUTS:
                expired.append(piece)
        self._count_unused(key, peer, now, lacks_some=bool(unfetched))
        if self._is_idle(peer):
            self._free_unfetched(
                key, [piece for piece in unfetched if now - peer.waiting[piece] >= patience_s]
            )
        self._stop_waiting(key, peer, expired)

    def _count_unused(self, key: object, peer: _Peer, now: float, *, lacks_some: bool) -> None:
        """Count the time in which a peer that lacks some of what it was shown could take it."""
        passed_s, peer.looked_s = now - peer.looked_s, now
        if not lacks_some or self._takers.is_taking(key, self._config.reveal_timeout_s, now):
            peer.unused_s = 0.0
        elif not peer.waits_for_us():
            peer.unused_s += passed_s

    def _is_idle(self, peer: _Peer) -> bool:
        """Return whether a peer took nothing although it could: no piece is kept for it."""
        return peer.unused_s >= self._config.reveal_timeout_s * UNUSED_TIMEOUTS

    def _free_unfetched(self, key: object, pieces: Collection[int]) -> None:
        """Let others have what was kept for an idle peer; it has not left us."""
        if freed := bits_of(self._give_up(key, pieces)):
            self._revealed ^= freed
            self._may_have_left = _without(self._may_have_left, _without(freed, self._fetched))

    def _may_leave_unspread(self, peer: _Peer) -> bool:
        """Return whether a peer took enough to go on with one more piece that did not spread."""
        taken_bytes = TAKEN_SHARE * peer.uploaded_bytes()
        if len(self._peers) > 1 and peer.unspread * self._piece_bytes >= taken_bytes:
            return False
        peer.unspread += 1
        return True

    def _stop_waiting(self, key: object, peer: _Peer, pieces: Collection[int]) -> None:
        if pieces:
            self._fetched |= bits_of([piece for piece in pieces if peer.pieces.has(piece)])
            self._revealed ^= bits_of(self._forget_waiting(key, peer, pieces))

    def _forget_waiting(self, key: object, peer: _Peer, pieces: Collection[int]) -> list[int]:
        """Stop waiting for pieces; return those that are kept for nobody now."""
        for piece in pieces:
            del peer.waiting[piece]
        return self._give_up(key, pieces)

    def _give_up(self, key: object, pieces: Collection[int]) -> list[int]:
        """Keep pieces for a peer no longer; return those that are kept for nobody now."""
        freed = list[int]()
        for piece in pieces:
            owners = self._owners.get(piece)
            if owners is None or key not in owners:
                continue
            del owners[key]
            if not owners:
                del self._owners[piece]
                self._claims.pop(piece, None)
                freed.append(piece)
        return freed

    def _choose(self, key: object, peer: _Peer, count: int, now: float) -> list[int]:
        """Choose up to ``count`` pieces that no peer has and that are kept for none.

        Otherwise some that cannot have left us, whatever peers claim to have; otherwise the rarest:
        one for a peer without progress, and as many as it takes while no peer is fed by another.
        """
        patience_s = self._config.reveal_timeout_s
        hidden = self._all ^ (self._all & (peer.pieces.bits | peer.revealed))
        fresh = _without(self._availability.missing_of_leeches(hidden), self._revealed)
        if not fresh:
            fresh = _without(hidden, self._may_have_left)
        if not fresh and hidden:
            fed_s = max(peer.fed_s, self._fed_s)
            if self._goes_on(key, now) and now - fed_s >= patience_s:
                fresh = self._availability.rarest(hidden)
            elif now - peer.progress_s >= patience_s:
                fresh, count = self._availability.rarest(hidden), 1
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
