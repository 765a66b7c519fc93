"""Rates and limits, on virtual time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.policy.rate import RateMeter, TokenBucket

KIB, MIB = 1024, 1024 * 1024


def test_meter_shows_a_steady_rate_and_forgets_it_after_the_window() -> None:
    meter = RateMeter(window_s=5)
    for tick in range(1000):
        meter.add(1000, now=100 + tick / 100)
        if tick > 200:
            assert meter.rate(100 + tick / 100) == pytest.approx(100_000, rel=0.03)
    assert meter.rate(112.5) == pytest.approx(50_000, rel=0.15)
    assert meter.rate(116) == 0
    assert meter.rate(1e9) == 0


def test_meter_is_honest_about_the_first_second() -> None:
    meter = RateMeter()
    assert meter.rate(0.0) == 0
    meter.add(16_384, now=50.0)
    assert meter.rate(50.0) == 16_384  # not 16 KiB in no time


def test_meter_survives_a_clock_that_steps_back() -> None:
    meter = RateMeter()
    meter.add(1000, now=10)
    meter.add(1000, now=9)
    assert meter.rate(9) == 2000


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 10**9)), max_size=80),
    st.floats(0, 1e6),
)
def test_meter_never_shows_more_than_moved_in_its_window(
    moves: list[tuple[float, int]], now: float
) -> None:
    meter, history = RateMeter(window_s=5), []
    for pause_s, count in moves:
        now += pause_s
        meter.add(count, now)
        history.append((now, count))
        recent = sum(count for when, count in history if when > now - 5.6)
        assert 0 <= meter.rate(now) <= recent * 1.001 + 1
    assert meter.rate(now + 6) == 0


def transfer(bucket: TokenBucket, *, seconds: float, rng: random.Random) -> list[tuple[float, int]]:
    """Move as much as the bucket grants in blocks, sleeping as long as it says (and a bit more)."""
    now, moved = 1000.0, []
    while now < 1000 + seconds:
        if granted := bucket.take(16 * KIB, now):
            moved.append((now, granted))
        else:
            now += bucket.delay_s(16 * KIB, now) + rng.uniform(0, 0.005)
    return moved


@pytest.mark.parametrize("rate", [4 * KIB, 50 * KIB, MIB, 20 * MIB])
def test_limit_holds_within_3_percent_over_10_seconds(rate: int) -> None:
    moved = transfer(TokenBucket(rate), seconds=30, rng=random.Random(1))
    for start in range(1000, 1021):
        window = sum(count for when, count in moved if start <= when < start + 10)
        assert 0.97 * rate * 10 <= window <= 1.03 * rate * 10


@given(
    st.integers(1, 10**9),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 10**7)), min_size=1, max_size=60),
)
def test_bucket_never_grants_more_than_rate_and_burst(
    rate: int, takes: list[tuple[float, int]]
) -> None:
    bucket, now, granted = TokenBucket(rate), 0.0, 0
    for pause_s, wanted in takes:
        now += pause_s
        got = bucket.take(wanted, now)
        assert 0 <= got <= wanted
        granted += got
        assert granted <= now * rate + rate * 0.2 + 1


@given(st.integers(1, 10**9), st.integers(1, 10**8), st.floats(0, 1e5))
def test_after_the_delay_the_bytes_are_there(rate: int, wanted: int, now: float) -> None:
    bucket = TokenBucket(rate)
    bucket.take(0, now)
    delay_s = bucket.delay_s(wanted, now)
    assert delay_s <= 0.2 + 1e-6
    assert bucket.available(now + delay_s + 1e-3) >= min(wanted, rate * 0.19)


def test_unlimited_bucket_grants_all_and_never_waits() -> None:
    bucket = TokenBucket()
    assert bucket.unlimited
    assert bucket.take(10**12, 0) == 10**12
    assert bucket.delay_s(10**12, 0) == 0
    assert bucket.available(0) == float("inf")
    bucket.charge(10**12, 0)
    assert bucket.rate_bytes_per_s == 0


def test_rate_can_be_changed_on_the_way() -> None:
    bucket = TokenBucket(MIB)
    bucket.take(0, 0)
    assert bucket.take(MIB, 10) == int(MIB * 0.2)
    bucket.set_rate(100 * KIB, 10)
    assert bucket.take(MIB, 10.1) == pytest.approx(10 * KIB, abs=2)
    bucket.set_rate(0, 10.2)
    assert bucket.take(MIB, 10.2) == MIB
    bucket.set_rate(-5, 10.2)
    assert bucket.unlimited


def test_charge_leaves_a_debt_and_give_back_settles() -> None:
    bucket = TokenBucket(100 * KIB, burst_bytes=32 * KIB)
    bucket.charge(100 * KIB, 0)
    assert bucket.take(1, 0.5) == 0
    assert bucket.delay_s(10 * KIB, 0.5) == pytest.approx(0.6)
    bucket.give_back(60 * KIB)
    assert bucket.available(0.5) == 10 * KIB
    bucket.give_back(MIB)
    assert bucket.available(0.5) == 32 * KIB


def test_a_debt_is_no_longer_than_a_burst_after_a_change() -> None:
    bucket = TokenBucket(100 * MIB)
    bucket.charge(MIB, 0)
    bucket.set_rate(10 * KIB, 0)
    assert bucket.delay_s(1, 0) == pytest.approx(0.2, abs=0.001)
    bucket.set_rate(0, 0)
    bucket.set_rate(10 * KIB, 0)
    assert bucket.delay_s(1, 0) < 0.001
