"""The router of incoming connections: who is handed on, who is closed, and when."""

import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from tests.support.clock import let_tasks_run
from tests.support.swarm import until
from torrent_engine.base.config import (
    ConnectionEncryption,
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
    PoolConfig,
)
from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.net.peers import incoming
from torrent_engine.net.peers.encryption_handshake import encrypt_outgoing
from torrent_engine.net.peers.incoming import IncomingRouter
from torrent_engine.net.peers.transport import TcpTransport, Transport, receive_some
from torrent_engine.net.sockets import keep_running
from torrent_engine.net.sockets.tcp import dial, listen
from torrent_engine.policy.limits.accept_rates import AcceptRates
from torrent_engine.protocol.wire.messages import encode_handshake

pytestmark = pytest.mark.anyio

OURS = InfoHash(b"\x11" * 20)
HANDSHAKE = encode_handshake(
    OURS, PeerId(b"-XX0000-" + b"p" * 12), fast=True, extensions=True, dht=False
)


class Torrent:
    """Keeps what is handed to it."""

    def __init__(self) -> None:
        self.taken: list[tuple[Transport, PeerAddress, bytes]] = []
        self.arrived = anyio.Event()

    def accept(self, transport: Transport, address: PeerAddress, received: bytes) -> None:
        self.taken.append((transport, address, received))
        self.arrived.set()


@asynccontextmanager
async def routed(
    *, timeout_s: float = 30.0, **encryption: Any
) -> AsyncIterator[tuple[IncomingRouter, Torrent, tuple[str, int]]]:
    router, torrent = IncomingRouter(timeout_s, EncryptionConfig(**encryption)), Torrent()
    listeners = listen(("127.0.0.1",), 0)
    address = listeners[0].getsockname()
    router.register(OURS, torrent.accept)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.run, listeners)
        yield router, torrent, address
        tasks.cancel_scope.cancel()
    assert listeners[0].fileno() == -1
    assert len(router._waiting) == 0
    for transport, _, _ in torrent.taken:
        transport.close()


async def closed(stream: anyio.abc.SocketStream) -> None:
    with anyio.fail_after(30), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        await stream.receive()
        raise AssertionError("the router sent something")


@pytest.mark.parametrize("cut", [48, 60, 68], ids=["no peer id", "half of it", "whole"])
async def test_bep3_a_connection_is_handed_to_its_torrent_by_info_hash(cut: int) -> None:
    async with routed() as (_, torrent, address), await anyio.connect_tcp(*address) as stream:
        await stream.send(HANDSHAKE[:cut])
        with anyio.fail_after(30):
            await torrent.arrived.wait()
        ((_, peer, received),) = torrent.taken
        assert received == HANDSHAKE[:cut]
        assert peer.host == "127.0.0.1"


async def test_bep3_a_handshake_byte_by_byte_is_handed_on() -> None:
    async with routed() as (_, torrent, address), await anyio.connect_tcp(*address) as stream:
        for byte in HANDSHAKE:
            await stream.send(bytes((byte,)))
        with anyio.fail_after(30):
            await torrent.arrived.wait()
        assert len(torrent.taken[0][2]) >= 48


async def test_bytes_behind_the_handshake_stay_in_the_socket() -> None:
    async with routed() as (_, torrent, address), await anyio.connect_tcp(*address) as stream:
        await stream.send(HANDSHAKE + b"more")
        with anyio.fail_after(30):
            await torrent.arrived.wait()
        transport, _, received = torrent.taken[0]
        assert received == HANDSHAKE
        await transport.wait_readable()
        assert receive_some(transport, 10) == b"more"


CLOSED = {
    "other torrent": encode_handshake(
        InfoHash(b"\x22" * 20), PeerId(b"p" * 20), fast=True, extensions=True, dht=False
    ),
    "encrypted": bytes(range(100, 196)),
    "first byte wrong": b"\x12",
    "name wrong": b"\x13BitTorrent protocoL",
}


