"""When seeding is to end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.policy.stop_rules import StopRules


def reason(rules: StopRules, *, up: int = 0, down: int = 100, seeding_s: float = 0.0) -> str | None:
    return rules.reason(
        uploaded_bytes=up, downloaded_bytes=down, wanted_bytes=1_000, seeding_s=seeding_s
    )


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0, 1e9))
def test_without_a_rule_seeding_never_ends(up: int, down: int, seeding_s: float) -> None:
    assert reason(StopRules(), up=up, down=down, seeding_s=seeding_s) is None


def test_a_rule_of_zero_ends_at_once() -> None:
    assert reason(StopRules(seed_time_s=0.0)) == "time"
    assert reason(StopRules(seed_ratio=0.0)) == "ratio"


@pytest.mark.parametrize(("seeding_s", "expected"), [(9.9, None), (10.0, "time"), (11, "time")])
def test_time_counts_from_the_start_of_seeding(seeding_s: float, expected: str | None) -> None:
    assert reason(StopRules(seed_time_s=10.0), seeding_s=seeding_s) == expected


@pytest.mark.parametrize(("up", "expected"), [(149, None), (150, "ratio"), (1_000, "ratio")])
def test_the_ratio_is_that_of_uploaded_to_downloaded(up: int, expected: str | None) -> None:
    assert reason(StopRules(seed_ratio=1.5), up=up, down=100) == expected


@pytest.mark.parametrize(("up", "expected"), [(1_499, None), (1_500, "ratio")])
def test_the_ratio_of_who_downloaded_nothing_is_that_to_the_size(
    up: int, expected: str | None
) -> None:
    assert reason(StopRules(seed_ratio=1.5), up=up, down=0) == expected


def test_of_two_rules_the_first_that_holds_counts() -> None:
    rules = StopRules(seed_ratio=2.0, seed_time_s=60.0)
    assert reason(rules, up=199, seeding_s=59) is None
    assert reason(rules, up=200, seeding_s=0) == "ratio"
    assert reason(rules, up=0, seeding_s=60) == "time"
