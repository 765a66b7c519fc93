"""Two connections over a modelled link, in virtual time: what is sent is what arrives (row C4)."""

from functools import partial
from random import Random

import pytest

from tests.protocol.utp.model import CubicFlow, Host, Link, Model, pair
from torrent_engine.base.config import UtpConfig
from torrent_engine.protocol.utp.limits import UtpLimits

pytestmark = pytest.mark.no_cover  # a lot of work, in code that other tests cover

LIMIT_S = 900.0
MBIT_20 = 20e6 / 8
DATA = Random(29).randbytes(8 << 20)
KIB = 1_024


def transfer(there: Link, back: Link, data: bytes, answer: bytes = b"", **changes: object):
    """Send data, and an answer at the same time; close; return both hosts and the seconds."""
    model = there.model
    dialler, acceptor = pair(model, there, back, data, answer)
    for name, value in changes.items():
        setattr(dialler, name, value)
        setattr(acceptor, name, value)
    begin_s = model.now
    dialler.dial()
    assert model.run(
        lambda: (
            len(acceptor.received) >= len(data)
            and len(dialler.received) >= len(answer)
            and not len(acceptor.to_send)
        ),
        LIMIT_S,
    )
    seconds = model.now - begin_s
    assert acceptor.received == data
    assert dialler.received == answer
    return dialler, acceptor, seconds


def ended_well(model: Model, *hosts: Host) -> bool:
    """Say whether both sides close without an error once one does."""
    for host in hosts:
        host.closes = True
        host.turn()
    return model.run(lambda: all(host.connection.has_ended for host in hosts), LIMIT_S) and all(
        host.connection.failure is None for host in hosts
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.15, 0.3])
@pytest.mark.parametrize("loss", [0.0, 0.01, 0.05, 0.2])
def test_bep29_what_is_sent_arrives_whatever_is_lost(
    loss: float, delay_s: float, seed: int
) -> None:
    model = Model(seed)
    there, back = (Link(model, delay_s=delay_s, loss=loss, bytes_per_s=MBIT_20) for _ in "ab")
    dialler, acceptor, _ = transfer(there, back, DATA[: 192 * KIB], DATA[-64 * KIB :])
    assert ended_well(model, dialler, acceptor)


@pytest.mark.parametrize("seed", range(6))
def test_bep29_what_is_sent_arrives_whatever_a_link_does(seed: int) -> None:
    model = Model(seed)
    odd = Random(seed)
    there, back = (
        Link(
            model,
            delay_s=odd.random() * 0.3,
            jitter_s=odd.random() * 0.1,
            loss=odd.random() * 0.1,
            duplication=odd.random() * 0.2,
            reordering=odd.random() * 0.2,
            bytes_per_s=odd.choice((60_000, MBIT_20, 1e9)),
            queue_bytes=odd.choice((8_000, 100_000, 1 << 20)),
        )
        for _ in "ab"
    )
    dialler, acceptor, _ = transfer(there, back, DATA[: 256 * KIB], DATA[-128 * KIB :])
    assert ended_well(model, dialler, acceptor)


@pytest.mark.parametrize(
    ("loss", "delay_s", "share"), [(0.0, 0.025, 0.9), (0.01, 0.05, 0.8), (0.05, 0.1, 0.5)]
)
def test_bep29_random_loss_leaves_most_of_a_link(loss: float, delay_s: float, share: float) -> None:
    model = Model(1)
    there, back = (Link(model, delay_s=delay_s, loss=loss, bytes_per_s=MBIT_20) for _ in "ab")
    _, _, seconds = transfer(there, back, DATA * 2)
    assert len(DATA) * 2 / seconds >= share * MBIT_20


@pytest.mark.parametrize("seed", [1, 2])
def test_bep29_a_link_that_pauses_now_and_then_has_no_queue(seed: int) -> None:
    model = Model(seed)
    there, back = (
        Link(model, delay_s=0.025, loss=0.01, pause_s=0.015, bytes_per_s=MBIT_20) for _ in "ab"
    )
    _, _, seconds = transfer(there, back, DATA * 2)
    assert len(DATA) * 2 / seconds >= 0.8 * MBIT_20


