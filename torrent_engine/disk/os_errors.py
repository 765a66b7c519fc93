"""Mapping of OSError and sqlite3.Error to the package's errors; the only reader of errno."""

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
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})
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


def is_out_of_descriptors(error: BaseException | None) -> bool:
    """Return whether a call, or what caused an error, failed for want of a descriptor."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_DESCRIPTOR:
            return True
        error = error.__cause__
    return False


@contextmanager
def storage_errors(path: object) -> Iterator[None]:
    """Raise what fails in the block as :func:`storage_error` of ``path``."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


@contextmanager
def storage_failures(path: object) -> Iterator[None]:
    """Raise whatever a storage of the user's raises in the block as a StorageError."""
    try:
        yield
    except TorrentEngineError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error
    except Exception as error:
        reason = f"the storage failed: {type(error).__name__}: {error}"
        raise StorageError(path, reason) from error


def database_error(path: object, error: sqlite3.Error) -> TorrentEngineError:
    """Return the error for a failed statement on the resume database at ``path``."""
    if is_database_full(error):
        return DiskFullError(path, str(error))
    return StateDatabaseError(f"{path}: {error}")


def is_database_full(error: sqlite3.Error) -> bool:
    """Return whether SQLite ran out of room."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF == _SQLITE_FULL or code == _SQLITE_IOERR_SHMSIZE or "full" in str(error)
