"""What the download manager does with blocks that it cannot trust any more."""

import random
from types import SimpleNamespace
from typing import Any

from tests.support.clock import ManualClock
from tests.support.counting import CountingBits, CountingRequests
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig
from torrent_engine.base.ids import BLOCK_BYTES, PeerAddress, PeerId
from torrent_engine.codec.bitfield import Bitfield
from torrent_engine.codec.geometry import Geometry
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.engine.swarm.peer import Identity
from torrent_engine.engine.transfer.download_manager import (
    SLOW_S,
    TRIAL_LOOKS,
    TRIAL_PAUSE_S,
    DownloadManager,
)
from torrent_engine.policy.peers.smart_ban import SmartBan
from torrent_engine.policy.pieces.peer_pieces import PeerPieces
from torrent_engine.policy.pieces.picker import Picker
from torrent_engine.policy.pieces.piece_table import Block, PieceTable
from torrent_engine.protocol.wire.messages import BlockReceived, PeerUnchoked

METAINFO, PAYLOAD = make_torrent(payload_of(8 * BLOCK_BYTES), piece_bytes=4 * BLOCK_BYTES)
ALL = 0b11


def make_peer(name: str) -> Any:
    return SimpleNamespace(
        identity=Identity(PeerAddress(name, 1), PeerId(bytes(20))),
        connection=make_connection(),
        received_blocks=0,
        is_proven=False,
        slow_seconds=SLOW_S,  # shares pieces
        quiet_until_s=0.0,
        downloaded_now_bytes=0,
        pieces=PeerPieces(),
        next_trial_s=0.0,
    )


def make_connection() -> Any:
    outstanding: dict[Block, None] = {}
    state = SimpleNamespace(outstanding_requests=lambda: tuple(outstanding))
    cancelled: list[Block] = []
    sender = SimpleNamespace(cancel_blocks=cancelled.extend)
    return SimpleNamespace(
        outstanding=outstanding,
        state=state,
        incoming_block=None,
        sender=sender,
        cancelled=cancelled,
    )


def make_manager(*peers: Any, metainfo: Any = METAINFO) -> tuple[DownloadManager, Any]:
    table = PieceTable(metainfo.geometry)
    torrent: Any = SimpleNamespace(
        metainfo=metainfo,
        table=table,
        picker=Picker(metainfo.geometry, table, random.Random(1), is_sequential=True),
        smart_ban=SmartBan(),
        rng=random.Random(1),
        totals=Totals(),
        peers=peers,
        clock=ManualClock(),
        shared_config=SimpleNamespace(disk=DiskConfig()),
        told=[],
        finished=[],
        kept_back=[],
    )
    finisher: Any = SimpleNamespace(
        waits_for_hash=lambda _: False,
        assemblies={},
        finish=torrent.finished.append,
        write_ahead=lambda _now, _age_s, but_for: torrent.kept_back.append({*but_for}),
        restarted=lambda _: None,
        blocks_dropped=lambda assembly: torrent.told.append(assembly.partial.piece),
    )
    return DownloadManager(torrent, finisher), torrent


def test_b6_blocks_of_a_banned_peer_are_asked_for_again() -> None:
    liar, honest = make_peer("10.0.0.1"), make_peer("10.0.0.2")
    manager, torrent = make_manager(liar, honest)
    asked = manager.pick(liar, ALL, 2) + manager.pick(honest, ALL, 4)
    senders = [liar, liar, honest, honest, liar, honest]
    for (piece, begin, length), sender in zip(asked, senders, strict=True):
        if (piece, begin) != (1, BLOCK_BYTES):  # still to come
            event = BlockReceived(piece, begin, length, (memoryview(bytes(length)),))
            manager.on_block(sender, event)
    honest.connection.outstanding = {(1, BLOCK_BYTES, BLOCK_BYTES): None}
    manager.drop_blocks_of([liar.identity])
    assert torrent.totals.wasted_bytes == BLOCK_BYTES  # piece 0 is whole, on its way already
    assert torrent.told == [1]
    again = manager.pick(honest, ALL, 9)
    assert again == [
        (1, 0, BLOCK_BYTES),
        (1, 2 * BLOCK_BYTES, BLOCK_BYTES),
        (1, 3 * BLOCK_BYTES, BLOCK_BYTES),
    ]


def test_f11_chokes_and_unchokes_in_turn_make_us_look_for_blocks_once_a_second() -> None:
    peer = SimpleNamespace(
        connection=SimpleNamespace(outstanding={}),
        unchoked_us_s=float("-inf"),
        last_block_s=0.0,
        wants_requests=False,
    )
    manager, torrent = make_manager()
    looks = 0
    for _ in range(500):
        torrent.clock.advance(0.01)
        manager.on_unchoked(peer, PeerUnchoked())  # type: ignore[arg-type]
        looks += peer.wants_requests
    assert 5 <= looks <= 6


def test_b5_an_unchoke_is_no_block_of_who_owes_us_some() -> None:
    peer = SimpleNamespace(
        connection=SimpleNamespace(outstanding={(0, 0, BLOCK_BYTES): None}),
        unchoked_us_s=float("-inf"),
        last_block_s=0.0,
        wants_requests=False,
    )
    manager, torrent = make_manager()
    torrent.clock.advance(30.0)
    manager.on_unchoked(peer, PeerUnchoked())  # type: ignore[arg-type]
    assert peer.last_block_s == 0.0
    peer.connection.outstanding.clear()
    manager.on_unchoked(peer, PeerUnchoked())  # type: ignore[arg-type]
    assert peer.last_block_s == torrent.clock()