@pytest.mark.parametrize("sent", CLOSED.values(), ids=CLOSED.keys())
async def test_b1_what_is_for_nobody_here_is_closed_at_once(sent: bytes) -> None:
    async with (
        routed(incoming=EncryptionPolicy.DISABLED) as (_, torrent, address),
        await anyio.connect_tcp(*address) as stream,
    ):
        await stream.send(sent)
        await closed(stream)
        assert not torrent.taken


@pytest.mark.parametrize("sent", [b"", HANDSHAKE[:10], HANDSHAKE[:47]])
async def test_b5_half_a_handshake_is_closed_in_time(sent: bytes) -> None:
    async with (
        routed(timeout_s=0.1) as (router, torrent, address),
        await anyio.connect_tcp(*address) as stream,
    ):
        if sent:
            await stream.send(sent)
        await closed(stream)
        assert not torrent.taken
        assert len(router._waiting) == 0


async def test_who_hangs_up_early_leaves_nothing() -> None:
    async with routed() as (router, torrent, address):
        for sent in (b"", HANDSHAKE[:30]):
            async with await anyio.connect_tcp(*address) as stream:
                if sent:
                    await stream.send(sent)
        async with await anyio.connect_tcp(*address) as stream:
            await stream.send(HANDSHAKE)
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        await waiting(router, 0)
        assert len(torrent.taken) == 1


async def test_without_a_torrent_every_connection_is_closed() -> None:
    async with routed() as (router, torrent, address):
        router.unregister(OURS)
        router.unregister(OURS)  # twice is harmless
        async with await anyio.connect_tcp(*address) as stream:
            await closed(stream)
        assert not torrent.taken


async def test_b5_only_so_many_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming, "MAX_WAITING", 2)
    async with (
        routed() as (router, torrent, address),
        await anyio.connect_tcp(*address),
        await anyio.connect_tcp(*address) as second,
    ):
        await waiting(router, 2)
        async with await anyio.connect_tcp(*address) as third:
            await closed(third)
        await second.send(HANDSHAKE)
        with anyio.fail_after(30):
            await torrent.arrived.wait()
        assert len(torrent.taken) == 1


async def test_b5_who_floods_the_room_keeps_no_other_address_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(incoming, "MAX_WAITING", 3)
    async with routed() as (router, torrent, address), AsyncExitStack() as flood:
        silent = [
            await flood.enter_async_context(await anyio.connect_tcp(*address)) for _ in range(3)
        ]
        await waiting(router, 3)
        async with await anyio.connect_tcp(*address, local_host="127.0.0.2") as other:
            await closed(silent[0])
            await other.send(HANDSHAKE)
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        assert torrent.taken[0][1].host == "127.0.0.2"


async def waiting(router: IncomingRouter, count: int) -> None:
    with anyio.fail_after(30):
        while len(router._waiting) != count:
            await anyio.lowlevel.checkpoint()


# -- encrypted --------------------------------------------------------------------------------

THEIRS = EncryptionConfig(level=EncryptionLevel.EITHER)


@asynccontextmanager
async def encrypted(
    address: tuple[str, int], info_hash: InfoHash = OURS, first: bytes = HANDSHAKE
) -> AsyncIterator[Transport]:
    """Dial with an encrypted handshake that offers both methods."""
    transport: Transport = TcpTransport(await dial(PeerAddress(*address), 30.0))
    try:
        with anyio.fail_after(30):
            transport = await encrypt_outgoing(transport, info_hash, THEIRS, first=first)
        yield transport
    finally:
        transport.close()


