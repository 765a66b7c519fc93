"""UDP sockets on one port: who gets a datagram, where an answer leaves, what is no error."""

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.support.clock import let_tasks_run
from tests.support.swarm import until
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets import datagrams as datagrams_module
from torrent_engine.net.sockets.datagrams import (
    Datagrams,
    bind_udp,
    bound_datagrams,
    open_datagrams,
)
from torrent_engine.net.sockets.udp_batches import BATCH_READS

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1"


class Catcher:
    """Takes datagrams; answers each with ``answer``, at the end of its batch."""

    def __init__(self, datagrams: Datagrams, answer: bytes = b"") -> None:
        self.came: list[tuple[bytes, PeerAddress]] = []
        self.batches: list[int] = []
        self._datagrams = datagrams
        self._answer = answer

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        self.came.append((data, address))

    def batch_ended(self) -> None:
        self.batches.append(len(self.came) - sum(self.batches))
        if self._answer:
            for _, address in self.came[-self.batches[-1] :]:
                self._datagrams.send(self._answer, address)


@asynccontextmanager
async def running(*hosts: str, answer: bytes = b"") -> AsyncIterator[tuple[Datagrams, Catcher]]:
    async with open_datagrams(hosts or (LOOPBACK,), 0) as datagrams:
        catcher = Catcher(datagrams, answer)
        datagrams.route(b"d", catcher)
        yield datagrams, catcher


def client(host: str = LOOPBACK) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(5.0)
    return sock


def bound(datagrams: Datagrams) -> list[tuple[str, int]]:
    return [sock.getsockname()[:2] for sock in (udp.sock for udp in datagrams.sockets)]


def test_all_hosts_get_the_same_port() -> None:
    with bound_datagrams((LOOPBACK, "::1"), 0) as datagrams:
        assert bound(datagrams) == [(LOOPBACK, datagrams.port), ("::1", datagrams.port)]
        assert datagrams.port_of(is_ipv6=False) == datagrams.port_of(is_ipv6=True)


def test_the_port_of_the_tcp_listener_is_free_for_udp() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        with bound_datagrams((LOOPBACK,), port) as datagrams:
            assert datagrams.port == port


def test_a_port_that_is_taken_becomes_another_one_on_all_hosts() -> None:
    with client() as taken:
        port = taken.getsockname()[1]
        with bound_datagrams(("::1", LOOPBACK), port) as datagrams:
            assert {each for _, each in bound(datagrams)} == {datagrams.port}
            assert datagrams.port != port


def test_an_address_that_the_machine_lacks_is_left_out() -> None:
    with bound_datagrams(("192.0.2.1", LOOPBACK), 0) as datagrams:
        assert [host for host, _ in bound(datagrams)] == [LOOPBACK]
        assert datagrams.port_of(is_ipv6=True) is None


def test_no_address_at_all_is_a_network_error() -> None:
    with pytest.raises(NetworkError, match="UDP"), bound_datagrams(("192.0.2.1",), 0):
        pass


def test_sockets_are_closed_at_the_end() -> None:
    with bound_datagrams((LOOPBACK,), 0) as datagrams:
        port = datagrams.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, port))
        assert sock.getsockname()[1] == port


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
async def test_bep5_a_datagram_goes_to_who_takes_its_first_byte(host: str) -> None:
    async with running(host, answer=b"reply") as (datagrams, catcher):
        with client(host) as sock:
            for data in (b"x: nobody's", b"", b"d1:q"):
                sock.sendto(data, (host, datagrams.port))
            await until(lambda: catcher.came)
            answer = await anyio.to_thread.run_sync(sock.recvfrom, 100)
            assert catcher.came == [(b"d1:q", PeerAddress(host, sock.getsockname()[1]))]
            assert (answer[0], answer[1][:2]) == (b"reply", (host, datagrams.port))


async def test_who_is_no_longer_routed_gets_nothing() -> None:
    async with running() as (datagrams, catcher):
        other = Catcher(datagrams)
        datagrams.route(b"A", other)
        datagrams.unroute(catcher)
        with client() as sock:
            for data in (b"d1:q", b"A"):
                sock.sendto(data, (LOOPBACK, datagrams.port))
            await until(lambda: other.came)
        assert (len(catcher.came), len(other.came)) == (0, 1)


