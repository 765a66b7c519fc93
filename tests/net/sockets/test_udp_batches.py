"""Many datagrams in one call, and one at a time where the system can do no better."""

import errno
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets import udp_batches
from torrent_engine.net.sockets.datagrams import bind_udp
from torrent_engine.net.sockets.system import IS_LINUX
from torrent_engine.net.sockets.udp_batches import (
    BATCH_DATAGRAMS,
    MAX_SEGMENT_FAULTS,
    MAX_SEGMENTS,
    MAX_SENT_BYTES,
    CoalescedDatagrams,
    UdpSocket,
    _run_end,
)

PORTABLE = [pytest.param(True, id="portable"), pytest.param(False, id="as_the_system_can")]
ETHERNET = 1_472


@contextmanager
def pair(
    *, portable: bool = False, host: str = "127.0.0.1"
) -> Iterator[tuple[UdpSocket, UdpSocket]]:
    """Two sockets; ``portable`` ones do without what only Linux has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(udp_batches, "IS_LINUX", IS_LINUX and not portable)
        sockets = [UdpSocket(bind_udp(host, 0)) for _ in range(2)]
        try:
            yield sockets[0], sockets[1]
        finally:
            for sock in sockets:
                sock.close()


def address_of(sock: UdpSocket) -> PeerAddress:
    return PeerAddress(sock.host, sock.port)


def received(sock: UdpSocket, count: int) -> list[bytes]:
    """Read until so many datagrams have come."""
    came: list[bytes] = []
    deadline = time.monotonic() + 30.0
    while len(came) < count and time.monotonic() < deadline:
        for train in sock.receive()[0]:
            came += train.datagrams()
    return came


def numbered(*sizes: int) -> list[tuple[bytes, bytes]]:
    """Packets of such lengths, each with its number in front."""
    return [(bytes([number]), bytes(size - 1)) for number, size in enumerate(sizes)]


SIZES = {
    "one": [100],
    "equal": [ETHERNET] * 30,
    "more_than_a_call": [ETHERNET] * 100,
    "a_short_one_at_the_end": [ETHERNET] * 5 + [20],
    "rising": [20, 21, 22, 22, 23],
    "falling": [50, 40, 30, 30],
    "short_ones_between": [900, 900, 20, 900, 20, 20, 900],
}


@pytest.mark.parametrize("portable", PORTABLE)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_packets_arrive_one_by_one_and_in_order(
    sizes: list[int], host: str, *, portable: bool
) -> None:
    packets = numbered(*sizes)
    with pair(portable=portable, host=host) as (ours, theirs):
        assert ours.send_packets(packets, address_of(theirs)) == len(packets)
        assert received(theirs, len(packets)) == [head + rest for head, rest in packets]


@pytest.mark.parametrize("portable", PORTABLE)
def test_who_can_and_who_cannot_understand_each_other(*, portable: bool) -> None:
    with pair(portable=portable) as (ours, _), pair(portable=not portable) as (_, theirs):
        packets = numbered(*[1_000] * 40)
        ours.send_packets(packets, address_of(theirs))
        assert received(theirs, 40) == [head + rest for head, rest in packets]


@pytest.mark.skipif(not IS_LINUX, reason="only Linux has it")
def test_on_linux_one_call_carries_many() -> None:
    with pair() as (ours, theirs):
        calls: list[int] = []
        sock: Any = ours.sock
        ours.sock = Spy(sock, calls)  # type: ignore[assignment]
        assert ours.send_packets(numbered(*[ETHERNET] * 88), address_of(theirs)) == 88
        assert len(calls) == 2
        trains, _ = theirs.receive()
        assert len(trains) < 88


class Trains:
    """A socket at which trains of tiny datagrams wait without end."""

    def recvmsg_into(self, buffers: Any, *_rest: Any) -> Any:
        buffers[0][:64] = bytes(64)
        return 64, [(17, 104, (1).to_bytes(4, sys.byteorder))], 0, ("127.0.0.1", 9)


@pytest.mark.skipif(not IS_LINUX, reason="only Linux has it")
def test_c4_a_batch_of_tiny_datagrams_is_short() -> None:
    with pair() as (ours, _):
        sock, flooded = ours.sock, Trains()
        ours.sock = flooded  # type: ignore[assignment]
        ours._reads_coalesced = True
        trains, has_more = ours.receive()
        ours.sock = sock
    assert has_more
    assert sum(len(train.datagrams()) for train in trains) == BATCH_DATAGRAMS


class Spy:
    """A socket that counts what is sent in each call."""

    def __init__(self, sock: socket.socket, calls: list[int]) -> None:
        self._sock = sock
        self._calls = calls

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        self._calls.append(sum(map(len, buffers)))
        return self._sock.sendmsg(buffers, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Faulty(Spy):
    """A socket that fails with an errno; those that carry many, or all."""

    def __init__(self, sock: socket.socket, code: int, *, only_many: bool = False) -> None:
        super().__init__(sock, [])
        self._code = code
        self._only_many = only_many

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        if not self._only_many or rest[0]:
            self._calls.append(0)
            raise OSError(self._code, "told so")
        return super().sendmsg(buffers, *rest)

    @property
    def calls(self) -> int:
        return len(self._calls)


@pytest.mark.skipif(not IS_LINUX, reason="only Linux has it")
@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL])
def test_a_network_that_cannot_carry_many_gets_them_one_by_one(code: int) -> None:
    with pair() as (ours, theirs):
        faulty: Any = Faulty(ours.sock, code, only_many=True)
        ours.sock = faulty
        packets = numbered(*[500] * 10)
        assert ours.send_packets(packets, address_of(theirs)) == 10
        assert not ours.can_segment
        assert received(theirs, 10) == [head + rest for head, rest in packets]
        assert faulty.calls == MAX_SEGMENT_FAULTS + 10


@pytest.mark.parametrize("portable", PORTABLE)
@pytest.mark.parametrize("code", [errno.EMSGSIZE, errno.ENETUNREACH, errno.EPERM])
def test_what_the_system_refuses_is_lost(code: int, *, portable: bool) -> None:
    with pair(portable=portable) as (ours, theirs):
        faulty: Any = Faulty(ours.sock, code)
        ours.sock = faulty
        assert ours.send_packets(numbered(500, 500, 500), address_of(theirs)) == 3


@pytest.mark.parametrize("portable", PORTABLE)
def test_what_does_not_fit_at_the_moment_is_not_lost(*, portable: bool) -> None:
    with pair(portable=portable) as (ours, theirs):
        sock = ours.sock
        full: Any = Faulty(sock, errno.EAGAIN)
        ours.sock = full
        packets = numbered(500, 500, 500)
        assert ours.send_packets(packets, address_of(theirs)) == 0
        ours.sock = sock
        assert ours.send_packets(packets, address_of(theirs)) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_packet_too_large_for_the_way_is_lost_alone(host: str) -> None:
    with pair(host=host) as (ours, theirs):
        packets = [(b"0", b""), (b"x", bytes(70_000)), (b"2", b"")]
        assert ours.send_packets(packets, address_of(theirs)) == 3
        assert received(theirs, 2) == [b"0", b"2"]


@pytest.mark.skipif(not IS_LINUX, reason="elsewhere nobody tells")
def test_how_long_a_datagram_has_waited_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_batches, "MAX_WAITED_S", 3_600.0)
    with pair() as (_, theirs), pair() as (ours, _):
        ours.send(b"first", address_of(theirs))  # the system begins to take the time
        received(theirs, 1)
        sent_s = time.time()
        ours.send(b"second", address_of(theirs))
        later = UdpSocket(theirs.sock, wall_clock=lambda: time.time() + 2.0)
        (train,) = later.receive()[0]
        assert train.data == b"second"
        assert 1.9 <= train.waited_s <= 2.1 + time.time() - sent_s


@pytest.mark.parametrize("leap_s", [-3_600.0, 3_600.0])
def test_a_wall_clock_that_is_set_makes_no_wait(leap_s: float) -> None:
    with pair() as (ours, theirs):
        ours.send(b"x", address_of(theirs))
        later = UdpSocket(theirs.sock, wall_clock=lambda: time.time() + leap_s)
        (train,) = later.receive()[0]
        assert train.waited_s == 0.0


def test_an_empty_datagram_is_one() -> None:
    with pair() as (ours, theirs):
        ours.send(b"", address_of(theirs))
        assert received(theirs, 1) == [b""]


def test_a_train_comes_apart_where_its_datagrams_end() -> None:
    train = CoalescedDatagrams(b"aabbc", 2, PeerAddress("192.0.2.1", 1), 0.0)
    assert train.datagrams() == [b"aa", b"bb", b"c"]


@given(st.lists(st.integers(1, 2_000) | st.sampled_from([1_000, 1_400]), min_size=1, max_size=150))
def test_what_goes_in_one_call_is_what_comes_apart_again(sizes: list[int]) -> None:
    packets = [(b"", bytes(size)) for size in sizes]
    begin = 0
    while begin < len(packets):
        end = _run_end(packets, begin)
        run = sizes[begin:end]
        assert begin < end <= begin + MAX_SEGMENTS
        assert set(run[:-1]) <= {run[0]}
        assert run[-1] <= run[0]
        assert sum(run) <= MAX_SENT_BYTES
        begin = end
