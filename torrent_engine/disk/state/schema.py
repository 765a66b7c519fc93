"""Schema of the resume database and its migrations."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.disk.os_errors import is_database_full

SCHEMA_VERSION: Final = 7

_VERSION_1: Final = """
CREATE TABLE version (number INTEGER NOT NULL);
CREATE TABLE torrents (
    info_hash BLOB PRIMARY KEY, name TEXT NOT NULL, save_path TEXT NOT NULL,
    added_time_s REAL NOT NULL,
    renames TEXT NOT NULL, settings TEXT NOT NULL, checksum BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE totals (
    info_hash BLOB PRIMARY KEY, downloaded_bytes INTEGER NOT NULL, uploaded_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE progress (
    info_hash BLOB PRIMARY KEY, piece_count INTEGER NOT NULL, have BLOB NOT NULL,
    durable BLOB NOT NULL, unchecked BLOB NOT NULL, boot_id TEXT NOT NULL,
    is_clean INTEGER NOT NULL, checksum BLOB NOT NULL
);
CREATE TABLE partial (
    info_hash BLOB NOT NULL, piece INTEGER NOT NULL, blocks BLOB NOT NULL,
    PRIMARY KEY (info_hash, piece)
) WITHOUT ROWID;
CREATE TABLE stamps (
    info_hash BLOB NOT NULL, file_index INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, inode BLOB NOT NULL, device BLOB NOT NULL,
    PRIMARY KEY (info_hash, file_index)
) WITHOUT ROWID;
CREATE TABLE quarantine (
    info_hash BLOB NOT NULL, reason TEXT NOT NULL, time_s REAL NOT NULL
);
"""  # inode and device are 64 bits unsigned, which INTEGER is not

_DHT_TABLE: Final = """
CREATE TABLE dht_nodes (
    is_ipv6 INTEGER PRIMARY KEY, node_id BLOB NOT NULL, nodes BLOB NOT NULL, checksum BLOB NOT NULL
)
"""

_MANAGER_TABLES: Final = """
CREATE TABLE sessions (
    info_hash BLOB PRIMARY KEY, position INTEGER NOT NULL, settings TEXT NOT NULL,
    checksum BLOB NOT NULL
);
CREATE TABLE session_metainfos (
    info_hash BLOB PRIMARY KEY, metainfo BLOB NOT NULL
);
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, info_hash BLOB,
    name TEXT NOT NULL, status TEXT NOT NULL, created_s REAL NOT NULL, updated_s REAL NOT NULL,
    completed_s REAL, progress REAL NOT NULL, total_bytes INTEGER NOT NULL,
    done_bytes INTEGER NOT NULL, error TEXT, reason TEXT, checksum BLOB NOT NULL
);
CREATE INDEX jobs_of_torrent ON jobs (info_hash)
"""  # the metainfo is apart, so that a list of all sessions reads none of it

_MOVES_TABLE: Final = """
CREATE TABLE moves (
    info_hash BLOB PRIMARY KEY, plan TEXT NOT NULL, is_placed INTEGER NOT NULL,
    checksum BLOB NOT NULL
)
"""


_CLOCKS: Final = """
CREATE TABLE session_clocks (
    info_hash BLOB PRIMARY KEY, seeding_s REAL NOT NULL, downloading_s REAL NOT NULL,
    activity_s REAL
) WITHOUT ROWID;
ALTER TABLE totals ADD COLUMN failed_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE totals ADD COLUMN redundant_bytes INTEGER NOT NULL DEFAULT 0
"""


class DamagedDatabaseError(sqlite3.DatabaseError):
    """A check found damage that no statement has run into yet."""

    sqlite_errorcode = 11  # SQLITE_CORRUPT


def _read_version(connection: sqlite3.Connection) -> int:
    """Return the version; it is in two places, so that a flipped bit is no newer program."""
    header = connection.execute("PRAGMA user_version").fetchone()[0]
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return 0
    rows = connection.execute("SELECT number FROM version").fetchall()
    if rows != [(header,)]:
        raise DamagedDatabaseError(f"version {header} in one place and {rows} in another")
    return int(header)


def _execute(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _create(connection: sqlite3.Connection) -> None:
    _execute(connection, _VERSION_1)


def _add_dht_nodes(connection: sqlite3.Connection) -> None:
    connection.execute(_DHT_TABLE)


def _add_manager_tables(connection: sqlite3.Connection) -> None:
    _execute(connection, _MANAGER_TABLES)


def _add_moves(connection: sqlite3.Connection) -> None:
    connection.execute(_MOVES_TABLE)


def _add_change_times(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE stamps ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT 0")


def _add_index_of_inodes(connection: sqlite3.Connection) -> None:
    """Index stamps by inode, to find the torrents that share a file."""
    connection.execute("CREATE INDEX stamps_of_inode ON stamps (inode)")


def _add_clocks_and_waste(connection: sqlite3.Connection) -> None:
    """Add what changes by the minute of a torrent, apart from its record; and what was wasted."""
    _execute(connection, _CLOCKS)


MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (
    _create,
    _add_dht_nodes,
    _add_manager_tables,
    _add_moves,
    _add_change_times,
    _add_index_of_inodes,
    _add_clocks_and_waste,
)
"""``MIGRATIONS[n]`` makes a database of version n one of version n + 1."""


def refuse_later(path: Path) -> None:
    """Raise StateDatabaseError if a database is of a newer program; blocking, changes nothing."""
    if not path.is_file():
        return
    with (
        suppress(sqlite3.Error, UnicodeDecodeError),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection,
    ):
        _refuse_later(connection, _read_version(connection))


def _refuse_later(connection: sqlite3.Connection, version: int) -> None:
    if version > SCHEMA_VERSION:
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        reason = f"version {version}, and this program knows {SCHEMA_VERSION} at most"
        raise StateDatabaseError(f"{path} is of a newer torrent-engine: {reason}")


def migrate(connection: sqlite3.Connection, *, may_change: bool) -> None:
    """Bring a database to SCHEMA_VERSION, in one transaction.

    One of this version is written, too, so that one that cannot be is found now; but for a full
    disk, which passes. Raises StateDatabaseError if it is of a newer program, or has to be changed
    while another process uses it.
    """
    version = _read_version(connection)
    _refuse_later(connection, version)
    if version < SCHEMA_VERSION and not may_change:
        raise StateDatabaseError("another process uses a database of an older version")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in MIGRATIONS[version:]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("DELETE FROM version")
        connection.execute("INSERT INTO version VALUES (?)", (SCHEMA_VERSION,))
        connection.execute("COMMIT")
    except BaseException as error:
        with suppress(sqlite3.Error):  # on a full disk SQLite has rolled back by itself
            connection.execute("ROLLBACK")
        is_full = isinstance(error, sqlite3.Error) and is_database_full(error)
        if not is_full or version != SCHEMA_VERSION:
            raise
