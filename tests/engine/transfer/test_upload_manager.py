"""The blocks that one peer's link gets from its torrent, without a socket."""

import gc
import random
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.peer_pair import GEOMETRY, open_connection, sent
from torrent_engine.base.config import ChokerConfig, PoolConfig, TransferConfig
from torrent_engine.base.ids import BLOCK_BYTES, PeerAddress, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import FileLayout
from torrent_engine.engine.resources.read_buffers import (
    MAX_LARGE,
    READ_AHEAD_BYTES,
    SMALL_BYTES,
    ReadBuffers,
)
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.transfer.upload_manager import (
    FILES_PER_REFILL,
    FILES_PER_UNIT,
    PeerUploads,
    UploadManager,
)
from torrent_engine.net.peers.peer_link import Refill
from torrent_engine.net.peers.transport import ANY_ROOM
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.policy.rate import RateMeter
from torrent_engine.protocol.wire.block_runs import FRAME_BYTES
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import BlockRequest, PeerInterested, PeerNotInterested

NO_BYTES = b"\x00" * BLOCK_BYTES


class Storage:
    """Gives zeros, at once or only after a wait; it has no mapped file."""

    def __init__(self, *, is_cold: bool) -> None:
        self.is_cold = is_cold
        self.tries = 0
        self.reads: list[int] = []

    def view_now(self, _offset: int, _length: int) -> memoryview | None:
        return None

    def read_now(self, _offset: int, into: memoryview) -> bool:
        self.tries += 1
        into[:] = bytes(len(into))
        return not self.is_cold

    async def read(self, offset: int, into: memoryview) -> None:
        assert offset >= 0
        self.reads.append(len(into))
        into[:] = bytes(len(into))


