"""Decides which blocks a peer is asked for next.

Order: pieces with a deadline first, the earliest before others; then begun pieces, then a new piece
of the highest priority, among those the rarest, among those a random one (the lowest in sequential
mode). A begun piece belongs to one peer, or is open to all; a piece that failed its hash always
belongs to one. When nothing is left to begin, a peer may help with the pieces of others, and at the
very end blocks are asked for twice (end game). Source: BEP 3, "Pieces"; the rest is what the
field's clients do.
"""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.codec.bitfield import bits_of_flags
from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.availability import Availability
from torrent_engine.policy.deadlines import Deadlines
from torrent_engine.policy.pieces import Block, PartialPiece, PieceTable
from torrent_engine.policy.web_seed_plan import choose_stretch

DEFAULT_PRIORITY: Final = 4
RANDOM_FIRST_PIECES: Final = 4  # begin with any pieces, to have something to trade
END_GAME_BLOCKS: Final = 16  # ours: duplicates asked of one peer at a time
MAX_ASKERS: Final = 2  # ours: who owe us one block at a time, in the end game
EXTENT_BYTES: Final = 4 * 1024 * 1024  # ours: as much of the payload is begun in one place
LOW_WORD: Final = (1 << 60) - 1
FEW_PIECES: Final = 8  # up to so many are looked up by shifts of an int


