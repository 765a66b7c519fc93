"""One call to the system, to the database or to a thread that fails, counted from the first.

Watched are the calls of this process on what lies below one folder; Linux only.
"""

import errno
import os
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from torrent_engine.disk.files import disk_files
from torrent_engine.disk.state.database import StateDatabase

_BY_PATH = (
    "open",
    "replace",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
    "stat",
    "lstat",
    "utime",
    "link",
)
_BY_DESCRIPTOR = (
    *("pwritev", "preadv", "write", "read", "ftruncate", "fsync", "fdatasync", "fstat", "lseek"),
    "posix_fallocate",
)
_FRAMES = 6


class InjectedDatabaseError(sqlite3.OperationalError):
    """What SQLite raises for an I/O error, or a full disk."""

    def __init__(self, code: int) -> None:
        super().__init__("database or disk is full" if code == sqlite3.SQLITE_FULL else "disk I/O")
        self.sqlite_errorcode = code


def _system(number: int) -> Callable[[], BaseException]:
    return lambda: OSError(number, os.strerror(number))


FAULTS: dict[str, tuple[str, Callable[[], BaseException] | None]] = {
    "EIO": ("system", _system(errno.EIO)),
    "ENOSPC": ("system", _system(errno.ENOSPC)),
    "EMFILE": ("system", _system(errno.EMFILE)),
    "ENOMEM": ("system", _system(errno.ENOMEM)),
    "EACCES": ("system", _system(errno.EACCES)),
    "database I/O": ("database", lambda: InjectedDatabaseError(sqlite3.SQLITE_IOERR)),
    "database full": ("database", lambda: InjectedDatabaseError(sqlite3.SQLITE_FULL)),
    "no thread": ("thread", lambda: RuntimeError("can't start new thread")),
    "no memory": ("thread", MemoryError),
    "cancelled": ("thread", None),
}
"""What is called when, and what that raises; None: it cancels who asked for it."""


class Fault:
    """Raises one error at the call of number ``at`` (from 0)."""

    def __init__(self, kind: str, at: int) -> None:
        self.kind = kind
        self.calls = 0
        self.struck_at = ""
        """Where in the code it struck, innermost last."""
        self.scope: anyio.CancelScope | None = None
        """What is cancelled, where that is the fault."""
        self._what, self._make = FAULTS[kind]
        self._at = at

    @property
    def has_struck(self) -> bool:
        """Whether there were so many calls."""
        return self.calls > self._at

    @contextmanager
    def planted(self, root: Path) -> Iterator[None]:
        """Let calls on what is below ``root`` count until the end of the block."""
        with pytest.MonkeyPatch.context() as patches:
            if self._what == "system":
                self._watch_system(patches, str(root))
            elif self._what == "database":
                self._watch_database(patches)
            else:
                self._watch_threads(patches)
            yield

    def _check(self) -> None:
        number, self.calls = self.calls, self.calls + 1
        if number != self._at:
            return
        frames = [f for f in traceback.extract_stack() if "/torrent_engine/" in f.filename]
        self.struck_at = " > ".join(f"{Path(f.filename).stem}.{f.name}" for f in frames[-_FRAMES:])
        if self._make is not None:
            raise self._make()
        if self.scope is not None:
            self.scope.cancel()

    def _watch_system(self, patches: pytest.MonkeyPatch, root: str) -> None:
        def by_path(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(path: Any, *arguments: Any, **options: Any) -> Any:
                folder = options.get("dir_fd", options.get("src_dir_fd"))
                name = _path_of(folder) if folder is not None else ""
                if (name or _text(path)).startswith(root):
                    self._check()
                return real(path, *arguments, **options)

            return call

        def by_descriptor(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(descriptor: int, *arguments: Any, **options: Any) -> Any:
                if _path_of(descriptor).startswith(root):
                    self._check()
                return real(descriptor, *arguments, **options)

            return call

        for names, wrap in ((_BY_PATH, by_path), (_BY_DESCRIPTOR, by_descriptor)):
            for name in names:
                patches.setattr(os, name, wrap(getattr(os, name)))
        patches.setattr(disk_files, "_DATASYNC", os.fdatasync)

    def _watch_database(self, patches: pytest.MonkeyPatch) -> None:
        real = StateDatabase._transaction

        def call(database: StateDatabase, work: Any, *, is_precious: bool) -> Any:
            self._check()
            return real(database, work, is_precious=is_precious)

        patches.setattr(StateDatabase, "_transaction", call)

    def _watch_threads(self, patches: pytest.MonkeyPatch) -> None:
        real = anyio.to_thread.run_sync

        async def call(function: Any, *arguments: Any, **options: Any) -> Any:
            self._check()
            return await real(function, *arguments, **options)

        patches.setattr(anyio.to_thread, "run_sync", call)


def _path_of(descriptor: object) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""


def _text(path: object) -> str:
    if isinstance(path, int):
        return _path_of(path)
    return os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
