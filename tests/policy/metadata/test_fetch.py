"""Metadata from peers of whom some lie (row B2), in injected time."""

import random
from dataclasses import replace
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.metadata_swarm import (
    LIARS,
    Data,
    Fake,
    MetadataSwarm,
    good,
    honest,
    junk,
    liar_of_all,
    liar_of_length,
    liar_of_one,
    refusing,
    silent,
)
from torrent_engine.base.config import MIB, MetadataConfig
from torrent_engine.base.ids import InfoHash
from torrent_engine.policy.metadata.attempt import PIECE_BYTES
from torrent_engine.policy.metadata.fetch import (
    INLINE_CHECK_BYTES,
    MAX_OTHER_LENGTHS,
    PASSES_PER_TICK,
    Action,
    BanPeer,
    HashCheck,
    MetadataComplete,
    MetadataFetch,
    RequestPiece,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

CONFIG = MetadataConfig()
INFO = random.Random("info").randbytes(5 * PIECE_BYTES + 7)
SMALL = INFO[:500]


def swarm_of(
    info: bytes, kind: str, count: int, seed: int, inline_check_bytes: int = INLINE_CHECK_BYTES
) -> MetadataSwarm:
    rng = random.Random(seed)
    fakes: dict[Hashable, Fake] = {f"liar {n}": LIARS[kind](info, rng) for n in range(count)}
    fakes["honest"] = honest(info)
    return MetadataSwarm(info, fakes, seed=seed, inline_check_bytes=inline_check_bytes)


@pytest.mark.parametrize("count", [1, 12, pytest.param(100, marks=pytest.mark.no_cover)])
@pytest.mark.parametrize("pieces", [1, 6, 60])
@pytest.mark.parametrize("kind", LIARS)
def test_b2_any_number_of_liars_and_one_honest_peer_give_the_metadata_within_10_s(
    kind: str, pieces: int, count: int
) -> None:
    info = random.Random(pieces).randbytes((pieces - 1) * PIECE_BYTES + 500)
    for seed in range(2):
        swarm = swarm_of(info, kind, count, seed).run()
        assert swarm.arrived_s is not None
        assert swarm.arrived_s <= 10.0
        assert "honest" not in swarm.blamed
        assert swarm.most_held_bytes <= CONFIG.max_held_bytes
        liars = {key for key in swarm.blamed if swarm.fakes[key].lies}
        assert liars == swarm.blamed.keys()


@pytest.mark.parametrize("kind", LIARS)
def test_b2_liars_hold_up_nothing_either_while_copies_are_hashed_elsewhere(kind: str) -> None:
    for count in (1, 12):
        swarm = swarm_of(INFO, kind, count, seed=0, inline_check_bytes=0).run()
        assert swarm.arrived_s is not None
        assert swarm.arrived_s <= 10.0
        assert swarm.most_held_bytes <= CONFIG.max_held_bytes
        assert all(swarm.fakes[key].lies for key in swarm.blamed)


@pytest.mark.no_cover
def test_b2_liars_of_every_kind_at_once_hold_up_nothing() -> None:
    for seed in range(5):
        rng = random.Random(seed)
        fakes: dict[Hashable, Fake] = {
            (name, n): make(INFO, rng) for name, make in LIARS.items() for n in range(8)
        }
        fakes["honest"] = honest(INFO, delay_s=0.3)
        swarm = MetadataSwarm(INFO, fakes, seed=seed).run()
        assert swarm.arrived_s is not None
        assert swarm.arrived_s <= 10.0
        assert all(swarm.fakes[key].lies for key in swarm.blamed)


@settings(deadline=None, max_examples=60)
@given(
    kinds=st.lists(st.sampled_from(sorted(LIARS)), max_size=25),
    delays=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6),
    joins=st.floats(0, 5),
    size=st.integers(1, 12 * PIECE_BYTES),
    seed=st.integers(0, 999),
    inline_check_bytes=st.sampled_from([0, INLINE_CHECK_BYTES]),
)
def test_b2_no_honest_peer_is_ever_blamed_whatever_the_others_do(
    kinds: list[str],
    delays: list[float],
    joins: float,
    size: int,
    seed: int,
    inline_check_bytes: int,
) -> None:
    rng = random.Random(seed)
    info = rng.randbytes(size)
    fakes: dict[Hashable, Fake] = {n: LIARS[kind](info, rng) for n, kind in enumerate(kinds)}
    for n, delay_s in enumerate(delays):
        fakes["honest", n] = replace(honest(info, delay_s=delay_s), joins_s=rng.uniform(0, joins))
    swarm = MetadataSwarm(info, fakes, seed=seed, inline_check_bytes=inline_check_bytes).run()
    assert swarm.arrived_s is not None
    assert not [key for key in swarm.blamed if swarm.fakes[key].is_honest]


