"""Which records ``--json`` prints."""

from dataclasses import fields, replace
from typing import Any

import pytest

from torrent_engine.base.ids import InfoHash
from torrent_engine.cli.output.records import (
    NOT_IN_RECORDS,
    OWN_TYPES,
    RecordFilter,
    event_record,
    parse_patterns,
)
from torrent_engine.engine.event_bus import known_types
from torrent_engine.engine.events import StatsUpdated
from torrent_engine.engine.runs.run_stats import idle_stats
from torrent_engine.engine.states import State
from torrent_engine.engine.stats import SessionStats


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def stats(**fields: Any) -> dict[str, Any]:
    return {"type": "stats.update", "info_hash": "aa", **fields}


def test_statistics_are_printed_only_if_they_changed_and_not_too_often() -> None:
    clock = Clock()
    record_filter = RecordFilter(stats_interval_s=5.0, clock=clock)
    assert record_filter.passes(stats(time=0.0, peers=1))
    clock.now = 5.0
    assert not record_filter.passes(stats(time=5.0, peers=1))
    assert record_filter.passes(stats(time=5.0, peers=2))
    clock.now = 8.0
    assert not record_filter.passes(stats(time=8.0, peers=3))
    clock.now = 9.95  # a tick that comes a little early
    assert record_filter.passes(stats(time=9.95, peers=3))


def test_torrents_do_not_hold_back_each_other() -> None:
    record_filter = RecordFilter(clock=Clock())
    assert record_filter.passes(stats())
    assert record_filter.passes(stats() | {"info_hash": "bb"})
    assert not record_filter.passes(stats())


def test_chosen_events_only_and_what_was_dropped() -> None:
    record_filter = RecordFilter(["tracker.*", "torrent.result"], clock=Clock())
    types = ["tracker.failed", "torrent.result", "events.dropped", "torrent.added", "stats.update"]
    passed = [type_ for type_ in types if record_filter.passes({"type": type_})]
    assert passed == ["tracker.failed", "torrent.result", "events.dropped"]


def test_record_of_statistics_has_every_number_that_is_worth_a_line() -> None:
    numbers = replace(idle_stats(State.SEEDING, "one", None), peers=3, have=b"\xff")
    record = event_record(StatsUpdated(InfoHash(b"i" * 20), numbers), time_s=1.0)
    names = {field.name for field in fields(SessionStats)} - NOT_IN_RECORDS
    assert set(record) == names | {"time", "type", "info_hash"}
    assert (record["state"], record["peers"], record["info_hash"]) == ("seeding", 3, "69" * 20)


def test_other_events_pass_each_time() -> None:
    record_filter = RecordFilter(clock=Clock())
    assert all(record_filter.passes({"type": "piece.completed"}) for _ in range(3))


def test_patterns_are_a_list_with_commas() -> None:
    assert parse_patterns("tracker.*, stats.update,") == ("tracker.*", "stats.update")
    for type_ in known_types() | OWN_TYPES:
        assert parse_patterns(type_) == (type_,)


@pytest.mark.parametrize("text", ["", ",", "tracker", "tracker.*,pieces", "event"])
def test_what_no_event_is_called_is_refused_with_a_list(text: str) -> None:
    with pytest.raises(ValueError, match=r"no event is called .*stats\.update"):
        parse_patterns(text)


def test_what_only_a_front_end_needs_is_printed_if_it_is_chosen() -> None:
    record = {"type": "torrent.changed", "info_hash": "00", "group": "settings"}
    assert not RecordFilter().passes(record)
    assert RecordFilter(("torrent.*",)).passes(record)
    assert RecordFilter(("*",)).passes(record)
    assert not RecordFilter(("queue.changed",)).passes(record)