class Picker:
    """Owns the begun pieces and what is wanted; a PieceTable has the rest."""

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
        self.availability = Availability()
        self.deadlines = Deadlines()
        self.partials: dict[int, PartialPiece] = {}
        self._begun = 0  # the keys of partials, as bits
        self._open: dict[int, PartialPiece] = {}  # of no owner, with free blocks; oldest first
        self._owned: dict[object, dict[int, PartialPiece]] = {}  # with free blocks, by owner
        self.suspects = 0
        """The pieces that failed their hash and are not here yet, as bits."""
        self._extent_pieces = max(1, EXTENT_BYTES // geometry.piece_bytes)
        self._all = (1 << geometry.piece_count) - 1
        self._by_priority: list[int] = [self._all]  # highest first, skipped pieces left out
        self._priorities = bytes([DEFAULT_PRIORITY]) * geometry.piece_count
        self.wanted: int = self._all
        """Every piece whose priority is not 0, as bits."""

    def set_priorities(self, priorities: Sequence[int]) -> None:
        """Take one number a piece: 0 is skipped, a higher one is fetched earlier.

        Pieces that are begun and not wanted any more get no further request. Raises
        LocalProtocolError if there is not one number for every piece.
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
        self._open, self._owned = {}, {}
        for piece, partial in self.partials.items():
            if partial.has_free and self._priorities[piece]:
                self._shelf(partial.exclusive_to)[piece] = partial

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
        """Return whether a piece is wanted and missing or begun; not for a number below 0."""
        if piece < 0 or not self._priorities[piece]:
            return False
        return piece in self.partials or self._table.is_missing(piece)

    def is_interesting(self, bits: int) -> bool:
        """Return whether somebody with these pieces has one that we want and do not have."""
        return self.interesting_piece(bits) >= 0

    def interesting_piece(self, bits: int) -> int:
        """Return a piece of ``bits`` that we want and do not have; -1 if there is none."""
        wanted = bits & self.wanted
        if wanted:
            wanted &= self._table.missing | self._begun
        return wanted.bit_length() - 1

    @property
    def is_end_game(self) -> bool:
        """Whether every wanted piece is begun."""
        return not self._table.missing & self.wanted

    def begin(self, piece: int, owner: object = None, *, is_sole: bool = False) -> PartialPiece:
        """Begin a missing piece, as if a block of it had been asked for."""
        partial = self._begin(piece, owner, is_sole=is_sole)
        if self._priorities[piece]:
            self._shelf(owner)[piece] = partial
        return partial

    def _begin(self, piece: int, owner: object, *, is_sole: bool) -> PartialPiece:
        """Begin a piece of which blocks are taken next."""
        self._table.begun(piece)
        partial = PartialPiece(self._geometry, piece)
        partial.exclusive_to = owner
        partial.is_sole = is_sole
        self.partials[piece] = partial
        self._begun |= 1 << piece
        return partial

    def finished(self, piece: int) -> None:
        """Forget a begun piece: all its blocks are here, or it starts again."""
        partial = self.partials.pop(piece)
        if partial.has_free:
            self._unshelve(partial)
        self._begun ^= 1 << piece

    def hash_failed(self, piece: int) -> None:
        """Record that a piece failed its hash: from now on only one peer is asked for it."""
        self.suspects |= 1 << piece

    def hash_passed(self, piece: int) -> None:
        """Record that a piece is good."""
        if self.suspects:
            self.suspects &= ~(1 << piece)

    def is_suspect(self, piece: int) -> bool:
        """Return whether a piece failed its hash and is not here yet."""
        return bool(self.suspects) and bool(self.suspects >> piece & 1)

    def _begin_for(self, piece: int, key: object, only_for: object, owner: object) -> PartialPiece:
        """Begin a piece for a peer: for it alone if it is on parole, or the piece a suspect.

        It is on no shelf yet.
        """
        if only_for is not None:
            return self._begin(piece, only_for, is_sole=True)
        if self.suspects and key is not None and self.is_suspect(piece):
            return self._begin(piece, key, is_sole=True)
        return self._begin(piece, owner, is_sole=False)

    def _shelf(self, owner: object) -> dict[int, PartialPiece]:
        """Return the pieces with free blocks of one owner, or of none."""
        if owner is None:
            return self._open
        shelf = self._owned.get(owner)
        if shelf is None:
            shelf = self._owned[owner] = {}
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
        is_alone: bool = False,
        most_new: int | None = None,
        takes_suspects: bool = True,
    ) -> list[Block]:
        """Return up to ``count`` blocks to ask of a peer that has ``bits``, and mark them.

        ``key`` is the peer's own: pieces that it owns are its to go on with. With ``only_for`` (the
        same key) it is asked for nothing else but pieces of its own, so that a bad piece has one
        author; if it ``is_alone`` the same, but others may :meth:`help`. At most ``most_new``
        pieces are begun, suspects first or last.
        """
        if count <= 0:
            return []
        owner = key if is_alone else None
        own_key = key if only_for is None else only_for
        picked: list[Block] = []
        if own_key is not None and self._owned:
            picked = self._from_owned(bits, count, own_key)
        if own_key is None or not (is_alone or only_for is not None or len(picked) >= count):
            picked += self._from_open(bits, count - len(picked))
        while len(picked) < count and most_new != 0:
            blocks_wanted = count - len(picked)
            pieces_wanted = -(-blocks_wanted // self._geometry.blocks_per_piece)
            if most_new is not None:
                pieces_wanted = min(pieces_wanted, most_new)
                most_new -= pieces_wanted
            pieces = self._new_pieces(bits, pieces_wanted, takes_suspects=takes_suspects)
            for piece in pieces:
                partial = self._begin_for(piece, key, only_for, owner)
                picked += partial.take(count - len(picked))
                if partial.has_free:
                    self._shelf(partial.exclusive_to)[piece] = partial
            if not pieces:
                break
        return picked

    def adopt(self, bits: int, count: int, key: object) -> list[Block]:
        """Return blocks of an open piece that nobody is asked for; the peer owns it from now on."""
        partial = self.orphan(bits)
        if partial is None or count <= 0:
            return []
        self.give_to(partial, key)
        return self._take(partial, count)

    def orphan(self, bits: int) -> PartialPiece | None:
        """Return an open piece that nobody is asked for."""
        if not self._open:
            return None
        pieces = _among(self._open, bits & self._begun)
        return next((self._open[piece] for piece in pieces if self._open[piece].is_idle), None)

    def restart(self, piece: int) -> None:
        """Forget what came of a begun piece; its blocks are asked of nobody any more."""
        self.finished(piece)
        self._table.abandoned(piece)

    def give_to(self, partial: PartialPiece, key: object) -> None:
        """Let a peer own a begun piece; None: it is open to all."""
        self._unshelve(partial)
        partial.is_sole = partial.is_sole and key is not None
        partial.exclusive_to = key
        self._reopen(partial)

    def help(self, bits: int, count: int, *, opens: bool = True) -> list[Block]:
        """Return free blocks of a piece that others work on; it is open to all from now on.

        Unless ``opens`` only of one that is open already.
        First of open pieces, then of the piece of which most is to come. None of a piece that is
        to have one author.
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
        """Return the piece of some owner of which most is to come."""
        best: PartialPiece | None = None
        for shelf in self._owned.values():
            for piece in _among(shelf, bits & self._begun):
                partial = shelf[piece]
                if not partial.is_sole and (best is None or partial.left > best.left):
                    best = partial
        return best

    def pick_due(self, bits: int, count: int, *, key: object, only_for: object) -> list[Block]:
        """Return up to ``count`` blocks of pieces with a deadline, and mark them; as :meth:`pick`.

        Others' pieces are shared, unless they are to have one author. Fewer than ``count``: there
        is nothing more of them to ask somebody with ``bits`` for.
        """
        picked: list[Block] = []
        for piece in self._due(bits):
            if len(picked) >= count:
                break
            partial = self.partials.get(piece)
            if partial is None:
                partial = self._begin_for(piece, key, only_for, None)
                self._shelf(partial.exclusive_to)[piece] = partial
            if not self._may_share(partial, key, only_for):
                continue
            if partial.exclusive_to is not None and partial.exclusive_to != key:
                self.give_to(partial, None)
            picked += self._take(partial, count - len(picked))
        return picked

    def _may_share(self, partial: PartialPiece, key: object, only_for: object) -> bool:
        """Return whether a peer may be asked for blocks of a piece, whoever owns it."""
        if partial.exclusive_to is not None and partial.exclusive_to == key:
            return True
        return only_for is None and not partial.is_sole

    def has_due(self, bits: int) -> bool:
        """Return whether somebody with ``bits`` can be asked for a piece with a deadline."""
        due = bits & self.deadlines.bits
        if due & self._table.missing & self.wanted:
            return True
        return next(self._due(bits), None) is not None

    def _due(self, bits: int) -> Iterator[int]:
        """Yield the pieces with a deadline that have free blocks, the earliest first."""
        wanted = bits & self.deadlines.bits & (self._table.missing & self.wanted | self._begun)
        for piece in _among(self.deadlines.order, wanted):
            partial = self.partials.get(piece)
            if partial is None or (partial.has_free and self._priorities[piece]):
                yield piece

    def _due_stretch(self, bits: int, count: int, *, key: object, only_for: object) -> list[Block]:
        """Return blocks of the earliest piece with a deadline, and of its neighbours with one."""
        first = next(iter(self._due(bits)), None)
        if first is None:
            return []
        most = max(1, count // self._geometry.blocks_per_piece)
        run = _ones_at((bits & self.deadlines.bits) >> first & (1 << most) - 1)
        return self.pick_due(bits & ((1 << run) - 1 << first), count, key=key, only_for=only_for)

    def pick_stretch(
        self, bits: int, count: int, *, key: object, only_for: object, last: int | None
    ) -> list[Block]:
        """Return up to ``count`` blocks, most of them neighbours, and mark them: for a web seed.

        First what has a deadline; then what is free of piece ``last``, where it was before, or of a
        begun piece that nobody works on; then a stretch of missing pieces of the highest priority,
        of those that no peer has if there are any; then what is free of pieces that others work
        on. ``key`` and ``only_for`` are as in :meth:`pick`.
        """
        if due := self._due_stretch(bits, count, key=key, only_for=only_for):
            return due
        for piece, partial in self._shelved(key, only_for):
            if bits >> piece & 1 and (piece == last or partial.is_idle):
                return self._take(partial, count)
        picked: list[Block] = []
        for piece in self._stretch(bits, count, None if last is None else last + 1):
            partial = self._begin_for(piece, key, only_for, None)
            picked += partial.take(count - len(picked))
            if partial.has_free:
                self._shelf(partial.exclusive_to)[piece] = partial
        if not picked:
            picked = self._from_owned(bits, count, key)
        if not picked and only_for is None:
            picked = self.help(bits, count)
        return picked

    def _shelved(self, key: object, only_for: object) -> list[tuple[int, PartialPiece]]:
        """Return the pieces with free blocks that a sender may go on with."""
        own = list(self._owned.get(key, {}).items())
        return own if only_for is not None else [*self._open.items(), *own]

    def _take(self, partial: PartialPiece, count: int) -> list[Block]:
        blocks = partial.take(count)
        if not partial.has_free:
            self._unshelve(partial)
        return blocks

    def _stretch(self, bits: int, count: int, start: int | None) -> range:
        """Choose missing neighbours of one priority; where the blocks of two are wanted, whole."""
        available = bits & self._table.missing
        most = max(1, count // self._geometry.blocks_per_piece)
        for level in self._by_priority:
            if candidates := available & level:
                if self.is_sequential:
                    start = _lowest_bit(candidates)
                else:
                    candidates = self.availability.missing_everywhere(candidates) or candidates
                first, length = choose_stretch(candidates, most, start, self._rng)
                return range(first, first + length)
        return range(0)

    def pick_again(self, bits: int, count: int, is_asked: Callable[[Block], bool]) -> list[Block]:
        """Return blocks for the end game: another was asked for them, this sender was not.

        None of a piece that is to have one author, and none that two were asked for.
        """
        picked: list[Block] = []
        count = min(count, END_GAME_BLOCKS)
        pieces = list(_among(self.partials, bits & self.wanted & self._begun))
        self._rng.shuffle(pieces)
        for piece in pieces:
            if len(picked) >= count:
                break
            partial = self.partials[piece]
            if partial.is_sole:
                continue
            picked += partial.take_again(count - len(picked), is_asked, MAX_ASKERS)
            if not partial.has_free:
                self._unshelve(partial)
        return picked

    def ask_again(self, blocks: Collection[Block]) -> list[Block]:
        """Mark blocks of begun pieces that are not here once more; return those."""
        again: list[Block] = []
        for piece in dict.fromkeys(block[0] for block in blocks):
            partial = self.partials.get(piece)
            if partial is not None and not partial.is_sole:
                again += partial.take_again(len(blocks), lambda block: block not in blocks)
                if not partial.has_free:
                    self._unshelve(partial)
        return again

    def release(self, piece: int, block: int) -> None:
        """Record that one peer will not send a block that it was asked for."""
        partial = self.partials.get(piece)
        if partial is not None:
            partial.release(block)
            self._reopen(partial)

    def lost(self, piece: int, block: int, asked: int) -> None:
        """Record that a block of a begun piece is not here any more; ``asked`` peers owe it."""
        partial = self.partials[piece]
        partial.lost(block, asked)
        self._reopen(partial)

    def _reopen(self, partial: PartialPiece) -> None:
        piece, owner = partial.piece, partial.exclusive_to
        if not (partial.has_free and self._priorities[piece]):
            return
        shelf = self._shelf(owner)
        if piece in shelf:
            return
        if owner is None:
            self._open = {piece: partial, **shelf}  # begun before those with free blocks
        else:
            self._owned[owner] = {piece: partial, **shelf}

    def owns(self, key: object) -> bool:
        """Return whether a peer owns a begun piece with free blocks."""
        return key in self._owned

    def owned_by(self, key: object) -> list[PartialPiece]:
        """Return the begun pieces that a peer owns."""
        return [partial for partial in self.partials.values() if partial.exclusive_to == key]

    def release_exclusive(self, key: object) -> None:
        """Let everybody be asked for the pieces that one peer owns."""
        for partial in self.owned_by(key):
            self.give_to(partial, None)

    def _from_owned(self, bits: int, count: int, key: object) -> list[Block]:
        shelf = self._owned.get(key)
        return [] if shelf is None else self._from_shelf(shelf, bits, count)

    def _from_open(self, bits: int, count: int) -> list[Block]:
        return self._from_shelf(self._open, bits, count) if self._open else []

    def _from_shelf(self, shelf: dict[int, PartialPiece], bits: int, count: int) -> list[Block]:
        picked: list[Block] = []
        drained: list[PartialPiece] = []
        for piece in _among(sorted(shelf) if self.is_sequential else shelf, bits & self._begun):
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
        """Choose up to ``count`` missing pieces of one priority and, unless in sequence, rarity."""
        available = bits & self._table.missing
        if self.suspects and (suspects := available & self.suspects & self.wanted):
            others = (available ^ suspects) & self.wanted
            available = suspects if takes_suspects else others or suspects
        for level in self._by_priority:
            if candidates := available & level:
                if self.is_sequential:
                    return self._lowest(candidates, count)
                if self._table.have.count >= RANDOM_FIRST_PIECES:
                    candidates = self.availability.rarest(candidates)
                return self._random(candidates, count)
        return []

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
        # A random bit is the first one at or above a random place. Not quite uniform behind gaps,
        # which no swarm notices; measured 5 us a piece at 100,000 pieces. Small pieces are chosen
        # together with their neighbours, if those are as good: one write, one stretch of the disk.
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
    # Of a long int the low word mostly tells; "bits & -bits" makes negatives, 10 us at 100,000.
    word = bits & LOW_WORD or bits
    return (word & -word).bit_length() - 1


def _ones_at(bits: int) -> int:
    """Return how many ones there are from the lowest bit on, up to the first zero."""
    return (~bits & bits + 1).bit_length() - 1


def _among(pieces: Iterable[int], bits: int) -> Iterator[int]:
    # At 100,000 bits a shift costs 2 us; bytes cost 18 us, and then next to nothing a piece.
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