def test_b2_a_liar_of_whom_all_pieces_are_is_blamed_and_the_next_peer_is_asked_at_once() -> None:
    rng = random.Random(0)
    fakes: dict[Hashable, Fake] = {
        "liar": liar_of_all(INFO, rng),
        "honest": replace(honest(INFO), joins_s=2.0),
    }
    swarm = MetadataSwarm(INFO, fakes).run()
    assert swarm.blamed == {"liar": "sent wrong metadata"}
    assert swarm.arrived_s is not None
    assert swarm.arrived_s < 2.5


def test_b2_one_liar_among_many_honest_peers_costs_few_copies() -> None:
    rng = random.Random(0)
    fakes: dict[Hashable, Fake] = {n: honest(INFO) for n in range(40)}
    fakes["liar"] = replace(liar_of_one(INFO, rng), delay_s=0.01)
    swarm = MetadataSwarm(INFO, fakes).run()
    assert swarm.arrived_s is not None
    assert swarm.arrived_s < 1.0
    assert swarm.blamed.keys() <= {"liar"}
    assert sum(len(fake.asked) for fake in fakes.values()) <= 6 * 6 * 3


def test_b2_who_was_there_when_a_copy_was_wrong_is_blamed_when_the_metadata_is_known() -> None:
    rng = random.Random(3)
    fakes: dict[Hashable, Fake] = {"honest": honest(INFO, delay_s=0.2)}
    fakes["liar"] = Fake(len(INFO), lambda piece: [junk(len(INFO), piece, rng)] if piece else [])
    swarm = MetadataSwarm(INFO, fakes).run()
    assert swarm.blamed == {"liar": "sent wrong metadata"}


def test_b2_a_liar_that_left_is_blamed_too() -> None:
    fetch = MetadataFetch(InfoHash(sha1(INFO).digest()), CONFIG, random.Random(0))
    asked = fetch.peer_joined("liar", len(INFO), 0.0)
    assert [action for action in asked if isinstance(action, RequestPiece)] == asked
    first = asked[0]
    assert isinstance(first, RequestPiece)
    fetch.data_received("liar", first.piece, None, bytes(PIECE_BYTES), 0.1)
    fetch.peer_left("liar", 0.2)
    swarm_actions = fetch.peer_joined("honest", len(INFO), 0.3)
    done: list[object] = []
    while swarm_actions:
        action = swarm_actions.pop(0)
        if isinstance(action, RequestPiece):
            give = good(INFO, action.piece)
            swarm_actions += fetch.data_received("honest", give.piece, None, give.data, 0.4)
        else:
            done.append(action)
    assert done == [BanPeer("liar", "sent wrong metadata"), MetadataComplete(INFO)]


def test_b2_peers_that_disagree_on_the_length_are_heard_beside_each_other() -> None:
    rng = random.Random(1)
    fakes: dict[Hashable, Fake] = {n: liar_of_length(INFO, rng) for n in range(6)}
    fakes |= {("same", n): Fake(77_777, lambda _piece: []) for n in range(12)}
    fakes["honest"] = honest(INFO)
    swarm = MetadataSwarm(INFO, fakes).run()
    assert swarm.arrived_s is not None
    assert swarm.arrived_s < 5.0
    reasons = {swarm.blamed[key] for key in swarm.blamed if isinstance(key, tuple)}
    assert reasons == {"claimed metadata of 77777 bytes"}


@pytest.mark.parametrize("promised", [None, 0, -1, 48 * MIB + 1, 2**32, 2**63 - 1])
def test_b2_a_length_that_cannot_be_is_no_length(promised: int | None) -> None:
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    assert fetch.peer_joined("peer", promised, 0.0) == []
    assert fetch.tick(CONFIG.probe_after_s - 0.1) == []
    assert fetch.tick(CONFIG.probe_after_s) == [RequestPiece("peer", 0)]
    assert fetch.tick(CONFIG.probe_after_s + 0.1) == []
    assert fetch.data_received("peer", 0, promised, b"x", 6.0) == []  # nothing is believed
    assert fetch.tick(6.0 + CONFIG.rest_min_s - 1) == []
    assert fetch.held_bytes == 0


