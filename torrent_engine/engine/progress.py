"""Owns how much of a torrent is wanted and how much of that is here."""

from collections.abc import Callable, Sequence

from torrent_engine.base.errors import ConfigError
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.policy.picker import DEFAULT_PRIORITY

MAX_PRIORITY = 7


class Progress:
    """Counts wanted pieces and bytes, and the pieces that each file still lacks."""

    def __init__(self, metainfo: Metainfo) -> None:
        self._metainfo = metainfo
        self._file_left = [0] * len(metainfo.files)
        self.file_priorities: tuple[int, ...] = ()
        self.wanted_bytes = 0
        self.wanted_left = 0
        """Wanted pieces that are not here."""
        self.completed_bytes = 0
        """Of the wanted pieces."""
        self.have_bytes = 0
        """Of all pieces."""
        self._wanted = bytearray(metainfo.piece_count)

    def set_priorities(self, priorities: Sequence[int] | None) -> list[int]:
        """Take one number a file, 0 (skip) to 7; return one a piece, that of its highest file.

        Raises ConfigError for a wrong count or a number out of range. Call :meth:`recount` after.
        """
        if priorities is None:
            priorities = (DEFAULT_PRIORITY,) * len(self._metainfo.files)
        check_priorities(self._metainfo, priorities)
        self.file_priorities = tuple(priorities)
        return self._piece_priorities()

    def _piece_priorities(self) -> list[int]:
        metainfo, priorities = self._metainfo, self.file_priorities
        if len(set(priorities)) == 1:
            pieces = [priorities[0]] * metainfo.piece_count
        else:
            pieces = [0] * metainfo.piece_count
            for index, priority in enumerate(priorities):
                if metainfo.files[index].is_pad or not priority:
                    continue
                for piece in metainfo.layout.pieces_of(index, metainfo.geometry):
                    pieces[piece] = max(pieces[piece], priority)
        self._wanted = bytearray(1 if priority else 0 for priority in pieces)
        return pieces

    def skipped_files(self) -> frozenset[int]:
        """Return the files with priority 0."""
        return skipped_by(self.file_priorities)

    def recount(self, has: Callable[[int], bool]) -> None:
        """Count anew; ``has`` says whether a piece is here."""
        metainfo, geometry = self._metainfo, self._metainfo.geometry
        self.wanted_bytes = self.completed_bytes = self.have_bytes = self.wanted_left = 0
        for piece, wanted in enumerate(self._wanted):
            length = geometry.piece_length(piece)
            here = has(piece)
            self.have_bytes += length if here else 0
            if wanted:
                self.wanted_bytes += length
                self.completed_bytes += length if here else 0
                self.wanted_left += 0 if here else 1
        self._file_left = [
            sum(not has(piece) for piece in metainfo.layout.pieces_of(index, geometry))
            for index in range(len(metainfo.files))
        ]

    def piece_here(self, piece: int) -> list[int]:
        """Count one more piece; return the files that it completes."""
        metainfo, geometry = self._metainfo, self._metainfo.geometry
        length = geometry.piece_length(piece)
        self.have_bytes += length
        if self._wanted[piece]:
            self.wanted_left -= 1
            self.completed_bytes += length
        completed = []
        for index in metainfo.layout.files_of_piece(piece, geometry):
            if metainfo.layout.lengths[index]:
                self._file_left[index] -= 1
                if not self._file_left[index]:
                    completed.append(index)
        return completed

    @property
    def is_complete(self) -> bool:
        """Whether every wanted piece is here."""
        return not self.wanted_left


def check_priorities(metainfo: Metainfo, priorities: Sequence[int]) -> None:
    """Raise ConfigError unless there is one number a file, each 0 to 7."""
    if len(priorities) != len(metainfo.files):
        message = f"file_priorities: {len(priorities)} numbers for {len(metainfo.files)} files"
        raise ConfigError(message)
    if any(not 0 <= priority <= MAX_PRIORITY for priority in priorities):
        raise ConfigError("file_priorities: each must be 0 to 7")


def skipped_by(priorities: Sequence[int]) -> frozenset[int]:
    """Return the files that these priorities leave out."""
    return frozenset(index for index, priority in enumerate(priorities) if not priority)
