"""Owns the open files of all torrents: at most so many at once, none closed while in use."""

import errno
import os
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple


class FileKey(NamedTuple):
    """Whose file it is: a storage's number and the file's index in it."""

    owner: int
    file_index: int


class OpenFile:
    """One open descriptor; used only between a pool's ``borrow`` and ``give_back``."""

    __slots__ = ("descriptor", "device", "is_closing", "is_writable", "mapping", "users")

    def __init__(self, descriptor: int, *, is_writable: bool) -> None:
        self.descriptor = descriptor
        self.is_writable = is_writable
        self.device = os.fstat(descriptor).st_dev
        self.users = 0
        self.mapping: memoryview | None = None
        """The file's bytes as they lie in the page cache, once they were asked for."""
        self.is_closing = False
        """Out of the pool: whoever gives it back last closes it."""

    def close(self) -> None:
        """Close the descriptor; the mapping goes with the last view of it."""
        self.mapping = None
        os.close(self.descriptor)


class OpenFiles:
    """A least-recently-used pool of descriptors, safe to use from every thread."""

    def __init__(self, limit: int = 40) -> None:
        self._limit = limit
        self._files: dict[FileKey, OpenFile] = {}
        self._lock = threading.Lock()
        self._owners = 0

    def __len__(self) -> int:
        """Return how many files are open in the pool."""
        return len(self._files)

    def new_owner(self) -> int:
        """Return a number that no other storage has."""
        with self._lock:
            self._owners += 1
            return self._owners

    def borrow(self, key: FileKey, *, writable: bool) -> OpenFile | None:
        """Return an open file, in use until given back; None if it has to be opened first."""
        with self._lock:
            file = self._files.get(key)
            if file is None or (writable and not file.is_writable):
                return None
            self._files[key] = self._files.pop(key)  # the youngest is the last
            file.users += 1
            return file

    def borrow_again(self, file: OpenFile) -> bool:
        """Take a file that was seen before into use; False if it left the pool since."""
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

    def open(self, key: FileKey, opener: Callable[[], int], *, writable: bool) -> OpenFile:
        """Open a file, put it into the pool and return it in use.

        When the process runs out of descriptors every idle one is closed and it is tried once
        more (row F9). Raises what ``opener`` raises.
        """
        try:
            descriptor = opener()
        except OSError as error:
            if not is_out_of_descriptors(error) or not self._close_idle():
                raise
            descriptor = opener()
        try:
            file = OpenFile(descriptor, is_writable=writable)
        except BaseException:
            os.close(descriptor)
            raise
        return self._add(key, file)

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
        """Take the oldest idle files out until the limit holds; those in use stay."""
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
        """Mark files as out of the pool; return those that nobody uses (the lock is held)."""
        for file in files:
            file.is_closing = True
        return [file for file in files if not file.users]


def is_out_of_descriptors(error: OSError) -> bool:
    """Return whether a call failed because the process or the system has no descriptor left."""
    return error.errno in {errno.EMFILE, errno.ENFILE}


def _close(files: list[OpenFile]) -> None:
    for file in files:
        file.close()
