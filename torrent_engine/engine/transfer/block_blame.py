"""The hashes of the blocks of a piece that failed, from peers that have it.

Source: BEP 52 ("hash request"). With them it is known which blocks are wrong, so that only their
senders are banned, and the other blocks are kept. They are proved by the hash of the piece: who
sends wrong ones is banned, too.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

import anyio

from torrent_engine.codec.hash_trees import MAX_ASKED, HashRange
from torrent_engine.codec.merkle import HASH_BYTES, is_proven
from torrent_engine.codec.piece_hashes import PieceTree
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Identity, Peer, Sender
from torrent_engine.engine.swarm.peer_dispatch import PeerEventHandler
from torrent_engine.protocol.wire.messages import HashesReceived, HashesRejected, PeerEvent

ANSWER_S: Final = 8.0  # ours: longer than a seed needs that reads a piece for it
MAX_TRIES: Final = 3  # ours: peers that are asked about one piece
NEXT_PEER_S: Final = 2.0  # ours: then the next peer is asked beside those that have not answered
ALL_ANSWERS_S: Final = 24.0  # ours: of long pieces a peer answers in many parts
MAX_UNANSWERED: Final = 4  # ours: a peer that owes more answers is not asked


class _Answer:
    """What one peer says to one request; None: a reject, or it left."""

    __slots__ = ("hashes", "is_here")

    def __init__(self) -> None:
        self.hashes: bytes | None = None
        self.is_here = anyio.Event()

    def set(self, hashes: bytes | None) -> None:
        """Take the answer."""
        self.hashes = hashes
        self.is_here.set()


class _Search:
    """What came of asking peers for the hashes below one piece."""

    __slots__ = ("asked", "failed", "found", "liars", "tree")

    def __init__(self, tree: PieceTree) -> None:
        self.tree = tree
        self.asked: set[Peer] = set()
        self.failed = anyio.Event()
        """Set when a peer does not have them; the next one need not wait."""
        self.found: bytes | None = None
        self.liars: list[Identity] = []


class BlockBlame:
    """Asks the peers of one torrent for the hashes of blocks."""

    def __init__(self, torrent: Torrent) -> None:
        self._torrent = torrent
        self._waiting: dict[Peer, dict[HashRange, _Answer]] = {}

    def handlers(self) -> Mapping[type[PeerEvent], PeerEventHandler]:
        """Return the handlers of the answers of peers."""
        return {HashesReceived: self._on_received, HashesRejected: self._on_rejected}

    def peer_left(self, peer: Peer) -> None:
        """Wait no longer for a peer that disconnected."""
        for answer in self._waiting.pop(peer, {}).values():
            answer.set(None)

    async def leaves(
        self, piece: int, tree: PieceTree, senders: set[Sender | None]
    ) -> tuple[bytes | None, list[Identity]]:
        """Return the right hashes of the blocks of a piece, and who sent wrong ones.

        Proven peers are asked first, and those that sent blocks of it after others; where one is
        silent or has no hashes the next one is asked, too. None: nobody has the hashes.
        """
        search = _Search(tree)
        with anyio.move_on_after(ALL_ANSWERS_S):
            async with anyio.create_task_group() as tasks:
                while len(search.asked) < MAX_TRIES:
                    peer = self._choose(piece, search.asked, senders)
                    if peer is None:
                        break
                    search.asked.add(peer)
                    search.failed = anyio.Event()
                    tasks.start_soon(self._try, peer, search, tasks.cancel_scope)
                    with anyio.move_on_after(NEXT_PEER_S):
                        await search.failed.wait()
        return search.found, search.liars

    def _choose(self, piece: int, asked: set[Peer], senders: set[Sender | None]) -> Peer | None:
        able = (
            peer
            for peer in self._torrent.peers - asked
            if peer.connection.state.is_v2
            and peer.pieces.has(piece)
            and peer.link.close_reason is None
            and len(peer.connection.state.hash_requests) < MAX_UNANSWERED
        )
        return min(able, key=partial(self._rank, senders), default=None)

    def _rank(self, senders: set[Sender | None], peer: Peer) -> tuple[bool, int, bool]:
        """Return the order in which peers are asked: who owes answers may never give them."""
        is_proven = self._torrent.smart_ban.is_proven(peer.identity)
        owed = len(peer.connection.state.hash_requests)
        return not is_proven, owed, peer.identity in senders

    async def _try(self, peer: Peer, search: _Search, others: anyio.CancelScope) -> None:
        """Ask one peer, and cancel the others once it has given right hashes."""
        found = await self._ask(peer, search.tree, search.liars)
        if found is None:
            search.failed.set()
        else:
            search.found = found
            others.cancel()

    async def _ask(self, peer: Peer, tree: PieceTree, liars: list[Identity]) -> bytes | None:
        """Ask one peer for all hashes of the blocks of a piece."""
        parts: list[bytes] = []
        for wanted in requests_for(tree):
            data = await self._answer(peer, wanted)
            if data is None:
                return None
            size = wanted.length * HASH_BYTES
            place = wanted.start - tree.first_leaf
            if not is_proven(
                data[:size], data[size:], index=place, levels=tree.levels, root=tree.expected
            ):
                liars.append(peer.identity)
                return None
            parts.append(data[:size])
        return b"".join(parts)

    async def _answer(self, peer: Peer, wanted: HashRange) -> bytes | None:
        if peer not in self._torrent.peers or wanted in peer.connection.state.hash_requests:
            return None
        answers = self._waiting.setdefault(peer, {})
        answer = answers[wanted] = _Answer()
        peer.connection.sender.request_hashes(wanted)
        peer.link.flush()
        try:
            with anyio.move_on_after(ANSWER_S):
                await answer.is_here.wait()
        finally:
            answers.pop(wanted, None)
        return answer.hashes

    def _on_received(self, peer: Peer, event: HashesReceived) -> None:
        self._set(peer, event.wanted, event.hashes)

    def _on_rejected(self, peer: Peer, event: HashesRejected) -> None:
        self._set(peer, event.wanted, None)

    def _set(self, peer: Peer, wanted: HashRange, hashes: bytes | None) -> None:
        answer = self._waiting.get(peer, {}).get(wanted)
        if answer is not None:
            answer.set(hashes)


def requests_for(tree: PieceTree) -> list[HashRange]:
    """Return what to ask for to get the hashes of all blocks of a piece.

    Up to 512 of them are proved by the hash of the piece as they are, more of them in parts.
    """
    count = 1 << tree.levels
    if count <= MAX_ASKED:
        return [HashRange(tree.root, 0, tree.first_leaf, count, 0)]
    return [
        HashRange(tree.root, 0, tree.first_leaf + start, MAX_ASKED, tree.levels - 1)
        for start in range(0, tree.leaf_count, MAX_ASKED)
    ]
