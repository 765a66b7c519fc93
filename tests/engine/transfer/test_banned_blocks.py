"""Rows B6, F11: what a banned peer sent is thrown away, some of it in each turn."""

from types import SimpleNamespace
from typing import Any

from tests.engine.transfer.test_download_manager import make_manager, make_peer
from tests.support.counting import CountingRequests
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.engine.transfer import piece_assembly
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.engine.transfer.transfer import Transfer
from torrent_engine.policy.peers.smart_ban import BanVerdict
from torrent_engine.policy.pieces.piece_table import Block
from torrent_engine.protocol.wire.messages import BlockReceived

PIECES, BLOCKS = 6, 4  # of each piece
METAINFO, _ = make_torrent(
    payload_of(PIECES * BLOCKS * BLOCK_BYTES), piece_bytes=BLOCKS * BLOCK_BYTES
)
ALL = (1 << PIECES) - 1
OTHERS = 10


def send(manager: DownloadManager, sender: Any, block: Block) -> None:
    piece, begin, length = block
    view = memoryview(bytes(length))
    manager.on_block(sender, BlockReceived(piece, begin, length, (view,)))


def manager_of_liar() -> tuple[DownloadManager, Any, Any, Any]:
    """Return a manager to which a liar sent all blocks of all pieces but the last of each."""
    liar, honest = make_peer("10.0.0.1"), make_peer("10.0.0.2")
    manager, torrent = make_manager(liar, honest, metainfo=METAINFO)
    for block in manager.pick(liar, ALL, PIECES * BLOCKS):
        if block[1] != (BLOCKS - 1) * BLOCK_BYTES:
            send(manager, liar, block)
        else:
            liar.connection.outstanding[block] = None
    return manager, torrent, liar, honest


def few_a_turn(monkeypatch: Any, pieces: int) -> None:
    monkeypatch.setattr(piece_assembly, "LEAST_BLOCKS", 1)
    monkeypatch.setattr(piece_assembly, "BLOCKS_PER_TURN", pieces * BLOCKS)


def test_f11_blocks_of_a_banned_peer_are_not_looked_for_at_each_peer() -> None:
    manager, torrent, liar, _ = manager_of_liar()
    others = [make_peer(f"10.0.1.{number}") for number in range(OTHERS)]
    torrent.peers = (liar, *others)
    for peer in others:
        peer.connection.outstanding = CountingRequests({(PIECES - 1, 0, BLOCK_BYTES): None})
    CountingRequests.looks = 0
    manager.drop_blocks_of([liar.identity])
    assert torrent.totals.failed_bytes == PIECES * (BLOCKS - 1) * BLOCK_BYTES
    assert CountingRequests.looks <= OTHERS  # for each block at each it was 180
    assert torrent.picker.partials[PIECES - 1].request_count(0) == OTHERS


def drop_all(manager: DownloadManager) -> None:
    while manager.banned.drop_some():
        pass


def test_f11_what_a_banned_peer_sent_of_many_pieces_is_dropped_in_turns(monkeypatch: Any) -> None:
    few_a_turn(monkeypatch, 2)
    manager, torrent, liar, _ = manager_of_liar()
    manager.drop_blocks_of([liar.identity])
    turns = [torrent.totals.failed_bytes]
    while manager.banned.drop_some():
        turns.append(torrent.totals.failed_bytes)
    in_one_turn = 2 * (BLOCKS - 1) * BLOCK_BYTES
    assert turns == [in_one_turn, 2 * in_one_turn, 3 * in_one_turn]
    assert sorted(torrent.told) == list(range(PIECES))


def test_b6_a_piece_that_gets_whole_before_its_turn_loses_what_a_banned_peer_sent(
    monkeypatch: Any,
) -> None:
    few_a_turn(monkeypatch, 1)
    manager, torrent, liar, honest = manager_of_liar()
    manager.drop_blocks_of([liar.identity])
    manager.peer_left(liar)
    assert 0 not in torrent.told
    assert (0, (BLOCKS - 1) * BLOCK_BYTES, BLOCK_BYTES) in manager.pick(honest, ALL, 99)
    send(manager, honest, (0, (BLOCKS - 1) * BLOCK_BYTES, BLOCK_BYTES))
    assert torrent.finished == []
    assert torrent.told[-1] == 0
    for number in range(BLOCKS - 1):
        send(manager, honest, (0, number * BLOCK_BYTES, BLOCK_BYTES))
    assert [set(each.senders) for each in torrent.finished] == [{honest.identity}]
    drop_all(manager)
    assert torrent.totals.failed_bytes == PIECES * (BLOCKS - 1) * BLOCK_BYTES


def test_b6_blocks_of_a_banned_peer_are_not_written_ahead_before_their_turn(
    monkeypatch: Any,
) -> None:
    few_a_turn(monkeypatch, 1)
    manager, torrent, liar, _ = manager_of_liar()
    manager.drop_blocks_of([liar.identity])
    torrent.shared_config.disk = SimpleNamespace(partial_memory_bytes=0)
    manager.count_held(1)
    assert torrent.kept_back == [set(range(PIECES - 1))]
    drop_all(manager)
    manager.count_held(1)
    assert torrent.kept_back[1:] == [set()]


def test_b6_a_piece_that_was_begun_anew_before_its_turn_keeps_what_came_since(
    monkeypatch: Any,
) -> None:
    few_a_turn(monkeypatch, 1)
    manager, torrent, liar, honest = manager_of_liar()
    manager.drop_blocks_of([liar.identity])
    manager.peer_left(liar)
    manager._restart([0])
    for block in manager.pick(honest, 1, BLOCKS - 1):
        send(manager, honest, block)
    drop_all(manager)
    assert torrent.picker.partials[0].left == 1


def test_b6_a_piece_all_of_a_banned_peer_that_left_is_to_begin_again() -> None:
    manager, torrent, liar, _ = manager_of_liar()
    manager.peer_left(liar)
    assert not torrent.table.missing
    manager.drop_blocks_of([liar.identity])
    assert torrent.table.missing == ALL
    assert not torrent.picker.partials


def transfer_of(manager: DownloadManager, *, tasks: object) -> Any:
    manager.wanted_changed = lambda: None  # type: ignore[method-assign]
    judge = SimpleNamespace(judge=lambda *_: None)
    return SimpleNamespace(
        pool=judge, web_seeds=judge, downloads=manager, _tasks=tasks, _has_freed_blocks=False
    )


def test_b6_what_a_banned_peer_sent_is_dropped_tick_by_tick_while_a_torrent_runs(
    monkeypatch: Any,
) -> None:
    few_a_turn(monkeypatch, 4)
    manager, torrent, liar, _ = manager_of_liar()
    transfer = transfer_of(manager, tasks=object())
    Transfer._on_verdict(transfer, BanVerdict(ban=(liar.identity,)), 0)
    assert len(torrent.told) == 4
    Transfer._ask_for_freed_blocks(transfer)
    assert len(torrent.told) == PIECES
    assert not manager.banned.pieces


def test_b6_what_a_banned_peer_sent_is_dropped_at_once_while_a_torrent_is_paused(
    monkeypatch: Any,
) -> None:
    few_a_turn(monkeypatch, 1)
    manager, torrent, liar, _ = manager_of_liar()
    Transfer._on_verdict(transfer_of(manager, tasks=None), BanVerdict(ban=(liar.identity,)), 0)
    assert len(torrent.told) == PIECES
