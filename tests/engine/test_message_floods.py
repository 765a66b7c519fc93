"""Row F11: no message of a peer holds up the loop, however large the torrent and the swarm.

CPU time of a single turn, which other processes do not lengthen, against the bound for lag; the
lag itself is measured by ``bench/loop_lag.py``.
"""

from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.cpu_time import cpu_time
from tests.support.large_swarm import FLOODS, PEERS, PIECES, LargeSwarm, longest_turn_s
from torrent_engine.base.config import SuperSeedConfig
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer.super_seeding import SuperSeeding
from torrent_engine.engine.transfer.transfer import Transfer
from torrent_engine.policy.pieces.piece_table import PieceTable
from torrent_engine.protocol.wire.messages import MessageId, encode_piece_index

LAG_S = 0.05
TRIES = 3


@pytest.fixture(scope="module")
def swarm() -> LargeSwarm:
    return LargeSwarm()


@pytest.mark.parametrize("flood", FLOODS)
def test_f11_a_mebibyte_of_one_message_never_takes_a_long_turn(
    swarm: LargeSwarm, flood: str
) -> None:
    longest = []
    for number in range(TRIES):
        peer = swarm.join(PEERS + number)
        with cpu_time() as spent:
            turn_s = longest_turn_s(swarm, peer, flood)
        longest.append(turn_s * spent.scale)
        swarm.torrent.peers.discard(peer)
        swarm.downloads.peer_left(peer)
        swarm.uploads.peer_left(peer)
        if longest[-1] < LAG_S:
            break
    assert min(longest) < LAG_S


def record_of(peers: Iterable[Peer]) -> dict[Peer, bytes]:
    """Return what each peer is sent from now on."""
    told: dict[Peer, bytes] = {}

    def flush(peer: Peer) -> None:
        told[peer] = told.get(peer, b"") + b"".join(peer.connection.data_to_send())

    for peer in peers:
        peer.connection.data_to_send()
        link: Any = peer.link
        link.flush = partial(flush, peer)
    return told


def test_f11_small_pieces_that_come_fast_are_announced_to_many_peers_in_a_short_turn() -> None:
    """5,000 of 16 KiB in a quarter of a second are 320 MiB/s."""
    swarm, pieces = LargeSwarm(), range(5_000)
    told = record_of(swarm.torrent.peers)
    transfer: Any = SimpleNamespace(torrent=swarm.torrent, _fresh_pieces=list(pieces))
    with cpu_time() as spent:
        Transfer._announce_pieces(transfer)
    assert spent.seconds < LAG_S  # it was 0.12 s
    assert len(told) == PEERS
    assert set(told.values()) == {
        b"".join(encode_piece_index(MessageId.HAVE, each) for each in pieces)
    }


def test_f11_many_peers_that_come_at_once_are_shown_pieces_in_turns() -> None:
    """A super-seed of half a million pieces, and 200 peers that come within one tick (BEP 16)."""
    swarm = LargeSwarm()
    torrent = swarm.torrent
    torrent.shared_config.super_seed = SuperSeedConfig()
    torrent.metainfo.total_bytes = torrent.metainfo.geometry.total_bytes
    torrent.table = PieceTable(torrent.metainfo.geometry)
    torrent.table.found_all(Bitfield.full(PIECES))
    subject = SuperSeeding(torrent, swarm.downloads)
    for peer in tuple(torrent.peers):  # as when they left and came again
        swarm.downloads.peer_left(peer)
        torrent.peers.discard(peer)
    subject.begin()
    peers = [swarm.join(number) for number in range(PEERS)]
    told = record_of(peers)
    for peer in peers:
        subject.joined(peer)
    longest = 0.0
    for _ in range(20):
        with cpu_time() as spent:
            subject.tick(swarm.now)
        longest = max(longest, spent.seconds)
    assert longest < LAG_S  # it was 0.16 s
    assert {len(each) for each in told.values()} == {32 * 9}  # 512 KiB of pieces each
    assert set(told) == set(peers)
    pieces = [each[at : at + 9] for each in told.values() for at in range(0, len(each), 9)]
    assert len(set(pieces)) == len(pieces)
