"""What an idle peer may be asked for of that which others owe us."""

import random

import pytest

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.codec.geometry import Geometry
from torrent_engine.policy.pieces.end_game import MAX_LATE_REQUESTS
from torrent_engine.policy.pieces.owed_blocks import LOOK_S, Owed, OwedBlocks
from torrent_engine.policy.pieces.picker import MAX_END_GAME_REQUESTS, Picker
from torrent_engine.policy.pieces.piece_table import Block, PieceTable

GEOMETRY = Geometry(64 * 4 * BLOCK_BYTES, 4 * BLOCK_BYTES)
ALL = (1 << GEOMETRY.piece_count) - 1


class Scene:
    """Senders that owe us blocks, at a rate each."""

    def __init__(self) -> None:
        self.picker = Picker(GEOMETRY, PieceTable(GEOMETRY), random.Random(1), is_sequential=True)
        self.expected: dict[Block, float] = {}
        self.silent: dict[Block, int] = {}
        self.subject = OwedBlocks(self.picker, lambda _now: Owed(self.expected, self.silent))

    def ask(self, block_s: float, count: int, only_for: object = None) -> list[Block]:
        """Let somebody owe us so many blocks, from the first free one on."""
        blocks = self.picker.pick(ALL, count, only_for=only_for)
        self.expected |= {block: place * block_s for place, block in enumerate(blocks, 1)}
        return blocks

    def latest(self, bits: int = ALL, *, count: int = 100, now: float = 0.0) -> dict[Block, float]:
        self.subject.look(now)
        return self.subject.latest(bits, (), count)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_latest_come_first(scene: Scene) -> None:
    fast = scene.ask(0.01, 4)
    slow = scene.ask(1.0, 4)
    found = scene.latest()
    assert list(found) == [*reversed(slow), *reversed(fast)]
    assert list(found.values()) == [4.0, 3.0, 2.0, 1.0, 0.04, 0.03, 0.02, 0.01]
    assert list(scene.latest(count=3)) == slow[:0:-1]


def test_only_pieces_that_the_idle_peer_has(scene: Scene) -> None:
    blocks = scene.ask(1.0, 12)
    assert {block[0] for block in blocks} == {0, 1, 2}
    assert {block[0] for block in scene.latest(0b010)} == {1}
    assert scene.latest(1 << 7) == {}


def test_not_what_the_idle_peer_owes_itself(scene: Scene) -> None:
    blocks = scene.ask(1.0, 4)
    scene.subject.look(0.0)
    assert [*scene.subject.latest(ALL, blocks[1:], 9)] == blocks[:1]


def test_not_what_came_or_is_asked_of_enough_peers_since(scene: Scene) -> None:
    blocks = scene.ask(1.0, 4)
    scene.subject.look(0.0)
    assert scene.picker.partials[0].receive(3)
    for _ in range(MAX_END_GAME_REQUESTS - 1):
        scene.picker.duplicate(blocks[:1])
    assert [*scene.subject.latest(ALL, (), 9)] == [blocks[2], blocks[1]]
    scene.picker.restart(0)
    assert scene.subject.latest(ALL, (), 9) == {}


def test_who_is_silent_takes_nobodys_place(scene: Scene) -> None:
    (block,) = scene.ask(60.0, 1)
    for _ in range(MAX_LATE_REQUESTS - 1):
        scene.picker.duplicate([block])
    assert scene.latest() == {}
    scene.silent = {block: 1}
    assert list(scene.latest(now=LOOK_S)) == [block]
    scene.picker.duplicate([block])
    assert scene.subject.latest(ALL, (), 9) == {}


def test_not_pieces_that_must_come_from_one_peer(scene: Scene) -> None:
    scene.ask(1.0, 4, only_for="somebody")
    assert scene.latest() == {}


def test_all_are_looked_at_again_after_a_while(scene: Scene) -> None:
    scene.ask(1.0, 1)
    assert len(scene.latest(now=0.0)) == 1
    scene.ask(1.0, 1)
    assert len(scene.latest(now=LOOK_S / 2)) == 1
    assert len(scene.latest(now=LOOK_S)) == 2


def test_what_is_left_counts_once_no_piece_is_left_to_begin(scene: Scene) -> None:
    scene.ask(1.0, 6)
    scene.subject.look(0.0)
    assert scene.subject.left_blocks == 0
    scene.ask(1.0, 1_000)
    scene.subject.look(1.0)
    assert scene.subject.left_blocks == 256
