"""HTTP requests that fetch runs of neighbouring blocks from one web seed.

Source: BEP 17, BEP 19, BEP 47 (pad files).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.lowlevel

from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.net.http.web_seed import FileNotServedError, WebSeedServer
from torrent_engine.policy.pieces.piece_table import Block
from torrent_engine.policy.pieces.web_seed_plan import BlockCutter, Views
from torrent_engine.protocol.tracker.urls import MAX_URL_CHARS
from torrent_engine.protocol.web_seed import Span, file_url, piece_url

if TYPE_CHECKING:
    from torrent_engine.net.peers.peer_link import Throttle

READ_BYTES: Final = 64 * 1024  # what the HTTP library reads at a time
ZEROS: Final = memoryview(bytes(256 * 1024))
BEP_OF_SCRIPTS: Final = 17
BEP_OF_FILES: Final = 19


class Receiver(Protocol):
    """What becomes of the bytes that a web seed sends."""

    async def has_room(self) -> None:
        """Return when the disk keeps up."""

    async def ready(self) -> None:
        """Return when more may be read: the disk keeps up, and so does the rate limit."""

    def was_read(self, count_bytes: int) -> None:
        """Account for what was read after :meth:`ready`."""

    def received(self, count_bytes: int) -> None:
        """Account for payload."""

    def deliver(self, block: Block, views: Views) -> None:
        """Deliver a block."""

    def needs_any(self, blocks: Sequence[Block]) -> bool:
        """Return whether any of these is still to come from somebody."""


class PaidReads:
    """The reads of one web seed under a rate limit: each is paid for before, as if it were full."""

    def __init__(self) -> None:
        self.throttle: Throttle | None = None
        self._debt_bytes = 0
        """What was read and is not paid for."""
        self._begun = 0
        """Reads under way that were paid for."""
        self._paying = anyio.Lock()

    async def pay(self) -> None:
        """Pay for what was read, and for one read more: others wait while it goes on."""
        if self.throttle is None:
            return
        async with self._paying:
            while self._debt_bytes > 0:
                if (throttle := self.throttle) is None:
                    self._debt_bytes = 0
                    return
                self._debt_bytes -= await throttle.acquire(self._debt_bytes)
            self._debt_bytes += READ_BYTES
            self._begun += 1

    def end(self, count_bytes: int) -> None:
        """Give back what was paid too much for a read, or owe what was paid too little."""
        if self._begun:
            self._begun -= 1
            self._debt_bytes += count_bytes - READ_BYTES
        elif self.throttle is not None:
            self._debt_bytes += count_bytes


class FileMissingError(FileNotServedError):
    """The web seed does not have one file of the torrent."""

    def __init__(self, message: str, file_index: int) -> None:
        super().__init__(message)
        self.file_index = file_index


class WebSeedFetch:
    """Fetches blocks of one torrent from one web seed, over several requests where it must."""

    def __init__(self, metainfo: Metainfo, url: str, bep: int, server: WebSeedServer) -> None:
        self._metainfo = metainfo
        self._url = url
        self._is_script = bep == BEP_OF_SCRIPTS
        self._server = server

    async def fetch(self, run: Sequence[Block], receiver: Receiver) -> None:
        """Fetch neighbouring blocks; returns early when others sent what is left.

        Raises HttpError for whatever goes wrong, FileMissingError of one file of several.
        """
        sink = _Stretch(run, receiver)
        if self._is_script:
            await self._fetch_pieces(run, sink)
        else:
            await self._fetch_files(run, sink)

    async def _fetch_files(self, run: Sequence[Block], sink: "_Stretch") -> None:
        metainfo = self._metainfo
        begin_bytes = metainfo.geometry.piece_offset(run[0][0]) + run[0][1]
        length_bytes = sum(length for _, _, length in run)
        for part in metainfo.layout.slices(begin_bytes, length_bytes):
            if metainfo.files[part.file_index].is_pad:
                await sink.take_zeros(part.length_bytes)
            else:
                await self._fetch_part(*part, sink)
            if sink.has_enough:
                return

    async def _fetch_part(
        self, file_index: int, offset_bytes: int, length_bytes: int, sink: "_Stretch"
    ) -> None:
        metainfo, entry = self._metainfo, self._metainfo.files[file_index]
        url = file_url(self._url, entry, is_multi_file=metainfo.is_multi_file)
        span = Span(offset_bytes, length_bytes, entry.length_bytes)
        if len(url) > MAX_URL_CHARS:
            raise FileMissingError("its URL is too long", file_index)
        try:
            await self._server.fetch_range(url, span, sink)
        except FileNotServedError as error:
            if not metainfo.is_multi_file:
                raise
            raise FileMissingError(f"{'/'.join(entry.path)}: {error}", file_index) from error

    async def _fetch_pieces(self, run: Sequence[Block], sink: "_Stretch") -> None:
        metainfo, geometry = self._metainfo, self._metainfo.geometry
        info_hash = metainfo.v1_swarm or metainfo.info_hash  # a script knows v1, and pads
        for piece in sorted({piece for piece, _, _ in run}):
            blocks = [block for block in run if block[0] == piece]
            begin, length = blocks[0][1], sum(block[2] for block in blocks)
            is_whole = length == geometry.piece_length(piece) == geometry.span_length(piece)
            ranges = () if is_whole else ((begin, begin + length - 1),)
            url = piece_url(self._url, info_hash, piece, ranges)
            await self._server.fetch_body(url, length, sink)
            if sink.has_enough:
                return


class _Stretch:
    """Neighbouring blocks on their way in: the sink of one or more requests, one after another."""

    def __init__(self, blocks: Sequence[Block], receiver: Receiver) -> None:
        self.has_enough = False
        """Others sent the rest."""
        self._receiver = receiver
        self._cutter = BlockCutter(blocks)

    async def ready(self) -> None:
        await self._receiver.ready()

    def was_read(self, count_bytes: int) -> None:
        self._receiver.was_read(count_bytes)

    def take(self, data: memoryview) -> bool:
        self._receiver.received(len(data))
        return self._cut(data)

    async def take_zeros(self, count_bytes: int) -> None:
        """Deliver the zeros of a pad file, which are never requested (BEP 47)."""
        while count_bytes and not self.has_enough:
            await self._receiver.has_room()  # nothing is read: no limit of rates holds
            await anyio.lowlevel.checkpoint()
            zeros = ZEROS[:count_bytes]
            self._cut(zeros)
            count_bytes -= len(zeros)

    def _cut(self, data: memoryview) -> bool:
        for block, views in self._cutter.feed(data):
            self._receiver.deliver(block, views)
        self.has_enough = not self._receiver.needs_any(self._cutter.left)
        return not self.has_enough
