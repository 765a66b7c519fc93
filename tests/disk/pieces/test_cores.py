"""Shares of the cores for threads that hash at the same time."""

import errno
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from torrent_engine.disk.pieces import cores as cores_module
from torrent_engine.disk.pieces.cores import CoreShares, move_thread

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")


class FakeCores:
    """The cores that threads may use, instead of the system's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *allowed: int) -> None:
        self.now = set(allowed)
        self.moves: list[set[int]] = []
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(self.now), raising=False)
        monkeypatch.setattr(os, "sched_setaffinity", None, raising=False)  # as on Linux
        monkeypatch.setattr(cores_module, "move_thread", self._move)

    def _move(self, cores: Iterable[int]) -> None:
        self.now = set(cores)
        self.moves.append(self.now)


def in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@needs_affinity
def test_a_thread_is_on_its_share_for_a_while() -> None:
    found: list[set[int]] = []

    def work() -> None:
        found.append(os.sched_getaffinity(0))
        with CoreShares().hold(2):
            found.append(os.sched_getaffinity(0))
        found.append(os.sched_getaffinity(0))

    in_thread(work)
    before, during, after = found
    assert before == after == os.sched_getaffinity(0)
    assert during == (set(sorted(before)[::2]) if len(before) > 1 else before)


@pytest.mark.parametrize(
    ("count", "shares"),
    [
        (2, [{2, 5}, {3, 9}]),
        (3, [{2, 9}, {3}, {5}]),
        (4, [{2}, {3}, {5}, {9}]),
    ],
)
def test_threads_at_the_same_time_have_shares_of_their_own(
    monkeypatch: pytest.MonkeyPatch, count: int, shares: list[set[int]]
) -> None:
    held, found = CoreShares(), list[set[int]]()

    def hold_next() -> None:
        if len(found) < count:
            cores = FakeCores(monkeypatch, 2, 3, 5, 9)  # each thread has its own
            with held.hold(count):
                found.append(cores.now)
                hold_next()

    hold_next()
    assert found == shares


def test_a_share_that_was_given_back_is_taken_next(monkeypatch: pytest.MonkeyPatch) -> None:
    held = CoreShares()
    first, second = held.hold(2), held.hold(2)
    FakeCores(monkeypatch, 0, 1)
    first.__enter__()
    FakeCores(monkeypatch, 0, 1)
    second.__enter__()
    first.__exit__(None, None, None)
    third = FakeCores(monkeypatch, 0, 1)
    with held.hold(2):
        assert third.now == {0}
        fourth = FakeCores(monkeypatch, 0, 1)
        with held.hold(2):  # both are held
            assert fourth.now == {0}
    second.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("count", "allowed"),
    [(1, (0, 1)), (2, (0,)), (2, (65_537,)), (3, (0, 1)), (0, (0, 1))],
    ids=["one_thread", "one_core", "one_core_far_up", "more_threads_than_cores", "no_thread"],
)
def test_a_thread_stays_on_all_of_its_cores(
    monkeypatch: pytest.MonkeyPatch, count: int, allowed: tuple[int, ...]
) -> None:
    cores = FakeCores(monkeypatch, *allowed)
    with CoreShares().hold(count):
        pass
    assert cores.moves == []


@pytest.mark.parametrize("error", [OSError, MemoryError, KeyboardInterrupt])
def test_an_error_leaves_no_thread_on_its_share(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    cores, held = FakeCores(monkeypatch, 0, 1), CoreShares()
    with pytest.raises(error), held.hold(2):
        raise error
    assert cores.moves == [{0}, {0, 1}]
    with held.hold(2):
        assert cores.now == {0}


def test_a_thread_that_somebody_moves_meanwhile_stays_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cores, held = FakeCores(monkeypatch, 0, 1, 2), CoreShares()
    with held.hold(2):
        cores.now = {1}
    assert cores.now == {1}
    assert cores.moves == [{0, 2}]


def test_a_system_without_affinity_runs_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    done: list[int] = []
    with CoreShares().hold(2):
        done.append(1)
    assert done == [1]


@pytest.mark.parametrize(
    ("owner", "name"), [(os, "sched_getaffinity"), (cores_module, "move_thread")]
)
def test_a_refusal_is_no_error(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    asked: list[str] = []

    def refuse(*_: object) -> None:
        asked.append(name)
        raise PermissionError

    cores = FakeCores(monkeypatch, 0, 1)
    monkeypatch.setattr(owner, name, refuse)
    with CoreShares().hold(2):
        assert asked == [name]
    assert cores.now == {0, 1}


def test_cores_that_are_taken_away_meanwhile_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = FakeCores(monkeypatch, 0, 1)

    def fail(_cores: Iterable[int]) -> None:
        raise OSError(22, "Invalid argument")

    with CoreShares().hold(2):
        monkeypatch.setattr(cores_module, "move_thread", fail)
    assert cores.moves == [{0}]


@needs_affinity
def test_a_thread_is_moved_to_each_of_its_cores_alone() -> None:
    found: list[set[int]] = []
    allowed = sorted(os.sched_getaffinity(0))

    def work() -> None:
        for core in allowed:
            move_thread([core])
            found.append(os.sched_getaffinity(0))
        move_thread(allowed)
        found.append(os.sched_getaffinity(0))

    in_thread(work)
    assert found == [*({core} for core in allowed), set(allowed)]


@needs_affinity
@pytest.mark.parametrize("core", [1_000, 65_537])
def test_a_core_that_is_not_there_is_refused(core: int) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        move_thread([core])


@needs_affinity
def test_other_threads_run_while_the_system_moves_one() -> None:
    """The event loop among them: the call must not be one that keeps the interpreter lock."""
    keeps_lock = 0x4  # FUNCFLAG_PYTHONAPI of ctypes
    function: Any = cores_module._set_affinity()
    assert not type(function)._flags_ & keeps_lock
