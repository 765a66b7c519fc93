"""How much unproven are given, and which blocks are asked for twice."""

import random

import pytest

from torrent_engine.base.ids import BLOCK_BYTES
from torrent_engine.policy.peers.smart_ban import PROVEN_BLOCKS, SmartBan
from torrent_engine.policy.peers.unproven_peers import (
    FIRST_BLOCKS,
    FREE_BLOCKS,
    MANY_BLOCKS,
    MAX_PROBE_S,
    PROBE_S,
    PROBE_SAME_PEER_S,
    RECOUNT_S,
    TURN_S,
    UnprovenPeerLimits,
)
from torrent_engine.policy.pieces.end_game import (
    LATE_S,
    LEAST_END_GAME_BLOCKS,
    choose_duplicates,
    is_end,
)

NOW = 100.0


class Scene:
    """UnprovenPeerLimits, and the pieces that are theirs."""

    def __init__(self, blocks_per_piece: int = FIRST_BLOCKS) -> None:
        self.smart_ban = SmartBan()
        self.theirs: set[tuple[object, int]] = set()
        self.unproven = UnprovenPeerLimits(
            self.smart_ban,
            blocks_per_piece,
            lambda key, piece: (key, piece) in self.theirs,
            random.Random(1),
        )
        self._pieces = iter(range(1_000_000))

    def begin(self, key: str, now: float = NOW) -> None:
        piece = next(self._pieces)
        self.theirs.add((key, piece))
        self.unproven.begun(key, piece, now)

    def fail(self, blocks: int) -> None:
        self.smart_ban.piece_failed(next(self._pieces), ["liar"] * blocks, [b""] * blocks)

    def pass_(self, blocks: int, key: str = "good") -> None:
        self.smart_ban.piece_passed(next(self._pieces), [key] * blocks)


