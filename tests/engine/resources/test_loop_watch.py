"""The watch over the event loop (row F11): lags are counted, and what ran is named."""

import errno
import logging
import threading
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.support.managers import manager
from tests.support.swarm import until
from torrent_engine.engine.resources import loop_watch
from torrent_engine.engine.resources.loop_watch import LATE_S, LoopWatch, thread_stacks, where
from torrent_engine.engine.stats import LoopLag

pytestmark = pytest.mark.anyio


def stand_still(seconds: float) -> None:
    time.sleep(seconds)


async def test_f11_a_lag_is_measured_and_what_ran_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = LoopWatch()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        await anyio.sleep(0.1)
        with caplog.at_level(logging.WARNING):
            stand_still(0.5)
            await until(lambda: watch.lag().late_count)
        tasks.cancel_scope.cancel()
    lag = watch.lag()
    assert lag.longest_s >= 0.5 - LATE_S
    assert "stand_still" in lag.last_place
    assert "stand_still" in caplog.text
    assert "stood still for" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "loop-watch"]


def test_f11_the_numbers_are_those_of_all_beats() -> None:
    watch = LoopWatch(clock=lambda: 0.0)
    assert watch.lag() == LoopLag()
    for _ in range(980):
        watch.note(0.001)
    for _ in range(20):
        watch.note(0.06)
    assert watch.lag() == LoopLag(0.06, 0.064, 0, "")
    watch.note(0.0)
    watch.note(3.0)
    lag = watch.lag()
    assert (lag.longest_s, lag.late_count, lag.last_place) == (3.0, 1, "not seen")


def test_f11_what_ran_in_an_earlier_lag_is_not_said_of_a_later_one() -> None:
    watch = LoopWatch()
    watch._place = "what ran"
    watch.note(LATE_S * 0.7)  # looked at, and not late enough to be told
    watch.note(LATE_S)
    assert watch.lag().last_place == "not seen"
    watch._place = "what ran"
    watch.note(LATE_S)
    assert watch.lag().last_place == "what ran"


def test_f11_warnings_are_not_a_flood(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    watch = LoopWatch(clock=lambda: now)
    for _ in range(50):
        watch.note(0.2)
    now += 11
    watch.note(0.2)
    assert len([record for record in caplog.records if "stood still" in record.message]) == 2
    assert watch.lag().late_count == 51


def test_f11_a_lag_while_the_system_runs_others_is_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Something of ours was begun, and then got no processor."""
    watch = LoopWatch()
    watch._place = "what ran"
    with caplog.at_level(logging.INFO):
        watch.note(0.3, delayed_s=0.25)
    assert watch.lag() == LoopLag(0.3, 0.512, 1, "")
    assert "no processor time for 300 ms" in caplog.text
    assert "stood still" not in caplog.text
    watch._place = "what ran"
    watch.note(0.3, delayed_s=0.15)
    assert "stood still for 300 ms; it ran what ran" in caplog.text


def leave_out_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the threads that other tests of this process have left."""
    left = set(thread_stacks()) - {threading.get_ident()}
    monkeypatch.setattr(
        loop_watch,
        "thread_stacks",
        lambda: {k: v for k, v in thread_stacks().items() if k not in left},
    )


def test_f9_the_watch_goes_on_where_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(loop_watch, "_file", fail)
    assert LoopWatch()._look() == "not seen"


async def test_f11_a_process_that_gets_no_processor_time_is_no_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop waits although its beat is overdue: other programs run instead of this one."""
    leave_out_other_threads(monkeypatch)
    watch = LoopWatch()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        await anyio.sleep(0.1)
        with anyio.fail_after(60):  # until it is looked at while the loop waits
            while await anyio.to_thread.run_sync(watch._look):
                pass
        watch._place = ""
        with caplog.at_level(logging.INFO):
            watch.note(0.2)
        tasks.cancel_scope.cancel()
    assert "no processor time for 200 ms" in caplog.text
    assert "stood still" not in caplog.text


def test_a_thread_that_is_gone_ran_nothing_that_was_seen() -> None:
    assert where([]) == "not seen"


async def test_f11_stats_have_the_lag_and_nothing_is_left_of_the_watch(tmp_path: Path) -> None:
    async with manager(tmp_path) as many:
        assert [thread for thread in threading.enumerate() if thread.name == "loop-watch"]
        stand_still(1.0)
        await until(lambda: many.stats().loop_lag.late_count)
        assert many.stats().loop_lag.longest_s > LATE_S
    assert not [thread for thread in threading.enumerate() if thread.name == "loop-watch"]
