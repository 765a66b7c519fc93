"""What becomes of losses and silence: what is sent again, when, and what it says of queues."""

from random import Random

import pytest

from tests.protocol.utp.packets import connected, give, packet, sent_by
from torrent_engine.protocol.utp.congestion import CongestionWindow
from torrent_engine.protocol.utp.connection import UtpConnection
from torrent_engine.protocol.utp.flight import Flight
from torrent_engine.protocol.utp.pacing import Pacer
from torrent_engine.protocol.utp.packet import DATA, STATE
from torrent_engine.protocol.utp.packet_size import PacketSize
from torrent_engine.protocol.utp.queue_delay import QueueDelay
from torrent_engine.protocol.utp.retransmission import RetransmissionTimer
from torrent_engine.protocol.utp.round_trip import RoundTrip

RTT_S = 0.1


def sending(size_bytes: int = 10_000) -> tuple[UtpConnection, list[int]]:
    """Return a connection whose round trip is known, with packets in transit; their numbers."""
    connection = connected()
    connection.send([b"hello"])
    (first,) = sent_by(connection, 1.0)
    give(connection, packet(STATE, acknowledged=first.sequence), 1.0 + RTT_S)
    connection.send([bytes(size_bytes)])
    numbers = [each.sequence for each in sent_by(connection, 2.0)]
    assert len(numbers) > 8
    return connection, numbers


def resent(connection: UtpConnection, now: float) -> list[int]:
    return [each.sequence for each in sent_by(connection, now) if each.type == DATA]


def test_bep29_what_others_overtook_is_sent_again() -> None:
    connection, numbers = sending()
    sack = (0b1111_1100).to_bytes(1, "little")  # the first three are missing
    give(connection, packet(STATE, acknowledged=numbers[0] - 1, sack=sack), 2.0 + RTT_S)
    due_s = connection.timer()
    assert due_s is not None
    assert 2.0 + RTT_S < due_s < 2.0 + 1.5 * RTT_S
    connection.handle_timer(due_s)
    assert resent(connection, due_s)[:3] == numbers[:3]


def test_bep29_a_lost_packet_without_a_queue_leaves_the_window() -> None:
    connection, numbers = sending()
    window = connection._sender.congestion.window_bytes
    give(connection, packet(STATE, acknowledged=numbers[0] - 1, sack=b"\xff"), 2.2)
    connection.handle_timer(2.3)
    assert numbers[0] in resent(connection, 2.3)
    assert connection._sender.congestion.window_bytes >= window


def test_bep29_silence_sends_the_newest_packet_first_then_all() -> None:
    connection, numbers = sending()
    times: list[float] = []
    sent: list[list[int]] = []
    now = 2.0
    while len(sent) < 3:
        due_s = connection.timer()
        assert due_s is not None
        now = due_s
        connection.handle_timer(now)
        if again := resent(connection, now):
            times.append(now)
            sent.append(again)
    assert sent[0] == sent[1] == [numbers[-1]]
    assert sent[2][0] == numbers[0]
    assert times[0] - 2.0 < 0.5
    assert times[2] - times[1] >= 0.5
    assert len(sent[2]) <= 3, "the window begins anew"


def test_bep29_a_late_timer_waits_for_what_was_not_read_yet() -> None:
    connection, numbers = sending()
    connection.handle_timer(3.0)
    assert resent(connection, 3.0) == []
    give(connection, packet(STATE, acknowledged=numbers[-1]), 3.0)
    connection.handle_timer(3.1)
    assert connection._sender.flight.is_empty

    connection, numbers = sending()
    connection.handle_timer(3.0)
    connection.handle_timer(3.06)
    assert resent(connection, 3.06) == [numbers[-1]], "but not for ever"


def test_bep29_timeouts_double_up_to_a_minute() -> None:
    trip = RoundTrip(0.5, 60.0)
    timer = RetransmissionTimer(trip, 60.0, 0.0)
    trip.measure(0.01, 0.0)
    timer.begin(0.0)
    now, waits = 0.0, []
    while not timer.is_hopeless(now):
        waits.append(timer.due_s - now)
        assert not timer.is_due(timer.due_s - 0.001)
        now = timer.due_s
        assert timer.is_due(now)
        timer.expired(now)
    assert waits[0] == waits[1] < 0.1
    assert waits[2:] == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60])


