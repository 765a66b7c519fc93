"""A reader of one file of a torrent that may not be complete yet."""

import os
from functools import partial
from pathlib import PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import anyio
import anyio.lowlevel
import anyio.to_thread

from torrent_engine.base.errors import (
    ClosedError,
    ConfigError,
    SessionError,
    StateTransitionError,
    UnknownFileError,
)
from torrent_engine.codec.metainfo import FileEntry, Metainfo
from torrent_engine.disk.threads import run_in_thread
from torrent_engine.engine.reading.readers import Readers
from torrent_engine.policy.pieces.read_ahead import ReadAhead

if TYPE_CHECKING:
    from torrent_engine.engine.runs.torrent_run import TorrentRun

WHENCE: Final = (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END)
FEW_FILES: Final = 10_000  # ours: among more a path is searched in a thread
_NOT_KNOWN: Final = "which files there are is not known before the metadata is there and read"


class FileReader:
    """Reads a file of a torrent; missing pieces are downloaded first, and waited for.

    Made by ``Session.open``. Only verified bytes are read. What lies ahead is fetched too, as much
    as is read in some seconds; a jump begins anew there. A file that is skipped is wanted until
    all its readers are closed. While the Session is paused, or held by a queue, data that is here
    can be read, and reads of other data wait until it continues: limit that by
    ``anyio.fail_after``. Of a Session that is stopped what is here can be read, too; each piece is
    hashed for it. One task at a time reads from one reader; a torrent may have many.

    Every read raises SessionError when the Session is cancelled, or stopped and the data is not
    here, its error when it is in state ERROR, StorageError when the file cannot be read, and
    ClosedError when the reader is closed, also while it waits.
    """

    def __init__(self, readers: Readers, file: int | str | PurePath) -> None:
        self._readers = readers
        self._file = file
        self._config = readers.context.config
        self._ahead = ReadAhead(self._config)
        self._lock = anyio.Lock()
        self._position = 0
        self._index: int | None = None
        self._entry: FileEntry | None = None
        self._is_closed = False
        self._seen: tuple[object, int] | None = None
        _check_type(file)
        metainfo = readers.context.held_metainfo()
        if metainfo is not None and not _is_slow_to_find(metainfo, file):
            self._found(metainfo, find_file(metainfo, file))

    def __repr__(self) -> str:
        """Return the file and the position."""
        state = ", closed" if self._is_closed else ""
        return f"<FileReader {str(self._file)!r} at {self._position}{state}>"

    def _found(self, metainfo: Metainfo, index: int) -> None:
        self._index, self._entry = index, metainfo.files[index]

    # -- life -----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Wait for the metadata of a magnet link, or until it is read; return the reader.

        Raises UnknownFileError if there is no such file, as far as :meth:`Session.open` could not.
        """
        await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.aclose()

    async def aclose(self) -> None:
        """Read no more; nothing is fetched for this reader any longer. Twice is harmless."""
        if self._is_closed:
            return
        self._is_closed = True
        self._readers.wake()
        with anyio.CancelScope(shield=True):
            await self._readers.remove(self)

    async def _open(self) -> FileEntry:
        self._check_open()
        if self._entry is None:
            metainfo, file = await self._readers.metainfo(self._check_open), self._file
            if _is_slow_to_find(metainfo, file):
                limiter = anyio.to_thread.current_default_thread_limiter()
                find = partial(find_file, metainfo, file)
                index = await run_in_thread(find, limiter=limiter, failure=SessionError)
            else:
                index = find_file(metainfo, file)
            self._check_open()
            self._found(metainfo, index)
        self._readers.add(self, self.index)
        return self._known

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError("FileReader", "the reader is closed")

    @property
    def _known(self) -> FileEntry:
        if self._entry is None:
            raise StateTransitionError(_NOT_KNOWN)
        return self._entry

    # -- place ----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The length of the file in bytes.

        Raises StateTransitionError before the metadata is there, or read: inside ``async with`` it
        is.
        """
        return self._known.length_bytes

    @property
    def index(self) -> int:
        """Which file of the torrent it is; raises as :attr:`size`."""
        if self._index is None:
            raise StateTransitionError(_NOT_KNOWN)
        return self._index

    def tell(self) -> int:
        """Return where the next read begins, in bytes from the start of the file."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Read on elsewhere and return where; costs nothing before the next read.

        A place behind the end is allowed, nothing is read there. Raises ConfigError for a place
        before the start, or another ``whence`` than ``os.SEEK_SET``, ``SEEK_CUR``, ``SEEK_END``.
        """
        self._check_open()
        if whence not in WHENCE:
            raise ConfigError(f"whence: {whence} is none of os.SEEK_SET, SEEK_CUR, SEEK_END")
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence)
        position = offset + (self.size if start is None else start)
        if position < 0:
            raise ConfigError(f"offset: {position} is before the start of the file")
        if position != self._position:
            self._position = position
            self._ahead.seeked()
            self._seen = None
            if not self._lock.locked():
                self._readers.want_nothing(self)
        return position

    # -- reading --------------------------------------------------------------------------------

    async def read(self, n: int = -1) -> bytes:
        """Return the next ``n`` bytes, fewer only at the end of the file; -1: all that follow.

        When it is cancelled, or fails, the place is where it was.
        """
        async with self._lock:
            entry = await self._open()
            left = max(entry.length_bytes - self._position, 0)
            buffer = memoryview(bytearray(left if n < 0 else min(n, left)))
            start = done = self._position
            while done - start < len(buffer):
                into = buffer[done - start :]
                done += await self._read_some(entry.offset_bytes, done, into)
            if self._position == start:
                self._position = done
            return bytes(buffer)

    async def read1(self, n: int = -1) -> bytes:
        """Return what is here of the next ``n`` bytes, at least one; none at the end of the file.

        At most ``ReaderConfig.max_chunk_bytes`` at a time, which is also what -1 means.
        """
        async with self._lock:
            entry = await self._open()
            left = max(entry.length_bytes - self._position, 0)
            most = self._config.max_chunk_bytes if n < 0 else min(n, self._config.max_chunk_bytes)
            buffer = memoryview(bytearray(min(most, left)))
            start = self._position
            count = await self._read_some(entry.offset_bytes, start, buffer) if buffer else 0
            if self._position == start:
                self._position = start + count
            return bytes(buffer[:count])

    def __aiter__(self) -> Self:
        """Iterate over the file from here on, as it is downloaded."""
        return self

    async def __anext__(self) -> bytes:
        """Return what is here of it, as :meth:`read1`."""
        if chunk := await self.read1():
            return chunk
        raise StopAsyncIteration

    async def _read_some(self, file_offset_bytes: int, at: int, into: memoryview) -> int:
        """Wait until there is something at a place of the file; fill as much as is here."""
        while True:
            if found := await self._wait(file_offset_bytes, at, len(into)):
                run, here_bytes = found
                count = min(here_bytes, len(into), self._config.max_chunk_bytes)
                await run.reads.read(file_offset_bytes + at, into[:count])
            else:
                count = await self._read_stopped(file_offset_bytes + at, into)
            await anyio.lowlevel.checkpoint()
            self._check_open()
            if count:
                self._ahead.read(count, self._readers.context.clock())
                return count

    async def _read_stopped(self, offset_bytes: int, into: memoryview) -> int:
        """Fill what is here of a torrent that is stopped; 0 if it is not stopped any more."""
        files = await self._readers.stopped_files()
        found = None
        if files is not None:
            found = await files.read(offset_bytes, into[: self._config.max_chunk_bytes])
        if found == 0:
            self._readers.raise_if_ended()
        return found or 0

    async def _wait(
        self, file_offset_bytes: int, at: int, length: int
    ) -> "tuple[TorrentRun, int] | None":
        """Return the run and how many bytes are here from a place on, at least one.

        None if the torrent is stopped.
        """
        while True:
            run = await self._readers.run(self._check_open)
            if run is None:
                return None
            changed = self._readers.changed
            self._look_ahead(run, file_offset_bytes, at, length)
            offset, geometry = file_offset_bytes + at, run.torrent.metainfo.geometry
            has, piece = run.torrent.table.have.has, geometry.piece_at(offset)
            end = offset
            while end < offset + length and has(piece):
                end = geometry.piece_offset(piece) + geometry.piece_length(piece)
                piece += 1
            if end > offset:
                return run, end - offset
            self._readers.raise_if_ended()
            await changed.wait()

    def _look_ahead(self, run: "TorrentRun", file_offset_bytes: int, at: int, length: int) -> None:
        """Download missing pieces from a position on first; nothing changes within a piece."""
        geometry, now = run.torrent.metainfo.geometry, self._readers.context.clock()
        start = file_offset_bytes + at
        first = geometry.piece_at(start)
        if self._seen == (run, first):
            return
        self._seen = (run, first)
        window = min(max(length, self._ahead.window_bytes(now)), self._config.max_read_ahead_bytes)
        end = min(start + window, file_offset_bytes + self.size)
        last = min(geometry.piece_at(end - 1), first + self._config.max_read_ahead_pieces - 1)
        has = run.torrent.table.have.has
        distances = {
            piece: max(geometry.piece_offset(piece) - start, 0)
            for piece in range(first, last + 1)
            if not has(piece)
        }
        self._readers.want(run, self, self._ahead.deadlines(distances, now))


