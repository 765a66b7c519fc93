"""Storage in memory, for tests and previews."""

import mmap
import threading
from collections.abc import Iterable, Sequence

from torrent_engine.base.errors import StorageError
from torrent_engine.base.storage import StorageFiles


class MemoryStorage:
    """Files in anonymous memory, allocated page by page when written.

    The data lives as long as this object.
    """

    def __init__(self, files: StorageFiles) -> None:
        self.files = files
        self._contents: dict[int, mmap.mmap] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Do nothing: the data is in memory."""

    def close(self) -> None:
        """Do nothing: the data stays in memory."""

    def size(self, file_index: int) -> int:
        """Return the length of a file, 0 if nothing of it was written."""
        return self.files.files[file_index].length_bytes if file_index in self._contents else 0

    def read(self, file_index: int, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into``; StorageError if nothing of the file was written."""
        if not self.read_now(file_index, offset_bytes, into):
            raise StorageError("/".join(self.files.files[file_index].path), "is not in memory")

    def read_now(self, file_index: int, offset_bytes: int, into: memoryview) -> bool:
        """Fill ``into``; False if the file has no such bytes."""
        content, end = self._contents.get(file_index), offset_bytes + len(into)
        if content is None or end > len(content):
            return False
        into[:] = memoryview(content)[offset_bytes:end]
        return True

    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        """Copy ``views`` into the file."""
        content = self._content(file_index)
        for view in views:
            content[offset_bytes : offset_bytes + len(view)] = bytes(view)
            offset_bytes += len(view)

    def _content(self, file_index: int) -> mmap.mmap:
        with self._lock:
            content = self._contents.get(file_index)
            if content is None:
                length = self.files.files[file_index].length_bytes
                content = self._contents[file_index] = mmap.mmap(-1, length)
            return content

    def content(self, file_index: int) -> bytes:
        """Return a copy of a file; zeros where nothing was written."""
        content = self._contents.get(file_index)
        return bytes(self.files.files[file_index].length_bytes) if content is None else content[:]

    def sync(self) -> None:
        """Do nothing: memory does not outlive the process."""

    def move(self, save_path: str) -> None:
        """Do nothing."""

    def remove(self, file_indices: Iterable[int]) -> None:
        """Forget files."""
        for index in file_indices:
            self._contents.pop(index, None)
