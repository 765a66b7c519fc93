"""The piece picker: which blocks are requested from a peer next.

Order: pieces with a deadline, earliest first; then partial pieces (strict priority); then a new
piece of the highest priority, among those a rarest one, chosen at random (in sequential mode: the
lowest). A partial piece is open to all peers or exclusive to one; a piece that failed its hash
check is always exclusive. When no piece is left to start, peers get blocks of others' exclusive
pieces, and at the very end duplicate requests (end game). Source: BEP 3, "Pieces"; the rest is
common practice of clients.
"""

import random
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.codec.bitfield import bits_of_flags
from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.pieces.availability import Availability
from torrent_engine.policy.pieces.deadlines import Deadlines
from torrent_engine.policy.pieces.piece_table import Block, PartialPiece, PieceTable
from torrent_engine.policy.pieces.twins import WaitingTwins
from torrent_engine.policy.pieces.web_seed_plan import choose_range

DEFAULT_PRIORITY: Final = 4
RANDOM_FIRST_PIECES: Final = 4  # random first, to have something to upload soon
END_GAME_BLOCKS: Final = 16  # ours: duplicate requests to one peer at a time
MAX_END_GAME_REQUESTS: Final = 2  # ours: peers that a block is requested from at a time
EXTENT_BYTES: Final = (
    4 * 1024 * 1024
)  # ours: neighbouring small pieces started together (as piece extents)
LOW_WORD: Final = (1 << 60) - 1
FEW_PIECES: Final = 8  # up to this many are tested by shifting the int


Shelf = OrderedDict[int, "PartialPiece"]


class SuspectPieces:
    """The pieces that failed their hash check and are not complete yet."""

    __slots__ = ("bits",)

    def __init__(self) -> None:
        self.bits = 0
        """The pieces, as bits."""

    def hash_failed(self, piece: int) -> None:
        """Add a piece: from now on its blocks are requested from a single peer."""
        self.bits |= 1 << piece

    def hash_passed(self, piece: int) -> None:
        """Remove a piece if it is suspect."""
        if self.bits:
            self.bits &= ~(1 << piece)

    def __contains__(self, piece: int) -> bool:
        """Return whether a piece is suspect."""
        return bool(self.bits >> piece & 1)


