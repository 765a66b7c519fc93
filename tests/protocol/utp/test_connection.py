"""One connection of uTP: what it believes, how much it keeps (row C4), and how it ends."""

from random import Random
from typing import Any

import pytest

from tests.protocol.utp.packets import (
    CONFIG,
    MIB,
    connected,
    first_of,
    give,
    packet,
    read,
    sent_by,
)
from torrent_engine.base.config import UtpConfig
from torrent_engine.protocol.utp.connection import UtpConnection, UtpState
from torrent_engine.protocol.utp.limits import BufferBudget, ReorderBudget, UtpLimits
from torrent_engine.protocol.utp.packet import (
    DATA,
    FIN,
    MASK_16,
    MASK_32,
    RESET,
    STATE,
    SYN,
    Packet,
)
from torrent_engine.protocol.utp.receiver import EARLY_COST_BYTES

KIB = 1_024


def data(connection: UtpConnection, sequence: int, payload: bytes = b"x") -> Packet:
    acknowledged = first_of(connection) - 1
    return packet(DATA, sequence=sequence & MASK_16, acknowledged=acknowledged, payload=payload)


def flying(packets: int) -> UtpConnection:
    """Return a connection with so many packets in flight, the newest news being old."""
    connection = connected(now=1.0)
    for _ in range(packets):
        connection.send([b"x"])
        sent_by(connection, 1.0)
    flight = connection._sender.flight
    assert flight.next - flight.first == packets
    return connection


def acknowledge_all(connection: UtpConnection, now: float, **fields: Any) -> None:
    last = connection._sender.flight.next - 1
    give(connection, packet(STATE, **{"sequence": 2, "acknowledged": last, **fields}), now)


# -- what is sent ------------------------------------------------------------------------------


def test_bep29_the_first_send_ends_where_a_packet_ends() -> None:
    connection = connected()
    assert connection.send([b"h" * 48, memoryview(b"i" * 20)]) == 68
    assert connection.send([b"m" * 3_000]) == 3_000
    first, second, *_ = sent_by(connection, 1.0)
    assert first.payload == b"h" * 48 + b"i" * 20
    assert second.payload == b"m" * len(second.payload)


def test_bep29_what_is_sent_later_shares_packets() -> None:
    connection = connected()
    connection.send([b"a"])
    for byte in (b"b", b"c", b"d"):
        connection.send([byte * 10])
    assert [bytes(each.payload) for each in sent_by(connection, 1.0)] == [
        b"a",
        b"b" * 10 + b"c" * 10 + b"d" * 10,
    ]


def test_bep29_send_copies_what_it_takes() -> None:
    connection, buffer = connected(), bytearray(b"before")
    connection.send([memoryview(buffer)])
    buffer[:] = b"after!"
    assert bytes(sent_by(connection, 1.0)[0].payload) == b"before"


def test_c4_the_send_buffer_is_bounded() -> None:
    connection = connected()
    connection._sender.congestion.window_bytes = float(MIB)
    taken = connection.send([bytes(700 * KIB), bytes(700 * KIB)])
    assert taken == CONFIG.send_buffer_bytes
    assert not connection.is_writable
    with pytest.raises(BlockingIOError):
        connection.send([b"more"])
    sent_by(connection, 1.0)
    assert not connection.is_writable


def test_bep29_the_peers_window_is_kept() -> None:
    connection = connected()
    acknowledge_all(connection, 1.0, window_bytes=2_000)
    connection.send([bytes(10_000)])
    assert sum(len(each.payload) for each in sent_by(connection, 1.0)) <= 2_000
    acknowledge_all(connection, 1.1, window_bytes=100)
    assert [len(each.payload) for each in sent_by(connection, 1.1)] == [100]


def test_bep29_no_more_packets_than_can_be_acknowledged_selectively() -> None:
    connection = connected()
    for _ in range(5_000):
        connection.send([b"x"])
        for each in sent_by(connection, 1.0):
            give(connection, packet(STATE, acknowledged=each.sequence - 1), 1.0)
    flight = connection._sender.flight
    assert flight.next - flight.first <= 2_000


# -- what is believed --------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [1, 2, 1_000, 0x7000])
def test_c4_an_acknowledgement_of_what_was_not_sent_is_dropped(ahead: int) -> None:
    connection = connected()
    connection.send([bytes(1_000)])
    sent_by(connection, 1.0)
    window = connection._sender.congestion.window_bytes
    last = connection._sender.flight.next - 1
    lie = packet(DATA, sequence=2, acknowledged=last + ahead, payload=b"x", window_bytes=0)
    give(connection, lie, 1.1)
    assert not connection._sender.flight.is_empty
    assert not connection.is_readable
    assert connection._sender.congestion.window_bytes == window


