"""Timers of torrents at rest: one task for all, each called once and at its time."""

from functools import partial

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import ManualClock, let_tasks_run
from tests.support.sleeping_clock import SleepingClock
from torrent_engine.engine.timers import Alarm, DormantTimers


@pytest.mark.anyio
async def test_what_is_due_is_called_at_its_time_an_earlier_one_set_later_too() -> None:
    clock, called = SleepingClock(), list[tuple[str, float]]()
    timers = DormantTimers(clock, alarm=Alarm(clock.sleep))

    def fire(name: str) -> None:
        called.append((name, clock.now))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timers.run)
        timers.set("late", 20.0, partial(fire, "late"))
        await let_tasks_run()
        timers.set("early", 5.0, partial(fire, "early"))
        timers.set("never", 6.0, partial(fire, "never"))
        timers.drop("never")
        timers.drop("never")
        for _ in range(30):
            await clock.advance(1.0)
        tasks.cancel_scope.cancel()
    assert called == [("early", 5.0), ("late", 20.0)]


def test_a_bug_in_one_hurts_no_other(caplog: pytest.LogCaptureFixture) -> None:
    timers, called = DormantTimers(lambda: 10.0), list[str]()

    def fails() -> None:
        raise ValueError("a bug")

    timers.set("a", 1.0, fails)
    timers.set("b", 2.0, partial(called.append, "b"))
    timers._fire_due()
    assert (called, len(timers)) == (["b"], 0)
    assert "internal error in the timer of a dormant torrent" in caplog.messages


STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "drop", "wait"]), st.integers(0, 5), st.integers(0, 9))
)


@given(STEPS)
def test_each_timer_is_called_once_unless_dropped_or_set_anew(
    steps: list[tuple[str, int, int]],
) -> None:
    clock, called = ManualClock(0.0), list[int]()
    timers, expected = DormantTimers(clock), dict[int, float]()
    for verb, key, number in steps:
        if verb == "set":
            expected[key] = clock.now + number
            timers.set(key, clock.now + number, partial(called.append, key))
        elif verb == "drop":
            expected.pop(key, None)
            timers.drop(key)
        else:
            clock.advance(number)
            timers._fire_due()
            due = sorted(each for each, at_s in expected.items() if at_s <= clock.now)
            assert sorted(called) == due
            expected = {each: at_s for each, at_s in expected.items() if each not in due}
            called.clear()
        assert len(timers) == len(expected)
        assert len(timers._due) <= 2 * len(timers) + 17
