"""Daily copy of the resume database, and what of an old copy may still be trusted.

Blocking; in the database's thread.
"""

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.disk.state.files import sync_folder
from torrent_engine.disk.state.records import (
    Progress,
    progress_row,
    read_progress_row,
    read_torrent_row,
    torrent_row,
)

INTERVAL_S: Final = 86_400.0
_TABLES: Final = ("torrents", "totals", "progress", "partial", "stamps")
_log = logging.getLogger(__name__)


class DailyCopy:
    """``state.db.copy`` beside the database; ``wall_clock`` gives seconds since 1970."""

    def __init__(self, path: Path, wall_clock: Callable[[], float]) -> None:
        self.path = path
        self._wall_clock = wall_clock
        self._last_s: float | None = None

    def make_if_due(self, db: sqlite3.Connection) -> None:
        """Copy the database once a day; what fails is logged, and tried the next day."""
        now = self._wall_clock()
        if self._last_s is None:
            self._last_s = self._made_s()
        if abs(now - self._last_s) < INTERVAL_S:  # a clock that was set back ends the day, too
            return
        self._last_s = now
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            self._make(db, temporary, now)
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:  # may quote damaged names
            _log.warning("no copy of the resume database: %s", error)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _make(self, db: sqlite3.Connection, temporary: Path, now: float) -> None:
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("it is damaged")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600)
        db.execute("VACUUM INTO ?", (str(temporary),))
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.utime(temporary, (now, now))
        temporary.replace(self.path)
        sync_folder(self.path.parent)

    def _made_s(self) -> float:
        try:
            return self.path.stat().st_mtime
        except OSError:
            return float("-inf")

    def restore(self, to: Path) -> bool:
        """Put the copy in the place of a lost database; False if there is none."""
        try:
            shutil.copyfile(self.path, to)
            to.chmod(0o600)
        except OSError:
            to.unlink(missing_ok=True)
            return False
        return True


def believe_old_rows(db: sqlite3.Connection, info_hashes: Iterable[bytes]) -> None:
    """Make the rows of a copy safe: torrents that are gone since then go, files must be unchanged.

    A progress that is called clean is believed only where size, inode and time of the files are
    those of its stamps; what was not durable is hashed.
    """
    known = set(info_hashes)
    db.execute("DELETE FROM moves")  # they are over, or begin anew
    for table in _TABLES:
        for (key,) in db.execute(f"SELECT DISTINCT info_hash FROM {table}").fetchall():  # noqa: S608
            if key not in known:
                db.execute(f"DELETE FROM {table} WHERE info_hash = ?", (key,))  # noqa: S608
    for row in db.execute("SELECT * FROM progress").fetchall():
        try:
            new = progress_row(row[0], _believed(read_progress_row(row)))
        except StateDatabaseError:
            db.execute("DELETE FROM progress WHERE info_hash = ?", (row[0],))
        else:
            db.execute("REPLACE INTO progress VALUES (?, ?, ?, ?, ?, ?, ?, ?)", new)


def forget_old_sessions(db: sqlite3.Connection, info_hashes: Iterable[bytes]) -> None:
    """Drop the torrents of a manager that it has removed since the copy was made."""
    known = set(info_hashes)
    for (key,) in db.execute("SELECT info_hash FROM sessions").fetchall():
        if key not in known:
            db.execute("DELETE FROM sessions WHERE info_hash = ?", (key,))
            db.execute("DELETE FROM session_metainfos WHERE info_hash = ?", (key,))
            db.execute("DELETE FROM session_clocks WHERE info_hash = ?", (key,))


def with_old_details(db: sqlite3.Connection, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a new row of ``torrents`` with the time and settings of the one that is there.

    The files beside a .torrent say where a torrent is now, but neither of these.
    """
    old = db.execute("SELECT * FROM torrents WHERE info_hash = ?", (row[0],)).fetchone()
    if old is None:
        return row
    try:
        kept, new = read_torrent_row(old), read_torrent_row(row)
    except StateDatabaseError:
        return row
    return torrent_row(replace(new, added_time_s=kept.added_time_s, settings=kept.settings))


def _believed(old: Progress) -> Progress:
    rows = zip(old.have, old.durable, old.unchecked, strict=True)
    unchecked = bytes(unchecked | have & ~durable for have, durable, unchecked in rows)
    have = bytes(have & durable for have, durable in zip(old.have, old.durable, strict=True))
    return replace(old, have=have, durable=have, unchecked=unchecked, is_clean=True)
