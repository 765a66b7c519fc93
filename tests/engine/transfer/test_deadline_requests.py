"""Who is asked for pieces with a deadline, on a clock that stands still."""

import random
from types import SimpleNamespace
from typing import Any

from tests.support.clock import ManualClock
from tests.support.counting import CountingBits
from tests.support.picking import bits_of, pieces_of
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES, PeerAddress, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.transfer.deadline_requests import LEAST_OWED, MOST_OWED
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.peers.smart_ban import SmartBan
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import Block, PieceTable
from torrent_engine.protocol.wire.messages import BlockReceived

PIECES, BLOCKS = 40, 4
METAINFO, _ = make_torrent(
    payload_of(PIECES * BLOCKS * BLOCK_BYTES), piece_bytes=BLOCKS * BLOCK_BYTES
)
ALL = (1 << PIECES) - 1
KIB = 1024


class FakeConnection:
    """Notes what its peer is asked for."""

    def __init__(self) -> None:
        self.state = self.sender = self
        self.outstanding: dict[Block, None] = {}
        self.cancelled: list[Block] = []
        self.incoming_block: Block | None = None
        self.peer_choking = False
        self.am_interested = False
        self.allowed_fast_in: set[int] = set()

    def request_blocks(self, blocks: list[Block]) -> None:
        assert not set(blocks) & set(self.outstanding)
        self.outstanding.update(dict.fromkeys(blocks))

    def cancel(self, block: Block) -> None:
        del self.outstanding[block]
        self.cancelled.append(block)

    def cancel_blocks(self, blocks: list[Block]) -> None:
        for block in blocks:
            self.cancel(block)

    def set_interested(self, *, interested: bool) -> None:
        self.am_interested = interested


