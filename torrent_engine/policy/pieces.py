"""Owns where every piece of a torrent stands, and which blocks of a begun one are still to be had.

Sets of pieces are ints with piece ``i`` at ``1 << i``: a pass over 100,000 pieces is one operation
in C.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from enum import IntEnum
from operator import neg
from typing import Final

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry

Block = tuple[int, int, int]
"""(piece index, begin in bytes, length in bytes), as in a "request" of BEP 3."""

MAX_ASKED: Final = 255  # peers asked for one block at a time; what a byte counts
_DIGITS: Final = b"01".ljust(256)


class PieceState(IntEnum):
    """Where a piece stands; exactly one at any time."""

    MISSING = 0
    PARTIAL = 1
    """Begun: some of its blocks are requested or received."""
    WRITING = 2
    """Its SHA-1 matched; it is on its way to the disk."""
    HAVE = 3
    """Verified and written."""


_FOUND: Final = bytes([PieceState.MISSING, PieceState.HAVE]).ljust(256)


class PieceTable:
    """Owns one fact: every piece is in exactly one PieceState."""

    def __init__(self, geometry: Geometry) -> None:
        self._states = bytearray(geometry.piece_count)
        self.have = Bitfield(geometry.piece_count)
        """The pieces in state HAVE."""
        self.missing: int = (1 << geometry.piece_count) - 1
        """The pieces in state MISSING, as bits."""

    def state(self, piece: int) -> PieceState:
        """Return where a piece stands."""
        return PieceState(self._states[piece])

    def is_missing(self, piece: int) -> bool:
        """Return whether a piece is in state MISSING."""
        return self._states[piece] == PieceState.MISSING

    def begun(self, piece: int) -> None:
        """Record that the first block of a piece is asked for."""
        self._move(piece, PieceState.MISSING, PieceState.PARTIAL)
        self.missing ^= 1 << piece

    def abandoned(self, piece: int) -> None:
        """Record that a begun piece starts again: its SHA-1 failed, or it is dropped."""
        self._move(piece, PieceState.PARTIAL, PieceState.MISSING)
        self.missing |= 1 << piece

    def hash_passed(self, piece: int) -> None:
        """Record that a piece's SHA-1 matched."""
        self._move(piece, PieceState.PARTIAL, PieceState.WRITING)

    def written(self, piece: int) -> None:
        """Record that a verified piece is on the disk."""
        self._move(piece, PieceState.WRITING, PieceState.HAVE)
        self.have.set(piece)

    def write_failed(self, piece: int) -> None:
        """Record that a verified piece did not reach the disk."""
        self._move(piece, PieceState.WRITING, PieceState.MISSING)
        self.missing |= 1 << piece

    def found(self, piece: int) -> None:
        """Record that a missing piece was found verified on the disk."""
        self._move(piece, PieceState.MISSING, PieceState.HAVE)
        self.missing ^= 1 << piece
        self.have.set(piece)

    def found_all(self, found: Bitfield) -> None:
        """Record that pieces were found verified on the disk, before anything was begun.

        Raises LocalProtocolError if a piece is not in state MISSING.
        """
        if any(self._states):
            raise LocalProtocolError("pieces are begun or here already")
        self._states[:] = found.flags().translate(_FOUND)
        self.missing ^= found.as_int()
        self.have.become(found)

    def lost(self, piece: int) -> None:
        """Record that a piece which we had is not on the disk any more."""
        self._move(piece, PieceState.HAVE, PieceState.MISSING)
        self.missing |= 1 << piece
        self.have.clear(piece)

    def _move(self, piece: int, before: PieceState, after: PieceState) -> None:
        if self._states[piece] != before:
            raise LocalProtocolError(
                f"piece {piece} is {self.state(piece).name}, not {before.name}"
            )
        self._states[piece] = after


