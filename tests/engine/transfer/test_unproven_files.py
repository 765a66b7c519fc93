"""Files whose pieces have no hashes (BEP 52): proved whole, by their roots."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.torrents import payload_of
from tests.support.v2_torrents import torrent_around, v2_info
from torrent_engine.base.errors import StorageError
from torrent_engine.base.ids import PeerAddress, PeerId
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.engine.swarm.peer import Identity
from torrent_engine.engine.transfer.piece_assembly import PieceAssembly, ReadBlock
from torrent_engine.engine.transfer.unproven_files import UnprovenFiles
from torrent_engine.policy.pieces.piece_table import PartialPiece

pytestmark = pytest.mark.anyio

BLOCK = 16_384
PIECE_BYTES = 2 * BLOCK
LONG = payload_of(2 * PIECE_BYTES + BLOCK + 5)
FILES = {"a": LONG, "b": LONG, "c": payload_of(2 * PIECE_BYTES, seed=3), "d": payload_of(9)}
INFO, LAYERS = v2_info(FILES, piece_bytes=PIECE_BYTES)
WHOLE = Metainfo.from_bytes(torrent_around(INFO, LAYERS))
BARE = Metainfo.from_bytes(torrent_around(INFO))
FIRST, COPY, OTHER, SHORT = range(3), range(3, 6), range(6, 8), 8
SOMEBODY = Identity(PeerAddress("10.0.0.1", 1), PeerId(bytes(20)))


class Node:
    """A torrent without hashes of pieces, and pieces of it."""

    def __init__(self) -> None:
        torrent: Any = SimpleNamespace(metainfo=BARE)
        self.torrent = torrent
        self.files = UnprovenFiles(torrent)
        self.meanwhile: Callable[[], object] = lambda: None
        """Called when a piece is read."""

    def hold(self, *pieces: int, wrong: bool = False) -> None:
        for piece in pieces:
            self.files.hold(assembly_of(piece, wrong=wrong))

    async def in_thread(self, read: Callable[[ReadBlock], None]) -> None:
        self.meanwhile()
        read(lambda _offset, _into: pytest.fail("nothing is on the disk"))

    def turns(self) -> list[list[int]]:
        return [[each.partial.piece for each in file] for file in self.files.take_turns()]

    async def prove(self, file: list[PieceAssembly]) -> Metainfo | None:
        return await self.files.prove(file, self.in_thread)


def assembly_of(piece: int, *, wrong: bool = False) -> PieceAssembly:
    """Return a whole piece, all of it in memory."""
    geometry = WHOLE.geometry
    assembly = PieceAssembly(PartialPiece(geometry, piece), geometry, 0.0)
    name, first = next(
        (name, pieces.start)
        for name, pieces in zip(FILES, (FIRST, COPY, OTHER, range(8, 9)), strict=True)
        if piece in pieces
    )
    for block in range(assembly.partial.block_count):
        _, begin, length = assembly.partial.block(block)
        start = (piece - first) * PIECE_BYTES + begin
        data = bytearray(FILES[name][start : start + length])
        data[-1] ^= wrong
        assembly.add(block, (memoryview(data),), length, SOMEBODY)
    return assembly


def layers_of(metainfo: Metainfo | None) -> dict[bytes, bytes]:
    assert metainfo is not None
    assert metainfo.v2 is not None
    return dict(metainfo.v2.layers)


def test_bep52_a_file_has_its_turn_once_all_of_its_pieces_are_here() -> None:
    node = Node()
    assert not node.turns()
    node.hold(0, 2, 6)
    assert not node.turns()
    assert [piece for piece in range(9) if node.files.has(piece)] == [0, 2, 6]
    node.hold(1)
    assert node.turns() == [[*FIRST]]
    assert not node.turns()
    node.hold(7)
    assert node.turns() == [[*OTHER]]  # while the first is read


async def test_bep52_a_right_file_gives_the_hashes_of_its_pieces_and_of_those_of_its_copy() -> None:
    node = Node()
    node.hold(*FIRST, 4)
    (file,) = node.files.take_turns()
    found = await node.prove(file)
    assert layers_of(found).keys() == {BARE.v2 and BARE.v2.root(0)}
    assert layers_of(found).items() <= LAYERS.items()
    assert not node.files.take_known()  # it is the caller who says what the torrent knows
    node.torrent.metainfo = found
    assert [each.partial.piece for each in node.files.take_known()] == [0, 1, 2, 4]
    assert not any(map(node.files.has, range(9)))


async def test_bep52_a_wrong_file_is_forgotten_and_its_copy_has_its_turn() -> None:
    node = Node()
    node.hold(0, 1)
    node.hold(2, wrong=True)
    node.hold(*COPY)
    (file,) = node.files.take_turns()
    assert [each.partial.piece for each in file] == [*FIRST]
    assert await node.prove(file) is None
    assert all(map(node.files.holds, file))
    node.files.drop(file)
    assert not any(map(node.files.has, FIRST))
    (copy,) = node.files.take_turns()
    assert layers_of(await node.prove(copy)).items() <= LAYERS.items()


async def test_bep52_hashes_that_come_while_a_file_is_read_are_not_lost() -> None:
    node = Node()
    node.hold(*FIRST)
    part = BARE.v2
    assert part is not None
    root = part.root(2)
    assert root is not None

    def learn() -> None:
        node.torrent.metainfo = BARE.with_layers({root: LAYERS[root]})

    node.meanwhile = learn
    (file,) = node.files.take_turns()
    assert layers_of(await node.prove(file)) == LAYERS


async def test_bep52_a_file_whose_hashes_peers_give_before_it_is_read_is_left_to_them() -> None:
    node = Node()
    node.hold(*FIRST, wrong=True)
    (file,) = node.files.take_turns()
    node.torrent.metainfo = WHOLE
    assert node.files.take_known() == file
    assert await node.prove(file) is WHOLE


async def test_f1_a_file_that_could_not_be_read_may_be_read_again() -> None:
    node = Node()
    node.hold(*FIRST)
    (file,) = node.files.take_turns()

    def fail() -> None:
        raise StorageError("a", "unreadable")

    node.meanwhile = fail
    with pytest.raises(StorageError):
        await node.prove(file)
    assert all(map(node.files.holds, file))
    node.meanwhile = lambda: None
    node.files.hold(file[0])
    assert node.files.take_turns() == [file]
    assert layers_of(await node.prove(file)).items() <= LAYERS.items()


def test_bep52_a_file_of_one_piece_is_never_held() -> None:
    assert BARE.hashes.expected(SHORT) is not None
    assert [piece for piece in range(9) if BARE.hashes.expected(piece) is None] == [*range(8)]