def test_c4_an_old_acknowledgement_changes_nothing_but_its_payload_counts() -> None:
    connection = connected()
    connection.send([bytes(1_000)])
    sent_by(connection, 1.0)
    acknowledge_all(connection, 1.1)
    old = connection._sender.flight.first - 3
    give(connection, packet(DATA, sequence=2, acknowledged=old, payload=b"late"), 1.2)
    assert read(connection) == b"late"
    assert connection._sender._peer_window_bytes == MIB


@pytest.mark.parametrize("sack", [b"\xff" * 255, b"\xff", b"\0" * 31, b"\x80\x01\xfe"])
def test_c4_selective_acknowledgements_of_nothing_are_harmless(sack: bytes) -> None:
    connection = connected()
    connection.send([bytes(20_000)])
    packets = len([each for each in sent_by(connection, 1.0) if each.type == DATA])
    before = connection._sender.flight.first
    give(connection, packet(STATE, acknowledged=before - 1, sack=sack), 1.1)
    flight = connection._sender.flight
    assert flight.first == before
    assert flight.has(before), "the first one is what is missing"
    gone = sum(not flight.has(before + number) for number in range(packets))
    assert gone == min(sum(byte.bit_count() for byte in sack), packets - 1)


def test_c4_numbers_far_away_are_not_kept() -> None:
    connection = connected()
    for ahead in (2_300, 0x7FFF, 0x8000, 0xFFF0, 0):
        give(connection, data(connection, 2 - 1 + ahead), 1.1)
    assert connection._receiver.waiting_bytes == 0
    assert not connection.is_readable


def test_c4_what_waits_is_bounded_by_the_window() -> None:
    budget = ReorderBudget()
    connection = connected(limits=UtpLimits(reorder=budget))
    for number in range(2_000):
        give(connection, data(connection, 3 + number, bytes(1_400)), 1.1)
    assert MIB - 1_400 <= connection._receiver.waiting_bytes <= MIB
    waiting, count = connection._receiver.waiting_bytes, len(connection._receiver._early)
    assert budget.held_bytes == waiting + count * EARLY_COST_BYTES
    (answer,) = sent_by(connection, 1.1)
    assert answer.window_bytes < 1_400
    assert len(answer.sack) % 4 == 0
    connection.abort(1.2)
    assert budget.held_bytes == 0


def test_c4_above_what_all_may_keep_each_keeps_64_packets() -> None:
    budget = ReorderBudget(limit_bytes=10_000, held_bytes=9_999)
    connection = connected(limits=UtpLimits(reorder=budget))
    for number in range(200):
        give(connection, data(connection, 3 + number, bytes(10)), 1.1)
    assert connection._receiver.waiting_bytes == 640
    give(connection, data(connection, 2, b"first"), 1.2)
    assert len(read(connection)) == 645
    assert budget.held_bytes == 9_999


def test_c4_tiny_packets_that_wait_for_a_gap_count_for_what_they_cost() -> None:
    budget = ReorderBudget(limit_bytes=100 * EARLY_COST_BYTES)
    connection = connected(limits=UtpLimits(reorder=budget))
    for number in range(2_000):
        give(connection, data(connection, 3 + number, b"x"), 1.1)
    assert len(connection._receiver._early) <= 100
    connection.abort(1.2)
    assert budget.held_bytes == 0


def test_c4_what_is_not_read_is_bounded_over_all_connections() -> None:
    limits = UtpLimits()
    connections = [connected(limits=limits) for _ in range(200)]
    for connection in connections:
        window, number = MIB, 2
        while window >= 1_400:
            give(connection, data(connection, number, bytes(1_400)), 1.1)
            number += 1
            window = min(window - 1_400, connection._receiver.window_bytes)
    held = [each._receiver.waiting_bytes for each in connections]
    assert min(held) >= 62 * KIB
    assert limits.unread.held_bytes == sum(held) <= 44 * MIB
    assert len(read(connections[0])) == held[0]
    assert limits.unread.held_bytes == sum(held[1:])
    for connection in connections[1:]:
        connection.close(1.2)
    assert limits.unread.held_bytes == 0