def test_bep29_heavy_loss_and_disorder_end_in_time() -> None:
    model = Model(7)
    there, back = (
        Link(model, delay_s=0.3, loss=0.2, reordering=0.05, bytes_per_s=MBIT_20) for _ in "ab"
    )
    _, _, seconds = transfer(there, back, DATA[: 1 << 20])
    assert seconds < 120


def test_bep29_alone_it_adds_little_delay() -> None:
    model = Model(2)
    there, back = (Link(model, delay_s=0.025, bytes_per_s=MBIT_20) for _ in "ab")
    transfer(there, back, DATA)
    assert max(there.queueing_s) <= 0.12


@pytest.mark.parametrize("delay_s", [0.025, 0.1])
def test_bep29_after_a_rest_it_sends_no_burst(delay_s: float) -> None:
    model = Model(2)
    there, back = (Link(model, delay_s=delay_s, bytes_per_s=MBIT_20) for _ in "ab")
    dialler, acceptor, _ = transfer(there, back, DATA)
    for _ in range(3):
        model.run(lambda: False, 3.0)
        wanted = len(acceptor.received) + (1 << 20)
        dialler.to_send = memoryview(DATA[: 1 << 20])
        dialler.turn()
        assert model.run(partial(acceptor.has_received, wanted), LIMIT_S)
    assert max(there.queueing_s) <= 0.12


@pytest.mark.parametrize(("queue_bytes", "most"), [(125_000, 0.2), (250_000, 0.1), (500_000, 0.05)])
def test_bep29_beside_tcp_it_takes_what_is_left(queue_bytes: int, most: float) -> None:
    model = Model(3)
    there = Link(model, delay_s=0.01, bytes_per_s=MBIT_20, queue_bytes=queue_bytes)
    flow = CubicFlow(model, there, 0.01)
    dialler, acceptor = pair(model, there, Link(model, delay_s=0.01), DATA * 8)
    dialler.dial()
    seconds = 40.0
    model.run(lambda: False, seconds)
    assert len(acceptor.received) < most * seconds * MBIT_20
    assert flow.delivered_bytes > 0.8 * seconds * MBIT_20


def test_bep29_a_link_that_drops_without_a_queue_is_not_flooded() -> None:
    model = Model(4)
    there = Link(model, delay_s=0.02, bytes_per_s=MBIT_20, queue_bytes=6_000)
    _, _, seconds = transfer(there, Link(model, delay_s=0.02), DATA)
    assert there.dropped < 0.4 * there.delivered
    assert len(DATA) / seconds > 0.25 * MBIT_20


class Late(Random):
    """Chooses the numbers shortly before the end."""

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        del stop, step
        return start - 30


def test_bep29_sequence_numbers_and_timestamps_wrap_around() -> None:
    model = Model(5, start_s=(2**32 - 500_000) / 1e6)
    there, back = (Link(model, delay_s=0.01, loss=0.02, bytes_per_s=MBIT_20) for _ in "ab")
    dialler, acceptor, seconds = transfer(there, back, b"", DATA[: 1 << 20], rng=Late())
    assert seconds > 0.5
    assert acceptor.connection._sender.flight.next > 1 << 16
    assert dialler.connection.receive_id == (1 << 16) - 30


def test_bep29_clocks_may_differ_by_anything() -> None:
    model = Model(6)
    there, back = (Link(model, delay_s=0.02, bytes_per_s=MBIT_20) for _ in "ab")
    dialler, acceptor = pair(model, there, back, DATA)
    acceptor.clock_offset_s = 1e6
    dialler.dial()
    assert model.run(lambda: len(acceptor.received) == len(DATA), 60.0)
    assert dialler.connection._sender.queueing_s < 0.12
    assert max(there.queueing_s) <= 0.12


def test_bep29_a_program_that_is_held_up_makes_no_false_timeouts() -> None:
    model = Model(8)
    there, back = (Link(model, delay_s=0.02, bytes_per_s=MBIT_20) for _ in "ab")
    dialler, acceptor = pair(model, there, back, DATA)
    dialler.dial()
    for second in range(1, 4):
        model.at(model.now + second, lambda: dialler.stall(0.6))
    assert model.run(lambda: len(acceptor.received) == len(DATA), 60.0)
    needed = len(DATA) // (1_452 - 20)
    assert dialler.sent_packets < needed * 1.02 + 100


