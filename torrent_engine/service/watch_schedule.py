"""Schedule of a watched folder: which files are complete and due to be read.

Listing and time are arguments. A file is due when it has not changed for a while. A file that is
not a valid torrent may still be being written: it is due again until it has been unchanged for
long enough.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

SETTLE_S: Final = 1.0  # ours: a file is read when it was unchanged for this long
GIVE_UP_S: Final = 10.0  # ours: an invalid file that was unchanged for this long stays invalid
RETRY_S: Final = 60.0  # ours: time between attempts after any other error

TORRENT_SUFFIX: Final = ".torrent"
LINKS_SUFFIX: Final = ".magnet"
ADDED_SUFFIX: Final = ".added"
INVALID_SUFFIX: Final = ".invalid"


class ReadOutcome(Enum):
    """Result of reading a file that was due."""

    DONE = auto()
    """Added or set aside; not due again unless its content changes."""
    INVALID = auto()
    """Not a torrent, or not completely written yet."""
    LATER = auto()
    """An error that the file did not cause."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file of the folder, as listed by the system."""

    name: str
    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class DueFile:
    """A file to read now."""

    name: str
    is_final: bool
    """It was unchanged for so long that it is set aside if it is invalid."""
    suffix: str = ""
    """If not "": its torrents are saved, and only its new name is missing."""


@dataclass(slots=True)
class _Tracked:
    """State of one file."""

    file: ListedFile
    since: float
    """When it was first seen unchanged."""
    due_at: float
    is_done: bool = False
    suffix: str = ""


def is_watched(name: str) -> bool:
    """Return whether a file name is ``x.torrent`` or ``x.magnet``, and not hidden."""
    return not name.startswith(".") and name.lower().endswith((TORRENT_SUFFIX, LINKS_SUFFIX))


class WatchSchedule:
    """The files of one folder, and which of them are done."""

    def __init__(self, *, settle_s: float = SETTLE_S, give_up_s: float = GIVE_UP_S) -> None:
        self._settle_s = settle_s
        self._give_up_s = max(give_up_s, settle_s)
        self._tracked: dict[str, _Tracked] = {}

    def due(
        self, listing: Iterable[ListedFile], now: float, *, is_asked: bool = False
    ) -> list[DueFile]:
        """Update the files from a new listing; return those that are due, sorted by name.

        With ``is_asked``, at the user's request, files are due without waiting.
        """
        before = self._tracked
        self._tracked = {
            file.name: self._updated(file, before.get(file.name), now)
            for file in listing
            if is_watched(file.name)
        }
        open_files = (each for each in self._tracked.values() if not each.is_done)
        names = sorted(each.file.name for each in open_files if is_asked or now >= each.due_at)
        return [self._due_file(name, now) for name in names]

    def record(self, name: str, outcome: ReadOutcome, now: float) -> None:
        """Record the outcome of reading a file."""
        if (tracked := self._tracked.get(name)) is None:
            return
        if outcome is ReadOutcome.LATER:
            tracked.due_at = now + RETRY_S
        elif outcome is ReadOutcome.INVALID:
            tracked.due_at = max(now + self._settle_s, tracked.due_at)
        else:
            tracked.is_done = True

    def keep(self, name: str, suffix: str, now: float) -> None:
        """Record that a file is due later, only to get a name with ``suffix``."""
        if (tracked := self._tracked.get(name)) is not None:
            tracked.due_at, tracked.suffix = now + RETRY_S, suffix

    def _updated(self, file: ListedFile, tracked: _Tracked | None, now: float) -> _Tracked:
        if tracked is not None and tracked.file == file:
            return tracked
        return _Tracked(file, since=now, due_at=now + self._settle_s)

    def _due_file(self, name: str, now: float) -> DueFile:
        tracked = self._tracked[name]
        return DueFile(name, now - tracked.since >= self._give_up_s, tracked.suffix)
