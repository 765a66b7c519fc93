"""Pieces that are copied from other files of the user, in place of being fetched (BEP 38).

Such a file is in a folder that the user names, or of a similar torrent. It is one of the right
size; one with the right hashes or name is tried first. Each piece is verified as what peers send
is, and written by the same queue or shared on the disk, so nothing is believed of a file, and the
first wrong piece that is of it alone ends its use.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import anyio
import anyio.abc
import anyio.to_thread

from torrent_engine.base.errors import StorageError
from torrent_engine.codec.geometry import FileSlice
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.disk.local_files import (
    AT_REST_S,
    LocalFile,
    LocalFiles,
    is_same_file,
    opened_local,
    read_local,
)
from torrent_engine.disk.resume.similar_files import found_files
from torrent_engine.engine.content.local_copies import (
    FREED_AT_ONCE,
    MAX_SHARED_BYTES,
    CopiedTorrent,
    CopyPorts,
)
from torrent_engine.engine.content.piece_sharing import SharedRange
from torrent_engine.net.sockets.fairness import LOOP_TURN

MAX_LOOKED_FOR: Final = 100_000  # ours: files of one torrent


Part: TypeAlias = tuple[FileSlice, LocalFile]
"""What a piece has of one file, and where else that may be."""


class OwnFiles(Protocol):
    """Where the files of the torrent are."""

    def path_of(self, file_index: int) -> Path:
        """Return the path of a file."""


class SimilarFiles(Protocol):
    """Files of torrents that are similar to one."""

    def may_have(self, metainfo: Metainfo) -> bool:
        """Return whether they are to be looked for."""

    async def find(self, metainfo: Metainfo) -> Mapping[int, Sequence[str]]:
        """Return where each file of a torrent may be, by its number, the best first."""


class FolderCopies:
    """Copies missing pieces of one torrent from the files of folders and of similar torrents."""

    def __init__(
        self,
        torrent: CopiedTorrent,
        ports: CopyPorts,
        own: OwnFiles,
        local: LocalFiles,
        similar: SimilarFiles,
    ) -> None:
        self._torrent = torrent
        self._writer = ports.writer
        self._requests = ports.requests
        self._sharing = ports.sharing
        self._own = own
        self._local = local
        self._similar = similar
        self._near: Mapping[int, Sequence[str]] = {}
        """Files of similar torrents, by the number of the file that they may be."""
        self._candidates: dict[int, deque[LocalFile]] = {}
        """For each file those that were not wrong yet, the best first."""
        self._apart: set[int] = set()
        """Devices whose blocks cannot be shared with our files."""
        self._queue: deque[int] = deque()
        self._work = anyio.Event()
        self.is_busy = False
        """Whether something is looked for, or being copied."""
        self._is_running = False
        self._has_freed = False
        """Whether pieces are to be requested that were to be copied."""
        self._gives_up = False
        """Whether what is queued is to be fetched, for there is no room on the disk."""

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Copy until cancelled; started once it is known what need not be fetched."""
        is_complete = self._torrent.table.have.all()
        if is_complete or (
            self._local.is_empty and not self._similar.may_have(self._torrent.metainfo)
        ):
            task_status.started()
            return
        self.is_busy = True
        try:
            await self._find()
            await self._begin()
            self._is_running, self._gives_up = True, False
            task_status.started()
            while True:
                await self._copy_queued()
                self._request_freed()
                self._work, self.is_busy = anyio.Event(), False
                await self._work.wait()
                self.is_busy = True
        finally:
            self._is_running = self.is_busy = False
            with anyio.CancelScope(shield=True):
                await self._give_up_all()

    async def _begin(self) -> None:
        """Begin the pieces that can be copied, so that nobody is asked for them."""
        metainfo, found = self._torrent.metainfo, dict[int, None]()
        for index in tuple(self._candidates):
            for piece in metainfo.layout.pieces_of(index, metainfo.geometry):
                if self._is_due(piece):
                    found[piece] = None
                if LOOP_TURN.is_over:
                    self._begin_found(found)
                    await LOOP_TURN.pass_on()
        self._begin_found(found)

    def _is_due(self, piece: int) -> bool:
        torrent = self._torrent
        is_wanted = torrent.table.is_missing(piece) and torrent.picker.is_wanted(piece)
        return is_wanted and bool(self._parts(piece))

    def _begin_found(self, found: dict[int, None]) -> None:
        """Begin pieces, once for each turn of the loop."""
        self._torrent.table.begun(*found)
        self._queue.extend(found)
        found.clear()

    # -- which files ---------------------------------------------------------------------------

    async def _find(self) -> None:
        """Look for files; wait a moment once for those that were changed just now."""
        if self._similar.may_have(self._torrent.metainfo):
            self._near = await self._similar.find(self._torrent.metainfo)
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
            near = found_files(self._near.get(index, ()), entry.length_bytes)
            like = dict.fromkeys((*near, *self._local.like(entry.length_bytes, entry.path)))
            others = [each for each in like if not is_same_file(each, self._own.path_of(index))]
            resting = deque(filter(self._local.rests, others))
            fresh |= len(resting) < len(others)
            if resting:
                found[index] = resting
        self._candidates = found
        return fresh

    def _parts(self, piece: int) -> list[Part]:
        """Return what a piece is read from; nothing if a part of it is nowhere."""
        metainfo = self._torrent.metainfo
        geometry, found = metainfo.geometry, list[Part]()
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

    async def _copy_queued(self) -> None:
        """Copy what is queued, but for what is nowhere any more."""
        while self._queue:
            if self._gives_up:
                await self._give_up_all()
            elif parts := self._parts(self._queue[0]):
                await self._copy_next(self._queue.popleft(), parts)
            else:
                self._free_some(self._nowhere())
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()
        self._gives_up = False

    def _nowhere(self) -> Iterator[int]:
        """Take pieces from the queue as long as they are nowhere."""
        while self._queue and not self._parts(self._queue[0]):
            yield self._queue.popleft()

    async def _copy_next(self, piece: int, parts: list[Part]) -> None:
        """Copy a piece, or share it and those behind it in the queue."""
        if not self._apart.isdisjoint(source.device for _, source in parts):
            await self._copy(piece, parts)
            return
        run = self._with_following(piece, parts)
        try:
            found = await self._share(run)
            for each, is_right in found.items():
                self._take_shared(each, run.pop(each), is_right=is_right)
                if LOOP_TURN.is_over:
                    await LOOP_TURN.pass_on()
        except BaseException:
            self._free(*run)
            raise
        if not found:
            self._queue.extendleft(sorted(run.keys() - {piece}, reverse=True))
            await self._copy(piece, parts)

    def _take_shared(self, piece: int, parts: list[Part], *, is_right: bool) -> None:
        if is_right:
            self._writer.shared(piece)
        else:
            self._wrong(piece, parts)

    def _with_following(self, piece: int, parts: list[Part]) -> dict[int, list[Part]]:
        """Take the pieces that follow one in the queue and in the torrent, too."""
        run, count = {piece: parts}, MAX_SHARED_BYTES // self._torrent.metainfo.geometry.piece_bytes
        while self._queue and len(run) < count and self._queue[0] == piece + 1:
            following = self._parts(piece + 1)
            if not following:
                break
            piece = self._queue.popleft()
            run[piece] = following
        return run

    async def _share(self, run: dict[int, list[Part]]) -> Mapping[int, bool]:
        """Let pieces share the blocks of their sources; return which are right then.

        Returns nothing if that is not possible; a plain copy shows what is wrong.
        """
        self._request_freed()
        parts = [each for found in run.values() for each in found]
        try:
            found = await self._sharing.share(run, _joined(parts))
        except StorageError:
            return {}
        if not found:
            self._apart.update(source.device for _, source in parts)
        return found

    async def _copy(self, piece: int, parts: list[Part]) -> None:
        self._request_freed()
        try:
            await self._writer.wait_for_room()
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
            self._writer.write_copy(
                piece,
                data,
                on_wrong=partial(self._wrong, piece, parts),
                on_failed=partial(self._not_written, piece),
            )

    def _read(self, piece: int, parts: list[Part]) -> memoryview:
        """Return the bytes of a piece, in a worker thread; pads are zeros. Raises StorageError."""
        metainfo = self._torrent.metainfo
        geometry, sources = metainfo.geometry, {each.file_index: file for each, file in parts}
        data = memoryview(bytearray(geometry.piece_length(piece)))
        for each, into in metainfo.layout.placed(geometry.piece_offset(piece), data):
            if (source := sources.get(each.file_index)) is not None:
                read_local(source, each.offset_bytes, into)
        return data

    def _wrong(self, piece: int, parts: list[Part]) -> None:
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
        if not self._is_running:
            self._free(piece)
            return
        self._queue.appendleft(piece)
        self._work.set()

    def _not_written(self, piece: int) -> None:
        """Leave the rest to be fetched: there is no room on the disk."""
        self._free(piece)
        self._gives_up = self._is_running
        self._work.set()

    async def _give_up_all(self) -> None:
        while self._queue:
            self._free_some(self._queue.popleft() for _ in range(len(self._queue)))
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()

    def _free_some(self, pieces: Iterator[int]) -> None:
        self._free(*islice(pieces, FREED_AT_ONCE))

    def _free(self, *pieces: int) -> None:
        self._torrent.table.abandoned(*pieces)
        self._has_freed = True

    def _request_freed(self) -> None:
        """Request what is not copied; in one go, for it may be many pieces."""
        if self._has_freed:
            self._has_freed = False
            self._requests.wanted_changed()


def _joined(parts: Iterable[Part]) -> list[SharedRange]:
    """Return ranges of files, those that go on in the same file as one."""
    found: list[tuple[int, int, int, LocalFile]] = []
    for each, source in parts:
        start, end = each.offset_bytes, each.offset_bytes + each.length_bytes
        if found and found[-1][::2] == (each.file_index, start) and found[-1][3] == source:
            start = found.pop()[1]
        found.append((each.file_index, start, end, source))
    return [
        SharedRange(file, start, end, partial(opened_local, source))
        for file, start, end, source in found
    ]
