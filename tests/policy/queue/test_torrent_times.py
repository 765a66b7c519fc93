"""Times of a torrent: counted by a steady clock, remembered by the wall clock."""

from torrent_engine.policy.queue.torrent_times import LONG_AGO_S, SavedTimes, TorrentTimes


def test_only_downloading_counts_and_goes_on_after_a_restart() -> None:
    times = TorrentTimes(SavedTimes(downloading_s=100.0))
    assert not times.is_downloading
    times.set_downloading(10.0, is_downloading=True)
    times.set_downloading(15.0, is_downloading=True)
    assert times.is_downloading
    assert times.downloading_s(20.0) == 110.0
    times.set_downloading(20.0, is_downloading=False)
    times.set_downloading(30.0, is_downloading=False)
    assert times.downloading_s(99.0) == 110.0
    assert TorrentTimes(times.saved(99.0)).saved(0.0) == times.saved(99.0)


def test_a_clock_that_stands_still_or_back_takes_nothing_away() -> None:
    times = TorrentTimes(SavedTimes(downloading_s=5.0))
    times.set_downloading(10.0, is_downloading=True)
    assert times.downloading_s(9.0) == 5.0


def test_activity_is_when_more_had_moved_than_before() -> None:
    times = TorrentTimes(SavedTimes())
    times.moved(0, 1_000.0)
    assert times.activity_s is None
    times.moved(5, 1_001.0)
    times.moved(5, 1_002.0)
    assert times.activity_s == 1_001.0


def test_a_check_completes_only_what_never_was_complete() -> None:
    new, old, unknown = (TorrentTimes(SavedTimes(completed_s=at)) for at in (None, 7.0, LONG_AGO_S))
    for times in (new, old, unknown):
        times.checked_complete(50.0)
    assert (new.completed_s, old.completed_s, unknown.completed_s) == (50.0, 7.0, LONG_AGO_S)
