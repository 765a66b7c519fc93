"""How often one address is answered, how large, and how much in all (row C1)."""

from dataclasses import replace

import pytest

from torrent_engine.base.config import DhtConfig
from torrent_engine.protocol.dht.throttle import ProvenHosts, QueryThrottle, UploadBudget

CONFIG = DhtConfig()
HOST = "192.0.2.1"


def admitted(throttle: QueryThrottle, host: str, count: int, now: float) -> int:
    return sum(throttle.admits(host, now) for _ in range(count))


@pytest.mark.parametrize("host", [HOST, "2001:db8::1", "10.0.0.1"])
def test_c1_five_queries_a_second_are_answered(host: str) -> None:
    throttle = QueryThrottle(CONFIG)
    assert admitted(throttle, host, 9, 0.0) == 5
    assert admitted(throttle, host, 9, 0.9) == 0
    assert admitted(throttle, host, 9, 1.0) == 5


def test_c1_more_than_fifty_in_ten_seconds_end_in_five_minutes_of_silence() -> None:
    throttle = QueryThrottle(CONFIG)
    steady = [admitted(throttle, HOST, 5, float(second)) for second in range(10)]
    assert steady == [5] * 10
    assert not throttle.is_silent(HOST, 9.5)
    assert admitted(throttle, HOST, 1, 9.9) == 0  # the 51st
    assert throttle.is_silent(HOST, 309.8)
    assert not throttle.admits(HOST, 309.8)
    assert not throttle.is_silent(HOST, 310.0)
    assert throttle.admits(HOST, 310.0)


def test_c1_steady_five_a_second_are_answered_for_ever() -> None:
    throttle = QueryThrottle(CONFIG)
    assert all(admitted(throttle, HOST, 5, float(second)) == 5 for second in range(120))


def test_c1_one_address_does_not_silence_another() -> None:
    throttle = QueryThrottle(CONFIG)
    admitted(throttle, HOST, 100, 0.0)
    assert throttle.is_silent(HOST, 1.0)
    assert throttle.admits("192.0.2.2", 1.0)


def test_c1_addresses_of_one_64_count_together() -> None:
    throttle = QueryThrottle(CONFIG)
    assert sum(throttle.admits(f"2001:db8::{number:x}", 0.0) for number in range(100)) == 5
    assert throttle.is_silent("2001:db8::ffff", 1.0)
    assert throttle.admits("2001:db8:0:1::1", 1.0)


def test_c1_loopback_is_not_throttled() -> None:
    throttle = QueryThrottle(CONFIG)
    assert admitted(throttle, "127.0.0.1", 1_000, 0.0) == 1_000
    assert admitted(throttle, "::1", 1_000, 0.0) == 1_000


def test_c1_limit_of_zero_is_none() -> None:
    throttle = QueryThrottle(replace(CONFIG, max_queries_per_ip_per_s=0))
    assert admitted(throttle, HOST, 1_000, 0.0) == 1_000


def test_c1_memory_is_bounded_and_strangers_do_not_end_a_silence() -> None:
    throttle = QueryThrottle(replace(CONFIG, max_throttled_ips=100))
    admitted(throttle, HOST, 100, 0.0)
    for number in range(10_000):
        throttle.admits(f"20.1.{number // 250}.{number % 250}", 1.0)
    assert throttle.is_silent(HOST, 2.0)
    assert len(throttle._counted) <= 100
    for number in range(1_000):
        admitted(throttle, f"20.2.{number // 250}.{number % 250}", 60, 3.0)
    assert len(throttle._silent_until) <= 100


def test_c1_only_who_proved_its_address_may_get_more() -> None:
    proven = ProvenHosts(CONFIG)
    assert not proven.may_get_more(HOST, 0.0)
    proven.prove(HOST, 0.0)
    assert proven.may_get_more(HOST, 899.0)
    assert not proven.may_get_more("192.0.2.2", 0.0)
    assert not proven.may_get_more(HOST, 900.0)


def test_c1_large_answers_to_one_address_are_counted() -> None:
    proven = ProvenHosts(CONFIG)
    proven.prove(HOST, 0.0)
    for _ in range(10):
        assert proven.may_get_more(HOST, 1.0)
        proven.charge(HOST, 1.0)
    assert not proven.may_get_more(HOST, 59.0)
    proven.prove(HOST, 59.0)
    assert not proven.may_get_more(HOST, 59.5)
    assert proven.may_get_more(HOST, 60.0)
    proven.charge(HOST, 60.0)
    proven.charge("192.0.2.99", 60.0)  # nobody: nothing happens
    assert proven.may_get_more(HOST, 60.0)


def test_c1_proofs_are_bounded() -> None:
    proven = ProvenHosts(replace(CONFIG, max_throttled_ips=10))
    for number in range(100):
        proven.prove(f"192.0.2.{number}", 0.0)
    assert len(proven._known) == 10
    assert proven.may_get_more("192.0.2.99", 1.0)


def test_c1_upload_budget_is_kept_on_average() -> None:
    budget = UploadBudget(8_000)
    sent = sum(300 for tick in range(10_000) if budget.take(300, tick / 100))
    assert 780_000 <= sent <= 800_000 + 24_000


def test_c1_upload_budget_of_zero_is_none() -> None:
    budget = UploadBudget(0)
    assert all(budget.take(10**9, 0.0) for _ in range(10))


def test_c1_upload_budget_is_not_upset_by_a_clock_that_stands() -> None:
    budget = UploadBudget(1_000)
    assert sum(budget.take(100, 5.0) for _ in range(100)) == 30
    assert not budget.take(100, 4.0)
