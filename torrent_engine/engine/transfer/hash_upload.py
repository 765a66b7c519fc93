"""Answers to the peers of one torrent that ask for hashes of its v2 part.

Source: BEP 52 ("hash request"); row B4. Hashes of pieces and above are in memory. Those below are
made of blocks that are read for it, in a thread, one request after the other. Limits of the rate of
uploads are for them as for blocks: all answers of a torrent together have the share of one peer,
of which each time whoever got least has some.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import filterfalse
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import MIB
from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import BLOCK_BYTES, SHA256_BYTES
from torrent_engine.base.operators import operator_of
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.hash_trees import HashRange, HashTrees
from torrent_engine.codec.merkle import leaves_of
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.piece_proof import PieceProof
from torrent_engine.protocol.wire.messages import HashesRequested
from torrent_engine.protocol.wire.sender import MAX_UNSENT_HASH_BYTES

if TYPE_CHECKING:
    from torrent_engine.net.peers.peer_link import Throttle

MAX_WAITING: Final = 4  # ours: requests of one peer that wait for blocks
MAX_COPIES: Final = 16  # ours: files with the same content that are looked at
MAX_PLACES: Final = 512  # ours: where a root is found among all, also across two of them
READ_BYTES: Final = MIB  # ours: held in memory at once
WINDOW_S: Final = 10.0  # ours
CHOKED_BYTES: Final = 16 * MIB  # ours: read for a peer that we choke, in a window
UNCHOKED_BYTES: Final = 256 * MIB  # ours: the same for others, who may check what they got
ALL_CHOKED_BYTES: Final = 256 * MIB  # ours: read in a window after which choked peers get nothing
ALL_BYTES: Final = 1024 * MIB  # ours: the same for all peers
UNITS_PER_BLOCK: Final = 2  # ours: what reading and hashing takes, as control messages count
UNLIMITED_HASHES: Final = 32  # ours: an answer that is as short as other messages
ROOTS_PER_UNIT: Final = 1024  # ours: files among which that of a request is searched
PIECES_PER_UNIT: Final = 64  # ours: pieces of files that are looked at, whether we have them


@dataclass(eq=False, slots=True)
class _Request:
    """A request that waits for its answer."""

    peer: Peer
    wanted: HashRange
    paid_bytes: int = 0
    """How much of the answer limits of uploads have allowed."""

    @property
    def unpaid_bytes(self) -> int:
        """How much of it they have not; proofs are short."""
        return self.wanted.length * SHA256_BYTES - self.paid_bytes


class HashUpload:
    """Gives peers the hashes that they ask for, or a reject; every request is answered."""

    def __init__(
        self, torrent: Torrent, proof: PieceProof, on_error: Callable[[StorageError], None]
    ) -> None:
        self._torrent = torrent
        self._proof = proof
        self._on_error = on_error
        self.download_throttle: Throttle | None = None
        """Answers are no downloads."""
        self.upload_throttle: Throttle | None = None
        """None while nothing limits uploads."""
        self._trees: HashTrees | None = None
        """Made for the first peer that asks for hashes."""
        self._waiting: deque[_Request] = deque()
        self._window_began_s = 0.0
        self._read_bytes: dict[str, int] = {}
        """What was read in this window, or will be, for each operator, and what limits of uploads
        allowed it; connections may be many."""
        self._has_more = anyio.Event()

    def hashes_changed(self) -> None:
        """Give hashes that the torrent has learned, too."""
        self._trees = None

    def on_requested(self, peer: Peer, event: HashesRequested) -> None:
        """Answer at once, or put a request that takes longer in the queue.

        Links of a v1 swarm, which have no hash messages, are not answered: one may have asked
        while the torrent was at rest.
        """
        if not peer.connection.state.is_v2:
            return
        wanted, part, trees = event.wanted, self._torrent.metainfo.v2, self._made_trees()
        if trees is None or part is None:
            peer.connection.sender.answer_hash_request(wanted, None)
        elif trees.is_below(wanted):
            self._queue(peer, wanted, is_allowed=self._is_allowed(peer, trees, part, wanted))
        elif trees.takes_long(wanted) or _is_limited(peer, wanted):
            self._queue(peer, wanted, is_allowed=self._has_room(peer))
        else:
            _give(peer, wanted, trees.hashes(wanted))

    def _made_trees(self) -> HashTrees | None:
        part = self._torrent.metainfo.v2
        if self._trees is None and part is not None:
            self._trees = HashTrees(part)
        return self._trees

    def _queue(self, peer: Peer, wanted: HashRange, *, is_allowed: bool) -> None:
        if is_allowed:
            self._waiting.append(_Request(peer, wanted))
            self._has_more.set()
        else:
            peer.connection.sender.answer_hash_request(wanted, None)

    def _has_room(self, peer: Peer) -> bool:
        return sum(each.peer is peer for each in self._waiting) < MAX_WAITING

    def peer_left(self, peer: Peer) -> None:
        """Drop the requests of a peer that disconnected."""
        for request in [each for each in self._waiting if each.peer is peer]:
            self._waiting.remove(request)
            self._give_back(request)

    async def run(self) -> None:
        """Answer the requests that take longer until cancelled, cheap peers first."""
        while True:
            while self._waiting:
                if ready := [each for each in self._waiting if not self._is_unpaid(each)]:
                    chosen = min(ready, key=self._turn_of)
                    self._waiting.remove(chosen)
                    await self._answer(chosen)
                elif self.upload_throttle is not None:
                    await self._pay_some(self.upload_throttle)
            self._has_more = anyio.Event()
            await self._has_more.wait()

    def _is_unpaid(self, request: _Request) -> bool:
        """Return whether an answer waits for the limits of uploads."""
        is_limited = self.upload_throttle is not None and _is_limited(request.peer, request.wanted)
        return is_limited and request.unpaid_bytes > 0

    async def _pay_some(self, throttle: "Throttle") -> None:
        """Wait for a part of an answer, and give it to who has the first turn by then."""
        granted_bytes = await throttle.acquire(BLOCK_BYTES)
        if unpaid := list(filter(self._is_unpaid, self._waiting)):
            request = min(unpaid, key=self._turn_of)
            paid_bytes = min(granted_bytes, request.unpaid_bytes)
            request.paid_bytes += paid_bytes
            granted_bytes -= paid_bytes
            self._begin_window()
            self._charge(request.peer, paid_bytes)
        throttle.give_back(granted_bytes)

    def _give_back(self, request: _Request) -> None:
        """Return what was allowed for an answer that is not given."""
        if self.upload_throttle is not None:
            self.upload_throttle.give_back(request.paid_bytes)

    def _turn_of(self, request: _Request) -> tuple[int, int]:
        """Return what an operator had in this window, and the request before: least comes first."""
        return self._read_of(request.peer), request.paid_bytes

    def _read_of(self, peer: Peer) -> int:
        return self._read_bytes.get(operator_of(peer.identity.address.host), 0)

    def _charge(self, peer: Peer, count_bytes: int) -> None:
        self._read_bytes[operator_of(peer.identity.address.host)] = (
            self._read_of(peer) + count_bytes
        )

    def _is_allowed(self, peer: Peer, trees: HashTrees, part: V2Part, wanted: HashRange) -> bool:
        """Return whether blocks are read for a peer, which is then charged for them."""
        state = peer.connection.state
        state.control_units += len(part.lengths) // ROOTS_PER_UNIT
        if not self._has_room(peer):
            return False
        found, pieces = self._find(trees, part, wanted)
        state.control_units += pieces // PIECES_PER_UNIT
        if found is None:
            return False
        self._begin_window()
        before, count = self._read_of(peer), len(found[1])
        limit, all_limit = UNCHOKED_BYTES, ALL_BYTES
        if state.am_choking:
            limit, all_limit = CHOKED_BYTES, ALL_CHOKED_BYTES
        is_first, all_bytes = not before, sum(self._read_bytes.values())
        if all_bytes + count > all_limit or not (is_first or before + count <= limit):
            return False
        self._charge(peer, count)
        state.control_units += count // BLOCK_BYTES * UNITS_PER_BLOCK
        return True

    def _begin_window(self) -> None:
        now = self._torrent.clock()
        if now - self._window_began_s >= WINDOW_S:
            self._window_began_s = now
            self._read_bytes.clear()

    def _find(
        self, trees: HashTrees, part: V2Part, wanted: HashRange
    ) -> tuple[tuple[int, range] | None, int]:
        """Return a file that we have the blocks of, and which, and how many pieces were looked at.

        None in place of the file: there is none.
        """
        layout, has = self._torrent.metainfo.layout, self._torrent.table.have.has
        looked_at = 0
        for index in _files_of(part, wanted.root):
            span = trees.span(wanted, part.lengths[index])
            if span is None:
                break
            start = layout.offsets[index]
            pieces = range(
                (start + span.start) // part.piece_bytes,
                (start + span.stop - 1) // part.piece_bytes + 1,
            )
            missing = next(filterfalse(has, pieces), None)
            looked_at += (pieces.stop if missing is None else missing + 1) - pieces.start
            if missing is None:
                return (index, span), looked_at
        return None, looked_at

    async def _answer(self, request: _Request) -> None:
        peer, wanted = request.peer, request.wanted
        trees, part = self._made_trees(), self._torrent.metainfo.v2
        hashes: bytes | None = None
        if trees is not None and part is not None:
            if trees.is_below(wanted):
                hashes = await self._hashes_below(trees, part, wanted)
            else:
                hashes = await anyio.to_thread.run_sync(trees.hashes, wanted)
        if hashes is None or peer not in self._torrent.peers:
            self._give_back(request)
        if peer in self._torrent.peers:
            _give(peer, wanted, hashes)
            peer.link.flush()

    async def _hashes_below(
        self, trees: HashTrees, part: V2Part, wanted: HashRange
    ) -> bytes | None:
        """Return hashes that blocks are read for; None if the blocks are not right any more."""
        found, _ = self._find(trees, part, wanted)
        if found is None:
            return None
        index, span = found
        leaves = await self._leaves(index, span)
        if leaves is None:
            return None
        made = partial(trees.hashes_below, wanted, part.lengths[index], leaves)
        hashes = await anyio.to_thread.run_sync(made)
        if hashes is None:
            offset = self._torrent.metainfo.layout.offsets[index]
            self._proof.doubt(offset + span.start, len(span))
        return hashes

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


def _is_limited(peer: Peer, wanted: HashRange) -> bool:
    """Return whether a limit of rates is for an answer to a peer."""
    return peer.link.upload_throttle is not None and wanted.length > UNLIMITED_HASHES


def _give(peer: Peer, wanted: HashRange, hashes: bytes | None) -> None:
    """Answer a request, with a reject in place of a long answer that would wait for the socket.

    One of 8,192 hashes alone is more than may wait to be sent to a peer.
    """
    is_long = hashes is not None and len(hashes) > MAX_UNSENT_HASH_BYTES
    is_given = not (is_long and peer.link.is_blocked)
    peer.connection.sender.answer_hash_request(wanted, hashes if is_given else None)


def _files_of(part: V2Part, root: bytes) -> list[int]:
    """Return the first files that have a root.

    The end of a root and the beginning of the next may be what a peer asks for, a million times.
    """
    files, at = list[int](), part.roots.find(root) if any(root) else -1
    for _ in range(MAX_PLACES):
        if at < 0 or len(files) == MAX_COPIES:
            break
        if not at % SHA256_BYTES:
            files.append(at // SHA256_BYTES)
        at = part.roots.find(root, at + 1)
    return files
