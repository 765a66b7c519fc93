"""Adapter of a user-supplied storage, in place of files below the save path.

Its files are not shared with other torrents or changed by other programs, and existing data belongs
to the torrent.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from threading import Lock

from torrent_engine.base.errors import StorageError
from torrent_engine.base.storage import ImmediateStorage, Storage, StorageFiles, StoredFile
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.file_stamps import FileStamp
from torrent_engine.disk.files.file_paths import FilePaths
from torrent_engine.disk.files.immediate_reads import MAX_FILES_NOW
from torrent_engine.disk.files.owned_files import OwnedFiles
from torrent_engine.disk.files.stamps import FileLooks, FileStamps
from torrent_engine.disk.os_errors import storage_failures
from torrent_engine.disk.reflinks import Reflinks


def storage_files(metainfo: Metainfo, paths: FilePaths) -> StorageFiles:
    """Return the description of a torrent's files for creating a storage."""
    entries = metainfo.files
    return StorageFiles(
        metainfo.info_hash,
        metainfo.name,
        str(paths.save_path),
        [
            StoredFile(paths.parts(index), length, entries.is_stored(index))
            for index, length in enumerate(metainfo.layout.lengths)
        ],
    )


class CustomFiles:
    """The files in a user-supplied storage; blocking, thread-safe."""

    def __init__(
        self,
        metainfo: Metainfo,
        storage: Storage,
        paths: FilePaths,
        skipped: AbstractSet[int] = frozenset(),
    ) -> None:
        self.paths = paths
        self.owned = OwnedFiles(metainfo.layout, metainfo.geometry)
        self.skipped: frozenset[int] = frozenset(skipped)
        self.taken_out: set[int] = set()
        self.links: frozenset[tuple[str, ...]] = frozenset()
        self.faults: dict[int, str] = {}
        self.may_have_holes = False
        self._entries = metainfo.files
        self._lengths = metainfo.layout.lengths
        self._storage = storage
        self._sizes: dict[int, int] = {}
        self._lock = Lock()
        self.stamps = FileStamps(
            metainfo.layout,
            metainfo.geometry,
            self.owned,
            FileLooks(self._look, lambda _: None, lambda _index, _time_ns: False, lambda: None),
        )
        self.immediate = _ImmediateReads(metainfo, storage)

    # -- opening and closing --------------------------------------------------------------

    def open(
        self, *, create: bool = True, makes_empty: bool = True, skips_conflicts: bool = False
    ) -> None:
        """Open the storage and read its sizes; the flags have no effect."""
        del create, makes_empty, skips_conflicts
        with self._errors():
            self._storage.open()
        self.look_again()

    def close(self) -> None:
        """Close the storage."""
        with self._errors():
            self._storage.close()

    def let_go(self) -> None:
        """Do nothing: what a storage holds is its own affair."""

    def remove(self, file_indices: Iterable[int]) -> None:
        """Remove files."""
        with self._errors():
            self._storage.remove(list(filter(self._entries.is_stored, file_indices)))
        self.look_again()

    # -- reading --------------------------------------------------------------------------

    def read(self, file_index: int, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into`` from an offset of a file; StorageError if it cannot be read."""
        if not self._entries.is_stored(file_index):
            into[:] = bytes(len(into))
            return
        with self._errors(file_index):
            self._storage.read(file_index, offset_bytes, into)

    def has(self, file_index: int, end_bytes: int) -> bool:
        """Return whether a file had at least ``end_bytes`` bytes at the last scan."""
        is_long_enough = self._sizes.get(file_index, 0) >= end_bytes
        return is_long_enough or not self._entries.is_stored(file_index)

    def written(self, file_index: int, start: int, end: int) -> list[tuple[int, int]]:
        """Return the whole range, because holes are unknown."""
        del file_index
        return [(start, end)]

    def look_again(self) -> None:
        """Update the sizes of all files; existing data belongs to the torrent."""
        sizes = {}
        for index in self._stored():
            with self._errors(index):
                if size := self._storage.size(index):
                    sizes[index] = size
        self._sizes = sizes
        self.owned.look(sizes)
        self.owned.adopt(sizes)

    def _stored(self) -> Iterator[int]:
        return filter(self._entries.is_stored, range(len(self._lengths)))

    def _look(self, indices: Iterable[int]) -> Iterator[FileStamp]:
        """Yield stamps that contain only the size."""
        for index in sorted(indices):
            with self._errors(index):
                size = self._storage.size(index)
            yield FileStamp(index, size, 0, 0, 0)

    # -- writing --------------------------------------------------------------------------

    def write(self, file_index: int, offset_bytes: int, views: Sequence[memoryview]) -> None:
        """Write ``views`` consecutively from an offset of a file."""
        if not self._entries.is_stored(file_index):
            return
        self.owned.book.begin_write(file_index)
        try:
            with self._errors(file_index):
                self._storage.write(file_index, offset_bytes, views)
        finally:
            self.owned.book.end_write(file_index)
        if file_index not in self.owned.present:
            with self._lock:
                self.owned.made(file_index)
        self._sizes[file_index] = self._lengths[file_index]
        self.owned.wrote(file_index)

    def lend(self, file_index: int) -> AbstractContextManager[int]:
        """Raise StorageError: what is kept has no descriptors."""
        raise StorageError(self.paths.path(file_index), "is not a file of its own")

    def share(self, file_index: int, source: int, start: int, end: int, reflinks: Reflinks) -> bool:
        """Return False: what is kept has no blocks that files could share."""
        del file_index, source, start, end, reflinks
        return False

    def sync(self) -> None:
        """Wait until everything written before is durable."""
        with self._errors():
            self._storage.sync()

    def mark_dirty(self, file_index: int) -> None:
        """Do nothing: a storage syncs everything."""

    # -- ownership ------------------------------------------------------------------------

    def is_file(self, file_index: int) -> bool:
        """Return whether a file is stored; pad files and links are not."""
        return self._entries.is_stored(file_index)

    def listed(self, skipped: AbstractSet[int] | None = None) -> list[int]:
        """Return no files, because other torrents cannot share them."""
        del skipped
        return []

    def claim(self) -> None:
        """Do nothing: all files belong to the torrent."""

    def set_skipped(self, skipped: AbstractSet[int]) -> None:
        """Change which files are skipped; their data is stored too."""
        self.skipped = frozenset(skipped)

    def place_skipped(self) -> None:
        """Do nothing: skipped files are stored like others."""

    def _errors(self, index: int | None = None) -> AbstractContextManager[None]:
        path = self.paths.save_path if index is None else self.paths.path(index)
        return storage_failures(path)


class _ImmediateReads:
    """Immediate reads, for storages that support them."""

    def __init__(self, metainfo: Metainfo, storage: Storage) -> None:
        self._layout = metainfo.layout
        self._entries = metainfo.files
        self._read: Callable[[int, int, memoryview], bool] | None = None
        if isinstance(storage, ImmediateStorage):
            self._read = storage.read_now

    def read_now(self, offset_bytes: int, into: memoryview) -> bool:
        is_scattered = self._layout.file_count(offset_bytes, len(into)) > MAX_FILES_NOW
        if self._read is None or is_scattered:
            return False
        for part, share in self._layout.placed(offset_bytes, into):
            if not self._entries.is_stored(part.file_index):
                share[:] = bytes(len(share))
            elif not self._read(part.file_index, part.offset_bytes, share):
                return False
        return self._layout.is_inside(offset_bytes, len(into))

    def view_now(self, offset_bytes: int, length_bytes: int) -> memoryview | None:
        del offset_bytes, length_bytes
        return None

    def has_doubts(self, offset_bytes: int, length_bytes: int) -> bool:
        del offset_bytes, length_bytes
        return False

    def look_at_many(self, offset_bytes: int, length_bytes: int) -> None:
        del offset_bytes, length_bytes
