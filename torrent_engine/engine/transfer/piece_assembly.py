"""The bytes of a begun piece: where each block is, who sent it, and what of that is dropped.

Blocks stay views of the buffers they were received in, until the thread that writes the piece has
hashed it. A block that was written ahead of its piece, or before a restart, is read back for that.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final

import anyio

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.bitfield import bits_of_flags
from torrent_engine.codec.geometry import Geometry
from torrent_engine.codec.merkle import leaves_of
from torrent_engine.codec.piece_hashes import PieceDigest, PieceHashes
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Sender
from torrent_engine.policy.pieces.piece_table import PartialPiece
from torrent_engine.policy.pieces.web_seed_plan import Views

BLOCKS_PER_TURN: Final = 8_192  # ours: 128 MiB; 0.4 us each, and what their peers owe us
LEAST_BLOCKS: Final = 16  # ours: a piece counts as so many, however short it is
ZEROS: Final = memoryview(bytes(BLOCK_BYTES))

ReadBlock = Callable[[int, memoryview], None]
"""Reads from an offset of the payload into a buffer, in a worker thread."""


class BlockPlace(IntEnum):
    """Where a block is."""

    NOWHERE = 0
    MEMORY = 1
    WRITING = 2
    DISK = 3


_IN_MEMORY = bytes((BlockPlace.MEMORY,))
_ON_DISK = bytes(int(place == BlockPlace.DISK) for place in range(256))


class PieceAssembly:
    """The blocks of one piece, from the first to the verdict."""

    __slots__ = (
        "_left",
        "_left_s",
        "_places",
        "_settled",
        "_views",
        "begun_s",
        "memory_bytes",
        "partial",
        "piece_offset_bytes",
        "senders",
    )

    def __init__(self, partial: PartialPiece, geometry: Geometry, now: float) -> None:
        count = partial.block_count
        self.partial = partial
        self.piece_offset_bytes = geometry.piece_offset(partial.piece)
        self.senders: list[Sender | None] = [None] * count
        """Who sent each block; None: not here, or from before a restart."""
        self.memory_bytes = 0
        """Payload held here that is not on its way to the disk."""
        self.begun_s = self._left_s = now
        self._left = partial.left
        self._views: list[Views | None] = [None] * count
        self._places = bytearray(count)
        self._settled: anyio.Event | None = None
        for block in partial.pads:
            self._views[block] = (ZEROS[: partial.block(block)[2]],)
            self._places[block] = BlockPlace.MEMORY

    def own_pads(self) -> None:
        """Ascribe blocks that nobody sent to who sent the first of the others."""
        pads = self.partial.pads
        owner = next(each for block, each in enumerate(self.senders) if block not in pads)
        for block in pads:
            self.senders[block] = owner

    def add(self, block: int, views: Views, length_bytes: int, sender: Sender) -> None:
        """Add one block that the piece did not have."""
        self._views[block] = views
        self._places[block] = BlockPlace.MEMORY
        self.senders[block] = sender
        self.memory_bytes += length_bytes

    def add_run(self, first: int, views: list[memoryview], sender: Sender) -> None:
        """Add neighbouring whole blocks that the piece did not have, one view each."""
        count = len(views)
        end = first + count
        self._views[first:end] = zip(views, strict=True)
        self._places[first:end] = _IN_MEMORY * count
        self.senders[first:end] = [sender] * count
        self.memory_bytes += count * BLOCK_BYTES

    def drop_blocks_of(self, senders: Collection[Sender]) -> list[int]:
        """Forget what these sent, but for blocks on their way to the disk; return the blocks."""
        held = (BlockPlace.MEMORY, BlockPlace.DISK)
        dropped = [
            block
            for block, sender in enumerate(self.senders)
            if sender in senders and self._places[block] in held
        ]
        self._drop(dropped)
        return dropped

    def _drop(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            for view in self._views[block] or ():
                self.memory_bytes -= len(view)
            self._views[block] = self.senders[block] = None
            self._places[block] = BlockPlace.NOWHERE

    def begin_again(self, partial: PartialPiece, wrong: Collection[int]) -> None:
        """Continue without some blocks; the others are known to be right, whoever sent them."""
        self._drop(wrong)
        self.partial = partial
        self.senders = [None] * partial.block_count
        for block, place in enumerate(self._places):
            if place != BlockPlace.NOWHERE:
                partial.receive(block)

    def restore(self, block: int) -> None:
        """Add one block that is on the disk from an earlier run."""
        self._places[block] = BlockPlace.DISK

    def add_to(self, digest: PieceDigest, read: ReadBlock) -> None:
        """Add the piece to a digest, reading back what is on the disk; in a worker thread."""
        for block in range(len(self._places)):
            for view in self._block_views(block, read):
                digest.update(view)

    def block_digests(self, read: ReadBlock) -> list[bytes]:
        """Return the SHA-1 of each block; in a worker thread if some are on the disk."""
        digests = []
        for block in range(len(self._places)):
            sha1 = hashlib.sha1(usedforsecurity=False)
            for view in self._block_views(block, read):
                sha1.update(view)
            digests.append(sha1.digest())
        return digests

    def leaves(self, length_bytes: int, read: ReadBlock) -> bytes:
        """Return the SHA-256 of each block of so many bytes (BEP 52); in a worker thread."""
        leaves: list[bytes] = []
        for block in range(-(-length_bytes // BLOCK_BYTES)):
            data = b"".join(self._block_views(block, read))
            leaves.append(leaves_of(data[: length_bytes - block * BLOCK_BYTES]))
        return b"".join(leaves)

    def wrong_pads(self, pads: Iterable[tuple[int, int]]) -> list[int]:
        """Return the blocks in memory that have other bytes than zeros in pads (BEP 47).

        ``pads`` are parts of the piece, as (start, stop). No pad is stored: those of blocks on the
        disk are read as zeros.
        """
        return [*dict.fromkeys(block for block, *_ in self._wrong_pads(pads))]

    def repair_pads(
        self, pads: Iterable[tuple[int, int]], hashes: PieceHashes, read: ReadBlock
    ) -> list[int]:
        """Make wrong pads zeros if the piece is right then; return their blocks, else nothing.

        ``pads`` are those of :meth:`wrong_pads`; in a worker thread.
        """
        before: dict[int, Views | None] = {}
        for block, data, start, stop in self._wrong_pads(pads):
            before.setdefault(block, self._views[block])
            repaired = b"".join((data[:start], bytes(stop - start), data[stop:]))
            self._views[block] = (memoryview(repaired),)
        if not before:
            return []
        digest = hashes.new_digest(self.partial.piece)
        self.add_to(digest, read)
        if digest.digest() == hashes.expected(self.partial.piece):
            return [*before]
        for block, views in before.items():
            self._views[block] = views
        return []

    def _wrong_pads(self, pads: Iterable[tuple[int, int]]) -> Iterator[tuple[int, bytes, int, int]]:
        """Iterate over (block, its data, start and stop within it) of wrong pads in memory."""
        known = set(self.partial.pads)
        for start, stop in pads:
            for block in range(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)):
                if block in known or not (views := self._views[block]):
                    continue
                data, offset = b"".join(views), block * BLOCK_BYTES
                first, end = max(start - offset, 0), min(stop - offset, len(data))
                if data[first:end] != bytes(end - first):
                    yield block, data, first, end

    def idle_s(self, now: float) -> float:
        """Return for how long no block has come, as far as earlier calls saw it."""
        if self.partial.left != self._left:
            self._left, self._left_s = self.partial.left, now
        return now - self._left_s

    @property
    def is_settled(self) -> bool:
        """Whether no block is on its way to the disk."""
        return BlockPlace.WRITING not in self._places

    @property
    def received_bytes(self) -> int:
        """What came of it, wherever it is."""
        blocks = len(self._places) - self._places.count(BlockPlace.NOWHERE)
        return (blocks - len(self.partial.pads)) * BLOCK_BYTES

    @property
    def sole_sender(self) -> Sender | None:
        """Who sent all of it; None: several, or part of it is from before a restart."""
        first = self.senders[0]
        return first if self.senders.count(first) == len(self.senders) else None

    @property
    def is_in_memory(self) -> bool:
        """Whether every block is still held here."""
        return self._places.count(BlockPlace.MEMORY) == len(self._places)

    def all_views(self) -> list[memoryview]:
        """Return the whole piece, in order; every block must be in memory."""
        return [view for views in self._views for view in views or ()]

    def _block_views(self, block: int, read: ReadBlock) -> Views:
        views = self._views[block]
        if views is not None:
            return views
        _, begin, length = self.partial.block(block)
        buffer = memoryview(bytearray(length))
        read(self.piece_offset_bytes + begin, buffer)
        return (buffer,)

    def take_unwritten(self) -> list[tuple[int, int, list[memoryview]]]:
        """Return (first block, blocks, views) of each run in memory; it counts as being written."""
        places, all_views = self._places, self._views
        if self.is_in_memory:  # as most pieces are
            self._places = bytearray((BlockPlace.WRITING,)) * len(places)
            self.memory_bytes = 0
            return [(0, len(places), self.all_views())]
        runs: list[tuple[int, int, list[memoryview]]] = []
        block = places.find(BlockPlace.MEMORY)
        while block >= 0:
            first, flat = block, list[memoryview]()
            while block < len(places) and places[block] == BlockPlace.MEMORY:
                flat.extend(all_views[block] or ())
                block += 1
            runs.append((first, block - first, flat))
            block = places.find(BlockPlace.MEMORY, block)
        for first, count, _ in runs:
            places[first : first + count] = bytes((BlockPlace.WRITING,)) * count
        self.memory_bytes = 0
        return runs

    def forget_views(self, first: int, count: int) -> None:
        """Record that a run of blocks is written, and let go of its memory."""
        self._places[first : first + count] = bytes((BlockPlace.DISK,)) * count
        self._views[first : first + count] = [None] * count
        self._settle()

    def not_written(self, first: int, count: int) -> None:
        """Record that the disk refused a run of blocks: they are in memory as before."""
        self._places[first : first + count] = bytes((BlockPlace.MEMORY,)) * count
        for views in self._views[first : first + count]:
            self.memory_bytes += sum(map(len, views or ()))
        self._settle()

    def _settle(self) -> None:
        if self._settled is not None and BlockPlace.WRITING not in self._places:
            self._settled.set()

    async def settled(self) -> None:
        """Return when no block is on its way to the disk any more."""
        if BlockPlace.WRITING in self._places:
            if self._settled is None or self._settled.is_set():
                self._settled = anyio.Event()
            await self._settled.wait()

    def disk_bits(self) -> int:
        """Return the blocks that are on the disk, block ``i`` at ``1 << i``."""
        return bits_of_flags(self._places.translate(_ON_DISK))  # of a long piece very many

    def run_offset_bytes(self, first: int) -> int:
        """Return where in the payload a run of blocks begins."""
        return self.piece_offset_bytes + first * BLOCK_BYTES


class BannedBlocks:
    """No block of a banned peer stays in a begun piece, but for those on their way to the disk.

    A peer may have sent a gigabyte of pieces that each lack a block: some are looked through in
    each turn. Until then a piece is neither verified nor written, so that none of it is believed.
    """

    def __init__(
        self,
        torrent: Torrent,
        assemblies: Mapping[int, PieceAssembly],
        on_dropped: Callable[[PieceAssembly], None],
    ) -> None:
        """Create it; ``on_dropped`` gets each of the begun pieces that lost blocks."""
        self._torrent = torrent
        self._assemblies = assemblies
        self._on_dropped = on_dropped
        self._senders: set[Sender] = set()
        self.pieces: dict[int, PieceAssembly] = {}
        """The begun pieces that have not been looked through."""

    def add(self, senders: Collection[Sender]) -> None:
        """Look all begun pieces through for blocks of these."""
        if senders:
            self._senders.update(senders)
            self.pieces.update(self._assemblies)

    def drop_some(self) -> bool:
        """Look as many pieces through as one turn may; return whether there were any."""
        blocks, some = 0, list[PieceAssembly]()
        if not self.pieces:
            return False
        while self.pieces and blocks < BLOCKS_PER_TURN:
            piece, assembly = self.pieces.popitem()
            if self._assemblies.get(piece) is assembly:  # else it was begun again
                some.append(assembly)
                blocks += max(assembly.partial.block_count, LEAST_BLOCKS)
        self._drop(some)
        return True

    def drop_of(self, assembly: PieceAssembly) -> None:
        """Look one piece through before anything is done with it."""
        if self.pieces and self.pieces.get(assembly.partial.piece) is assembly:
            del self.pieces[assembly.partial.piece]
            self._drop([assembly])

    def _drop(self, assemblies: Collection[PieceAssembly]) -> None:
        lost: dict[int, tuple[PieceAssembly, list[int]]] = {}
        for assembly in assemblies:
            if numbers := assembly.drop_blocks_of(self._senders):
                lost[assembly.partial.piece] = assembly, numbers
        asked = self._asked(lost) if lost else {}
        for piece, (assembly, numbers) in lost.items():
            self._torrent.totals.failed_bytes += assembly.partial.length_bytes(numbers)
            self._torrent.picker.lost(piece, numbers, asked.get(piece, {}))
            self._on_dropped(assembly)
        if not self.pieces:
            self._senders.clear()

    def _asked(self, pieces: Collection[int]) -> dict[int, dict[int, int]]:
        """Return by piece and block how many peers owe us what."""
        # One pass over all that peers owe us, 50 ns each; to look for each block at each peer took
        # 0.8 s for a gigabyte and 200 peers.
        owed = Counter(
            block
            for peer in self._torrent.peers
            for block in peer.connection.outstanding
            if block[0] in pieces
        )
        asked: dict[int, dict[int, int]] = {}
        for (piece, begin, _), count in owed.items():
            asked.setdefault(piece, {})[begin // BLOCK_BYTES] = count
        return asked