async def test_datagrams_that_wait_are_read_in_batches() -> None:
    with bound_datagrams((LOOPBACK,), 0) as datagrams, client() as sock:
        catcher = Catcher(datagrams)
        datagrams.route(b"d", catcher)
        for _ in range(BATCH_READS + 5):
            sock.sendto(b"d", (LOOPBACK, datagrams.port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(datagrams.run)
            await until(lambda: len(catcher.came) == BATCH_READS + 5)
            tasks.cancel_scope.cancel()
    assert catcher.batches == [BATCH_READS, 5]


async def test_an_answer_leaves_from_the_address_that_was_asked() -> None:
    async with running("127.0.0.2", "127.0.0.3", answer=b"reply") as (datagrams, _):
        with client() as sock:
            for host in ("127.0.0.3", "127.0.0.2"):
                sock.sendto(b"d", (host, datagrams.port))
                _, source = await anyio.to_thread.run_sync(sock.recvfrom, 100)
                assert source == (host, datagrams.port)


def unusable(address: PeerAddress) -> bool:
    with bound_datagrams((LOOPBACK,), 0) as datagrams:
        return not datagrams.send(b"d", address) and datagrams.dropped_count == 1


UNREACHABLE = {
    "no_socket_of_the_family": PeerAddress("::1", 1),
    "not_from_loopback": PeerAddress("192.0.2.1", 6881),
    "broadcast": PeerAddress("255.255.255.255", 6881),
    "port_0": PeerAddress(LOOPBACK, 0),
    "port_too_large": PeerAddress(LOOPBACK, 70_000),
}


@pytest.mark.parametrize("address", UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_what_cannot_be_sent_is_lost_and_counted(address: PeerAddress) -> None:
    assert unusable(address)


async def test_a_port_that_nobody_listens_on_hurts_no_other() -> None:
    async with running() as (datagrams, catcher):
        with client() as gone:
            nobody = PeerAddress(*gone.getsockname())
        with client() as sock:
            for _ in range(3):
                assert datagrams.send(b"d", nobody)  # refused by ICMP, later
                assert datagrams.send(b"d", PeerAddress(*sock.getsockname()))
            sock.sendto(b"d1:q", (LOOPBACK, datagrams.port))
            await until(lambda: catcher.came)
            assert sock.recv(10) == b"d"


class FaultySocket:
    """A socket whose reads fail first, as told by a list of errno."""

    def __init__(self, sock: socket.socket, faults: list[int]) -> None:
        self._sock = sock
        self.faults = faults

    def recvmsg_into(self, *arguments: Any) -> Any:
        if self.faults:
            raise OSError(self.faults.pop(0), "told so")
        return self._sock.recvmsg_into(*arguments)

    def recvfrom_into(self, *arguments: Any) -> Any:
        if self.faults:
            raise OSError(self.faults.pop(0), "told so")
        return self._sock.recvfrom_into(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


async def test_errors_of_reading_are_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = anyio.sleep

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    with bound_datagrams((LOOPBACK,), 0) as datagrams, client() as sock:
        faults = [errno.ECONNREFUSED, errno.ENOBUFS, errno.EHOSTUNREACH, errno.ENOMEM]
        udp: Any = datagrams.sockets[0]
        udp.sock = faulty = FaultySocket(udp.sock, faults)
        catcher = Catcher(datagrams)
        datagrams.route(b"d", catcher)
        monkeypatch.setattr(anyio, "sleep", note)
        sock.sendto(b"d", (LOOPBACK, datagrams.port))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(datagrams.run)
            with anyio.fail_after(30):
                while not catcher.came:
                    await sleep(0.005)
            tasks.cancel_scope.cancel()
    assert pauses == [datagrams_module.FAULT_PAUSE_S] * 2
    assert not faulty.faults


async def test_a_replaced_socket_is_closed_and_its_handlers_are_those_of_the_new_one() -> None:
    async with running(answer=b"pong") as (datagrams, catcher):
        await let_tasks_run()
        old = datagrams.sockets[0].sock
        new = bind_udp(LOOPBACK, 0)
        datagrams.replace(old, new)
        assert old.fileno() == -1
        assert bound(datagrams) == [new.getsockname()]
        with client() as sock:
            sock.sendto(b"ding", (LOOPBACK, datagrams.port))
            await until(lambda: catcher.came)
            assert sock.recvfrom(9) == (b"pong", new.getsockname())


async def test_whoever_waits_for_a_replaced_socket_waits_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with bound_datagrams((LOOPBACK,), 0) as datagrams, anyio.fail_after(30):
        (old,) = datagrams.sockets
        monkeypatch.setattr(old, "wait_writable", old.wait_readable)  # as if it were full
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(datagrams.wait_writable, PeerAddress(LOOPBACK, 9))
            await let_tasks_run()
            datagrams.replace(old.sock, bind_udp(LOOPBACK, 0))
        assert old.sock.fileno() == -1
