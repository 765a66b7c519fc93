"""What the download manager does with blocks that it cannot trust any more."""

import random
from types import SimpleNamespace
from typing import Any

from tests.support.clock import ManualClock
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import DiskConfig
from torrent_engine.base.ids import BLOCK_BYTES, PeerAddress, PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.context import Totals
from torrent_engine.engine.swarm.peer import Identity
from torrent_engine.engine.transfer.download_manager import SLOW_S, DownloadManager
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
    )


def make_connection() -> Any:
    outstanding: dict[Block, None] = {}
    state = SimpleNamespace(outstanding_requests=lambda: tuple(outstanding))
    return SimpleNamespace(outstanding=outstanding, state=state, incoming_block=None)


def make_manager(*peers: Any, metainfo: Metainfo = METAINFO) -> tuple[DownloadManager, Any]:
    table = PieceTable(metainfo.geometry)
    torrent: Any = SimpleNamespace(
        metainfo=metainfo,
        table=table,
        picker=Picker(metainfo.geometry, table, random.Random(1), is_sequential=True),
        smart_ban=SmartBan(),
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