def test_bep29_who_answers_is_not_given_up_soon() -> None:
    timer = RetransmissionTimer(RoundTrip(0.5, 2.0), 2.0, 0.0)
    for _ in range(80):
        timer.received_s = timer.due_s
        timer.expired(timer.due_s)
    assert not timer.is_hopeless(timer.due_s)


def talk(connection: UtpConnection, seconds: float, *, window_bytes: int, acknowledged: int) -> int:
    """Let a peer send a packet every ten seconds; return how many times ours were resent."""
    now = talked_s = 2.0
    count, number = 0, 2
    while now < 2.0 + seconds and not connection.has_ended:
        due_s = connection.timer()
        now = talked_s + 10.0 if due_s is None else min(due_s, talked_s + 10.0)
        if now == talked_s + 10.0:
            talked_s, number = now, number + 1
            options = {"window_bytes": window_bytes, "acknowledged": acknowledged}
            give(connection, packet(DATA, sequence=number, payload=b"x", **options), now)
        else:
            connection.handle_timer(now)
        count += len(resent(connection, now))
    return count


def test_c4_who_never_acknowledges_is_given_up_whatever_else_it_sends() -> None:
    connection, numbers = sending()
    before = numbers[0] - 1
    talk(connection, 150.0, window_bytes=1 << 20, acknowledged=before)
    assert not connection.has_ended
    connection, numbers = sending()
    talk(connection, 300.0, window_bytes=1 << 20, acknowledged=before)
    assert connection.failure == "timed out"


def test_c4_who_has_no_room_is_waited_for_as_long_as_it_says_so() -> None:
    connection, numbers = sending()
    days_s = 3 * 86_400.0  # the timeout would overflow after less than one
    count = talk(connection, days_s, window_bytes=100, acknowledged=numbers[0] - 1)
    assert not connection.has_ended
    assert count > 1_024
    connection.handle_timer(days_s + 300.0)
    connection.handle_timer(days_s + 301.0)
    assert connection.failure == "timed out"


# -- the parts ---------------------------------------------------------------------------------


def test_bep29_each_packet_is_in_transit_or_lost_or_arrived() -> None:
    rng, flight, now = Random(5), Flight(65_530), 0.0
    for _ in range(3_000):
        now += 0.001
        for _ in range(rng.randrange(4)):
            flight.send(DATA, bytes(10), now)
        for number in list(flight.lost)[: rng.randrange(3)]:
            flight.send_again(number, now)
        count = rng.randrange(3) if flight.next - flight.first > 3 else 0
        flight.acknowledge(count, rng.randbytes(rng.randrange(3)), now)
        flight.find_lost(now, 0.002)
        if rng.random() < 0.01:
            flight.lose_all()
        assert not set(flight._transit) & set(flight.lost)
        assert flight.in_transit_bytes == 10 * len(flight._transit)
        assert flight.lost_bytes == 10 * len(flight.lost)
        assert list(flight.lost) == sorted(flight.lost)
        assert all(flight.first <= number < flight.next for number in flight._transit)
    assert flight.delivered_bytes > 10_000


def test_bep29_round_trip_sets_the_timeout_within_its_limits() -> None:
    trip = RoundTrip(0.5, 60.0)
    assert trip.rto_s == 1.0
    for sample_s in (0.2, 0.3, 0.2):
        trip.measure(sample_s, 0.0)
    assert (trip.min_s, trip.latest_s) == (0.2, 0.2)
    assert 0.5 <= trip.rto_s < 1.0
    for _ in range(20):
        trip.measure(100.0, 400.0)
    assert trip.rto_s == 60.0
    for now in (701.0, 1_002.0):
        trip.measure(100.0, now)
    assert trip.min_s == 100.0, "a way that became longer is believed in the end"


@pytest.mark.parametrize("offset_us", [0, 5, 1 << 31, (1 << 32) - 5_000])
def test_bep29_queueing_delay_is_what_is_above_the_least(offset_us: int) -> None:
    delay = QueueDelay()
    for number in range(10):
        delay.measure((offset_us + 10_000 + number) % (1 << 32), 0.0)
    assert delay.queueing_s < 0.0001
    for _ in range(4):
        delay.measure((offset_us + 60_000) % (1 << 32), 1.0)
    assert delay.queueing_s == pytest.approx(0.05)
    for minute in range(1, 15):
        delay.measure((offset_us + 60_000) % (1 << 32), minute * 61.0)
    assert delay.queueing_s == 0.0


def test_bep29_one_late_sample_is_no_queue() -> None:
    delay = QueueDelay()
    for sample_us in (10_000, 10_000, 10_000, 90_000):
        delay.measure(sample_us, 0.0)
    assert delay.queueing_s == 0.0