def test_c4_who_ignores_the_window_fills_little_once_all_hold_too_much() -> None:
    limits = UtpLimits(unread=BufferBudget(limit_bytes=MIB))
    connections = [connected(limits=limits) for _ in range(20)]
    for connection in connections:
        for number in range(1_000):
            give(connection, data(connection, 2 + number, bytes(1_400)), 1.1)
    assert limits.unread.held_bytes <= 2 * MIB + 20 * 128 * KIB
    assert all(each._receiver._ready_bytes <= 128 * KIB for each in connections[2:])


def test_c4_a_window_that_was_narrow_for_want_of_memory_is_told_of_when_it_opens() -> None:
    limits = UtpLimits(unread=BufferBudget(limit_bytes=MIB, held_bytes=MIB))
    connection = connected(limits=limits)
    for number in range(46):
        give(connection, data(connection, 2 + number, bytes(1_400)), 1.1)
    (answer,) = sent_by(connection, 1.1)
    assert answer.window_bytes < 2_000
    assert len(read(connection)) == 46 * 1_400
    (update,) = sent_by(connection, 1.2)
    assert update.window_bytes == 64 * KIB


def test_c4_bytes_that_moved_are_counted_once() -> None:
    connection = connected()
    before = connection.moved_bytes
    for _ in range(3):
        give(connection, data(connection, 2, b"once"), 1.1)
        give(connection, data(connection, 5, b"early"), 1.1)
    assert connection.moved_bytes == before + 9
    connection.send([bytes(500)])
    sent_by(connection, 1.1)
    newest = connection._sender.flight.next - 1
    for _ in range(3):
        give(connection, packet(STATE, acknowledged=newest), 1.2)
    assert connection.moved_bytes == before + 9 + 500


def fill(connection: UtpConnection) -> int:
    """Queue as much as goes."""
    count = 0
    while connection.is_writable:
        count += connection.send([bytes(16 * KIB)])
    return count


def test_c4_who_acknowledges_nothing_makes_us_hold_little() -> None:
    connection = connected()
    assert 32 * KIB <= fill(connection) <= 64 * KIB
    sent_by(connection, 1.1)
    assert fill(connection) == 0


def test_c4_a_wide_congestion_window_makes_the_send_buffer_large() -> None:
    connection = connected()
    connection._sender.congestion.window_bytes = float(MIB)
    assert MIB - 32 * KIB <= fill(connection) <= MIB


def test_c4_what_is_not_acknowledged_is_bounded_over_all_connections() -> None:
    budget = BufferBudget(CONFIG.max_unacknowledged_bytes)
    limits = UtpLimits(unsent=budget)
    connections = [connected(limits=limits) for _ in range(300)]
    for connection in connections:
        connection._sender.congestion.window_bytes = float(MIB)
        assert fill(connection) >= 32 * KIB
    assert budget.held_bytes == sum(each._sender.queue.queued_bytes for each in connections)
    assert budget.held_bytes <= 34 * MIB
    for connection in connections:
        connection.abort(1.1)
    assert budget.held_bytes == 0


def test_c4_who_closes_its_window_makes_us_hold_little_whatever_it_took_before() -> None:
    connection = connected()
    connection._sender.congestion.window_bytes = float(MIB)
    acknowledge_all(connection, 1.1, window_bytes=100 * KIB)
    assert 100 * KIB <= fill(connection) <= 132 * KIB
    newest = sent_by(connection, 1.2)[-1].sequence
    give(connection, packet(STATE, acknowledged=newest, window_bytes=0), 1.3)
    fill(connection)
    assert connection._sender.queue.queued_bytes <= 64 * KIB


def test_c4_what_is_in_flight_keeps_no_more_than_itself() -> None:
    """Views would keep what was queued with them."""
    connection = connected()
    connection._sender.congestion.window_bytes = 200.0 * KIB
    fill(connection)
    sent_by(connection, 1.1)
    flight = connection._sender.flight
    payloads = [sent.payload for sent in flight._transit.values()]
    assert len(payloads) > 8
    assert all(isinstance(each, bytes) for each in payloads)
    chunks = connection._sender.queue._chunks
    assert all(len(each) <= 48 * KIB for each in chunks)


