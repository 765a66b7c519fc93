"""The state of every piece of a torrent, and of the blocks of partial ones.

Sets of pieces are ints with piece ``i`` at ``1 << i``: a pass over 100,000 pieces is one operation
in C.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import IntEnum
from operator import neg
from typing import Final

from torrent_engine.base.errors import LocalProtocolError
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bitfield import Bitfield, bits_of
from torrent_engine.codec.geometry import Geometry

Block = tuple[int, int, int]
"""(piece index, begin in bytes, length in bytes), as in a "request" of BEP 3."""

MAX_REQUESTS: Final = 255  # requests for one block at a time; the counter is one byte
_DIGITS: Final = b"01".ljust(256)


class PieceState(IntEnum):
    """The state of a piece; exactly one at any time."""

    MISSING = 0
    PARTIAL = 1
    """Started: some of its blocks are requested or received."""
    WRITING = 2
    """Its hash matched; it is being written."""
    HAVE = 3
    """Verified and written."""


_STATES: Final = tuple(PieceState)
_FOUND: Final = bytes([PieceState.MISSING, PieceState.HAVE]).ljust(256)


class PieceTable:
    """The state of every piece; each is in exactly one PieceState."""

    def __init__(self, geometry: Geometry) -> None:
        self._states = bytearray(geometry.piece_count)
        self.have = Bitfield(geometry.piece_count)
        """The pieces in state HAVE."""
        self.missing: int = (1 << geometry.piece_count) - 1
        """The pieces in state MISSING, as bits."""

    def state(self, piece: int) -> PieceState:
        """Return the state of a piece."""
        return _STATES[self._states[piece]]

    def is_missing(self, piece: int) -> bool:
        """Return whether a piece is in state MISSING."""
        return self._states[piece] == PieceState.MISSING

    def begun(self, *pieces: int) -> int:
        """Record that the first blocks of pieces are requested; return the pieces, as bits.

        Pass a peer's pieces together: any change of an int of 500,000 bits takes 10 us.
        """
        for piece in pieces:
            self._move(piece, PieceState.MISSING, PieceState.PARTIAL)
        bits = bits_of(pieces)
        self.missing ^= bits
        return bits

    def abandoned(self, *pieces: int) -> int:
        """Record that partial pieces are discarded, whose hash failed or which are dropped.

        Returns the pieces, as bits; pass them together, as to :meth:`begun`.
        """
        for piece in pieces:
            self._move(piece, PieceState.PARTIAL, PieceState.MISSING)
        bits = bits_of(pieces)
        self.missing |= bits
        return bits

    def hash_passed(self, piece: int) -> None:
        """Record that a piece's SHA-1 matched."""
        self._move(piece, PieceState.PARTIAL, PieceState.WRITING)

    def written(self, piece: int) -> None:
        """Record that a verified piece is on the disk."""
        self._move(piece, PieceState.WRITING, PieceState.HAVE)
        self.have.set(piece)

    def write_failed(self, piece: int) -> None:
        """Record that writing a verified piece failed."""
        self._move(piece, PieceState.WRITING, PieceState.MISSING)
        self.missing |= 1 << piece

    def found(self, *pieces: int) -> None:
        """Record that missing pieces were found verified on the disk.

        Pass neighbours together: any change of an int of two million bits takes 30 us.
        """
        first, bits = min(pieces, default=0), 0
        for piece in pieces:
            self._move(piece, PieceState.MISSING, PieceState.HAVE)
            self.have.set(piece)
            bits |= 1 << (piece - first)
        self.missing ^= bits << first

    def found_all(self, found: Bitfield) -> None:
        """Record that pieces were found verified on the disk, before any piece was started.

        Raises LocalProtocolError if a piece is not in state MISSING.
        """
        if any(self._states):
            raise LocalProtocolError("a piece is already started or complete")
        self._states[:] = found.flags().translate(_FOUND)
        self.missing ^= found.as_int()
        self.have.become(found)

    def lost(self, piece: int) -> None:
        """Record that a completed piece is no longer on the disk."""
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
    """The blocks of one partial piece: each is free, requested (once or more) or received."""

    __slots__ = (
        "_free",
        "_received",
        "_requested",
        "block_count",
        "exclusive_to",
        "is_single_source",
        "last_block_bytes",
        "left",
        "pads",
        "piece",
    )

    def __init__(self, geometry: Geometry, piece: int) -> None:
        self.piece = piece
        self.block_count = geometry.block_count(piece)
        self.last_block_bytes = geometry.block_length(piece, self.block_count - 1)
        self.left = self.block_count
        """Number of blocks not received yet."""
        self.exclusive_to: object = None
        """The peer that the piece is exclusive to; None: it is open to all."""
        self.is_single_source = False
        """All blocks must come from the owner, so that a bad piece has one culprit."""
        self._free = list(
            range(self.block_count - 1, -1, -1)
        )  # neither requested nor received, descending
        self._requested = bytearray(self.block_count)
        self._received = bytearray(self.block_count)
        self.pads = geometry.pad_blocks(piece)
        """Blocks of zeros, which count as received."""
        if self.pads:
            self._leave_out(self.pads)

    def _leave_out(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            self._received[block] = 1
        self._free = [block for block in self._free if not self._received[block]]
        self.left -= len(blocks)

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of it was received or is asked for."""
        return self.left == self.block_count - len(self.pads) and self.is_idle

    @property
    def has_free(self) -> bool:
        """Whether a block is neither requested nor received."""
        return bool(self._free)

    @property
    def is_idle(self) -> bool:
        """Whether no request for any block is outstanding."""
        return not any(self._requested)

    @property
    def has_duplicates(self) -> bool:
        """Whether a block is requested from more than one peer."""
        return max(self._requested) > 1

    def has(self, block: int) -> bool:
        """Return whether a block was received."""
        return bool(self._received[block])

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

    def take_duplicates(
        self,
        count: int,
        is_requested_from_peer: Callable[[Block], bool],
        max_requests: int = MAX_REQUESTS,
    ) -> list[Block]:
        """Request up to ``count`` blocks that were not received once more (end game).

        Those with the fewest requests come first, of equal ones the last block, which the others
        reach last. Blocks for which ``is_requested_from_peer`` returns True and blocks with
        ``max_requests`` requests are left out.
        """
        waiting = self._waiting()
        waiting.sort(key=self._requested.__getitem__)
        again: list[Block] = []
        for number in waiting:
            if len(again) >= count:
                break
            block = self.block(number)
            if self._requested[number] < max_requests and not is_requested_from_peer(block):
                self._requested[number] += 1
                again.append(block)
        if again and self._free:
            taken = {begin // BLOCK_BYTES for _, begin, _ in again}
            self._free = [number for number in self._free if number not in taken]
        return again

    def _waiting(self) -> list[int]:
        """Return the blocks not received, the last first."""
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

    def length_bytes(self, blocks: Collection[int]) -> int:
        """Return the length of some blocks together."""
        short_bytes = BLOCK_BYTES - self.last_block_bytes
        return len(blocks) * BLOCK_BYTES - short_bytes * (self.block_count - 1 in blocks)

    def release(self, block: int) -> None:
        """Record that one peer will not send a requested block."""
        if not self._requested[block]:
            return  # free, or received
        self._requested[block] -= 1
        if not self._requested[block] and not self._received[block]:
            insort(self._free, block, key=neg)

    def receive(self, block: int) -> bool:
        """Record a received block; return False if it is a duplicate."""
        requested = self._requested
        if requested[block]:
            requested[block] -= 1
        elif not self._received[block]:  # its request was cancelled
            del self._free[bisect_left(self._free, -block, key=neg)]
        if self._received[block]:
            return False
        self._received[block] = 1
        self.left -= 1
        return True

    def lost(self, blocks: Collection[int], asked: Mapping[int, int]) -> None:
        """Record that received blocks were discarded; ``asked``: requests that remain, by block."""
        for block in blocks:
            self._received[block] = 0
            self._requested[block] = asked.get(block, 0)
        self.left += len(blocks)
        self._free += [block for block in blocks if block not in asked]
        self._free.sort(reverse=True)

    def receive_run(self, first: int, count: int) -> bool:
        """Record contiguous blocks; return False, unchanged, unless each has one request."""
        end, ones = first + count, b"\x01" * count
        if self._requested[first:end] != ones or self._received.find(1, first, end) >= 0:
            return False
        self._requested[first:end] = bytes(count)
        self._received[first:end] = ones
        self.left -= count
        return True

    def requested(self) -> list[Block]:
        """Return the blocks with outstanding requests."""
        return [self.block(number) for number, count in enumerate(self._requested) if count]

    def request_count(self, block: int) -> int:
        """Return the number of outstanding requests for a block."""
        return self._requested[block]