class CountingPieces(PeerPieces):
    """The pieces of a seed, which count how many are looked at."""

    looks = 0

    def has(self, piece: int) -> bool:
        self.looks += 1
        return super().has(piece)


TRIALS = 3 * TRIAL_LOOKS
MANY = SimpleNamespace(geometry=Geometry(TRIALS * 8 * BLOCK_BYTES, 8 * BLOCK_BYTES), piece_count=0)
MANY.piece_count = MANY.geometry.piece_count


def manager_of_stalling_peer(block_bits: int) -> tuple[DownloadManager, Any, Any]:
    """Return a manager, an honest peer, and bits; an unproven peer sent these of each piece."""
    stalling, honest = make_peer("10.0.0.1"), make_peer("10.0.0.2")
    honest.pieces, honest.is_proven = CountingPieces(), True
    honest.pieces.replace(Bitfield.full(TRIALS))
    manager, torrent = make_manager(stalling, honest, metainfo=MANY)
    for piece in range(TRIALS):
        manager.restore(piece, block_bits)
        manager._on_trial(stalling, piece)
    CountingBits.copies = 0
    return manager, torrent, honest


def test_f11_who_has_nothing_to_begin_looks_at_some_pieces_of_unproven_peers_and_pauses() -> None:
    manager, torrent, honest = manager_of_stalling_peer(0b11)  # too much to be thrown away
    bits, looked = CountingBits((1 << TRIALS) - 1), CountingTrials(manager)
    for _ in range(50):
        torrent.clock.advance(TRIAL_PAUSE_S / 100)
        assert not manager._take_from_unproven(honest, bits)
    assert looked.owners == TRIAL_LOOKS  # it was all of them each time
    assert CountingBits.copies == honest.pieces.looks == 0
    torrent.clock.advance(TRIAL_PAUSE_S)
    assert not manager._take_from_unproven(honest, bits)
    assert looked.owners == 2 * TRIAL_LOOKS


class CountingTrials:
    """Counts how many pieces of a manager's unproven peers are looked at."""

    def __init__(self, manager: DownloadManager) -> None:
        self.owners = 0
        self._may_take = manager._may_take
        manager._may_take = self._look  # type: ignore[method-assign]

    def _look(self, peer: Any, owner: Any, piece: int) -> bool:
        self.owners += 1
        return self._may_take(peer, owner, piece)


def test_b6_every_piece_of_an_unproven_peer_is_looked_at_in_the_end() -> None:
    manager, torrent, honest = manager_of_stalling_peer(0b11)
    last = TRIALS - 1
    torrent.picker.partials[last].lost([0, 1], {})
    looks = 0
    while not manager._take_from_unproven(honest, (1 << TRIALS) - 1):
        torrent.clock.advance(TRIAL_PAUSE_S)
        looks += 1
    assert looks == 2
    assert torrent.table.missing == 1 << last


def test_pieces_that_others_begin_again_are_no_trial_any_more() -> None:
    manager, torrent, honest = manager_of_stalling_peer(0b11)
    torrent.picker.restart(0)
    assert not manager._take_from_unproven(honest, (1 << TRIALS) - 1)
    assert set(manager._trials) == set(range(1, TRIALS))


def test_f11_requests_of_a_slow_owner_are_not_looked_for_at_each_peer() -> None:
    owner, others = make_peer("10.0.0.1"), [make_peer(f"10.0.1.{each}") for each in range(10)]
    manager, torrent = make_manager(owner, *others)
    torrent.smart_ban._parole[owner.identity] = None
    asked = manager.pick(owner, ALL, 8)
    owner.connection.outstanding.update(dict.fromkeys(asked))
    for peer in others:
        peer.connection.outstanding = CountingRequests({(1, 0, BLOCK_BYTES): None})
    CountingRequests.looks = 0
    manager._restart([0, 1])
    assert sorted(owner.connection.cancelled) == asked
    assert CountingRequests.looks <= len(others)  # for each block at each it was 80
    assert torrent.table.missing == ALL


def test_requests_for_a_piece_of_several_peers_are_cancelled_at_all_of_them() -> None:
    owner, other = make_peer("10.0.0.1"), make_peer("10.0.0.2")
    manager, _ = make_manager(owner, other)
    asked = manager.pick(owner, ALL, 8)
    owner.connection.outstanding.update(dict.fromkeys(asked))
    other.connection.outstanding.update(dict.fromkeys(asked[2:5]))
    manager._restart([0])
    assert sorted(owner.connection.cancelled) == asked[:4]
    assert sorted(other.connection.cancelled) == asked[2:4]


def test_f11_of_many_slow_owners_only_some_lose_their_pieces_in_one_turn() -> None:
    first, second = make_peer("10.0.0.1"), make_peer("10.0.0.2")
    metainfo, _ = make_torrent(payload_of(12 * BLOCK_BYTES), piece_bytes=4 * BLOCK_BYTES)
    manager, torrent = make_manager(first, second, metainfo=metainfo)
    for peer in (first, second):
        torrent.smart_ban._parole[peer.identity] = None
        manager.pick(peer, ALL, 4)
    manager._has_fast = True
    manager._may_restart = 4  # blocks
    manager._take_from_slow(first, 1.0)
    manager._take_from_slow(second, 1.0)
    assert torrent.table.missing == 0b101
    manager._may_restart = 4
    manager._take_from_slow(second, 1.0)
    assert torrent.table.missing == 0b111
