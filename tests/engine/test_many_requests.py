"""Row F11: a hundred thousand requests, and what one peer makes of them in one turn of the loop."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.support.cpu_time import cpu_time
from tests.support.large_swarm import LargeSwarm
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.download_manager import MAX_NEW_REQUESTS
from torrent_engine.protocol.wire.messages import PeerBitfield, PeerChoked

pytestmark = pytest.mark.no_cover

MAX_TURN_S = 0.15
"""13 ms were measured, and 99 beside much other work; without care it takes seconds."""
DEEP = 1_000


@pytest.fixture
def swarm() -> LargeSwarm:
    return LargeSwarm()


def ask(swarm: LargeSwarm, depth: int, *peers: Peer) -> None:
    """Request so many blocks of peers."""
    for peer in peers:
        peer.is_proven = True
        peer.connection.state.peer_choking = False
        peer.pipeline.depth = depth
        for _ in range(0, depth, MAX_NEW_REQUESTS):
            swarm.downloads.refill(peer)
        assert len(peer.connection.outstanding) > depth * 3 // 4


def turn_s(turn: Callable[[], object]) -> float:
    with cpu_time() as spent:
        turn()
    return spent.seconds


def test_f11_a_peer_is_asked_for_much(swarm: LargeSwarm) -> None:
    peer = next(peer for peer in swarm.torrent.peers if peer.pieces.has_all)
    ask(swarm, 1, peer)
    peer.pipeline.depth = DEEP
    for _ in range(4):
        assert turn_s(lambda: swarm.downloads.refill(peer)) < MAX_TURN_S / 4
    assert len(peer.connection.outstanding) > DEEP * 3 // 4


def test_f11_a_peer_that_owes_much_leaves(swarm: LargeSwarm) -> None:
    first, *others = swarm.torrent.peers
    ask(swarm, DEEP, first)
    ask(swarm, 250, *others)
    swarm.torrent.peers.discard(first)
    assert turn_s(lambda: swarm.downloads.peer_left(first)) < MAX_TURN_S
    assert not swarm.torrent.picker.owned_by(first.identity)


def test_f11_all_peers_fall_silent(swarm: LargeSwarm) -> None:
    peers = list(swarm.torrent.peers)
    ask(swarm, 250, *peers)
    swarm.now += 61.0
    seconds = 0
    while any(peer.connection.outstanding and not peer.pipeline.is_snubbed for peer in peers):
        assert turn_s(swarm.tick) < MAX_TURN_S
        seconds += 1
    assert 10 < seconds < 60


def test_f11_peers_choke_one_after_the_other_in_sequential_mode(swarm: LargeSwarm) -> None:
    swarm.torrent.picker.is_sequential = True
    peers = [peer for peer in swarm.torrent.peers if peer.pieces.has_all][:40]
    ask(swarm, DEEP, *peers)
    for peer in peers:
        lost = peer.connection.state.outstanding_requests()
        peer.connection.state.abandon(lost)
        peer.connection.state.peer_choking = True
        choke = partial(swarm.downloads.on_choked, peer, PeerChoked(tuple(lost)))
        assert turn_s(choke) < MAX_TURN_S


@pytest.mark.parametrize("owed", [8, 50, 200])
def test_f11_a_hundred_peers_have_nothing_left_to_be_asked_for(
    swarm: LargeSwarm, owed: int
) -> None:
    asked, others = list(swarm.torrent.peers)[:100], list(swarm.torrent.peers)[100:]
    for peer in others:
        swarm.torrent.peers.discard(peer)
        swarm.downloads.peer_left(peer)
    ask(swarm, owed, *asked)
    begun = next(iter(swarm.torrent.picker.partials))
    for number in range(100):
        idle = swarm.join(1_000 + number)
        idle.is_proven, idle.connection.state.peer_choking = True, False
        idle.downloaded_bytes = 1
        has = Bitfield.from_int(1 << begun, swarm.torrent.metainfo.piece_count)
        swarm.downloads.on_bitfield(idle, PeerBitfield(has))
    for _ in range(3):
        for peer in asked:
            peer.last_block_s = swarm.now + 1.0
        assert turn_s(swarm.tick) < MAX_TURN_S
