"""Table ``sessions`` of the resume database: the torrents that a manager restores.

Each row carries a checksum over all but the metainfo, which must hash to the info-hash. Where a row
is damaged or lost, the torrent is as it was when it was added, by a file beside its .torrent (row
F6). Everything here may raise what StateStore raises.
"""

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Final, NamedTuple

import anyio.to_thread

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash
from torrent_engine.disk.state.database import insert_rows
from torrent_engine.disk.state.files import TorrentCopies, is_torrent_of
from torrent_engine.disk.state.records import check_types, read_settings, text_row_checksum
from torrent_engine.disk.state.store import StateStore

_FILE: Final = '{{"position": {}, "settings": {}}}'
_POSITIONS: Final = range(2**63 - 2**32)  # SQLite has integers of 64 bits
_FAR_POSITION: Final = 2**62  # what follows it is in the range, and stays behind it
_log = logging.getLogger(__name__)


class SessionClocks(NamedTuple):
    """What changes of a torrent all the time that it runs."""

    seeding_s: float
    """How long it has seeded, over all runs."""
    downloading_s: float
    """How long it has been downloading, over all runs."""
    activity_s: float | None
    """When payload moved last, in seconds since 1970; None: never."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One torrent of a manager, as it is to be after a restart."""

    info_hash: InfoHash
    position: int
    """Its place in the queue; they are listed by it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Whatever the manager wants back, as JSON has it."""
    metainfo_bytes: bytes = b""
    """The .torrent; empty: not known, or not asked for."""
    is_recovered: bool = False
    """Its row was lost: the settings are those of its first day, but for the place of its files."""
    clocks: SessionClocks | None = None
    """None: not known, or not to be changed."""


async def save_sessions(store: StateStore, records: Sequence[SessionRecord]) -> None:
    """Remember torrents, all of them or none; an empty metainfo leaves the one that is there.

    The copies of the .torrents are written too, but not synced one by one: the database is. The
    records are read in the thread of the database: their settings must not change until then.
    """
    metainfos = [
        (bytes(record.info_hash), record.metainfo_bytes)
        for record in records
        if record.metainfo_bytes
    ]
    clocks = [_clock_row(each.info_hash, each.clocks) for each in records if each.clocks]

    def saved_rows() -> Iterator[tuple[bytes, int, str, bytes]]:
        """Make each row when it is written: a thousand long URLs are 11 MB of text."""
        for record in records:
            row = key, position, text, _ = _row(record)
            store.copies.save_sessions([(key, _FILE.format(position, text))])
            yield row

    def save(db: sqlite3.Connection) -> None:
        store.copies.save_unsynced(metainfos)
        insert_rows(db, "sessions", saved_rows())
        insert_rows(db, "session_metainfos", metainfos)
        insert_rows(db, "session_clocks", clocks)

    await store.run(save, is_precious=True)


async def load_sessions(store: StateStore) -> list[SessionRecord]:
    """Return all torrents by their position, without their metainfo; a damaged row is set aside."""

    def load(db: sqlite3.Connection) -> list[SessionRecord]:
        clocks = _load_clocks(db)
        records = [
            replace(record, clocks=clocks.get(record.info_hash)) for record in _load_rows(db)
        ]
        lost = store.copies.sessions().difference(record.info_hash for record in records)
        found = [_recovered(store.copies, info_hash) for info_hash in sorted(lost)]
        recovered = [record for record in found if record is not None]
        insert_rows(db, "sessions", list(map(_row, recovered)))
        return sorted([*records, *recovered], key=lambda record: record.position)

    return await store.run(load)


async def save_clocks(store: StateStore, clocks: Mapping[InfoHash, SessionClocks]) -> None:
    """Remember the clocks of torrents, in one transaction; quick, their records stay as they are.

    The power may be lost before they are on the disk.
    """
    rows = [_clock_row(info_hash, each) for info_hash, each in clocks.items()]
    await store.run(lambda db: insert_rows(db, "session_clocks", rows))


async def load_added_times(store: StateStore) -> dict[InfoHash, float]:
    """Return when the first run of each torrent began, in seconds since 1970."""
    query = "SELECT info_hash, added_time_s FROM torrents"
    rows = await store.run(lambda db: db.execute(query).fetchall())
    return {
        InfoHash(key): added_s
        for key, added_s in rows
        if isinstance(key, bytes) and isinstance(added_s, float) and added_s > 0
    }


async def save_positions(store: StateStore, positions: Mapping[InfoHash, int]) -> None:
    """Change the positions of torrents that are there, in one transaction."""

    def save(db: sqlite3.Connection) -> None:
        query = "SELECT * FROM sessions WHERE info_hash = ?"
        found = (db.execute(query, (info_hash,)).fetchone() for info_hash in positions)
        rows = [
            _row_of(info_hash, position, row[2])
            for (info_hash, position), row in zip(positions.items(), found, strict=True)
            if row is not None and row[1] != position and _is_whole(row)
        ]
        insert_rows(db, "sessions", rows)

    await store.run(save)


def change_settings(
    db: sqlite3.Connection,
    info_hash: InfoHash,
    change: Callable[[dict[str, Any]], Mapping[str, Any]],
) -> None:
    """Change what is known of one torrent, within a transaction; nothing if it is not there."""
    query = "SELECT * FROM sessions WHERE info_hash = ?"
    row = db.execute(query, (info_hash,)).fetchone()
    with suppress(StateDatabaseError):  # a damaged row is set aside when all are read
        if row is not None:
            record = read_session_row(row)
            insert_rows(
                db, "sessions", [_row(replace(record, settings=change(dict(record.settings))))]
            )


