"""The resume database: one SQLite file that the user's processes share.

One thread at a time writes it. Every method may raise StateDatabaseError, or DiskFullError when
not even the reserve helped. Damage never stops a start: a damaged row costs one torrent its
progress (its files are hashed), a damaged database is moved aside; its daily copy takes its place,
or a new one.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import anyio

from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import StateDatabaseError, StateInUseError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.file_lock import FileLock
from torrent_engine.disk.file_stamps import FileStamp
from torrent_engine.disk.os_errors import storage_error
from torrent_engine.disk.stamp_table import StampTable
from torrent_engine.disk.state.database import StateDatabase, insert_rows
from torrent_engine.disk.state.files import TorrentCopies, make_private_folder
from torrent_engine.disk.state.journal import WriteJournal
from torrent_engine.disk.state.records import (
    DhtRecord,
    Progress,
    TorrentRecord,
    dht_row,
    progress_row,
    read_dht_row,
    read_progress_row,
    read_stamp_row,
    read_torrent_row,
    stamp_row,
    torrent_row,
)
from torrent_engine.disk.threads import run_in_thread

NO_RESERVE: Final = DiskConfig(state_reserve_bytes=0)
"""For who keeps no torrents: a reserve that is there stays, but none is made."""
_T = TypeVar("_T")
_TABLES_OF_SESSION: Final = ("sessions", "session_metainfos", "session_clocks")
_TABLES_OF_RUN: Final = ("torrents", "totals", "progress", "partial", "stamps")
_log = logging.getLogger(__name__)


class StateStore:
    """The resume database in one folder; open it with :meth:`open`."""

    def __init__(
        self, folder: Path, *, reserve_bytes: int, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self.copies = TorrentCopies(folder / "torrents")
        self._database = StateDatabase(
            folder,
            reserve_bytes=reserve_bytes,
            copies=lambda: map(torrent_row, self.copies.load_all()),
            sessions=self.copies.sessions,
            wall_clock=wall_clock,
        )
        self._claims: dict[InfoHash, FileLock] = {}
        self._dht_claim: FileLock | None = None
        self._manager_claim: FileLock | None = None
        self._limiter = anyio.CapacityLimiter(1)

    @classmethod
    async def open(
        cls,
        folder: str | Path,
        *,
        config: DiskConfig | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open or make the database in a folder; several processes may.

        Once a day by ``wall_clock`` (seconds since 1970) it is copied, after it was written.
        Raises StateDatabaseError if it cannot be opened even after a damaged one was moved aside.
        """
        reserve_bytes = (config or DiskConfig()).state_reserve_bytes
        store = cls(Path(folder), reserve_bytes=reserve_bytes, wall_clock=wall_clock)
        await store._in_thread(store._database.open)
        return store

    async def close(self) -> None:
        """Close the database and free all claims."""
        try:
            await self._in_thread(self._close)
        except StateDatabaseError:
            self._close()  # no thread is left: better late than not at all

    async def __aenter__(self) -> Self:
        """Return the store."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the store."""
        with anyio.CancelScope(shield=True):
            await self.close()

    # -- claims ---------------------------------------------------------------------------

    def claim(self, info_hash: InfoHash) -> None:
        """Claim a torrent for this process; a second claim of the same store does nothing.

        Raises StateInUseError if another process does.
        """
        if info_hash in self._claims:
            return
        lock = self._lock(info_hash.hex())
        if lock is None:
            reason = f"this torrent is in use by another process (state folder {self.folder})"
            raise StateInUseError(info_hash.hex(), reason, folder=self.folder)
        self._claims[info_hash] = lock

    def is_in_use(self, info_hash: InfoHash) -> bool:
        """Return whether this process or another works on a torrent."""
        if info_hash in self._claims:
            return True
        lock = self._lock(info_hash.hex())
        if lock is not None:
            lock.free()
        return lock is None

    def release(self, info_hash: InfoHash) -> None:
        """Release the claim on a torrent."""
        if lock := self._claims.pop(info_hash, None):
            lock.free()

    def journal(self, info_hash: InfoHash) -> WriteJournal:
        """Return the write journal of a torrent, not yet open."""
        folder = self.folder / "journals"
        try:
            make_private_folder(folder)
        except OSError as error:
            raise storage_error(folder, error) from error
        return WriteJournal(folder / info_hash.hex())

    # -- reading --------------------------------------------------------------------------

    async def load(
        self, info_hash: InfoHash, *, with_metainfo: bool = True
    ) -> TorrentRecord | None:
        """Return what is known of a torrent; None if nothing is.

        Its .torrent, which takes seconds to check if there are very many files, can be left out.
        """
        return await self.run(lambda db: self._load(db, info_hash, with_metainfo=with_metainfo))

    def has_torrent(self, info_hash: InfoHash) -> bool:
        """Return whether the .torrent of a torrent is kept, by a look at the folder."""
        return self.copies.has(info_hash)

    async def load_all(self) -> list[TorrentRecord]:
        """Return what is known of all torrents; those that are damaged are left out."""
        return await self.run(self._load_all)

    def _load_all(self, db: sqlite3.Connection) -> list[TorrentRecord]:
        rows = db.execute("SELECT info_hash FROM torrents ORDER BY added_time_s").fetchall()
        keys = {key: None for (key,) in rows if isinstance(key, bytes)}
        keys |= dict.fromkeys(map(bytes, self.copies.info_hashes()))  # their rows may be lost
        found = (self._load(db, InfoHash(key)) for key in keys)
        return [record for record in found if record is not None]

    def _load(
        self, db: sqlite3.Connection, info_hash: InfoHash, *, with_metainfo: bool = True
    ) -> TorrentRecord | None:
        row = db.execute("SELECT * FROM torrents WHERE info_hash = ?", (info_hash,)).fetchone()
        record = None
        try:
            record = read_torrent_row(row) if row is not None else None
        except StateDatabaseError as error:
            self._quarantine(db, info_hash, error)
            _delete(db, "torrents", info_hash)
        if record is None:
            record = self._restore_from_copy(db, info_hash)
        if record is None:
            return None
        if with_metainfo:
            data = self.copies.metainfo_bytes(record.info_hash)
            record = replace(record, metainfo_bytes=data)
        return self._with_details(db, record)

    def _with_details(self, db: sqlite3.Connection, record: TorrentRecord) -> TorrentRecord:
        key = (record.info_hash,)
        totals = db.execute(
            "SELECT downloaded_bytes, uploaded_bytes, failed_bytes, redundant_bytes"
            " FROM totals WHERE info_hash = ?",
            key,
        ).fetchone() or (0, 0, 0, 0)
        partial = db.execute("SELECT piece, blocks FROM partial WHERE info_hash = ?", key)
        stamps = db.execute(
            "SELECT file_index, size_bytes, mtime_ns, inode, device, ctime_ns FROM stamps"
            " WHERE info_hash = ?",
            key,
        )
        return replace(
            record,
            downloaded_bytes=_count(totals[0]),
            uploaded_bytes=_count(totals[1]),
            failed_bytes=_count(totals[2]),
            redundant_bytes=_count(totals[3]),
            progress=self._load_progress(db, record.info_hash),
            partial={
                piece: int.from_bytes(blocks, "little")
                for piece, blocks in partial
                if isinstance(piece, int) and piece >= 0 and isinstance(blocks, bytes)
            },
            stamps=StampTable(filter(None, map(read_stamp_row, stamps))),
        )

    def _load_progress(self, db: sqlite3.Connection, info_hash: InfoHash) -> Progress | None:
        row = db.execute("SELECT * FROM progress WHERE info_hash = ?", (info_hash,)).fetchone()
        if row is None:
            return None
        try:
            return read_progress_row(row)
        except StateDatabaseError as error:
            self._quarantine(db, info_hash, error)
            return None

    def _restore_from_copy(
        self, db: sqlite3.Connection, info_hash: InfoHash
    ) -> TorrentRecord | None:
        """Return a torrent's record from its copy, as its row is lost."""
        record = self.copies.load(info_hash)
        if record is not None:
            insert_rows(db, "torrents", [torrent_row(record)])
        return record

    async def set_aside(self, record: TorrentRecord, reason: str) -> TorrentRecord:
        """Forget the progress of a torrent, and return its record without it.

        For one that cannot be used though its rows seem whole.
        """
        error = StateDatabaseError(reason)
        await self.run(lambda db: self._quarantine(db, record.info_hash, error), is_precious=True)
        return replace(record, progress=None, partial={}, stamps=StampTable())

    @staticmethod
    def _quarantine(db: sqlite3.Connection, info_hash: InfoHash, error: StateDatabaseError) -> None:
        _log.warning("resume data of %s set aside: %s", info_hash.hex(), error)
        row = (info_hash, str(error), time.time())
        insert_rows(db, "quarantine", [row])
        for table in ("progress", "partial", "stamps"):
            _delete(db, table, info_hash)

    # -- writing --------------------------------------------------------------------------

    async def save_torrent(self, record: TorrentRecord) -> None:
        """Remember a torrent and its .torrent; its progress is not changed by this.

        With another save path its files are others, of which nothing is known.
        """

        def save(db: sqlite3.Connection) -> None:
            self.copies.save(record)
            query = "SELECT save_path FROM torrents WHERE info_hash = ?"
            for (save_path,) in db.execute(query, (record.info_hash,)).fetchall():
                if save_path != record.save_path:
                    _delete(db, "stamps", record.info_hash)
            insert_rows(db, "torrents", [torrent_row(record)])

        await self.run(save, is_precious=True)

    async def change_settings(self, info_hash: InfoHash, changes: Mapping[str, object]) -> None:
        """Change some settings of a torrent that is known, and nothing else; None removes one."""

        def save(db: sqlite3.Connection) -> None:
            record = self._load(db, info_hash, with_metainfo=False)
            if record is None:
                return
            merged = {**record.settings, **changes}
            settings = {name: value for name, value in merged.items() if value is not None}
            if settings != record.settings:
                changed = replace(record, settings=settings, metainfo_bytes=b"")  # it stays
                self.copies.save(changed)
                insert_rows(db, "torrents", [torrent_row(changed)])

        await self.run(save, is_precious=True)

    async def save_metainfo(self, info_hash: InfoHash, data: bytes) -> None:
        """Replace the .torrent of a torrent wherever it is kept; else do nothing."""

        def save(db: sqlite3.Connection) -> None:
            if self.copies.has(info_hash):
                self.copies.save_metainfo(info_hash, data)
            update = "UPDATE session_metainfos SET metainfo = ? WHERE info_hash = ?"
            db.execute(update, (data, info_hash))

        await self.run(save, is_precious=True)

    async def save_progress(
        self,
        info_hash: InfoHash,
        progress: Progress,
        *,
        partial: Mapping[int, int] | None = None,
        stamps: Callable[[], Mapping[int, FileStamp]] | None = None,
        taken: Callable[[], AbstractSet[int]] = frozenset,
        is_precious: bool = False,
    ) -> None:
        """Remember which pieces a torrent has, in one transaction.

        ``partial`` has the bitmaps that changed, 0 for a piece that is whole or lost; ``stamps``
        is called in the database's thread, then ``taken``: these files are the torrent's alone,
        what other torrents had with the same inode is gone.
        """
        found = list(partial.items()) if partial else []
        gone = [(info_hash, piece) for piece, blocks in found if not blocks]
        kept = [
            (info_hash, piece, blocks.to_bytes((blocks.bit_length() + 7) // 8, "little"))
            for piece, blocks in found
            if blocks
        ]

        def save(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM partial WHERE info_hash = ? AND piece = ?", gone)
            insert_rows(db, "partial", kept)
            if stamps is not None:
                seen, alone = stamps(), taken()
                self._forget_stamps(db, info_hash, (seen[each] for each in seen if each in alone))
                insert_rows(db, "stamps", (stamp_row(info_hash, each) for each in seen.values()))
            insert_rows(db, "progress", [progress_row(info_hash, progress)])

        await self.run(save, is_precious=is_precious)

    def _forget_stamps(
        self, db: sqlite3.Connection, owner: InfoHash, stamps: Iterable[FileStamp]
    ) -> None:
        """Forget what torrents had of these inodes before; one that is in use found it since."""
        for stamp in stamps:
            identity = stamp_row(owner, stamp)[4:6]
            query = "SELECT info_hash FROM stamps WHERE inode = ? AND device = ?"
            for (key,) in db.execute(query, identity).fetchall():
                is_whole = isinstance(key, bytes)
                if key != owner and not (is_whole and self.is_in_use(InfoHash(key))):
                    delete = "DELETE FROM stamps WHERE inode = ? AND device = ? AND info_hash = ?"
                    db.execute(delete, (*identity, key))

    async def save_totals(
        self,
        info_hash: InfoHash,
        *,
        downloaded_bytes: int,
        uploaded_bytes: int,
        failed_bytes: int = 0,
        redundant_bytes: int = 0,
    ) -> None:
        """Remember how much payload went through and was thrown away, over all runs."""
        row = (info_hash, downloaded_bytes, uploaded_bytes, failed_bytes, redundant_bytes)
        await self.run(lambda db: insert_rows(db, "totals", [row]))

    async def remove(self, info_hash: InfoHash) -> None:
        """Forget a torrent; its payload files are not touched."""

        def remove(db: sqlite3.Connection) -> None:
            self.copies.remove(info_hash)
            for table in (*_TABLES_OF_RUN, "moves", *_TABLES_OF_SESSION):
                _delete(db, table, info_hash)
            (self.folder / "journals" / info_hash.hex()).unlink(missing_ok=True)

        await self.run(remove, is_precious=True)

    # -- the DHT --------------------------------------------------------------------------

    def claim_dht(self) -> bool:
        """Claim the DHT node whose tables are kept here; return False if another process has it."""
        if self._dht_claim is None:
            self._dht_claim = self._lock("dht")
        return self._dht_claim is not None

    def _lock(self, name: str) -> FileLock | None:
        """Return a lock that this process holds now; None if another does."""
        lock = FileLock(self.folder / "locks" / f"{name}.lock")
        try:
            make_private_folder(lock.path.parent)
            is_ours = lock.take()
        except OSError as error:
            raise storage_error(lock.path, error) from error
        if not is_ours:
            lock.free()
        return lock if is_ours else None

    def claim_manager(self) -> None:
        """Claim the management of the torrents of this folder (row F7).

        Raises StateInUseError if another does, or another manager of this process.
        """
        lock = self._lock("manager") if self._manager_claim is None else None
        if lock is None:
            raise StateInUseError(str(self.folder), managed_by(self.folder), folder=self.folder)
        lock.sign()
        self._manager_claim = lock

    def release_manager(self) -> None:
        """Release that claim; does nothing without it."""
        lock, self._manager_claim = self._manager_claim, None
        if lock is not None:
            lock.free()

    async def load_dht(self) -> list[DhtRecord]:
        """Return the saved nodes of each address family; a damaged row is dropped (row F6)."""
        return await self.run(self._load_dht)

    @staticmethod
    def _load_dht(db: sqlite3.Connection) -> list[DhtRecord]:
        records: list[DhtRecord] = []
        for row in db.execute("SELECT * FROM dht_nodes ORDER BY is_ipv6").fetchall():
            try:
                records.append(read_dht_row(row))
            except StateDatabaseError as error:
                _log.warning("%s; they are looked for anew", error)
                db.execute("DELETE FROM dht_nodes WHERE is_ipv6 = ?", row[:1])
        return records

    async def save_dht(self, records: Iterable[DhtRecord]) -> None:
        """Remember the nodes of each address family in the place of those that were."""
        rows = [dht_row(record) for record in records]
        await self.run(lambda db: insert_rows(db, "dht_nodes", rows))

    async def hold_reserve(self) -> None:
        """Reserve space for the next time that the disk is full; failing does no harm."""
        with suppress(StateDatabaseError):
            await self._in_thread(self._database.hold_reserve)

    # -- the thread -----------------------------------------------------------------------

    async def run(
        self, work: Callable[[sqlite3.Connection], _T], *, is_precious: bool = False
    ) -> _T:
        """Do some work in one transaction, in the database's thread; all of it or nothing lasts.

        Precious work is on the disk when this returns, other work may be lost with the power.
        It is done again if the disk was full or the database damaged.
        """
        return await self._in_thread(lambda: self._database.run(work, is_precious=is_precious))

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        def failure(reason: str) -> StateDatabaseError:
            return StateDatabaseError(f"{self.folder}: {reason}")

        return await run_in_thread(call, limiter=self._limiter, failure=failure)

    def _close(self) -> None:
        for info_hash in list(self._claims):
            self.release(info_hash)
        self.release_manager()
        if self._dht_claim is not None:
            self._dht_claim.free()
        self._database.close()


def _count(value: object) -> int:
    return max(value, 0) if isinstance(value, int) else 0


def _delete(db: sqlite3.Connection, table: str, info_hash: InfoHash) -> None:
    db.execute(f"DELETE FROM {table} WHERE info_hash = ?", (info_hash,))  # noqa: S608


def managed_by(folder: Path) -> str:
    """Return who manages the torrents of a folder, where another does."""
    pid = FileLock(folder / "locks" / "manager.lock").holder()
    if pid == os.getpid():
        return "its torrents are managed by another manager of this process"
    number = "" if pid is None else f" ({pid})"
    return f"its torrents are managed by another process{number}"
