"""Completions that are told to hooks once, whatever a killed process had seen of them."""

from typing import Any

import pytest

from tests.daemon.fake_port import FakeEngine
from torrent_engine.base.ids import InfoHash
from torrent_engine.daemon.engine_port.facts import EngineState, Moment, MomentNotice
from torrent_engine.daemon.jobs.completions import Completions
from torrent_engine.daemon.state.store import DaemonStore

WHOLE: dict[str, Any] = {"total_bytes": 10, "completed_bytes": 10, "state": EngineState.SEEDING}


class Bench:
    """An engine and a table that outlive processes."""

    def __init__(self) -> None:
        self.engine = FakeEngine(save_path="/there")
        self.table = DaemonStore().table("completions")
        self.told: list[InfoHash] = []
        self._one: Completions | None = None
        self._unsubscribe = lambda: None

    def start(self, *, is_wanted: bool = True) -> None:
        """Begin as a process does."""
        self._one = one = Completions(
            self.engine.port.torrents, self.table, self.told.append, is_wanted=is_wanted
        )
        self._unsubscribe = self.engine.port.events.subscribe(one.take)
        one.begin()

    def kill(self) -> None:
        """End as a process does that is killed."""
        self._unsubscribe()

    def stop(self) -> None:
        """End as a process does that is asked to."""
        assert self._one is not None
        self._unsubscribe()
        self._one.end()

    def add(self, **facts: Any) -> InfoHash:
        """Add a torrent that downloads."""
        key = self.engine.put(total_bytes=10, **facts)
        self.engine.change(key, state=EngineState.CHECKING)
        self.engine.change(key, state=EngineState.DOWNLOADING)
        return key

    def check(self, key: InfoHash, state: EngineState) -> None:
        """Let a check find a torrent complete, which the engine does not report as a completion."""
        self.engine.change(key, state=EngineState.CHECKING)
        self.engine.change(key, completed_bytes=10, state=state)

    def complete(self, key: InfoHash) -> None:
        """Let a torrent become complete, as the engine reports it."""
        self.engine.change(key, completed_bytes=10, state=EngineState.SEEDING)
        self.engine.report(MomentNotice(key, Moment.COMPLETED))


def test_a_completion_is_told_once_over_stops_and_kills() -> None:
    bench = Bench()
    bench.start()
    one = bench.add()
    bench.complete(one)
    for end in (bench.stop, bench.kill, bench.stop):
        end()
        bench.start()
        bench.check(one, EngineState.SEEDING)
    assert bench.told == [one]


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "not_seen"])
def test_what_completed_at_the_kill_is_told_at_the_next_start(is_seen: bool) -> None:
    bench = Bench()
    bench.start()
    if not is_seen:
        bench.kill()  # before anything of the torrent was written
    one = bench.add()
    if is_seen:
        bench.kill()
    bench.engine.change(one, completed_bytes=10, all_downloaded_bytes=10)
    bench.engine.change(one, state=EngineState.SEEDING)
    bench.start()
    bench.kill()
    bench.start()
    assert bench.told == [one]


def test_what_a_check_finds_complete_after_a_kill_is_told_then() -> None:
    bench = Bench()
    bench.start()
    one = bench.add()
    bench.kill()
    bench.engine.change(one, state=EngineState.CHECKING)
    bench.start()
    assert bench.told == []
    bench.check(one, EngineState.SEEDING)
    bench.engine.report(MomentNotice(one, Moment.COMPLETED))  # of the move that was not done
    assert bench.told == [one]


def test_what_is_not_where_it_stays_is_told_when_it_is() -> None:
    bench = Bench()
    bench.start()
    one = bench.add(current_path="/incomplete")
    bench.kill()
    bench.engine.change(one, completed_bytes=10, state=EngineState.SEEDING)
    bench.start()
    bench.engine.change(one, is_moving=True)
    bench.engine.change(one, current_path="/there")
    assert bench.told == []
    bench.engine.change(one, is_moving=False)
    bench.engine.report(MomentNotice(one, Moment.COMPLETED))
    assert bench.told == [one]


def test_what_completed_while_no_daemon_ran_is_told_if_one_knew_it_downloading() -> None:
    bench = Bench()
    bench.start()
    one = bench.add()
    bench.stop()
    bench.engine.change(one, completed_bytes=10, state=EngineState.STOPPED)
    bench.engine.put(**WHOLE, all_downloaded_bytes=10)  # of another program
    bench.start()
    assert bench.told == [one]


def test_what_was_complete_when_it_was_added_is_not_told() -> None:
    bench = Bench()
    bench.engine.put(**WHOLE)
    bench.engine.put(**WHOLE, all_downloaded_bytes=10)  # before completions were written down
    bench.start()
    two = bench.engine.put(total_bytes=10)
    bench.check(two, EngineState.SEEDING)
    bench.kill()
    bench.engine.put(**WHOLE)
    bench.start()
    bench.check(two, EngineState.SEEDING)
    assert bench.told == []


def test_more_files_make_another_completion() -> None:
    bench = Bench()
    bench.start()
    one = bench.add()
    bench.complete(one)
    bench.engine.change(one, completed_bytes=5, state=EngineState.DOWNLOADING)
    bench.engine.change(one, state=EngineState.PAUSED, paused_state=EngineState.DOWNLOADING)
    bench.kill()
    bench.start()
    bench.engine.change(one, state=EngineState.DOWNLOADING, paused_state=None)
    bench.complete(one)
    assert bench.told == [one, one]


def test_the_end_of_a_download_is_told_by_the_report_and_no_sooner() -> None:
    bench = Bench()
    bench.start()
    one = bench.add()
    bench.engine.change(one, completed_bytes=10, state=EngineState.SEEDING)
    assert bench.told == []  # it may have to be moved
    bench.engine.report(MomentNotice(one, Moment.COMPLETED))
    assert bench.told == [one]


def test_without_a_hook_nothing_is_kept_and_nothing_told_later() -> None:
    bench = Bench()
    bench.start()
    one = bench.add()
    bench.stop()
    bench.start(is_wanted=False)
    bench.complete(one)
    bench.stop()
    assert len(bench.table) == 0
    bench.start()
    assert bench.told == []


def test_torrents_that_are_gone_are_forgotten() -> None:
    bench = Bench()
    bench.start()
    one, two = bench.add(), bench.add()
    bench.engine.take(one)
    bench.stop()
    bench.engine.take(two)
    bench.start()
    bench.stop()
    assert len(bench.table) == 0