async def load_metainfo(store: StateStore, info_hash: InfoHash) -> bytes:
    """Return the .torrent of a torrent from the database, else its copy; empty if neither is whole.

    What has not the right info-hash is not returned.
    """
    data = await store.run(lambda db: _metainfo(db, info_hash))
    return data or await anyio.to_thread.run_sync(store.copies.metainfo_bytes, info_hash)


def metainfo_now(store: StateStore, info_hash: InfoHash) -> bytes:
    """Return the same at once, blocking; a broken database is no error, but an empty answer."""
    return next(metainfos_now(store, info_hash), b"")


def metainfos_now(store: StateStore, info_hash: InfoHash) -> Iterator[bytes]:
    """Yield the .torrents of a torrent that there are, by the info-hash; blocking.

    What stands around their info dictionaries may be damaged, the hashes of pieces of v2 as well.
    The copy is looked at first: it needs no connection of its own.
    """
    if data := store.copies.metainfo_bytes(info_hash):
        yield data
    with suppress(sqlite3.Error, UnicodeDecodeError):
        path = (store.folder / "state.db").absolute().as_uri()
        with closing(sqlite3.connect(f"{path}?mode=ro", uri=True)) as db:
            data = _metainfo(db, info_hash)
        if data:
            yield data


async def remove_sessions(store: StateStore, info_hashes: Iterable[InfoHash]) -> None:
    """Forget torrents of the manager; their resume data and payload stay."""
    keys = [(bytes(info_hash),) for info_hash in info_hashes]

    def remove(db: sqlite3.Connection) -> None:
        for table in ("sessions", "session_metainfos", "session_clocks"):
            db.executemany(f"DELETE FROM {table} WHERE info_hash = ?", keys)  # noqa: S608
        store.copies.remove_sessions([key for (key,) in keys])

    await store.run(remove, is_precious=True)


def _load_rows(db: sqlite3.Connection) -> list[SessionRecord]:
    records: list[SessionRecord] = []
    for row in db.execute("SELECT rowid, * FROM sessions ORDER BY position").fetchall():
        try:
            records.append(read_session_row(row[1:]))
        except StateDatabaseError as error:
            _quarantine(db, row, error)
    return records


def _clock_row(info_hash: InfoHash, clocks: SessionClocks) -> tuple[object, ...]:
    return (bytes(info_hash), *clocks)


def _load_clocks(db: sqlite3.Connection) -> dict[bytes, SessionClocks]:
    """Return the clocks of all torrents; rows that cannot be right are left out."""
    found: dict[bytes, SessionClocks] = {}
    for key, *times in db.execute("SELECT * FROM session_clocks").fetchall():
        seeding_s, downloading_s, activity_s = times
        if all(map(_is_time, (seeding_s, downloading_s, activity_s or 0.0))):
            found[key] = SessionClocks(seeding_s, downloading_s, activity_s)
    return found


def _is_time(value: object) -> bool:
    return isinstance(value, float) and isfinite(value) and value >= 0


def _recovered(copies: TorrentCopies, info_hash: InfoHash) -> SessionRecord | None:
    """Return a torrent whose row is lost, by its file; None if that is lost too."""
    try:
        found = json.loads(copies.session_text(info_hash))
        position, settings = int(found["position"]), dict(found["settings"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        _log.warning("the file of session %s is damaged, too", info_hash.hex())
        return None
    if (torrent := copies.load(info_hash)) is not None and "save_path" in settings:
        settings["save_path"] = torrent.save_path  # it may have moved since
    _log.warning("session %s is as it was when it was added", info_hash.hex())
    return SessionRecord(info_hash, _possible(position), settings, is_recovered=True)


def _possible(position: int) -> int:
    """Return a position that leaves room for later ones, in the place of one that does not."""
    return position if position in _POSITIONS else min(max(position, 0), _FAR_POSITION)


def _quarantine(db: sqlite3.Connection, row: tuple[Any, ...], error: StateDatabaseError) -> None:
    key = row[1] if isinstance(row[1], bytes) else b""
    _log.warning("session %s set aside: %s", key.hex(), error)
    insert_rows(db, "quarantine", [(key, str(error), time.time())])
    db.execute("DELETE FROM sessions WHERE rowid = ?", row[:1])


def _row(record: SessionRecord) -> tuple[bytes, int, str, bytes]:
    return _row_of(record.info_hash, record.position, json.dumps(dict(record.settings)))


def _row_of(info_hash: bytes, position: int, settings: str) -> tuple[bytes, int, str, bytes]:
    fields = (bytes(info_hash), int(position), settings)
    return (*fields, text_row_checksum(fields))


def _is_whole(row: tuple[Any, ...]) -> bool:
    return bool(text_row_checksum(row[:-1]) == row[-1])


def read_session_row(row: tuple[Any, ...]) -> SessionRecord:
    """Return the record of a row; StateDatabaseError if the row is damaged."""
    if not _is_whole(row):
        raise StateDatabaseError("a session's row is damaged")
    check_types("a session's row", row, (bytes, int, str, bytes))
    info_hash, position, text, _ = row
    if len(info_hash) != SHA1_BYTES:
        raise StateDatabaseError("a session's row is damaged")
    settings = read_settings("a session's row", text)
    return SessionRecord(InfoHash(info_hash), _possible(position), settings)


def _metainfo(db: sqlite3.Connection, info_hash: InfoHash) -> bytes:
    query = "SELECT metainfo FROM session_metainfos WHERE info_hash = ?"
    row = db.execute(query, (info_hash,)).fetchone()
    data = row[0] if row is not None else b""
    return data if isinstance(data, bytes) and is_torrent_of(data, info_hash) else b""