def test_c4_small_packets_in_flight_count_what_they_take() -> None:
    budget = BufferBudget()
    connection = connected(limits=UtpLimits(unsent=budget))
    fill(connection)
    sent_by(connection, 1.1)
    assert not connection.is_writable
    flight, queue = connection._sender.flight, connection._sender.queue
    assert flight.packets > 8
    held_bytes = flight.unacknowledged_bytes + queue.queued_bytes
    assert budget.held_bytes == held_bytes + 200 * flight.packets


def test_c4_what_arrived_counts_no_more() -> None:
    budget = BufferBudget()
    connection = connected(limits=UtpLimits(unsent=budget))
    fill(connection)
    before = budget.held_bytes
    sent_bytes = sum(len(each.payload) for each in sent_by(connection, 1.1))
    newest = connection._sender.flight.next - 1
    give(connection, packet(STATE, acknowledged=newest), 1.2)
    assert 0 < sent_bytes == before - budget.held_bytes


def test_c4_who_ignores_our_window_is_dropped() -> None:
    connection = connected()
    for number in range(2_000):
        give(connection, data(connection, 2 + number, bytes(1_400)), 1.1)
    assert connection._receiver.waiting_bytes <= MIB + 64 * KIB
    assert sent_by(connection, 1.1)[0].window_bytes == 0


def test_c4_a_connection_that_is_not_read_for_a_while_keeps_little_and_goes_on_after_it() -> None:
    connection = connected()
    connection.narrow(is_narrow=True)
    for number in range(2_000):
        give(connection, data(connection, 2 + number, bytes(1_400)), 1.1)
    assert connection._receiver.waiting_bytes <= 128 * KIB
    assert sent_by(connection, 1.1)[0].window_bytes == 0
    connection.narrow(is_narrow=False)
    assert read(connection)
    assert sent_by(connection, 1.2)[0].window_bytes == MIB


def test_bep29_bytes_come_in_order_and_once() -> None:
    connection, payloads = connected(), [bytes([number]) * 3 for number in range(40)]
    numbers = list(range(40)) * 2
    Random(1).shuffle(numbers)
    for number in numbers:
        give(connection, data(connection, 2 + number, payloads[number]), 1.1)
    assert read(connection, 5) == b"".join(payloads)[:5]
    assert read(connection) == b"".join(payloads)[5:]
    with pytest.raises(BlockingIOError):
        read(connection)


def test_bep29_selective_acknowledgement_says_what_came() -> None:
    connection = connected()
    for ahead in (1, 2, 9, 33):
        give(connection, data(connection, 2 + ahead), 1.1)
    (answer,) = sent_by(connection, 1.1)
    bits = int.from_bytes(answer.sack, "little")
    assert [number for number in range(64) if bits >> number & 1] == [0, 1, 8, 32]
    assert (answer.acknowledged, len(answer.sack)) == (1, 8)


def test_bep29_a_gap_is_told_beside_payload_too() -> None:
    connection = connected()
    give(connection, data(connection, 4), 1.1)
    connection.send([b"request"])
    kinds = [(each.type, bool(each.sack)) for each in sent_by(connection, 1.1)]
    assert kinds == [(DATA, False), (STATE, True)]


# -- acknowledgements --------------------------------------------------------------------------


def test_bep29_a_batch_gets_one_acknowledgement() -> None:
    connection = connected()
    for number in range(44):
        given = data(connection, 2 + number, bytes(1_400))
        connection.receive_packet(given, now=1.1, arrived_s=1.1)
    connection.batch_ended(1.1)
    (answer,) = sent_by(connection, 1.1)
    assert (answer.type, answer.acknowledged, bytes(answer.payload)) == (STATE, 45, b"")
    assert sent_by(connection, 1.1) == []


def test_bep29_a_single_packet_waits_a_little_for_company() -> None:
    connection = connected()
    give(connection, data(connection, 2), 1.1)
    assert sent_by(connection, 1.1) == []
    due_s = connection.timer()
    assert due_s is not None
    assert 1.1 < due_s < 1.2
    connection.handle_timer(due_s)
    (answer,) = sent_by(connection, due_s)
    assert answer.acknowledged == 2
    assert connection.timer() is None


def test_bep29_payload_takes_the_acknowledgement_along() -> None:
    connection = connected()
    give(connection, data(connection, 2), 1.1)
    connection.send([b"answer"])
    (answer,) = sent_by(connection, 1.1)
    assert (answer.type, answer.acknowledged) == (DATA, 2)
    connection.handle_timer(1.2)
    assert [each for each in sent_by(connection, 1.2) if each.type == STATE] == []


