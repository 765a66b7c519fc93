"""Outstanding queries: each ends once, late ones are told, nobody else's answer counts."""

import random

import pytest

from torrent_engine.base.config import DhtConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.protocol.dht.pings import SilentPing
from torrent_engine.protocol.dht.transactions import MAX_TIMEOUTS, Transactions

NODE = PeerAddress("11.1.1.1", 6881)
OTHER = PeerAddress("11.1.1.2", 6881)
CONFIG = DhtConfig(
    query_timeout_s=10.0,
    first_short_timeout_s=1.0,
    min_short_timeout_s=0.2,
    max_outstanding_queries=3,
)


def make() -> Transactions:
    return Transactions(CONFIG, random.Random(1))


def sent(transactions: Transactions, *, now: float = 0.0) -> bytes:
    query = transactions.open(NODE, b"ping", SilentPing(), node_id=None, now=now)
    assert query is not None
    return query.transaction


def test_c2_a_transaction_id_has_32_bits_and_never_comes_twice_at_a_time() -> None:
    transactions = Transactions(DhtConfig(max_outstanding_queries=2_000), random.Random(1))
    ids = {sent(transactions) for _ in range(2_000)}
    assert {len(each) for each in ids} == {4}
    assert len(ids) == 2_000


@pytest.mark.parametrize(
    "stranger",
    [OTHER, PeerAddress(NODE.host, NODE.port + 1)],
    ids=["another host", "another port"],
)
def test_c2_an_answer_from_another_address_ends_nothing(stranger: PeerAddress) -> None:
    transactions = make()
    transaction = sent(transactions)
    assert transactions.close(transaction, stranger, now=0.1) is None
    assert transactions.close(transaction, NODE, now=0.2) is not None


def test_bep5_an_answer_counts_once() -> None:
    transactions = make()
    transaction = sent(transactions)
    assert transactions.close(b"\0\0\0\0", NODE, now=0.1) is None
    assert transactions.close(transaction, NODE, now=0.1) is not None
    assert transactions.close(transaction, NODE, now=0.1) is None
    assert transactions.timed_out(100.0).failed == []


def test_a_query_is_late_once_and_then_fails_once() -> None:
    transactions = make()
    sent(transactions)
    assert transactions.next_timer() == 1.0
    assert len(transactions.timed_out(0.99).slow) == 0
    late = transactions.timed_out(1.0)
    assert (len(late.slow), len(late.failed)) == (1, 0)
    assert transactions.next_timer() == 10.0
    over = transactions.timed_out(10.0)
    assert (len(over.slow), len(over.failed)) == (0, 1)
    assert transactions.next_timer() is None


def test_a_late_answer_is_still_taken() -> None:
    transactions = make()
    transaction = sent(transactions)
    transactions.timed_out(2.0)
    query = transactions.close(transaction, NODE, now=3.0)
    assert query is not None
    assert query.is_slow


def test_the_short_time_out_follows_the_round_trips() -> None:
    transactions = make()
    for number in range(50):
        transactions.close(sent(transactions, now=number), NODE, now=number + 0.1)
    assert transactions.round_trips.short_timeout_s == pytest.approx(0.2, abs=0.05)
    for number in range(50, 100):
        transactions.close(sent(transactions, now=number), NODE, now=number + 2.0)
    assert 2.0 < transactions.round_trips.short_timeout_s <= 5.0


def test_no_more_queries_wait_than_the_limit() -> None:
    transactions = make()
    first = sent(transactions)
    sent(transactions)
    sent(transactions)
    assert transactions.room == 0
    assert transactions.open(NODE, b"ping", SilentPing(), node_id=None, now=0.0) is None
    transactions.close(first, NODE, now=0.0)
    assert transactions.room == 1


def test_queries_of_somebody_who_is_gone_are_forgotten() -> None:
    transactions, gone = make(), SilentPing()
    sent(transactions)
    transactions.open(NODE, b"ping", gone, node_id=None, now=0.0)
    transactions.forget([gone])
    assert len(transactions) == 1
    assert len(transactions.timed_out(20.0).failed) == 1


def test_memory_of_answered_queries_does_not_grow() -> None:
    transactions = make()
    for number in range(5_000):
        now = number / 1000
        transactions.close(sent(transactions, now=now), NODE, now=now)
        transactions.timed_out(now)
    assert len(transactions._deadlines) <= 1_100


def test_c2_who_sees_nothing_must_guess_every_bit_of_a_transaction() -> None:
    transactions = make()
    number = int.from_bytes(sent(transactions), "big")
    for bit in range(32):
        guess = (number ^ 1 << bit).to_bytes(4, "big")
        assert transactions.close(guess, NODE, now=0.1) is None
    assert transactions.close(number.to_bytes(4, "big"), OTHER, now=0.1) is None
    assert transactions.close(number.to_bytes(4, "big"), NODE, now=0.1) is not None


def test_c2_no_bit_of_a_transaction_is_the_same_each_time() -> None:
    transactions = Transactions(DhtConfig(max_outstanding_queries=2_000), random.Random(1))
    ids = [int.from_bytes(sent(transactions), "big") for _ in range(2_000)]
    for bit in range(32):
        assert 800 < sum(each >> bit & 1 for each in ids) < 1_200


def test_of_many_queries_that_are_over_a_few_are_told_at_a_time() -> None:
    transactions = Transactions(DhtConfig(query_timeout_s=10.0), random.Random(1))
    for number in range(50):
        sent(transactions, now=number / 100)
    told = []
    while (due_s := transactions.next_timer()) is not None and due_s <= 5.0:
        timeouts = transactions.timed_out(5.0)
        told.append(len(timeouts.slow) + len(timeouts.failed))
    assert max(told) == MAX_TIMEOUTS
    assert sum(told) == 50
