"""The order in which pieces are copied, and what is dropped of it."""

from typing import Any

from torrent_engine.engine.content.copy_queue import CopyQueue
from torrent_engine.engine.content.shared_content import Twin

END = 1 << 30
ONE: Any = "one torrent"
OTHER: Any = "another"
A, B, C = Twin(ONE, 0), Twin(ONE, 1), Twin(OTHER, 0)


def queue_of(*runs: tuple[Twin, list[int]]) -> CopyQueue:
    queue = CopyQueue()
    for source, pieces in runs:
        queue.add(dict.fromkeys(pieces, source))
    return queue


def runs(queue: CopyQueue, stop: int = END) -> list[tuple[Twin, list[int]]]:
    """Return all that is queued, as it is taken."""
    taken = []
    while queue:
        _, source = queue.first()
        taken.append((source, queue.take_run(stop)))
    return taken


def test_pieces_from_one_source_follow_each_other() -> None:
    queue = queue_of((A, [5, 6]), (C, [1]), (B, [9]), (A, [7, 2]))
    assert queue.first() == (5, A)
    assert runs(queue) == [(A, [5, 6, 7]), (A, [2]), (B, [9]), (C, [1])]
    assert not queue


def test_a_run_ends_where_it_must() -> None:
    queue = queue_of((A, [5, 6, 7, 8]))
    assert queue.take_run(7) == [5, 6]
    assert queue.take_run(7) == [7]  # the first is always taken
    assert queue.take_run(END) == [8]


def test_what_is_put_back_is_next() -> None:
    queue = queue_of((A, [5, 6, 7]), (C, [1]))
    assert queue.take_run(END) == [5, 6, 7]
    queue.put_back(A, [6, 7])
    assert runs(queue, 0) == [(A, [6]), (A, [7]), (C, [1])]
    queue = queue_of((A, [5, 6, 7]), (C, [1]))
    queue.take_run(7)
    queue.put_back(A, [6])
    queue.put_back(A, [])
    assert runs(queue) == [(A, [6, 7]), (C, [1])]


def test_what_came_meanwhile_is_behind_what_is_put_back() -> None:
    queue = queue_of((A, [5, 6]), (C, [1]))
    queue.take_run(END)
    queue.add({8: A})
    queue.put_back(A, [6])
    assert runs(queue) == [(A, [6]), (A, [8]), (C, [1])]


def test_what_is_left_from_a_source_is_dropped() -> None:
    queue = queue_of((A, [5, 6, 7]), (B, [9]), (C, [1, 2]))
    queue.take_run(6)
    assert list(queue.drop(B)) == [9]
    assert list(queue.drop(B)) == []
    assert list(queue.drop(A)) == [6, 7]
    assert runs(queue) == [(C, [1, 2])]
    assert list(queue.drop(C)) == []


def test_what_is_left_from_a_torrent_is_dropped() -> None:
    queue = queue_of((A, [5, 6, 7]), (B, [9]), (C, [1, 2]))
    queue.take_run(6)
    assert list(map(list, queue.drop_all(ONE))) == [[6, 7], [9]]
    assert queue.drop_all(ONE) == []
    assert queue.take_run(0) == [1]
    assert list(map(list, queue.clear())) == [[2]]
    assert not queue
    assert queue.clear() == []
