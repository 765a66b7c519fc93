"""How much of a torrent is wanted and how much of that is here."""

from collections.abc import Mapping, Sequence
from itertools import compress, groupby
from operator import not_
from typing import Final, NamedTuple

from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.bitfield import Bitfield, bits_of_flags
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.policy.pieces.picker import DEFAULT_PRIORITY

MAX_PRIORITY = 7
EDGE_DIVISOR: Final = 100  # as qBittorrent: players look at so much of each end of a file
MANY_FILES: Final = 10_000  # ours: what passes over more of them is done in a thread
_IS_WANTED: Final = b"\0".ljust(256, b"\x01")


class RankedPieces(NamedTuple):
    """What :func:`piece_priorities` made of the priorities of the files."""

    file_priorities: Sequence[int]
    priorities: bytes


class DownloadProgress:
    """Counts wanted pieces and bytes, and says which files a piece completes."""

    def __init__(self, metainfo: Metainfo) -> None:
        self._metainfo = metainfo
        self.file_priorities: tuple[int, ...] = ()
        self.wanted_bytes = 0
        self.wanted_left = 0
        """Wanted pieces that are not here."""
        self.completed_bytes = 0
        """Of the wanted pieces."""
        self.have_bytes = 0
        """Of all pieces."""
        self._wanted = b""
        """A byte a piece: its priority."""
        self._here = bytearray(metainfo.piece_count)
        self._missing_pads: int | None = None
        """What :attr:`missing_pad_bytes` returns; None: to be counted."""

    def set_priorities(
        self, priorities: Sequence[int] | None, ranked: RankedPieces | None = None
    ) -> bytes:
        """Set one priority per file, 0 (skip) to 7; return one per piece, that of its highest file.

        ``ranked`` is what a thread made of the same numbers. Raises ConfigError for a wrong count
        or a number out of range. Call :meth:`recount` after.
        """
        if priorities is None:
            priorities = (DEFAULT_PRIORITY,) * len(self._metainfo.files)
        else:
            check_priorities(self._metainfo, priorities)
        if ranked is not None and ranked.file_priorities is priorities:
            pieces = ranked.priorities
        else:
            pieces = piece_priorities(self._metainfo, priorities)
        self.take(priorities, pieces)
        return pieces

    def take(self, priorities: Sequence[int], pieces: bytes) -> None:
        """Set the priorities of files and, as :func:`piece_priorities` returns them, of pieces."""
        self.file_priorities = tuple(priorities)
        self._wanted = pieces

    def skipped_files(self) -> frozenset[int]:
        """Return the files with priority 0."""
        return skipped_by(self.file_priorities)

    def recount(self, have: Bitfield) -> None:
        """Count anew, from the pieces that are here; a few passes in C."""
        self._here = bytearray(have.flags())
        self._missing_pads = None
        wanted = self._wanted.translate(_IS_WANTED)
        both = bits_of_flags(wanted) & have.as_int()
        wanted_count, completed = wanted.count(1), both.bit_count()
        self.have_bytes = self._bytes_of(self._here)
        self.wanted_bytes = self._bytes_of(wanted)
        if completed == wanted_count:
            self.completed_bytes = self.wanted_bytes
        elif completed == have.count:
            self.completed_bytes = self.have_bytes
        else:
            flags = Bitfield.from_int(both, self._metainfo.piece_count).flags()
            self.completed_bytes = self._bytes_of(flags)
        self.wanted_left = wanted_count - completed

    def _bytes_of(self, chosen: bytes | bytearray) -> int:
        """Return how many bytes the pieces have for which there is a 1."""
        geometry = self._metainfo.geometry
        return chosen.count(1) * geometry.piece_bytes - geometry.missing_bytes(chosen)

    def piece_here(self, piece: int) -> list[int]:
        """Count one more piece; return the files that it completes."""
        metainfo, geometry = self._metainfo, self._metainfo.geometry
        length = geometry.piece_length(piece)
        self.have_bytes += length
        self._here[piece] = 1
        if self._missing_pads and geometry.pads is not None:
            self._missing_pads -= geometry.pads.bytes_of(piece, geometry)
        if self._wanted[piece]:
            self.wanted_left -= 1
            self.completed_bytes += length
        layout = metainfo.layout
        files = layout.files_of_piece(piece, geometry)
        found = list(filter(layout.lengths.__getitem__, files))
        for index in {files[0], files[-1]}.intersection(found):  # the others lie within the piece
            if not self._is_whole(layout.pieces_of(index, geometry)):
                found.remove(index)
        return found

    def _is_whole(self, pieces: range) -> bool:
        return self._here.find(0, pieces.start, pieces.stop) < 0

    def lacks(self, file_index: int) -> bool:
        """Return whether pieces of a file are not here."""
        return not self._is_whole(
            self._metainfo.layout.pieces_of(file_index, self._metainfo.geometry)
        )

    @property
    def left_bytes(self) -> int:
        """How much of the whole torrent is not here, padding included."""
        return self._metainfo.total_bytes - self.have_bytes

    @property
    def missing_pad_bytes(self) -> int:
        """How much of what is not here is padding, of which no file has bytes (BEP 47)."""
        if self._missing_pads is None:
            self._missing_pads = self._count_missing_pads()
        return self._missing_pads

    def _count_missing_pads(self) -> int:
        files, layout = self._metainfo.files, self._metainfo.layout
        if self._metainfo.geometry.pads is None or 0 not in self._here:
            return 0
        return sum(
            self._missing_of(layout.offsets[index], layout.lengths[index])
            for index in files.unstored()
            if layout.lengths[index] and files.is_pad(index)
        )

    def _missing_of(self, offset_bytes: int, length_bytes: int) -> int:
        """Return how many bytes of a range are in pieces that are not here."""
        size, here = self._metainfo.geometry.piece_bytes, self._here
        end = offset_bytes + length_bytes
        first, last = offset_bytes // size, (end - 1) // size
        if first == last:
            return length_bytes * (not here[first])
        head = ((first + 1) * size - offset_bytes) * (not here[first])
        tail = (end - last * size) * (not here[last])
        return head + here.count(0, first + 1, last) * size + tail

    @property
    def is_complete(self) -> bool:
        """Whether every wanted piece is here."""
        return not self.wanted_left


