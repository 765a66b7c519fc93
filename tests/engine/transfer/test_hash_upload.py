"""Hashes for peers that ask for them: limits, and blocks that are read for it."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.support.clock import ManualClock
from tests.support.fake_peer import FakeLink
from tests.support.peer_pair import open_connection
from tests.support.swarm import until
from tests.support.torrents import payload_of
from tests.support.v2_torrents import torrent_around, v2_info
from torrent_engine.base.config import TransferConfig
from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import InfoHashV2, PeerAddress, PeerId
from torrent_engine.codec._v2_part import V2Part
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.codec.merkle import fold, leaves_of, pad_hash
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.transfer.hash_upload import (
    MAX_COPIES,
    MAX_PLACES,
    MAX_WAITING,
    PIECES_PER_UNIT,
    UNITS_PER_BLOCK,
    WINDOW_S,
    HashUpload,
    _files_of,
    _Request,
)
from torrent_engine.policy.peers.candidates import Source
from torrent_engine.protocol.wire.hash_messages import encode_hash_reject, encode_hashes
from torrent_engine.protocol.wire.messages import HashesRequested

pytestmark = pytest.mark.anyio

BLOCK = 16_384
PIECE_BYTES = 1024 * BLOCK
"""16 MiB: so much is read for one request of a choked peer."""
A, B = payload_of(3 * 65_536), payload_of(2 * 65_536 + 5)
INFO, LAYERS = v2_info({"a": A, "b": B, "c": B}, piece_bytes=65_536)
METAINFO = Metainfo.from_bytes(torrent_around(INFO, LAYERS))
ROOT_A, ROOT_B = LAYERS
WANTED = HashRange(ROOT_A, 0, 4, 4, 0)


class Scene:
    """An upload of hashes without sockets or files."""

    def __init__(self, metainfo: Metainfo = METAINFO) -> None:
        self.clock: Any = ManualClock()
        self.errors: list[StorageError] = []
        self.reads = 0
        self.offsets: list[int] = []
        self.is_broken = False
        self.is_changed = False
        self.doubts: list[tuple[int, int]] = []
        self.peers: set[Peer] = set()
        have = Bitfield.full(metainfo.piece_count)
        self.torrent: Any = SimpleNamespace(
            metainfo=metainfo,
            table=SimpleNamespace(have=have),
            clock=self.clock,
            peers=self.peers,
        )
        self.subject = HashUpload(self.torrent, self, self.errors.append)  # type: ignore[arg-type]

    async def read(self, offset: int, into: memoryview) -> None:
        """Stand in for the proof of pieces."""
        self.reads += 1
        self.offsets.append(offset)
        if self.is_broken:
            raise StorageError("a", "is gone")
        layout = self.torrent.metainfo.layout
        for start, data in zip(layout.offsets, (A, B, B), strict=True):
            if start <= offset < start + len(data):
                part = data[offset - start :][: len(into)]
                assert len(part) == len(into)
                into[:] = part
                into[-1] ^= self.is_changed

    def doubt(self, offset_bytes: int, length_bytes: int) -> None:
        """Stand in for the proof of pieces."""
        self.doubts.append((offset_bytes, length_bytes))

    def join(self, number: int = 1, host: str = "8.8.8.8") -> Peer:
        link: Any = FakeLink(open_connection(geometry=self.torrent.metainfo.geometry))
        identity = Identity(PeerAddress(host, number), PeerId(b"-XX0100-%012d" % number))
        peer = Peer(link, identity, Source.DHT, TransferConfig(), 0.0)
        link.flush()
        link.sent.clear()
        self.peers.add(peer)
        return peer

    def ask(self, peer: Peer, wanted: HashRange = WANTED) -> None:
        self.subject.on_requested(peer, HashesRequested(wanted))

    async def answers(self, peer: Peer, count: int = 1) -> list[bytes]:
        """Answer everything, and return the so many messages that the peer was sent."""
        link: Any = peer.link
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.subject.run)
            with anyio.fail_after(30):
                link.flush()
                while len(link.sent) < count:  # noqa: ASYNC110 - a thread hashes
                    await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        sent: list[bytes] = link.sent
        link.sent = []
        return sent


async def test_bep52_hashes_of_blocks_are_made_of_what_is_read() -> None:
    scene = Scene()
    peer = scene.join()
    scene.ask(peer)
    expected = leaves_of(A[4 * BLOCK : 8 * BLOCK])
    assert await scene.answers(peer) == [encode_hashes(WANTED, expected)]
    assert scene.reads == 1


async def test_bep52_hashes_of_pieces_are_given_at_once() -> None:
    scene = Scene()
    peer = scene.join()
    wanted = HashRange(ROOT_A, 2, 0, 2, 0)
    scene.ask(peer, wanted)
    peer.link.flush()
    link: Any = peer.link
    assert link.sent == [encode_hashes(wanted, LAYERS[ROOT_A][:64])]


async def test_bep52_what_we_do_not_have_is_rejected_unless_another_file_is_the_same() -> None:
    scene = Scene()
    peer = scene.join()
    have = scene.torrent.table.have
    have.clear(1)
    scene.ask(peer)
    assert await scene.answers(peer) == [encode_hash_reject(WANTED)]
    have.clear(3)  # the first of "b"
    wanted = HashRange(ROOT_B, 0, 0, 4, 0)
    scene.ask(peer, wanted)
    assert await scene.answers(peer) == [encode_hashes(wanted, leaves_of(B[: 4 * BLOCK]))]
    scene.ask(peer, WANTED._replace(root=bytes(32)))
    assert await scene.answers(peer) == [encode_hash_reject(WANTED._replace(root=bytes(32)))]


async def test_bep52_one_peer_has_few_requests_that_wait_and_all_are_answered() -> None:
    scene = Scene()
    peer, other = scene.join(1), scene.join(2)
    for _ in range(MAX_WAITING + 3):
        scene.ask(peer)
    scene.ask(other)
    assert len(await scene.answers(other)) == 1
    sent = await scene.answers(peer, MAX_WAITING + 3)
    assert sent.count(encode_hash_reject(WANTED)) == 3


async def test_bep52_a_choked_peer_makes_us_read_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torrent_engine.engine.transfer.hash_upload.CHOKED_BYTES", 2 * 65_536)
    scene = Scene()
    peer = scene.join()
    for _ in range(3):
        scene.ask(peer)
    sent = await scene.answers(peer, 3)
    assert sent.count(encode_hash_reject(WANTED)) == 1
    peer.connection.sender.unchoke()
    peer.link.flush()
    link: Any = peer.link
    link.sent = []
    scene.ask(peer)
    assert await scene.answers(peer) != [encode_hash_reject(WANTED)]
    peer.connection.sender.choke()
    peer.link.flush()
    link.sent = []
    scene.clock.advance(WINDOW_S + 1)
    scene.ask(peer)
    assert await scene.answers(peer) != [encode_hash_reject(WANTED)]


async def test_bep52_who_leaves_costs_no_more_reading() -> None:
    scene = Scene()
    peer = scene.join()
    scene.ask(peer)
    scene.peers.discard(peer)
    scene.subject.peer_left(peer)
    assert await scene.answers(peer, 0) == []
    assert not scene.reads


async def test_f4_a_file_that_cannot_be_read_is_reported_and_the_request_rejected() -> None:
    scene = Scene()
    scene.is_broken = True
    peer = scene.join()
    scene.ask(peer)
    assert await scene.answers(peer) == [encode_hash_reject(WANTED)]
    assert len(scene.errors) == 1


async def test_b4_connecting_again_gives_no_new_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torrent_engine.engine.transfer.hash_upload.CHOKED_BYTES", 65_536)
    scene = Scene()
    first = scene.join(1)
    scene.ask(first)
    assert await scene.answers(first) != [encode_hash_reject(WANTED)]
    scene.peers.discard(first)
    scene.subject.peer_left(first)
    again, other = scene.join(2), scene.join(3, "9.9.9.9")
    scene.ask(again)
    scene.ask(other)
    assert await scene.answers(other) != [encode_hash_reject(WANTED)]
    assert await scene.answers(again) == [encode_hash_reject(WANTED)]


async def test_b4_many_choked_peers_together_make_us_read_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torrent_engine.engine.transfer.hash_upload.ALL_CHOKED_BYTES", 2 * 65_536)
    scene = Scene()
    peers = [scene.join(number, f"8.8.8.{number}") for number in range(1, 5)]
    peers[3].connection.sender.unchoke()
    peers[3].link.flush()
    link: Any = peers[3].link
    link.sent = []
    for peer in peers:
        scene.ask(peer)
    assert await scene.answers(peers[3]) != [encode_hash_reject(WANTED)]
    answers = [await scene.answers(peer) for peer in peers[:3]]
    assert answers.count([encode_hash_reject(WANTED)]) == 1
    scene.clock.advance(WINDOW_S + 1)
    scene.ask(peers[2])
    assert await scene.answers(peers[2]) != [encode_hash_reject(WANTED)]


async def test_b4_who_has_asked_for_little_is_answered_before_who_floods() -> None:
    scene = Scene()
    flooder, other = scene.join(1), scene.join(2, "9.9.9.9")
    for _ in range(MAX_WAITING):
        scene.ask(flooder)
    wanted = HashRange(ROOT_B, 0, 0, 4, 0)
    scene.ask(other, wanted)
    assert await scene.answers(other) == [encode_hashes(wanted, leaves_of(B[: 4 * BLOCK]))]
    assert scene.offsets[0] == METAINFO.layout.offsets[1]


async def test_b4_what_is_read_for_hashes_counts_as_control_messages() -> None:
    scene = Scene()
    peer = scene.join()
    scene.ask(peer)
    assert peer.connection.state.control_units == 4 * UNITS_PER_BLOCK


async def test_b4_the_pieces_of_all_copies_that_are_looked_at_count_as_control_messages() -> None:
    pieces, copies = 8 * PIECES_PER_UNIT, MAX_COPIES + 1
    data = payload_of(pieces * BLOCK)
    info, layers = v2_info({f"{each:02}": data for each in range(copies)}, piece_bytes=2 * BLOCK)
    scene = Scene(Metainfo.from_bytes(torrent_around(info, layers)))
    (root,) = layers
    peer, state = scene.join(), scene.torrent.table.have
    for each in range(copies):
        state.clear((each + 1) * pieces // 2 - 1)
    scene.ask(peer, HashRange(root, 0, 0, pieces, 0))
    assert peer.connection.state.control_units == MAX_COPIES * 4
    peer.connection.state.control_units = 0
    state.clear(0)
    scene.ask(peer, HashRange(root, 0, 0, pieces, 0))  # of the first copy one piece is looked at
    assert peer.connection.state.control_units == (MAX_COPIES - 1) * 4


async def test_b4_no_piece_is_looked_at_for_a_peer_with_enough_requests_that_wait() -> None:
    scene = Scene()
    peer = scene.join()
    for _ in range(MAX_WAITING):
        scene.ask(peer)
    scene.torrent.table.have = None
    scene.ask(peer)
    link: Any = peer.link
    link.flush()
    assert link.sent == [encode_hash_reject(WANTED)]


async def test_bep52_hashes_of_blocks_that_somebody_changed_are_not_given() -> None:
    scene = Scene()
    scene.is_changed = True
    peer = scene.join()
    scene.ask(peer)
    assert await scene.answers(peer) == [encode_hash_reject(WANTED)]
    assert scene.doubts == [(65_536, 65_536)]


async def test_b4_the_proof_of_a_large_tree_is_made_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torrent_engine.codec.hash_trees.SMALL_LAYER", 2)
    scene = Scene()
    peer = scene.join()
    link: Any = peer.link
    wanted = HashRange(ROOT_A, 2, 0, 2, 1)
    scene.ask(peer, wanted)
    assert not link.sent
    [answer] = await scene.answers(peer)
    uncle = fold(LAYERS[ROOT_A][64:] + pad_hash(2))
    assert answer == encode_hashes(wanted, LAYERS[ROOT_A][:64] + uncle)


class Turns:
    """A limit of rates that allows a block at a time, when it is told to."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.given_back_bytes = 0
        self.may_go = anyio.Event()

    async def acquire(self, wanted_bytes: int) -> int:
        self.asked.append(wanted_bytes)
        await self.may_go.wait()
        return min(wanted_bytes, BLOCK)

    def pass_one(self) -> None:
        self.may_go.set()
        self.may_go = anyio.Event()

    def give_back(self, count_bytes: int) -> None:
        self.given_back_bytes += count_bytes


