"""uTP connections of a process: whose packet is whose, what strangers get, timers, full sockets."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
import pytest

from tests.support.clock import ManualClock, let_tasks_run
from tests.support.swarm import until
from tests.support.utp_nodes import (
    DATA,
    PATIENCE_S,
    RESET,
    STATE,
    SYN,
    ScriptedRelay,
    exchange,
    fields_of,
    packet,
    read_exactly,
    send_all,
    utp_node,
)
from torrent_engine.base.config import ConnectionEncryption, TransportProtocol, UtpConfig
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.utp.service import UtpService
from torrent_engine.net.utp.transport import LINGER_S, UtpTransport
from torrent_engine.net.utp.unverified import MAX_REMEMBERED_RATES

pytestmark = pytest.mark.anyio

THERE = PeerAddress("192.0.2.7", 5000)


# Two services on sockets


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_bep29_bytes_arrive_in_both_directions(host: str) -> None:
    data = [random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(500_000)]
    async with utp_node(host=host) as ours, utp_node(host=host, seed=2) as theirs:
        first = await ours.service.dial(theirs.address, PATIENCE_S)
        await send_all(first, b"hello")
        second = await theirs.next_accepted()
        assert await read_exactly(second, 5) == b"hello"
        assert await exchange(first, second, data) == data
        assert second.address == ours.address
        assert (first.protocol, first.encryption) == (
            TransportProtocol.UTP,
            ConnectionEncryption.NONE,
        )
        assert first.local_host == second.local_host == host


async def test_bep29_the_end_of_a_stream_is_read_after_its_bytes() -> None:
    async with utp_node() as ours, utp_node(seed=2) as theirs:
        first = await ours.service.dial(theirs.address, PATIENCE_S)
        await send_all(first, b"x" * 100_000)
        first.close()
        first.close()
        second = await theirs.next_accepted()
        with anyio.fail_after(PATIENCE_S):
            assert await read_exactly(second, 200_000) == b"x" * 100_000
        second.close()
        await until(lambda: not len(ours.service) and not len(theirs.service))
        for call in (
            lambda: first.receive_into(memoryview(bytearray(1))),
            lambda: first.send_some([b"x"]),
        ):
            with pytest.raises(OSError, match="closed"):
                call()


@pytest.mark.parametrize(
    ("host", "most"),
    [("127.0.0.1", 16_384), ("::1", 16_384), ("192.0.2.127", 1_452), ("2001:db8::1", 1_452)],
)
async def test_packets_are_long_only_where_they_stay_on_this_machine(host: str, most: int) -> None:
    async with bench() as our:
        transport = our.accept(address=PeerAddress(host, 5000))
        clock, first = our.clock, transport.connection._sender.flight.first
        for _ in range(8):
            with suppress(BlockingIOError):  # there is enough for now
                transport.send_some([bytes(100_000)])
            clock.advance(0.1)
            last = transport.connection._sender.flight.next - 1
            our.receive(packet(STATE, 101, 3, last & 0xFFFF), address=transport.address)
        assert transport.connection._sender.flight.first > first + 8
        assert max(len(data) for data, _ in our.relay.sent) == most


async def test_two_connections_between_the_same_sockets_are_told_apart() -> None:
    async with utp_node() as ours, utp_node(seed=2) as theirs:
        pairs = []
        for name in (b"one", b"two"):
            first = await ours.service.dial(theirs.address, PATIENCE_S)
            await send_all(first, name)
            pairs.append((first, await theirs.next_accepted()))
        for name, (_, second) in zip((b"one", b"two"), pairs, strict=True):
            assert await read_exactly(second, 3) == name
        assert len(ours.service) == len(theirs.service) == 2


async def test_the_end_of_a_service_resets_its_connections() -> None:
    async with utp_node() as ours:
        async with utp_node(seed=2) as theirs:
            transport = await ours.service.dial(theirs.address, PATIENCE_S)
            await send_all(transport, b"hello")
            await theirs.next_accepted()
        with anyio.fail_after(PATIENCE_S):
            await transport.wait_readable()
        with pytest.raises(OSError):  # noqa: PT011 - whichever it is
            transport.receive_into(memoryview(bytearray(1)))
        assert not len(ours.service)


async def test_nobody_there_is_a_network_error_and_leaves_nothing() -> None:
    async with utp_node() as ours:
        with pytest.raises(NetworkError, match="uTP timed out"):
            await ours.service.dial(PeerAddress("127.0.0.1", 9), 0.05)
        assert not len(ours.service)


async def test_a_family_without_a_socket_is_a_network_error() -> None:
    async with utp_node() as ours:
        with pytest.raises(NetworkError, match="no UDP socket"):
            await ours.service.dial(PeerAddress("::1", 9), 1.0)


# One service, and packets written by hand


@dataclass
class Bench:
    service: UtpService
    relay: ScriptedRelay
    clock: ManualClock
    accepted: list[UtpTransport]

    def receive(self, *datagrams: bytes, address: PeerAddress = THERE) -> list[bytes]:
        """Let datagrams come in one batch; return what is answered."""
        before = len(self.relay.sent)
        for data in datagrams:
            self.service.receive_datagram(data, address)
        self.service.batch_ended()
        return [data for data, to in self.relay.sent[before:] if to == address]

    def accept(self, connection_id: int = 100, address: PeerAddress = THERE) -> UtpTransport:
        """Let somebody connect and send a byte."""
        answer = self.receive(packet(SYN, connection_id), address=address)
        ours = fields_of(answer[0])[2] - 1 & 0xFFFF  # nothing of ours has a number yet
        self.receive(packet(DATA, connection_id + 1, 2, ours, b"!"), address=address)
        return self.accepted[-1]


@asynccontextmanager
async def bench(**limits: int) -> AsyncIterator[Bench]:
    relay, clock, accepted = ScriptedRelay(), ManualClock(), list[UtpTransport]()
    service = UtpService(
        UtpConfig(**limits),  # type: ignore[arg-type]
        relay,
        clock=clock,
        rng=random.Random(1),
        incoming=lambda transport, _: accepted.append(transport),
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)
        await let_tasks_run()
        yield Bench(service, relay, clock, accepted)
        tasks.cancel_scope.cancel()
    assert relay.handler is None


async def test_c3_a_syn_is_answered_by_twenty_bytes_and_nobody_hears_of_it() -> None:
    async with bench() as our:
        answers = our.receive(packet(SYN, 100))
        assert [(len(each), fields_of(each)[:2]) for each in answers] == [(20, (STATE, 100))]
        assert our.accepted == []


async def test_c3_the_same_syn_again_is_no_second_connection() -> None:
    async with bench() as our:
        first, second = our.receive(packet(SYN, 100)), our.receive(packet(SYN, 100))
        assert fields_of(first[0])[:3] == fields_of(second[0])[:3]
        assert len(our.service) == 1


async def test_c3_who_proves_that_it_is_there_is_handed_on() -> None:
    async with bench() as our:
        transport = our.accept()
        assert our.accepted == [transport]
        assert await read_exactly(transport, 1) == b"!"


async def test_c3_a_flood_of_forged_syns_costs_no_more_than_it_sent() -> None:
    async with bench(max_unconfirmed=20, max_unconfirmed_per_network=5) as our:
        for number in range(300):
            our.receive(packet(SYN, number), address=PeerAddress(f"10.0.{number // 100}.9", 1))
        assert len(our.service) == 15
        assert len(our.relay.sent) <= 300
        for number in range(300):
            our.receive(packet(SYN, number), address=PeerAddress(f"10.1.{number}.9", 1))
        assert len(our.service) == 20
        assert sum(len(data) for data, _ in our.relay.sent) <= 600 * len(packet(SYN, 1))
        assert our.accepted == []


async def test_c3_forged_syns_of_a_network_do_not_shut_out_its_hosts() -> None:
    async with bench(max_unconfirmed_per_network=5) as our:
        for number in range(50):
            our.receive(packet(SYN, number), address=PeerAddress(f"10.1.2.{number}", 1))
        assert our.receive(packet(SYN, 7), address=PeerAddress("10.1.2.99", 1))
        assert len(our.service) == 5


async def test_c3_the_rate_of_syns_is_bounded() -> None:
    async with bench(max_syns_per_s=3) as our:
        answers = [our.receive(packet(SYN, 10 * number)) for number in range(6)]
        assert [len(each) for each in answers] == [1, 1, 1, 0, 0, 0]
        our.clock.advance(1.0)
        assert our.receive(packet(SYN, 500))


async def test_c3_syns_of_one_operator_leave_some_for_the_others() -> None:
    async with bench(max_syns_per_s=10, max_syns_per_ip_per_s=3) as our:
        for number in range(100):
            host = f"2001:db8::{number + 1:x}"
            our.receive(packet(SYN, number), address=PeerAddress(host, 1))
        assert len(our.relay.sent) == 3
        assert our.receive(packet(SYN, 1), address=PeerAddress("2001:db8:0:1::1", 1))
        assert our.receive(packet(SYN, 1))
        for number in range(3_000):
            our.clock.advance(1.0)
            our.receive(
                packet(SYN, 1), address=PeerAddress(f"10.{number // 200}.{number % 200}.1", 1)
            )
        assert len(our.service._unverified._rates) <= MAX_REMEMBERED_RATES


async def test_c3_a_forged_address_has_three_guesses_a_syn() -> None:
    async with bench() as our:
        answer = our.receive(packet(SYN, 100))
        right = fields_of(answer[0])[2] - 1 & 0xFFFF
        for wrong in (1, 2, 3):
            assert len(our.service) == 1
            assert our.receive(packet(DATA, 101, 2, right + wrong & 0xFFFF, b"x")) == []
        assert not len(our.service)
        our.receive(packet(DATA, 101, 2, right, b"x"))
        assert our.accepted == []


@pytest.mark.parametrize("closes", [False, True])
async def test_c4_connections_that_one_operator_abandons_are_few(closes: bool) -> None:
    async with bench(max_incoming_per_ip=20, max_closing_per_ip=4) as our:
        for number in range(500):
            our.clock.advance(0.002)
            address = PeerAddress("192.0.2.7", 1_024 + number)
            answer = our.receive(packet(SYN, 100), address=address)
            if answer:
                ours = fields_of(answer[0])[2] - 1 & 0xFFFF
                our.receive(packet(DATA, 101, 2, ours, b"!"), address=address)
            if closes and our.accepted:
                our.accepted.pop().close()
            our.service._handle_timers(our.clock())
        assert len(our.service) == (4 if closes else 20)
        assert our.receive(packet(SYN, 7), address=PeerAddress("192.0.2.8", 1))
        our.clock.advance(1.0)
        assert bool(our.receive(packet(SYN, 7))) == closes


async def test_c4_closed_connections_are_few_over_all_operators() -> None:
    async with bench(max_closing=10) as our:
        for number in range(50):
            our.accept(address=PeerAddress(f"192.0.2.{number}", 1)).close()
        assert len(our.service) == 10
        shares = our.service._operators
        while len(our.service):
            our.clock.advance(1.0)
            our.service._handle_timers(our.clock())
        assert not any((shares._incoming, shares._closing, shares._closing_of))


async def test_c3_an_unconfirmed_connection_is_forgotten_in_time() -> None:
    async with bench() as our:
        our.receive(packet(SYN, 100))
        while len(our.service):
            our.clock.advance(1.0)
            our.service._handle_timers(our.clock())
            assert our.clock() < 1_100
        assert len(our.relay.sent) == 1


def flood_of(kind: str, number: int, acknowledged: int) -> bytes:
    """Return one of many packets that move next to nothing, with the id of :meth:`Bench.accept`."""
    sequence = {"in order": 3 + number, "again": 2, "out of order": 5 + number % 1_000}
    if kind == "acknowledgement":
        return packet(STATE, 101, 3, acknowledged)
    return packet(DATA, 101, sequence[kind] & 0xFFFF, acknowledged, b"x")


@pytest.mark.parametrize("kind", ["in order", "again", "out of order", "acknowledgement"])
async def test_c4_a_flood_of_packets_that_move_nothing_is_dropped_unread(kind: str) -> None:
    limits = {"max_unproductive_packets_per_s": 100, "max_shared_unproductive_packets_per_s": 100}
    async with bench(unproductive_packets_burst=500, **limits) as our:
        flooder = our.accept()
        acknowledged = fields_of(our.receive(packet(SYN, 100))[0])[2] - 1 & 0xFFFF
        taken = sent = 0
        for _ in range(100):  # ten seconds, 5,000 packets a second
            batch = [flood_of(kind, sent + number, acknowledged) for number in range(500)]
            before = our.service.ignored_bytes
            our.receive(*batch)
            taken += our.service.ignored_bytes == before
            sent += 500
            our.clock.advance(0.1)
        assert 1 <= taken <= 6  # 500 and 100 at first, then 200 a second
        assert not flooder.connection.has_ended
        our.clock.advance(60.0)
        before = our.service.ignored_bytes
        our.receive(packet(STATE, 101, 3, acknowledged))
        assert our.service.ignored_bytes == before


async def test_c4_a_flood_takes_nothing_from_other_addresses() -> None:
    async with bench(unproductive_packets_burst=100) as our:
        our.accept()
        acknowledged = fields_of(our.receive(packet(SYN, 100))[0])[2] - 1 & 0xFFFF
        for _ in range(30):
            our.receive(*[packet(STATE, 101, 3, acknowledged)] * 500)
        assert our.service.ignored_bytes
        before = our.service.ignored_bytes
        other = our.accept(address=PeerAddress("192.0.2.8", 5000))
        assert await read_exactly(other, 1) == b"!"
        assert our.service.ignored_bytes == before


STRANGE = {
    "of no connection": packet(STATE, 55),
    "malformed": packet(STATE, 55)[:1] + b"\x50" + bytes(18) + bytes((0x50, 0)) * 700,
}


@pytest.mark.parametrize("data", STRANGE.values(), ids=STRANGE.keys())
async def test_c4_a_flood_of_a_host_without_a_connection_is_dropped_unread(data: bytes) -> None:
    limits = {"max_unproductive_packets_per_s": 100, "max_shared_unproductive_packets_per_s": 100}
    async with bench(unproductive_packets_burst=500, **limits) as our:
        taken = 0
        for number in range(100):
            before = our.service.ignored_bytes
            our.receive(*[data] * 500, address=PeerAddress(THERE.host, 1_000 + number))
            taken += (500 * len(data) - our.service.ignored_bytes + before) // len(data)
            our.clock.advance(0.1)
        assert 500 <= taken <= 4_000  # 600 at first, then 200 a second; of 50,000
        other = our.accept(address=PeerAddress("192.0.2.8", 5000))
        assert await read_exactly(other, 1) == b"!"
        our.clock.advance(60.0)
        assert await read_exactly(our.accept(), 1) == b"!"


@pytest.mark.parametrize("data", STRANGE.values(), ids=STRANGE.keys())
async def test_c4_packets_with_the_forged_address_of_a_peer_do_not_silence_it(data: bytes) -> None:
    async with bench(unproductive_packets_burst=10, max_unproductive_packets_per_s=1) as our:
        transport = our.accept()
        ours = fields_of(our.receive(packet(SYN, 100))[0])[2] - 1 & 0xFFFF
        for port in (THERE.port, 999):
            our.receive(*[data] * 10_000, address=PeerAddress(THERE.host, port))
        our.receive(packet(DATA, 101, 3, ours, b"more"))
        assert await read_exactly(transport, 5) == b"!more"


async def test_c4_who_sends_data_is_never_ignored_however_fast() -> None:
    async with bench(unproductive_packets_burst=10, max_unproductive_packets_per_s=1) as our:
        transport = our.accept()
        ours = fields_of(our.receive(packet(SYN, 100))[0])[2] - 1 & 0xFFFF
        for number in range(5_000):
            data = packet(DATA, 101, 3 + number & 0xFFFF, ours, bytes(1_000))
            our.receive(data)
            assert len(await read_exactly(transport, 1_000)) == 1_000
        assert our.service.ignored_bytes == 0


async def test_c4_a_packet_of_no_connection_is_answered_by_one_reset() -> None:
    async with bench() as our:
        answers = our.receive(*[packet(DATA, 55, payload=b"x")] * 5)
        assert [fields_of(each)[:2] for each in answers] == [(RESET, 55)]
        assert our.receive(packet(RESET, 56)) == []  # two programs must not reset each other


async def test_c4_resets_are_few_and_few_are_remembered() -> None:
    async with bench(max_remembered_resets=10, max_resets_per_s=50) as our:
        for number in range(1_000):
            our.receive(packet(DATA, number))
        assert len(our.relay.sent) == 50
        assert len(our.service._resets) == 10
        our.clock.advance(60.0)
        assert our.receive(packet(DATA, 49))  # it may have been lost


def reset_of(transport: UtpTransport, connection_id: int) -> bytes:
    """Return the answer of a program that does not know what was sent to it."""
    transport.send_some([b"x"])
    carrier = transport._carrier
    assert isinstance(carrier, UtpService)
    assert isinstance(carrier._datagrams, ScriptedRelay)
    sequence = fields_of(carrier._datagrams.sent[-1][0])[2]
    return packet(RESET, connection_id, acknowledged=sequence)


@pytest.mark.parametrize("id_of", ["receive_id", "send_id"])
async def test_c4_a_reset_may_carry_the_id_of_either_side(id_of: str) -> None:
    async with bench() as our:
        transport = our.accept()
        our.receive(reset_of(transport, getattr(transport.connection, id_of)))
        assert not len(our.service)
        with anyio.fail_after(PATIENCE_S):
            await transport.wait_readable()


async def test_c4_a_reset_of_another_address_or_number_ends_nothing() -> None:
    async with bench() as our:
        transport = our.accept()
        elsewhere = PeerAddress("192.0.2.8", 5000)
        our.receive(reset_of(transport, transport.connection.receive_id), address=elsewhere)
        our.receive(reset_of(transport, 7))
        assert len(our.service) == 1


async def test_c4_who_sees_nothing_must_guess_every_bit_of_both_numbers() -> None:
    async with bench() as our:
        transport = our.accept()
        await read_exactly(transport, 1)
        number = transport.connection.receive_id
        right = transport.connection._sender.flight.first - 1 & 0xFFFF
        our.clock.advance(10.0)  # nothing is on its way
        for bit in range(16):
            our.receive(packet(DATA, number ^ 1 << bit, 3, right, b"forged"))
            our.receive(packet(DATA, number, 3, right ^ 1 << bit, b"forged"))
            guess = (right + 1 & 0xFFFF) ^ 2 << bit % 15
            our.receive(packet(RESET, number, acknowledged=guess))
        elsewhere = PeerAddress("192.0.2.8", 5000)
        our.receive(packet(DATA, number, 3, right, b"forged"), address=elsewhere)
        assert not transport.connection.is_readable
        assert len(our.service) == 1
        our.receive(packet(DATA, number, 3, right, b"true"))
        assert await read_exactly(transport, 4) == b"true"


async def test_what_is_no_packet_is_counted() -> None:
    async with bench() as our:
        assert our.receive(b"\x01", b"\x02" * 20, b"\x41\x01" + bytes(18)) == []
        assert our.service.malformed_count == 3


async def test_a_service_that_takes_nobody_answers_no_syn() -> None:
    relay = ScriptedRelay()
    service = UtpService(UtpConfig(), relay, clock=ManualClock(), rng=random.Random(1))
    service.receive_datagram(packet(SYN, 1), THERE)
    service.batch_ended()
    assert relay.sent == []


# Dialling


async def test_a_dial_that_is_cancelled_sends_no_further_syn() -> None:
    async with bench() as our:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(our.service.dial, THERE, 100.0)
            await let_tasks_run()
            tasks.cancel_scope.cancel()
        sent = len(our.relay.sent)
        our.clock.advance(100.0)
        our.service._handle_timers(our.clock())
        assert [fields_of(data)[0] for data, _ in our.relay.sent] == [SYN]
        assert (sent, len(our.service), len(our.service._timers)) == (1, 0, 0)


async def test_c4_a_dial_that_is_cancelled_when_it_succeeds_holds_no_early_packets() -> None:
    async with bench() as our:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(our.service.dial, THERE, 100.0)
            await until(lambda: our.relay.sent)
            _, connection_id, sequence, _ = fields_of(our.relay.sent[0][0])
            tasks.cancel_scope.cancel()  # TCP was faster; what follows is read in the same turn
            our.receive(packet(STATE, connection_id, 900, sequence))
            for number in range(902, 920):
                our.receive(packet(DATA, connection_id, number, sequence) + bytes(1_400))
            sent = len(our.relay.sent)
            assert our.service._limits.reorder.held_bytes > 0
        assert our.service._limits.reorder.held_bytes == 0
        assert (len(our.relay.sent), len(our.service)) == (sent, 0)


async def test_a_dial_that_is_refused_fails_at_once() -> None:
    async with bench() as our:
        async with anyio.create_task_group() as tasks:

            async def dial() -> None:
                with pytest.raises(NetworkError, match=r"192\.0\.2\.7"):
                    await our.service.dial(THERE, 1_000.0)

            tasks.start_soon(dial)
            await until(lambda: our.relay.sent)
            _, connection_id, sequence, _ = fields_of(our.relay.sent[0][0])
            our.receive(packet(RESET, connection_id, acknowledged=sequence + 1 & 0xFFFF))
            assert len(our.service) == 1
            our.receive(packet(RESET, connection_id, acknowledged=sequence))
        assert not len(our.service)


async def test_bep29_an_answer_to_a_syn_makes_a_connection() -> None:
    async with bench() as our:
        made: list[UtpTransport] = []

        async def dial() -> None:
            made.append(await our.service.dial(THERE, 1_000.0))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dial)
            await until(lambda: our.relay.sent)
            _, connection_id, sequence, _ = fields_of(our.relay.sent[0][0])
            our.receive(packet(STATE, connection_id, 900, sequence))
        assert made[0].is_connected
        assert made[0].connection.send_id == connection_id + 1


# Full sockets and timers


async def test_packets_that_the_system_does_not_take_wait_in_order() -> None:
    async with bench() as our:
        transport = our.accept()
        our.relay.sent.clear()
        our.relay.room = 1
        for number in range(3):
            transport.send_some([bytes([number]) * 500])
        assert len(our.relay.sent) == 1
        assert transport.unsent
        await until(lambda: our.relay.steps == ["wait 5000"])
        our.relay.room = None
        our.relay.writable.set()
        await until(lambda: not transport.unsent)
        numbers = [fields_of(data)[2] for data, _ in our.relay.sent]
        assert numbers == sorted(set(numbers))


async def test_rfc8899_after_two_timeouts_long_packets_may_be_fragmented() -> None:
    async with bench() as our:
        transport = our.accept()
        for _ in range(8):
            with suppress(BlockingIOError):
                transport.send_some([bytes(100_000)])
            our.clock.advance(0.1)
            last = transport.connection._sender.flight.next - 1
            our.receive(packet(STATE, 101, 3, last & 0xFFFF))
        our.relay.fragmented.clear()
        began_s = our.clock()
        while not our.relay.fragmented and our.clock() < began_s + 10.0:
            our.clock.advance(0.1)
            transport.connection.handle_timer(our.clock())
            our.service.flush(transport)
        assert max(len(data) for data, _ in our.relay.fragmented) > 1_400
        assert transport.unsent == []
        last = transport.connection._sender.flight.next - 1
        our.relay.fragmented.clear()
        before = len(our.relay.sent)
        our.receive(packet(STATE, 101, 3, last & 0xFFFF))
        with suppress(BlockingIOError):
            transport.send_some([bytes(100_000)])
        assert len(our.relay.sent) > before
        assert max(len(data) for data, _ in our.relay.sent[before:]) <= 1_232
        assert our.relay.fragmented == []


async def test_timers_of_who_waits_for_the_system_stand_still() -> None:
    async with bench() as our:
        transport = our.accept()
        our.relay.room = 0
        transport.send_some([b"x" * 500])
        for _ in range(100):
            our.clock.advance(10.0)
            our.service._handle_timers(our.clock())
        assert not transport.connection.has_ended
        assert len(transport.unsent) == 1


async def test_what_has_come_is_read_before_a_timer_fires() -> None:
    async with bench() as our:
        transport = our.accept()
        handle = transport.connection.handle_timer

        def note(now: float) -> None:
            our.relay.steps.append("timer")
            handle(now)

        transport.connection.handle_timer = note  # type: ignore[method-assign]
        transport.send_some([b"x" * 500])
        our.clock.advance(100.0)  # the loop was held up
        our.service._wake.set()
        await until(lambda: "timer" in our.relay.steps)
        assert our.relay.steps[:2] == ["read", "timer"]


async def test_after_the_close_what_is_not_taken_in_time_is_given_up() -> None:
    async with bench() as our:
        transport = our.accept()
        transport.send_some([b"x" * 500])
        transport.close()
        assert len(our.service) == 1
        our.clock.advance(LINGER_S)
        our.service._handle_timers(our.clock())
        assert not len(our.service)
        assert fields_of(our.relay.sent[-1][0])[0] == RESET


async def test_a_close_wakes_who_waits() -> None:
    async with bench() as our:
        transport = our.accept()
        await read_exactly(transport, 1)
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                with pytest.raises(OSError, match="closed"):
                    await read_exactly(transport, 1)

            tasks.start_soon(read)
            await let_tasks_run()
            transport.close()
        assert transport.is_closed
