"""Row B5: who floods a listening socket is dropped by the kernel, and nobody else."""

import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from struct import iter_unpack

import anyio
import pytest

from tests.support.clock import ManualClock
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets import tcp
from torrent_engine.net.sockets.flood_filter import (
    FIRST_BLOCK_S,
    MAX_BLOCK_S,
    MAX_BLOCKED,
    REFUSALS,
    WINDOW_S,
    FloodFilter,
    drop_program,
    source_bits,
)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="packet filters are of Linux")
FLOODER, OTHER = "127.0.0.3", "127.0.0.2"


@contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as listener:
        listener.bind((host, 0))
        listener.listen(50)
        yield listener


def connects(listener: socket.socket, source: str) -> bool:
    """Return whether a connection from an address is made; one whose SYN is dropped is not."""
    with closing(socket.socket(listener.family)) as sock:
        sock.settimeout(0.3)
        sock.bind((source, 0))
        try:
            sock.connect(listener.getsockname())
        except TimeoutError:
            return False
        return True


def refuse(flood: FloodFilter, host: str, count: int) -> None:
    for _ in range(count):
        flood.note_refusal(host)


@on_linux
def test_b5_who_is_refused_too_often_in_a_second_is_dropped_for_a_while() -> None:
    clock = ManualClock()
    with listening() as listener:
        flood = FloodFilter(listener, clock)
        for _ in range(3):  # slowly
            refuse(flood, FLOODER, REFUSALS - 1)
            clock.advance(WINDOW_S)
        assert connects(listener, FLOODER)
        refuse(flood, FLOODER, REFUSALS)
        assert not connects(listener, FLOODER)
        assert connects(listener, OTHER)
        assert flood.next_end_s == FIRST_BLOCK_S
        clock.advance(FIRST_BLOCK_S - 0.1)
        flood.unblock()
        assert not connects(listener, FLOODER)
        clock.advance(0.2)
        flood.unblock()
        assert connects(listener, FLOODER)
        assert flood.next_end_s == float("inf")


@on_linux
def test_b5_who_goes_on_is_dropped_longer_up_to_a_limit() -> None:
    clock, lengths = ManualClock(), []
    with listening() as listener:
        flood = FloodFilter(listener, clock)
        for _ in range(4):
            refuse(flood, FLOODER, REFUSALS)
            lengths.append(flood.next_end_s)
            clock.advance(flood.next_end_s + WINDOW_S)
            flood.unblock()
        clock.advance(100.0)
        refuse(flood, FLOODER, REFUSALS)
        lengths.append(flood.next_end_s)
    assert lengths == [2.0, 4.0, MAX_BLOCK_S, MAX_BLOCK_S, 2.0]


@on_linux
def test_b5_as_many_are_dropped_as_a_filter_has_room_for() -> None:
    clock = ManualClock()
    with listening() as listener:
        flood = FloodFilter(listener, clock)
        hosts = [f"127.0.1.{number}" for number in range(MAX_BLOCKED + 1)]
        for host in hosts:
            refuse(flood, host, REFUSALS)
        assert [connects(listener, hosts[at]) for at in (0, MAX_BLOCKED - 1, MAX_BLOCKED)] == [
            False,
            False,
            True,
        ]


@on_linux
def test_b5_ipv6_operators_are_dropped() -> None:
    with suppress(OSError), listening("::1") as listener:
        flood = FloodFilter(listener, ManualClock())
        for number in range(5):
            refuse(flood, f"2001:db8:0:{number}::7", REFUSALS)
        refuse(flood, "192.0.2.1", REFUSALS)  # of the other family: not in the filter
        assert connects(listener, "::1")
        refuse(flood, "::1", REFUSALS)
        assert not connects(listener, "::1")


def run(program: bytes, header: bytes) -> bool:
    """Return whether a classic BPF program lets a packet pass."""
    steps, at, value = list(iter_unpack("HBBI", program)), 0, 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        if code == 0x20:
            start = operand - 0xFFF00000
            value = int.from_bytes(header[start : start + 4], "big")
        elif code == 0x15:
            at += if_true if value == operand else if_false
        else:
            assert code == 0x06
            return bool(operand)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_b5_the_filter_drops_exactly_the_sources_that_it_is_of(family: int) -> None:
    if family == socket.AF_INET:
        hosts, start = [f"198.51.{n}.{n + 1}" for n in range(40)], 12
    else:
        hosts, start = [f"2001:db8:{n // 7}:{n}::1" for n in range(40)], 8
    numbers = [source_bits(host, family) for host in hosts]
    program = drop_program([n for n in numbers[:MAX_BLOCKED] if n is not None], family)
    for at, host in enumerate(hosts):
        packed = socket.inet_pton(family, host)
        assert run(program, bytes(start) + packed + bytes(20)) == (at >= MAX_BLOCKED)


def test_what_is_no_address_of_the_family_has_no_bits() -> None:
    assert source_bits("192.0.2.1", socket.AF_INET6) is None
    assert source_bits("::1", socket.AF_INET) is None
    assert source_bits("host", socket.AF_INET) is None


@on_linux
@pytest.mark.anyio
async def test_b5_beside_a_flood_of_one_address_another_one_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torrent_engine.net.sockets.flood_filter.REFUSALS", 20)
    accepted = anyio.Event()

    def on_accept(sock: socket.socket, address: PeerAddress) -> bool:
        sock.close()
        if address.host == OTHER:
            accepted.set()
        return address.host == OTHER

    with listening() as listener:
        listener.settimeout(0.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tcp.accept_forever, listener, on_accept)
            with anyio.fail_after(30):
                while await anyio.to_thread.run_sync(connects, listener, FLOODER):
                    pass
                assert await anyio.to_thread.run_sync(connects, listener, OTHER)
                await accepted.wait()
                while not await anyio.to_thread.run_sync(connects, listener, FLOODER):
                    pass  # it is let in again, without a connection that wakes the loop
            tasks.cancel_scope.cancel()