LONG_INFO, LONG_LAYERS = v2_info({"a": payload_of(1025 * BLOCK)}, piece_bytes=BLOCK)
LONG = Metainfo.from_bytes(torrent_around(LONG_INFO, LONG_LAYERS))
(LONG_ROOT,) = LONG_LAYERS
MANY = HashRange(LONG_ROOT, 0, 0, 1024, 0)


def limited(scene: Scene, turns: Turns, *peers: Any) -> list[Any]:
    """Let a limit of uploads hold for these peers; return their links."""
    links: list[Any] = [each.link for each in peers]
    subject: Any = scene.subject
    subject.upload_throttle = turns
    for link in links:
        link.upload_throttle = turns
    return links


async def test_bep52_a_limit_of_uploads_is_for_hashes_too() -> None:
    scene, turns = Scene(LONG), Turns()
    slow, other, near = scene.join(1), scene.join(2, "9.9.9.9"), scene.join(3, "10.0.0.1")
    links = [*limited(scene, turns, slow, other), near.link]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.subject.run)
        scene.ask(slow, MANY)
        await until(lambda: len(turns.asked) == 1)
        few = HashRange(LONG_ROOT, 0, 0, 32, 0)
        scene.ask(slow, few)  # no longer than other messages
        scene.ask(near, MANY)  # whom no limit is for
        scene.ask(slow, MANY)
        scene.ask(other, MANY)
        await anyio.wait_all_tasks_blocked()
        layer = LONG_LAYERS[LONG_ROOT]
        for link in links:
            link.flush()
        whole = encode_hashes(MANY, layer[: 1024 * 32])
        assert [each.sent for each in links] == [[encode_hashes(few, layer[:1024])], [], [whole]]
        assert turns.asked == [BLOCK]
        turns.may_go.set()
        await until(lambda: len(links[0].sent) == 3)
        tasks.cancel_scope.cancel()
    assert links[0].sent[1:] == links[1].sent * 2 == [whole, whole]
    assert turns.asked == [BLOCK] * 6
    assert scene.subject._read_of(other) == 1024 * 32


