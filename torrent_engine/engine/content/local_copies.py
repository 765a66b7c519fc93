"""Pieces that are copied from files of the same content, in place of being fetched (BEP 52).

The files are those of this torrent or of another one that runs in the same process. A copy is
verified as what peers send is, and written by the same queue, so that a source that is gone or was
changed costs nothing but the attempt: the piece is fetched. Where the file system can, the blocks
of the source are shared instead, many pieces at once.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol

import anyio
import anyio.abc

from torrent_engine.base.errors import SessionError, StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.metainfo import Metainfo, V2Part
from torrent_engine.engine.content.piece_sharing import OpenSource, SharedRange
from torrent_engine.engine.content.shared_content import ContentHolder, SharedContent, Twin
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceTable

MAX_SOURCES: Final = 8  # ours: files that are tried for one, of what may be many equal ones
MAX_SHARED_BYTES: Final = 16 * 1024 * 1024  # ours: shared at once; verifying it takes 20 ms or so


class CopiedTorrent(Protocol):
    """What is known of a torrent, and which of its pieces are here."""

    @property
    def metainfo(self) -> Metainfo:
        """The torrent."""

    @property
    def table(self) -> PieceTable:
        """The states of its pieces."""

    @property
    def picker(self) -> Picker:
        """What is wanted, and begun."""


class CopyWriter(Protocol):
    """What verifies copies and writes them."""

    async def wait_for_room(self) -> None:
        """Wait until more may be written."""

    def write_copy(
        self,
        piece: int,
        data: memoryview,
        *,
        on_wrong: Callable[[], None],
        on_failed: Callable[[], None],
    ) -> None:
        """Verify and write a begun piece; call one of the two if it is wrong, or not written."""

    def shared(self, piece: int) -> None:
        """Count a begun piece that is on the disk and was verified there."""


class CopySharing(Protocol):
    """What lets pieces share the blocks of other files."""

    async def share(
        self, pieces: Iterable[int], ranges: Iterable[SharedRange]
    ) -> Mapping[int, bool]:
        """Return which of the pieces are right now; nothing if they cannot be shared.

        Raises StorageError.
        """


class CopyRequests(Protocol):
    """What requests of peers that is not copied."""

    @property
    def is_active(self) -> bool:
        """Whether anything is requested; not while the disk is full."""

    def wanted_changed(self) -> None:
        """Request what was to be copied."""


class CopyReads(Protocol):
    """Reads of the files of a torrent."""

    async def read(self, offset_bytes: int, into: memoryview) -> None:
        """Fill ``into`` with verified bytes. Raises StorageError or SessionError."""

    def lend(self, file_index: int) -> AbstractAsyncContextManager[OpenSource]:
        """Allow a file to be opened meanwhile; SessionError if that is not possible."""


@dataclass(frozen=True, slots=True)
class CopyPorts:
    """What copies of one torrent go through."""

    writer: CopyWriter
    requests: CopyRequests
    sharing: CopySharing


class _Copy(NamedTuple):
    """One piece to be copied."""

    piece: int
    source: Twin
    span: range
    """Its bytes, within the file."""


class LocalCopies:
    """Copies pieces of one torrent from files of the same content, while its transfer runs."""

    def __init__(
        self,
        torrent: CopiedTorrent,
        ports: CopyPorts,
        reads: CopyReads,
        content: SharedContent,
    ) -> None:
        self._torrent = torrent
        self._writer = ports.writer
        self._requests = ports.requests
        self._sharing = ports.sharing
        self._reads = reads
        self._content = content
        self.is_busy = False
        """Whether something is being copied."""
        self._queue: deque[_Copy] = deque()
        self._work = anyio.Event()
        self._copied: set[int] = set()
        """Pieces that are copied, and not announced to other torrents once more."""
        self._refused: set[Twin] = set()
        """Sources that could not be read, or were wrong."""
        self._apart: set[ContentHolder] = set()
        """Torrents whose blocks cannot be shared with ours."""
        self._is_due = False
        """Whether sources are to be looked for again, once the disk is not full any more."""

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Copy until cancelled; started once it is known what need not be fetched."""
        if self.part is None:
            task_status.started()
            return
        try:
            await self._content.join(self)
            self._torrent.picker.twins.watch(self)
            for piece in self._torrent.picker.partials:
                self._torrent.picker.twins.begun(piece)
            task_status.started()
            while True:
                await self._work.wait()
                self.is_busy = True
                while self._queue:
                    await self._copy_next()
                self._work = anyio.Event()
                self.is_busy = False
        finally:
            self.is_busy = False
            self._content.leave(self)
            while self._queue:
                self._give_up(self._queue.popleft().piece)

    def tick(self) -> None:
        """Take note of what a second has brought."""
        torrent = self._torrent
        if torrent.picker.twins.tick(torrent.table.state, torrent.picker.partials):
            self._requests.wanted_changed()
        if self._is_due and self._requests.is_active:
            self._is_due = False
            self.look_again()

    # -- as a source -------------------------------------------------------------------------

    @property
    def info_hash(self) -> InfoHash:
        """The id of the torrent."""
        return self._torrent.metainfo.info_hash

    @property
    def part(self) -> V2Part | None:
        """The roots and lengths of its files; None: it has no roots."""
        return self._torrent.metainfo.v2

    @property
    def is_complete(self) -> bool:
        """Whether it looks for no source."""
        return self._torrent.table.have.all()

    def has(self, file: int, span: range) -> bool:
        """Return whether these bytes of a file are verified and here."""
        return all(map(self._torrent.table.have.has, self._pieces(file, span)))

    def has_part(self, file: int) -> bool:
        """Return whether a piece of a file is verified and here."""
        metainfo = self._torrent.metainfo
        pieces = metainfo.layout.pieces_of(file, metainfo.geometry)
        return any(map(self._torrent.table.have.has, pieces))

    async def read(self, file: int, start: int, into: memoryview) -> None:
        """Fill ``into`` from an offset of a file. Raises StorageError or SessionError."""
        await self._reads.read(self._torrent.metainfo.layout.offsets[file] + start, into)

    def lend(self, file: int) -> AbstractAsyncContextManager[OpenSource]:
        """Allow a file to be opened meanwhile; SessionError if that is not possible."""
        return self._reads.lend(file)

    def on_have(self, piece: int) -> None:
        """Offer a piece that is here now wherever its content is missing."""
        if self.part is None or piece in self._copied:
            self._copied.discard(piece)
            return
        file, span = self._place(piece)
        mine = Twin(self, file)
        for twin in tuple(self._content.twins(self, file)):
            if twin != mine:
                twin.holder.arrived(twin.file, span, mine)

    # -- as a target -------------------------------------------------------------------------

    def arrived(self, file: int, span: range, source: Twin) -> None:
        """Use these bytes of a file, which are at another place now."""
        for piece in self._pieces(file, span):
            _, own = self._place(piece)
            is_inside = span.start <= own.start and own.stop <= span.stop
            if is_inside or source.holder.has(source.file, own):
                self._take(_Copy(piece, source, own))

    def look_again(self) -> None:
        """Look for sources of all that is missing."""
        for twins in self._content.groups(self):
            sources = _first_with_data(twins)
            for twin in twins if sources else ():
                if twin.holder is self:
                    for copy in self._missing(twin.file, sources):
                        self._take(copy)

    def _missing(self, file: int, sources: list[Twin]) -> Iterator[_Copy]:
        """Iterate over what can be copied of one file."""
        metainfo, table = self._torrent.metainfo, self._torrent.table
        for piece in metainfo.layout.pieces_of(file, metainfo.geometry):
            if table.is_missing(piece):
                _, span = self._place(piece)
                for source in sources:
                    if source not in self._refused and source.holder.has(source.file, span):
                        yield _Copy(piece, source, span)
                        break

    def _take(self, copy: _Copy) -> None:
        """Begin a piece that is to be copied, so that nobody is asked for it."""
        torrent, piece = self._torrent, copy.piece
        if not torrent.table.is_missing(piece) or not torrent.picker.is_wanted(piece):
            return
        if copy.source in self._refused or torrent.metainfo.hashes.expected(piece) is None:
            return
        torrent.table.begun(piece)
        self._queue.append(copy)
        self._work.set()

    async def _copy_next(self) -> None:
        """Copy the first piece of the queue, or share it and those behind it."""
        holder = self._queue[0].source.holder
        if holder in self._apart:
            await self._copy(self._queue.popleft())
            return
        run = self._take_run()
        try:
            found = await self._share(run)
        except BaseException:
            for copy in run:
                self._give_up(copy.piece)
            raise
        if not found:
            self._queue.extendleft(reversed(run[1:]))
            await self._copy(run[0])
            return
        for copy in run:
            if found[copy.piece]:
                self._copied.add(copy.piece)
                self._writer.shared(copy.piece)
            else:
                self._refuse(copy)

    def _take_run(self) -> list[_Copy]:
        """Take the first of the queue, and those that go on where it ends in the same file."""
        run = [self._queue.popleft()]
        start = run[0].span.start
        while self._queue and self._queue[0].span.stop - start <= MAX_SHARED_BYTES:
            last, after = run[-1], self._queue[0]
            if (after.source, after.span.start) != (last.source, last.span.stop):
                break
            run.append(self._queue.popleft())
        return run

    async def _share(self, run: list[_Copy]) -> Mapping[int, bool]:
        """Let pieces in a row share the blocks of their source; return which are right then.

        Returns nothing if that is not possible; a plain copy shows what is wrong.
        """
        (file, _), source = self._place(run[0].piece), run[0].source
        try:
            async with source.holder.lend(source.file) as opened:
                wanted = SharedRange(file, run[0].span.start, run[-1].span.stop, opened)
                found = await self._sharing.share([copy.piece for copy in run], [wanted])
        except (StorageError, SessionError):
            return {}
        if not found:
            self._apart.add(source.holder)
        return found

    async def _copy(self, copy: _Copy) -> None:
        torrent, piece = self._torrent, copy.piece
        try:
            await self._writer.wait_for_room()
            if self._is_due:  # the disk is full
                self._give_up(piece)
                return
            data = memoryview(bytearray(torrent.metainfo.geometry.piece_length(piece)))
            source, span = copy.source, copy.span
            await source.holder.read(source.file, span.start, data[: len(span)])
        except (StorageError, SessionError):
            self._refuse(copy)
        except BaseException:
            self._give_up(piece)
            raise
        else:
            self._copied.add(piece)
            self._writer.write_copy(
                piece,
                data,
                on_wrong=partial(self._refuse, copy),
                on_failed=partial(self._not_written, piece),
            )

    def _refuse(self, copy: _Copy) -> None:
        """Copy nothing more from a source: it cannot be read, or is not what it should be."""
        self._refused.add(copy.source)
        self._give_up(copy.piece)
        waiting, self._queue = self._queue, deque()
        for other in waiting:
            if other.source == copy.source:
                self._give_up(other.piece)
            else:
                self._queue.append(other)
        self.look_again()
        self._requests.wanted_changed()

    def _not_written(self, piece: int) -> None:
        """Try again later: it is not the source that is at fault."""
        self._give_up(piece)
        self._is_due = True

    def _give_up(self, piece: int) -> None:
        self._copied.discard(piece)
        self._torrent.table.abandoned(piece)

    # -- pieces and files --------------------------------------------------------------------

    def twins(self, piece: int) -> int:
        """Return the other pieces of this torrent with the content of a piece, as bits."""
        file, span = self._place(piece)
        metainfo, bits = self._torrent.metainfo, 0
        for twin in self._content.twins(self, file):
            if twin.holder is self and twin.file != file:
                offset = metainfo.layout.offsets[twin.file] + span.start
                bits |= 1 << metainfo.geometry.piece_at(offset)
        return bits

    def _place(self, piece: int) -> tuple[int, range]:
        """Return the file that a piece is of, and which bytes of that it is."""
        layout, geometry = self._torrent.metainfo.layout, self._torrent.metainfo.geometry
        offset = geometry.piece_offset(piece)
        file = bisect_right(layout.offsets, offset) - 1
        start = offset - layout.offsets[file]
        return file, range(start, min(start + geometry.piece_bytes, layout.lengths[file]))

    def _pieces(self, file: int, span: range) -> range:
        """Return the pieces that these bytes of a file are in."""
        layout, geometry = self._torrent.metainfo.layout, self._torrent.metainfo.geometry
        offset = layout.offsets[file]
        first = geometry.piece_at(offset + span.start)
        return range(first, geometry.piece_at(offset + span.stop - 1) + 1)


def _first_with_data(twins: tuple[Twin, ...]) -> list[Twin]:
    """Return the first of some files of which anything is here."""
    found: list[Twin] = []
    for twin in twins:
        if twin.holder.has_part(twin.file):
            found.append(twin)
            if len(found) == MAX_SOURCES:
                break
    return found