def test_bep9_a_peer_that_did_not_tell_the_length_tells_it_with_a_piece() -> None:
    fakes: dict[Hashable, Fake] = {"quiet": replace(honest(INFO), promised_bytes=None)}
    swarm = MetadataSwarm(INFO, fakes).run()
    assert swarm.arrived_s is not None
    assert CONFIG.probe_after_s < swarm.arrived_s < CONFIG.probe_after_s + 1.0


def test_bep9_a_peer_that_learns_the_length_later_is_asked_then() -> None:
    fetch = MetadataFetch(InfoHash(sha1(SMALL).digest()), CONFIG, random.Random(0))
    assert fetch.peer_joined("peer", None, 0.0) == []
    assert fetch.peer_joined("peer", len(SMALL), 1.0) == [RequestPiece("peer", 0)]
    assert fetch.peer_joined("peer", len(SMALL), 1.1) == []
    assert fetch.data_received("peer", 0, len(SMALL), SMALL, 1.2) == [MetadataComplete(SMALL)]
    assert fetch.info_bytes == SMALL


def test_b2_a_peer_has_two_requests_at_a_time_and_one_after_it_was_slow() -> None:
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    assert fetch.peer_joined("peer", 30 * MIB, 0.0) == [
        RequestPiece("peer", 0),
        RequestPiece("peer", 1),
    ]
    assert fetch.data_received("peer", 0, None, bytes(PIECE_BYTES), 0.1) == [
        RequestPiece("peer", 2)
    ]
    assert fetch.tick(3.05) == []
    assert fetch.tick(3.2) == [RequestPiece("peer", 3)]
    assert fetch.data_received("peer", 2, None, bytes(PIECE_BYTES), 3.3) == [
        RequestPiece("peer", 4)
    ]


def test_b2_silent_peers_have_a_rest_that_a_late_answer_ends() -> None:
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    fetch.peer_joined("peer", 30 * MIB, 0.0)
    assert fetch.tick(3.0) == [RequestPiece("peer", 2)]
    assert fetch.tick(6.0) == []
    assert fetch.tick(6.0 + CONFIG.rest_min_s - 0.1) == []
    assert fetch.data_received("peer", 0, None, bytes(PIECE_BYTES), 20.0) == [
        RequestPiece("peer", 3),
        RequestPiece("peer", 4),
    ]
    fetch.tick(24.0)
    fetch.tick(28.0)
    assert fetch.tick(28.0 + CONFIG.rest_max_s) != []


def test_b2_a_peer_that_was_asked_twice_may_answer_twice() -> None:
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    assert fetch.peer_joined("peer", 5, 0.0) == [RequestPiece("peer", 0)]
    assert fetch.tick(3.0) == [RequestPiece("peer", 0)]
    for _ in range(2):
        fetch.rejected("peer", 0, 3.1)
    for _ in range(CONFIG.max_strikes):
        assert fetch.rejected("peer", 0, 3.2) == []
    assert fetch.rejected("peer", 0, 3.2) != []


def test_b2_who_comes_when_peers_cannot_all_be_right_gives_a_copy_of_its_own() -> None:
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    asked = [
        *fetch.peer_joined("a", 4 * PIECE_BYTES, 0.0),
        *fetch.peer_joined("b", 4 * PIECE_BYTES, 0.0),
    ]
    for action in asked:
        assert isinstance(action, RequestPiece)
        fetch.data_received(action.key, action.piece, None, bytes(PIECE_BYTES), 0.1)
    assert fetch.peer_joined("c", 4 * PIECE_BYTES, 0.2) == [
        RequestPiece("c", 0),
        RequestPiece("c", 1),
    ]
    assert fetch.held_bytes == 4 * PIECE_BYTES  # what a and b gave is theirs


