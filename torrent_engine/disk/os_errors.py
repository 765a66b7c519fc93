"""Turns what the system says into the package's own errors; the only place that reads errno."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from torrent_engine.base.errors import (
    DiskFullError,
    FileExistsStorageError,
    StateDatabaseError,
    StorageError,
    TorrentEngineError,
)

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IN_THE_WAY: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST})
_SQLITE_FULL: Final = 13
_SQLITE_IOERR_SHMSIZE: Final = 4874  # no room for the index of the write-ahead log


def storage_error(path: object, error: OSError) -> StorageError:
    """Return the error for a failed call on ``path``.

    No space, no quota and a file too large for the file system are DiskFullError; a link or a
    folder in the place of a file is FileExistsStorageError; the rest is StorageError.
    """
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return DiskFullError(path, reason)
    if error.errno in _IN_THE_WAY:
        return FileExistsStorageError(path, f"{reason} (links are not followed)")
    return StorageError(path, reason)


@contextmanager
def storage_errors(path: object) -> Iterator[None]:
    """Raise what fails in the block as :func:`storage_error` of ``path``."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def database_error(path: object, error: sqlite3.Error) -> TorrentEngineError:
    """Return the error for a failed statement on the resume database at ``path``."""
    if is_database_full(error):
        return DiskFullError(path, str(error))
    return StateDatabaseError(f"{path}: {error}")


def is_database_full(error: sqlite3.Error) -> bool:
    """Return whether SQLite ran out of room."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == _SQLITE_FULL or code == _SQLITE_IOERR_SHMSIZE or "full" in str(error)
