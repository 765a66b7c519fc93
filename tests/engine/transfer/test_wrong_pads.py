"""Peers that send other bytes than zeros in pads (BEP 47), which v1 hashes and v2 leaves out."""

from typing import Any

import pytest

from tests.support.judging_node import JudgingNode
from tests.support.torrents import payload_of
from tests.support.v2_torrents import hybrid_info, laid_out, torrent_around
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.codec.hash_trees import HashRange
from torrent_engine.codec.merkle import leaves_of
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.peer import Identity, Peer
from torrent_engine.engine.transfer.piece_assembly import PieceAssembly
from torrent_engine.policy.pieces.piece_table import PartialPiece, PieceState

pytestmark = pytest.mark.anyio

BLOCK = 16_384
PIECE_BYTES = 8 * BLOCK
FILES = {
    "a": payload_of(PIECE_BYTES + 3 * BLOCK + 5),
    "b": payload_of(PIECE_BYTES, 1),
    "c": payload_of(8 * BLOCK - 9, 2),
}
MIXED = {1: 3, 3: 7}
"""By piece: the block that begins in a file and ends in a pad."""
SOMEBODY = Identity(PeerAddress("10.0.0.1", 1), PeerId(bytes(20)))


def made(version: str) -> Metainfo:
    """Return the torrent as a hybrid, as one without its layers, or of v1."""
    info, layers = hybrid_info(FILES, piece_bytes=PIECE_BYTES)
    if version == "v1":
        del info["meta version"], info["file tree"]
    return Metainfo.from_bytes(torrent_around(info, layers if version == "hybrid" else None))


HYBRID, BARE, V1 = made("hybrid"), made("bare"), made("v1")
PAYLOAD = laid_out(HYBRID, FILES)


def right_hashes(wanted: HashRange) -> bytes:
    """Answer with the leaves of the end of the first file, padded to the whole piece."""
    leaves = leaves_of(FILES["a"][wanted.start * BLOCK :])
    return leaves + bytes(wanted.length * 32 - len(leaves))


def poisoned(node: JudgingNode, piece: int, senders: list[Peer], wrong: set[int]) -> PieceAssembly:
    """Receive a piece with a wrong last byte in some blocks: of mixed ones in their pad."""
    assembly = node.bring(piece, senders, wrong)
    assembly.own_pads()
    return assembly


def written(node: JudgingNode) -> bytes:
    return b"".join(b"".join(map(bytes, job.views)) for job in node.jobs)


def right(piece: int) -> bytes:
    return PAYLOAD[piece * PIECE_BYTES :][:PIECE_BYTES]


@pytest.mark.parametrize("piece", MIXED)
@pytest.mark.parametrize("metainfo", [HYBRID, BARE, V1], ids=["hybrid", "bare", "v1"])
@pytest.mark.parametrize("is_sole", [True, False], ids=["sole", "shared"])
async def test_bep47_a_piece_that_is_right_but_for_a_pad_is_kept_and_its_liar_is_banned(
    metainfo: Metainfo,
    piece: int,
    is_sole: bool,
) -> None:
    node = JudgingNode(metainfo, PAYLOAD)
    honest, liar = node.join(1), node.join(2)
    await node.judge(poisoned(node, piece, [liar] if is_sole else [honest, liar], {MIXED[piece]}))
    assert node.banned == [liar.identity]
    assert not node.smart_ban.is_on_parole(honest.identity)
    assert not node.smart_ban.is_proven(liar.identity)
    assert node.table.state(piece) is PieceState.WRITING
    assert written(node) == right(piece)
    assert not node.totals.failed_bytes


async def test_bep47_who_sent_a_wrong_pad_is_banned_beside_who_sent_a_wrong_block() -> None:
    node = JudgingNode(HYBRID, PAYLOAD)
    first, second, honest = node.join(1), node.join(2), node.join(3, right_hashes)
    senders = [first, honest, honest, second]  # of blocks 0, 1, 2 and 3
    assembly = poisoned(node, 1, senders, {0, 3})
    await node.judge(assembly)
    assert node.banned == [first.identity, second.identity]
    assert node.table.state(1) is PieceState.PARTIAL
    left = node.picker.partials[1].take(9)
    assert [begin // BLOCK for _, begin, _ in left] == [0, 3]
    node.fill(assembly, [honest], set())
    await node.judge(assembly)
    assert written(node) == right(1)
    assert len(node.banned) == 2


async def test_bep47_of_v1_who_sent_a_wrong_pad_is_found_by_the_next_attempt_as_any_liar() -> None:
    node = JudgingNode(V1, PAYLOAD)
    first, second, honest = node.join(1), node.join(2), node.join(3)
    await node.judge(poisoned(node, 1, [first, honest, honest, second], {0, 3}))
    assert node.banned == []
    assert node.table.state(1) is PieceState.MISSING
    await node.judge(poisoned(node, 1, [honest], set()))
    assert node.banned == [first.identity, second.identity]
    assert written(node) == right(1)


async def test_a12_a_torrent_that_contradicts_itself_ends_also_if_pads_are_wrong() -> None:
    info, _ = hybrid_info(FILES, piece_bytes=PIECE_BYTES)
    others = {**FILES, "a": payload_of(len(FILES["a"]), 5)}
    other, layers = hybrid_info(others, piece_bytes=PIECE_BYTES)
    info["file tree"] = other["file tree"]
    metainfo = Metainfo.from_bytes(torrent_around(info, layers))
    for payload, wrong in ((PAYLOAD, set[int]()), (laid_out(metainfo, others), {3})):
        errors: list[Exception] = []
        node = JudgingNode(metainfo, payload, errors.append)
        await node.judge(poisoned(node, 1, [node.join(1), node.join(2)], wrong))
        assert "v1 and v2 parts of this hybrid torrent" in str(errors[0])
        assert not node.banned
        assert not node.jobs


async def test_bep47_pads_of_blocks_on_the_disk_are_zeros_whatever_was_sent() -> None:
    node = JudgingNode(HYBRID, PAYLOAD)
    honest, liar = node.join(1), node.join(2)
    assembly = poisoned(node, 1, [honest, liar], {3})
    assembly.take_unwritten()
    assembly.forget_views(0, 8)
    assert assembly.wrong_pads(HYBRID.geometry.pad_ranges(1)) == []
    await node.judge(assembly)
    assert not node.banned
    assert node.table.state(1) is not PieceState.MISSING


def test_bep47_all_pads_of_a_block_are_looked_at_however_it_was_received() -> None:
    files = [(b"aaa", ""), (bytes(5), "p"), (b"bb", ""), (bytes(7), "p"), (b"c" * BLOCK, "")]
    info: dict[str, Any] = {
        "name": "many",
        "piece length": 2 * BLOCK,
        "pieces": bytes(20),
        "files": [
            {"path": [str(number)], "length": len(data), "attr": attr}
            for number, (data, attr) in enumerate(files)
        ],
    }
    geometry = Metainfo.from_bytes(torrent_around(info)).geometry
    pads = geometry.pad_ranges(0)
    assert pads == [(3, 8), (10, 17)]
    payload = b"".join(data for data, _ in files)
    for at in range(20):
        data = bytearray(payload)
        data[at] ^= 1
        assembly = PieceAssembly(PartialPiece(geometry, 0), geometry, 0.0)
        views = tuple(memoryview(data)[start : start + 4] for start in range(0, BLOCK, 4))
        assembly.add(0, views, BLOCK, SOMEBODY)
        expected = [0] if any(start <= at < stop for start, stop in pads) else []
        assert assembly.wrong_pads(pads) == expected
