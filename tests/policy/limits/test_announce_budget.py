"""Announces of neighbours: what one host, all of them and garbage may cost."""

from torrent_engine.base.config import LsdConfig
from torrent_engine.policy.limits.announce_budget import READ_FACTOR, AnnounceBudget

CONFIG = LsdConfig(max_received_per_minute=100, max_received_per_host_per_minute=30)


def taken(budget: AnnounceBudget, host: str, count: int, now: float = 0.0) -> int:
    return sum(budget.admits(host, now) and budget.take(host) for _ in range(count))


def test_c6_a_host_has_a_limit_in_each_minute() -> None:
    budget = AnnounceBudget(CONFIG)
    assert taken(budget, "192.0.2.1", 50) == 30
    assert taken(budget, "192.0.2.1", 50, 59.0) == 0
    assert taken(budget, "192.0.2.1", 50, 60.0) == 30


def test_c6_hosts_that_announce_little_are_heard_beside_many_that_flood() -> None:
    budget = AnnounceBudget(CONFIG)
    floods = sum(taken(budget, f"192.0.2.{number}", 50) for number in range(5))
    assert floods == 80  # half of all, and ten each of those that came later
    assert [taken(budget, f"198.51.100.{number}", 1) for number in range(20)] == [1] * 20
    assert taken(budget, "198.51.100.99", 1) == 0


def test_c6_what_is_decoded_in_vain_is_bounded() -> None:
    budget = AnnounceBudget(CONFIG)
    read = sum(budget.admits(f"2001:db8::{number:x}", 0.0) for number in range(5_000))
    assert read == READ_FACTOR * 100
    assert budget.admits("2001:db8::1", 60.0)
