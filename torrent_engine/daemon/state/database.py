"""``daemon.db``: tables of JSON values by key, in SQLite. Blocking; one thread at a time.

Nothing in it is needed to download: a file that is damaged, or of a later version, is moved aside.
Where the resume database is of a later version, too, nothing is changed: that is an error.
"""

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.disk.filesystem import is_network_filesystem
from torrent_engine.disk.os_errors import is_database_full
from torrent_engine.disk.state.files import refuse_unwritable, set_database_aside
from torrent_engine.disk.state.schema import refuse_later

VERSION: Final = 1
TABLES: Final = (
    "settings_overlay",
    "categories",
    "labels",
    "tokens",
    "sessions",
    "owners",
    "idempotency",
    "totals",
    "history",
    "hook_due",
    "completions",
    "feed_seen",
    "transmission",
    "job_sources",
    "removed_torrents",
    "bans",
)
_BROKEN: Final = frozenset({11, 26})  # SQLITE_CORRUPT, SQLITE_NOTADB
_BUSY_TIMEOUT_S: Final = 10.0
logger = logging.getLogger(__name__)

Changes = Mapping[tuple[str, str], str | None]
"""New values by table and key; None: deleted."""


class DatabaseFullError(StateDatabaseError):
    """There is no space for the database."""


class DamagedDaemonDatabaseError(StateDatabaseError):
    """The database is damaged."""


class DaemonDatabase:
    """The file; :meth:`open` first, :meth:`close` last."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "daemon.db"
        self._connection: sqlite3.Connection | None = None

    def open(self) -> dict[str, dict[str, str]]:
        """Open or make the file and return all values, by table and key.

        Raises StateDatabaseError if the folder cannot be used, DatabaseFullError without space.
        """
        try:
            return self._open()
        except DamagedDaemonDatabaseError as error:
            self.start_anew(str(error))
            return {table: {} for table in TABLES}

    def _open(self) -> dict[str, dict[str, str]]:
        try:
            self.path.touch(mode=0o600)
            refuse_unwritable(self.path)
            self._connection = db = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._set_up(db)
            return {table: dict(_rows(db, table)) for table in TABLES}
        except (sqlite3.Error, OSError, UnicodeError) as error:
            self.close()
            raise self._told(error) from error

    def _set_up(self, db: sqlite3.Connection) -> None:
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise DamagedDaemonDatabaseError(f"{self.path} is damaged")
        mode = "DELETE" if is_network_filesystem(self.path.parent) else "WAL"
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute("PRAGMA synchronous = NORMAL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            refuse_later(self.path.with_name("state.db"))  # then this one is of use again later
            raise DamagedDaemonDatabaseError(f"{self.path} is of a later version, {version}")
        if version == VERSION and set(TABLES) <= _table_names(db):
            return  # which takes no space
        db.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            db.execute(
                f"CREATE TABLE IF NOT EXISTS {table}"
                " (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
            )
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")

    def write(self, changes: Changes) -> None:
        """Write changes in one transaction.

        Raises DatabaseFullError, DamagedDaemonDatabaseError or another StateDatabaseError.
        """
        db = self._connection
        if db is None:
            raise StateDatabaseError(f"{self.path} is closed")
        try:
            db.execute("BEGIN IMMEDIATE")
            for (table, key), value in changes.items():
                _put(db, table, key, value)
            db.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise self._told(error) from error

    def start_anew(self, reason: str) -> None:
        """Move the file aside and make an empty one. Raises StateDatabaseError."""
        self.close()
        try:
            kept = set_database_aside(self.path)
        except OSError as error:
            raise self._told(error) from error
        logger.warning("%s; it is kept as %s, and a new one begun", reason, kept.name)
        self._open()

    def close(self) -> None:
        """Close the file; twice is harmless."""
        db, self._connection = self._connection, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _told(self, error: Exception) -> StateDatabaseError:
        if isinstance(error, sqlite3.Error) and is_database_full(error):
            return DatabaseFullError(f"{self.path}: no space is left")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN:
            return DamagedDaemonDatabaseError(f"{self.path} is damaged: {error}")
        return StateDatabaseError(f"{self.path}: {error}")


def _table_names(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _rows(db: sqlite3.Connection, table: str) -> Iterable[tuple[str, str]]:
    return (
        (key, value)
        for key, value in db.execute(f"SELECT key, value FROM {table}")  # noqa: S608 - of TABLES
        if isinstance(key, str) and isinstance(value, str)
    )


def _put(db: sqlite3.Connection, table: str, key: str, value: str | None) -> None:
    if value is None:
        db.execute(f"DELETE FROM {table} WHERE key = ?", (key,))  # noqa: S608 - of TABLES
    else:
        db.execute(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",  # noqa: S608 - of TABLES
            (key, value),
        )