def _check_type(file: object) -> None:
    """Raise TypeError if a file is given by neither number nor path."""
    if isinstance(file, bool) or not isinstance(file, int | str | PurePath):
        raise TypeError(f"file: must be a number or a path, not {file!r:.80}")


def _is_slow_to_find(metainfo: Metainfo, file: int | str | PurePath) -> bool:
    return not isinstance(file, int) and len(metainfo.files) > FEW_FILES


def find_file(metainfo: Metainfo, file: int | str | PurePath) -> int:
    """Return the index of a file; a path is as the torrent has it, with its name in front or not.

    Raises UnknownFileError if there is no such file, or nothing to read in it.
    """
    index = file if isinstance(file, int) else _index_of(metainfo, PurePath(file))
    if not 0 <= index < len(metainfo.files):
        raise UnknownFileError(f"file: {file!r} is not among 0 to {len(metainfo.files) - 1}", file)
    if not metainfo.files.is_stored(index):
        message = f"file: {file} is a pad file or a symbolic link, it has no bytes"
        raise UnknownFileError(message, file)
    return index


def _index_of(metainfo: Metainfo, path: PurePath) -> int:
    parts = path.parts
    for index, found in enumerate(metainfo.files.paths()):
        if parts and parts[-1] == found[-1] and parts in {found, found[1:]}:
            return index
    raise UnknownFileError(f"file: the torrent has no {path}", str(path))
