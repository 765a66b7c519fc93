"""Plain files of the state folder: .torrent copies, and space reserved for a full disk (F1).

The copies are written atomically, so the list of torrents can be made anew from them when the
database is lost.
"""

import errno
import json
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha1, sha256
from pathlib import Path
from typing import Final

from torrent_engine.base.config import STORED_BENCODE_LIMITS
from torrent_engine.base.errors import BencodeError, StateDatabaseError, StorageError
from torrent_engine.base.ids import SHA1_BYTES, InfoHash
from torrent_engine.codec.bencode import decode_with_spans, skip_value
from torrent_engine.codec.paths import PathParts
from torrent_engine.disk.regular_files import not_regular, open_descriptor, read_regular
from torrent_engine.disk.safe_open import check_parts
from torrent_engine.disk.state.records import TorrentRecord

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_TEMPORARY: Final = re.compile(r"\.\d+\.tmp(-journal|-wal|-shm)?\Z")
_INFO_HASH: Final = re.compile(r"[0-9a-f]{40}")
_UNUSABLE: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
"""What damaged JSON, or JSON of another shape, leads to."""
_FOUND: Final = (
    "found_files",
    "found_folders",
    "found_unknown",
)  # settings without which files would be lost
_log = logging.getLogger(__name__)
_FREE_SHARE: Final = 8  # the reserve takes at most one part in this many of what is free
_PARTS: Final = 4  # ours: a part of the reserve is given up at a time
_LEAST_PART_BYTES: Final = 64 * 1024  # ours: a transaction takes less, as a rule


def make_private_folder(path: Path) -> None:
    """Make a folder that only its user may enter, if there is none; OSError if that fails."""
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(path.parent)


def remove_temporaries(folder: Path) -> None:
    """Remove what processes that were killed left of files that they wrote; failing does no harm.

    Only for who uses the folder alone.
    """
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - a Path each takes longer
            if _TEMPORARY.search(name):
                (folder / name).unlink(missing_ok=True)


def refuse_unwritable(path: Path) -> None:
    """Raise StateDatabaseError if a file of a database may not be written: that is no damage.

    SQLite would make side files of its mode, and call the database read-only for theirs. Of what is
    no regular file it would not say which that is.
    """
    for ending in ("", "-wal", "-shm"):
        file = path.with_name(f"{path.name}{ending}")
        if not os.path.lexists(file):
            continue
        if not file.is_file():
            raise StateDatabaseError(f"{file}: {not_regular(file).strerror}")
        if not os.access(file, os.R_OK | os.W_OK):
            raise StateDatabaseError(f"{file}: {os.strerror(errno.EACCES)}")


def set_database_aside(path: Path) -> Path:
    """Rename a closed database that is damaged, with its log; return its new path.

    The log goes first: it must not be applied to what takes the database's place. Raises OSError.
    """
    number = 1
    while any(map(os.path.lexists, _aside(path, number))):
        number += 1
    kept, kept_log = _aside(path, number)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        path.with_name(f"{path.name}-wal").rename(kept_log)
    with suppress(FileNotFoundError):
        path.rename(kept)
    return kept


