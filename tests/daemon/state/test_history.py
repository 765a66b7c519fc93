"""Rates of the past, and sums over all processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.daemon.engine_port.facts import TotalFacts
from torrent_engine.daemon.state.history import DAY_S, HOUR_S, STEPS, RateHistory, RateSample
from torrent_engine.daemon.state.store import DaemonStore
from torrent_engine.daemon.state.totals import SAVE_INTERVAL_S, EverTotals, TotalsKeeper

START = 1_700_000_100  # a multiple of 60 and of 900
assert START % 900 == 0


def history(store: DaemonStore | None = None) -> RateHistory:
    return RateHistory((store or DaemonStore()).table("history"))


def test_a_step_is_told_when_it_is_over_with_its_mean() -> None:
    rates = history()
    for second in range(121):
        rates.add(START + second, 10.0 if second < 60 else 20.0, second % 60)
    assert rates.samples(60) == [
        RateSample(START, 10, 30),  # 29.5, to even
        RateSample(START + 60, 20, 30),
    ]
    assert len(rates.samples(1)) == 120
    assert rates.samples(900) == []


def test_each_step_is_kept_for_its_time() -> None:
    rates = history()
    for minute in range(0, 31 * DAY_S, 60):
        rates.add(START + minute, 1.0, 2.0)
    assert [len(rates.samples(step)) for step in STEPS] == [HOUR_S, 1_440, 2_880]
    assert rates.samples(60, START + 31 * DAY_S - 180)[0].at == START + 31 * DAY_S - 180


def test_steps_without_a_value_have_no_sample() -> None:
    rates = history()
    for second in (0, 300, 360):
        rates.add(START + second, 5.0, 5.0)
    assert [each.at - START for each in rates.samples(60)] == [0, 300]


def test_minutes_outlive_the_process_and_old_ones_are_deleted() -> None:
    store = DaemonStore()
    rates = history(store)
    for minute in range(0, 2 * DAY_S, 60):
        rates.add(START + minute, float(minute), 0.0)
    again = history(store)
    assert again.samples(60) == rates.samples(60)
    assert again.samples(900) == rates.samples(900)
    assert again.samples(1) == []
    assert len(store.table("history")) <= 1_440 + 60 + 2_880


@pytest.mark.parametrize("key", ["", "60", "60:x", ":1", "7:60", "x:60", "60:-60"])
@pytest.mark.parametrize("value", [[1, 2], None])
def test_damaged_samples_are_deleted(key: str, value: object) -> None:
    store = DaemonStore()
    store.table("history").put(key, value)
    assert [history(store).samples(step) for step in STEPS] == [[], [], []]
    assert len(store.table("history")) == 0


@pytest.mark.parametrize("value", [None, 1, [], [1], [1, 2, 3], ["1", 2], {"a": 1}])
def test_samples_that_are_no_pair_are_deleted(value: object) -> None:
    store = DaemonStore()
    store.table("history").put("60:60", value)
    assert history(store).samples(60) == []
    assert "60:60" not in store.table("history")


@given(st.lists(st.integers(START - 10_000, START + 10_000), max_size=50))
def test_times_grow_whatever_the_clock_does(times: list[int]) -> None:
    rates = history()
    for now_at in times:
        rates.add(now_at, 1.0, 1.0)
    for step in STEPS:
        found = [each.at for each in rates.samples(step)]
        assert found == sorted(set(found))
        assert all(at % step == 0 for at in found)


def totals(downloaded: int, uploaded: int = 0) -> TotalFacts:
    return TotalFacts(downloaded_bytes=downloaded, uploaded_bytes=uploaded)


def test_sums_go_on_over_processes() -> None:
    store = DaemonStore()
    first = TotalsKeeper(store.table("totals"), 0.0)
    first.tick(totals(100, 10), 5.0)
    first.added()
    first.save()
    second = TotalsKeeper(store.table("totals"), 1_000.0)
    second.tick(totals(7, 1), 1_002.0)
    assert second.current == EverTotals(7, 1, 2.0, 0, 1)
    assert second.ever == EverTotals(107, 11, 7.0, 1, 2)


def test_sums_never_shrink_when_a_torrent_goes() -> None:
    keeper = TotalsKeeper(DaemonStore().table("totals"), 0.0)
    for downloaded in (100, 250, 50, 60):  # the torrent with 200 went
        keeper.tick(totals(downloaded), 1.0)
    assert keeper.current.downloaded_bytes == 260


def test_sums_are_saved_once_a_minute() -> None:
    store = DaemonStore()
    keeper = TotalsKeeper(store.table("totals"), 0.0)
    keeper.tick(totals(100), SAVE_INTERVAL_S - 1)
    assert store.table("totals").get("ever")["downloaded_bytes"] == 0
    keeper.tick(totals(200), SAVE_INTERVAL_S)
    assert store.table("totals").get("ever")["downloaded_bytes"] == 200


@pytest.mark.parametrize(
    "value", [None, 1, [], {"downloaded_bytes": "1"}, {"downloaded_bytes": -1}]
)
def test_damaged_sums_count_as_nothing(value: object) -> None:
    store = DaemonStore()
    store.table("totals").put("ever", value)
    assert TotalsKeeper(store.table("totals"), 0.0).ever == EverTotals(sessions=1)