def test_while_nobody_is_proven_everybody_gets_a_little() -> None:
    scene = Scene(FIRST_BLOCKS // 4)
    for key in ("a", "b"):
        for left in (4, 3, 2, 1, 0):
            assert scene.unproven.max_new_pieces(key, NOW) == left
            if left:
                scene.begin(key)
    assert Scene(10 * FIRST_BLOCKS).unproven.max_new_pieces("a", NOW) == 1


def test_of_a_crowd_of_newcomers_each_gets_less() -> None:
    scene = Scene(FIRST_BLOCKS // 4)
    for number in range(MANY_BLOCKS // FIRST_BLOCKS):
        for _ in range(4):
            assert scene.unproven.max_new_pieces(f"peer {number}", NOW)
            scene.begin(f"peer {number}")
    assert scene.unproven.max_new_pieces("late", NOW) == 1
    scene.begin("late")
    assert scene.unproven.max_new_pieces("late", NOW) == 0


def test_beside_proven_peers_a_newcomer_gets_one_piece_at_a_time() -> None:
    scene = Scene()
    scene.unproven.has_proven = True
    assert scene.unproven.max_new_pieces("a", NOW) == 1
    scene.begin("a")
    assert scene.unproven.max_new_pieces("a", NOW) == 0
    assert scene.unproven.max_new_pieces("b", NOW) == 1
    scene.theirs.clear()  # others got it
    assert scene.unproven.max_new_pieces("a", NOW) == 1


def test_b6_much_that_is_bad_leaves_newcomers_one_piece_now_and_then() -> None:
    scene = Scene()
    scene.unproven.has_proven = True
    scene.unproven.blocks_per_s = 1e9
    scene.fail(FREE_BLOCKS)
    assert scene.unproven.is_clean
    assert scene.unproven.max_new_pieces("a", NOW) == 1
    scene.begin("a")
    assert scene.unproven.max_new_pieces("b", NOW) == 0
    assert scene.unproven.max_new_pieces("b", NOW + PROBE_S) == 1
    scene.fail(1)
    assert not scene.unproven.is_clean
    scene.pass_(100_000)
    assert scene.unproven.is_clean
    assert scene.unproven.max_new_pieces("b", NOW) == 1


def test_b6_who_wastes_a_trial_comes_after_the_others() -> None:
    scene = Scene()
    scene.unproven.has_proven = True
    scene.unproven.blocks_per_s = 1e9
    scene.fail(10 * FREE_BLOCKS)
    scene.begin("silent")
    scene.theirs.clear()  # it was snubbed
    assert scene.unproven.max_new_pieces("silent", NOW + PROBE_S) == 0
    assert scene.unproven.max_new_pieces("other", NOW + PROBE_S) == 1
    assert scene.unproven.max_new_pieces("silent", NOW + PROBE_SAME_PEER_S) == 1


def test_b6_liars_that_joined_first_do_not_keep_others_from_their_trial() -> None:
    tried: list[str] = []
    scene, now = Scene(), NOW
    scene.unproven.has_proven = True
    scene.unproven.blocks_per_s = 1e9
    scene.fail(10 * FREE_BLOCKS)
    asking = [f"liar {number}" for number in range(20)] + ["honest"]
    while len(tried) < 2 * len(asking):
        for key in asking:
            if scene.unproven.max_new_pieces(key, now):
                scene.begin(key, now)
                scene.theirs.clear()
                tried.append(key)
        now += 1.0
    assert sorted(tried[: len(asking)]) == sorted(asking)  # who was never tried comes first
    assert tried[: len(asking)] != asking
    assert now - NOW >= PROBE_S * (2 * len(asking) - 1)


def test_b6_a_turn_that_is_not_taken_goes_to_another_peer() -> None:
    scene = Scene()
    scene.unproven.has_proven = True
    scene.fail(10 * FREE_BLOCKS)
    scene.begin("first")
    due = NOW + MAX_PROBE_S
    waiting = ["a", "b", "c"]
    for key in waiting:
        assert not scene.unproven.max_new_pieces(key, NOW)
    chosen = [key for key in waiting if scene.unproven.max_new_pieces(key, due)]
    assert len(chosen) <= 1
    for key in chosen:
        scene.unproven.forget(key)
        waiting.remove(key)
    later = due
    for _ in range(4):
        later += TURN_S
        if any(scene.unproven.max_new_pieces(key, later) for key in waiting):
            break
    else:
        raise AssertionError("nobody had a turn")


@pytest.mark.parametrize("says_so", [False, True])
def test_b6_who_does_not_use_its_turn_comes_after_the_others(says_so: bool) -> None:
    scene, turns, now = Scene(), list[str](), NOW
    scene.unproven.has_proven = True
    scene.fail(10 * FREE_BLOCKS)
    asking = [f"useless {number}" for number in range(10)] + ["honest"]
    while "honest" not in turns[-1:]:
        for key in asking:
            if scene.unproven.max_new_pieces(key, now):
                turns.append(key)
                if says_so:
                    scene.unproven.began_none(key, now)
        now += 0.1
    assert len(dict.fromkeys(turns)) == len(set(turns)) <= len(asking)
    of_each = {key: {n for n, each in enumerate(turns) if each == key} for key in turns}
    assert all(max(turn) - min(turn) == len(turn) - 1 for turn in of_each.values())
    assert now - NOW <= len(asking) * (0.1 if says_so else TURN_S) + TURN_S


def test_b6_newcomers_together_are_given_no_more_than_may_be_bad() -> None:
    scene = Scene()
    scene.unproven.has_proven = True
    given = 0
    while scene.unproven.max_new_pieces(f"peer {given}", NOW) and given < 1000:
        scene.begin(f"peer {given}")
        given += 1
    assert given == FREE_BLOCKS // FIRST_BLOCKS


def test_pieces_of_all_are_looked_at_once_for_everybody_who_asks() -> None:
    looked: list[object] = []

    def is_on_trial(key: object, _piece: int) -> bool:
        looked.append(key)
        return True

    unproven = UnprovenPeerLimits(SmartBan(), 1, is_on_trial, random.Random(1))
    unproven.has_proven = True
    for number in range(50):
        unproven.begun(number, number, NOW)
    for number in range(50):
        unproven.max_new_pieces(number, NOW)
    assert len(looked) <= 2 * 50
    unproven.max_new_pieces(0, NOW + RECOUNT_S)
    assert len(looked) > 2 * 50


def test_who_gave_a_whole_good_piece_is_proven_until_it_lies() -> None:
    smart_ban = SmartBan()
    smart_ban.piece_passed(0, ["whole"])
    smart_ban.piece_passed(1, ["part"] * (PROVEN_BLOCKS - 1) + ["other"])
    assert smart_ban.is_proven("whole")
    assert not smart_ban.is_proven("part")
    smart_ban.piece_passed(2, ["part", None])
    assert smart_ban.is_proven("part")
    assert not smart_ban.is_proven("other")
    smart_ban.piece_passed(3, [None, None])
    assert not smart_ban.is_proven(None)
    assert smart_ban.piece_failed(4, ["whole"], [b"bad"]).ban == ("whole",)
    assert not smart_ban.is_proven("whole")


# -- the end game ---------------------------------------------------------------------------------


def test_the_end_is_what_comes_within_a_second_or_two() -> None:
    assert is_end(LEAST_END_GAME_BLOCKS, 0.0)
    assert not is_end(LEAST_END_GAME_BLOCKS + 1, 0.0)
    assert is_end(150, 100.0 * BLOCK_BYTES)
    assert not is_end(151, 100.0 * BLOCK_BYTES)


def test_only_what_comes_much_sooner_is_asked_for_twice_the_latest_first() -> None:
    expected = {(0, number * BLOCK_BYTES, BLOCK_BYTES): 0.5 * number for number in range(1, 9)}
    blocks = list(expected)
    rate = 1.0 * BLOCK_BYTES  # a block a second
    assert choose_duplicates(expected, rate, 9, at_end=True) == [blocks[7]]
    assert choose_duplicates(expected, 100 * rate, 3, at_end=True) == blocks[:4:-1]
    assert choose_duplicates(expected, 100 * rate, 3, at_end=False) == []


def test_before_the_end_only_late_blocks_are_asked_for_twice() -> None:
    late, soon = (0, 0, BLOCK_BYTES), (1, 0, BLOCK_BYTES)
    expected = {soon: LATE_S, late: LATE_S + 0.1}
    assert choose_duplicates(expected, 1e9, 9, at_end=False) == [late]
