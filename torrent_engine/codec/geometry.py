"""The arithmetic of pieces, blocks and files; nothing else divides by the piece length.

All methods are on hot paths and trust their arguments: received indices are checked against
``piece_count`` when they are parsed. Source: BEP 3; BEP 52 for files that begin with a piece.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add
from typing import NamedTuple

from torrent_engine.base.ids import BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class Geometry:
    """The division of a payload of ``total_bytes`` into pieces and blocks of 16 KiB."""

    total_bytes: int
    piece_bytes: int
    """Length of every piece but the last; not always a power of two."""
    aligned: "FileLayout | None" = field(default=None, repr=False)
    """Where every file begins with a piece of its own, and so ends with a short one: the files."""
    pads: "PadFiles | None" = field(default=None, repr=False, compare=False)
    """The files that hold nothing but zeros; None if there are none."""
    piece_count: int = field(init=False, compare=False)
    last_piece_bytes: int = field(init=False, compare=False)
    """Length of the last piece, 1 to ``piece_bytes``; 0 only when there is no payload."""
    blocks_per_piece: int = field(init=False, compare=False)
    """Blocks of every piece but the last."""
    total_blocks: int = field(init=False, compare=False)
    _last_piece: int = field(init=False, compare=False, repr=False)
    _last_piece_blocks: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Derive the counts once, so that no method has to divide."""
        count = -(-self.total_bytes // self.piece_bytes)
        last_bytes = self.total_bytes - max(count - 1, 0) * self.piece_bytes
        blocks, last_blocks = -(-self.piece_bytes // BLOCK_BYTES), -(-last_bytes // BLOCK_BYTES)
        derive = object.__setattr__
        derive(self, "piece_count", count)
        derive(self, "last_piece_bytes", last_bytes)
        derive(self, "blocks_per_piece", blocks)
        total_blocks = max(count - 1, 0) * blocks + last_blocks
        if self.aligned is not None:
            total_blocks = sum(-(-length // BLOCK_BYTES) for length in self.aligned.lengths)
        derive(self, "total_blocks", total_blocks)
        derive(self, "_last_piece", count - 1)
        derive(self, "_last_piece_blocks", last_blocks)

    def piece_length(self, piece: int) -> int:
        """Return the length of one piece in bytes; only the last, or a file's last, is short."""
        if self.aligned is not None:
            return self.aligned.run_at(piece * self.piece_bytes, self.piece_bytes)
        return self.last_piece_bytes if piece == self._last_piece else self.piece_bytes

    def piece_offset(self, piece: int) -> int:
        """Return where a piece begins in the payload, in bytes."""
        return piece * self.piece_bytes

    def block_count(self, piece: int) -> int:
        """Return how many blocks one piece has."""
        if self.aligned is not None:
            return -(-self.piece_length(piece) // BLOCK_BYTES)
        return self._last_piece_blocks if piece == self._last_piece else self.blocks_per_piece

    def block_length(self, piece: int, block: int) -> int:
        """Return the length of one block in bytes; only the last of a piece may be short."""
        left = self.last_piece_bytes if piece == self._last_piece else self.piece_bytes
        if self.aligned is not None:
            left = self.piece_length(piece)
        left -= block * BLOCK_BYTES
        if left > BLOCK_BYTES:
            return BLOCK_BYTES
        return left

    def pad_blocks(self, piece: int) -> Sequence[int]:
        """Return the blocks of a piece that need not be asked for, as all of them are zeros.

        A piece is never without other blocks. A block that begins in a file and ends in a pad is
        asked for in full, as libtorrent does: by SHA-1 the zeros are payload as all else, which
        every seed of the v1 swarm has, and a pad need not be the end of its piece. Only who knows
        the v2 hash alone asks for less; seeds of either kind answer both.
        """
        return () if self.pads is None else self.pads.blocks(piece, self)

    def pad_ranges(self, piece: int) -> Sequence[tuple[int, int]]:
        """Return the parts of a piece that lie in pads, as (start, stop) in bytes of the piece."""
        return () if self.pads is None else self.pads.ranges(piece, self)

    def span_length(self, piece: int) -> int:
        """Return the length of one piece with the gap behind it, which peers may request."""
        return self.piece_length(piece) if self.aligned is None else self.piece_bytes

    def missing_bytes(self, chosen: bytes | bytearray) -> int:
        """Return how much shorter than whole ones some pieces are together.

        ``chosen`` has a byte for each piece, 1 or 0. Costs a pass over the files only if some
        pieces are chosen and others are not, and each file begins with a piece.
        """
        size, count = self.piece_bytes, chosen.count(1)
        if not count:
            return 0
        if self.aligned is None:
            return (size - self.last_piece_bytes) * chosen[self._last_piece]
        if count == self.piece_count:
            return count * size - self.aligned.total_bytes
        ends = map(add, self.aligned.offsets, self.aligned.lengths)
        return sum([-end % size for end in ends if end % size and chosen[end // size]])

    def piece_at(self, offset_bytes: int) -> int:
        """Return the piece that contains a byte of the payload."""
        return offset_bytes // self.piece_bytes


class FileSlice(NamedTuple):
    """One run of bytes inside one file; never empty."""

    file_index: int
    offset_bytes: int
    """Where the run begins, from the start of the file."""
    length_bytes: int


class FileLayout:
    """The positions of the files in the payload.

    They are contiguous; with an ``alignment`` each begins at a multiple of it, with a gap before
    it where the one before ends elsewhere (BEP 52).
    """

    __slots__ = ("end_bytes", "has_gaps", "lengths", "offsets", "total_bytes")

    def __init__(self, lengths: Iterable[int], alignment: int = 1) -> None:
        self.lengths: Sequence[int] = array("q", lengths)
        self.total_bytes: int = sum(self.lengths)
        """The length of all files together."""
        self.end_bytes = self.total_bytes
        """Where the last byte of the payload ends, gaps included."""
        self.has_gaps = alignment > 1
        """Whether there may be bytes between the files, which are zeros."""
        if not self.has_gaps:
            self.offsets: Sequence[int] = array("q", accumulate(self.lengths, initial=0))[:-1]
            return
        spaces = (-(-length // alignment) * alignment for length in self.lengths)
        self.offsets = array("q", accumulate(spaces, initial=0))[:-1]
        ends = map(add, self.offsets, self.lengths)
        self.end_bytes = max(
            (end for end, each in zip(ends, self.lengths, strict=True) if each), default=0
        )

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self.lengths)

    def __eq__(self, other: object) -> bool:
        """Compare the lengths."""
        if not isinstance(other, FileLayout):
            return NotImplemented
        return self.lengths == other.lengths and self.offsets == other.offsets

    def __hash__(self) -> int:
        """Return a hash that agrees with :meth:`__eq__`."""
        return hash((len(self.lengths), self.total_bytes))

    def __repr__(self) -> str:
        """Return a short text; the lengths may be many."""
        return f"FileLayout({len(self.lengths)} files, {self.total_bytes} bytes)"

    def slices(self, offset_bytes: int, length_bytes: int) -> list[FileSlice]:
        """Return the runs of bytes that a range of the payload is made of, in order.

        Files of length zero never appear; a range past the end is cut there, and gaps are left
        out.
        """
        if self.has_gaps:
            return list(self._runs(offset_bytes, offset_bytes + length_bytes))
        lengths, offsets = self.lengths, self.offsets
        index = bisect_right(offsets, offset_bytes) - 1
        found: list[FileSlice] = []
        end_bytes = min(offset_bytes + length_bytes, self.total_bytes)
        while offset_bytes < end_bytes:
            start = offset_bytes - offsets[index]
            run = min(lengths[index] - start, end_bytes - offset_bytes)
            if run:
                found.append(FileSlice(index, start, run))
                offset_bytes += run
            index += 1
        return found

    def file_count(self, offset_bytes: int, length_bytes: int) -> int:
        """Return how many files a range of the payload touches, empty ones in between included."""
        offsets = self.offsets
        return (
            bisect_left(offsets, offset_bytes + length_bytes)
            - bisect_right(offsets, offset_bytes)
            + 1
        )

    def placed(self, offset_bytes: int, into: memoryview) -> list[tuple[FileSlice, memoryview]]:
        """Return the runs of a range, each with its part of a buffer; gaps are made zeros."""
        runs = self.slices(offset_bytes, len(into))
        if not self.has_gaps:
            done, found = 0, list[tuple[FileSlice, memoryview]]()
            for run in runs:
                found.append((run, into[done : done + run.length_bytes]))
                done += run.length_bytes
            return found
        if sum(run.length_bytes for run in runs) < len(into):
            into[:] = bytes(len(into))
        starts = (self.offsets[run.file_index] + run.offset_bytes - offset_bytes for run in runs)
        return [
            (run, into[start : start + run.length_bytes])
            for run, start in zip(runs, starts, strict=True)
        ]

    def is_inside(self, offset_bytes: int, length_bytes: int) -> bool:
        """Return whether a range ends in the payload, or in the gap behind its last piece."""
        return self.has_gaps or offset_bytes + length_bytes <= self.total_bytes

    def run_at(self, offset_bytes: int, length_bytes: int) -> int:
        """Return how many of so many bytes are of the file that a byte of the payload is in."""
        index = bisect_right(self.offsets, offset_bytes) - 1
        return min(length_bytes, self.offsets[index] + self.lengths[index] - offset_bytes)

    def _runs(self, start: int, stop: int) -> Iterator[FileSlice]:
        """Iterate over the runs of a range that may have gaps."""
        for index in range(bisect_right(self.offsets, start) - 1, len(self)):
            begin = self.offsets[index]
            if begin >= stop:
                break
            end = min(begin + self.lengths[index], stop)
            first = max(start, begin)
            if first < end:
                yield FileSlice(index, first - begin, end - first)

    def pieces_of(self, file_index: int, geometry: Geometry) -> range:
        """Return the pieces that contain bytes of one file; none for an empty file."""
        length = self.lengths[file_index]
        if not length:
            return range(0)
        start = self.offsets[file_index]
        piece_bytes = geometry.piece_bytes
        return range(start // piece_bytes, (start + length - 1) // piece_bytes + 1)

    def files_of_piece(self, piece: int, geometry: Geometry) -> range:
        """Return the files that overlap one piece; empty files in between are included."""
        start = piece * geometry.piece_bytes
        end = min(start + geometry.piece_bytes, self.end_bytes)
        return range(bisect_right(self.offsets, start) - 1, bisect_left(self.offsets, end))


class PadFiles:
    """The files of zeros in a layout, behind which others begin with a piece (BEP 47)."""

    __slots__ = ("_is_pad", "_layout")

    def __init__(self, layout: FileLayout, is_pad: Callable[[int], bool]) -> None:
        self._layout = layout
        self._is_pad = is_pad

    def blocks(self, piece: int, geometry: Geometry) -> list[int]:
        """Return the blocks of a piece that lie in pads; none if it has no others."""
        size, count = geometry.piece_length(piece), geometry.block_count(piece)
        found: list[int] = []
        for begin, end in self.ranges(piece, geometry):
            stop = count if end == size else end // BLOCK_BYTES
            found.extend(range(-(-begin // BLOCK_BYTES), stop))
        return found if len(found) < count else []

    def ranges(self, piece: int, geometry: Geometry) -> list[tuple[int, int]]:
        """Return the parts of a piece that lie in pads, as (start, stop) in bytes of the piece."""
        layout, start = self._layout, geometry.piece_offset(piece)
        size = geometry.piece_length(piece)
        return [
            (
                max(layout.offsets[index] - start, 0),
                min(layout.offsets[index] + layout.lengths[index] - start, size),
            )
            for index in layout.files_of_piece(piece, geometry)
            if layout.lengths[index] and self._is_pad(index)
        ]

    def bytes_of(self, piece: int, geometry: Geometry) -> int:
        """Return how many bytes of a piece lie in pads."""
        return sum(stop - start for start, stop in self.ranges(piece, geometry))