def test_bep29_reading_opens_the_window() -> None:
    connection = connected()
    for number in range(700):
        give(connection, data(connection, 2 + number, bytes(1_400)), 1.1)
    assert sent_by(connection, 1.1)[0].window_bytes < MIB // 8
    assert not connection._receiver.must_acknowledge
    while connection.is_readable:
        read(connection, 100_000)
    assert connection._receiver.must_acknowledge
    assert sent_by(connection, 1.2)[0].window_bytes == MIB


def test_bep29_a_packet_without_payload_is_acknowledged_too() -> None:
    connection = connected()
    give(connection, data(connection, 2, b""), 1.1)
    connection.handle_timer(1.2)
    assert [each.acknowledged for each in sent_by(connection, 1.2)] == [2]


@pytest.mark.parametrize("first", [2, 3])
def test_c4_a_window_full_of_tiny_packets_is_no_heap_of_objects(first: int) -> None:
    connection = connected()
    for number in range(first, 2_000):
        give(connection, data(connection, number, b"%04d" % number), 1.1)
    if first == 3:
        give(connection, data(connection, 2, b"0002"), 1.1)
    assert len(connection._receiver._ready) < 40
    expected = b"".join(b"%04d" % number for number in range(2, 2_000))
    assert read(connection, 5) + read(connection, 600) + read(connection) == expected


def test_bep29_the_delay_of_the_last_packet_is_told_by_its_arrival() -> None:
    connection = connected()
    give(connection, data(connection, 2, bytes(3_000)), 0.0)
    clock_us = sent_by(connection, 0.0)[0].timestamp_us
    sent = data(connection, 3, bytes(3_000))._replace(timestamp_us=clock_us + 1_000_000 & MASK_32)
    connection.receive_packet(sent, now=2.5, arrived_s=1.25)
    connection.batch_ended(2.5)
    (answer,) = sent_by(connection, 2.5)
    assert answer.timestamp_difference_us == 250_000
    assert (answer.timestamp_us - clock_us) & MASK_32 == 2_500_000


# -- the end -----------------------------------------------------------------------------------


def test_bep29_close_sends_what_is_queued_and_a_fin() -> None:
    connection = connected()
    connection.send([b"last words"])
    connection.close(1.0)
    connection.close(1.0)
    assert [each.type for each in sent_by(connection, 1.0)] == [DATA, FIN]
    assert connection.state is UtpState.CLOSING
    with pytest.raises(OSError, match="closed"):
        connection.send([b"more"])
    acknowledge_all(connection, 1.1)
    assert connection.has_ended
    assert connection.failure is None
    assert connection.timer() is None


def test_bep29_fin_is_the_end_once_all_before_it_has_come() -> None:
    connection = connected()
    give(connection, packet(FIN, sequence=3, acknowledged=first_of(connection) - 1), 1.1)
    assert not connection.is_readable
    give(connection, data(connection, 2, b"end"), 1.2)
    assert read(connection) == b"end"
    assert connection.is_readable
    assert read(connection) == b""
    assert sent_by(connection, 1.2)[0].acknowledged == 3
    give(connection, data(connection, 4, b"after"), 1.3)
    assert read(connection) == b""
    assert connection.send([b"still open in this direction"])


def test_bep29_who_closed_drops_what_comes_but_acknowledges_it() -> None:
    connection = connected()
    connection.send([b"x"])
    sent_by(connection, 1.0)
    connection.close(1.0)
    for number in range(3_000):
        give(connection, data(connection, 2 + number, bytes(1_400)), 1.1)
    assert connection._receiver.waiting_bytes == 0
    assert sent_by(connection, 1.1)[-1].acknowledged == 3_001


def test_bep29_close_does_not_last_for_ever() -> None:
    connection = connected()
    connection.send([bytes(50_000)])
    connection.close(1.0)
    now = 1.0
    while not connection.has_ended:
        sent_by(connection, now)
        due_s = connection.timer()
        assert due_s is not None
        now = max(due_s, now)
        connection.handle_timer(now)
    assert now < 60
    assert connection._sender.queue.queued_bytes == 0


def test_bep29_abort_sends_a_reset() -> None:
    connection = connected()
    connection.send([b"never sent"])
    connection.abort(1.0)
    (last,) = sent_by(connection, 1.0)
    assert (last.type, last.connection_id) == (RESET, connection.send_id)
    assert connection.has_ended
    connection.abort(1.0)
    assert sent_by(connection, 1.0) == []


