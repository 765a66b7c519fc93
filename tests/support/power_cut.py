"""A recorder of what a process asks of its file system, and the states a power cut may leave.

Everything that is written, cut, named or synced below some folder is recorded, and each transaction
of the state database. A :class:`CrashState` is what is there after the power failed at one moment:
what was synced before is there; of what came later some is, not always in the order of the calls.

The model is that of a file system that promises no more than POSIX does. Bytes and lengths of a
file are durable after its sync began and ended; a name after the sync of its folder. Names in one
folder appear in order. Of bytes that were not synced any 4 KiB may be missing, while the length is
there; and the length may be missing, while bytes are written: then they are not there either, for a
write within a file's length changes none. The database goes back to any transaction since the last
one that it synced, and is whole (SQLite in WAL mode).
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from torrent_engine.disk.files import disk_files
from torrent_engine.disk.state.database import StateDatabase

PAGE_BYTES = 4096
_DATABASE = "state.db"
_STAT_FIELDS = [name for name in dir(os.stat_result) if name.startswith("st_")]


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a folder stands for a file or folder from now on; None: for nothing."""

    folder: int
    name: str
    node: int | None
    other: "Name | None" = None
    """The other half of a rename."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes of a file, or its length where ``data`` is None."""

    node: int
    offset: int
    data: bytes | None
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Synced:
    """All that was asked of a file or folder before ``begun`` is durable."""

    node: int
    begun: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A transaction of the database: what it holds now, and whether that is durable."""

    content: bytes
    is_durable: bool


@dataclass(frozen=True, slots=True)
class Marked:
    """Something that a test wants to know the moment of."""

    what: object


Entry = Name | Bytes | Synced | Committed | Marked


@dataclass
class Node:
    """A file or a folder as it was at the start."""

    is_folder: bool
    content: bytes = b""
    mtime_ns: int = 0
    inode: int = 0
    mode: int = 0o644
    names: dict[str, int] = field(default_factory=dict)


class Recorder:
    """Watches one folder, which nobody else uses meanwhile; Linux only."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[Entry] = []
        self.nodes: dict[int, Node] = {}
        self._lock = threading.RLock()
        self._live: dict[tuple[int, int], int] = {}
        self._top = self._take_in(root)

    @property
    def top(self) -> int:
        """The number of the watched folder."""
        return self._top

    def mark(self, what: object) -> None:
        """Note a moment."""
        with self._lock:
            self.log.append(Marked(what))

    def _take_in(self, path: Path) -> int:
        """Number a file or a folder with all that is in it now."""
        status = path.lstat()
        node, number = (
            Node(path.is_dir(), inode=status.st_ino, mode=status.st_mode),
            len(self.nodes),
        )
        self.nodes[number] = node
        self._live[status.st_dev, status.st_ino] = number
        if node.is_folder:
            for entry in path.iterdir():
                node.names[entry.name] = self._take_in(entry)
        else:
            node.content, node.mtime_ns = path.read_bytes(), status.st_mtime_ns
        return number

    # -- the calls ----------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record until the end of the block."""
        with pytest.MonkeyPatch.context() as patches:
            for name in _CALLS:
                patches.setattr(os, name, getattr(self, f"_{name}")(getattr(os, name)))
            patches.setattr(disk_files, "_DATASYNC", os.fdatasync)
            patches.setattr(StateDatabase, "_transaction", self._transaction())
            patches.setattr(StateDatabase, "_disconnect", self._disconnect())
            yield

    def _path(self, path: Any, dir_fd: int | None) -> Path | None:
        """Return a watched path; None if it is none, or the database's own."""
        if isinstance(path, int):
            return None
        text = os.fsdecode(path)
        if dir_fd is not None:
            text = str(Path(f"/proc/self/fd/{dir_fd}").readlink() / text)
        found = Path(os.path.abspath(text))  # noqa: PTH100 - no link is followed
        if not found.is_relative_to(self.root) or found.name.startswith(_DATABASE):
            return None
        return found

    def _node_at(self, path: Path) -> int | None:
        try:
            status = path.lstat()
        except OSError:
            return None
        return self._live.get((status.st_dev, status.st_ino))

    def _node_of(self, descriptor: int) -> int | None:
        status = os.fstat(descriptor)
        return self._live.get((status.st_dev, status.st_ino))

    def _born(self, path: Path) -> None:
        """Record a file or folder that is new."""
        status, folder = path.lstat(), self._node_at(path.parent)
        assert folder is not None, path
        number = len(self.nodes)
        self.nodes[number] = Node(path.is_dir(), inode=status.st_ino, mode=status.st_mode)
        self._live[status.st_dev, status.st_ino] = number
        self.log.append(Name(folder, path.name, number))

    def _lost(self, path: Path, status: os.stat_result) -> None:
        folder = self._node_at(path.parent)
        assert folder is not None
        self.log.append(Name(folder, path.name, None))
        if status.st_nlink <= 1 or path.is_dir():
            self._live.pop((status.st_dev, status.st_ino), None)  # its number may come again

    def _open(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            watched = self._path(path, dir_fd) if flags & (os.O_CREAT | os.O_TRUNC) else None
            if watched is None:
                return real(path, flags, mode, dir_fd=dir_fd)
            with self._lock:
                before = self._node_at(watched)
                descriptor = real(path, flags, mode, dir_fd=dir_fd)
                if before is None:
                    self._born(watched)
                elif flags & os.O_TRUNC:
                    self._note_bytes(descriptor, 0, None)
            return descriptor

        return call

    def _note_bytes(self, descriptor: int, offset: int, data: bytes | None) -> None:
        node = self._node_of(descriptor)
        if node is not None:
            self.log.append(Bytes(node, offset, data, os.fstat(descriptor).st_mtime_ns))

    def _pwritev(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(descriptor: int, views: Any, offset: int, flags: int = 0) -> int:
            with self._lock:
                done = real(descriptor, views, offset, flags)
                self._note_bytes(descriptor, offset, b"".join(views)[:done])
            return done

        return call

    def _write(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(descriptor: int, data: Any) -> int:
            if self._node_of(descriptor) is None:
                return real(descriptor, data)
            with self._lock:
                offset = os.lseek(descriptor, 0, os.SEEK_CUR)
                done = real(descriptor, data)
                self._note_bytes(descriptor, offset, bytes(data)[:done])
            return done

        return call

    def _ftruncate(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(descriptor: int, length: int) -> None:
            with self._lock:
                real(descriptor, length)
                self._note_bytes(descriptor, length, None)

        return call

    def _posix_fallocate(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(descriptor: int, offset: int, length: int) -> None:
            with self._lock:
                real(descriptor, offset, length)
                self._note_bytes(descriptor, os.fstat(descriptor).st_size, None)

        return call

    def _sync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            node, begun = self._node_of(descriptor), len(self.log)
            real(descriptor)  # others may write meanwhile: that is not covered
            if node is not None:
                with self._lock:
                    self.log.append(Synced(node, begun))

        return call

    _fsync = _fdatasync = _sync

    def _replace(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(
            source: Any,
            target: Any,
            *,
            src_dir_fd: int | None = None,
            dst_dir_fd: int | None = None,
        ) -> None:
            old, new = self._path(source, src_dir_fd), self._path(target, dst_dir_fd)
            with self._lock:
                node = self._node_at(old) if old is not None else None
                folders = [self._node_at(path.parent) for path in (old, new) if path is not None]
                real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
                if node is not None and old is not None and new is not None:
                    gone = Name(folders[0] or 0, old.name, None)
                    self.log.append(Name(folders[1] or 0, new.name, node, other=gone))

        return call

    _rename = _replace

    def _link(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(source: Any, target: Any, **options: Any) -> None:
            new = self._path(target, options.get("dst_dir_fd"))
            with self._lock:
                real(source, target, **options)
                if new is not None:
                    node, folder = self._node_at(new), self._node_at(new.parent)
                    assert node is not None
                    assert folder is not None
                    self.log.append(Name(folder, new.name, node))

        return call

    def _unlink(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, *, dir_fd: int | None = None) -> None:
            watched = self._path(path, dir_fd)
            with self._lock:
                status = os.lstat(watched) if watched and watched.exists() else None
                real(path, dir_fd=dir_fd)
                if watched is not None and status is not None:
                    self._lost(watched, status)

        return call

    _remove = _rmdir = _unlink

    def _mkdir(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            watched = self._path(path, dir_fd)
            with self._lock:
                real(path, mode, dir_fd=dir_fd)
                if watched is not None:
                    self._born(watched)

        return call

    def _fdopen(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, mode: str = "r", **options: Any) -> Any:
            return _PlainFile(descriptor) if "w" in mode else real(descriptor, mode, **options)

        return call

    # -- the database ---------------------------------------------------------------------------

    def _transaction(self) -> Callable[..., Any]:
        real = StateDatabase._transaction

        def call(database: StateDatabase, work: Any, *, is_precious: bool) -> Any:
            result = real(database, work, is_precious=is_precious)
            assert database._connection is not None
            with self._lock:
                self.log.append(Committed(database._connection.serialize(), is_precious))
            return result

        return call

    def _disconnect(self) -> Callable[[StateDatabase], None]:
        real = StateDatabase._disconnect

        def call(database: StateDatabase) -> None:
            if database._connection is None:
                return
            content = database._connection.serialize()
            real(database)  # SQLite syncs all when its last user leaves
            with self._lock:
                self.log.append(Committed(content, True))

        return call


_CALLS = (
    *("open", "pwritev", "write", "ftruncate", "posix_fallocate", "fsync", "fdatasync", "replace"),
    *("rename", "link", "unlink", "remove", "rmdir", "mkdir", "fdopen"),
)


class _PlainFile:
    """What ``os.fdopen(..., "wb")`` gives, over the calls that are watched."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        return len(data)

    def flush(self) -> None: ...

    def fileno(self) -> int:
        return self._descriptor

    def __enter__(self) -> "_PlainFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


# -- crash states ---------------------------------------------------------------------------------

KINDS = ("killed", "all", "synced only", "names and lengths", "some", "few", "most")
_WHOLE = frozenset({"killed", "all"})
"""The process died, or the power failed, when all was on the disk."""


class CrashState:
    """What is on the disk when the power fails after the first ``moment`` entries of the log."""

    def __init__(self, recorder: Recorder, moment: int, kind: str, random: Random) -> None:
        self.marks: list[Any] = [
            each.what for each in recorder.log[:moment] if isinstance(each, Marked)
        ]
        self.about = f"{moment} of {len(recorder.log)}, {kind}"
        self.is_same_boot = kind == "killed"
        self._nodes, self._top = recorder.nodes, recorder.top
        self._log, self._kind, self._random = recorder.log[:moment], kind, random
        self._chance = {"few": 0.15, "most": 0.85}.get(kind, 0.5)
        self._synced = self._find_syncs()
        self._names = {
            number: dict(node.names) for number, node in self._nodes.items() if node.is_folder
        }
        self._apply_names()
        self._contents: dict[int, bytearray] = {}
        self._lengths: dict[int, int] = {}
        """Those that the process saw."""
        self._mtimes: dict[int, int] = {}
        self._apply_bytes()
        self.database = self._choose_database()

    def _find_syncs(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for entry in self._log:
            if isinstance(entry, Synced):
                found[entry.node] = max(found.get(entry.node, 0), entry.begun)
        return found

    def _is_synced(self, number: int, node: int) -> bool:
        return number < self._synced.get(node, 0)

    def _keeps(self) -> bool:
        """Decide about something that was not synced."""
        if self._kind in {*_WHOLE, "synced only"}:
            return self._kind in _WHOLE
        return self._random.random() < self._chance

    # -- names ----------------------------------------------------------------------------------

    def _apply_names(self) -> None:
        """Apply what is durable, then as much of the rest of each folder, in order, as is kept."""
        ends: dict[int, int] = {}
        entries = [(i, e) for i, e in enumerate(self._log) if isinstance(e, Name)]
        for folder in self._names:
            own = [i for i, e in entries if folder in {e.folder, e.other and e.other.folder}]
            unsynced = [i for i in own if not self._is_synced(i, folder)]
            ends[folder] = self._end_of_names(unsynced)
        for number, entry in entries:
            if number < ends[entry.folder] or self._is_synced(number, entry.folder):
                self._apply_name(entry)
            elif entry.other is not None and self._is_synced(number, entry.other.folder):
                self._apply_name(entry)  # a rename is one step: the journal has both halves

    def _end_of_names(self, unsynced: list[int]) -> int:
        if self._kind in {*_WHOLE, "names and lengths"} or not unsynced:
            return len(self._log)
        if self._kind == "synced only":
            return unsynced[0]
        return self._random.choice([*unsynced, len(self._log)])

    def _apply_name(self, entry: Name) -> None:
        names = self._names[entry.folder]
        if entry.node is None:
            names.pop(entry.name, None)
        else:
            names[entry.name] = entry.node
        if entry.other is not None:
            self._apply_name(entry.other)

    # -- bytes ----------------------------------------------------------------------------------

    def _apply_bytes(self) -> None:
        for number, entry in enumerate(self._log):
            if not isinstance(entry, Bytes):
                continue
            content = self._contents.setdefault(
                entry.node, bytearray(self._nodes[entry.node].content)
            )
            length = self._lengths.get(entry.node, len(content))
            end = entry.offset + len(entry.data or b"")
            self._lengths[entry.node] = end if entry.data is None else max(length, end)
            if self._is_synced(number, entry.node):
                self._write(content, entry.offset, entry.data)
            elif not self._apply_some(content, self._within(content, entry, length)):
                continue
            self._mtimes[entry.node] = entry.mtime_ns

    @staticmethod
    def _within(content: bytearray, entry: Bytes, length: int) -> Bytes:
        """Leave out what lies behind the end of the file on the disk, but not in memory."""
        data = entry.data
        if data is None or entry.offset + len(data) > length:
            return entry
        return replace(entry, data=data[: max(0, len(content) - entry.offset)])

    def _apply_some(self, content: bytearray, entry: Bytes) -> bool:
        """Apply what is kept of bytes that were not synced; return whether the file shows it."""
        if self._kind == "names and lengths":
            end = entry.offset + len(entry.data or b"")
            if entry.data is None or end > len(content):
                self._write(content, end, None)
            return True
        if not self._keeps():
            return False
        if entry.data is None or self._kind in _WHOLE or self._random.random() < 0.5:
            self._write(content, entry.offset, entry.data)
            return True
        for start in range(0, len(entry.data), PAGE_BYTES):  # torn
            if self._random.random() < self._chance:
                self._write(content, entry.offset + start, entry.data[start : start + PAGE_BYTES])
        return True

    @staticmethod
    def _write(content: bytearray, offset: int, data: bytes | None) -> None:
        if data == b"":
            return
        if data is None:
            del content[offset:]
        if len(content) < offset:
            content += bytes(offset - len(content))
        if data is not None:
            content[offset : offset + len(data)] = data

    # -- the database ---------------------------------------------------------------------------

    def _choose_database(self) -> bytes | None:
        commits = [entry for entry in self._log if isinstance(entry, Committed)]
        durable = max((i + 1 for i, each in enumerate(commits) if each.is_durable), default=0)
        count = len(commits)
        if self._kind == "synced only":
            count = durable
        elif self._kind not in {*_WHOLE, "names and lengths"}:
            count = self._random.randint(durable, len(commits))
        return commits[count - 1].content if count else None

    def since_last_sync(self) -> list[tuple[str, Bytes]]:
        """Return what was written since the last durable transaction but one, by file name."""
        durable = [i for i, e in enumerate(self._log) if isinstance(e, Committed) and e.is_durable]
        since = durable[-2] if len(durable) > 1 else 0
        names = {e.node: e.name for e in self._log if isinstance(e, Name) and e.node is not None}
        return [
            (names.get(entry.node, ""), entry)
            for entry in self._log[since:]
            if isinstance(entry, Bytes)
        ]

    # -- on the disk ----------------------------------------------------------------------------

    def restore(self, root: Path, database: Path) -> dict[int, tuple[int, int]]:
        """Put this state below a folder; return (inode, mtime in ns) by the inode it has now."""
        shutil.rmtree(root, ignore_errors=True)
        made: dict[int, Path] = {}
        self._restore(self._top, root, made)
        if self.database is not None:
            database.parent.mkdir(parents=True, exist_ok=True)
            database.write_bytes(self.database)
        return {
            path.lstat().st_ino: (self._nodes[number].inode, self._mtimes.get(number, 0))
            for number, path in made.items()
        }

    def _restore(self, number: int, path: Path, made: dict[int, Path]) -> None:
        node = self._nodes[number]
        if node.is_folder:
            path.mkdir()
            for name, inner in self._names[number].items():
                self._restore(inner, path / name, made)
        elif number in made:
            path.hardlink_to(made[number])
        else:
            _write_sparse(path, self._contents.get(number, node.content))
            path.chmod(node.mode & 0o777)
            mtime_ns = self._mtimes.setdefault(number, node.mtime_ns)
            os.utime(path, ns=(mtime_ns, mtime_ns))
        made.setdefault(number, path)


def _write_sparse(path: Path, content: bytes | bytearray) -> None:
    """Write a file whose pages of zeros are holes, as they are where nothing reached the disk."""
    view = memoryview(content)
    with path.open("wb", buffering=0) as file:
        file.truncate(len(view))
        for start in range(0, len(view), PAGE_BYTES):
            page = view[start : start + PAGE_BYTES]
            if content.count(0, start, start + PAGE_BYTES) < len(page):
                os.pwrite(file.fileno(), page, start)


def with_inodes(
    look: Callable[..., os.stat_result], inodes: dict[int, tuple[int, int]]
) -> Callable[..., Any]:
    """Return looks of a ``Folder`` as had the files their old inodes and change times."""

    def call(*arguments: Any) -> Any:
        found = look(*arguments)
        if found.st_ino not in inodes:
            return found
        fields = {name: getattr(found, name) for name in _STAT_FIELDS}
        inode, mtime_ns = inodes[found.st_ino]
        return SimpleNamespace(**fields | {"st_ino": inode, "st_ctime_ns": mtime_ns})

    return call
