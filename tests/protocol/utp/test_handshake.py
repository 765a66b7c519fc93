"""How a connection begins (BEP 29), and what a forged address may cause (row C3)."""

from random import Random

import pytest

from tests.protocol.utp.packets import (
    CONFIG,
    accept,
    dial,
    first_of,
    give,
    packet,
    read,
    sent_by,
    syn_number_of,
)
from torrent_engine.protocol.utp.connection import UtpConnection, UtpState
from torrent_engine.protocol.utp.handshake import MANY_WRONG_NUMBERS
from torrent_engine.protocol.utp.limits import UtpLimits
from torrent_engine.protocol.utp.packet import DATA, FIN, MASK_16, MASK_32, RESET, STATE, SYN


def test_bep29_syn_carries_the_id_that_it_wants_back() -> None:
    connection = dial()
    (syn,) = sent_by(connection, 1.0)
    assert (syn.type, syn.connection_id) == (SYN, connection.receive_id)
    assert syn.sequence == syn_number_of(connection)
    assert connection.send_id == connection.receive_id + 1 & MASK_16
    assert sent_by(connection, 1.1) == []


def test_bep29_an_id_that_is_taken_is_not_chosen() -> None:
    wanted = dial().receive_id
    connection = UtpConnection.dial(
        CONFIG, now=1.0, rng=Random(1), is_taken=lambda number: number == wanted
    )
    assert connection.receive_id == wanted + 1 & MASK_16


def test_bep29_syn_is_sent_three_times() -> None:
    connection, times = dial(), []
    now = 1.0
    while not connection.has_ended:
        times += [now for each in sent_by(connection, now) if each.type == SYN]
        due_s = connection.timer()
        assert due_s is not None
        connection.handle_timer(due_s - 0.01)
        now = due_s
        connection.handle_timer(now)
    assert times == [1.0, 2.0, 4.0]
    assert (now, connection.failure) == (8.0, "no answer")
    with pytest.raises(OSError, match="no answer"):
        read(connection)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_bep29_a_dial_that_is_given_up_sends_nothing_more(end: str) -> None:
    connection = dial()
    getattr(connection, end)(1.0)
    assert sent_by(connection, 1.0) == []
    assert connection.timer() is None
    give(connection, packet(STATE, sequence=100, acknowledged=syn_number_of(connection)), 1.1)
    assert connection.has_ended
    assert connection.failure is None
    assert sent_by(connection, 2.0) == []


def test_bep29_answer_connects_and_is_acknowledged() -> None:
    connection = dial()
    sent_by(connection, 1.0)
    number = syn_number_of(connection)
    for wrong in (
        packet(STATE, sequence=100, acknowledged=number + 1),
        packet(STATE, sequence=100, acknowledged=1),
        packet(DATA, sequence=100, acknowledged=number, payload=b"early"),
        packet(RESET, sequence=100, acknowledged=number + 1),
        packet(SYN, sequence=1),
    ):
        give(connection, wrong, 1.1)
        assert connection.state is UtpState.SYN_SENT
    assert not connection.is_writable
    with pytest.raises(BlockingIOError):
        connection.send([b"early"])
    give(connection, packet(STATE, sequence=0, acknowledged=number), 1.2)
    assert connection.state is UtpState.CONNECTED
    assert connection.is_writable
    connection.handle_timer(1.3)
    (answer,) = sent_by(connection, 1.3)
    assert (answer.type, answer.acknowledged) == (STATE, 0xFFFF)
    assert answer.sequence == number + 1 & MASK_16
    assert answer.connection_id == connection.send_id
    give(connection, packet(DATA, sequence=0, acknowledged=number, payload=b"hello"), 1.4)
    assert read(connection) == b"hello"


@pytest.mark.parametrize("number", [0, 0xFFFF, 12_345])
def test_bep29_ids_of_who_accepts_follow_from_the_syn(number: int) -> None:
    connection = accept(connection_id=number)
    assert connection.send_id == number
    assert connection.receive_id == number + 1 & MASK_16


def test_c3_a_forged_syn_gets_one_packet_of_20_bytes() -> None:
    connection = accept()
    (first,) = connection.packets_to_send(1.0)
    assert (len(first[0]), len(first[1])) == (20, 0)
    assert not connection.is_confirmed
    with pytest.raises(BlockingIOError):
        connection.send([b"payload"])
    while not connection.has_ended:
        now = connection.timer()
        assert now is not None
        connection.handle_timer(now - 0.5)
        connection.handle_timer(now)
        assert connection.packets_to_send(now) == []
    assert connection.failure == "not confirmed"


@pytest.mark.parametrize("end", ["close", "abort"])
def test_c3_an_unconfirmed_connection_ends_without_a_word(end: str) -> None:
    connection = accept()
    sent_by(connection, 1.0)
    getattr(connection, end)(1.0)
    assert connection.has_ended
    assert sent_by(connection, 1.0) == []


def test_c3_a_syn_that_comes_again_gets_the_same_answer() -> None:
    connection = accept()
    (first,) = sent_by(connection, 1.0)
    give(connection, packet(SYN, connection_id=7, sequence=1), 1.0)
    (second,) = sent_by(connection, 1.0)
    assert second == first
    assert sent_by(connection, 1.0) == []


