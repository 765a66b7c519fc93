"""Pieces that wait to be copied, by their sources: those from a bad one are dropped at once."""

from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torrent_engine.engine.content.shared_content import ContentHolder, Twin

Pieces: TypeAlias = "array[int]"
"""Not a list for each of 100,000 sources: the garbage collector would look into them all."""


class CopyQueue:
    """Queued pieces: those from one source follow each other, in the order they came in."""

    def __init__(self) -> None:
        # Ordered, for the first key of a dict is sought behind all that were deleted before it.
        self._waiting: OrderedDict[ContentHolder, OrderedDict[int, Pieces]] = OrderedDict()
        self._taken = 0
        """How many pieces from the first source were taken; they are still in its array."""

    def __bool__(self) -> bool:
        """Return whether a piece waits."""
        return bool(self._waiting)

    def add(self, found: Mapping[int, Twin]) -> None:
        """Queue pieces behind those from the same source, or behind all."""
        for piece, (holder, file) in found.items():
            files = self._waiting.get(holder)
            if files is None:
                files = self._waiting[holder] = OrderedDict()
            pieces = files.get(file)
            if pieces is None:
                pieces = files[file] = array("q")
            pieces.append(piece)

    def first(self) -> tuple[int, Twin]:
        """Return the piece that is next, and its source."""
        source, pieces = self._first()
        return pieces[self._taken], source

    def take_run(self, stop: int) -> list[int]:
        """Take the piece that is next, and those that follow both it and each other below ``stop``.

        They are from the same source.
        """
        source, pieces = self._first()
        start, end = self._taken, self._taken + 1
        while end < len(pieces) and pieces[end] == pieces[end - 1] + 1 and pieces[end] < stop:
            end += 1
        run, self._taken = list(pieces[start:end]), end
        if end == len(pieces):
            self.drop(source)
        return run

    def put_back(self, source: Twin, run: Sequence[int]) -> None:
        """Queue the last pieces of the run that was taken last again, as the next ones."""
        if not run:
            return
        if self._taken >= len(run) and source == self._first()[0]:
            self._taken -= len(run)
            return
        self._forget_taken()
        holder, file = source
        files = self._waiting.setdefault(holder, OrderedDict())
        files[file] = array("q", run) + files.get(file, array("q"))
        files.move_to_end(file, last=False)
        self._waiting.move_to_end(holder, last=False)

    def drop(self, source: Twin) -> Pieces:
        """Remove and return the pieces from one source."""
        self._forget_taken()
        files = self._waiting.get(source.holder, OrderedDict())
        dropped = files.pop(source.file, array("q"))
        if not files:
            self._waiting.pop(source.holder, None)
        return dropped

    def drop_all(self, holder: ContentHolder) -> list[Pieces]:
        """Remove and return the pieces from one torrent, by their sources."""
        self._forget_taken()
        return list(self._waiting.pop(holder, OrderedDict()).values())

    def clear(self) -> list[Pieces]:
        """Remove and return all pieces, by their sources."""
        self._forget_taken()
        dropped = [pieces for files in self._waiting.values() for pieces in files.values()]
        self._waiting.clear()
        return dropped

    def _first(self) -> tuple[Twin, Pieces]:
        holder, files = next(iter(self._waiting.items()))
        file, pieces = next(iter(files.items()))
        return Twin(holder, file), pieces

    def _forget_taken(self) -> None:
        if self._taken:
            _, pieces = self._first()
            del pieces[: self._taken]
            self._taken = 0
