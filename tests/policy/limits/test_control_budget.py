"""Allowances for messages beside payload: a burst, a rate, a shared rest, what payload earns."""

import pytest

from torrent_engine.base.config import WireLimits
from torrent_engine.policy.limits.control_budget import (
    FIRST_UNITS,
    MAX_EARNED_UNITS,
    PAYLOAD_BYTES_PER_UNIT,
    ControlAllowance,
    shared_bucket,
)

LIMITS = WireLimits(
    max_control_units_per_s=10.0, control_burst_units=100, max_shared_control_units_per_s=1_000
)


def links(count: int, limits: WireLimits = LIMITS) -> list[ControlAllowance]:
    shared = shared_bucket(limits)
    return [ControlAllowance(limits, shared) for _ in range(count)]


def test_f11_a_link_over_its_allowance_waits_until_it_has_paid() -> None:
    (link,) = links(1)
    assert link.charge(1_100, 0, 0.0) == 0.0  # its burst, and what is shared
    assert link.charge(64, 0, 0.0) == pytest.approx(6.4)
    assert link.charge(0, 0, 6.4) == pytest.approx(0.0)


def test_f11_who_is_within_its_own_rate_waits_for_nobody() -> None:
    flooder, honest = links(2)
    for second in range(100):
        flooder.charge(5_000, 0, float(second))
        assert honest.charge(10, 0, float(second)) == 0.0


def test_f11_all_links_together_get_what_is_shared_once_beside_their_own() -> None:
    many, handled = links(50), 0
    until = dict.fromkeys(range(50), 0.0)
    for tick in range(1_000):
        now = tick / 10
        for number, link in enumerate(many):
            if now >= until[number]:
                handled += 64
                until[number] = now + link.charge(64, 0, now)
    own = 50 * (LIMITS.control_burst_units + 100 * LIMITS.max_control_units_per_s)
    shared = 101 * LIMITS.max_shared_control_units_per_s
    assert own + shared * 0.8 <= handled <= own + shared + 50 * 64


def test_f11_who_moves_payload_may_say_what_belongs_to_it() -> None:
    flooder, leech = links(2)
    flooder.charge(1_000_000, 0, 0.0)
    moved = 0
    for second in range(100):  # 100 MiB/s in pieces of 16 KiB
        moved += 6_400 * 16 * 1024
        for _ in range(100):
            assert leech.charge(64, moved, float(second)) == 0.0


def test_f11_what_payload_earned_is_bounded() -> None:
    flooder, rich = links(2)
    flooder.charge(1_000_000, 0, 0.0)
    moved = 10 * MAX_EARNED_UNITS * PAYLOAD_BYTES_PER_UNIT
    assert rich.charge(MAX_EARNED_UNITS + LIMITS.control_burst_units, moved, 0.0) == 0.0
    assert rich.charge(10, moved, 0.0) == pytest.approx(1.0)


def test_f11_a_rate_of_0_is_no_limit() -> None:
    (link,) = links(1, WireLimits(max_control_units_per_s=0.0))
    assert link.charge(10_000_000, 0, 0.0) == 0.0


def test_f11_a_new_link_has_little_and_earns_the_rest_of_its_burst_by_time() -> None:
    limits = WireLimits()
    flooder, new, old = links(3, limits)
    flooder.charge(1_000_000, 0, 0.0)
    old.charge(0, 0, 0.0)
    assert new.charge(FIRST_UNITS, 0, 0.0) == 0.0
    assert new.charge(50, 0, 0.0) == pytest.approx(1.0)
    shared_s = limits.control_burst_units / limits.max_control_units_per_s
    flooder.charge(1_000_000, 0, shared_s)
    assert old.charge(limits.control_burst_units, 0, shared_s) == 0.0
    assert old.charge(50, 0, shared_s) == pytest.approx(1.0)
