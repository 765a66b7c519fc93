"""What the resume database says of a torrent, and how it is turned into rows and back.

Each row carries a checksum over its fields, so a damaged row is seen and not believed (row F6).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from types import UnionType
from typing import Any, Final

from torrent_engine.base.errors import StateDatabaseError, StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.disk.file_stamps import FileStamp
from torrent_engine.disk.safe_open import check_parts
from torrent_engine.disk.stamp_table import StampTable

INODE_BYTES: Final = 16  # Windows has inodes of 128 bits
DEVICE_BYTES: Final = 8
_CHECKSUM_BYTES: Final = 16
_NODE_ID_BYTES: Final = 20
_IPV4_NODE_BYTES: Final = 26  # BEP 5
_IPV6_NODE_BYTES: Final = 38  # BEP 32
_PART_CHARS: Final = 64 * 1024  # ours: of a long text; a part takes less than 1 ms


@dataclass(frozen=True, slots=True)
class Progress:
    """Which pieces a torrent has; bitfields as in BEP 3."""

    piece_count: int
    have: bytes
    """Verified and written."""
    durable: bytes
    """Synced to the disk after that."""
    unchecked: bytes
    """Maybe on the disk, not hashed yet."""
    boot_id: str
    """Of the running system when this was saved."""
    is_clean: bool
    """Nothing was written to the files since this was saved."""


@dataclass(frozen=True, slots=True)
class TorrentRecord:
    """Everything that is remembered of one torrent."""

    info_hash: InfoHash
    name: str
    save_path: str
    added_time_s: float = 0.0
    """Wall clock, for people; nothing is timed by it."""
    renames: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Whatever the session wants back: priorities, limits, trackers, peers; as JSON has it."""
    metainfo_bytes: bytes = b""
    """The .torrent; empty when it is not known yet (a magnet link)."""
    downloaded_bytes: int = 0
    uploaded_bytes: int = 0
    failed_bytes: int = 0
    """Received and thrown away, as what failed its SHA-1."""
    redundant_bytes: int = 0
    """Received and thrown away, as duplicates."""
    progress: Progress | None = None
    partial: Mapping[int, int] = field(default_factory=dict)
    """Blocks on the disk of pieces that are not whole: bit ``1 << block``."""
    stamps: Mapping[int, FileStamp] = field(default_factory=StampTable)


@dataclass(frozen=True, slots=True)
class DhtRecord:
    """What a node of the DHT takes over from its last run: its id, and whom it knew."""

    is_ipv6: bool
    node_id: bytes
    """20 bytes."""
    nodes: bytes
    """Compact node information, 26 (BEP 5) or 38 (BEP 32) bytes each, best first."""

    @property
    def is_whole(self) -> bool:
        """Whether the lengths are possible."""
        size = _IPV6_NODE_BYTES if self.is_ipv6 else _IPV4_NODE_BYTES
        return len(self.node_id) == _NODE_ID_BYTES and len(self.nodes) % size == 0


def checksum(*fields: object) -> bytes:
    """Return a digest that changes when any field does."""
    digest = blake2b(digest_size=_CHECKSUM_BYTES)
    for value in fields:
        data = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()


def row_checksum(values: Sequence[object]) -> bytes:
    """Return the same of a row as a whole, in a third of the time: for tables with many rows."""
    return blake2b(repr(tuple(values)).encode(), digest_size=_CHECKSUM_BYTES).digest()


def text_row_checksum(values: Sequence[object]) -> bytes:
    """Return the same of a row that ends with JSON, which may be long: made part by part.

    ``repr`` of 10 MB would keep all other threads waiting for 100 ms.
    """
    *head, text = values
    if not isinstance(text, str) or len(text) <= _PART_CHARS or '"' not in text:
        return row_checksum(values)
    digest = blake2b(f"({', '.join(map(repr, head))}, '".encode(), digest_size=_CHECKSUM_BYTES)
    for start in range(0, len(text), _PART_CHARS):
        part = text[start : start + _PART_CHARS]
        digest.update(repr(f'{part}"')[1:-2].encode())  # quoted as the whole, which has a "
    digest.update(b"')")
    return digest.digest()


def check_types(what: str, fields: Sequence[object], types: Sequence[type | UnionType]) -> None:
    """Raise StateDatabaseError unless each field of a row has its type.

    A checksum says that a row is as it was written, not who wrote it (row F6).
    """
    if len(fields) != len(types) or not all(map(isinstance, fields, types)):
        raise StateDatabaseError(f"{what} is damaged: a field is of another type")


