"""The pool of open files of all torrents, bounded in number."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

from torrent_engine.disk.os_errors import is_out_of_descriptors

_T = TypeVar("_T")
OPEN_TIMEOUT_S: Final = 5.0  # ours: how long opening a file waits for a descriptor
POLL_INTERVAL_S: Final = 0.05  # ours: closing elsewhere is not signalled


class FileKey(NamedTuple):
    """The id of a storage, and the index of a file in it."""

    owner: int
    file_index: int


class OnClose(NamedTuple):
    """What is called when a file is closed, in any thread."""

    seen: Callable[[os.stat_result], None]
    """Gets what the file is just before."""
    failed: Callable[[OSError], None]
    """Gets the error with which it was closed; it is closed all the same."""


class OpenFile:
    """One open descriptor; used only between a pool's ``borrow`` and ``give_back``."""

    __slots__ = (
        "_on_close",
        "descriptor",
        "device",
        "is_closing",
        "is_writable",
        "mapping",
        "users",
    )

    def __init__(
        self,
        descriptor: int,
        *,
        is_writable: bool,
        on_close: OnClose | None = None,
    ) -> None:
        """``on_close`` is called when it is closed; without it errors of that do not matter."""
        self._on_close = on_close
        self.descriptor = descriptor
        self.is_writable = is_writable
        self.device = os.fstat(descriptor).st_dev
        self.users = 0
        self.mapping: memoryview | None = None
        """Memory mapping of the file, once requested."""
        self.is_closing = False
        """Removed from the pool; closed when its last user gives it back."""

    def close(self) -> None:
        """Close the descriptor; the mapping goes with the last view of it.

        Whoever happens to close it is not who wrote to it: errors go to ``on_close``.
        """
        self.mapping = None
        if self._on_close is not None:
            with suppress(OSError):
                self._on_close.seen(os.fstat(self.descriptor))
        try:
            os.close(self.descriptor)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            if self._on_close is not None:
                self._on_close.failed(error)


class OpenFiles:
    """A thread-safe least-recently-used pool of descriptors."""

    def __init__(
        self,
        limit: int = 40,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._sleep = sleep
        self._files: dict[FileKey, OpenFile] = {}
        self._lock = threading.Lock()
        self._owners = 0

    def __len__(self) -> int:
        """Return how many files are open in the pool."""
        return len(self._files)

    def new_owner(self) -> int:
        """Return a unique id for a storage."""
        with self._lock:
            self._owners += 1
            return self._owners

    def borrow(self, key: FileKey, *, writable: bool) -> OpenFile | None:
        """Return an open file, in use until given back; None if it has to be opened first."""
        with self._lock:
            file = self._files.get(key)
            if file is None or (writable and not file.is_writable):
                return None
            self._files[key] = self._files.pop(key)  # the most recent is last
            file.users += 1
            return file

    def borrow_again(self, file: OpenFile) -> bool:
        """Mark a file that was borrowed before as in use; False if it was evicted meanwhile."""
        with self._lock:
            if file.is_closing:
                return False
            file.users += 1
            return True

    def give_back(self, file: OpenFile) -> None:
        """End one use."""
        with self._lock:
            file.users -= 1
            unused = file.is_closing and not file.users
        if unused:
            file.close()

    def open(
        self,
        key: FileKey,
        opener: Callable[[], int],
        *,
        writable: bool,
        on_close: OnClose | None = None,
    ) -> OpenFile:
        """Open a file, put it into the pool and return it in use.

        ``on_close`` is called when it is closed, in any thread.

        Retried as :meth:`retrying` does. Raises the errors of ``opener``. For worker threads.
        """
        descriptor = self.retrying(opener)
        try:
            file = OpenFile(descriptor, is_writable=writable, on_close=on_close)
        except BaseException:
            os.close(descriptor)
            raise
        return self._add(key, file)

    def retrying(self, call: Callable[[], _T]) -> _T:
        """Call what needs a descriptor, and again for a few seconds while there is none (row F9).

        Idle files are closed for it. Raises the errors of the call. For worker threads.
        """
        until_s = self._clock() + OPEN_TIMEOUT_S
        while True:
            try:
                return call()
            except OSError as error:
                if not is_out_of_descriptors(error) or self._clock() >= until_s:
                    raise
            if not self._close_idle():
                self._sleep(POLL_INTERVAL_S)

    def forget(self, keys: Iterable[FileKey]) -> None:
        """Close files, those in use as soon as they are given back."""
        with self._lock:
            dropped = [self._files.pop(key) for key in keys if key in self._files]
            idle = self._retire(dropped)
        _close(idle)

    def forget_owner(self, owner: int) -> None:
        """Close all files of one storage."""
        self.forget([key for key in list(self._files) if key.owner == owner])

    def _add(self, key: FileKey, file: OpenFile) -> OpenFile:
        with self._lock:
            file.users = 1
            replaced = self._files.pop(key, None)
            self._files[key] = file
            dropped = self._over_limit()
            if replaced is not None:
                dropped.append(replaced)
            idle = self._retire(dropped)
        _close(idle)
        return file

    def _over_limit(self) -> list[OpenFile]:
        """Remove and return the oldest idle files above the limit; those in use stay."""
        excess = len(self._files) - self._limit
        if excess <= 0:
            return []
        oldest = [key for key, file in self._files.items() if not file.users][:excess]
        return [self._files.pop(key) for key in oldest]

    def _close_idle(self) -> bool:
        with self._lock:
            keys = [key for key, file in self._files.items() if not file.users]
            idle = self._retire([self._files.pop(key) for key in keys])
        _close(idle)
        return bool(idle)

    @staticmethod
    def _retire(files: list[OpenFile]) -> list[OpenFile]:
        """Mark files as out of the pool; return the unused ones (the lock is held)."""
        for file in files:
            file.is_closing = True
        return [file for file in files if not file.users]


def _close(files: list[OpenFile]) -> None:
    for file in files:
        file.close()
