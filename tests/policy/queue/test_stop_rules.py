"""When seeding is to end."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.policy.queue.stop_rules import Seeded, StopRules


def reason(rules: StopRules, *, up: int = 0, down: int = 100, seeding_s: float = 0.0) -> str | None:
    return rules.reason(Seeded(up, down, 1_000, seeding_s))


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


def test_idleness_ends_seeding_and_time_and_ratio_are_named_before_it() -> None:
    rules = StopRules(seed_ratio=2.0, seed_time_s=60.0, seed_idle_s=30.0)
    assert rules.reason(Seeded(0, 100, 100, seeding_s=59.0, idle_s=29.9)) is None
    assert rules.reason(Seeded(0, 100, 100, seeding_s=59.0, idle_s=30.0)) == "idle"
    assert rules.reason(Seeded(200, 100, 100, seeding_s=59.0, idle_s=30.0)) == "ratio"
    assert rules.reason(Seeded(200, 100, 100, seeding_s=60.0, idle_s=30.0)) == "time"


def test_a_torrents_own_rule_wins_over_the_general_one() -> None:
    general = StopRules(seed_ratio=2.0, seed_time_s=60.0, seed_idle_s=30.0)
    own = StopRules(seed_ratio=1.0, seed_time_s=math.inf, seed_idle_s=0.0)
    assert own.over(general) == own
    assert StopRules().over(general) == general
    assert StopRules(seed_idle_s=5.0).over(general) == StopRules(2.0, 60.0, 5.0)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0, 1e9))
def test_infinity_is_no_rule_whatever_is_said_in_general(
    up: int, down: int, seeding_s: float
) -> None:
    never = StopRules(math.inf, math.inf, math.inf).over(StopRules(0.0, 0.0, 0.0))
    seeded = Seeded(up, down, 1, seeding_s, seeding_s)
    assert never.reason(seeded) is None
    assert never.next_due_s(seeded) == math.inf


MAYBE_S = st.none() | st.integers(0, 1_000).map(float)


@given(
    st.builds(StopRules, st.none() | st.floats(0, 3), MAYBE_S, MAYBE_S),
    st.builds(
        Seeded,
        st.integers(0, 300),
        st.integers(0, 100),
        st.integers(1, 100),
        st.integers(0, 1_000).map(float),
        st.integers(0, 1_000).map(float),
    ),
)
def test_the_next_rule_is_due_exactly_when_it_was_said(rules: StopRules, seeded: Seeded) -> None:
    def later(wait_s: float) -> Seeded:
        seeding_s, idle_s = seeded.seeding_s + wait_s, seeded.idle_s + wait_s
        return replace(seeded, seeding_s=seeding_s, idle_s=idle_s)

    due_s = rules.next_due_s(seeded)
    assert (rules.reason(seeded) is not None) == (due_s == 0)
    if due_s == math.inf:
        assert rules.reason(later(1e9)) is None
    else:
        assert rules.reason(later(due_s)) is not None
        assert due_s == 0 or rules.reason(later(due_s - 1)) is None
