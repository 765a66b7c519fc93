import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.cli.output import sizes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("300", 300),
        ("5M", 5 << 20),
        ("5m", 5 << 20),
        ("1.5G", 3 << 29),
        ("64KiB", 64 << 10),
        ("2 TiB", 2 << 40),
        ("7B", 7),
        (" 12K ", 12 << 10),
    ],
)
def test_sizes_are_read_in_powers_of_1024(text: str, size_bytes: int) -> None:
    assert sizes.parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "M", "-1", "5X", "1e9", "5MB", "0x10", "٣", "1,5M", "9" * 19, "99999999999T", "nan"],
)
def test_a_bad_size_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|large"):
        sizes.parse_size(text)


def test_a_rate_may_say_per_second() -> None:
    assert sizes.parse_rate("5MiB/s") == sizes.parse_rate("5M") == 5 << 20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1d", 86_400), ("0.5h", 1800)],
)
def test_a_duration_has_units(text: str, seconds: float) -> None:
    assert sizes.parse_duration(text, plain_unit_s=1.0) == seconds


def test_a_plain_duration_counts_in_the_unit_of_its_option() -> None:
    assert sizes.parse_duration("2", plain_unit_s=60.0) == 120
    assert sizes.parse_duration("2", plain_unit_s=1.0) == 2


@pytest.mark.parametrize("text", ["", "s", "-5", "10x", "5m garbage", "1e3", "nan", "inf", "m5"])
def test_a_bad_duration_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        sizes.parse_duration(text, plain_unit_s=60.0)


@pytest.mark.parametrize("text", ["", "x", "-0.1", "nan", "inf"])
def test_a_bad_ratio_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="ratio"):
        sizes.parse_ratio(text)


@given(st.text(max_size=40))
def test_parsers_raise_nothing_but_value_error(text: str) -> None:
    for parse in (
        sizes.parse_size,
        sizes.parse_rate,
        sizes.parse_ratio,
        lambda value: sizes.parse_duration(value, plain_unit_s=60.0),
    ):
        with suppress(ValueError):
            assert parse(text) >= 0


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 50, "3072.0 TiB"),
    ],
)
def test_sizes_are_written_with_their_unit(size_bytes: int, text: str) -> None:
    assert sizes.format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (math.inf, "-"),
        (-1, "-"),
        (0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (3723, "1:02:03"),
        (100_000, "1d 03h"),
    ],
)
def test_durations_are_written_as_a_clock(seconds: float | None, text: str) -> None:
    assert sizes.format_duration(seconds) == text


def test_a_percentage_is_100_only_when_it_is() -> None:
    assert sizes.format_percent(999_999, 1_000_000) == "99.9%"
    assert sizes.format_percent(1, 1) == sizes.format_percent(0, 0) == "100%"


def test_progress_is_in_the_unit_of_the_whole() -> None:
    assert sizes.format_progress(1 << 20, 3 << 20) == "1.0/3.0 MiB"
    assert sizes.format_progress(5, 10) == "5/10 B"
