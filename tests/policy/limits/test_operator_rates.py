"""So many events a second of each operator."""

from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.operators import network_of
from torrent_engine.policy.limits.operator_rates import OperatorRates


def test_b5_a_burst_then_so_many_a_second() -> None:
    rates = OperatorRates(10.0, 5)
    assert [rates.take("1.2.3.4", 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert rates.delay_s("1.2.3.4", 0.0) == 0.1
    assert [rates.take("1.2.3.4", 0.2) for _ in range(3)] == [True, True, False]
    assert rates.take("1.2.3.5", 0.2)


def test_b5_the_addresses_of_one_64_have_one_rate_and_so_have_the_spellings_of_ipv4() -> None:
    rates = OperatorRates(1.0, 2)
    assert [rates.take(f"2600:0:0:1::{n:x}", 0.0) for n in range(3)] == [True, True, False]
    assert [
        rates.take(host, 0.0) for host in ("1.2.3.4", "::ffff:1.2.3.4", "64:ff9b::102:304")
    ] == [
        True,
        True,
        False,
    ]


def test_b5_addresses_may_share_a_rate_by_another_key() -> None:
    rates = OperatorRates(1.0, 2, key_of=network_of)
    hosts = [f"2001:db8:0:{number}::1" for number in range(3)]
    assert [rates.take(host, 0.0) for host in hosts] == [True, True, False]
    assert rates.delay_s(hosts[0], 0.0) == 1.0
    assert rates.take("2001:db8:1::1", 0.0)


def test_no_rate_is_no_limit_and_no_memory() -> None:
    rates = OperatorRates(0, 0)
    assert all(rates.take("1.2.3.4", 0.0) for _ in range(1_000))
    assert not len(rates)
    assert rates.delay_s("1.2.3.4", 0.0) == 0.0


def test_b5_memory_is_bounded() -> None:
    rates = OperatorRates(1.0, 1, max_operators=10)
    assert all(rates.take(f"1.2.3.{number}", 0.0) for number in range(100))
    assert len(rates) == 10


@given(st.lists(st.floats(0.0, 3.0), max_size=200))
def test_b5_never_more_than_the_burst_and_what_was_earned(waits: list[float]) -> None:
    rates, now, taken = OperatorRates(2.0, 5), 0.0, 0
    for wait in waits:
        now += wait
        taken += rates.take("1.2.3.4", now)
        assert taken <= 5 + 2.0 * now + 1e-6
        if not rates.take("1.2.3.4", now):
            assert rates.delay_s("1.2.3.4", now) > 0
        else:
            taken += 1