async def receive(transport: Transport, count: int) -> bytes:
    received = b""
    with anyio.fail_after(30):
        while len(received) < count:
            try:
                data = receive_some(transport, count - len(received))
            except BlockingIOError:
                await transport.wait_readable()
                continue
            assert data
            received += data
    return received


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (EncryptionPolicy.ALLOWED, ConnectionEncryption.PLAINTEXT),
        (EncryptionPolicy.PREFERRED, ConnectionEncryption.RC4),
        (EncryptionPolicy.REQUIRED, ConnectionEncryption.RC4),
    ],
)
async def test_mse_an_encrypted_connection_is_handed_to_its_torrent(
    policy: EncryptionPolicy, expected: ConnectionEncryption
) -> None:
    async with (
        routed(incoming=policy) as (router, torrent, address),
        encrypted(address) as theirs,
    ):
        with anyio.fail_after(30):
            await torrent.arrived.wait()
        ((ours, peer, received),) = torrent.taken
        assert received == b""
        assert peer.host == "127.0.0.1"
        assert ours.encryption is theirs.encryption is expected
        assert await receive(ours, len(HANDSHAKE)) == HANDSHAKE
        assert theirs.send_some([b"more"]) == 4
        assert await receive(ours, 4) == b"more"
        assert ours.send_some([b"answer"]) == 6
        assert await receive(theirs, 6) == b"answer"
        assert len(router._waiting) == 0


async def test_mse_an_encrypted_connection_is_closed_where_it_is_disabled() -> None:
    async with routed(incoming=EncryptionPolicy.DISABLED) as (_, torrent, address):
        with pytest.raises(NetworkError):
            async with encrypted(address):
                pass
        assert not torrent.taken


async def test_mse_a_plain_connection_is_closed_where_encryption_is_required() -> None:
    async with (
        routed(incoming=EncryptionPolicy.REQUIRED) as (_, torrent, address),
        await anyio.connect_tcp(*address) as stream,
    ):
        await stream.send(HANDSHAKE)
        await closed(stream)
        assert not torrent.taken


async def test_mse_a_torrent_is_found_among_many_as_long_as_it_is_there() -> None:
    async with routed() as (router, torrent, address):
        others = [InfoHash(bytes([number]) * 20) for number in range(30, 60)]
        for info_hash in others:
            router.register(info_hash, torrent.accept)
        async with encrypted(address, others[17]):
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        router.unregister(others[17])
        with pytest.raises(NetworkError):
            async with encrypted(address, others[17]):
                pass
        assert len(torrent.taken) == 1
        for info_hash in (*others, OURS):
            router.unregister(info_hash)
        assert not router._by_hash


async def test_bep52_a_hybrid_is_found_by_both_of_its_hashes() -> None:
    v1, v2 = InfoHash(b"\x31" * 20), InfoHash(b"\x32" * 20)
    handshake = encode_handshake(
        v2, PeerId(b"-XX0000-their-peer-i"), fast=True, extensions=False, dht=False
    )
    async with routed() as (router, torrent, address):
        router.register(v1, torrent.accept, v2)
        async with await anyio.connect_tcp(*address) as plain, encrypted(address, v2):
            await plain.send(handshake)
            with anyio.fail_after(30):
                await until(lambda: len(torrent.taken) == 2)
        router.hold(v1)
        async with encrypted(address, v2):
            with anyio.fail_after(30):
                await until(lambda: router._held)
            router.register(v1, torrent.accept, v2)
            assert len(torrent.taken) == 3
        router.unregister(v1)
        assert not router._aliases
        with pytest.raises(NetworkError):
            async with encrypted(address, v2):
                pass


async def test_bep52_the_other_hash_of_a_hybrid_may_be_that_of_another_torrent() -> None:
    v1, v2 = InfoHash(b"\x31" * 20), InfoHash(b"\x32" * 20)
    async with routed() as (router, torrent, address):
        other = Torrent()
        router.register(v2, other.accept)
        router.register(v1, torrent.accept, v2)
        async with encrypted(address, v2):
            with anyio.fail_after(30):
                await other.arrived.wait()
        for transport, _, _ in other.taken:
            transport.close()
        router.unregister(v2)
        async with encrypted(address, v2):
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        for info_hash in (v1, OURS):
            router.unregister(info_hash)
        assert not router._by_hash
        assert not router._aliases