class Picker:
    """The choice of the blocks to request: partial pieces, priorities and deadlines."""

    def __init__(
        self,
        geometry: Geometry,
        table: PieceTable,
        rng: random.Random,
        *,
        is_sequential: bool = False,
    ) -> None:
        self._geometry = geometry
        self._table = table
        self._rng = rng
        self.is_sequential = is_sequential
        self.sequential_from = 0
        """The piece at which sequential mode begins; those before it come last."""
        self._edges = 0
        self.availability = Availability()
        self.deadlines = Deadlines()
        self.twins = WaitingTwins()
        self.partials: dict[int, PartialPiece] = {}
        self._begun = 0  # the keys of partials, as bits
        # Pieces with free blocks, open to all and exclusive ones by their owner; oldest first. A
        # thousand requests that are released at once each put a piece in front of all others.
        self._open: Shelf = OrderedDict()
        self._owned: dict[object, Shelf] = {}
        self._exclusive: dict[object, dict[int, PartialPiece]] = {}  # all pieces of each owner
        self.suspects = SuspectPieces()
        self._extent_pieces = max(1, EXTENT_BYTES // geometry.piece_bytes)
        self._all = (1 << geometry.piece_count) - 1
        self._by_priority: list[int] = [self._all]  # highest first, skipped pieces left out
        self._priorities = bytes([DEFAULT_PRIORITY]) * geometry.piece_count
        self.wanted: int = self._all
        """Every piece whose priority is not 0, as bits."""

    def set_priorities(self, priorities: Sequence[int]) -> None:
        """Set the priority of every piece: 0 skips it, higher ones are picked earlier.

        Partial pieces with priority 0 get no further requests. Raises LocalProtocolError unless
        there is one priority for each piece.
        """
        if len(priorities) != self._geometry.piece_count:
            message = f"{len(priorities)} priorities for {self._geometry.piece_count} pieces"
            raise LocalProtocolError(message)
        self._priorities = bytes(priorities)
        levels = sorted(set(self._priorities) - {0}, reverse=True)
        self._by_priority = [self._level(level) for level in levels]
        self.wanted = 0
        for bits in self._by_priority:
            self.wanted |= bits
        self._put_edges_first()
        self._open, self._owned = OrderedDict(), {}
        for piece, partial in self.partials.items():
            if partial.has_free and self._priorities[piece]:
                self._shelf(partial.exclusive_to)[piece] = partial

    def set_edges(self, bits: int) -> None:
        """Set the pieces that come before all others, if they are wanted; 0: none."""
        self._edges = bits
        self.set_priorities(self._priorities)

    def _put_edges_first(self) -> None:
        if edges := self._edges & self.wanted:
            self._by_priority.insert(0, edges)

    def _level(self, priority: int) -> int:
        """Return the pieces of one priority."""
        if self._priorities.count(priority) == len(self._priorities):
            return self._all
        chosen = bytes(priority).ljust(priority + 1, b"\x01").ljust(256, b"\0")
        return bits_of_flags(self._priorities.translate(chosen))

    def is_wanted(self, piece: int) -> bool:
        """Return whether the priority of a piece is not 0."""
        return self._priorities[piece] > 0

    def lacks(self, piece: int) -> bool:
        """Return whether a piece is wanted and not complete; False for an index below 0."""
        if piece < 0 or not self._priorities[piece]:
            return False
        return piece in self.partials or self._table.is_missing(piece)

    @property
    def lacking(self) -> int:
        """The wanted pieces that are missing or begun, as bits."""
        return self.wanted & (self._table.missing | self._begun)

    def interesting_piece(self, bits: int) -> int:
        """Return a wanted, incomplete piece of ``bits``; -1 if there is none."""
        wanted = bits & self.wanted
        if wanted:
            wanted &= self._table.missing | self._begun
        return wanted.bit_length() - 1

    @property
    def is_end_game(self) -> bool:
        """Whether every wanted piece is started, or waits for one of the same content."""
        return not self._table.missing & self.wanted & ~self.twins.bits

    @property
    def startable(self) -> int:
        """The missing pieces that do not wait, as bits."""
        waiting = self.twins.bits
        return self._table.missing & ~waiting if waiting else self._table.missing

    def begin(
        self, piece: int, owner: object = None, *, is_single_source: bool = False
    ) -> PartialPiece:
        """Start a missing piece without requesting a block."""
        partial = self._begin(piece, owner, is_single_source=is_single_source)
        self._note_begun(piece)
        if self._priorities[piece]:
            self._shelf(owner)[piece] = partial
        return partial

    def _begin(self, piece: int, owner: object, *, is_single_source: bool) -> PartialPiece:
        """Start a piece; the caller picks blocks, shelves it, and notes all that were started."""
        partial = PartialPiece(self._geometry, piece)
        partial.is_single_source = is_single_source
        if owner is not None:
            self._set_owner(partial, owner)
        self.partials[piece] = partial
        self.twins.begun(piece)
        return partial

    def _note_begun(self, *pieces: int) -> None:
        """Take pieces that were started from those that are missing."""
        self._begun |= self._table.begun(*pieces)

    def finished(self, piece: int) -> None:
        """Remove a complete partial piece."""
        self._remove(piece)
        self._begun ^= 1 << piece

    def _remove(self, piece: int) -> None:
        partial = self.partials.pop(piece)
        self._unshelve(partial)  # also if its last free block came unasked for
        if partial.exclusive_to is not None:
            self._set_owner(partial, None)

    def _begin_for(self, piece: int, key: object, only_for: object, owner: object) -> PartialPiece:
        """Start a piece for a peer; with a single source if the peer or the piece is suspect.

        The caller shelves it.
        """
        if only_for is not None:
            return self._begin(piece, only_for, is_single_source=True)
        if self.suspects.bits and key is not None and piece in self.suspects:
            return self._begin(piece, key, is_single_source=True)
        return self._begin(piece, owner, is_single_source=False)

    def _set_owner(self, partial: PartialPiece, key: object) -> None:
        if (owner := partial.exclusive_to) is not None:
            del self._exclusive[owner][partial.piece]
            if not self._exclusive[owner]:
                del self._exclusive[owner]
        partial.exclusive_to = key
        if key is not None:
            self._exclusive.setdefault(key, {})[partial.piece] = partial

    def _shelf(self, owner: object) -> Shelf:
        """Return the pieces with free blocks that are exclusive to ``owner``, or open (None)."""
        if owner is None:
            return self._open
        shelf = self._owned.get(owner)
        if shelf is None:
            shelf = self._owned[owner] = OrderedDict()
        return shelf

    def _unshelve(self, partial: PartialPiece) -> None:
        owner = partial.exclusive_to
        if owner is None:
            self._open.pop(partial.piece, None)
        elif (shelf := self._owned.get(owner)) is not None:
            shelf.pop(partial.piece, None)
            if not shelf:
                del self._owned[owner]

    def pick(  # noqa: PLR0913 - keyword-only settings
        self,
        bits: int,
        count: int,
        *,
        key: object = None,
        only_for: object = None,
        is_exclusive: bool = False,
        max_new_pieces: int | None = None,
        takes_suspects: bool = True,
    ) -> list[Block]:
        """Return up to ``count`` blocks to request from a peer that has ``bits``, and mark them.

        ``key`` identifies the peer, whose own pieces are continued first. With ``only_for`` (the
        same key) it gets single-source pieces only, so that a bad piece has one culprit; with
        ``is_exclusive`` pieces of its own, which others still get by :meth:`pick_shared`. At most
        ``max_new_pieces`` pieces are started; suspect ones first if ``takes_suspects``, else last.
        """
        if count <= 0:
            return []
        owner = key if is_exclusive else None
        own_key = key if only_for is None else only_for
        picked: list[Block] = []
        if own_key is not None and self._owned:
            picked = self._from_owned(bits, count, own_key)
        if own_key is None or not (is_exclusive or only_for is not None or len(picked) >= count):
            picked += self._from_open(bits, count - len(picked))
        while len(picked) < count and max_new_pieces != 0:
            blocks_wanted = count - len(picked)
            pieces_wanted = -(-blocks_wanted // self._geometry.blocks_per_piece)
            if max_new_pieces is not None:
                pieces_wanted = min(pieces_wanted, max_new_pieces)
                max_new_pieces -= pieces_wanted
            pieces = self._new_pieces(bits, pieces_wanted, takes_suspects=takes_suspects)
            begun: list[int] = []
            for piece in pieces:
                if self.twins.bits and self.twins.bits >> piece & 1:
                    continue  # one of the same content is among these
                partial = self._begin_for(piece, key, only_for, owner)
                begun.append(piece)
                picked += partial.take(count - len(picked))
                if partial.has_free:
                    self._shelf(partial.exclusive_to)[piece] = partial
            self._note_begun(*begun)
            if not pieces:
                break
        return picked

    def adopt(self, bits: int, count: int, key: object) -> list[Block]:
        """Return blocks of an open piece without outstanding requests; make the peer its owner."""
        partial = self.idle_partial(bits)
        if partial is None or count <= 0:
            return []
        self.give_to(partial, key)
        return self._take(partial, count)

    def idle_partial(self, bits: int) -> PartialPiece | None:
        """Return an open piece without outstanding requests."""
        if not self._open:
            return None
        pieces = among(self._open, bits & self._begun)
        return next((self._open[piece] for piece in pieces if self._open[piece].is_idle), None)

    def restart(self, *pieces: int) -> None:
        """Discard partial pieces and all requests for their blocks."""
        for piece in pieces:
            self._remove(piece)
        self._begun ^= self._table.abandoned(*pieces)

    def give_to(self, partial: PartialPiece, key: object) -> None:
        """Make a peer the owner of a partial piece; None opens it to all."""
        self._unshelve(partial)
        partial.is_single_source = partial.is_single_source and key is not None
        self._set_owner(partial, key)
        self._reopen(partial)

    def pick_shared(self, bits: int, count: int, *, opens: bool = True) -> list[Block]:
        """Return free blocks of an open piece, else of an exclusive one, which becomes open.

        Of exclusive pieces the one with most blocks missing is opened, and none unless ``opens``;
        never a single-source piece.
        """
        if count <= 0:
            return []
        if picked := self._from_open(bits, count):
            return picked
        best = self._longest_owned(bits) if opens else None
        if best is None:
            return []
        self.give_to(best, None)
        return self._take(best, count)

    def _longest_owned(self, bits: int) -> PartialPiece | None:
        """Return the exclusive piece with most blocks missing; None if all have a single source."""
        best: PartialPiece | None = None
        for piece in among(chain.from_iterable(self._owned.values()), bits & self._begun):
            partial = self.partials[piece]
            if partial.is_single_source or not partial.has_free:
                continue
            if best is None or partial.left > best.left:
                best = partial
        return best

    def pick_due(self, bits: int, count: int, *, key: object, only_for: object) -> list[Block]:
        """Return up to ``count`` blocks of pieces with a deadline, and mark them; as :meth:`pick`.

        Exclusive pieces are opened, except single-source ones. Fewer than ``count`` means that a
        peer with ``bits`` has no further free block with a deadline.
        """
        picked: list[Block] = []
        for piece in self._due(bits):
            if len(picked) >= count:
                break
            partial = self.partials.get(piece)
            if partial is None:
                partial = self._begin_for(piece, key, only_for, None)
                self._note_begun(piece)
                self._shelf(partial.exclusive_to)[piece] = partial
            if not self._may_share(partial, key, only_for):
                continue
            if partial.exclusive_to is not None and partial.exclusive_to != key:
                self.give_to(partial, None)
            picked += self._take(partial, count - len(picked))
        return picked

    def _may_share(self, partial: PartialPiece, key: object, only_for: object) -> bool:
        """Return whether blocks of a piece may be requested from a peer that may not own it."""
        if partial.exclusive_to is not None and partial.exclusive_to == key:
            return True
        return only_for is None and not partial.is_single_source

    def has_due(self, bits: int) -> bool:
        """Return whether a piece with a deadline can be requested from a peer with ``bits``."""
        due = bits & self.deadlines.bits
        if due & self._table.missing & self.wanted:
            return True
        return next(self._due(bits), None) is not None

    def _due(self, bits: int) -> Iterator[int]:
        """Yield the pieces with a deadline that have free blocks, the earliest first."""
        wanted = bits & self.deadlines.bits & (self._table.missing & self.wanted | self._begun)
        for piece in among(self.deadlines.order, wanted):
            partial = self.partials.get(piece)
            if partial is None or (partial.has_free and self._priorities[piece]):
                yield piece

    def _due_range(self, bits: int, count: int, *, key: object, only_for: object) -> list[Block]:
        """Return blocks of the most urgent piece and of following ones with a deadline."""
        first = next(iter(self._due(bits)), None)
        if first is None:
            return []
        most = max(1, count // self._geometry.blocks_per_piece)
        run = _ones_at((bits & self.deadlines.bits) >> first & (1 << most) - 1)
        return self.pick_due(bits & ((1 << run) - 1 << first), count, key=key, only_for=only_for)

    def pick_range(
        self, bits: int, count: int, *, key: object, only_for: object, last: int | None
    ) -> list[Block]:
        """Return up to ``count`` mostly contiguous blocks for a web seed, and mark them.

        In this order: pieces with a deadline; free blocks of piece ``last``, which the previous
        request ended in, or of a partial piece without requests; a range of missing pieces of the
        highest priority, preferably ones that no peer has; free blocks of pieces of other peers.
        ``key`` and ``only_for`` are as in :meth:`pick`.
        """
        if due := self._due_range(bits, count, key=key, only_for=only_for):
            return due
        shelved = self._shelved(key, only_for)
        fit = (each for each, part in shelved if part.has_free and (each == last or part.is_idle))
        for piece in among(fit, bits):
            return self._take(self.partials[piece], count)
        picked: list[Block] = []
        for piece in self._missing_range(bits, count, None if last is None else last + 1):
            if self.twins.bits and self.twins.bits >> piece & 1:
                break  # one of the same content is in the range
            partial = self._begin_for(piece, key, only_for, None)
            self._note_begun(piece)
            picked += partial.take(count - len(picked))
            if partial.has_free:
                self._shelf(partial.exclusive_to)[piece] = partial
        if not picked:
            picked = self._from_owned(bits, count, key)
        if not picked and only_for is None:
            picked = self.pick_shared(bits, count)
        return picked

    def _shelved(self, key: object, only_for: object) -> list[tuple[int, PartialPiece]]:
        """Return the partial pieces with free blocks that a sender may continue."""
        own = list(self._owned.get(key, {}).items())
        return own if only_for is not None else [*self._open.items(), *own]

    def _take(self, partial: PartialPiece, count: int) -> list[Block]:
        blocks = partial.take(count)
        if not partial.has_free:
            self._unshelve(partial)
        return blocks

    def _missing_range(self, bits: int, count: int, start: int | None) -> range:
        """Choose a range of missing pieces of the highest priority."""
        available = bits & self.startable
        most = max(1, count // self._geometry.blocks_per_piece)
        for level in self._by_priority:
            if candidates := available & level:
                if self.is_sequential:
                    start = self._in_order(candidates, 1)[0]
                else:
                    candidates = self.availability.missing_everywhere(candidates) or candidates
                first, length = choose_range(candidates, most, start, self._rng)
                return range(first, first + length)
        return range(0)

    def pick_duplicates(
        self, bits: int, count: int, is_requested_from_peer: Callable[[Block], bool]
    ) -> list[Block]:
        """Return blocks for the end game: requested from another peer, not from this one.

        Blocks of single-source pieces and blocks with two requests are left out.
        """
        picked: list[Block] = []
        count = min(count, END_GAME_BLOCKS)
        pieces = list(among(self.partials, bits & self.wanted & self._begun))
        self._rng.shuffle(pieces)
        for piece in pieces:
            if len(picked) >= count:
                break
            partial = self.partials[piece]
            if partial.is_single_source:
                continue
            picked += partial.take_duplicates(
                count - len(picked), is_requested_from_peer, MAX_END_GAME_REQUESTS
            )
            if not partial.has_free:
                self._unshelve(partial)
        return picked

    def duplicate(self, blocks: Collection[Block]) -> list[Block]:
        """Request missing blocks of partial pieces once more; return those that may be."""
        again: list[Block] = []
        for piece in dict.fromkeys(block[0] for block in blocks):
            partial = self.partials.get(piece)
            if partial is not None and not partial.is_single_source:
                again += partial.take_duplicates(len(blocks), lambda block: block not in blocks)
                if not partial.has_free:
                    self._unshelve(partial)
        return again

    def release(self, piece: int, block: int) -> None:
        """Record that one peer will not send a requested block."""
        partial = self.partials.get(piece)
        if partial is not None:
            partial.release(block)
            self._reopen(partial)

    def lost(self, piece: int, blocks: Collection[int], asked: Mapping[int, int]) -> None:
        """Record that received blocks were discarded; ``asked``: requests that remain, by block."""
        partial = self.partials[piece]
        partial.lost(blocks, asked)
        self._reopen(partial)

    def _reopen(self, partial: PartialPiece) -> None:
        piece = partial.piece
        if not (partial.has_free and self._priorities[piece]):
            return
        shelf = self._shelf(partial.exclusive_to)
        if piece not in shelf:
            shelf[piece] = partial
            shelf.move_to_end(piece, last=False)  # started earlier than the others

    def owns(self, key: object) -> bool:
        """Return whether a peer owns a partial piece with free blocks."""
        return any(partial.has_free for partial in self._owned.get(key, {}).values())

    def owned_by(self, key: object) -> list[PartialPiece]:
        """Return the partial pieces that are exclusive to a peer."""
        return list(self._exclusive.get(key, {}).values())

    def _from_owned(self, bits: int, count: int, key: object) -> list[Block]:
        shelf = self._owned.get(key)
        return [] if shelf is None else self._from_shelf(shelf, bits, count)

    def _from_open(self, bits: int, count: int) -> list[Block]:
        return self._from_shelf(self._open, bits, count) if self._open else []

    def _from_shelf(self, shelf: Shelf, bits: int, count: int) -> list[Block]:
        picked: list[Block] = []
        drained: list[PartialPiece] = []
        order = self._sequence(shelf) if self.is_sequential else shelf
        for piece in among(order, bits & self._begun):
            partial = shelf[piece]
            picked += partial.take(count - len(picked))
            if not partial.has_free:
                drained.append(partial)
            if len(picked) >= count:
                break
        for partial in drained:
            self._unshelve(partial)
        return picked

    def _new_pieces(self, bits: int, count: int, *, takes_suspects: bool) -> list[int]:
        """Choose up to ``count`` missing pieces of one priority and, unless sequential, rarity."""
        available = bits & self.startable
        if self.suspects.bits and (suspects := available & self.suspects.bits & self.wanted):
            others = (available ^ suspects) & self.wanted
            available = suspects if takes_suspects else others or suspects
        for level in self._by_priority:
            if candidates := available & level:
                if self.is_sequential:
                    return self._in_order(candidates, count)
                if self._table.have.count >= RANDOM_FIRST_PIECES:
                    candidates = self.availability.rarest(candidates)
                return self._random(candidates, count)
        return []

    def _sequence(self, pieces: Iterable[int]) -> list[int]:
        """Return pieces in the order of sequential mode."""
        order = sorted(pieces)
        before = bisect_left(order, self.sequential_from)
        return order[before:] + order[:before]

    def _in_order(self, candidates: int, count: int) -> list[int]:
        """Return up to ``count`` pieces in the order of sequential mode."""
        start = self.sequential_from
        if not start:
            return self._lowest(candidates, count)
        later = candidates >> start << start
        chosen = self._lowest(later, count)
        return chosen + self._lowest(candidates ^ later, count - len(chosen))

    @staticmethod
    def _lowest(candidates: int, count: int) -> list[int]:
        chosen: list[int] = []
        place = 0
        while candidates and len(chosen) < count:
            place += _lowest_bit(candidates >> place)
            chosen.append(place)
            candidates ^= 1 << place
        return chosen

    def _random(self, candidates: int, count: int) -> list[int]:
        # The first set bit at or above a random position: not quite uniform after gaps, which does
        # not matter; 5 us a piece at 100,000 pieces. Small pieces are chosen together with equally
        # rare neighbours, so that they are written together.
        chosen: list[int] = []
        while candidates and len(chosen) < count:
            start = self._rng.randrange(candidates.bit_length())
            piece = start + _lowest_bit(candidates >> start)
            most = min(count - len(chosen), self._extent_pieces)
            run = _ones_at(candidates >> piece & (1 << most) - 1)
            chosen += range(piece, piece + run)
            candidates ^= (1 << run) - 1 << piece
        return chosen


def _lowest_bit(bits: int) -> int:
    # The low word usually suffices; "bits & -bits" of the whole int takes 10 us at 100,000 pieces.
    word = bits & LOW_WORD or bits
    return (word & -word).bit_length() - 1


def _ones_at(bits: int) -> int:
    """Return the number of consecutive ones from the lowest bit on."""
    return (~bits & bits + 1).bit_length() - 1


def among(pieces: Iterable[int], bits: int) -> Iterator[int]:
    """Yield those of some pieces that are in ``bits``."""
    # At 100,000 bits a shift costs 2 us; converting to bytes 18 us, then almost nothing a piece.
    if not bits:
        return
    rest = iter(pieces)
    for piece in islice(rest, FEW_PIECES):
        if bits >> piece & 1:
            yield piece
    held = b""
    for piece in rest:
        held = held or bits.to_bytes((bits.bit_length() + 7) // 8, "little")
        if piece >> 3 < len(held) and held[piece >> 3] >> (piece & 7) & 1:
            yield piece
