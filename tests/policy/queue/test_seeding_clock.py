"""How long a torrent has seeded, and how long of that it was idle."""

from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.policy.queue.seeding_clock import SeedingClock


def times(clock: SeedingClock, now: float) -> tuple[float, float]:
    return clock.seeding_s(now), clock.idle_s(now)


def test_it_counts_only_while_it_runs() -> None:
    clock = SeedingClock()
    assert times(clock, 100.0) == (0.0, 0.0)
    clock.begin(100.0)
    clock.begin(105.0)  # a recheck that found all, or a resume of what was not paused
    assert times(clock, 110.0) == (10.0, 10.0)
    clock.end(110.0)
    clock.end(120.0)
    assert (times(clock, 500.0), clock.is_running) == ((10.0, 10.0), False)
    clock.begin(500.0)
    assert (times(clock, 501.0), clock.is_running) == ((11.0, 11.0), True)


def test_who_takes_something_ends_the_idleness_and_totals_of_earlier_runs_do_not() -> None:
    clock = SeedingClock(seeding_s=1_000.0)
    clock.begin(0.0)
    clock.sent(5_000, 10.0)  # what the database knew
    assert times(clock, 10.0) == (1_010.0, 10.0)
    clock.sent(5_000, 20.0)
    assert times(clock, 20.0) == (1_020.0, 20.0)
    clock.sent(5_001, 21.0)
    assert times(clock, 23.0) == (1_023.0, 2.0)


def test_a_reset_begins_anew_and_stopped() -> None:
    clock = SeedingClock(7.0)
    clock.begin(0.0)
    clock.reset()
    assert (times(clock, 9.0), clock.is_running) == ((0.0, 0.0), False)


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "sent", "wait"]), st.integers(0, 9))))
def test_the_times_never_run_ahead_of_the_clock_nor_idleness_of_seeding(
    steps: list[tuple[str, int]],
) -> None:
    clock, now, expected = SeedingClock(), 0.0, 0.0
    for verb, number in steps:
        if verb == "wait":
            expected += number * clock.is_running
            now += number
        elif verb == "sent":
            clock.sent(number, now)
        else:
            (clock.begin if verb == "begin" else clock.end)(now)
        assert clock.seeding_s(now) == expected
        assert 0 <= clock.idle_s(now) <= expected
