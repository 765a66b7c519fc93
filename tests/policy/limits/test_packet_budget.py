"""Packets that move next to nothing: what bytes pay for, and what is left to each operator."""

from torrent_engine.base.config import UtpConfig
from torrent_engine.policy.limits.packet_budget import (
    BYTES_PER_PACKET,
    MAX_EARNED_PACKETS,
    MAX_IGNORED,
    MAX_OPERATORS,
    IgnoredSenders,
    PacketBudget,
    PacketCredit,
)

CONFIG = UtpConfig(
    max_unproductive_packets_per_s=10,
    unproductive_packets_burst=100,
    max_shared_unproductive_packets_per_s=50,
)


def test_c4_full_packets_of_data_pay_for_themselves() -> None:
    credit, moved = PacketCredit(), 0
    for _ in range(10_000):
        moved += 16 * 1_400
        assert credit.unpaid(16, moved) == 0


def test_c4_acknowledgements_are_paid_by_what_they_acknowledge() -> None:
    credit = PacketCredit()
    assert credit.unpaid(8, 8 * 600) == 0
    assert credit.unpaid(8, 8 * 600 + 9 * BYTES_PER_PACKET) == 0


def test_c4_packets_of_a_byte_and_repeated_ones_are_unpaid() -> None:
    credit = PacketCredit()
    assert credit.unpaid(1_000, 1_000) == 1_000 - 1_000 // BYTES_PER_PACKET
    assert credit.unpaid(1_000, 1_000) == 1_000


def test_c4_what_was_earned_is_not_kept_without_end() -> None:
    credit = PacketCredit()
    many = 10 * MAX_EARNED_PACKETS
    assert credit.unpaid(many, 1 << 40) == many - MAX_EARNED_PACKETS
    assert credit.unpaid(1, 1 << 40) == 1


def test_c4_an_operator_has_a_burst_then_a_rate() -> None:
    budget = PacketBudget(CONFIG)
    assert budget.charge("192.0.2.1", 150, 0.0) == 0.0  # its own, and what all share
    assert budget.charge("192.0.2.1", 20, 0.0) == 2.0
    assert budget.charge("192.0.2.2", 100, 0.0) == 0.0
    assert budget.charge("192.0.2.1", 0, 2.0) == 0.0


def test_c4_all_addresses_of_one_operator_are_charged_together() -> None:
    budget = PacketBudget(CONFIG)
    for number in range(150):
        assert budget.charge(f"2600:0:0:1::{number:x}", 1, 0.0) == 0.0
    assert budget.charge("2600:0:0:1::ffff", 5, 0.0) == 0.5
    assert len(budget) == 1


def test_c4_operators_are_forgotten_one_by_one() -> None:
    budget = PacketBudget(CONFIG)
    for number in range(MAX_OPERATORS + 50):
        budget.charge(f"10.0.{number // 250}.{number % 250}", 1, 0.0)
    assert len(budget) == MAX_OPERATORS


def test_no_rate_is_no_limit() -> None:
    budget = PacketBudget(UtpConfig(max_unproductive_packets_per_s=0))
    assert budget.charge("192.0.2.1", 1_000_000, 0.0) == 0.0
    assert not len(budget)


def test_c4_senders_that_are_ignored_are_remembered_up_to_a_number() -> None:
    ignored = IgnoredSenders[int]()
    for key in range(MAX_IGNORED + 10):
        ignored.add(key, 5.0)
    assert len(ignored) == MAX_IGNORED
    assert ignored.has(10, 4.0)
    assert not ignored.has(10, 5.0)
    assert not ignored.has(9, 0.0)
    ignored.forget(11)
    assert len(ignored) == MAX_IGNORED - 2