class Swarm:
    """A DownloadManager and its peers, which answer when a test says so."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        table = PieceTable(METAINFO.geometry)
        self.picker = Picker(METAINFO.geometry, table, random.Random(1))
        self.peers: list[Peer] = []
        torrent: Any = SimpleNamespace(
            metainfo=METAINFO,
            table=table,
            picker=self.picker,
            smart_ban=SmartBan(),
            rng=random.Random(1),
            totals=Totals(),
            peers=self.peers,
            clock=self.clock,
            shared_config=SimpleNamespace(choker=SimpleNamespace(snub_timeout_s=60.0)),
        )
        finisher: Any = SimpleNamespace(
            waits_for_hash=lambda _: False,
            assemblies={},
            finish=lambda _: None,
            write_ahead=lambda *_: None,
        )
        self.manager = DownloadManager(torrent, finisher)
        self.manager.is_active = True
        self.urgent = self.manager.urgent

    def join(self, bytes_per_s: int, *, bits: int = ALL, depth: int = 60) -> Peer:
        """Add a peer that has been so fast for some seconds."""
        number = len(self.peers)
        connection = FakeConnection()
        link: Any = SimpleNamespace(connection=connection, flush=lambda: None)
        identity = Identity(PeerAddress("8.8.8.8", number + 1), PeerId(bytes(20)))
        peer = Peer(link, identity, Source.DHT, TransferConfig(), self.clock())
        peer.pieces.replace(Bitfield.from_int(bits, PIECES))
        peer.pipeline.depth = depth
        self.peers.append(peer)
        if bytes_per_s:
            peer.download_rate.add(bytes_per_s, self.clock() - 1.0)
        return peer

    def want(self, *pieces: int, in_s: float = 0.0) -> None:
        self.picker.deadlines.want("test", dict.fromkeys(pieces, self.clock() + in_s))
        self.urgent.hurry()

    def fill_with_others(self, peer: Peer, *, than: int) -> list[Block]:
        """Ask a peer for as much as it takes, but for one piece; return what."""
        self.picker.set_priorities([int(piece != than) for piece in range(PIECES)])
        self.manager.refill(peer)
        self.picker.set_priorities([1] * PIECES)
        return list(peer.connection.outstanding)

    def answer(self, peer: Peer, block: Block) -> None:
        del peer.connection.outstanding[block]
        piece, begin, length = block
        event = BlockReceived(piece, begin, length, (memoryview(bytes(length)),))
        self.manager.on_block(peer, event)
        peer.last_block_s = self.clock()


def asked(peer: Peer) -> list[int]:
    return pieces_of(list(peer.connection.outstanding))


def test_what_is_due_is_asked_for_before_all_else() -> None:
    swarm = Swarm()
    peer = swarm.join(256 * KIB)
    swarm.want(30, 3)
    assert asked(peer)[:2] == [3, 30]
    assert len(asked(peer)) > 2  # there is room for others


def test_a_queue_stays_short_while_more_is_due_and_fills_up_after_that() -> None:
    swarm = Swarm()
    peer = swarm.join(16 * BLOCK_BYTES)
    swarm.want(*range(10))
    assert asked(peer) == [0, 1, 2, 3]  # a second's worth
    for block in list(peer.connection.outstanding)[:8]:
        swarm.answer(peer, block)
    swarm.manager.refill(peer)
    assert asked(peer) == [2, 3, 4, 5]
    while swarm.picker.has_due(ALL):
        swarm.answer(peer, next(iter(peer.connection.outstanding)))
        swarm.manager.refill(peer)
    assert len(peer.connection.outstanding) > 50


def test_a_long_queue_makes_room_for_what_is_due_now() -> None:
    swarm = Swarm()
    peer = swarm.join(16 * BLOCK_BYTES, bits=ALL)
    before = swarm.fill_with_others(peer, than=39)
    swarm.want(39)
    place = [block[0] for block in peer.connection.outstanding].index(39)
    assert place == 8  # half a second's worth is before it
    connection: Any = peer.connection
    assert connection.cancelled == before[:7:-1]
    assert swarm.picker.has_due(ALL) is False


def test_f11_a_long_queue_makes_room_without_a_copy_of_all_pieces_for_each_request() -> None:
    swarm = Swarm()
    peer = swarm.join(16 * BLOCK_BYTES, bits=ALL)
    before = swarm.fill_with_others(peer, than=39)
    swarm.picker.deadlines.bits = CountingBits(0)
    CountingBits.copies = 0
    swarm.urgent._make_room(peer)
    connection: Any = peer.connection
    assert connection.cancelled == before[:7:-1]
    assert CountingBits.copies == 0  # it was one for each of 32


def test_what_has_time_cancels_nothing() -> None:
    swarm = Swarm()
    peer = swarm.join(16 * BLOCK_BYTES)
    swarm.fill_with_others(peer, than=39)
    swarm.want(39, in_s=60.0)
    connection: Any = peer.connection
    assert not connection.cancelled


def test_the_fastest_is_asked_first_and_the_slow_get_what_has_time() -> None:
    swarm = Swarm()
    slow, fast = swarm.join(20 * KIB), swarm.join(1024 * KIB)
    deadlines = {0: swarm.clock(), 1: swarm.clock(), 20: swarm.clock() + 600}
    swarm.picker.deadlines.want("test", deadlines)
    swarm.urgent.hurry()
    assert asked(fast)[:3] == [0, 1, 20]
    assert not asked(slow)
    swarm.picker.deadlines.want("test", {2: swarm.clock()})
    swarm.urgent.tick(swarm.clock())
    swarm.manager.refill(slow)
    assert asked(slow)  # it is not idle: other pieces
    assert not {0, 1, 2} & set(asked(slow))
    swarm.want(5)
    assert 5 in asked(fast)


def test_a_slow_peer_takes_what_has_time() -> None:
    swarm = Swarm()
    slow, fast = swarm.join(20 * KIB), swarm.join(1024 * KIB, bits=ALL)
    swarm.urgent.tick(swarm.clock())
    swarm.picker.deadlines.want("test", {7: swarm.clock() + 600})
    swarm.urgent.tick(swarm.clock())
    swarm.manager.refill(slow)
    assert asked(slow)[0] == 7
    assert not asked(fast)


def test_who_alone_has_a_piece_is_asked_however_slow() -> None:
    swarm = Swarm()
    slow, fast = swarm.join(20 * KIB), swarm.join(1024 * KIB, bits=bits_of(1, 2))
    swarm.want(9, 1)
    assert asked(slow)[0] == 9
    assert asked(fast)[0] == 1


def test_what_a_slow_peer_owes_is_asked_of_a_fast_one_and_cancelled_when_it_came() -> None:
    swarm = Swarm()
    slow = swarm.join(0, depth=4)
    swarm.want(3)
    assert asked(slow) == [3]
    fast = swarm.join(1024 * KIB, bits=bits_of(3))
    swarm.clock.advance(2.0)
    fast.download_rate.add(1024 * KIB, swarm.clock())
    swarm.urgent.tick(swarm.clock())
    assert len(fast.connection.outstanding) == 4
    assert swarm.manager.has_duplicates
    first = next(iter(fast.connection.outstanding))
    swarm.answer(fast, first)
    connection: Any = slow.connection
    assert connection.cancelled == [first]


def test_nothing_is_asked_twice_where_that_brings_little() -> None:
    swarm = Swarm()
    one, other = swarm.join(1024 * KIB), swarm.join(1024 * KIB)
    swarm.want(3)
    owners = [peer for peer in (one, other) if 3 in asked(peer)]
    assert len(owners) == 1
    swarm.urgent.tick(swarm.clock())
    assert not swarm.manager.has_duplicates
    assert len([peer for peer in (one, other) if 3 in asked(peer)]) == 1


def test_a_choked_or_resting_peer_is_asked_for_nothing() -> None:
    swarm = Swarm()
    choked, resting = swarm.join(1024 * KIB), swarm.join(1024 * KIB)
    choked.connection.state.peer_choking = True
    resting.quiet_until_s = swarm.clock() + 10
    swarm.want(3)
    swarm.urgent.tick(swarm.clock())
    assert not asked(choked)
    assert not asked(resting)


def test_while_nothing_is_downloaded_nobody_is_asked() -> None:
    swarm = Swarm()
    peer = swarm.join(1024 * KIB)
    swarm.manager.is_active = False
    swarm.want(3)
    swarm.urgent.tick(swarm.clock())
    assert not asked(peer)


def test_the_short_way_of_blocks_is_open_again_after_duplicates() -> None:
    swarm = Swarm()
    slow = swarm.join(0, depth=4)
    swarm.want(3)
    fast = swarm.join(1024 * KIB, bits=bits_of(3))
    swarm.clock.advance(2.0)
    fast.download_rate.add(1024 * KIB, swarm.clock())
    swarm.urgent.tick(swarm.clock())
    swarm.manager.tick(swarm.clock())
    assert swarm.manager.has_duplicates
    for block in list(fast.connection.outstanding):
        swarm.answer(fast, block)
    swarm.manager.tick(swarm.clock())
    assert not swarm.manager.has_duplicates
    assert 3 not in asked(slow)


def test_of_very_many_requests_the_last_ones_of_each_peer_are_looked_at() -> None:
    swarm = Swarm()
    peers = [swarm.join(1_000_000) for _ in range(MOST_OWED // LEAST_OWED)]
    swarm.manager.refill(peers[0])
    swarm.manager.refill(peers[1])
    owed = [list(peer.connection.outstanding) for peer in peers[:2]]
    assert min(map(len, owed)) > LEAST_OWED
    latest = swarm.urgent.latest_owed(swarm.clock()).expected_s
    assert set(latest) == {*owed[0][-LEAST_OWED:], *owed[1][-LEAST_OWED:]}
    assert [latest[block] for block in owed[0][-LEAST_OWED:]] == sorted(
        latest[block] for block in owed[0][-LEAST_OWED:]
    )


def test_a_block_that_two_owe_us_comes_from_whoever_is_sooner() -> None:
    swarm = Swarm()
    slow, fast = swarm.join(20_000), swarm.join(2_000_000)
    swarm.manager.refill(slow)
    block = next(iter(slow.connection.outstanding))
    late_s = swarm.urgent.latest_owed(swarm.clock()).expected_s[block]
    fast.connection.outstanding[block] = None
    assert swarm.urgent.latest_owed(swarm.clock()).expected_s[block] < late_s / 10


def test_b5_a_block_that_never_gets_whole_is_owed_too() -> None:
    swarm = Swarm()
    trickling, honest = swarm.join(0), swarm.join(2_000_000)
    swarm.manager.refill(trickling)
    begun, *others = trickling.connection.outstanding
    trickling.connection.outstanding.clear()
    trickling.connection.incoming_block = begun  # type: ignore[misc]
    for block in others:
        swarm.picker.release(block[0], block[1] // BLOCK_BYTES)
    swarm.clock.advance(10.0)
    assert swarm.urgent.latest_owed(swarm.clock()).expected_s[begun] >= 10.0
    swarm.want(begun[0])
    assert begun in honest.connection.outstanding
