"""A picker with its table, for tests that play the engine."""

import random
from collections.abc import Sequence

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import Block, PieceTable


class Download:
    """A picker with its table, and shorthand for what the engine does to them."""

    def __init__(
        self,
        pieces: int,
        *,
        blocks: int = 4,
        seed: int = 1,
        have: int = 0,
        sequential: bool = False,
    ) -> None:
        geometry = Geometry(pieces * blocks * BLOCK_BYTES, blocks * BLOCK_BYTES)
        self.table = PieceTable(geometry)
        self.picker = Picker(geometry, self.table, random.Random(seed), is_sequential=sequential)
        self.all = (1 << pieces) - 1
        for piece in range(have):
            self.table.found(piece)

    def complete(self, piece: int) -> None:
        if piece not in self.picker.partials:
            self.picker.begin(piece)
        self.picker.finished(piece)
        self.table.hash_passed(piece)
        self.table.written(piece)

    def order_of_new_pieces(self, bits: int) -> list[int]:
        order = []
        while blocks := self.picker.pick(bits, 99):
            order += pieces_of(blocks)
        return order


def bits_of(*pieces: int) -> int:
    return sum(1 << piece for piece in set(pieces))


def pieces_of(blocks: Sequence[Block]) -> list[int]:
    return list(dict.fromkeys(piece for piece, _, _ in blocks))


def numbers(blocks: Sequence[Block]) -> list[tuple[int, int]]:
    return [(piece, begin // BLOCK_BYTES) for piece, begin, _ in blocks]


def asked_of_nobody(_block: Block) -> bool:
    return False


def open_pieces(picker: Picker, owner: object) -> None:
    """Open the exclusive pieces of one peer to all, as the engine does when a peer leaves."""
    for partial in picker.owned_by(owner):
        picker.give_to(partial, None)
