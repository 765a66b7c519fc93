"""The timer wheel: who is due when, and that nobody stands in it twice."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.net.utp.timers import STEP_S, TimerWheel


class Due:
    def __init__(self) -> None:
        self.slot: int | None = None


def transports(count: int) -> list[Any]:
    return [Due() for _ in range(count)]


def test_the_first_that_is_due_is_told() -> None:
    wheel = TimerWheel()
    first, second = transports(2)
    assert wheel.next_s() is None
    assert wheel.set(first, 2.0)
    assert wheel.set(second, 1.0)
    assert wheel.next_s() == pytest.approx(1.0, abs=STEP_S)
    assert wheel.take(1.5) == [second]
    assert wheel.take(1.5) == []
    assert len(wheel) == 1


def test_who_is_due_later_now_stands_where_it_stood() -> None:
    wheel = TimerWheel()
    (one,) = transports(1)
    wheel.set(one, 1.0)
    assert not wheel.set(one, 5.0)
    assert not wheel.set(one, None)
    assert wheel.take(1.0) == [one]
    assert wheel.set(one, 5.0)
    assert wheel.set(one, 3.0)
    assert wheel.take(4.0) == [one]


def test_who_is_dropped_is_not_due() -> None:
    wheel = TimerWheel()
    first, second = transports(2)
    wheel.set(first, 1.0)
    wheel.set(second, 2.0)
    wheel.drop(first)
    wheel.drop(first)
    assert wheel.next_s() == pytest.approx(2.0, abs=STEP_S)
    assert wheel.take(9.0) == [second]
    assert wheel.next_s() is None


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 100)), max_size=60))
def test_everybody_is_taken_once_and_never_too_late(steps: list[tuple[int, float]]) -> None:
    wheel, all_of_them = TimerWheel(), transports(10)
    earliest: dict[int, float] = {}
    for number, due_s in steps:
        wheel.set(all_of_them[number], due_s)
        earliest[number] = min(due_s, earliest.get(number, due_s))
    assert len(wheel) == len(earliest)
    for number, due_s in sorted(earliest.items(), key=lambda item: item[1]):
        taken = wheel.take(due_s + 2 * STEP_S)
        assert all_of_them[number] in taken or all_of_them[number].slot is None
    assert len(wheel) == 0


def test_c4_steps_that_nobody_waits_for_any_more_are_forgotten() -> None:
    wheel = TimerWheel()
    stays, *go = transports(20_001)
    wheel.set(stays, 500.0)
    for number, each in enumerate(go):
        wheel.set(each, 1.0 + number * STEP_S)
        wheel.drop(each)
    assert len(wheel._slots) <= 1_100
    assert len(wheel._order) <= 1_100
    assert wheel.next_s() == pytest.approx(500.0)
    assert wheel.take(600.0) == [stays]
