"""Answers to the peers of one torrent that ask for hashes of its v2 part.

Source: BEP 52 ("hash request"). Hashes of pieces and above are in memory. Those below are made of
blocks that are read for it, one request after the other.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import MIB
from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import SHA256_BYTES
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.hash_trees import HashRange, HashTrees
from torrent_engine.codec.merkle import leaves_of
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.piece_proof import PieceProof
from torrent_engine.protocol.wire.messages import HashesRequested

MAX_WAITING: Final = 4  # ours: requests of one peer that wait for blocks
MAX_COPIES: Final = 16  # ours: files with the same content that are looked at
READ_BYTES: Final = MIB  # ours: held in memory at once
WINDOW_S: Final = 10.0  # ours
CHOKED_BYTES: Final = 16 * MIB  # ours: read for a peer that we choke, in a window
UNCHOKED_BYTES: Final = 256 * MIB  # ours: the same for others, who may check what they got


class HashUpload:
    """Gives peers the hashes that they ask for, or a reject; every request is answered."""

    def __init__(
        self, torrent: Torrent, proof: PieceProof, on_error: Callable[[StorageError], None]
    ) -> None:
        self._torrent = torrent
        self._proof = proof
        self._on_error = on_error
        self._trees: HashTrees | None = None
        """Made for the first peer that asks for hashes."""
        self._waiting: deque[tuple[Peer, HashRange]] = deque()
        self._window_began_s = 0.0
        self._read_bytes: dict[Peer, int] = {}
        """What was read in this window, or will be, for each peer."""
        self._has_more = anyio.Event()

    def on_requested(self, peer: Peer, event: HashesRequested) -> None:
        """Answer at once, or put a request that needs blocks in the queue."""
        wanted, part = event.wanted, self._torrent.metainfo.v2
        if self._trees is None and part is not None:
            self._trees = HashTrees(part)
        trees = self._trees
        if trees is None or part is None:
            peer.connection.sender.answer_hash_request(wanted, None)
        elif not trees.is_below(wanted):
            peer.connection.sender.answer_hash_request(wanted, trees.hashes(wanted))
        elif self._is_allowed(peer, trees, part, wanted):
            self._waiting.append((peer, wanted))
            self._has_more.set()
        else:
            peer.connection.sender.answer_hash_request(wanted, None)

    def peer_left(self, peer: Peer) -> None:
        """Drop the requests of a peer that disconnected."""
        self._read_bytes.pop(peer, None)
        if self._waiting:
            self._waiting = deque(each for each in self._waiting if each[0] is not peer)

    async def run(self) -> None:
        """Answer the requests that need blocks until cancelled."""
        while True:
            while self._waiting:
                await self._answer(*self._waiting.popleft())
            self._has_more = anyio.Event()
            await self._has_more.wait()

    def _is_allowed(self, peer: Peer, trees: HashTrees, part: V2Part, wanted: HashRange) -> bool:
        """Return whether blocks are read for a peer, which is then charged for them."""
        found = self._find(trees, part, wanted)
        if found is None or sum(each is peer for each, _ in self._waiting) >= MAX_WAITING:
            return False
        now = self._torrent.clock()
        if now - self._window_began_s >= WINDOW_S:
            self._window_began_s = now
            self._read_bytes.clear()
        before = self._read_bytes.get(peer, 0)
        is_choked = peer.connection.state.am_choking
        if before and before + len(found[1]) > (CHOKED_BYTES if is_choked else UNCHOKED_BYTES):
            return False
        self._read_bytes[peer] = before + len(found[1])
        return True

    def _find(self, trees: HashTrees, part: V2Part, wanted: HashRange) -> tuple[int, range] | None:
        """Return a file that we have the blocks of, and which; None if there is none."""
        layout, has = self._torrent.metainfo.layout, self._torrent.table.have.has
        for index in _files_of(part, wanted.root):
            span = trees.span(wanted, part.lengths[index])
            if span is None:
                return None
            start = layout.offsets[index]
            pieces = range(
                (start + span.start) // part.piece_bytes,
                (start + span.stop - 1) // part.piece_bytes + 1,
            )
            if all(map(has, pieces)):
                return index, span
        return None

    async def _answer(self, peer: Peer, wanted: HashRange) -> None:
        trees, part = self._trees, self._torrent.metainfo.v2
        hashes: bytes | None = None
        if trees is not None and part is not None:
            found = self._find(trees, part, wanted)
            leaves = None if found is None else await self._leaves(*found)
            if found is not None and leaves is not None:
                hashes = trees.hashes_below(wanted, part.lengths[found[0]], leaves)
        if peer in self._torrent.peers:
            peer.connection.sender.answer_hash_request(wanted, hashes)
            peer.link.flush()

    async def _leaves(self, index: int, span: range) -> bytes | None:
        """Return the leaves of some bytes of a file; None if they cannot be read any more."""
        start, leaves = self._torrent.metainfo.layout.offsets[index], list[bytes]()
        for begin in range(span.start, span.stop, READ_BYTES):
            view = memoryview(bytearray(min(READ_BYTES, span.stop - begin)))
            try:
                await self._proof.read(start + begin, view)
            except StorageError as error:
                self._on_error(error)
                return None
            leaves.append(await anyio.to_thread.run_sync(partial(leaves_of, view)))
        return b"".join(leaves)


def _files_of(part: V2Part, root: bytes) -> list[int]:
    """Return the first files that have a root."""
    files, at = list[int](), part.roots.find(root) if any(root) else -1
    while at >= 0 and len(files) < MAX_COPIES:
        if not at % SHA256_BYTES:
            files.append(at // SHA256_BYTES)
        at = part.roots.find(root, at + 1)
    return files
