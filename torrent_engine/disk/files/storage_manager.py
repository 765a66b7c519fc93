"""The payload of one torrent as one byte range, over the storage of its files.

The attributes ``read_now``, ``view_now`` and ``has_doubts`` are for the event loop; blocking
methods are for worker threads.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path

import anyio

from torrent_engine.base.config import DiskConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.base.storage import Storage
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.files.custom_files import CustomFiles
from torrent_engine.disk.files.file_paths import FilePaths
from torrent_engine.disk.files.file_storage import FileStorage
from torrent_engine.disk.files.open_files import OpenFiles
from torrent_engine.disk.files.write_hooks import WriteHooks
from torrent_engine.disk.positional import split_views
from torrent_engine.disk.threads import run_in_thread


class StorageManager:
    """The payload of one torrent as one byte range, stored in files below ``save_path``.

    Files are sparse unless ``config.preallocate``. A file of ``skipped`` is not created; its part
    of boundary pieces goes to the part-file, unless the file exists and is the torrent's.
    ``renames`` gives files other paths below the save path. An existing file that is not known to
    be the torrent's is not written to unless ``overwrite``, and no hidden name is created at the
    top of the home folder unless ``allow_hidden``. Symbolic links that exist at the opening are
    followed for reading; for writing only at the top, or with ``follow_links``. With
    ``reports_faults``, for read-only checks, unusable files are recorded in :attr:`faults` and are
    no error. None of this applies to a user-supplied ``storage``.
    """

    def __init__(  # noqa: PLR0913 - the one place where a torrent meets its disk
        self,
        metainfo: Metainfo,
        save_path: str | os.PathLike[str],
        *,
        disk_limiter: anyio.CapacityLimiter,
        config: DiskConfig,
        renames: Mapping[int, tuple[str, ...]] | None = None,
        skipped: AbstractSet[int] = frozenset(),
        open_files: OpenFiles | None = None,
        overwrite: bool = False,
        allow_hidden: bool = False,
        follow_links: bool = False,
        reports_faults: bool = False,
        storage: Storage | None = None,
    ) -> None:
        self.metainfo = metainfo
        self.save_path = Path(save_path)
        self.renames = dict(renames or {})
        self.write_hooks = WriteHooks()
        self._limiter = disk_limiter
        self._layout = metainfo.layout
        self.is_on_disk = storage is None
        """Whether the files are files of the file system."""
        self._files: FileStorage | CustomFiles
        if storage is None:
            self._files = FileStorage(
                metainfo,
                self.save_path,
                open_files if open_files is not None else OpenFiles(config.max_open_files),
                renames=self.renames,
                skipped=skipped,
                preallocate=config.preallocate,
                overwrite=overwrite,
                allow_hidden=allow_hidden,
                follow_links=follow_links,
                reports_faults=reports_faults,
            )
        else:
            paths = FilePaths(metainfo, self.save_path, self.renames)
            self._files = CustomFiles(metainfo, storage, paths, skipped)
        self.owned = self._files.owned
        """Which files on disk are the torrent's."""
        self.stamps = self._files.stamps
        """The stamps of the files, and the files in doubt."""
        self.paths = self._files.paths
        """The path of each file."""
        self.read_now = self._files.immediate.read_now
        self.view_now = self._files.immediate.view_now
        self.has_doubts = self._files.immediate.has_doubts
        self.let_go = self._files.let_go
        """Closes all files until they are used again; blocking."""
        self.lend = self._files.lend
        """Keeps a file open for reading meanwhile, and yields its descriptor; blocking."""
        self.share = self._files.share
        """Gives a file a range of an open one, as Reflinks.share; blocking."""

    # -- life -----------------------------------------------------------------------------

    def rename(self, renames: Mapping[int, tuple[str, ...]]) -> None:
        """Give files other paths; to be called before :meth:`open`."""
        self.renames.update(renames)
        self.paths.rename(self.renames)

    async def open(
        self, *, create: bool = True, makes_empty: bool = True, skips_conflicts: bool = False
    ) -> None:
        """Open the save path, scan the files, and create the empty ones.

        Unless ``makes_empty``, empty files are created by :meth:`claim_files`. With ``create``
        False nothing is created, not even the save path (for checks). On a full disk wanted files
        may stay in the part-file, where they are read, until :meth:`claim_files`. Raises
        StorageError, and FileExistsStorageError for conflicting files, which with
        ``skips_conflicts`` count as missing.
        """
        opens = partial(
            self._files.open,
            create=create,
            makes_empty=makes_empty,
            skips_conflicts=skips_conflicts,
        )
        await self.in_thread(opens)

    async def close(self) -> None:
        """Close all files, without syncing."""
        try:
            await self.in_thread(self._files.close)
        except StorageError:
            self._files.close()  # no worker thread is available

    async def delete_files(self, keep: AbstractSet[int] = frozenset()) -> None:
        """Remove the torrent's files except ``keep``, and emptied folders."""
        indices = (i for i in range(len(self.metainfo.files)) if i not in keep)
        await self.in_thread(lambda: self._files.remove(indices))

    async def in_thread(self, call: Callable[[], None]) -> None:
        """Run a blocking call in a worker thread of this torrent."""
        failure = partial(StorageError, self.save_path)
        await run_in_thread(call, limiter=self._limiter, failure=failure)

    # -- reading --------------------------------------------------------------------------

    async def read(self, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into`` in a worker thread. Raises StorageError.

        Files that are too many for ``has_doubts`` are looked at there, too.
        """
        await self.in_thread(lambda: self._read_and_look(offset_bytes, into))

    def _read_and_look(self, offset_bytes: int, into: memoryview) -> None:
        self.read_blocking(offset_bytes, into)
        self._files.immediate.look_at_many(offset_bytes, len(into))

    def read_blocking(self, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into``, gaps between files with zeros; for worker threads. Raises StorageError."""
        for part, share in self._layout.placed(offset_bytes, into):
            self._files.read(part.file_index, part.offset_bytes, share)
        if not self._layout.is_inside(offset_bytes, len(into)):
            raise StorageError(self.save_path, "read past the end of the torrent")

    def has_data(self, offset_bytes: int, length_bytes: int) -> bool:
        """Return whether every file of a range exists and is long enough.

        According to the last scan (:meth:`look_again`), without a system call.
        """
        has = self._files.has
        for part in self._layout.slices(offset_bytes, length_bytes):
            if not has(part.file_index, part.offset_bytes + part.length_bytes):
                return False
        return True

    @property
    def may_have_holes(self) -> bool:
        """Whether :meth:`written` may leave anything out, as last looked at."""
        return self._files.may_have_holes

    def written(self, offset_bytes: int, length_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield the (start, end) data extents of a range; blocking.

        The rest reads as zeros. Raises StorageError.
        """
        for part in self._layout.slices(offset_bytes, length_bytes):
            file_start, begin = self._layout.offsets[part.file_index], part.offset_bytes
            found = self._files.written(part.file_index, begin, begin + part.length_bytes)
            for start, end in found:
                yield file_start + start, file_start + end

    def look_again(self) -> None:
        """Scan the files on disk again; blocking."""
        self._files.look_again()

    # -- writing --------------------------------------------------------------------------

    def write_views(self, offset_bytes: int, views: Sequence[memoryview]) -> None:
        """Write ``views`` consecutively, with one system call per file; blocking.

        Raises DiskFullError, FileExistsStorageError or StorageError with the file's path.
        """
        parts = self._layout.slices(offset_bytes, sum(map(len, views)))
        if len(parts) == 1:
            self._files.write(parts[0].file_index, parts[0].offset_bytes, views)
            return
        for part, share in zip(
            parts, split_views(views, [part.length_bytes for part in parts]), strict=True
        ):
            self._files.write(part.file_index, part.offset_bytes, share)

    def sync(self) -> None:
        """Wait until everything written before is on the disk; blocking.

        Raises StorageError on failure: data written since the last successful sync may be lost
        and has to be hashed again.
        """
        self._files.sync()

    def mark_dirty(self, file_index: int) -> None:
        """Include a file that an earlier process wrote in the next :meth:`sync`."""
        self._files.mark_dirty(file_index)

    # -- files ----------------------------------------------------------------------------

    @property
    def skipped(self) -> frozenset[int]:
        """The files that are not wanted."""
        return self._files.skipped

    @property
    def faults(self) -> dict[int, str]:
        """What is wrong with files by their numbers, for a storage that reports it."""
        return self._files.faults

    @property
    def links(self) -> frozenset[tuple[str, ...]]:
        """Symbolic links below the save path that existed at the opening and are followed."""
        return self._files.links

    @property
    def taken_out(self) -> frozenset[int]:
        """Files created from their data in the part-file."""
        return frozenset(self._files.taken_out)

    def path_of(self, file_index: int) -> Path:
        """Return the path of a file."""
        return self.paths.path(file_index)

    def listed(self, skipped: AbstractSet[int] | None = None) -> list[int]:
        """Return the files that are wanted, or exist as the torrent's.

        ``skipped`` replaces the current selection.
        """
        return self._files.listed(skipped)

    def is_file(self, file_index: int) -> bool:
        """Return whether a file is stored in a file of its own."""
        return self._files.is_file(file_index)

    def adopt_piece(self, piece: int) -> None:
        """Record that a piece matches, which may prove that files are the torrent's."""
        self.owned.adopt_piece(piece, self._files.is_file)

    def claim_files(self) -> None:
        """Take ownership of existing files, after the check and before the first write.

        Creates the empty files; blocking. Raises ForeignFileError for a file that is not known to
        be the torrent's, or HiddenNameError; nothing is changed then. After DiskFullError all files
        can be read as before, and it may be called again.
        """
        self._files.claim()

    async def set_skipped(self, skipped: AbstractSet[int]) -> None:
        """Change which files are skipped; existing files of the torrent stay.

        A file that is wanted again gets its data from the part-file. Raises as :meth:`claim_files`
        for a conflicting file; nothing is changed then.
        """
        await self.in_thread(lambda: self._files.set_skipped(skipped))

    def adopt_files(self, indices: Iterable[int]) -> None:
        """Record that existing files are the torrent's; blocking.

        Skipped ones among them are used in place from now on.
        """
        self.owned.adopt(indices)
        self._files.place_skipped()