async def test_mse_who_comes_encrypted_while_a_torrent_wakes_is_kept() -> None:
    resting = InfoHash(b"\x33" * 20)
    async with routed() as (router, torrent, address):
        router.hold(resting)
        assert router.is_registered(resting)
        async with encrypted(address, resting):
            with anyio.fail_after(30):
                await until(lambda: router._held)
            assert not torrent.taken
            router.register(resting, torrent.accept)
            ((ours, _, received),) = torrent.taken
            assert received == b""
            assert await receive(ours, len(HANDSHAKE)) == HANDSHAKE


async def test_b11_half_an_encrypted_handshake_is_closed_in_time() -> None:
    async with (
        routed(timeout_s=0.1) as (router, torrent, address),
        await anyio.connect_tcp(*address) as stream,
    ):
        await stream.send(bytes(range(1, 50)))
        await closed(stream)
        assert not torrent.taken
        assert len(router._waiting) == 0


async def test_b11_whoever_waits_for_an_encrypted_handshake_gets_one_in_turn() -> None:
    async with routed(max_handshakes_per_s=50) as (_, torrent, address):
        async with anyio.create_task_group() as tasks:

            async def come() -> None:
                async with encrypted(address) as theirs:
                    assert theirs.encryption is ConnectionEncryption.PLAINTEXT

            for _ in range(8):
                tasks.start_soon(come)
        with anyio.fail_after(30):
            while len(torrent.taken) < 8:
                await anyio.lowlevel.checkpoint()
        assert len(torrent.taken) == 8


async def test_what_comes_over_another_protocol_is_routed_as_well() -> None:
    async with routed() as (router, torrent, _):
        ours, theirs = socket.socketpair()
        ours.settimeout(0.0)
        with theirs:
            theirs.sendall(HANDSHAKE)
            with anyio.fail_after(30):
                while router._tasks is None:
                    await anyio.lowlevel.checkpoint()
            router.incoming(TcpTransport(ours), PeerAddress("192.0.2.7", 5))
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        assert torrent.taken[0][1:] == (PeerAddress("192.0.2.7", 5), HANDSHAKE)


async def test_nobody_is_routed_by_a_router_that_does_not_run() -> None:
    router, torrent = IncomingRouter(1.0), Torrent()
    router.register(OURS, torrent.accept)
    ours, theirs = socket.socketpair()
    with theirs:
        router.incoming(TcpTransport(ours), PeerAddress("192.0.2.7", 5))
        assert ours.fileno() == -1
    assert not torrent.taken


async def test_b11_whatever_comes_the_next_is_served() -> None:
    rng = random.Random(5)
    beginnings = [b"", HANDSHAKE[:20], HANDSHAKE[:40], rng.randbytes(96)]
    async with routed(max_handshakes_per_s=0) as (router, torrent, address):
        for number in range(60):
            noise = rng.choice(beginnings) + rng.randbytes(rng.choice([1, 60, 600, 1400]))
            async with await anyio.connect_tcp(*address) as stream:
                with suppress(OSError, anyio.BrokenResourceError):  # it may be closed already
                    await stream.send(noise)
                    if number % 2:
                        await stream.send_eof()
        await waiting(router, 0)
        assert not torrent.taken
        async with encrypted(address):
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        assert len(torrent.taken) == 1


async def test_f10_a_bug_of_one_torrent_reaches_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = InfoHash(b"\x44" * 20)

    def fail(transport: Transport, address: PeerAddress, received: bytes) -> None:
        del address, received
        transport.close()
        raise ZeroDivisionError

    async with routed() as (router, torrent, address):
        router.register(broken, fail)
        with suppress(NetworkError):
            async with encrypted(address, broken):
                await waiting(router, 0)
        async with encrypted(address):
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        assert len(torrent.taken) == 1
    assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