def test_bep29_window_doubles_until_there_is_a_queue() -> None:
    window = CongestionWindow(0.1, 1 << 20)
    for _ in range(3):
        window.delivered(int(window.window_bytes), 0.0, RTT_S, 1_400, is_used=True)
    assert window.window_bytes == 8 * 16 * 1_024
    window.delivered(1_400, 0.03, RTT_S, 1_400, is_used=True)
    assert not window.is_slow_start
    before = window.window_bytes
    window.delivered(int(before), 0.0, RTT_S, 1_400, is_used=True)
    assert before < window.window_bytes < before * 1.1
    before = window.window_bytes
    window.delivered(int(before), 0.2, RTT_S, 1_400, is_used=True)
    assert before / 2 <= window.window_bytes < before


def test_bep29_a_window_that_is_not_used_does_not_grow() -> None:
    window = CongestionWindow(0.1, 1 << 20)
    window.delivered(5_000, 0.0, RTT_S, 1_400, is_used=False)
    assert window.window_bytes == 16 * 1_024


def test_bep29_a_window_has_a_most_and_a_least() -> None:
    window = CongestionWindow(0.1, 100_000)
    for _ in range(100):
        window.delivered(50_000, 0.0, RTT_S, 1_400, is_used=True)
    assert window.window_bytes == 100_000
    for _ in range(100):
        window.delivered(50_000, 0.5, RTT_S, 1_400, is_used=True)
        window.lost(0.5, 0.5, RTT_S, 1_400)
    assert window.window_bytes == 2 * 1_400


def test_bep29_a_loss_counts_with_a_queue_or_where_much_is_lost() -> None:
    window = CongestionWindow(0.1, 1 << 20)
    window.lost(0.05, 0.0, RTT_S, 1_400)
    assert window.window_bytes == 16 * 1_024
    window.lost(0.05, 0.05, RTT_S, 1_400)
    assert window.window_bytes == pytest.approx(16 * 1_024 * 2 / 3)
    before = window.window_bytes
    for _ in range(10):
        window.lost(0.6, 0.0, RTT_S, 1_400)
    assert window.window_bytes <= before / 2


@pytest.mark.parametrize(("queueing_s", "share"), [(0.0, 1.0), (0.05, 0.5)])
def test_bep29_after_a_timeout_the_window_is_soon_regained(queueing_s: float, share: float) -> None:
    window = CongestionWindow(0.1, 1 << 20)
    window.timed_out(queueing_s, 1_400)
    assert window.window_bytes == 2 * 1_400
    rounds = 0
    while window.is_slow_start:
        window.delivered(int(window.window_bytes), 0.0, RTT_S, 1_400, is_used=True)
        rounds += 1
    assert window.window_bytes >= share * 16 * 1_024
    assert rounds <= 3


def test_bep29_packets_leave_at_the_pace() -> None:
    pacer, sent, now = Pacer(0.0), 0, 0.0
    while now < 10.0:
        pacer.refill(now, 1e6)
        while pacer.credit_bytes > 0:
            pacer.credit_bytes -= 1_400
            sent += 1_400
        assert pacer.ready_s() > now
        now = pacer.ready_s()
    assert sent == pytest.approx(10e6, rel=0.01)
    pacer.refill(1e6, 1e6)
    assert pacer.credit_bytes <= 12_000
    pacer.refill(1e6, float("inf"))
    assert pacer.credit_bytes == float("inf")


def test_bep29_sizes_are_tried_again_later() -> None:
    size = PacketSize(1_472)
    assert size.payload_bytes == 528
    number = 0
    while wanted := size.wanted_bytes(0.0):
        number += 1
        size.tried(number, 0.0)
        assert size.wanted_bytes(0.0) == 0, "one at a time"
        size.arrived() if wanted == 1_232 else size.lost()
    assert size.payload_bytes == 1_212
    assert number == 1 + 3 * 5
    assert size.wanted_bytes(59.0) == 0
    assert size.wanted_bytes(61.0) == 1_472
    size.tried(99, 61.0)
    size.arrived()
    assert size.payload_bytes == 1_452
    assert size.wanted_bytes(1e9) == 0


@pytest.mark.parametrize("most", [0, 100, 548])
def test_bep29_nothing_is_tried_where_nothing_larger_may_be(most: int) -> None:
    size = PacketSize(most)
    assert (size.payload_bytes, size.wanted_bytes(1e9)) == (528, 0)
