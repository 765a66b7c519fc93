"""So many incoming connections a second, of each operator and of all."""

from torrent_engine.base.config import PoolConfig
from torrent_engine.policy.limits import accept_rates
from torrent_engine.policy.limits.accept_rates import MAX_NETWORKS, MEMORY_S, AcceptRates


def rates(**changes: float) -> AcceptRates:
    values = {
        "max_incoming_per_ip_per_s": 50.0,
        "incoming_burst_per_ip": 300,
        "max_incoming_per_s": 10.0,
        "incoming_burst": 20,
    }
    return AcceptRates(PoolConfig(**(values | changes)))  # type: ignore[arg-type]


def crowd(number: int) -> str:
    """Return one of the 30 addresses, in as many networks, that flood."""
    return f"10.{number % 30}.0.1"


def test_b5_a_flood_of_many_addresses_is_taken_at_the_common_rate() -> None:
    limits = rates()
    taken = sum(limits.take(crowd(n), n / 1_000) for n in range(60_000))
    burst, per_s = 20 + 10, 10 + 5
    assert 600 <= taken <= burst + 60 * per_s


def test_b5_a_flood_keeps_out_nobody_whose_network_is_new() -> None:
    limits = rates()
    for n in range(30_000):
        limits.take(crowd(n), n / 1_000)
    now = 30.0
    assert sum(limits.take(crowd(n), now) for n in range(10)) <= 2
    honest = []
    for second in range(30):
        for n in range(1_000):
            limits.take(crowd(n), now + second + n / 1_000)
        honest.append(limits.take(f"192.0.{second}.1", now + second + 1.0))
    assert all(honest)


def test_b5_a_network_is_new_again_after_a_while() -> None:
    limits = rates(max_incoming_per_s=0.001, incoming_burst=2)
    assert [limits.take("192.0.2.1", 0.0) for _ in range(3)] == [True, True, False]
    assert not limits.take("192.0.2.9", MEMORY_S - 0.1)
    assert limits.take("192.0.2.9", MEMORY_S)


def test_b5_one_address_uses_up_nothing_of_the_common_rate_beyond_its_own() -> None:
    limits = rates(max_incoming_per_ip_per_s=1.0, incoming_burst_per_ip=3)
    assert sum(limits.take("192.0.2.1", 0.0) for _ in range(1_000)) == 3
    assert sum(limits.take(f"192.0.2.{n}", 0.0) for n in range(2, 200)) == 17


def test_no_common_rate_is_no_limit_and_no_memory() -> None:
    limits = rates(max_incoming_per_s=0.0)
    assert all(limits.take(crowd(n), 0.0) for n in range(3_000))
    assert not len(limits)


def test_b5_memory_of_networks_is_bounded() -> None:
    limits = rates(incoming_burst=MAX_NETWORKS + 100)
    hosts = (f"10.{n // 250}.{n % 250}.1" for n in range(MAX_NETWORKS + 100))
    assert all(limits.take(host, 0.0) for host in hosts)
    assert len(limits) == accept_rates.MAX_NETWORKS
