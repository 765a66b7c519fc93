"""Files that were on disk before this torrent wrote to them, and which of them are proved its own.

A file is the torrent's if the database says so, or if pieces match that hold as many of its bytes
as a whole piece has, or half of them where it is shorter. Pure.
"""

from collections.abc import Callable, Collection

from torrent_engine.codec.geometry import FileLayout, Geometry


class FoundFiles:
    """Every file on disk is either the torrent's own or foreign."""

    def __init__(self, layout: FileLayout, geometry: Geometry) -> None:
        self.foreign: set[int] = set()
        """Files on disk of which nothing says that they are the torrent's."""
        self._own: set[int] = set()
        self._layout = layout
        self._geometry = geometry
        self._matches: dict[int, list[int]] = {}

    def look(self, present: Collection[int]) -> None:
        """Take which files are on disk; those that are not the torrent's so far are foreign."""
        self._own.intersection_update(present)
        self.foreign = set(present).difference(self._own)

    def is_own(self, index: int) -> bool:
        """Return whether a file on disk is the torrent's."""
        return index in self._own

    def appeared(self, index: int) -> None:
        """Record that somebody else made a file."""
        self.foreign.add(index)

    def vanished(self, index: int) -> None:
        """Record that a file is not on disk any more."""
        self.foreign.discard(index)
        self._own.discard(index)
        self._matches.pop(index, None)

    def adopt(self, index: int) -> bool:
        """Record that a file is the torrent's; return whether it was foreign."""
        was_foreign = index in self.foreign
        self.foreign.discard(index)
        self._own.add(index)
        self._matches.pop(index, None)
        return was_foreign

    def match(self, piece: int, was_read: Callable[[int], bool]) -> list[int]:
        """Record that a piece is right; return the foreign files that this proves.

        ``was_read`` says whether the bytes of a file came from there, not from the part-file.
        """
        proved = []
        for index in self._layout.files_of_piece(piece, self._geometry):
            if index in self.foreign and self._layout.lengths[index] and was_read(index):
                self._matches.setdefault(index, []).append(piece)
                if self._is_proved(index):
                    proved.append(index)
        return proved

    def matched(self, index: int) -> list[tuple[int, int]]:
        """Return the (start, end) ranges of a foreign file that lie in right pieces, in order."""
        return [self._range(index, piece) for piece in sorted(self._matches.get(index, ()))]

    def unmatched(self, index: int) -> list[tuple[int, int]]:
        """Return the other ranges of the file, as long as it is in the torrent."""
        gaps, at = [], 0
        for start, end in self.matched(index):
            if start > at:
                gaps.append((at, start))
            at = end
        if at < self._layout.lengths[index]:
            gaps.append((at, self._layout.lengths[index]))
        return gaps

    def _is_proved(self, index: int) -> bool:
        matched = sum(end - start for start, end in self.matched(index))
        return matched >= min(self._geometry.piece_bytes, -(-self._layout.lengths[index] // 2))

    def _range(self, index: int, piece: int) -> tuple[int, int]:
        """Return which bytes of a file lie in a piece."""
        offset, length = self._layout.offsets[index], self._layout.lengths[index]
        start = piece * self._geometry.piece_bytes - offset
        return max(start, 0), min(start + self._geometry.piece_bytes, length)
