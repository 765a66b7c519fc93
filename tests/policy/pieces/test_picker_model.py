"""The picker against a naive model, under random picks, blocks, chokes, failures and departures."""

import random
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.support.picking import open_pieces
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.pieces.picker import MAX_END_GAME_REQUESTS, RANDOM_FIRST_PIECES, Picker
from torrent_engine.policy.pieces.piece_table import Block, PieceState, PieceTable

PEERS = 4
MOST_PIECES = 12
any_number = st.integers(0, 255)
any_bits = st.integers(0, (1 << MOST_PIECES) - 1)
a_peer = st.integers(0, PEERS - 1)


@dataclass
class Model:
    """One peer as the engine keeps it."""

    name: str
    bits: int = 0
    is_on_parole: bool = False
    outstanding: set[Block] = field(default_factory=set)
    forsaken: set[Block] = field(default_factory=set)

    @property
    def key(self) -> str | None:
        return self.name if self.is_on_parole else None


class PickerModel(RuleBasedStateMachine):
    """Knows for each block which peers were asked for it, and looks everything up the long way."""

    @initialize(
        pieces=st.integers(1, MOST_PIECES),
        blocks=st.integers(1, 4),
        tail_blocks=st.integers(0, 3),
        tail_bytes=st.integers(1, BLOCK_BYTES),
        seed=st.integers(0, 99),
        sequential=st.booleans(),
        bits=st.lists(any_bits, min_size=PEERS, max_size=PEERS),
    )
    def begin(self, pieces, blocks, tail_blocks, tail_bytes, seed, sequential, bits) -> None:
        short = tail_blocks % blocks * BLOCK_BYTES + tail_bytes
        self.geometry = Geometry((pieces - 1) * blocks * BLOCK_BYTES + short, blocks * BLOCK_BYTES)
        self.table = PieceTable(self.geometry)
        self.picker = Picker(
            self.geometry, self.table, random.Random(seed), is_sequential=sequential
        )
        self.priorities = [4] * pieces
        self.blocks = [self._blocks_of(piece) for piece in range(pieces)]
        self.here: set[Block] = set()
        self.peers = [Model(f"peer {number}") for number in range(PEERS)]
        for peer, its_bits in zip(self.peers, bits, strict=True):
            self._join(peer, its_bits & self.everything)

    @property
    def everything(self) -> int:
        """Bits of all pieces."""
        return (1 << len(self.priorities)) - 1

    # -- the long way ---------------------------------------------------------------------

    def _blocks_of(self, piece: int) -> list[Block]:
        length = self.geometry.piece_length(piece)
        return [
            (piece, begin, min(BLOCK_BYTES, length - begin))
            for begin in range(0, length, BLOCK_BYTES)
        ]

    def asked(self, block: Block) -> list[Model]:
        return [peer for peer in self.peers if block in peer.outstanding]

    def taken(self) -> set[Block]:
        """Blocks that are here or asked for."""
        return self.here.union(*[peer.outstanding for peer in self.peers])

    def free_of(self, piece: int, taken: set[Block]) -> list[Block]:
        """Blocks that may be asked for, of a piece that is missing or begun."""
        return [block for block in self.blocks[piece] if block not in taken]

    def in_state(self, *states: PieceState) -> list[int]:
        return [p for p in range(len(self.priorities)) if self.table.state(p) in states]

    def may_ask(self, peer: Model, piece: int) -> bool:
        return bool(peer.bits >> piece & 1 and self.priorities[piece])

    def is_reserved_from(self, peer: Model, piece: int) -> bool:
        return self.picker.partials[piece].exclusive_to != peer.key

    def rarity(self, piece: int) -> int:
        return sum(peer.bits >> piece & 1 for peer in self.peers)

    def _join(self, peer: Model, bits: int) -> None:
        peer.bits = bits
        self.picker.availability.add(bits)

    def _release(self, peer: Model, block: Block) -> None:
        peer.outstanding.remove(block)
        self.picker.release(block[0], block[1] // BLOCK_BYTES)

    def one_of(self, which: int, blocks: set[Block]) -> Block:
        return sorted(blocks)[which % len(blocks)]

    # -- picks ----------------------------------------------------------------------------

    @rule(who=a_peer, count=st.integers(0, 12))
    def pick(self, who: int, count: int) -> None:
        peer, taken = self.peers[who], self.taken()
        left = self.in_state(PieceState.PARTIAL, PieceState.MISSING)
        free = {piece: self.free_of(piece, taken) for piece in left if self.may_ask(peer, piece)}
        partials = self.picker.partials.keys()
        open_before = [piece for piece, blocks in free.items() if piece in partials and blocks]
        own = [piece for piece in open_before if not self.is_reserved_from(peer, piece)]
        missing = [piece for piece in free if piece not in partials]
        room = min(count, sum(len(free[piece]) for piece in [*own, *missing]))

        picked = self.picker.pick(peer.bits, count, only_for=peer.key)

        assert len(picked) == len(set(picked)) == room
        order = list(dict.fromkeys(piece for piece, _, _ in picked))
        for piece in order:  # lowest blocks first, all but in the last piece of the batch
            blocks = [block for block in picked if block[0] == piece]
            assert blocks == free[piece][: len(blocks)]
            assert piece == order[-1] or blocks == free[piece]
        begun = [piece for piece in order if piece in open_before]
        assert order[: len(begun)] == begun
        new = order[len(begun) :]
        if new:
            assert set(begun) == set(own)
            self._check_new(peer, missing, new)
        if self.picker.is_sequential:
            assert begun == sorted(begun)
        peer.outstanding.update(picked)

    def _check_new(self, peer: Model, missing: list[int], new: list[int]) -> None:
        """New pieces: highest priority, then the lowest or the rarest."""
        for piece in new:
            top = max(self.priorities[p] for p in missing)
            best = [p for p in missing if self.priorities[p] == top]
            assert piece in best
            if self.picker.is_sequential:
                assert piece == best[0]
            elif self.table.have.count >= RANDOM_FIRST_PIECES:
                assert self.rarity(piece) == min(map(self.rarity, best))
            assert self.picker.partials[piece].exclusive_to == peer.key
            missing.remove(piece)

    @precondition(lambda self: self.picker.is_end_game)
    @rule(who=a_peer, count=st.integers(0, 12))
    def pick_duplicates(self, who: int, count: int) -> None:
        peer = self.peers[who]
        possible = {
            block
            for piece in self.in_state(PieceState.PARTIAL)
            if self.may_ask(peer, piece) and not self.picker.partials[piece].is_single_source
            for block in self.blocks[piece]
            if block not in self.here and block not in peer.outstanding
            if len(self.asked(block)) < MAX_END_GAME_REQUESTS
        }
        again = self.picker.pick_duplicates(peer.bits, count, peer.outstanding.__contains__)
        assert len(again) == len(set(again)) == min(count, len(possible))
        assert set(again) <= possible
        peer.outstanding.update(again)

    # -- what comes of them ---------------------------------------------------------------

    @rule(who=a_peer, passes=st.booleans(), which=any_number)
    def receive(self, who: int, passes: bool, which: int) -> None:
        peer = self.peers[who]
        if peer.outstanding:
            self._receive(peer, self.one_of(which, peer.outstanding), passes=passes)

    @rule(who=a_peer, passes=st.booleans(), which=any_number)
    def receive_after_it_was_given_up(self, who: int, passes: bool, which: int) -> None:
        peer = self.peers[who]
        late = {block for block in peer.forsaken if block[0] in self.picker.partials}
        if late:
            self._receive(peer, self.one_of(which, late), passes=passes)

    def _receive(self, peer: Model, block: Block, *, passes: bool) -> None:
        peer.outstanding.discard(block)
        peer.forsaken.discard(block)
        partial = self.picker.partials[block[0]]
        assert partial.receive(block[1] // BLOCK_BYTES) == (block not in self.here)
        self.here.add(block)
        for other in self.asked(block):
            other.outstanding.remove(block)  # a cancel: no more is heard of it
        if not partial.left:
            self._finish(block[0], passes=passes)

    def _finish(self, piece: int, *, passes: bool) -> None:
        assert set(self.blocks[piece]) <= self.here
        self.picker.finished(piece)
        if passes:
            self.table.hash_passed(piece)
            self.table.written(piece)
        else:
            self.table.abandoned(piece)
            self.here.difference_update(self.blocks[piece])

    @rule(who=a_peer, which=any_number)
    def reject(self, who: int, which: int) -> None:
        peer = self.peers[who]
        if peer.outstanding:
            self._release(peer, self.one_of(which, peer.outstanding))

    @rule(who=a_peer, forsake=st.booleans())
    def choke_or_snub(self, who: int, forsake: bool) -> None:
        peer = self.peers[who]
        if forsake:
            peer.forsaken |= peer.outstanding
            open_pieces(self.picker, peer.name)
        for block in sorted(peer.outstanding):
            self._release(peer, block)

    @rule(which=any_number)
    def lose(self, which: int) -> None:
        """Drop a block of a begun piece: who sent it is banned."""
        if held := {block for block in self.here if block[0] in self.picker.partials}:
            block = self.one_of(which, held)
            self.here.discard(block)
            number, asked = block[1] // BLOCK_BYTES, len(self.asked(block))
            self.picker.lost(block[0], [number], {number: asked} if asked else {})

    # -- the swarm ------------------------------------------------------------------------

    @rule(who=a_peer, bits=any_bits)
    def replace_peer(self, who: int, bits: int) -> None:
        old = self.peers[who]
        for block in sorted(old.outstanding):
            self._release(old, block)
        open_pieces(self.picker, old.name)
        self.picker.availability.remove(old.bits)
        self.peers[who] = Model(old.name + "'")
        self._join(self.peers[who], bits & self.everything)

    @rule(who=a_peer, which=any_number)
    def have(self, who: int, which: int) -> None:
        bit = 1 << which % len(self.priorities)
        if not self.peers[who].bits & bit:
            self.peers[who].bits |= bit
            self.picker.availability.add(bit)

    @rule(who=a_peer)
    def change_parole(self, who: int) -> None:
        peer = self.peers[who]
        peer.is_on_parole = not peer.is_on_parole
        if not peer.is_on_parole:
            open_pieces(self.picker, peer.name)

    @rule(numbers=st.lists(st.sampled_from([0, 1, 4, 4, 7]), min_size=MOST_PIECES))
    def prioritise(self, numbers: list[int]) -> None:
        self.priorities = numbers[: len(self.priorities)]
        self.picker.set_priorities(self.priorities)

    @rule(which=any_number)
    def lose_a_piece(self, which: int) -> None:
        if have := self.in_state(PieceState.HAVE):
            piece = have[which % len(have)]
            self.table.lost(piece)
            self.here.difference_update(self.blocks[piece])

    # -- what always holds ----------------------------------------------------------------

    @invariant()
    def sets_agree(self) -> None:
        if not hasattr(self, "picker"):
            return
        assert sorted(self.picker.partials) == self.in_state(PieceState.PARTIAL)
        wanted = [piece for piece, priority in enumerate(self.priorities) if priority]
        assert self.picker.wanted == sum(1 << piece for piece in wanted)
        lacking = {*self.in_state(PieceState.MISSING), *self.picker.partials} & set(wanted)
        for peer in self.peers:
            interesting = any(peer.bits >> piece & 1 for piece in lacking)
            assert (self.picker.interesting_piece(peer.bits) >= 0) == interesting
        missing = set(self.in_state(PieceState.MISSING))
        assert self.picker.is_end_game == (not missing & set(wanted))

    @invariant()
    def blocks_agree(self) -> None:
        if not hasattr(self, "picker"):
            return
        taken = self.taken()
        for piece, partial in self.picker.partials.items():
            blocks = self.blocks[piece]
            assert partial.left == sum(block not in self.here for block in blocks)
            assert partial.has_free == bool(self.free_of(piece, taken))
            for number, block in enumerate(blocks):
                if block not in self.here:
                    assert bool(partial.request_count(number)) == bool(self.asked(block))

    def teardown(self) -> None:
        """Everything that is wanted arrives in the end, once a seed comes and answers."""
        if not hasattr(self, "picker"):
            return
        seed = self.peers[0]
        self.picker.availability.remove(seed.bits)
        self._join(seed, self.everything)
        for peer in self.peers:  # the others are snubbed
            for block in sorted(peer.outstanding):
                self._release(peer, block)
            open_pieces(self.picker, peer.name)
            peer.is_on_parole = False
        for _ in range(10 * len(self.priorities) * self.geometry.blocks_per_piece):
            self.pick(0, 12)
            if not seed.outstanding and self.picker.is_end_game:
                self.pick_duplicates(0, 12)
            if not seed.outstanding:
                break
            for block in sorted(seed.outstanding):
                self._receive(seed, block, passes=True)
        have = set(self.in_state(PieceState.HAVE))
        assert have >= {piece for piece, priority in enumerate(self.priorities) if priority}
        assert self.picker.interesting_piece(seed.bits) < 0


TestPickerModel = PickerModel.TestCase
TestPickerModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
