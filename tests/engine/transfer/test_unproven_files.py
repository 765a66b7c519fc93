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
from torrent_engine.engine.transfer.unproven_files import (
    LOOKS_PER_TURN,
    HeldFile,
    UnprovenFiles,
)
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
ROOM = 100
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
        return [sorted(file.held) for file in self.take_turns()]

    def take_turns(self) -> list[HeldFile]:
        return self.files.take_turns(ROOM)

    def learn(self, metainfo: Metainfo | None) -> None:
        self.torrent.metainfo = metainfo
        self.files.hashes_changed()

    def known(self, room: int = ROOM) -> list[int]:
        return sorted(each.partial.piece for each in self.files.take_known(room))

    async def prove(self, file: HeldFile) -> Metainfo | None:
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
    (file,) = node.take_turns()
    found = await node.prove(file)
    assert layers_of(found).keys() == {BARE.v2 and BARE.v2.root(0)}
    assert layers_of(found).items() <= LAYERS.items()
    assert not node.known()  # it is the caller who says what the torrent knows
    node.learn(found)
    assert node.known() == [0, 1, 2, 4]
    assert not any(map(node.files.has, range(9)))


async def test_bep52_a_wrong_file_is_forgotten_and_its_copy_has_its_turn() -> None:
    node = Node()
    node.hold(0, 1)
    node.hold(2, wrong=True)
    node.hold(*COPY)
    (file,) = node.take_turns()
    assert sorted(file.held) == [*FIRST]
    assert await node.prove(file) is None
    assert all(map(node.files.holds, file.held.values()))
    assert node.files.drop(file)
    assert not any(map(node.files.has, FIRST))
    (copy,) = node.take_turns()
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
    (file,) = node.take_turns()
    assert layers_of(await node.prove(file)) == LAYERS


async def test_bep52_a_file_whose_hashes_peers_give_before_it_is_read_is_left_to_them() -> None:
    node = Node()
    node.hold(*FIRST, wrong=True)
    (file,) = node.take_turns()
    node.learn(WHOLE)
    assert node.known() == [*FIRST]
    assert await node.prove(file) is WHOLE
    assert not node.files.drop(file)


async def test_f1_a_file_that_could_not_be_read_may_be_read_again() -> None:
    node = Node()
    node.hold(*FIRST)
    (file,) = node.take_turns()

    def fail() -> None:
        raise StorageError("a", "unreadable")

    node.meanwhile = fail
    with pytest.raises(StorageError):
        await node.prove(file)
    assert all(map(node.files.holds, file.held.values()))
    assert not node.turns()
    node.meanwhile = lambda: None
    node.files.hold(file.first)
    assert node.take_turns() == [file]
    assert layers_of(await node.prove(file)).items() <= LAYERS.items()


def test_bep52_a_file_of_one_piece_is_never_held() -> None:
    assert BARE.hashes.expected(SHORT) is not None
    assert [piece for piece in range(9) if BARE.hashes.expected(piece) is None] == [*range(8)]


# -- half a million pieces ------------------------------------------------------------------------


class CountedHashes:
    """The hashes of a torrent, of which each look is counted."""

    def __init__(self, metainfo: Metainfo) -> None:
        self._hashes = metainfo.hashes
        self.looks = 0

    def expected(self, piece: int) -> bytes | None:
        self.looks += 1
        return self._hashes.expected(piece)


def counted(metainfo: Metainfo) -> tuple[Any, CountedHashes]:
    hashes = CountedHashes(metainfo)
    parts = {"layout": metainfo.layout, "geometry": metainfo.geometry, "v2": metainfo.v2}
    return SimpleNamespace(**parts, hashes=hashes), hashes


def many_files(count: int) -> tuple[Metainfo, dict[bytes, bytes]]:
    """Return a torrent of many files of two pieces, and the layers that it lacks."""
    files = {f"{number:04}": payload_of(BLOCK + 1, seed=number) for number in range(count)}
    info, layers = v2_info(files, piece_bytes=BLOCK)
    return Metainfo.from_bytes(torrent_around(info)), layers


def stand_in(piece: int) -> Any:
    return SimpleNamespace(partial=SimpleNamespace(piece=piece))


class Untouched(dict[int, PieceAssembly]):
    """Pieces that nobody may walk over."""

    def __iter__(self) -> Any:
        pytest.fail("all pieces are looked at")

    values = items = keys = __iter__


def test_f11_a_tick_looks_at_no_piece_of_files_that_lack_some() -> None:
    torrent, _ = many_files(50)
    node = Node()
    node.torrent.metainfo, hashes = counted(torrent)
    for piece in range(0, 100, 2):
        node.files.hold(stand_in(piece))
    for file in node.files._files.values():
        file.held = Untouched(file.held)
    for _ in range(3):
        assert not node.take_turns()
        assert not node.known()
    looks_before = hashes.looks
    node.files.hold(stand_in(7))
    assert [file.index for file in node.take_turns()] == [3]
    assert (looks_before, hashes.looks) == (0, 1)


def test_f11_files_that_are_full_have_their_turns_a_few_at_a_time_and_none_is_lost() -> None:
    torrent, _ = many_files(50)
    node = Node()
    node.torrent.metainfo = torrent
    for piece in range(100):
        node.files.hold(stand_in(piece))
    turns = [[file.index for file in node.files.take_turns(20)] for _ in range(4)]
    assert [len(turn) for turn in turns] == [20, 20, 10, 0]
    assert [index for turn in turns for index in turn] == [*range(50)]


def test_f11_files_whose_hashes_come_are_found_some_in_each_turn_and_none_is_lost() -> None:
    count = 2 * LOOKS_PER_TURN + 50
    torrent, layers = many_files(count)
    node = Node()
    node.torrent.metainfo = torrent
    for piece in range(0, 2 * count, 2):
        node.files.hold(stand_in(piece))
    known, hashes = counted(torrent.with_layers(layers))
    node.learn(known)
    taken = list[int]()
    while turn := node.known(room=700):
        assert hashes.looks <= LOOKS_PER_TURN
        assert len(turn) <= 700
        hashes.looks = 0
        taken += turn
    assert sorted(taken) == [*range(0, 2 * count, 2)]
    assert not any(map(node.files.has, taken))


def test_f11_hashes_that_come_one_by_one_do_not_keep_the_last_file_waiting() -> None:
    count = LOOKS_PER_TURN + 2
    torrent, layers = many_files(count)
    node = Node()
    node.torrent.metainfo = torrent
    for piece in range(0, 2 * count, 2):
        node.files.hold(stand_in(piece))
    part = torrent.v2
    assert part is not None
    root = part.root(count - 1)
    assert root is not None
    node.learn(torrent.with_layers({root: layers[root]}))
    assert not node.known()
    node.files.hashes_changed()  # again, before all were looked at
    assert node.known() == [2 * count - 2]


def test_bep52_a_piece_that_came_with_the_hashes_of_its_file_waits_until_it_is_taken() -> None:
    node = Node()
    node.hold(*FIRST)
    node.learn(WHOLE)
    taken = node.known(room=2)
    assert len(taken) == 2
    (left,) = {*FIRST} - {*taken}
    assert node.files.has(left)
    assert not node.turns()
    node.files.hold(assembly_of(left))
    assert node.known() == [left]
    assert not node.files.has(left)