class PartialPiece:
    """Owns the blocks of one begun piece: each is free, requested (of one peer or more) or here."""

    __slots__ = (
        "_free",
        "_received",
        "_requested",
        "block_count",
        "exclusive_to",
        "is_sole",
        "last_block_bytes",
        "left",
        "piece",
    )

    def __init__(self, geometry: Geometry, piece: int) -> None:
        self.piece = piece
        self.block_count = geometry.block_count(piece)
        self.last_block_bytes = geometry.block_length(piece, self.block_count - 1)
        self.left = self.block_count
        """Blocks that are not here."""
        self.exclusive_to: object = None
        """The peer that owns this piece: others are asked for it only to help; None: any."""
        self.is_sole = False
        """It is to have one author: nobody helps its owner."""
        self._free = list(range(self.block_count - 1, -1, -1))  # falling: neither asked nor here
        self._requested = bytearray(self.block_count)
        self._received = bytearray(self.block_count)

    @property
    def has_free(self) -> bool:
        """Whether a block is neither here nor asked for."""
        return bool(self._free)

    @property
    def is_idle(self) -> bool:
        """Whether no peer owes us any block of it."""
        return not any(self._requested)

    @property
    def has_duplicates(self) -> bool:
        """Whether a block is asked of more than one peer."""
        return max(self._requested) > 1

    def has(self, block: int) -> bool:
        """Return whether a block is here."""
        return bool(self._received[block])

    def received_bits(self) -> int:
        """Return the blocks that are here, block ``i`` at ``1 << i``."""
        return int(self._received[::-1].translate(_DIGITS), 2)

    def take(self, count: int) -> list[Block]:
        """Mark up to ``count`` free blocks as requested, lowest first, and return them."""
        if count <= 0:
            return []
        free, piece, requested = self._free, self.piece, self._requested
        taken = free[-count:]
        del free[-count:]
        taken.reverse()
        for block in taken:
            requested[block] += 1
        blocks = [(piece, block * BLOCK_BYTES, BLOCK_BYTES) for block in taken]
        if taken and taken[-1] == self.block_count - 1:
            blocks[-1] = (piece, taken[-1] * BLOCK_BYTES, self.last_block_bytes)
        return blocks

    def take_again(
        self, count: int, is_asked: Callable[[Block], bool], most_asked: int = MAX_ASKED
    ) -> list[Block]:
        """Mark up to ``count`` blocks once more that others were asked for already (end game).

        The least asked-for come first, of those the last: others get to them last. Blocks for
        which ``is_asked`` returns True, or which ``most_asked`` owe us, are passed over.
        """
        waiting = self._waiting()
        waiting.sort(key=self._requested.__getitem__)
        again: list[Block] = []
        for number in waiting:
            if len(again) >= count:
                break
            block = self.block(number)
            if self._requested[number] < most_asked and not is_asked(block):
                self._requested[number] += 1
                again.append(block)
        if again and self._free:
            taken = {begin // BLOCK_BYTES for _, begin, _ in again}
            self._free = [number for number in self._free if number not in taken]
        return again

    def _waiting(self) -> list[int]:
        """Return the blocks that are not here, the last first."""
        find, waiting, block = self._received.find, list[int](), -1
        while (block := find(0, block + 1)) >= 0:
            waiting.append(block)
        waiting.reverse()
        return waiting

    def block(self, number: int) -> Block:
        """Return one block as a request."""
        is_last = number == self.block_count - 1
        length = self.last_block_bytes if is_last else BLOCK_BYTES
        return (self.piece, number * BLOCK_BYTES, length)

    def release(self, block: int) -> None:
        """Record that one peer will not send a block that it was asked for."""
        if not self._requested[block]:
            return  # nobody is asked for it: it is free or here
        self._requested[block] -= 1
        if not self._requested[block] and not self._received[block]:
            insort(self._free, block, key=neg)

    def receive(self, block: int) -> bool:
        """Record that a block came; return False if it was here already."""
        requested = self._requested
        if requested[block]:
            requested[block] -= 1
        elif not self._received[block]:  # it was given up, and came after all
            del self._free[bisect_left(self._free, -block, key=neg)]
        if self._received[block]:
            return False
        self._received[block] = 1
        self.left -= 1
        return True

    def lost(self, block: int, asked: int) -> None:
        """Record that a block which was here is not any more; ``asked`` peers still owe it."""
        self._received[block] = 0
        self.left += 1
        self._requested[block] = asked
        if not asked:
            insort(self._free, block, key=neg)

    def receive_run(self, first: int, count: int) -> bool:
        """Record that neighbours came; False, and nothing, unless each was asked of one peer."""
        end, ones = first + count, b"\x01" * count
        if self._requested[first:end] != ones or self._received.find(1, first, end) >= 0:
            return False
        self._requested[first:end] = bytes(count)
        self._received[first:end] = ones
        self.left -= count
        return True

    def askers(self, block: int) -> int:
        """Return how many peers owe us a block."""
        return self._requested[block]

    def is_requested(self, block: int) -> bool:
        """Return whether some peer still owes us a block."""
        return bool(self._requested[block])
