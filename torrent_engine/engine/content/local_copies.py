"""Pieces that are copied from files of the same content, in place of being fetched (BEP 52).

The files are those of this torrent or of another one that runs in the same process. A copy is
verified as what peers send is, and written by the same queue, so that a source that is gone or was
changed costs nothing but the attempt: the piece is fetched. Where the file system can, the blocks
of the source are shared instead, many pieces at once.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from typing import Final, NamedTuple, Protocol

import anyio
import anyio.abc

from torrent_engine.base.errors import SessionError, StorageError
from torrent_engine.base.ids import InfoHash
from torrent_engine.codec.bitfield import bits_of
from torrent_engine.codec.metainfo import Metainfo, V2Part
from torrent_engine.engine.content.copy_queue import CopyQueue, Pieces
from torrent_engine.engine.content.piece_sharing import OpenSource, SharedRange
from torrent_engine.engine.content.shared_content import (
    ContentHolder,
    ContentKey,
    Keys,
    SharedContent,
    Twin,
)
from torrent_engine.net.sockets.fairness import LOOP_TURN
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import PieceTable

MAX_SOURCES: Final = 8  # ours: files that are tried for one, of what may be many equal ones
MAX_SHARED_BYTES: Final = 16 * 1024 * 1024  # ours: shared at once; verifying it takes 20 ms or so
MAX_COPIED: Final = 512  # ours: copies that are not written; the write queue counts bytes only
FREED_AT_ONCE: Final = 1000  # ours: pieces that are not copied after all; 0.3 ms
STEPS_AT_ONCE: Final = 2000  # ours: looks for a source, 4 us each, that nobody waits for
OFFERED_AT_ONCE: Final = 8  # ours: pieces that are begun as soon as their content is here


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
        self._queue = CopyQueue()
        self._work = anyio.Event()
        """Set while copies are queued."""
        self._room = anyio.Event()
        """Set once half of the copies are written, after there were too many."""
        self._copied: set[int] = set()
        """Pieces that are copied, and not announced to other torrents once more."""
        self._refused: set[Twin] = set()
        """Sources that could not be read, or were wrong."""
        self._closed: set[ContentHolder] = set()
        """Torrents whose files are not open any more."""
        self._apart: set[ContentHolder] = set()
        """Torrents whose blocks cannot be shared with ours."""
        self._awaits_room = False
        """Whether sources are to be looked for again, once the disk is not full any more."""
        self._dropped: list[Pieces] = []
        """Pieces that will not be copied, but are still begun."""
        self._arrivals: deque[tuple[Sequence[int], range, Twin]] = deque()
        """Files of ours, and which bytes of them have arrived where."""
        self._due: dict[ContentKey, None] = {}
        """Groups of files to look for sources in."""
        self._steps = self._look_for_sources()
        self._found: dict[int, Twin] = {}
        """The sources of pieces, found in this turn of the loop; they are begun together."""
        self._has_due = anyio.Event()
        self._asks = False
        """Whether pieces are to be requested that were to be copied."""
        self._own_twins: tuple[Sequence[int], int] = ((), 0)
        """Files of ours, and the first pieces of these, as bits."""
        self._is_running = self._is_copying = self._is_searching = False

    @property
    def is_busy(self) -> bool:
        """Whether something is being copied, or looked for."""
        is_active = self._is_copying or self._is_searching or bool(self._queue)
        return self._is_running and is_active

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Copy until cancelled; started once it is known what need not be fetched."""
        if self.part is None:
            task_status.started()
            return
        self._is_running = True
        try:
            await self._content.join(self)
            await self._search()
            await self._let_twins_wait()
            task_status.started()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._search_forever)
                await self._copy_forever()
        finally:
            self._is_running = self._is_copying = self._is_searching = False
            with anyio.CancelScope(shield=True):
                await self._content.leave(self)
                await self._give_up_all()

    async def _let_twins_wait(self) -> None:
        """Let the twins wait of what is being fetched, and from now on of what will be."""
        picker = self._torrent.picker
        picker.twins.watch(self)
        for piece in tuple(picker.partials):
            picker.twins.begun(piece)
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()

    async def _copy_forever(self) -> None:
        while True:
            await self._work.wait()
            self._is_copying = True
            while self._queue:
                await self._copy_next()
                if LOOP_TURN.is_over:
                    await LOOP_TURN.pass_on()
            self._work = anyio.Event()
            self._is_copying = False
            if not self._is_searching:
                self._ask()

    def tick(self) -> None:
        """Take note of what a second has brought."""
        twins, table = self._torrent.picker.twins, self._torrent.table
        if not self._arrivals and twins.tick(table.state, self._torrent.picker.partials):
            self._requests.wanted_changed()
        if not self._is_searching:
            self._ask()
        if self._awaits_room and self._requests.is_active:
            self._awaits_room = False
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
        return self._torrent.table.have.has_any(pieces.start, pieces.stop)

    async def read(self, file: int, start: int, into: memoryview) -> None:
        """Fill ``into`` from an offset of a file. Raises StorageError or SessionError."""
        await self._reads.read(self._torrent.metainfo.layout.offsets[file] + start, into)

    def lend(self, file: int) -> AbstractAsyncContextManager[OpenSource]:
        """Allow a file to be opened meanwhile; SessionError if that is not possible."""
        return self._reads.lend(file)

    def on_have(self, piece: int) -> None:
        """Offer a piece that is here now wherever its content is missing."""
        if self.part is None:
            return
        if piece in self._copied:
            self._settled(piece)
            return
        file, span = self._place(piece)
        for holder, files in self._group(file).items():
            if holder is not self or len(files) > 1:
                holder.arrived(files, span, Twin(self, file))

    # -- as a target -------------------------------------------------------------------------

    def arrived(self, files: Sequence[int], span: range, source: Twin) -> None:
        """Use these bytes of some equal files, which are at another place now."""
        if len(files) * len(self._pieces(files[0], span)) > OFFERED_AT_ONCE:
            self._arrivals.append((files, span, source))
            self._wake()
            return
        for _ in self._offered(files, span, source):
            pass
        self._begin_found()

    def look_at(self, keys: Keys) -> None:
        """Look for sources of what is missing of some groups of files, in the next turns."""
        if keys and not self.is_complete:
            self._due.update(keys)
            self._wake()

    def look_again(self) -> None:
        """Look for sources of all that is missing; in the next turns for what takes long."""
        is_first = not self._is_searching
        self.look_at(self._content.keys(self))
        if is_first:
            for _ in takewhile(bool, islice(self._steps, STEPS_AT_ONCE)):
                pass
            self._begin_found()

    def _wake(self) -> None:
        self._is_searching = True
        self._has_due.set()

    async def _search_forever(self) -> None:
        while True:
            await self._has_due.wait()
            self._has_due = anyio.Event()
            await self._search()

    async def _search(self) -> None:
        """Do what is due, and request what is not copied in the end."""
        while next(self._steps):
            if LOOP_TURN.is_over:
                self._begin_found()
                await LOOP_TURN.pass_on()
        self._begin_found()
        self._is_searching = False
        if not self._queue:
            self._ask()

    def _look_for_sources(self) -> Iterator[bool]:
        """Do a step of what is due each time; yield whether there was one.

        Before the loop goes on with other tasks, what was found is to be begun.
        """
        while True:
            yield from self._take_arrivals()
            due, self._due = self._due, {}
            for key in due:
                yield from self._look_in(key)
                yield from self._take_arrivals()
            if not self._due:
                yield False

    def _take_arrivals(self) -> Iterator[bool]:
        """Free what will not be copied; use what has arrived."""
        while self._dropped or self._arrivals:
            if self._dropped:
                self._free_some()
                yield True
            else:
                yield from self._offered(*self._arrivals[0])
                self._arrivals.popleft()

    def _offered(self, files: Sequence[int], span: range, source: Twin) -> Iterator[bool]:
        """Find the pieces of some files that can be copied from a source of these bytes."""
        for file in files:
            if source == (self, file):
                continue
            for piece in self._pieces(file, span):
                own = self._span(file, piece)
                is_inside = span.start <= own.start and own.stop <= span.stop
                if self._is_due(piece) and (is_inside or source.holder.has(source.file, own)):
                    self._find(piece, source)
                yield True

    def _look_in(self, key: ContentKey) -> Iterator[bool]:
        """Find the pieces of a group of equal files that can be copied within it."""
        group = tuple(self._content.group(key).items())
        sources: list[Twin] = []
        for twin in (Twin(holder, file) for holder, files in group for file in files):
            if twin.holder not in self._closed and twin.holder.has_part(twin.file):
                sources.append(twin)
                if len(sources) == MAX_SOURCES:
                    break
            yield True
        metainfo = self._torrent.metainfo
        for file in dict(group).get(self, ()) if sources else ():
            for piece in metainfo.layout.pieces_of(file, metainfo.geometry):
                if self._is_due(piece):
                    self._find_among(sources, piece, self._span(file, piece))
                yield True

    def _is_due(self, piece: int) -> bool:
        """Return whether a piece is to be copied if it is anywhere."""
        torrent = self._torrent
        is_wanted = torrent.table.is_missing(piece) and torrent.picker.is_wanted(piece)
        return is_wanted and torrent.metainfo.hashes.expected(piece) is not None

    def _find_among(self, sources: Iterable[Twin], piece: int, span: range) -> None:
        for source in sources:
            if source not in self._refused and source.holder.has(source.file, span):
                self._find(piece, source)
                break

    def _find(self, piece: int, source: Twin) -> None:
        if source not in self._refused and source.holder not in self._closed:
            self._found.setdefault(piece, source)

    def _begin_found(self) -> None:
        """Begin the pieces that are to be copied, so that nobody is asked for them."""
        if self._found:
            self._torrent.table.begun(*self._found)
            self._queue.add(self._found)
            self._found.clear()
            self._work.set()

    # -- copies ------------------------------------------------------------------------------

    async def _copy_next(self) -> None:
        """Copy the first piece of the queue, or share it and those behind it."""
        source, copies = self._take_run()
        if source.holder in self._apart:
            await self._copy(copies[0])
            return
        run = deque(copies)
        try:
            found = await self._share(run)
            while found and run:
                self._take_shared(run[0], is_right=found[run[0].piece])
                run.popleft()
                if LOOP_TURN.is_over:
                    await LOOP_TURN.pass_on()
        except BaseException:
            self._give_up(*(copy.piece for copy in run))
            raise
        if run:
            copy = run.popleft()
            self._queue.put_back(source, [each.piece for each in run])
            await self._copy(copy)

    def _take_run(self) -> tuple[Twin, list[_Copy]]:
        """Take what can be shared at once, in the same file; else the first piece."""
        metainfo = self._torrent.metainfo
        first, source = self._queue.first()
        file, _ = self._place(first)
        most = (
            1 if source.holder in self._apart else MAX_SHARED_BYTES // metainfo.geometry.piece_bytes
        )
        stop = min(metainfo.layout.pieces_of(file, metainfo.geometry).stop, first + most)
        run = self._queue.take_run(stop)
        return source, [_Copy(piece, source, self._span(file, piece)) for piece in run]

    def _take_shared(self, copy: _Copy, *, is_right: bool) -> None:
        if is_right:
            self._copied.add(copy.piece)
            self._writer.shared(copy.piece)
        else:
            self._refuse(copy)

    async def _share(self, run: Sequence[_Copy]) -> Mapping[int, bool]:
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
            await self._wait_for_room()
            if self._awaits_room:  # the disk is full
                self._give_up(piece)
                return
            data = memoryview(bytearray(torrent.metainfo.geometry.piece_length(piece)))
            source, span = copy.source, copy.span
            await source.holder.read(source.file, span.start, data[: len(span)])
        except SessionError:
            self._leave_out(copy)
        except StorageError:
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

    async def _wait_for_room(self) -> None:
        await self._writer.wait_for_room()
        if len(self._copied) >= MAX_COPIED:
            self._room = anyio.Event()
            await self._room.wait()

    def _refuse(self, copy: _Copy) -> None:
        """Copy nothing more from a source: it cannot be read, or is not what it should be."""
        self._refused.add(copy.source)
        self._give_up(copy.piece)
        self._dropped.append(self._queue.drop(copy.source))
        file, _ = self._place(copy.piece)
        key = self._content.key(self, file)
        self._look_elsewhere({} if key is None else {key: None})

    def _leave_out(self, copy: _Copy) -> None:
        """Copy nothing more from a torrent: its files are closed."""
        holder = copy.source.holder
        self._closed.add(holder)
        self._give_up(copy.piece)
        self._dropped += self._queue.drop_all(holder)
        self._look_elsewhere(self._content.keys(self))

    def _look_elsewhere(self, keys: Keys) -> None:
        """Look for other sources in some groups, then request what has none."""
        self._asks = True
        self.look_at(keys)
        self._wake()

    def _ask(self) -> None:
        """Request what is not copied; in one go, for it may be many pieces."""
        if self._asks:
            self._asks = False
            self._requests.wanted_changed()

    def _not_written(self, piece: int) -> None:
        """Try again later: it is not the source that is at fault."""
        self._give_up(piece)
        self._awaits_room = True
        self._dropped += self._queue.clear()
        self._wake()

    def _give_up(self, *pieces: int) -> None:
        for piece in pieces:
            self._settled(piece)
        self._torrent.table.abandoned(*pieces)

    async def _give_up_all(self) -> None:
        self._dropped += self._queue.clear()
        while self._dropped:
            self._free_some()
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()

    def _free_some(self) -> None:
        """Free some pieces that will not be copied."""
        pieces: list[int] = []
        while self._dropped and len(pieces) < FREED_AT_ONCE:
            dropped, start = self._dropped[-1], len(pieces) - FREED_AT_ONCE
            pieces += dropped[start:]
            del dropped[start:]
            if not dropped:
                self._dropped.pop()
        self._torrent.table.abandoned(*pieces)

    def _settled(self, piece: int) -> None:
        """Take note that a copy is written, or is not to be."""
        self._copied.discard(piece)
        if len(self._copied) <= MAX_COPIED // 2:
            self._room.set()

    # -- pieces and files --------------------------------------------------------------------

    def twins(self, piece: int) -> int:
        """Return the other pieces of this torrent with the content of a piece, as bits."""
        metainfo = self._torrent.metainfo
        file, span = self._place(piece)
        files, size = self._group(file).get(self, ()), metainfo.geometry.piece_bytes
        if len(files) <= 1:
            return 0
        if files is not self._own_twins[0]:
            firsts = [metainfo.layout.offsets[each] // size for each in files]
            self._own_twins = files, bits_of(firsts)
        return self._own_twins[1] << span.start // size ^ 1 << piece

    def _group(self, file: int) -> Mapping[ContentHolder, Sequence[int]]:
        """Return the files with the content of one, itself among them if there are others."""
        return self._content.group(self._content.key(self, file))

    def _place(self, piece: int) -> tuple[int, range]:
        """Return the file that a piece is of, and which bytes of that it is."""
        layout, geometry = self._torrent.metainfo.layout, self._torrent.metainfo.geometry
        file = bisect_right(layout.offsets, geometry.piece_offset(piece)) - 1
        return file, self._span(file, piece)

    def _span(self, file: int, piece: int) -> range:
        """Return which bytes of a file a piece of it is."""
        layout, geometry = self._torrent.metainfo.layout, self._torrent.metainfo.geometry
        start = geometry.piece_offset(piece) - layout.offsets[file]
        return range(start, min(start + geometry.piece_bytes, layout.lengths[file]))

    def _pieces(self, file: int, span: range) -> range:
        """Return the pieces that these bytes of a file are in."""
        layout, geometry = self._torrent.metainfo.layout, self._torrent.metainfo.geometry
        offset = layout.offsets[file]
        first = geometry.piece_at(offset + span.start)
        return range(first, geometry.piece_at(offset + span.stop - 1) + 1)
