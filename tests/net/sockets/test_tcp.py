"""Listening on several hosts and ports, accepting, dialling, looking up names."""

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets import tcp as streams
from torrent_engine.net.sockets.tcp import (
    ACCEPTS_PER_TURN,
    REFUSAL_PAUSE_S,
    REFUSALS_PER_TURN,
    accept_forever,
    close,
    dial,
    listen,
    open_stream,
    plain_host,
)

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1"


@contextmanager
def listening(*hosts: str, port: int = 0) -> Iterator[list[socket.socket]]:
    sockets = listen(hosts or (LOOPBACK,), port)
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def test_all_hosts_get_the_same_port() -> None:
    with listening(LOOPBACK, "::1") as sockets:
        assert len({port_of(sock) for sock in sockets}) == 1
        assert {sock.family for sock in sockets} == {socket.AF_INET, socket.AF_INET6}
        assert all(sock.getblocking() is False for sock in sockets)


def test_a_host_that_the_machine_lacks_is_left_out() -> None:
    with listening("192.0.2.1", LOOPBACK) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == [LOOPBACK]


def test_no_host_at_all_is_a_network_error() -> None:
    with pytest.raises(NetworkError, match=r"192\.0\.2\.1"):
        listen(("192.0.2.1",), 0)


def test_a_busy_port_moves_on_to_the_next() -> None:
    with listening() as first:
        busy = port_of(first[0])
        with listening(port=busy) as second:
            assert busy < port_of(second[0]) < busy + streams.PORT_ATTEMPTS


def test_no_free_port_is_a_network_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PORT_ATTEMPTS", 1)
    with listening() as first, pytest.raises(NetworkError, match="in use"):
        listen((LOOPBACK,), port_of(first[0]))


def test_a_second_host_that_is_busy_frees_the_first() -> None:
    with listening("::1") as taken, listening(LOOPBACK, "::1", port=port_of(taken[0])) as sockets:
        assert len({port_of(sock) for sock in sockets}) == 1
        assert port_of(sockets[0]) != port_of(taken[0])


async def test_dial_and_accept_meet() -> None:
    accepted: list[tuple[socket.socket, PeerAddress]] = []
    arrived = anyio.Event()

    def on_accept(sock: socket.socket, address: PeerAddress) -> bool:
        accepted.append((sock, address))
        arrived.set()
        return True

    with listening() as sockets:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept_forever, sockets[0], on_accept)
            dialled = await dial(PeerAddress(LOOPBACK, port_of(sockets[0])), 5.0)
            with anyio.fail_after(30):
                await arrived.wait()
            tasks.cancel_scope.cancel()
    ((sock, address),) = accepted
    assert address == PeerAddress(*dialled.getsockname())
    assert sock.getblocking() is dialled.getblocking() is False
    dialled.send(b"hello")
    await anyio.wait_readable(sock)
    assert sock.recv(10) == b"hello"
    close(sock)
    close(dialled)
    close(dialled)  # twice is harmless


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
async def test_a_refused_dial_is_a_network_error_and_leaves_no_socket(host: str) -> None:
    with listening(host) as sockets:
        port = port_of(sockets[0])
    with pytest.raises(NetworkError, match="refused"):
        await dial(PeerAddress(host, port), 5.0)


async def test_a_dial_that_nobody_answers_ends_in_time() -> None:
    with socket.socket() as full:
        full.bind((LOOPBACK, 0))
        full.listen(0)
        fillers = []
        for _ in range(4):  # fills the backlog: further connections are not answered
            sock = socket.socket()
            sock.settimeout(0.0)
            sock.connect_ex(full.getsockname())
            fillers.append(sock)
        with pytest.raises(NetworkError, match="timed out"):
            await dial(PeerAddress(*full.getsockname()), 0.1)
        for sock in fillers:
            sock.close()


@pytest.mark.parametrize(
    "address",
    [
        PeerAddress(LOOPBACK, 70_000),
        PeerAddress(LOOPBACK, -1),
        PeerAddress("999.1.1.1", 80),
        PeerAddress("::zz", 80),
    ],
)
async def test_an_address_that_cannot_be_is_a_network_error(address: PeerAddress) -> None:
    with pytest.raises(NetworkError):
        await dial(address, 0.5)


class FakeListener:
    """Raises what it is told to, then hands out one socket."""

    def __init__(self, *errors: int) -> None:
        self.errors = list(errors)

    def accept(self) -> tuple[Any, Any]:
        if self.errors:
            raise OSError(self.errors.pop(0), "no")
        return socket.socket(), ("::ffff:10.0.0.1%eth0", 80, 0, 0)


async def test_f9_out_of_descriptors_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ACCEPT_PAUSE_S", 0.01)
    listener = FakeListener(errno.EMFILE, errno.ECONNABORTED, errno.ENFILE)
    seen: list[PeerAddress] = []
    with anyio.CancelScope() as scope:

        def on_accept(sock: socket.socket, address: PeerAddress) -> bool:
            sock.close()
            seen.append(address)
            scope.cancel()
            return True

        await accept_forever(listener, on_accept)  # type: ignore[arg-type]
    assert set(seen) == {PeerAddress("10.0.0.1", 80)}


async def test_a_connection_that_was_reset_is_no_stream_but_an_error_and_closed() -> None:
    with listening() as (listener,):
        client = socket.create_connection((LOOPBACK, port_of(listener)))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await anyio.wait_readable(listener)
        sock, _ = listener.accept()
        sock.settimeout(0.0)
        with pytest.raises(ConnectionResetError):
            await open_stream(sock)
        assert sock.fileno() < 0


async def test_connections_without_end_let_other_tasks_run() -> None:
    accepted = turns = 0

    def on_accept(sock: socket.socket, _address: PeerAddress) -> bool:
        nonlocal accepted
        sock.close()
        accepted += 1
        return True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(accept_forever, FakeListener(), on_accept)  # type: ignore[arg-type]
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
            turns += 1
        tasks.cancel_scope.cancel()
    assert turns == 5
    assert accepted <= 7 * ACCEPTS_PER_TURN


async def test_b5_refusals_without_end_wait_between_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    refused = 0

    def on_accept(sock: socket.socket, _address: PeerAddress) -> bool:
        nonlocal refused
        sock.close()
        refused += 1
        return False

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)
        if len(pauses) == 3:
            scope.cancel()
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("torrent_engine.net.sockets.tcp.anyio.sleep", sleep)
    with anyio.CancelScope() as scope:
        await accept_forever(FakeListener(), on_accept)  # type: ignore[arg-type]
    assert pauses == [REFUSAL_PAUSE_S] * 3
    assert refused == 3 * REFUSALS_PER_TURN


async def test_b5_after_a_refusal_the_next_ones_are_gathered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener = FakeListener()
    pauses: list[float] = []

    def on_accept(sock: socket.socket, _address: PeerAddress) -> bool:
        sock.close()
        listener.errors.append(errno.EAGAIN)
        return False

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)
        scope.cancel()
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("torrent_engine.net.sockets.tcp.anyio.sleep", sleep)
    with anyio.CancelScope() as scope:
        await accept_forever(listener, on_accept)  # type: ignore[arg-type]
    assert pauses == [REFUSAL_PAUSE_S]


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:0:1", "::ffff:0:1"),
    ],
)
def test_hosts_are_spelt_as_candidates_are(host: str, plain: str) -> None:
    assert plain_host(host) == plain