def piece_priorities(metainfo: Metainfo, priorities: Sequence[int]) -> bytes:
    """Return the priority of each piece, that of its highest file; padding has none.

    Costs a pass over the files: of a torrent of very many to be called in a thread.
    """
    count = metainfo.piece_count
    if len(set(priorities)) == 1:
        return bytes([priorities[0]]) * count
    chosen = bytearray(priorities)
    for index in metainfo.files.unstored():
        chosen[index] = 0
    pieces = bytearray(count)
    runs = _runs(chosen)
    for level in sorted(set(chosen) - {0}):
        for priority, first, last in runs:
            if priority == level:
                _raise_to(pieces, metainfo, range(first, last + 1), level)
    return bytes(pieces)


def _runs(priorities: bytearray) -> list[tuple[int, int, int]]:
    """Return priority, first and last file of each run of files with one priority, 0 left out."""
    runs: list[tuple[int, int, int]] = []
    first = 0
    for priority, same in groupby(priorities):
        after = first + sum(1 for _ in same)
        if priority:
            runs.append((priority, first, after - 1))
        first = after
    return runs


def _raise_to(pieces: bytearray, metainfo: Metainfo, files: range, priority: int) -> None:
    layout, piece_bytes = metainfo.layout, metainfo.geometry.piece_bytes
    start = layout.offsets[files[0]]
    end = layout.offsets[files[-1]] + layout.lengths[files[-1]]
    if end > start:
        first, last = start // piece_bytes, (end - 1) // piece_bytes
        pieces[first : last + 1] = bytes([priority]) * (last + 1 - first)


def edge_pieces(metainfo: Metainfo) -> int:
    """Return the first and last pieces of each file, as bits: 1 % of it at each end, or one piece.

    Costs a pass over the files: of a torrent of very many to be called in a thread.
    """
    layout, size = metainfo.layout, metainfo.geometry.piece_bytes
    flags = bytearray(metainfo.piece_count)
    for offset, length in zip(layout.offsets, layout.lengths, strict=True):
        if length:
            first, after = offset // size, (offset + length - 1) // size + 1
            count = min(1 + length // (EDGE_DIVISOR * size), after - first)
            flags[first : first + count] = flags[after - count : after] = b"\x01" * count
    return bits_of_flags(flags)


def changed_priorities(
    before: Sequence[int] | None, changes: Mapping[int, int], file_count: int
) -> list[int]:
    """Return the priority of each file after changes by file index. Raises ConfigError.

    Without any before, or with those of other files, all are wanted.
    """
    fits = before is not None and len(before) == file_count
    chosen = list(before) if before and fits else [DEFAULT_PRIORITY] * file_count
    for index, priority in changes.items():
        if not 0 <= index < file_count:
            raise ConfigError(f"file_priorities: there is no file {index} of {file_count}")
        chosen[index] = priority
    return chosen


def check_priorities(metainfo: Metainfo, priorities: Sequence[int]) -> None:
    """Raise ConfigError unless there is one number a file, each 0 to 7."""
    if len(priorities) != len(metainfo.files):
        message = f"file_priorities: {len(priorities)} numbers for {len(metainfo.files)} files"
        raise ConfigError(message)
    if min(priorities) < 0 or max(priorities) > MAX_PRIORITY:
        wrong = next(each for each in priorities if not 0 <= each <= MAX_PRIORITY)
        raise ConfigError(f"file_priorities: {wrong!r} is not among 0 to {MAX_PRIORITY}")


def skipped_by(priorities: Sequence[int]) -> frozenset[int]:
    """Return the files that these priorities leave out."""
    if 0 not in priorities:
        return frozenset()
    return frozenset(compress(range(len(priorities)), map(not_, priorities)))