class Uploads:
    """A PeerUploads whose torrent has some pieces."""

    def __init__(
        self,
        *pieces: int,
        fast: bool = False,
        is_cold: bool = False,
        throttle: "Throttle | None" = None,
        buffers: ReadBuffers | None = None,
        sends_by_kernel: bool = True,
        file_bytes: int = GEOMETRY.total_bytes,
    ) -> None:
        have = Bitfield(GEOMETRY.piece_count)
        for piece in pieces:
            have.set(piece)
        self.connection = open_connection(fast=fast)
        self.buffers = buffers or ReadBuffers()
        self.errors: list[object] = []
        self.paid: list[int] = []
        self.storage = Storage(is_cold=is_cold)
        layout = FileLayout([file_bytes] * (GEOMETRY.total_bytes // file_bytes))
        torrent: Any = SimpleNamespace(
            table=SimpleNamespace(have=have),
            read_buffers=self.buffers,
            storage=self.storage,
            metainfo=SimpleNamespace(geometry=GEOMETRY, layout=layout),
            shared_config=SimpleNamespace(
                transfer=SimpleNamespace(max_upload_queue_bytes=READ_AHEAD_BYTES)
            ),
            clock=lambda: 1.0,
            totals=SimpleNamespace(uploaded_bytes=0),
        )
        peer: Any = SimpleNamespace(
            connection=self.connection,
            link=SimpleNamespace(
                upload_throttle=throttle, sends_by_kernel=sends_by_kernel, pay=self._pay
            ),
            uploaded_bytes=0,
            upload_rate=RateMeter(),
        )
        proof: Any = SimpleNamespace(
            is_needed=lambda _offset, _length: False, read=torrent.storage.read
        )
        self.source = PeerUploads(peer, torrent, proof, self.errors.append)
        self.totals = torrent.totals

    async def _pay(self, units: int) -> None:
        self.paid.append(units)


class Throttle:
    """Grants what it is told to, and counts."""

    pace_bytes_per_s = 0.0

    def __init__(self, *grants: int) -> None:
        self.grants = list(grants)
        self.balance = 0

    def take(self, wanted_bytes: int) -> int:
        granted = min(self.grants.pop(0), wanted_bytes)
        self.balance += granted
        return granted

    async def acquire(self, wanted_bytes: int) -> int:
        return self.take(wanted_bytes)

    def give_back(self, count_bytes: int) -> None:
        self.balance -= count_bytes


def ask(connection: PeerConnection, piece: int, count: int) -> None:
    """Let the blocks of a piece, ``count`` of them, wait for an answer."""
    for begin in range(0, count * BLOCK_BYTES, BLOCK_BYTES):
        connection.upload_requests.append(BlockRequest(piece, begin, BLOCK_BYTES))


@pytest.mark.parametrize("fast", [False, True], ids=["BEP 3", "BEP 6"])
def test_requests_for_what_we_do_not_have_hold_no_other_up(*, fast: bool) -> None:
    uploads = Uploads(9, fast=fast)
    for piece in range(9):
        ask(uploads.connection, piece, 4)  # 36 blocks: more than two buffers
    ask(uploads.connection, 9, 1)
    assert uploads.source.refill(ANY_ROOM) is Refill.QUEUED
    assert sent(uploads.connection).endswith(NO_BYTES)
    assert uploads.totals.uploaded_bytes == BLOCK_BYTES


def test_requests_for_nothing_that_we_have_end_with_nothing_to_send() -> None:
    uploads = Uploads(9)
    for piece in range(9):
        ask(uploads.connection, piece, 4)
    assert uploads.source.refill(ANY_ROOM) is Refill.NOTHING
    assert not uploads.connection.upload_requests
    assert not uploads.connection.has_data_to_send


def test_a_peer_at_rest_keeps_no_read_ahead_buffer() -> None:
    uploads = Uploads(0)
    ask(uploads.connection, 0, 4)
    assert uploads.source.refill(ANY_ROOM) is Refill.QUEUED
    assert not uploads.buffers._idle
    sent(uploads.connection)
    for _ in range(2):  # nothing is given back twice
        uploads.source.rest()
        assert len(uploads.buffers._idle) == 1
    ask(uploads.connection, 0, 4)
    assert uploads.source.refill(ANY_ROOM) is Refill.QUEUED
    assert not uploads.buffers._idle


@pytest.mark.anyio
async def test_a_buffer_that_waits_for_the_disk_is_not_given_back() -> None:
    uploads = Uploads(0, is_cold=True)
    ask(uploads.connection, 0, 4)
    assert uploads.source.refill(ANY_ROOM) is Refill.LATER
    uploads.source.rest()
    assert not uploads.buffers._idle
    await uploads.source.load()
    assert sent(uploads.connection).count(NO_BYTES) == 4
    uploads.source.rest()
    assert len(uploads.buffers._idle) == 1


@pytest.mark.anyio
async def test_a_rate_limit_lets_out_whole_blocks_and_the_rest_is_given_back() -> None:
    throttle = Throttle(2 * BLOCK_BYTES, 0, 64 * BLOCK_BYTES)
    uploads = Uploads(0, throttle=throttle)
    ask(uploads.connection, 0, 3)
    assert uploads.source.refill(ANY_ROOM) is Refill.QUEUED
    assert sent(uploads.connection).count(NO_BYTES) == 2
    assert throttle.balance == 2 * BLOCK_BYTES
    assert uploads.source.refill(ANY_ROOM) is Refill.LATER
    await uploads.source.load()
    assert uploads.source.refill(ANY_ROOM) is Refill.QUEUED
    assert sent(uploads.connection).count(NO_BYTES) == 1
    assert throttle.balance == uploads.totals.uploaded_bytes == 3 * BLOCK_BYTES


@pytest.mark.anyio
async def test_what_a_peer_got_and_wants_no_more_is_given_back() -> None:
    throttle = Throttle(0, BLOCK_BYTES)
    uploads = Uploads(0, throttle=throttle)
    ask(uploads.connection, 0, 1)
    assert uploads.source.refill(ANY_ROOM) is Refill.LATER
    await uploads.source.load()
    assert throttle.balance == BLOCK_BYTES
    uploads.connection.upload_requests.clear()
    uploads.source.rest()
    assert throttle.balance == 0


def test_what_a_rate_limit_allowed_for_requests_that_are_refused_is_given_back() -> None:
    throttle = Throttle(8 * BLOCK_BYTES)
    uploads = Uploads(1, throttle=throttle)
    ask(uploads.connection, 0, 3)
    ask(uploads.connection, 1, 2)
    assert uploads.source.refill(ANY_ROOM) is Refill.QUEUED
    assert throttle.balance == uploads.totals.uploaded_bytes == 2 * BLOCK_BYTES


def test_b4_a_refill_tries_no_more_files_than_a_turn_has_time_for() -> None:
    uploads = Uploads(0, 1, 2, 3, file_bytes=256)
    for begin in range(128, 4 * BLOCK_BYTES, BLOCK_BYTES + 1):  # no two are neighbours
        for piece in range(4):
            uploads.connection.upload_requests.append(BlockRequest(piece, begin, BLOCK_BYTES))
    assert uploads.source.refill(ANY_ROOM) is Refill.LATER
    assert uploads.storage.tries == FILES_PER_REFILL // 65


@pytest.mark.anyio
@pytest.mark.parametrize(("file_bytes", "reads", "paid"), [(1, 4, 4), (250, 4, 4), (256, 1, 0)])
async def test_b4_very_many_files_are_read_block_by_block_and_the_peer_pays_for_them(
    file_bytes: int, reads: int, paid: int
) -> None:
    uploads = Uploads(0, file_bytes=file_bytes)
    ask(uploads.connection, 0, 4)
    if paid:
        assert uploads.source.refill(ANY_ROOM) is Refill.LATER
        assert not uploads.storage.tries
    else:
        uploads.storage.is_cold = True
        assert uploads.source.refill(ANY_ROOM) is Refill.LATER
    await uploads.source.load()
    assert uploads.storage.reads == [4 * BLOCK_BYTES // reads] * reads
    assert len(uploads.paid) == paid
    assert sum(uploads.paid) * FILES_PER_UNIT == pytest.approx(
        (4 * BLOCK_BYTES // file_bytes) if paid else 0, abs=8
    )
    assert sent(uploads.connection).count(NO_BYTES) == 4


# -- who is unchoked ----------------------------------------------------------------------------


class Swarm:
    """An UploadManager and its peers, who say that they are interested or not."""

    def __init__(self, peers: int, *, slots: int = 3) -> None:
        config = ChokerConfig(upload_slots=slots, optimistic_slots=1)
        self.peers = [self._peer(number) for number in range(peers)]
        torrent: Any = SimpleNamespace(
            shared_config=SimpleNamespace(
                choker=config, pool=PoolConfig(allow_multiple_per_ip=True)
            ),
            rng=random.Random(1),
            clock=lambda: 100.0,
            peers=set(self.peers),
            is_complete=True,
        )
        self.torrent = torrent
        proof: Any = None  # no block is sent
        self.subject = UploadManager(torrent, proof, lambda _error: None)
        self.subject.set_active(active=True)
        self.rounds = 0
        choose = self.subject._choker.rechoke

        def count(*arguments: Any, **keywords: Any) -> Any:
            self.rounds += 1
            return choose(*arguments, **keywords)

        self.subject._choker.rechoke = count  # type: ignore[method-assign]

    @staticmethod
    def _peer(number: int) -> Any:
        link: Any = SimpleNamespace(
            connection=open_connection(), flush=lambda: None, waits_for_us=False
        )
        return Peer(
            link,
            Identity(PeerAddress("10.0.0.1", 1 + number), PeerId(b"%020d" % number)),
            Source.PEX,
            TransferConfig(),
            0.0,
        )

    def says(self, number: int, *, interested: bool) -> None:
        peer = self.peers[number]
        peer.connection.state.peer_interested = interested
        if interested:
            self.subject.on_interested(peer, PeerInterested())
        else:
            self.subject.on_not_interested(peer, PeerNotInterested())

    @property
    def unchoked(self) -> list[int]:
        return [at for at, peer in enumerate(self.peers) if not peer.connection.state.am_choking]


def test_f11_a_free_slot_is_given_away_at_once_and_nobody_else_is_looked_at() -> None:
    swarm = Swarm(100)
    for number in range(4):
        swarm.says(number, interested=True)
    assert swarm.unchoked == [0, 1, 2, 3]
    assert swarm.rounds == 0


def test_bep21_who_is_interested_after_it_was_upload_only_gets_a_slot() -> None:
    swarm = Swarm(2)
    for peer in swarm.peers:
        peer.is_upload_only = True
    swarm.says(0, interested=True)
    assert swarm.unchoked == [0]
    swarm.subject.rechoke(100.0)
    assert swarm.unchoked == [0]
    swarm.peers[0].is_upload_only = True  # said again, and later
    swarm.subject.rechoke(100.0)
    assert not swarm.unchoked


def test_f11_a_flood_of_interest_leads_to_one_decision_a_round_and_few_messages() -> None:
    swarm = Swarm(100)
    for number in range(50):
        swarm.says(number, interested=True)
    for _ in range(1_000):
        swarm.says(60, interested=True)
        swarm.says(60, interested=False)
        swarm.says(0, interested=False)
        swarm.says(0, interested=True)
    assert swarm.rounds == 0
    swarm.subject.run_round(100.0)
    swarm.subject.run_round(100.0)
    assert swarm.rounds == 1
    assert len(swarm.unchoked) <= 8
    assert sum(len(sent(peer.connection)) for peer in swarm.peers) <= 5 * 8


def test_b12_who_does_not_want_a_slot_any_more_gives_it_to_others_within_a_round() -> None:
    swarm = Swarm(5)
    for number in range(5):
        swarm.says(number, interested=True)
    swarm.says(2, interested=False)
    swarm.says(4, interested=True)  # may not jump the queue of those who waited before it
    assert swarm.unchoked == [0, 1, 2, 3]
    swarm.subject.run_round(100.0)
    assert swarm.unchoked == [0, 1, 3, 4]


def test_b12_the_slot_of_who_left_goes_to_others_within_a_round() -> None:
    swarm = Swarm(5)
    for number in range(5):
        swarm.says(number, interested=True)
    gone = swarm.peers[1]
    swarm.torrent.peers.discard(gone)
    swarm.subject.peer_left(gone)
    swarm.subject.run_round(100.0)
    assert swarm.unchoked == [0, 1, 2, 3, 4]  # the one that left among them


@pytest.mark.parametrize(("interested", "rounds"), [(4, 3), (5, 20)])
def test_b12_while_we_download_unused_slots_are_looked_for_each_second_if_others_wait(
    interested: int, rounds: int
) -> None:
    swarm = Swarm(5)
    swarm.torrent.is_complete = False
    for number in range(interested):
        swarm.says(number, interested=True)
    had = set[int]()
    for second in range(21):
        swarm.subject.tick(100.0 + second)
        had |= set(swarm.unchoked)
    assert swarm.rounds in {rounds, rounds + 1}
    assert had == set(range(interested))


@pytest.mark.parametrize(
    ("host", "operator"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("127.0.0.1", None),
        ("::1", None),
    ],
)
def test_b12_peers_are_known_by_the_operator_of_their_address(
    host: str, operator: str | None
) -> None:
    swarm = Swarm(1)
    swarm.torrent.shared_config.pool = PoolConfig()
    swarm.peers[0].address = PeerAddress(host, 1)
    assert swarm.subject._view(swarm.peers[0], 100.0).operator == operator
    swarm.torrent.shared_config.pool = PoolConfig(allow_multiple_per_ip=True)
    assert swarm.subject._view(swarm.peers[0], 100.0).operator is None


@pytest.mark.parametrize(
    ("room_bytes", "blocks"), [(1, 1), (FRAME_BYTES, 1), (3 * FRAME_BYTES - 1, 2), (ANY_ROOM, 4)]
)
def test_b5_no_more_is_read_than_the_transport_has_room_for(room_bytes: int, blocks: int) -> None:
    uploads = Uploads(0, sends_by_kernel=False)
    ask(uploads.connection, 0, 4)
    assert uploads.source.refill(room_bytes) is Refill.QUEUED
    assert sent(uploads.connection).count(NO_BYTES) == blocks
    assert len(uploads.connection.upload_requests) == 4 - blocks
    uploads.source.rest()
    assert uploads.source.refill(ANY_ROOM) is (Refill.QUEUED if blocks < 4 else Refill.NOTHING)
    assert sent(uploads.connection).count(NO_BYTES) == 4 - blocks  # and then as much as ever


def test_b5_many_peers_that_do_not_read_hold_small_buffers() -> None:
    """Over RC4 or uTP what goes out is copied first."""
    buffers = ReadBuffers()
    stuck = [Uploads(*range(9), buffers=buffers, sends_by_kernel=False) for _ in range(40)]
    sizes = []
    for uploads in stuck:
        for piece in range(9):
            ask(uploads.connection, piece, 4)
        assert uploads.source.refill(ANY_ROOM) is Refill.QUEUED
        queued = uploads.connection.data_to_send()
        sizes.append(sum(len(each) for each in queued if isinstance(each, memoryview)))
    assert sizes == [READ_AHEAD_BYTES] * MAX_LARGE + [SMALL_BYTES] * (40 - MAX_LARGE)
    assert (
        stuck[-1].source.refill(ANY_ROOM) is Refill.QUEUED
    )  # it goes on with the buffer that it has
    assert buffers.next_bytes == SMALL_BYTES
    for uploads in stuck[:10]:
        uploads.source.rest()
    assert buffers.next_bytes == READ_AHEAD_BYTES
    stuck[-1].source.rest()
    assert all(len(each) == READ_AHEAD_BYTES for each in buffers._idle)
    del stuck, uploads  # their links ended, and nothing is given back
    gc.collect()
    assert not buffers._lent
