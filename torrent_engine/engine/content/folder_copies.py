"""Pieces that are copied from files in folders of the user, in place of being fetched (BEP 38).

Such a file is one of the right size; one with the right name is tried first. Each piece is
verified as what peers send is and written by the same queue, so nothing is believed of a file, and
the first wrong piece that is of it alone ends its use.
"""

from collections import deque
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.abc
import anyio.to_thread

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.geometry import FileSlice
from torrent_engine.disk.local_files import (
    AT_REST_S,
    LocalFile,
    LocalFiles,
    is_same_file,
    read_local,
)
from torrent_engine.engine.content.local_copies import CopiedTorrent, CopyRequests, CopyWriter

MAX_LOOKED_FOR: Final = 100_000  # ours: files of one torrent


class OwnFiles(Protocol):
    """Where the files of the torrent are."""

    def path_of(self, file_index: int) -> Path:
        """Return the path of a file."""


class FolderCopies:
    """Copies missing pieces of one torrent from the files of some folders."""

    def __init__(
        self,
        torrent: CopiedTorrent,
        finisher: CopyWriter,
        downloads: CopyRequests,
        own: OwnFiles,
        local: LocalFiles,
    ) -> None:
        self._torrent = torrent
        self._finisher = finisher
        self._downloads = downloads
        self._own = own
        self._local = local
        self._candidates: dict[int, deque[LocalFile]] = {}
        """For each file those that were not wrong yet, the best first."""
        self._queue: deque[int] = deque()
        self._work = anyio.Event()
        self._is_running = False
        self._has_freed = False
        """Whether pieces are to be requested that were to be copied."""

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Copy until cancelled; started once it is known what need not be fetched."""
        if self._local.is_empty:
            task_status.started()
            return
        try:
            await self._find()
            self._begin()
            self._is_running = True
            task_status.started()
            while True:
                while self._queue:
                    await self._copy(self._queue.popleft())
                self._request_freed()
                self._work = anyio.Event()
                await self._work.wait()
        finally:
            self._is_running = False
            self._give_up_all()

    def _begin(self) -> None:
        """Begin the pieces that can be copied, so that nobody is asked for them."""
        metainfo, torrent = self._torrent.metainfo, self._torrent
        for index in self._candidates:
            for piece in metainfo.layout.pieces_of(index, metainfo.geometry):
                is_due = torrent.table.is_missing(piece) and torrent.picker.is_wanted(piece)
                if is_due and self._parts(piece):
                    torrent.table.begun(piece)
                    self._queue.append(piece)

    # -- which files ---------------------------------------------------------------------------

    async def _find(self) -> None:
        """Look for files; wait a moment once for those that were changed just now."""
        fresh = await anyio.to_thread.run_sync(self._look, abandon_on_cancel=True)
        if fresh:
            await anyio.sleep(AT_REST_S)
            await anyio.to_thread.run_sync(self._look, abandon_on_cancel=True)

    def _look(self) -> bool:
        """Find the candidates of all files, in a worker thread; return whether some do not rest."""
        metainfo, found, fresh = self._torrent.metainfo, dict[int, deque[LocalFile]](), False
        for index, entry in enumerate(islice(metainfo.files, MAX_LOOKED_FOR)):
            if entry.is_pad or not entry.length_bytes:
                continue
            like = self._local.like(entry.length_bytes, entry.path)
            others = [each for each in like if not is_same_file(each, self._own.path_of(index))]
            resting = deque(filter(self._local.rests, others))
            fresh |= len(resting) < len(others)
            if resting:
                found[index] = resting
        self._candidates = found
        return fresh

    def _parts(self, piece: int) -> list[tuple[FileSlice, LocalFile]]:
        """Return what a piece is read from; nothing if a part of it is nowhere."""
        metainfo = self._torrent.metainfo
        geometry, found = metainfo.geometry, list[tuple[FileSlice, LocalFile]]()
        if metainfo.hashes.expected(piece) is None:
            return []
        for each in metainfo.layout.slices(
            geometry.piece_offset(piece), geometry.piece_length(piece)
        ):
            candidates = self._candidates.get(each.file_index)
            if candidates:
                found.append((each, candidates[0]))
            elif not metainfo.files.is_pad(each.file_index):
                return []
        return found

    # -- copies --------------------------------------------------------------------------------

    async def _copy(self, piece: int) -> None:
        parts = self._parts(piece)
        if not parts:
            self._free(piece)
            return
        self._request_freed()
        try:
            await self._finisher.wait_for_room()
            read = partial(self._read, piece, parts)
            data = await anyio.to_thread.run_sync(read)
        except StorageError as error:
            for each, source in parts:
                if source.path == error.path:
                    self._drop(each.file_index, source)
            self._again(piece)
        except BaseException:
            self._free(piece)
            raise
        else:
            self._finisher.write_copy(
                piece,
                data,
                on_wrong=partial(self._wrong, piece, parts),
                on_failed=partial(self._not_written, piece),
            )

    def _read(self, piece: int, parts: list[tuple[FileSlice, LocalFile]]) -> memoryview:
        """Return the bytes of a piece, in a worker thread; pads are zeros. Raises StorageError."""
        metainfo = self._torrent.metainfo
        geometry, sources = metainfo.geometry, {each.file_index: file for each, file in parts}
        data = memoryview(bytearray(geometry.piece_length(piece)))
        for each, into in metainfo.layout.placed(geometry.piece_offset(piece), data):
            if (source := sources.get(each.file_index)) is not None:
                read_local(source, each.offset_bytes, into)
        return data

    def _wrong(self, piece: int, parts: list[tuple[FileSlice, LocalFile]]) -> None:
        """Try another file; where a piece has several it is not known which of them is wrong."""
        if len(parts) == 1:
            each, source = parts[0]
            self._drop(each.file_index, source)
            self._again(piece)
        else:
            self._free(piece)
            self._request_freed()

    def _drop(self, index: int, source: LocalFile) -> None:
        candidates = self._candidates.get(index, deque())
        if source in candidates:
            candidates.remove(source)

    def _again(self, piece: int) -> None:
        self._queue.appendleft(piece)
        self._work.set()
        if not self._is_running:
            self._give_up_all()

    def _not_written(self, piece: int) -> None:
        """Leave the rest to be fetched: there is no room on the disk."""
        self._free(piece)
        self._give_up_all()
        self._request_freed()

    def _give_up_all(self) -> None:
        while self._queue:
            self._free(self._queue.popleft())

    def _free(self, piece: int) -> None:
        self._torrent.table.abandoned(piece)
        self._has_freed = True

    def _request_freed(self) -> None:
        """Request what is not copied; in one go, for it may be many pieces."""
        if self._has_freed:
            self._has_freed = False
            self._downloads.wanted_changed()
