"""The order of the queue, against a plain list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cpu_time import cpu_time
from torrent_engine.policy.queue.positions import QueuePositions

VERBS = st.sampled_from(["add", "add_at", "remove", "move_to", "top"])
STEPS = st.lists(st.tuples(VERBS, st.integers(0, 12), st.integers(-3, 15)), max_size=80)


def act(order: list[int], verb: str, key: int, position: int) -> None:
    """Do to a plain list what is done to the queue."""
    is_there = key in order
    if verb in {"add", "add_at"} and is_there:
        return
    if is_there:
        order.remove(key)
    place = {"top": 0, "add": len(order)}.get(verb, position)
    if verb != "remove":
        order.insert(min(max(place, 0), len(order)), key)


@given(STEPS)
def test_every_verb_does_what_it_does_to_a_list(steps: list[tuple[str, int, int]]) -> None:
    queue, order = QueuePositions[int](), list[int]()
    for verb, key, position in steps:
        if verb in {"move_to", "top"} and key not in order:
            continue
        act(order, verb, key, position)
        if verb == "add_at":
            queue.add(key, position)
        elif verb == "move_to":
            queue.move_to(key, position)
        else:
            getattr(queue, verb)(key)
        assert queue.order() == tuple(order)
        assert [queue.position(each) for each in order] == list(range(len(order)))
        assert len(queue) == len(order)
        assert (key in queue) == (key in order)


def test_moves_to_one_place_for_ever_leave_the_order_right() -> None:
    queue, order = QueuePositions(range(5)), list(range(5))
    for turn in range(2_000):  # halving a float that often leaves nothing of it
        key = (4, 3)[turn % 2]
        act(order, "move_to", key, 2)
        queue.move_to(key, 2)
    assert queue.order() == tuple(order)


@pytest.mark.no_cover
def test_ten_thousand_are_moved_about_in_no_time() -> None:
    queue = QueuePositions(range(10_000))
    with cpu_time() as spent:
        for key in range(2_000):
            queue.move_to(key * 5, (key * 7_919) % 10_000)
            queue.position(key)
    assert spent.seconds < 1.0  # a list would take 100 us each, and more
    assert sorted(queue.order()) == list(range(10_000))