@pytest.mark.parametrize("offset", [-3, -2, 0, 1, 0x4000, 0x8000, 0xC000])
@pytest.mark.parametrize("kind", [DATA, STATE, FIN])
def test_c3_who_does_not_know_our_number_confirms_nothing(kind: int, offset: int) -> None:
    connection = accept()
    sent_by(connection, 1.0)
    guess = first_of(connection) + offset
    give(connection, packet(kind, sequence=2, acknowledged=guess, payload=b"x"), 1.1)
    assert not connection.is_confirmed
    assert sent_by(connection, 1.1) == []
    assert not connection.is_readable


@pytest.mark.parametrize("kind", [DATA, STATE, FIN])
def test_c3_three_wrong_numbers_end_an_unconfirmed_connection(kind: int) -> None:
    connection = accept()
    sent_by(connection, 1.0)
    for offset in (1, 2, 3):
        assert not connection.has_ended
        give(connection, packet(kind, sequence=2, acknowledged=first_of(connection) + offset), 1.1)
    assert connection.has_ended
    assert connection.packets_to_send(1.2) == []
    give(connection, packet(STATE, sequence=2, acknowledged=first_of(connection) - 1), 1.2)
    assert not connection.is_confirmed


def guesser(limits: UtpLimits, rng: Random, *, now: float) -> bool:
    """Return whether who sees nothing confirms a forged connection with the guesses it is left."""
    connection = accept(now=now, limits=limits, seed=rng.getrandbits(32))
    sent_by(connection, now)
    while not connection.has_ended:
        now += rng.random() * 9.0
        guess = packet(STATE, sequence=2, acknowledged=rng.randrange(1 << 16))
        guess = guess._replace(
            timestamp_us=rng.getrandbits(32), timestamp_difference_us=rng.getrandbits(32)
        )
        give(connection, guess, now)
        if connection.is_confirmed:
            return True
        connection.handle_timer(now)
    return False


def test_c3_a_flood_of_guesses_over_many_connections_confirms_none() -> None:
    limits, rng = UtpLimits(), Random(11)
    assert not any(guesser(limits, rng, now=1.0) for _ in range(20_000))


@pytest.mark.parametrize("held_s", [0.0, 0.1, 3.0])
@pytest.mark.parametrize("way_s", [0.0, 0.2])
def test_c3_while_somebody_guesses_who_is_there_confirms_still(way_s: float, held_s: float) -> None:
    limits, their_clock_us, now = UtpLimits(), 0xFFFF_FF00, 1.0
    for _ in range(MANY_WRONG_NUMBERS):
        limits.wrong_numbers.add(now)
    connection = accept(limits=limits, now=now)
    (answer,) = sent_by(connection, now)
    came_us = their_clock_us + int(way_s * 1e6)
    confirmation = packet(
        DATA,
        sequence=2,
        acknowledged=first_of(connection) - 1,
        timestamp_us=came_us + int(held_s * 1e6) & MASK_32,
        timestamp_difference_us=came_us - answer.timestamp_us & MASK_32,
    )
    wrong = confirmation._replace(timestamp_us=confirmation.timestamp_us + 12_000_000 & MASK_32)
    now += 2 * way_s + held_s
    give(connection, wrong, now)
    assert not connection.is_confirmed
    give(connection, confirmation, now)
    assert connection.is_confirmed


def test_c3_a_few_wrong_numbers_of_others_ask_for_no_time_stamps() -> None:
    limits = UtpLimits()
    for number in range(MANY_WRONG_NUMBERS):
        limits.wrong_numbers.add(5.0 * number)
    connection = accept(limits=limits, now=100.0)
    give(connection, packet(STATE, sequence=2, acknowledged=first_of(connection) - 1), 100.0)
    assert connection.is_confirmed


def test_c3_numbers_and_clocks_of_a_dial_are_drawn() -> None:
    syns = [sent_by(dial(seed=seed), 1.0)[0] for seed in range(50)]
    for drawn in ("connection_id", "sequence", "timestamp_us"):
        assert len({getattr(syn, drawn) for syn in syns}) >= 49


@pytest.mark.parametrize("kind", [DATA, STATE])
def test_c3_who_knows_our_number_confirms(kind: int) -> None:
    connection = accept()
    sent_by(connection, 1.0)
    known = first_of(connection) - 1
    payload = b"hello" if kind == DATA else b""
    give(connection, packet(kind, sequence=2, acknowledged=known, payload=payload), 1.1)
    assert connection.is_confirmed
    assert connection.is_readable == (kind == DATA)
    assert connection.send([b"answer"]) == 6
    (answer,) = sent_by(connection, 1.1)
    assert (answer.type, bytes(answer.payload)) == (DATA, b"answer")
    assert answer.sequence == first_of(connection)


def test_bep29_reset_refuses_a_dial() -> None:
    connection = dial()
    sent_by(connection, 1.0)
    give(connection, packet(RESET, acknowledged=syn_number_of(connection)), 1.1)
    assert connection.failure == "reset by the other side"
    assert sent_by(connection, 1.1) == []