def test_b2_a_reject_is_no_offence_but_a_rest() -> None:
    rng = random.Random(0)
    fakes: dict[Hashable, Fake] = {"no": refusing(INFO, rng)}
    swarm = MetadataSwarm(INFO, fakes).run(200.0)
    assert swarm.blamed == {}
    assert 3 <= len(fakes["no"].asked) <= 2 * 200 / CONFIG.rest_min_s


def test_b2_what_nobody_asked_for_is_dropped_and_ends_in_blame() -> None:
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    fetch.peer_joined("peer", 30 * MIB, 0.0)
    for _ in range(CONFIG.max_strikes // 2):
        assert fetch.data_received("peer", 9, None, bytes(PIECE_BYTES), 0.1) == []
        assert fetch.rejected("peer", 9, 0.1) == []
    assert fetch.held_bytes == 0
    reason = "sent unrequested metadata"
    assert fetch.data_received("peer", 9, None, b"x", 0.1) == [BanPeer("peer", reason)]
    assert fetch.data_received("peer", 0, None, b"x", 0.1) == []
    assert fetch.rejected("peer", 0, 0.1) == []
    assert fetch.peer_left("peer", 0.1) == []


def test_b2_answers_after_the_metadata_came_are_no_offence_once() -> None:
    fetch = MetadataFetch(InfoHash(sha1(SMALL).digest()), CONFIG, random.Random(0))
    for key in "ab":
        assert fetch.peer_joined(key, len(SMALL), 0.0) == [RequestPiece(key, 0)]
    assert fetch.data_received("a", 0, None, SMALL, 0.1) == [MetadataComplete(SMALL)]
    assert fetch.data_received("b", 0, None, SMALL, 0.1) == []
    for _ in range(CONFIG.max_strikes):
        assert fetch.data_received("b", 0, None, SMALL, 0.2) == []
    assert isinstance(fetch.data_received("b", 0, None, SMALL, 0.2)[0], BanPeer)
    assert fetch.tick(99.0) == []
    assert fetch.peer_joined("c", 5, 99.0) == []


def test_b2_a_peer_that_changes_its_mind_begins_again() -> None:
    fetch = MetadataFetch(InfoHash(sha1(SMALL).digest()), CONFIG, random.Random(0))
    fetch.peer_joined("peer", 30 * MIB, 0.0)
    assert fetch.peer_joined("peer", len(SMALL), 0.1) == [RequestPiece("peer", 0)]
    assert fetch.data_received("peer", 1, 30 * MIB, bytes(PIECE_BYTES), 0.2) == [
        BanPeer("peer", "sent two different metadata lengths")
    ]


def test_b2_the_copy_that_fewest_agree_on_makes_room_when_memory_runs_out() -> None:
    config = MetadataConfig(max_bytes=8 * PIECE_BYTES, max_held_bytes=9 * PIECE_BYTES)
    rng = random.Random(5)
    info = rng.randbytes(8 * PIECE_BYTES)
    size = 8 * PIECE_BYTES - 1

    def stalls_at_the_end(piece: int) -> list[Data]:
        return [junk(size, piece, rng)] if piece < 7 else []

    for seed in range(20):
        fakes: dict[Hashable, Fake] = {n: honest(info, delay_s=0.3) for n in range(2)}
        fakes["liar"] = Fake(size, lambda piece: [*stalls_at_the_end(piece)], 0.01)
        swarm = MetadataSwarm(info, fakes, config=config, seed=seed).run(300.0)
        assert swarm.arrived_s is not None
        assert swarm.arrived_s <= 10.0
        assert swarm.most_held_bytes <= config.max_held_bytes
        assert swarm.blamed.keys() == {"liar"}


def test_b2_late_answers_take_no_more_memory_than_there_may_be() -> None:
    config = MetadataConfig(max_held_bytes=4 * PIECE_BYTES, max_bytes=30 * PIECE_BYTES)
    fetch = MetadataFetch(InfoHash(bytes(20)), config, random.Random(0))
    asked: list[object] = []
    for turn in range(6):
        now = config.request_timeout_s * turn
        asked += fetch.tick(now)  # what was asked for before is not waited for any more
        asked += fetch.peer_joined(turn, (30 - turn) * PIECE_BYTES, now)
    assert len(set(asked)) > 6
    for action in asked:
        assert isinstance(action, RequestPiece)
        fetch.data_received(action.key, action.piece, None, bytes(PIECE_BYTES), 16.0)
        assert fetch.held_bytes <= config.max_held_bytes
    assert fetch.held_bytes == config.max_held_bytes


def test_bep9_peers_share_the_work_and_progress_can_be_told() -> None:
    fakes: dict[Hashable, Fake] = {n: honest(INFO) for n in range(3)}
    swarm = MetadataSwarm(INFO, fakes)
    assert swarm.fetch.progress == (0, 0)
    swarm.run(0.06)
    assert swarm.fetch.progress == (6, 6) or swarm.arrived_s is not None
    assert swarm.arrived_s is not None
    assert sorted(len(fake.asked) for fake in fakes.values()) >= [2, 2, 2]


def test_b2_a_peer_that_leaves_gives_its_pieces_to_others() -> None:
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    size = 4 * PIECE_BYTES
    assert fetch.peer_joined("a", size, 0.0) == [RequestPiece("a", 0), RequestPiece("a", 1)]
    assert fetch.peer_joined("b", size, 0.0) == [RequestPiece("b", 2), RequestPiece("b", 3)]
    assert fetch.data_received("b", 2, None, bytes(PIECE_BYTES), 0.1) == [RequestPiece("b", 0)]
    fetch.peer_left("a", 0.2)
    assert fetch.data_received("b", 3, None, bytes(PIECE_BYTES), 0.3) == [RequestPiece("b", 1)]


def test_b2_silence_alone_is_never_blamed() -> None:
    rng = random.Random(0)
    fakes: dict[Hashable, Fake] = {n: silent(INFO, rng) for n in range(5)}
    swarm = MetadataSwarm(INFO, fakes).run(600.0)
    assert (swarm.arrived_s, swarm.blamed) == (None, {})
    assert max(len(fake.asked) for fake in fakes.values()) <= 600 / CONFIG.rest_min_s * 4


def test_f11_peers_that_come_and_go_and_repeat_themselves_bring_about_few_looks_at_all() -> None:
    fetch = MetadataFetch(InfoHash(sha1(INFO).digest()), CONFIG, random.Random(0))
    looks, open_copies = 0, fetch._open_copies

    def count(now: float) -> None:
        nonlocal looks
        looks += 1
        open_copies(now)

    fetch._open_copies = count  # type: ignore[method-assign]
    for number in range(200):
        fetch.peer_joined(number, len(INFO), 0.0)
    for turn in range(50):
        for number in range(200):
            fetch.peer_joined(number, len(INFO) + turn % 3, 0.0)
        fetch.peer_left("nobody", 0.0)
        fetch.peer_joined(("new", turn), 1_000 + turn, 0.0)
        fetch.peer_left(("new", turn), 0.0)
    assert looks == PASSES_PER_TICK
    assert len(fetch._shared) <= PASSES_PER_TICK + 3
    fetch.tick(0.25)
    assert looks == PASSES_PER_TICK + 1


def test_b2_in_a_crowd_who_can_help_at_once_is_asked_at_once() -> None:
    size = 100 * PIECE_BYTES
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    for number in range(PASSES_PER_TICK + 5):
        asked = fetch.peer_joined(number, size, 0.0)
        assert asked == [RequestPiece(number, 2 * number), RequestPiece(number, 2 * number + 1)]


def test_b2_a_peer_that_names_one_length_after_the_other_is_believed_a_few_times() -> None:
    fetch = MetadataFetch(InfoHash(bytes(20)), CONFIG, random.Random(0))
    asked = [bool(fetch.peer_joined("peer", 1_000 + number, 0.0)) for number in range(10)]
    assert asked == [True] * (1 + MAX_OTHER_LENGTHS) + [False] * (9 - MAX_OTHER_LENGTHS)


# -- copies that are hashed elsewhere ------------------------------------------------------------

LONG = random.Random("long").randbytes(INLINE_CHECK_BYTES + 1)
LAST = len(LONG) // PIECE_BYTES


def long_fetch() -> MetadataFetch:
    return MetadataFetch(InfoHash(sha1(LONG).digest()), CONFIG, random.Random(0))


def give(
    fetch: MetadataFetch, actions: list[Action], wrong: "dict[Hashable, set[int]]"
) -> list[Action]:
    """Answer all requests at once, these pieces of these peers wrongly; return the rest."""
    rest: list[Action] = []
    while actions:
        action = actions.pop(0)
        if not isinstance(action, RequestPiece):
            rest.append(action)
            continue
        data = good(LONG, action.piece).data
        if action.piece in wrong.get(action.key, ()):
            data = bytes(len(data))
        actions += fetch.data_received(action.key, action.piece, len(LONG), data, 0.1)
    return rest


def check_of(actions: list[Action]) -> HashCheck:
    (check,) = actions
    assert isinstance(check, HashCheck)
    return check


def test_f11_a_long_copy_is_not_hashed_at_once() -> None:
    fetch = long_fetch()
    check = check_of(give(fetch, fetch.peer_joined("a", len(LONG), 0.0), {}))
    assert fetch.info_bytes is None
    assert fetch.tick(0.25) == []
    assert fetch.checked(check, check.run(), 0.3) == [MetadataComplete(LONG)]
    assert fetch.info_bytes == LONG
    assert fetch.checked(check, None, 0.4) == []


def test_b2_who_sent_a_wrong_long_copy_is_blamed_once_although_it_left_meanwhile() -> None:
    fetch = long_fetch()
    check = check_of(give(fetch, fetch.peer_joined("liar", len(LONG), 0.0), {"liar": {3}}))
    fetch.peer_left("liar", 0.2)
    assert fetch.checked(check, check.run(), 0.3) == [BanPeer("liar", "sent wrong metadata")]
    assert fetch.checked(check, check.run(), 0.3) == []
    check = check_of(give(fetch, fetch.peer_joined("honest", len(LONG), 0.4), {}))
    assert fetch.checked(check, check.run(), 0.5) == [MetadataComplete(LONG)]


def both(wrong: "dict[Hashable, set[int]]") -> tuple[MetadataFetch, HashCheck]:
    """Return a fetch of which two peers have sent one copy."""
    fetch = long_fetch()
    first = [*fetch.peer_joined("a", len(LONG), 0.0), *fetch.peer_joined("b", len(LONG), 0.0)]
    check = check_of(give(fetch, first, wrong))
    assert check.sources() == {"a", "b"}
    return fetch, check


def test_b2_two_peers_with_one_wrong_long_copy_each_give_one_of_their_own() -> None:
    wrong: dict[Hashable, set[int]] = {"b": set(range(LAST + 1))}
    fetch, check = both(wrong)
    rest = give(fetch, fetch.checked(check, check.run(), 0.2), wrong)
    own = [each for each in rest if isinstance(each, HashCheck)]
    assert [each.sources() for each in own] in ([{"a"}, {"b"}], [{"b"}, {"a"}])
    found = [action for each in own for action in fetch.checked(each, each.run(), 0.3)]
    assert sorted(map(str, found)) == sorted(
        map(str, [BanPeer("b", "sent wrong metadata"), MetadataComplete(LONG)])
    )


def test_b2_a_wrong_long_copy_that_lost_its_liar_meanwhile_is_completed_by_the_others() -> None:
    fetch, check = both({"b": set(range(LAST + 1))})
    asked: list[Action] = []
    for _ in range(CONFIG.max_strikes + 1):
        asked += fetch.data_received("b", 0, len(LONG), b"", 0.2)
    assert asked.pop(0) == BanPeer("b", "sent unrequested metadata")
    asked += fetch.checked(check, check.run(), 0.3)
    again = check_of(give(fetch, asked, {}))
    assert again.sources() == {"a"}
    assert fetch.checked(again, again.run(), 0.4)[-1] == MetadataComplete(LONG)


def test_b2_a_copy_that_is_being_checked_makes_no_room_for_others() -> None:
    config = replace(CONFIG, max_held_bytes=len(LONG) + PIECE_BYTES)
    fetch = MetadataFetch(InfoHash(sha1(LONG).digest()), config, random.Random(0))
    check = check_of(give(fetch, fetch.peer_joined("a", len(LONG), 0.0), {}))
    fetch.peer_left("a", 0.1)
    for number in range(5):
        give(fetch, fetch.peer_joined(number, len(LONG) + 1 + number, 0.2), {})
    assert fetch.held_bytes <= config.max_held_bytes
    assert check_of([check]) is check
    assert fetch.progress == (LAST + 1, LAST + 1)
    assert fetch.checked(check, check.run(), 0.3)[-1] == MetadataComplete(LONG)