async def test_b5_so_many_connections_a_second_of_one_address_are_read_at_all() -> None:
    pool = PoolConfig(max_incoming_per_ip_per_s=0.001, incoming_burst_per_ip=5)
    router, torrent = IncomingRouter(30.0, pool=pool), Torrent()
    listeners = listen(("127.0.0.1",), 0)
    address = listeners[0].getsockname()
    router.register(OURS, torrent.accept)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.run, listeners)
        socks = [socket.socket() for _ in range(20)]
        for sock in socks:
            sock.settimeout(0.0)
            sock.connect_ex(address)
        with anyio.fail_after(30):
            for sock in socks:
                await anyio.wait_writable(sock)
                with suppress(OSError):
                    sock.send(HANDSHAKE)
            for sock in socks[5:]:
                await anyio.wait_readable(sock)
                with pytest.raises(OSError, match=r"reset|Broken pipe"):
                    sock.recv(1) or sock.send(b"x")
        await until(lambda: len(torrent.taken) == 5)
        assert len(router._waiting) == 0
        tasks.cancel_scope.cancel()
    assert len(torrent.taken) == 5
    for sock in socks:
        sock.close()
    for transport, _, _ in torrent.taken:
        transport.close()


async def test_b5_connections_over_other_protocols_count_too() -> None:
    pool = PoolConfig(max_incoming_per_ip_per_s=0.001, incoming_burst_per_ip=3)
    router = IncomingRouter(30.0, pool=pool)
    router.register(OURS, Torrent().accept)
    pairs = [socket.socketpair() for _ in range(8)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.run, [])
        await let_tasks_run()
        for ours, _ in pairs:
            ours.settimeout(0.0)
            router.incoming(TcpTransport(ours), PeerAddress("10.0.0.1", 1))
        assert len(router._waiting) == 3
        assert [ours.fileno() >= 0 for ours, _ in pairs] == [True] * 3 + [False] * 5
        tasks.cancel_scope.cancel()
    for pair in pairs:
        for sock in pair:
            sock.close()


async def test_connections_are_accepted_on_the_listener_that_replaces_another() -> None:
    router, torrent = IncomingRouter(30.0), Torrent()
    router.register(OURS, torrent.accept)
    (old,), (new,) = listen(("127.0.0.1",), 0), listen(("127.0.0.1",), 0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.run, [old])
        await let_tasks_run()
        router.replace_listener(old, new)
        assert old.fileno() == -1
        async with await anyio.connect_tcp(*new.getsockname()) as stream:
            await stream.send(HANDSHAKE)
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        tasks.cancel_scope.cancel()
    assert new.fileno() == -1
    for transport, _, _ in torrent.taken:
        transport.close()


async def test_f10_after_a_bug_in_accepting_the_next_connections_are_accepted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keep_running, "RESTART_S", 0.0)
    faults = [ZeroDivisionError()]
    take = AcceptRates.take

    def fail(rates: AcceptRates, host: str, now: float) -> bool:
        if faults:
            raise faults.pop()
        return take(rates, host, now)

    monkeypatch.setattr(AcceptRates, "take", fail)
    async with routed() as (_, torrent, address):
        async with await anyio.connect_tcp(*address) as stream:
            await closed(stream)
        async with await anyio.connect_tcp(*address) as stream:
            await stream.send(HANDSHAKE)
            with anyio.fail_after(30):
                await torrent.arrived.wait()
        assert len(torrent.taken) == 1
    assert caplog.messages == ["listening: internal error; it begins anew"]


async def test_a_listener_that_comes_after_the_end_is_closed() -> None:
    (old,), (new,) = listen(("127.0.0.1",), 0), listen(("127.0.0.1",), 0)
    IncomingRouter(30.0).replace_listener(old, new)
    assert (old.fileno(), new.fileno()) == (-1, -1)