def _aside(path: Path, number: int) -> tuple[Path, Path]:
    """Return the names of a database and its log, with which SQLite can open them together."""
    kept = path.with_name(f"{path.name}.broken-{number}")
    return kept, kept.with_name(f"{kept.name}-wal")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of a file atomically and durably."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _has_content(path: str) -> bool:
    """Return whether there is a file that is not empty, as after a loss of power.

    A folder, which no file can replace, is taken for one.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - a Path each takes longer
    except OSError:
        return False
    if stat.S_ISDIR(found.st_mode):
        _log.warning("%s is a folder, and what belongs there is not saved", path)
        return True
    return stat.S_ISREG(found.st_mode) and found.st_size > 0


def _present_content(path: Path) -> bytes | None:
    """Return the content of a file; None, with a warning, if it cannot be read."""
    try:
        return read_regular(path)
    except OSError as error:
        _log.warning("%s is replaced: %s", path, error.strerror or error)
        return None


def _write_unsynced(path: str, data: bytes) -> None:
    """Write a file that is not there, or is another; what was whole is never half of either."""
    try:
        descriptor = os.open(path, _NEW_FILE, 0o600)
    except FileExistsError:
        if _present_content(Path(path)) != data:
            write_atomically(Path(path), data)
        return
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        Path(path).unlink(missing_ok=True)  # half a file would be taken for a whole one
        raise
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable, where a folder can be opened."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class TorrentCopies:
    """The .torrent of each torrent; beside it where its files are, what a manager wants back."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, record: TorrentRecord) -> None:
        """Write both files; OSError if that fails."""
        make_private_folder(self._folder)
        if record.metainfo_bytes:
            write_atomically(self._path(record.info_hash, "torrent"), record.metainfo_bytes)
        renames = {str(index): list(path) for index, path in record.renames.items()}
        found = {name: record.settings[name] for name in _FOUND if name in record.settings}
        where = {"name": record.name, "save_path": record.save_path, "renames": renames, **found}
        write_atomically(self._path(record.info_hash, "json"), json.dumps(where).encode())

    def save_metainfo(self, info_hash: InfoHash, data: bytes) -> None:
        """Write the .torrent anew; OSError if that fails."""
        write_atomically(self._path(info_hash, "torrent"), data)

    def save_unsynced(self, metainfos: Iterable[tuple[bytes, bytes]]) -> None:
        """Write many .torrents, named by info-hash; the power may be lost before they are there."""
        make_private_folder(self._folder)
        folder = os.fspath(self._folder)  # a Path each would take longer than the files do
        for info_hash, data in metainfos:
            _write_unsynced(f"{folder}{os.sep}{info_hash.hex()}.torrent", data)

    def save_sessions(self, texts: Iterable[tuple[bytes, str]]) -> None:
        """Write what a manager wants back of torrents that are new to it; the others stay."""
        make_private_folder(self._folder)
        folder = os.fspath(self._folder)
        for info_hash, text in texts:
            path = f"{folder}{os.sep}{info_hash.hex()}.session"
            if not _has_content(path):
                _write_unsynced(path, text.encode())

    def session_text(self, info_hash: bytes) -> str:
        """Return what was wanted back at first; empty if that is not known."""
        try:
            return read_regular(self._path(info_hash, "session")).decode("utf-8", "replace")
        except OSError:
            return ""

    def sessions(self) -> set[InfoHash]:
        """Return the torrents of the manager, by their files."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - a Path each takes longer
        except OSError:
            return set()
        endings = (name.partition(".") for name in names)
        stems = [stem for stem, _, ending in endings if ending == "session"]
        return {InfoHash(bytes.fromhex(stem)) for stem in stems if _INFO_HASH.fullmatch(stem)}

    def remove_sessions(self, info_hashes: Iterable[bytes]) -> None:
        """Remove these files, and .torrents that say not where their files are; for good."""
        for info_hash in info_hashes:
            self._path(info_hash, "session").unlink(missing_ok=True)
            if not self._path(info_hash, "json").exists():
                self._path(info_hash, "torrent").unlink(missing_ok=True)
        sync_folder(self._folder)

    def remove(self, info_hash: InfoHash) -> None:
        """Remove all files of a torrent, for good."""
        for ending in ("torrent", "json", "session"):
            self._path(info_hash, ending).unlink(missing_ok=True)
        sync_folder(self._folder)

    def has(self, info_hash: InfoHash) -> bool:
        """Return whether there is a .torrent."""
        return self._path(info_hash, "torrent").exists()

    def metainfo_bytes(self, info_hash: InfoHash) -> bytes:
        """Return the .torrent; empty if there is none, or not the right one."""
        data = self.unproven_bytes(info_hash)
        return data if is_torrent_of(data, info_hash) else b""

    def unproven_bytes(self, info_hash: InfoHash) -> bytes:
        """Return the .torrent, whatever it holds; empty if there is none."""
        try:
            return read_regular(self._path(info_hash, "torrent"))
        except OSError:
            return b""

    def load(self, info_hash: InfoHash, *, with_metainfo: bool = True) -> TorrentRecord | None:
        """Return what the two files say, or that beside the .torrent; None if it is not enough.

        Names that lead out of the save path are left out.
        """
        try:
            where = json.loads(read_regular(self._path(info_hash, "json")))
            return TorrentRecord(
                info_hash=info_hash,
                name=_storable(where["name"]),
                save_path=_storable(where["save_path"]),
                renames=_checked_names(where["renames"]),
                settings={name: where[name] for name in _FOUND if name in where},
                metainfo_bytes=self.metainfo_bytes(info_hash) if with_metainfo else b"",
            )
        except _UNUSABLE:
            return None

    def saved_ns(self, info_hash: InfoHash) -> int:
        """Return when the copy was written last, since 1970; 0 if there is none."""
        try:
            return self._path(info_hash, "json").stat().st_mtime_ns
        except OSError:
            return 0

    def info_hashes(self) -> Iterator[InfoHash]:
        """Return which torrents there are copies of."""
        for path in sorted(self._folder.glob("*.json")):
            with suppress(ValueError):
                info_hash = bytes.fromhex(path.stem)
                if len(info_hash) == SHA1_BYTES:
                    yield InfoHash(info_hash)

    def load_all(self) -> list[TorrentRecord]:
        """Return what all files say."""
        return [record for record in map(self.load, self.info_hashes()) if record is not None]

    def _path(self, info_hash: bytes, ending: str) -> Path:
        return self._folder / f"{info_hash.hex()}.{ending}"


def _storable(value: object) -> str:
    """Return a value as text; ValueError if the database cannot have it."""
    text = str(value)
    text.encode()
    return text


def _checked_names(renames: Mapping[str, object]) -> dict[int, PathParts]:
    """Return the names that are safe, by the numbers of the files."""
    found: dict[int, PathParts] = {}
    for index, path in renames.items():
        with suppress(ValueError, TypeError, StorageError):
            if isinstance(path, list):
                found[int(index)] = check_parts(path)
    return found


def is_torrent_of(data: bytes, info_hash: bytes) -> bool:
    """Return whether data is a .torrent with this info-hash."""
    info = info_bytes_in(data)
    if sha1(info, usedforsecurity=False).digest() == info_hash:
        return True
    return sha256(info).digest()[:SHA1_BYTES] == info_hash  # one that has a v2 part only


def info_bytes_in(data: bytes) -> bytes:
    """Return the info dictionary of a .torrent, as it is encoded; empty if there is none."""
    try:
        readers = {b"info": skip_value}
        _, spans = decode_with_spans(data, limits=STORED_BENCODE_LIMITS, readers=readers)
    except BencodeError:
        return b""
    start, end = spans.get(b"info", (0, 0))
    return data[start:end]


class Reserve:
    """A file that only takes room, given up so that the database can be written when it is full."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._most_held_bytes = 0

    def hold(self) -> None:
        """Reserve the space, or less of it where the disk is small; failing does no harm.

        What is held already stays, or grows where there is more room now; what was given up is
        taken again first, before anything else takes it.
        """
        if not self._size_bytes or not hasattr(os, "posix_fallocate"):
            return
        with suppress(OSError):
            descriptor = open_descriptor(self._path, os.O_WRONLY | os.O_CREAT)
            try:
                self._grow(descriptor, os.fstat(descriptor).st_size)
            finally:
                os.close(descriptor)

    def _grow(self, descriptor: int, held_bytes: int) -> None:
        self._most_held_bytes = max(self._most_held_bytes, held_bytes)
        free_bytes = shutil.disk_usage(self._path.parent).free + held_bytes
        size = max(min(self._size_bytes, free_bytes // _FREE_SHARE), 1)
        size = max(size, min(self._most_held_bytes, free_bytes))
        if size <= held_bytes:
            return
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            os.ftruncate(descriptor, held_bytes)
            if not held_bytes:
                self._path.unlink(missing_ok=True)
        else:
            self._most_held_bytes = max(self._most_held_bytes, size)

    def give_up(self) -> bool:
        """Free a part of the room, the last part with the file; False if there was none.

        A part at a time: what is freed may be taken by payload that is just being written.
        """
        with suppress(OSError):
            held_bytes = self._path.stat().st_size
            left_bytes = held_bytes - max(held_bytes // _PARTS, _LEAST_PART_BYTES)
            if left_bytes > 0:
                os.truncate(self._path, left_bytes)
                return True
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
