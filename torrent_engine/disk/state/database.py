"""SQLite connection of the resume database: locking, a full disk, a damaged file.

Blocking; one thread at a time.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.disk.file_lock import FileLock
from torrent_engine.disk.filesystem import is_network_filesystem
from torrent_engine.disk.os_errors import database_error, is_database_full, storage_error
from torrent_engine.disk.state.backup import (
    DailyCopy,
    believe_old_rows,
    forget_old_sessions,
    with_old_details,
)
from torrent_engine.disk.state.files import (
    Reserve,
    make_private_folder,
    refuse_unwritable,
    remove_temporaries,
    set_database_aside,
)
from torrent_engine.disk.state.schema import DamagedDatabaseError, migrate

_T = TypeVar("_T")
_BUSY_TIMEOUT_S: Final = 10.0
_LOCK_TIMEOUT_S: Final = 30.0  # a large database that another process checks at its start
_LOCK_POLL_S: Final = 0.05
_CACHE_KIB: Final = 512  # ours: SQLite's own 2,000 are not faster with 50,000 jobs
_BROKEN: Final = frozenset({11, 26})  # SQLITE_CORRUPT, SQLITE_NOTADB
_SQLITE_READONLY: Final = 8
_NOT_THE_FILE: Final = frozenset({0, 3, 5, 6, 7, 9, 10, 13, 14, 23})  # busy, I/O, permission, ...
_log = logging.getLogger(__name__)


class StateDatabase:
    """``state.db`` in a folder.

    ``copies`` gives the rows of a new table ``torrents``, ``sessions`` the torrents of a manager.
    """

    def __init__(
        self,
        folder: Path,
        *,
        reserve_bytes: int,
        copies: Callable[[], Iterable[tuple[Any, ...]]],
        sessions: Callable[[], Iterable[bytes]],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.path = folder / "state.db"
        self._copies = copies
        self._sessions = sessions
        self._daily_copy = DailyCopy(folder / "state.db.copy", wall_clock)
        self._reserve = Reserve(folder / "reserve", reserve_bytes)
        self._process_lock = FileLock(folder / "process.lock")
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or make the file; a damaged one is moved aside. Raises StateDatabaseError."""
        try:
            make_private_folder(self.folder)
            self._reserve.hold()
            is_alone = self._lock_process()
            if is_alone:
                remove_temporaries(self.folder)
                remove_temporaries(self.folder / "torrents")
            self._connect(is_alone=is_alone)
            self._process_lock.take(exclusive=False)
        except OSError as error:
            self.close()
            path = error.filename or self.folder
            raise StateDatabaseError(f"{path}: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close it and leave the processes that use the folder."""
        self._disconnect()
        self._process_lock.free()

    def hold_reserve(self) -> None:
        """Reserve space for the next time that the disk is full, once there is some again."""
        self._reserve.hold()

    def run(self, work: Callable[[sqlite3.Connection], _T], *, is_precious: bool) -> _T:
        """Run one transaction, again when there is room again or the database is new."""
        result = self._run(work, is_precious=is_precious)
        if self._connection is not None:
            self._daily_copy.make_if_due(self._connection)
        return result

    def _run(self, work: Callable[[sqlite3.Connection], _T], *, is_precious: bool) -> _T:
        has_made_room = is_mended = False
        try:
            while True:
                try:
                    return self._transaction(work, is_precious=is_precious)
                except sqlite3.Error as error:
                    if is_database_full(error):
                        is_again = self._make_room(is_first=not has_made_room)
                        has_made_room = True
                    else:
                        is_again = not is_mended and self._is_mended(error)
                        is_mended = True
                    if not is_again:
                        raise database_error(self.path, error) from error
                except OSError as error:
                    has_made_room = True
                    if not self._reserve.give_up():
                        path = error.filename2 or error.filename or self.folder
                        raise storage_error(path, error) from error
        finally:
            if has_made_room:
                self._reserve.hold()  # what is left of it, before payload takes it

    def _transaction(self, work: Callable[[sqlite3.Connection], _T], *, is_precious: bool) -> _T:
        db = self._connection
        if db is None:
            raise StateDatabaseError(f"{self.path} is closed")
        db.execute(f"PRAGMA synchronous = {'FULL' if is_precious else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        try:
            with _decode_errors():
                result = work(db)
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return result

    def _is_mended(self, error: sqlite3.Error) -> bool:
        """Put another in the place of a damaged database; False if it is not damaged."""
        is_mended = _is_broken(error) and self._process_lock.take()
        if is_mended:
            self._start_anew()
        self._process_lock.take(exclusive=False)
        return is_mended

    def _make_room(self, *, is_first: bool) -> bool:
        """Free some of what is held on the disk; False if nothing is left of it."""
        is_shorter = is_first and self._shorten_log()
        return self._reserve.give_up() or is_shorter

    def _shorten_log(self) -> bool:
        """Move the write-ahead log into the database, which frees its room; False if it is none."""
        log = self.path.with_name(f"{self.path.name}-wal")
        with suppress(OSError, sqlite3.Error):
            before = log.stat().st_size
            if before and self._connection is not None:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                return log.stat().st_size < before
        return False

    def _lock_process(self) -> bool:
        """Join the processes that use the folder; return whether there are no others."""
        if self._process_lock.take():
            return True
        for _ in range(int(_LOCK_TIMEOUT_S / _LOCK_POLL_S)):
            if self._process_lock.take(exclusive=False):
                return False
            time.sleep(_LOCK_POLL_S)
        raise StateDatabaseError(f"{self.folder} is locked by another process")

    def _connect(self, *, is_alone: bool) -> None:
        try:
            self._connect_once(is_alone=is_alone)
        except sqlite3.Error as error:
            if is_database_full(error) and self._reserve.give_up():
                self._disconnect()
                self._connect(is_alone=is_alone)
                self._reserve.hold()
            elif is_alone and self._is_unusable(error):
                self._start_anew()
            else:
                raise database_error(self.path, error) from error

    def _is_unusable(self, error: sqlite3.Error) -> bool:
        """Return whether a database that cannot be opened is itself the reason."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == _SQLITE_READONLY:
            return os.access(self.folder, os.W_OK)  # its files are looked at before
        return code not in _NOT_THE_FILE

    def _connect_once(self, *, is_alone: bool) -> None:
        self.path.touch(mode=0o600)
        refuse_unwritable(self.path)
        db = sqlite3.connect(
            self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._connection = db
        db.text_factory = _decode_text
        with _decode_errors():
            self._set_up(db, is_alone=is_alone)

    def _set_up(self, db: sqlite3.Connection, *, is_alone: bool) -> None:
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if is_alone and db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise DamagedDatabaseError(f"{self.path} is damaged")
        is_remote = is_network_filesystem(self.folder)
        db.execute(f"PRAGMA journal_mode = {'DELETE' if is_remote else 'WAL'}")
        migrate(db, may_change=is_alone or not self.path.stat().st_size)

    def _start_anew(self) -> None:
        """Move a damaged database aside; take the daily copy, and the copies of .torrents."""
        self._disconnect()
        set_database_aside(self.path)
        if self._restore():
            _log.warning("%s was damaged: moved aside, a copy is in its place", self.path)
            return
        _log.warning("%s was damaged: moved aside, progress will be found by hashing", self.path)
        try:
            self._connect_once(is_alone=True)
            self._fill(is_restored=False)
        except sqlite3.Error as error:
            raise database_error(self.path, error) from error

    def _restore(self) -> bool:
        """Restore the daily copy; return False if there is none that is whole."""
        if not self._daily_copy.restore(self.path):
            return False
        try:
            self._connect_once(is_alone=True)
            self._fill(is_restored=True)
        except (sqlite3.Error, StateDatabaseError) as error:
            _log.warning("%s cannot be used: %s", self._daily_copy.path, error)
            self._disconnect()
            for ending in ("", "-wal", "-shm"):
                self.path.with_name(f"state.db{ending}").unlink(missing_ok=True)
            return False
        return True

    def _fill(self, *, is_restored: bool) -> None:
        """List the torrents of which there are copies."""
        rows = list(self._copies())

        def fill(db: sqlite3.Connection) -> None:
            if is_restored:
                believe_old_rows(db, [row[0] for row in rows])
                forget_old_sessions(db, self._sessions())
            insert_rows(db, "torrents", [with_old_details(db, row) for row in rows])

        self._transaction(fill, is_precious=True)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _is_broken(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    if code & 0xFF in _BROKEN:
        return True
    # A table or column that is gone means that the schema itself was hit.
    return (code & 0xFF == 1 and "no such" in str(error)) or "malformed" in str(error)


@contextmanager
def _decode_errors() -> Iterator[None]:
    """Turn a message of SQLite that is no text, as it quotes damaged names, into damage."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DamagedDatabaseError("damaged beyond saying how") from error


def _decode_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def insert_rows(db: sqlite3.Connection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Put whole rows into a table, in the place of those with the same key."""
    rows = iter(rows)
    if (first := next(rows, None)) is not None:
        query = f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(first))})"  # noqa: S608
        db.executemany(query, chain((first,), rows))
