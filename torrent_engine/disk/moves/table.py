"""Table ``moves`` of the resume database: the moves that are not finished.

Everything here may raise what StateStore raises.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torrent_engine.base.errors import StateDatabaseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.file_stamps import FileStamp
from torrent_engine.disk.moves.plan import MovePlan, plan_text, read_plan
from torrent_engine.disk.resume.history import FOUND_UNKNOWN
from torrent_engine.disk.state.database import insert_rows
from torrent_engine.disk.state.records import (
    TorrentRecord,
    checksum,
    read_torrent_row,
    stamp_row,
    torrent_row,
)
from torrent_engine.disk.state.store import StateStore

_log = logging.getLogger(__name__)


async def save_plan(store: StateStore, plan: MovePlan) -> None:
    """Write down what is to be moved; on the disk when this returns.

    A torrent that was known at another place is at the plan's from now on: its Session was made
    with that save path, and what is known of the other place says nothing about it.
    """

    def save(db: sqlite3.Connection) -> None:
        old = None
        with suppress(StateDatabaseError):
            old = _place(db, plan.info_hash)
        if old is not None and old.save_path != plan.source:
            settings = {**old.settings, FOUND_UNKNOWN: True}
            record = replace(old, save_path=plan.source, settings=settings)
            store.copies.save(record)
            insert_rows(db, "torrents", [torrent_row(record)])
            for table in ("progress", "partial", "stamps"):
                db.execute(f"DELETE FROM {table} WHERE info_hash = ?", (plan.info_hash,))  # noqa: S608
        insert_rows(db, "moves", [_row(plan)])

    await store.run(save, is_precious=True)


async def load_plan(store: StateStore, info_hash: InfoHash) -> MovePlan | None:
    """Return the move of a torrent that is not finished; None if there is none.

    One that does not fit to where the torrent is now, or is damaged, is forgotten.
    """
    return await store.run(lambda db: _load(db, info_hash))


async def moving(store: StateStore) -> set[InfoHash]:
    """Return the torrents whose moves are not finished."""
    rows = await store.run(lambda db: db.execute("SELECT info_hash FROM moves").fetchall())
    return {InfoHash(key) for (key,) in rows if isinstance(key, bytes)}


async def drop_plan(store: StateStore, info_hash: InfoHash) -> None:
    """Forget a move: it is finished or undone."""
    await store.run(lambda db: _drop(db, info_hash), is_precious=True)


async def save_placed(
    store: StateStore,
    plan: MovePlan,
    stamps: Mapping[int, FileStamp],
    also: Callable[[sqlite3.Connection], None],
) -> None:
    """Remember that the files of a torrent are at their new places, and ``also`` something more.

    All in one transaction.
    """
    placed = replace(plan, is_placed=True)

    def save(db: sqlite3.Connection) -> None:
        old = _place(db, plan.info_hash)
        if old is not None:
            record = replace(old, save_path=plan.target, renames=plan.renames)
            store.copies.save(record)
            insert_rows(db, "torrents", [torrent_row(record)])
            insert_rows(db, "stamps", (stamp_row(plan.info_hash, each) for each in stamps.values()))
        insert_rows(db, "moves", [_row(placed)])
        also(db)

    await store.run(save, is_precious=True)


def _load(db: sqlite3.Connection, info_hash: InfoHash) -> MovePlan | None:
    row = db.execute("SELECT * FROM moves WHERE info_hash = ?", (info_hash,)).fetchone()
    if row is None:
        return None
    try:
        plan = _read_row(row)
    except StateDatabaseError as error:
        _log.warning("a move of %s is forgotten: %s", info_hash.hex(), error)
        _drop(db, info_hash)
        return None
    record = None
    with suppress(StateDatabaseError):  # of a damaged row nobody knows where the torrent is
        record = _place(db, info_hash)
    if record is None or record.save_path == (plan.target if plan.is_placed else plan.source):
        return plan
    _drop(db, info_hash)
    return None


def _drop(db: sqlite3.Connection, info_hash: InfoHash) -> None:
    db.execute("DELETE FROM moves WHERE info_hash = ?", (info_hash,))


def _place(db: sqlite3.Connection, info_hash: InfoHash) -> TorrentRecord | None:
    row = db.execute("SELECT * FROM torrents WHERE info_hash = ?", (info_hash,)).fetchone()
    return read_torrent_row(row) if row is not None else None


def _row(plan: MovePlan) -> tuple[object, ...]:
    fields = (bytes(plan.info_hash), plan_text(plan), int(plan.is_placed))
    return (*fields, checksum(*fields))


def _read_row(row: tuple[Any, ...]) -> MovePlan:
    info_hash, text, is_placed, stored = row
    if checksum(info_hash, text, is_placed) != stored:
        raise StateDatabaseError("its row is damaged")
    return read_plan(InfoHash(info_hash), text, is_placed=bool(is_placed))