async def test_bep52_who_leaves_is_not_waited_for_by_a_limit() -> None:
    scene, turns = Scene(LONG), Turns()
    gone, other = scene.join(1), scene.join(2, "9.9.9.9")
    links = limited(scene, turns, gone, other)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.subject.run)
        scene.ask(gone, MANY)
        await until(lambda: len(turns.asked) == 1)
        turns.pass_one()
        await until(lambda: len(turns.asked) == 2)
        scene.ask(other, MANY)
        scene.peers.remove(gone)
        scene.subject.peer_left(gone)
        assert turns.given_back_bytes == BLOCK
        turns.may_go.set()
        await until(lambda: links[1].sent)
        tasks.cancel_scope.cancel()
    assert not links[0].sent
    assert turns.asked == [BLOCK] * 3


async def test_b4_long_answers_that_wait_for_a_limit_hold_up_no_other_operator() -> None:
    scene, turns = Scene(LONG), Turns()
    flooder, other = scene.join(1), scene.join(2, "9.9.9.9")
    links = limited(scene, turns, flooder, other)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.subject.run)
        for _ in range(MAX_WAITING):
            scene.ask(flooder, MANY)
        await until(lambda: len(turns.asked) == 1)
        turns.pass_one()
        await until(lambda: len(turns.asked) == 2)
        scene.ask(other, HashRange(LONG_ROOT, 0, 0, 64, 0))
        turns.pass_one()
        await until(lambda: links[1].sent)
        tasks.cancel_scope.cancel()
    assert not links[0].sent
    assert turns.given_back_bytes == BLOCK - 64 * 32