def read_settings(what: str, text: str) -> dict[str, Any]:
    """Return the JSON object of a row; StateDatabaseError if it is none."""
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StateDatabaseError(f"{what} is damaged: {error}") from error
    if not isinstance(settings, dict):
        raise StateDatabaseError(f"{what} is damaged: no object")
    return settings


def torrent_row(record: TorrentRecord) -> tuple[object, ...]:
    """Return the row of table ``torrents``."""
    renames = json.dumps({str(index): list(path) for index, path in record.renames.items()})
    settings = json.dumps(dict(record.settings))
    head = (bytes(record.info_hash), record.name, record.save_path, float(record.added_time_s))
    return (*head, renames, settings, checksum(*head, renames, settings))


def read_torrent_row(row: tuple[Any, ...]) -> TorrentRecord:
    """Return the record of a row; StateDatabaseError if the row is damaged."""
    *fields, stored = row
    if checksum(*fields) != stored:
        raise StateDatabaseError("a torrent's row is damaged")
    check_types("a torrent's row", fields, (bytes, str, str, float, str, str))
    info_hash, name, save_path, added_time_s, renames, settings = fields
    try:
        paths = {
            int(index): check_parts(path)
            for index, path in read_settings("a torrent's row", renames).items()
        }
    except (ValueError, TypeError, StorageError) as error:
        raise StateDatabaseError(f"a torrent's row is damaged: {error}") from error
    return TorrentRecord(
        info_hash=InfoHash(info_hash),
        name=name,
        save_path=save_path,
        added_time_s=added_time_s,
        renames=paths,
        settings=read_settings("a torrent's row", settings),
    )


def progress_row(info_hash: InfoHash, progress: Progress) -> tuple[object, ...]:
    """Return the row of table ``progress``."""
    fields = (
        bytes(info_hash),
        progress.piece_count,
        progress.have,
        progress.durable,
        progress.unchecked,
        progress.boot_id,
        int(progress.is_clean),
    )
    return (*fields, checksum(*fields))


def read_progress_row(row: tuple[Any, ...]) -> Progress:
    """Return the progress of a row; StateDatabaseError if the row is damaged."""
    *fields, stored = row
    if checksum(*fields) != stored:
        raise StateDatabaseError("a progress row is damaged")
    check_types("a progress row", fields, (bytes, int, bytes, bytes, bytes, str, int))
    _, piece_count, have, durable, unchecked, boot_id, is_clean = fields
    length = (piece_count + 7) // 8
    if {len(have), len(durable), len(unchecked)} != {length}:
        raise StateDatabaseError("a progress row has the wrong number of bits")
    return Progress(piece_count, have, durable, unchecked, boot_id, bool(is_clean))


def stamp_row(info_hash: InfoHash, stamp: FileStamp) -> tuple[object, ...]:
    """Return the row of table ``stamps``."""
    identity = stamp.inode.to_bytes(INODE_BYTES, "big"), stamp.device.to_bytes(DEVICE_BYTES, "big")
    times = stamp.mtime_ns, *identity, stamp.ctime_ns
    return (bytes(info_hash), stamp.file_index, stamp.size_bytes, *times)


def read_stamp_row(row: tuple[Any, ...]) -> FileStamp | None:
    """Return the stamp of a row without its info-hash; None if it is damaged."""
    index, size, mtime, inode, device, ctime = row
    if not all(map(isinstance, row, (int, int, int, bytes, bytes, int))):
        return None
    if (len(inode), len(device)) != (INODE_BYTES, DEVICE_BYTES):
        return None
    identity = int.from_bytes(inode, "big"), int.from_bytes(device, "big")
    return FileStamp(index, size, mtime, *identity, ctime)


def dht_row(record: DhtRecord) -> tuple[object, ...]:
    """Return the row of table ``dht_nodes``."""
    fields = (int(record.is_ipv6), record.node_id, record.nodes)
    return (*fields, checksum(*fields))


def read_dht_row(row: tuple[Any, ...]) -> DhtRecord:
    """Return the record of a row; StateDatabaseError if the row is damaged."""
    *fields, stored = row
    if checksum(*fields) != stored:
        raise StateDatabaseError("a row of DHT nodes is damaged")
    check_types("a row of DHT nodes", fields, (int, bytes, bytes))
    is_ipv6, node_id, nodes = fields
    record = DhtRecord(bool(is_ipv6), node_id, nodes)
    if not record.is_whole:
        raise StateDatabaseError("a row of DHT nodes has the wrong length")
    return record
