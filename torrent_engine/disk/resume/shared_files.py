"""The files of a torrent that the database knows as another torrent's as well.

Table ``stamps`` says which real file (device, inode) belongs to which torrents of the state folder,
whether they run or not. What it says is compared with what is at the other torrent's path now.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio.to_thread

from torrent_engine.base.config import STORED_BENCODE_LIMITS
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_stamps import FileStamp
from torrent_engine.disk.files.file_paths import path_in_use
from torrent_engine.disk.state.records import INODE_BYTES, TorrentRecord
from torrent_engine.disk.state.store import StateStore

_BATCH: Final = 500  # below SQLite's limit of 999 parameters in old versions


@dataclass(frozen=True, slots=True)
class SharedFile:
    """One file that another torrent has, too."""

    file_index: int
    """Its number in the torrent that was asked for."""
    info_hash: InfoHash
    """The other torrent."""
    is_managed: bool
    """Whether the other is a torrent of a manager, or in use now; else it was once downloaded."""


async def shared_files(
    store: StateStore, info_hash: InfoHash, stamps: Mapping[int, FileStamp]
) -> list[SharedFile]:
    """Return which of these files, as they are now, other torrents of the state folder have."""
    by_inode = {stamp.inode: stamp.file_index for stamp in stamps.values()}
    if not by_inode:
        return []
    rows = await store.run(lambda db: _candidates(db, info_hash, by_inode))
    others = {key: await _load(store, InfoHash(key)) for key in {key for key, _, _ in rows}}

    def confirmed() -> list[SharedFile]:
        names = {key: _Names(other.record) for key, other in others.items()}
        return [
            SharedFile(by_inode[inode], InfoHash(key), others[key].is_managed)
            for key, index, inode in rows
            if names[key].has(index, stamps[by_inode[inode]])
        ]

    return await anyio.to_thread.run_sync(confirmed) if rows else []


@dataclass(frozen=True, slots=True)
class _Other:
    record: TorrentRecord | None
    is_managed: bool


class _Names:
    """Where the files of another torrent are."""

    def __init__(self, record: TorrentRecord | None) -> None:
        """Read its metainfo; blocking."""
        self._record = record
        self._metainfo: Metainfo | None = None
        if record is not None and record.metainfo_bytes:
            with suppress(TorrentEngineError):
                metainfo = Metainfo.from_bytes(record.metainfo_bytes, limits=STORED_BENCODE_LIMITS)
                self._metainfo = metainfo.known_by(record.info_hash)

    def has(self, index: int, stamp: FileStamp) -> bool:
        """Return whether a file of the torrent is the one of a stamp, now; blocking."""
        record, metainfo = self._record, self._metainfo
        if record is None:
            return False
        parts = record.renames.get(index)
        if metainfo is not None and 0 <= index < len(metainfo.files):
            parts = path_in_use(metainfo, index, record.renames)
        if parts is None:
            return False
        try:
            seen = Path(record.save_path).joinpath(*parts).stat()
        except OSError:
            return False
        return (seen.st_dev, seen.st_ino) == (stamp.device, stamp.inode)


async def _load(store: StateStore, info_hash: InfoHash) -> _Other:
    return _Other(await store.load(info_hash), await _is_managed(store, info_hash))


async def _is_managed(store: StateStore, info_hash: InfoHash) -> bool:
    """Return whether a torrent is one of a manager, or in use now; else it was once downloaded."""
    query = "SELECT 1 FROM sessions WHERE info_hash = ?"
    row = await store.run(lambda db: db.execute(query, (info_hash,)).fetchone())
    return row is not None or store.is_in_use(info_hash)


def _candidates(
    db: sqlite3.Connection, info_hash: InfoHash, inodes: Iterable[int]
) -> list[tuple[bytes, int, int]]:
    """Return (info-hash, file, inode) of the stamps of others that have one of these inodes."""
    keys = [inode.to_bytes(INODE_BYTES, "big") for inode in inodes]
    found: list[tuple[bytes, int, int]] = []
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        marks = ", ".join("?" * len(batch))
        query = f"SELECT info_hash, file_index, inode FROM stamps WHERE inode IN ({marks})"  # noqa: S608
        found += [
            (key, index, int.from_bytes(inode, "big"))
            for key, index, inode in db.execute(query, batch)
            if isinstance(key, bytes) and key != info_hash
        ]
    return found
