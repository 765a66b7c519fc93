"""How far ahead of a reader is fetched."""

from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.config import KIB, MIB, ReaderConfig
from torrent_engine.policy.pieces.read_ahead import ReadAhead

CONFIG = ReaderConfig(
    read_ahead_s=10.0,
    min_read_ahead_bytes=MIB,
    max_read_ahead_bytes=32 * MIB,
    assumed_bytes_per_s=1,
)


def read_steadily(ahead: ReadAhead, bytes_per_s: int, seconds: int, since_s: int = 0) -> float:
    for second in range(since_s, since_s + seconds):
        ahead.read(bytes_per_s, second)
    return since_s + seconds - 1.0


def test_the_window_begins_small_and_becomes_what_is_read_in_some_seconds() -> None:
    ahead = ReadAhead(CONFIG)
    assert ahead.window_bytes(0.0) == MIB
    now = read_steadily(ahead, MIB, 30)
    assert 8 * MIB <= ahead.window_bytes(now) <= 12 * MIB


def test_it_shrinks_when_the_reader_becomes_slow() -> None:
    ahead = ReadAhead(CONFIG)
    before = ahead.window_bytes(read_steadily(ahead, MIB, 30))
    after = ahead.window_bytes(read_steadily(ahead, 200 * KIB, 30, since_s=30))
    assert after < before / 3


def test_it_is_bounded() -> None:
    ahead = ReadAhead(CONFIG)
    assert ahead.window_bytes(read_steadily(ahead, 100 * MIB, 10)) == 32 * MIB


def test_after_a_jump_it_is_small_and_grows_with_what_is_read_there() -> None:
    ahead = ReadAhead(CONFIG)
    now = read_steadily(ahead, 2 * MIB, 30)
    ahead.seeked()
    assert ahead.window_bytes(now) == MIB
    ahead.read(2 * MIB, now)
    assert ahead.window_bytes(now) == 5 * MIB


def test_who_stops_reading_for_long_begins_anew() -> None:
    ahead = ReadAhead(CONFIG)
    now = read_steadily(ahead, 2 * MIB, 30)
    assert ahead.window_bytes(now + 60) == MIB


def test_deadlines_follow_the_pace_of_the_reader() -> None:
    ahead = ReadAhead(CONFIG)
    now = read_steadily(ahead, MIB, 30)
    due = ahead.deadlines({5: 0, 6: 4 * MIB}, now)
    assert due[5] == now
    assert 3.0 <= due[6] - now <= 5.0


def test_a_reader_without_a_pace_is_taken_to_have_one() -> None:
    config = ReaderConfig(assumed_bytes_per_s=MIB)
    assert ReadAhead(config).deadlines({1: 2 * MIB}, 100.0) == {1: 102.0}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10**9), st.floats(0, 100)), max_size=30))
def test_whatever_happens_the_window_keeps_its_bounds(
    steps: list[tuple[bool, int, float]],
) -> None:
    ahead, now = ReadAhead(CONFIG), 0.0
    for is_jump, count_bytes, pause_s in steps:
        now += pause_s
        ahead.read(count_bytes, now)
        if is_jump:
            ahead.seeked()
        assert MIB <= ahead.window_bytes(now) <= 32 * MIB