def test_bep29_packets_grow_to_what_the_way_takes() -> None:
    sizes = {}
    for most in (600, 1_300, 1_400, 1_452, 9_000):
        model = Model(9)
        there, back = (Link(model, delay_s=0.02, max_bytes=most, bytes_per_s=MBIT_20) for _ in "ab")
        limits = UtpLimits(max_packet_bytes=8_952 if most > 1_500 else 1_472)
        dialler, _, _ = transfer(there, back, DATA, limits=limits)
        sizes[most] = dialler.connection._sender.size.payload_bytes + 20
    assert sizes == {600: 548, 1_300: 1_232, 1_400: 1_392, 1_452: 1_452, 9_000: 8_952}


def test_bep29_lost_trials_of_a_size_do_not_keep_packets_small() -> None:
    model = Model(10)
    there, back = (Link(model, delay_s=0.02, bytes_per_s=MBIT_20) for _ in "ab")
    lost: list[bytes] = []

    def lose_the_first_long(datagram: bytes) -> bool:
        if len(datagram) > 548 and len(lost) < 12:
            lost.append(datagram)
            return False
        return True

    there.filter = lose_the_first_long
    dialler, _, _ = transfer(there, back, DATA * 2)
    assert len(lost) == 12
    assert model.now
    assert dialler.connection._sender.size.payload_bytes > 548


@pytest.mark.parametrize(("most", "expected"), [(1_400, 1_392), (1_300, 1_232), (576, 548)])
def test_rfc8899_a_path_that_becomes_narrower_is_a_black_hole_for_seconds_only(
    most: int, expected: int
) -> None:
    model = Model(14)
    there, back = (Link(model, delay_s=0.02, bytes_per_s=MBIT_20) for _ in "ab")
    dialler, acceptor = pair(model, there, back, DATA)
    dialler.dial()
    assert model.run(lambda: acceptor.has_received(3 << 20), 60.0)
    size = dialler.connection._sender.size
    assert size.payload_bytes > 1_400
    there.max_bytes = most
    narrow_s = model.now
    assert model.run(lambda: acceptor.has_received(4 << 20), 60.0)
    assert model.now - narrow_s < 10.0
    assert model.run(lambda: acceptor.has_received(len(DATA)), 60.0)
    assert acceptor.received == DATA
    assert not dialler.connection.may_fragment
    assert size.payload_bytes + 20 == expected


def test_bep29_a_window_that_was_closed_opens_again() -> None:
    model = Model(11)
    there, back = (Link(model, delay_s=0.01, bytes_per_s=MBIT_20) for _ in "ab")
    dialler, acceptor = pair(model, there, back, DATA)
    acceptor.reads = False
    dialler.dial()
    model.run(lambda: False, 100.0)
    held = acceptor.connection._receiver.waiting_bytes
    assert (1 << 20) - 1_452 <= held <= (1 << 20) + 64 * KIB
    packets = dialler.sent_packets
    model.run(lambda: False, 300.0)
    assert dialler.sent_packets - packets < 30
    assert not dialler.connection.has_ended
    acceptor.reads = True
    acceptor.turn()
    assert model.run(lambda: len(acceptor.received) == len(DATA), 60.0)
    assert acceptor.received == DATA


def test_bep29_a_window_whose_opening_was_told_in_vain_is_tried_again() -> None:
    model = Model(13)
    there, back = (Link(model, delay_s=0.01, max_bytes=1_300, bytes_per_s=MBIT_20) for _ in "ab")
    dialler, acceptor = pair(model, there, back, DATA)
    acceptor.config = UtpConfig(receive_window_bytes=4_096)  # is full before a size was found
    acceptor.reads = False
    dialler.dial()
    model.run(lambda: False, 10.0)
    back.filter = lambda _datagram: False
    acceptor.reads = True
    acceptor.turn()
    back.filter = lambda _datagram: True
    assert model.run(lambda: len(acceptor.received) > 64 * KIB, 100.0)


def test_bep29_who_vanishes_is_given_up() -> None:
    model = Model(12)
    there, back = (Link(model, delay_s=0.01) for _ in "ab")
    dialler, acceptor = pair(model, there, back, DATA)
    dialler.dial()
    model.run(lambda: len(acceptor.received) > KIB, 10.0)
    there.filter = back.filter = lambda _datagram: False
    assert model.run(lambda: dialler.connection.has_ended, 300.0)
    assert dialler.connection.failure == "timed out"
    assert dialler.connection.timer() is None
