"""The router of incoming connections: who is handed on, who is closed, and when."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
import pytest

from torrent_engine.base.ids import InfoHash, PeerAddress, PeerId
from torrent_engine.net import incoming
from torrent_engine.net.incoming import IncomingRouter
from torrent_engine.net.streams import listen
from torrent_engine.net.transport import Transport, receive_some
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
    *, timeout_s: float = 5.0
) -> AsyncIterator[tuple[IncomingRouter, Torrent, tuple[str, int]]]:
    router, torrent = IncomingRouter(timeout_s), Torrent()
    listeners = listen(("127.0.0.1",), 0)
    address = listeners[0].getsockname()
    router.register(OURS, torrent.accept)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(router.run, listeners)
        yield router, torrent, address
        tasks.cancel_scope.cancel()
    assert listeners[0].fileno() == -1
    assert router._waiting == 0
    for transport, _, _ in torrent.taken:
        transport.close()


async def closed(stream: anyio.abc.SocketStream) -> None:
    with anyio.fail_after(3), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        await stream.receive()
        raise AssertionError("the router sent something")


@pytest.mark.parametrize("cut", [48, 60, 68], ids=["no peer id", "half of it", "whole"])
async def test_bep3_a_connection_is_handed_to_its_torrent_by_info_hash(cut: int) -> None:
    async with routed() as (_, torrent, address), await anyio.connect_tcp(*address) as stream:
        await stream.send(HANDSHAKE[:cut])
        with anyio.fail_after(3):
            await torrent.arrived.wait()
        ((_, peer, received),) = torrent.taken
        assert received == HANDSHAKE[:cut]
        assert peer.host == "127.0.0.1"


async def test_bep3_a_handshake_byte_by_byte_is_handed_on() -> None:
    async with routed() as (_, torrent, address), await anyio.connect_tcp(*address) as stream:
        for byte in HANDSHAKE:
            await stream.send(bytes((byte,)))
        with anyio.fail_after(3):
            await torrent.arrived.wait()
        assert len(torrent.taken[0][2]) >= 48


async def test_bytes_behind_the_handshake_stay_in_the_socket() -> None:
    async with routed() as (_, torrent, address), await anyio.connect_tcp(*address) as stream:
        await stream.send(HANDSHAKE + b"more")
        with anyio.fail_after(3):
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
    async with routed() as (_, torrent, address), await anyio.connect_tcp(*address) as stream:
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
        assert router._waiting == 0


async def test_who_hangs_up_early_leaves_nothing() -> None:
    async with routed() as (router, torrent, address):
        for sent in (b"", HANDSHAKE[:30]):
            async with await anyio.connect_tcp(*address) as stream:
                if sent:
                    await stream.send(sent)
        async with await anyio.connect_tcp(*address) as stream:
            await stream.send(HANDSHAKE)
            with anyio.fail_after(3):
                await torrent.arrived.wait()
        with anyio.fail_after(3):
            while router._waiting:
                await anyio.lowlevel.checkpoint()
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
        with anyio.fail_after(3):
            while router._waiting < 2:
                await anyio.lowlevel.checkpoint()
        async with await anyio.connect_tcp(*address) as third:
            await closed(third)
        await second.send(HANDSHAKE)
        with anyio.fail_after(3):
            await torrent.arrived.wait()
        assert len(torrent.taken) == 1
