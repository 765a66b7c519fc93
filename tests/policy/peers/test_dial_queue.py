"""The dial queue against a slow and obvious model."""

from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.ids import PeerAddress
from torrent_engine.policy.peers.dial_queue import DialQueue

ADDRESSES = [PeerAddress(f"10.0.0.{number}", 1) for number in range(8)]


def test_best_rank_first_then_priority_then_age() -> None:
    queue = DialQueue()
    for index, (rank, priority) in enumerate([(1, 9), (0, 1), (0, 5), (0, 5)]):
        queue.put(ADDRESSES[index], rank, priority, due=0)
    assert [queue.pop(0) for _ in range(5)] == [*(ADDRESSES[i] for i in (2, 3, 1, 0)), None]


def test_worst_is_the_oldest_of_the_worst_rank() -> None:
    queue = DialQueue()
    assert queue.worst() is None
    for index, rank in enumerate([0, 3, 3, 1]):
        queue.put(ADDRESSES[index], rank, 0, due=index)
    assert queue.worst() == (3, ADDRESSES[1])
    queue.discard(ADDRESSES[1])
    assert queue.worst() == (3, ADDRESSES[2])


def test_worst_is_looked_for_among_some_kinds_and_the_last_kind_is_worse() -> None:
    queue = DialQueue()
    for index, (rank, kind) in enumerate([(5, 0), (3, 1), (3, 2), (1, 2)]):
        queue.put(ADDRESSES[index], rank, 0, due=0, kind=kind)
    assert queue.worst() == (5, ADDRESSES[0])
    assert queue.worst({1, 2}) == (3, ADDRESSES[2])
    assert queue.worst({1}) == (3, ADDRESSES[1])
    assert queue.worst({7}) is None
    assert [queue.count_of(kind) for kind in range(4)] == [1, 1, 2, 0]


def test_stale_entries_do_not_pile_up() -> None:
    queue = DialQueue()
    for number in range(10_000):
        queue.put(ADDRESSES[0], 0, 0, due=number)
        assert sum(map(len, queue._ready.values())) + len(queue._later) <= 110
    assert len(queue) == 1
    assert queue.pop(9_998) is None
    assert queue.pop(9_999) == ADDRESSES[0]


OPERATIONS = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from(ADDRESSES),
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 20),
        st.integers(0, 2),
    ),
    st.tuples(st.just("discard"), st.sampled_from(ADDRESSES)),
    st.tuples(st.just("pop"), st.integers(0, 5), st.sampled_from([None, 0, 2])),
)


@given(st.lists(OPERATIONS, max_size=60))
def test_queue_does_what_the_model_does(operations: list[tuple]) -> None:
    queue, model, now = DialQueue(), {}, 0
    for ticket, (verb, *arguments) in enumerate(operations):
        if verb == "put":
            address, rank, priority, due, kind = arguments
            queue.put(address, rank, priority, due, kind=kind)
            model[address] = (rank, -priority, ticket, due, kind)
        elif verb == "discard":
            queue.discard(arguments[0])
            model.pop(arguments[0], None)
        else:
            now += arguments[0]
            due_now = {key: place for key, place in model.items() if place[3] <= now}
            places = {key: (due_now[key][4] == arguments[1], due_now[key][:3]) for key in due_now}
            expected = min(places, key=places.__getitem__, default=None)
            assert queue.pop(now, last=arguments[1]) == expected
            model.pop(expected, None)
        assert len(queue) == len(model)
        assert all((address in queue) == (address in model) for address in ADDRESSES)
        waits = [max(place[3], now) for place in model.values()]
        assert queue.next_due(now) == min(waits, default=None)
