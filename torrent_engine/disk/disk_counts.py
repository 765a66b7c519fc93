"""Counts of what the disks of all torrents did since the start of the process."""

from collections import Counter
from typing import Final

from torrent_engine.base.errors import (
    DiskFullError,
    FileExistsStorageError,
    MissingFilesError,
    StateDatabaseError,
    StorageError,
    TorrentEngineError,
)

ERROR_KINDS: Final = ("full", "missing", "in_the_way", "database", "other")
"""No space; files are gone; something else has their path; the resume database; the rest."""


class DiskCounts:
    """Counts failures of disks, and bytes that checks have hashed."""

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter(dict.fromkeys(ERROR_KINDS, 0))
        """Failures that stopped a torrent, made it wait or ended a move, by kind."""
        self.checked_bytes = 0
        """Length of the pieces that checks of files on the disk have looked at."""

    def failed(self, error: TorrentEngineError) -> None:
        """Count a failure if it is one of a disk."""
        kind = _kind_of(error)
        if kind is not None:
            self.errors[kind] += 1


def _kind_of(error: TorrentEngineError) -> str | None:
    match error:
        case DiskFullError():
            return "full"
        case MissingFilesError():
            return "missing"
        case FileExistsStorageError():
            return "in_the_way"
        case StateDatabaseError():
            return "database"
        case StorageError():
            return "other"
        case _:
            return None