async def test_b4_what_a_limit_allowed_for_an_answer_that_is_none_is_given_back() -> None:
    scene, turns = Scene(), Turns()
    scene.is_broken = True
    peer = scene.join()
    subject: Any = scene.subject
    subject.upload_throttle = turns
    request = _Request(peer, WANTED, paid_bytes=4 * 32)
    await subject._answer(request)
    link: Any = peer.link
    assert link.sent == [encode_hash_reject(WANTED)]
    assert turns.given_back_bytes == 4 * 32


class CountedRoots(bytes):
    """The roots of files, which count how often they are searched."""

    searches: list[int]

    def find(self, *given: Any) -> int:
        self.searches.append(1)
        return super().find(*given)


def test_b4_a_root_across_two_roots_is_not_searched_for_ever() -> None:
    roots = CountedRoots(ROOT_A * 100_000 + ROOT_B)
    roots.searches = []
    part = V2Part(InfoHashV2(bytes(32)), BLOCK, [BLOCK] * 100_001, roots, {})
    assert _files_of(part, ROOT_A[1:] + ROOT_A[:1]) == []
    assert len(roots.searches) <= MAX_PLACES + 1
    assert _files_of(part, ROOT_A) == list(range(16))
    assert _files_of(part, ROOT_B) == [100_000]
    assert _files_of(part, bytes(32)) == []


# -- answers that wait for the socket -----------------------------------------------------------


async def test_b5_a_long_answer_is_a_reject_while_the_socket_is_full() -> None:
    """One of 8,192 hashes alone is more than may wait, so that it would end the link."""
    leaves, part = (
        payload_of(8_192 * 32),
        SimpleNamespace(piece_bytes=BLOCK, lengths=[8_192 * BLOCK]),
    )
    root = payload_of(32)
    part.layers, part.roots = {root: leaves}, root
    scene = Scene()
    scene.torrent.metainfo = SimpleNamespace(
        v2=part, geometry=METAINFO.geometry, layout=METAINFO.layout
    )
    peer = scene.join()
    link: Any = peer.link
    long, short = HashRange(root, 0, 0, 8_192, 0), HashRange(root, 0, 0, 512, 0)
    link.is_stuck = True
    scene.ask(peer, long)
    scene.ask(peer, short)
    assert peer.connection.state.queue.unsent_bytes < 64 * 1024
    link.is_stuck = False
    link.flush()
    assert link.sent == [encode_hash_reject(long), encode_hashes(short, leaves[: 512 * 32])]
    link.sent.clear()
    scene.ask(peer, long)
    link.flush()
    assert link.sent == [encode_hashes(long, leaves)]
