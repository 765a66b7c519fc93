"""Owns which files of a watched folder are due to be taken: whole ones, and each once.

A pure object: the listing and the time are arguments. A file is due when it has not changed for a
while; one that cannot be read as a torrent is due again, until it stood still so long that nobody
can be writing it any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

SETTLE_S: Final = 1.0  # ours: how long a file stands still before it is read
GIVE_UP_S: Final = 10.0  # ours: how long, before what is no torrent is one that never will be
RETRY_S: Final = 60.0  # ours: until what failed for another reason is tried again

TORRENT_SUFFIX: Final = ".torrent"
LINKS_SUFFIX: Final = ".magnet"
ADDED_SUFFIX: Final = ".added"
INVALID_SUFFIX: Final = ".invalid"


class Verdict(Enum):
    """What became of a file that was due."""

    DONE = auto()
    """It was taken, or set aside: not again, unless its content changes."""
    NO_TORRENT = auto()
    """It is no torrent, or not yet."""
    LATER = auto()
    """Nothing is wrong with the file."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of the folder as the system tells of it."""

    name: str
    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class DueFile:
    """A file to take now."""

    name: str
    is_final: bool
    """It stood still so long that, if it is no torrent, it is set aside."""


@dataclass(slots=True)
class _Seen:
    """What is known of one file."""

    facts: FileFacts
    since: float
    """When it was first seen like this."""
    due_at: float
    is_done: bool = False


def is_watched(name: str) -> bool:
    """Tell whether a name is one that is taken: ``x.torrent`` or ``x.magnet``, not hidden."""
    return not name.startswith(".") and name.lower().endswith((TORRENT_SUFFIX, LINKS_SUFFIX))


class WatchFolder:
    """What was seen of one folder, and what of it is done."""

    def __init__(self, *, settle_s: float = SETTLE_S, give_up_s: float = GIVE_UP_S) -> None:
        self._settle_s = settle_s
        self._give_up_s = max(give_up_s, settle_s)
        self._seen: dict[str, _Seen] = {}

    def look(
        self, listing: Iterable[FileFacts], now: float, *, is_asked: bool = False
    ) -> list[DueFile]:
        """Take a new listing; return the files that are due, by name.

        ``is_asked``: the user says that all is there, so that nothing waits to be tried.
        """
        before = self._seen
        self._seen = {
            facts.name: self._seen_now(facts, before.get(facts.name), now)
            for facts in listing
            if is_watched(facts.name)
        }
        due = (seen for seen in self._seen.values() if not seen.is_done)
        names = sorted(seen.facts.name for seen in due if is_asked or now >= seen.due_at)
        return [DueFile(name, self._is_final(name, now)) for name in names]

    def tried(self, name: str, verdict: Verdict, now: float) -> None:
        """Hear what became of a file that was due."""
        if (seen := self._seen.get(name)) is None:
            return
        if verdict is Verdict.LATER:
            seen.due_at = now + RETRY_S
        elif verdict is Verdict.NO_TORRENT:
            seen.due_at = max(now + self._settle_s, seen.due_at)
        else:
            seen.is_done = True

    def _seen_now(self, facts: FileFacts, seen: _Seen | None, now: float) -> _Seen:
        if seen is not None and seen.facts == facts:
            return seen
        return _Seen(facts, since=now, due_at=now + self._settle_s)

    def _is_final(self, name: str, now: float) -> bool:
        return now - self._seen[name].since >= self._give_up_s
