"""Ownership of the files on disk: which of them are the torrent's, and which were there before it.

A file is the torrent's own if the database says so, if the torrent made it, or if pieces match that
hold as many of its bytes as a whole piece has, or half of them where it is shorter. No I/O.
"""

from collections.abc import Callable, Collection, Iterable, Iterator

from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import FileLayout, Geometry
from torrent_engine.disk.file_stamps import StampBook


class OwnedFiles:
    """Every file on disk is either the torrent's own or foreign."""

    def __init__(self, layout: FileLayout, geometry: Geometry) -> None:
        self.present: set[int] = set()
        """Existing files that may be read."""
        self.foreign: set[int] = set()
        """Files on disk of which nothing says that they are the torrent's."""
        self.taken: set[int] = set()
        """Files that were made or overwritten and are not in the database."""
        self.found_folders: frozenset[tuple[str, ...]] = frozenset()
        """Folders that were there before the torrent and had none of its files; never removed."""
        self.suspects: dict[int, int] = {}
        """Files that have to prove that they are the torrent's, and the pieces left that could."""
        self.refused: set[int] = set()
        """Those that did not, and of which the database does not know that."""
        self._had = Bitfield(0)
        self.knows_part_file: bool | None = None
        """Whether what has the name of the part-file is it; None: if others cannot read it."""
        self.found_part_file = False
        """Whether somebody else's file has the name of the part-file."""
        self._on_taking: Callable[[int, int], None] | None = None
        self.book = StampBook(len(layout.lengths))
        self._own: set[int] = set()
        self._unstamped: set[int] = set()
        self._layout = layout
        self._geometry = geometry
        self._matches: dict[int, list[int]] = {}

    def watch(self, on_taking: Callable[[int, int], None] | None) -> None:
        """Call this with each foreign file and its inode before the first write to it.

        That is in the thread that writes. None: call nothing any more.
        """
        self._on_taking = on_taking

    # -- what is on disk ------------------------------------------------------------------

    def look(self, present: Iterable[int]) -> None:
        """Record which files exist; those not known to be the torrent's are foreign."""
        self.present = set(present)
        self._own.intersection_update(self.present)
        self.foreign = self.present.difference(self._own)

    def appeared(self, index: int) -> None:
        """Record that another program made a file."""
        self.present.add(index)
        self.foreign.add(index)

    def vanished(self, index: int) -> None:
        """Record that a file is not on disk any more."""
        self.present.discard(index)
        self.foreign.discard(index)
        self._own.discard(index)
        self.suspects.pop(index, None)
        self._matches.pop(index, None)

    def taking(self, index: int, inode: int) -> None:
        """Record that a file was just made, or is about to be overwritten."""
        if index in self._own:
            return
        self.taken.add(index)
        if self._on_taking is not None:
            self._on_taking(index, inode)

    def made(self, index: int) -> bool:
        """Record that the torrent made a file; return whether it was not there before."""
        if index in self.present:
            return False
        self.present.add(index)
        self._adopt(index)
        self._unstamped.add(index)
        return True

    def end_write(self, index: int) -> None:
        """Record the end of a write that was begun in the book: the file is the torrent's own."""
        self.book.end_write(index)
        self._prove(index)

    def wrote(self, index: int) -> None:
        """Record that a file was written to before: its stamp is void, and it is our own."""
        self.book.wrote(index)
        self._prove(index)

    def _prove(self, index: int) -> None:
        if self.foreign:
            self.adopt((index,))
        if self.suspects:
            self.suspects.pop(index, None)

    # -- whose it is ----------------------------------------------------------------------

    def is_own(self, index: int) -> bool:
        """Return whether a file on disk is the torrent's."""
        return index in self._own

    def own(self) -> set[int]:
        """Return the files on disk that are the torrent's."""
        return self.present - self.foreign

    def proved(self) -> set[int]:
        """Return those of them of which nobody else's may have taken the place."""
        return self.own() - self.suspects.keys()

    def not_own(self, indices: Iterable[int]) -> set[int]:
        """Return those of the files that are not on disk as the torrent's."""
        return set(indices) - self._own

    def not_made(self, indices: Iterable[int]) -> set[int]:
        """Return those of the files that were not made since the storage was opened."""
        return set(indices) - self._unstamped

    def adopt(self, indices: Iterable[int]) -> None:
        """Record that files which were there before hold this torrent's data."""
        for index in indices:
            if index in self.present and self._adopt(index):
                self._unstamped.add(index)

    def _adopt(self, index: int) -> bool:
        was_foreign = index in self.foreign
        self.foreign.discard(index)
        self._own.add(index)
        self._matches.pop(index, None)
        return was_foreign

    def adopt_piece(self, piece: int, was_read: Callable[[int], bool]) -> None:
        """Record that a piece matches, which may prove that foreign files are the torrent's.

        ``was_read`` says whether the bytes of a file came from there, not from the part-file.
        """
        for index in self._suspects_of(piece):
            del self.suspects[index]
            self._unstamped.add(index)
        if not self.foreign:
            return
        for index in self._layout.files_of_piece(piece, self._geometry):
            if index in self.foreign and self._layout.lengths[index] and was_read(index):
                self._matches.setdefault(index, []).append(piece)
                if self._is_proved(index):
                    self.adopt((index,))

    def matched(self, index: int) -> list[tuple[int, int]]:
        """Return the (start, end) ranges of a foreign file in matching pieces, in order."""
        return [self._range(index, piece) for piece in sorted(self._matches.get(index, ()))]

    def unmatched(self, index: int) -> list[tuple[int, int]]:
        """Return the other ranges of the file, up to its length in the torrent."""
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

    # -- what may be a copy ---------------------------------------------------------------

    def pieces_within(self, index: int, pieces: Bitfield) -> Iterator[int]:
        """Yield those of some pieces that lie in one file alone; what they are is up to it."""
        start, length = self._layout.offsets[index], self._layout.lengths[index]
        piece_bytes, end = self._geometry.piece_bytes, self._layout.end_bytes
        for piece in self._layout.pieces_of(index, self._geometry):
            first = piece * piece_bytes
            is_within = first >= start and min(first + piece_bytes, end) <= start + length
            if is_within and pieces.has(piece):
                yield piece

    def suspect(self, indices: Iterable[int], had: Bitfield) -> None:
        """Record which of the torrent's files may be somebody else's of the same size and times.

        One is the torrent's once a piece matches that it ``had`` and that lies in this file alone,
        and is foreign once none of them does. A file without such pieces stays the torrent's.
        """
        for index in indices:
            if left := sum(1 for _ in self.pieces_within(index, had)):
                self.suspects[index] = left
        self._had = had

    def piece_failed(self, piece: int) -> None:
        """Record that a piece does not match, which may prove that a file is not the torrent's."""
        for index in self._suspects_of(piece):
            self.suspects[index] -= 1
            if not self.suspects[index]:
                del self.suspects[index]
                self._own.discard(index)
                self._unstamped.discard(index)
                self.foreign.add(index)
                self.refused.add(index)

    def _suspects_of(self, piece: int) -> list[int]:
        """Return the suspected file that a piece lies in alone, if it was one of those it had."""
        if not self.suspects or not self._had.has(piece):
            return []
        files = self._layout.files_of_piece(piece, self._geometry)
        its = [index for index in files if self._layout.lengths[index]]
        return its if len(its) == 1 and its[0] in self.suspects else []

    # -- what the database knows ----------------------------------------------------------

    def needs_stamp(self, index: int) -> None:
        """Record that a file was synced, so that its stamp is to be saved anew."""
        self._unstamped.add(index)

    def unstamped(self) -> set[int]:
        """Return the files that were made, adopted or synced and whose stamps are not saved."""
        return set(self._unstamped)

    @property
    def has_unsaved(self) -> bool:
        """Whether there are such files."""
        return bool(self._unstamped or self.refused)

    def saved(self, indices: Collection[int]) -> None:
        """Record that the stamps of files are in the database."""
        self.book.saved(indices)
        self._unstamped -= {index for index in indices if self.book.is_known(index)}
        self.refused.difference_update(indices)
        self.taken.difference_update(indices)

    def taken_files(self) -> frozenset[int]:
        """Return the files that were made or overwritten and are not in the database."""
        return frozenset(self.taken)