def test_bep29_reset_ends_a_connection_but_what_came_can_be_read() -> None:
    connection = connected()
    give(connection, data(connection, 2, b"came"), 1.1)
    give(connection, packet(RESET, acknowledged=first_of(connection)), 1.2)
    assert connection.failure == "reset by the other side"
    assert read(connection) == b"came"
    assert connection.is_readable
    assert connection.is_writable
    with pytest.raises(ConnectionResetError):
        read(connection)
    with pytest.raises(OSError, match="reset"):
        connection.send([b"x"])


@pytest.mark.parametrize("offset", [1, 5, 1_000, 0x7000, -2, -100, -3_000])
@pytest.mark.parametrize("closes", [False, True])
def test_c4_a_guessed_reset_is_not_believed(offset: int, closes: bool) -> None:
    connection = connected()
    if closes:
        connection.close(1.0)
    state, number = connection.state, first_of(connection) + offset
    give(connection, packet(RESET, acknowledged=number), 1.1)
    assert connection.state is state


def test_c4_resets_that_are_believed_are_as_few_as_what_is_in_flight() -> None:
    connection, believed = flying(packets=20), 0
    for number in range(1 << 16):
        connection.receive_packet(packet(RESET, acknowledged=number), now=3.0, arrived_s=3.0)
        if connection.has_ended:
            believed += 1
            connection = flying(packets=20)
    assert 20 <= believed <= 22


@pytest.mark.parametrize("kind", [DATA, FIN, STATE])
def test_c4_acknowledgements_that_are_taken_are_as_few_as_what_is_in_flight(kind: int) -> None:
    payload, taken = b"forged" if kind == DATA else b"", 0
    connection = flying(packets=20)
    for number in range(1 << 16):
        forged = packet(kind, sequence=2, acknowledged=number, payload=payload, window_bytes=77)
        connection.receive_packet(forged, now=3.0, arrived_s=3.0)
        if connection.is_readable or connection._sender._peer_window_bytes == 77:
            taken += 1
            connection = flying(packets=20)
    assert taken == 21


def test_c4_an_old_acknowledgement_is_taken_for_a_short_time_only() -> None:
    connection = connected()
    connection.send([bytes(20_000)])
    sent_by(connection, 1.0)
    acknowledge_all(connection, 1.1)
    last = connection._sender.flight.next - 1
    for back, now, is_taken in ((3, 2.2, False), (100, 1.2, False), (3, 1.2, True)):
        old = packet(DATA, sequence=2, acknowledged=last - back, payload=b"late")
        give(connection, old, now)
        assert connection.is_readable == is_taken


def test_c4_no_acknowledgement_is_older_than_the_connection() -> None:
    connection = connected()
    give(
        connection, packet(DATA, sequence=2, acknowledged=first_of(connection) - 2, payload=b"x"), 1
    )
    assert not connection.is_readable


def test_bep29_reset_is_a_good_end_for_who_closes() -> None:
    connection = connected()
    connection.close(1.0)
    sent_by(connection, 1.0)
    give(connection, packet(RESET, acknowledged=first_of(connection)), 1.1)
    assert connection.has_ended
    assert connection.failure is None


def test_bep29_an_ended_connection_takes_nothing() -> None:
    connection = connected()
    connection.abort(1.0)
    sent_by(connection, 1.0)
    for kind in (DATA, FIN, STATE, RESET, SYN):
        give(connection, packet(kind, sequence=2, payload=b"x" if kind == DATA else b""), 1.1)
    connection.handle_timer(2.0)
    assert sent_by(connection, 2.0) == []
    connection.close(2.0)
    assert connection.failure is None


def test_bep29_a_syn_of_a_confirmed_connection_is_answered_still() -> None:
    connection = connected()
    give(connection, packet(SYN, connection_id=7, sequence=2), 1.1)
    assert sent_by(connection, 1.1) == [], "it is another one"
    give(connection, packet(SYN, connection_id=7, sequence=1), 1.1)
    assert [each.type for each in sent_by(connection, 1.1)] == [STATE]
    assert connection.state is UtpState.CONNECTED


def test_bep29_config_sets_the_buffers() -> None:
    config = UtpConfig(receive_window_bytes=50_000, send_buffer_bytes=40_000)
    connection = connected(config)
    assert connection.send([bytes(MIB)]) == 40_000
    assert sent_by(connection, 1.0)[0].window_bytes == 50_000
