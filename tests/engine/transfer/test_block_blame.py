"""Failed pieces of v2 torrents: peers tell which blocks are wrong, the others are kept."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from tests.support.judging_node import JudgingNode
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, torrent_around, v2_info
from torrent_engine.codec.hash_trees import HashRange, HashTrees
from torrent_engine.codec.merkle import is_proven, leaves_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.transfer.block_blame import (
    ANSWER_S,
    MAX_TRIES,
    NEXT_PEER_S,
    requests_for,
)
from torrent_engine.policy.pieces.piece_table import PieceState

pytestmark = pytest.mark.anyio

BLOCK = 16_384
PIECE_BYTES = 8 * BLOCK
FILES = {"a": payload_of(3 * PIECE_BYTES - 5), "b": payload_of(5 * BLOCK + 1)}
INFO, LAYERS = v2_info(FILES, piece_bytes=PIECE_BYTES)
METAINFO = Metainfo.from_bytes(torrent_around(INFO, LAYERS))
PAYLOAD = FILES["a"] + bytes(5) + FILES["b"]
PIECES = METAINFO.piece_count


def right_hashes(wanted: HashRange) -> bytes | None:
    """Answer as a seed does."""
    part = METAINFO.v2
    assert part is not None
    trees = HashTrees(part)
    index = part.roots.index(wanted.root) // 32
    length = part.lengths[index]
    span = trees.span(wanted, length)
    if span is None:
        return None
    data = [*FILES.values()][index][span.start : span.stop]
    return trees.hashes_below(wanted, length, leaves_of(data))


def wrong_hashes(wanted: HashRange) -> bytes | None:
    return bytes(len(right_hashes(wanted) or b""))


def no_hashes(_wanted: HashRange) -> bytes | None:
    return None


Node = partial(JudgingNode, METAINFO, PAYLOAD)
virtual_time = pytest.mark.parametrize(
    "anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})], ids=["virtual"]
)


@pytest.mark.parametrize("piece", range(PIECES))
async def test_b6_only_the_sender_of_the_wrong_block_is_banned_and_the_others_are_kept(
    piece: int,
) -> None:
    node = Node()
    honest, liar, seed = node.join(1), node.join(2), node.join(3, right_hashes)
    assembly = node.bring(piece, [honest, liar], {3})
    await node.judge(assembly)
    assert node.banned == [liar.identity]
    assert not node.smart_ban.is_on_parole(honest.identity)
    assert node.totals.failed_bytes == BLOCK
    assert node.table.state(piece) is PieceState.PARTIAL
    assert node.finisher.assemblies[piece] is assembly
    assert node.picker.partials[piece].left == 1
    assert assembly.senders == [None] * assembly.partial.block_count
    assert node.failures[0].peers == (liar.address,)
    (wanted,) = node.picker.partials[piece].take(9)
    assert wanted[:2] == (piece, 3 * BLOCK)
    node.fill(assembly, [seed], set())
    await node.judge(assembly)
    assert [job.offset_bytes for job in node.jobs] == [piece * PIECE_BYTES]
    assert (
        b"".join(map(bytes, node.jobs[0].views))
        == PAYLOAD[piece * PIECE_BYTES :][:PIECE_BYTES][: METAINFO.geometry.piece_length(piece)]
    )
    assert len(node.banned) == 1


async def test_b6_blocks_on_the_disk_are_judged_and_kept_too() -> None:
    node = Node()
    peers = [node.join(1), node.join(2), node.join(3)]
    node.join(4, right_hashes)
    assembly = node.bring(1, peers, {0, 3, 7})  # 7 is of the second peer
    assembly.take_unwritten()
    assembly.forget_views(4, 3)
    assembly.not_written(0, 4)
    assembly.not_written(7, 1)
    await node.judge(assembly)
    assert set(node.banned) == {peers[0].identity, peers[1].identity}
    assert node.picker.partials[1].left == 3
    assert assembly.disk_bits() == 0b0111_0000
    assert assembly.memory_bytes == 2 * BLOCK


async def test_b6_who_sends_wrong_hashes_is_banned_and_others_are_asked() -> None:
    node = Node()
    honest, liar = node.join(1, right_hashes), node.join(2, right_hashes)
    forger = node.join(3, wrong_hashes)
    await node.judge(node.bring(0, [honest, liar], {1}))
    assert node.banned == [forger.identity, liar.identity]


async def test_b6_without_hashes_the_senders_are_under_suspicion_as_in_v1() -> None:
    node = Node()
    senders = [node.join(1, no_hashes), node.join(2, no_hashes)]
    node.join(3, right_hashes, has=False)
    assembly = node.bring(0, senders, {1})
    await node.judge(assembly)
    assert not node.banned
    assert all(node.smart_ban.is_on_parole(peer.identity) for peer in senders)
    assert node.table.state(0) is PieceState.MISSING
    assert node.smart_ban.has_failed(0)


async def test_b6_few_peers_are_asked_for_one_piece() -> None:
    node = Node()
    peers = [node.join(number, no_hashes) for number in range(1, 9)]
    await node.judge(node.bring(0, peers[:2], {1}))
    links: list[Any] = [peer.link for peer in peers]
    assert sum(len(link.sent) for link in links) == MAX_TRIES


async def search(
    node: JudgingNode, *senders: Peer, piece: int = 0
) -> tuple[bytes | None, list[Identity], float]:
    """Ask for the hashes below a piece; return them, the liars, and how many seconds it took."""
    tree, start = METAINFO.hashes.tree(piece), anyio.current_time()
    assert tree is not None
    found, liars = await node.finisher.blame.leaves(
        piece, tree, {sender.identity for sender in senders}
    )
    return found, liars, anyio.current_time() - start


def times_asked(*peers: Peer) -> list[int]:
    links: list[Any] = [peer.link for peer in peers]
    return [len(link.sent) for link in links]


LEAVES = leaves_of(PAYLOAD[:PIECE_BYTES])


@virtual_time
async def test_b6_proven_peers_are_asked_first_also_if_they_sent_blocks_of_the_piece() -> None:
    node = Node()
    silent = [node.join(number) for number in range(1, 20)]
    seed = node.join(20, right_hashes)
    node.smart_ban.piece_passed(1, [seed.identity])
    assert await search(node, seed) == (LEAVES, [], 0)
    assert times_asked(seed, *silent) == [1, *[0] * 19]


@virtual_time
async def test_b6_each_silent_peer_costs_a_moment_and_a_right_answer_ends_it_all() -> None:
    node = Node()
    silent, seed = [node.join(1), node.join(2)], node.join(3, right_hashes)
    assert await search(node, seed) == (LEAVES, [], 2 * NEXT_PEER_S)
    assert times_asked(seed, *silent) == [1, 1, 1]
    assert not any(node.finisher.blame._waiting.values())
    # Who owes an answer comes after all others.
    assert await search(node, seed, piece=1) == (
        leaves_of(PAYLOAD[PIECE_BYTES:][:PIECE_BYTES]),
        [],
        0,
    )
    assert times_asked(seed, *silent) == [2, 1, 1]


@virtual_time
async def test_b6_no_more_peers_are_asked_however_many_are_silent() -> None:
    node = Node()
    silent = [node.join(number) for number in range(1, 9)]
    assert await search(node) == (None, [], (MAX_TRIES - 1) * NEXT_PEER_S + ANSWER_S)
    assert sorted(times_asked(*silent)) == [*[0] * (8 - MAX_TRIES), *[1] * MAX_TRIES]


@virtual_time
async def test_b6_who_has_no_hashes_or_lies_is_not_waited_for() -> None:
    node = Node()
    forger, sender = node.join(1, wrong_hashes), node.join(2, no_hashes)
    seed = node.join(3, right_hashes)
    node.smart_ban.piece_passed(2, [forger.identity])
    assert await search(node, sender, seed) == (LEAVES, [forger.identity], 0)
    assert times_asked(forger, seed) == [1, 1]


@virtual_time
async def test_b6_an_answer_counts_that_comes_after_the_next_peer_was_asked() -> None:
    node = Node()
    slow, silent = node.join(1), node.join(2)
    node.smart_ban.piece_passed(2, [slow.identity])
    results: list[Any] = []

    async def ask() -> None:
        results.append(await search(node))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.sleep(NEXT_PEER_S + 1)
        assert times_asked(slow, silent) == [1, 1]
        (wanted,) = slow.connection.state.hash_requests
        node.say(slow, wanted, right_hashes(wanted))
    assert results == [(LEAVES, [], NEXT_PEER_S + 1)]


@virtual_time
async def test_b6_a_peer_that_owes_many_answers_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torrent_engine.engine.transfer.block_blame.MAX_UNANSWERED", PIECES - 1)
    node = Node()
    silent = node.join(1)
    for piece in range(PIECES):
        await search(node, piece=piece)
    assert times_asked(silent) == [PIECES - 1]


async def test_b6_who_leaves_is_not_waited_for() -> None:
    node = Node()
    senders = [node.join(1, right_hashes), node.join(2, right_hashes)]
    gone = node.join(3)
    assembly = node.bring(0, senders, {1})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.judge, assembly)
        link: Any = gone.link
        with anyio.fail_after(60):
            while not link.sent:  # noqa: ASYNC110 - a thread hashes
                await anyio.sleep(0.001)
        node.peers.discard(gone)
        node.finisher.blame.peer_left(gone)
    assert node.banned == [senders[1].identity]


async def test_b6_peers_that_do_not_answer_hold_few_bad_pieces_in_memory() -> None:
    node = Node()
    shared: Any = node.finisher._torrent.shared_config
    shared.disk = SimpleNamespace(partial_memory_bytes=PIECE_BYTES)
    senders = [node.join(1, no_hashes), node.join(2, no_hashes)]
    silent = node.join(3)
    first, second = node.bring(0, senders, {1}), node.bring(1, senders, {1})
    link: Any = silent.link
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.judge, first)
        with anyio.fail_after(60):
            while not link.sent:  # noqa: ASYNC110 - a thread hashes
                await anyio.sleep(0.001)
        await node.judge(second)
        assert node.table.state(1) is PieceState.MISSING
        assert node.table.state(0) is not PieceState.MISSING
        assert len(link.sent) == 1
        node.peers.discard(silent)
        node.finisher.blame.peer_left(silent)
    assert node.table.state(0) is PieceState.MISSING
    assert not node.finisher._blamed_bytes


async def test_b6_a_peer_that_answers_slowly_part_by_part_is_not_waited_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torrent_engine.engine.transfer.block_blame.ALL_ANSWERS_S", 0.05)
    node = Node()
    senders = [node.join(1, no_hashes), node.join(2, no_hashes)]
    silent = node.join(3)
    await node.judge(node.bring(0, senders, {1}))
    assert node.table.state(0) is PieceState.MISSING
    assert not node.banned
    assert not node.finisher.blame._waiting[silent]


async def test_b6_one_sender_of_all_blocks_needs_no_hashes() -> None:
    node = Node()
    liar, seed = node.join(1), node.join(2, right_hashes)
    await node.judge(node.bring(0, [liar], {1}))
    assert node.banned == [liar.identity]
    link: Any = seed.link
    assert not link.sent


async def test_bep52_a_whole_piece_in_parts_is_asked_for_and_proven() -> None:
    data = payload_of(2 * 1024 * BLOCK - 700 * BLOCK)
    info, layers = v2_info({"a": data}, piece_bytes=1024 * BLOCK)
    metainfo = Metainfo.from_bytes(torrent_around(info, layers))
    assert metainfo.v2 is not None
    trees, leaves = HashTrees(metainfo.v2), leaves_of(data)
    for piece, parts in ((0, 2), (1, 1)):
        tree = metainfo.hashes.tree(piece)
        assert tree is not None
        asked = requests_for(tree)
        assert len(asked) == parts
        for wanted in asked:
            span = trees.span(wanted, len(data))
            assert span is not None
            some = leaves[span.start // BLOCK * 32 : -(-span.stop // BLOCK) * 32]
            found = trees.hashes_below(wanted, len(data), some)
            assert found is not None
            size, place = wanted.length * 32, wanted.start - tree.first_leaf
            assert is_proven(
                found[:size], found[size:], index=place, levels=tree.levels, root=tree.expected
            )


def test_bep52_pieces_of_one_block_and_of_v1_have_nothing_below() -> None:
    info, layers = v2_info({"a": payload_of(100_000), "b": b"b"})
    metainfo = Metainfo.from_bytes(torrent_around(info, layers))
    assert {metainfo.hashes.tree(piece) for piece in range(metainfo.piece_count)} == {None}
    info, layers = hybrid_info({"a": payload_of(100_000)}, piece_bytes=65_536)
    hybrid = Metainfo.from_bytes(torrent_around(info, layers))
    tree = hybrid.hashes.tree(1)
    assert tree is not None
    assert tree.first_leaf == 4
    assert tree.leaf_count == 3
    assert Metainfo.from_bytes(torrent_around(info)).hashes.tree(1) is None
