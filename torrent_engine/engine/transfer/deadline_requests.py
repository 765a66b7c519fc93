"""Requests for pieces that have a deadline, ahead of all others.

The fast come first, and their queues are kept short meanwhile; a block that somebody slow owes us
is asked for again of somebody fast, where that brings it sooner.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Final, Protocol

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.engine.swarm.context import Torrent
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.policy.pieces.deadlines import (
    MIN_QUEUE_BLOCKS,
    SenderRates,
    is_duplicate_worthwhile,
    queue_blocks,
    wait_s,
)
from torrent_engine.policy.pieces.end_game import LATE_S
from torrent_engine.policy.pieces.owed_blocks import Owed
from torrent_engine.policy.pieces.picker import END_GAME_BLOCKS
from torrent_engine.policy.pieces.piece_table import Block

PIECES_LOOKED_AFTER: Final = 4  # ours: the first ones; the others have time
HELPERS: Final = 4  # ours: peers that are asked again in one go
MIN_PATIENCE_S: Final = 0.25  # ours: a block is given this long
SOON_S: Final = 1.0  # ours: what is due within this may take the place of other requests
SILENCE_S: Final = 1.0  # ours: after this a sender's silence counts more than its rate

MOST_OWED: Final = 8_000  # ours: blocks that are looked at for an idle peer, of all together
LEAST_OWED: Final = 2 * END_GAME_BLOCKS  # ours: of each

IsAsked = Callable[[Block], bool]


class BlockRequester(Protocol):
    """Who marks blocks as asked for; the DownloadManager."""

    has_duplicates: bool
    is_active: bool

    def refill(self, peer: Peer) -> None:
        """Request blocks from a peer until its pipeline is full."""

    def pick_due(self, peer: Peer, bits: int, count: int) -> list[Block]:
        """Pick what has a deadline."""

    def pick(self, peer: Peer, bits: int, count: int) -> list[Block]:
        """Pick anything."""


class OtherSenders(Protocol):
    """Who sends blocks and is no peer: the web seeds."""

    def speeds(self, now: float) -> Iterable[tuple[float, int]]:
        """Return bytes per second and pieces as bits of each that may be asked now."""

    def expected(self, pieces: Collection[int], now: float) -> dict[Block, float]:
        """Return in how many seconds each block of these pieces comes that one of them owes us."""

    def hurry(self, soon: int) -> None:
        """Request at once what is due, of pieces ``soon``."""


class UrgentRequests:
    """Asks peers for what has a deadline."""

    def __init__(self, torrent: Torrent, asker: BlockRequester) -> None:
        self._torrent = torrent
        self._asker = asker
        self._picker = torrent.picker
        self._deadlines = torrent.picker.deadlines
        self._speeds = SenderRates()
        self._others: OtherSenders | None = None

    def add_senders(self, senders: OtherSenders) -> None:
        """Take into account what senders that are no peers have and owe us."""
        self._others = senders

    def others_have(self, piece: int) -> bool:
        """Return whether a sender that is no peer has a piece, and may be asked now."""
        others = () if self._others is None else self._others.speeds(self._torrent.clock())
        return any(bits >> piece & 1 for _, bits in others)

    # -- what one sender is asked for ---------------------------------------------------------

    def left_to_faster(self, bytes_per_s: float, queued_blocks: int) -> int:
        """Return the pieces that are due too soon for somebody so fast, if others are faster."""
        faster = self._speeds.of_faster_senders(bytes_per_s) & self._deadlines.bits
        if not faster:
            return 0
        blocks = queued_blocks + MIN_QUEUE_BLOCKS
        ready_s = self._torrent.clock() + wait_s(blocks, bytes_per_s)
        return faster & self._deadlines.due_before(ready_s)

    def is_due(self, piece: int) -> bool:
        """Return whether a piece has a deadline."""
        return piece in self._deadlines

    def pick(self, peer: Peer, bits: int, room: int) -> list[Block]:
        """Pick for a peer with room for so many more: what is due, then anything else.

        While there is more that is due than it is asked for now, its queue stays short.
        """
        rate, waiting = self._rate(peer), len(peer.connection.outstanding)
        bits ^= bits & self.left_to_faster(rate, waiting)
        queue = queue_blocks(rate)
        for_due = min(queue - waiting, room)
        if for_due * 4 < queue and waiting and self._picker.has_due(bits):
            return []  # asked for in batches
        blocks = self._asker.pick_due(peer, bits, for_due)
        if len(blocks) < room and (not (blocks or waiting) or not self._picker.has_due(bits)):
            blocks += self._asker.pick(peer, bits, room - len(blocks))
        return blocks

    def pick_duplicates(
        self, bits: int, count: int, bytes_per_s: float, is_asked: IsAsked
    ) -> list[Block]:
        """Pick blocks that come too late, for somebody with these pieces who is free at once."""
        now = self._torrent.clock()
        pieces = [piece for piece in self._looked_after() if bits >> piece & 1]
        for late in self._late(pieces, now).values():
            wanted = _worth_asking(late, 0, bytes_per_s, is_asked)[: min(count, END_GAME_BLOCKS)]
            if blocks := self._mark(wanted):
                return blocks
        return []

    # -- now and then -------------------------------------------------------------------------

    def hurry(self) -> None:
        """Request at once what has got a deadline; requests for other pieces make room."""
        now = self._torrent.clock()
        self._look(now)
        if not self._asker.is_active:
            return
        for peer in self._by_speed(self._deadlines.bits):
            if not self._picker.has_due(peer.bits):
                continue  # those who are faster took it
            queue_s = wait_s(len(peer.connection.outstanding), self._rate(peer))
            if self._picker.has_due(peer.bits & self._deadlines.due_before(now + queue_s)):
                self._make_room(peer)
            self._asker.refill(peer)
            peer.link.flush()
        self._ask_again(now)
        if self._others is not None:
            self._others.hurry(self._deadlines.due_before(now + SOON_S))

    def tick(self, now: float) -> None:
        """Look who is fast, and ask again for what comes too late; some times a second."""
        self._look(now)
        if self._asker.is_active:
            self._ask_again(now)

    def _look(self, now: float) -> None:
        bits = self._deadlines.bits
        senders = [
            (peer.download_rate.rate(now), peer.bits & bits)
            for peer in self._torrent.peers
            if not peer.connection.state.peer_choking
        ]
        others = () if self._others is None else self._others.speeds(now)
        self._speeds = SenderRates([*senders, *((rate, pieces & bits) for rate, pieces in others)])

    def _rate(self, peer: Peer) -> float:
        return peer.download_rate.rate(self._torrent.clock())

    def _by_speed(self, bits: int) -> list[Peer]:
        """Return the peers that can be asked for some of these pieces, the fastest first."""
        now = self._torrent.clock()
        able = [
            peer
            for peer in self._torrent.peers
            if not peer.connection.state.peer_choking
            and peer.bits & bits
            and now >= peer.quiet_until_s
        ]
        return sorted(able, key=self._rate, reverse=True)

    def _make_room(self, peer: Peer) -> None:
        """Cancel the last requests of a long queue, but for those that are due."""
        connection, deadlines = peer.connection, self._deadlines
        excess = len(connection.outstanding) - queue_blocks(self._rate(peer)) // 2
        if excess <= 0:
            return
        latest = islice(reversed(connection.outstanding), excess)
        late = [block for block in latest if block[0] not in deadlines]
        connection.sender.cancel_blocks(late)
        for piece, begin, _ in late:
            self._picker.release(piece, begin // BLOCK_BYTES)

    # -- what comes too late --------------------------------------------------------------------

    def _looked_after(self) -> Sequence[int]:
        return self._deadlines.order[:PIECES_LOOKED_AFTER]

    def _ask_again(self, now: float) -> None:
        for piece, late in self._late(self._looked_after(), now).items():
            self._ask_faster(piece, late)

    def _late(self, pieces: Collection[int], now: float) -> dict[int, dict[Block, float]]:
        """Return the blocks of pieces that come after these are due, and in how many seconds."""
        due_s = {
            piece: self._deadlines.due_s(piece)
            for piece in pieces
            if piece in self._picker.partials
        }
        late: dict[int, dict[Block, float]] = {}
        for block, left_s in self._expected(due_s, now).items() if due_s else ():
            if left_s > MIN_PATIENCE_S and now + left_s > due_s[block[0]]:
                late.setdefault(block[0], {})[block] = left_s
        return late

    def latest_owed(self, now: float) -> Owed:
        """Return when the last blocks come that each owes us, whatever the piece."""
        silent = Counter[Block]()
        expected = self._expected_from_others(self._picker.partials, now)
        most = max(LEAST_OWED, MOST_OWED // max(1, len(self._torrent.peers)))
        for peer in self._torrent.peers:
            owed, rate = peer.connection.outstanding, self._rate(peer)
            silent_s = now - peer.last_block_s
            least_s = _least_wait_s(rate, silent_s)
            if (begun := peer.connection.incoming_block) is not None:  # it may never be whole
                left_s = max(wait_s(1, rate), least_s)
                expected[begun] = min(left_s, expected.get(begun, left_s))
            last = zip(range(len(owed), 0, -1), reversed(owed), strict=True)
            for place, block in islice(last, most):
                left_s = max(wait_s(place, rate), least_s)
                expected[block] = min(left_s, expected.get(block, left_s))
            if silent_s > LATE_S:
                silent.update(islice(reversed(owed), most))
                silent.update(() if begun is None else (begun,))
        return Owed(expected, silent)

    def _expected_from_others(self, pieces: Collection[int], now: float) -> dict[Block, float]:
        return {} if self._others is None else self._others.expected(pieces, now)

    def _expected(self, pieces: Collection[int], now: float) -> dict[Block, float]:
        """Return in how many seconds each block of these pieces comes that somebody owes us."""
        expected = self._expected_from_others(pieces, now)
        for peer in self._torrent.peers:
            owed: Iterable[Block] = peer.connection.outstanding
            if (begun := peer.connection.incoming_block) is not None:
                owed = (begun, *owed)
            silent_s = now - peer.last_block_s
            for block, left_s in expected_of(owed, pieces, self._rate(peer), silent_s).items():
                expected[block] = min(left_s, expected.get(block, left_s))
        return expected

    def _ask_faster(self, piece: int, late: dict[Block, float]) -> None:
        for peer in self._by_speed(1 << piece)[:HELPERS]:
            connection, rate = peer.connection, self._rate(peer)
            if peer.pipeline.is_snubbed:
                continue
            waiting = min(len(connection.outstanding), queue_blocks(rate) // 2)
            asked = {*connection.outstanding, connection.incoming_block}
            wanted = _worth_asking(late, waiting, rate, asked.__contains__)
            if wanted:
                self._make_room(peer)
            for block in (blocks := self._mark(wanted[:END_GAME_BLOCKS])):
                del late[block]
            if blocks:
                connection.sender.request_blocks(blocks)
                peer.link.flush()

    def _mark(self, wanted: Collection[Block]) -> list[Block]:
        blocks = self._picker.duplicate(wanted) if wanted else []
        self._asker.has_duplicates = self._asker.has_duplicates or bool(blocks)
        return blocks


def expected_of(
    owed: Iterable[Block], pieces: Collection[int], bytes_per_s: float, silent_s: float
) -> dict[Block, float]:
    """Return in how many seconds the blocks of pieces come that one sender owes us, in order."""
    least_s = _least_wait_s(bytes_per_s, silent_s)
    return {
        block: max(wait_s(place, bytes_per_s), least_s)
        for place, block in enumerate(owed, 1)
        if block[0] in pieces
    }


def _least_wait_s(bytes_per_s: float, silent_s: float) -> float:
    """Return how long any block of a sender takes: who is silent is so as long again."""
    return silent_s if silent_s > SILENCE_S or not bytes_per_s else 0.0


def _worth_asking(
    late: dict[Block, float], waiting: int, bytes_per_s: float, is_asked: IsAsked
) -> list[Block]:
    """Return the blocks that somebody with so many requests waiting would send much sooner."""
    wanted: list[Block] = []
    for block, left_s in late.items():
        again_s = wait_s(waiting + len(wanted) + 1, bytes_per_s)
        if not is_asked(block) and is_duplicate_worthwhile(left_s, again_s):
            wanted.append(block)
    return wanted
