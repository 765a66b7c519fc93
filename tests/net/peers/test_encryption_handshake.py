"""The encrypted handshake on real sockets: who agrees on what, and how it can fail."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.support import mse
from tests.support.memory_transport import MemoryTransport
from torrent_engine.base.config import (
    ConnectionEncryption,
    EncryptionConfig,
    EncryptionLevel,
    EncryptionPolicy,
)
from torrent_engine.base.errors import EncryptionError, NetworkError
from torrent_engine.base.ids import InfoHash
from torrent_engine.net.peers.encryption_handshake import accept_encrypted, encrypt_outgoing
from torrent_engine.net.peers.transport import TcpTransport, Transport, receive_some
from torrent_engine.protocol.wire.encryption_keys import KEY_BYTES, req2_hash
from torrent_engine.protocol.wire.messages import PROTOCOL_STRING

pytestmark = pytest.mark.anyio

INFO_HASH = InfoHash(b"\xaa" * 20)
TIMEOUT_S = 30.0
PLAINTEXT, RC4, EITHER = EncryptionLevel.PLAINTEXT, EncryptionLevel.RC4, EncryptionLevel.EITHER
ALLOWED, PREFERRED = EncryptionPolicy.ALLOWED, EncryptionPolicy.PREFERRED
REQUIRED = EncryptionPolicy.REQUIRED


def find(torrent_hash: bytes) -> InfoHash | None:
    return INFO_HASH if torrent_hash == req2_hash(INFO_HASH) else None


def config(
    level: EncryptionLevel = EITHER, incoming: EncryptionPolicy = ALLOWED
) -> EncryptionConfig:
    return EncryptionConfig(level=level, incoming=incoming)


@asynccontextmanager
async def two_ends() -> AsyncIterator[tuple[TcpTransport, TcpTransport]]:
    """Two transports that are joined; what is done with them has its time."""
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.setblocking(False)
    ends = TcpTransport(one), TcpTransport(other)
    try:
        with anyio.fail_after(TIMEOUT_S):
            yield ends
    finally:
        for end in ends:
            end.close()


async def receive(transport: Transport, count: int) -> bytes:
    got = b""
    while len(got) < count:
        try:
            data = receive_some(transport, count - len(got))
        except BlockingIOError:
            await transport.wait_readable()
            continue
        if not data:
            break
        got += data
    return got


async def send(transport: Transport, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[transport.send_some([rest]) :]
        except BlockingIOError:
            await transport.wait_writable()


class Listener:
    """Our end that is dialled; the first bytes are read already, as the waiting room does."""

    def __init__(self, transport: Transport, settings: EncryptionConfig) -> None:
        self.transport = transport
        self.info_hash = InfoHash(b"")
        self._settings = settings

    async def run(self) -> None:
        received = await receive(self.transport, 20)
        self.transport, self.info_hash = await accept_encrypted(
            self.transport, received, find, self._settings
        )


@pytest.mark.parametrize(
    ("dials", "listens", "incoming", "encryption"),
    [
        (EITHER, EITHER, ALLOWED, ConnectionEncryption.PLAINTEXT),
        (EITHER, EITHER, PREFERRED, ConnectionEncryption.RC4),
        (EITHER, EITHER, REQUIRED, ConnectionEncryption.RC4),
        (EITHER, RC4, ALLOWED, ConnectionEncryption.RC4),
        (EITHER, PLAINTEXT, REQUIRED, ConnectionEncryption.PLAINTEXT),
        (RC4, EITHER, ALLOWED, ConnectionEncryption.RC4),
        (PLAINTEXT, EITHER, PREFERRED, ConnectionEncryption.PLAINTEXT),
    ],
)
async def test_mse_both_ends_agree_and_bytes_pass(
    dials: EncryptionLevel,
    listens: EncryptionLevel,
    incoming: EncryptionPolicy,
    encryption: ConnectionEncryption,
) -> None:
    payload = bytes(range(256)) * 4096
    async with two_ends() as (one, other):
        listener = Listener(other, config(listens, incoming))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.run)
            dialler = await encrypt_outgoing(one, INFO_HASH, config(dials), first=b"hello")
        assert dialler.encryption is listener.transport.encryption is encryption
        assert listener.info_hash == INFO_HASH
        assert await receive(listener.transport, 5) == b"hello"
        for source, target in ((dialler, listener.transport), (listener.transport, dialler)):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, source, payload)
                assert await receive(target, len(payload)) == payload


@pytest.mark.parametrize(("dials", "listens"), [(RC4, PLAINTEXT), (PLAINTEXT, RC4)])
async def test_mse_ends_without_a_common_method_part(
    dials: EncryptionLevel, listens: EncryptionLevel
) -> None:
    errors = []

    async def listen(transport: Transport) -> None:
        try:
            await accept_encrypted(transport, b"", find, config(listens))
        except EncryptionError as error:
            errors.append(str(error))
        transport.close()

    async with two_ends() as (one, other), anyio.create_task_group() as tasks:
        tasks.start_soon(listen, other)
        with pytest.raises(NetworkError, match="encrypted handshake: closed by the peer"):
            await encrypt_outgoing(one, INFO_HASH, config(dials))
    assert len(errors) == 1
    assert "none of the methods" in errors[0]


async def test_mse_bytes_behind_the_handshake_come_out_first() -> None:
    async with two_ends() as (one, other):
        by_hand = mse.OtherSide(INFO_HASH)
        listener = Listener(other, config(RC4))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.run)
            await send(one, by_hand.public)
            by_hand.meet((await receive(one, KEY_BYTES))[:KEY_BYTES])
            rest = by_hand.from_dialler
            offer = by_hand.offer(mse.RC4, initial=b"I" * 68)
            await send(one, offer + rest.crypt(b"and at once") + rest.crypt(b" more"))
        expected = b"I" * 68 + b"and at once more"
        assert await receive(listener.transport, len(expected)) == expected


async def test_mse_answer_with_bytes_behind_it_loses_none() -> None:
    async def answer(transport: Transport) -> None:
        by_hand = mse.OtherSide(INFO_HASH)
        by_hand.meet((await receive(transport, KEY_BYTES))[:KEY_BYTES])
        choice = by_hand.choice(mse.PLAINTEXT, padding=b"p" * 100)
        await send(transport, by_hand.public + b"q" * 512 + choice + b"in the clear")

    async with two_ends() as (one, other), anyio.create_task_group() as tasks:
        tasks.start_soon(answer, other)
        dialler = await encrypt_outgoing(one, INFO_HASH, config())
        assert dialler.encryption is ConnectionEncryption.PLAINTEXT
        assert await receive(dialler, 12) == b"in the clear"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (PROTOCOL_STRING + bytes(48), "the response is not encrypted"),
        (bytes(KEY_BYTES), "degenerate public key"),
        (b"\x55" * 2000, "padding is too long"),
    ],
)
async def test_b11_answer_that_is_none_is_an_error(said: bytes, message: str) -> None:
    async with two_ends() as (one, other):
        await send(other, said)
        with pytest.raises(EncryptionError, match=message):
            await encrypt_outgoing(one, INFO_HASH, config())


@pytest.mark.parametrize("said", [b"", b"\x55" * 20, b"\x55" * (KEY_BYTES + 10)])
async def test_end_within_the_handshake_is_a_network_error(said: bytes) -> None:
    for is_dialler in (True, False):
        async with two_ends() as (one, other):
            await send(other, said)
            other.close()
            with pytest.raises(NetworkError, match="encrypted handshake: "):
                await shake_hands(one, is_dialler=is_dialler)


async def shake_hands(transport: Transport, *, is_dialler: bool) -> None:
    if is_dialler:
        await encrypt_outgoing(transport, INFO_HASH, config())
    else:
        await accept_encrypted(transport, b"", find, config())


async def test_b11_unknown_torrent_and_chance_are_refused() -> None:
    async with two_ends() as (one, _):
        with pytest.raises(EncryptionError, match="padding is too long"):
            await accept_encrypted(one, b"\x55" * 1000, find, config())
    async with two_ends() as (one, other), anyio.create_task_group() as tasks:
        tasks.start_soon(refuse, other)
        with pytest.raises(NetworkError):
            await encrypt_outgoing(one, InfoHash(b"\xbb" * 20), config())


async def refuse(transport: Transport) -> None:
    with pytest.raises(EncryptionError, match="unknown torrent"):
        await accept_encrypted(transport, b"", find, config())
    transport.close()


async def test_silent_peer_is_waited_for_until_cancelled() -> None:
    async with two_ends() as (one, other):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(encrypt_outgoing, one, INFO_HASH, config())
                await receive(other, KEY_BYTES)
                scope.cancel()
        assert scope.cancelled_caught


async def test_transport_with_little_room_is_waited_for() -> None:
    inner = GrowingTransport(room=0)
    inner.has_ended = True
    with pytest.raises(NetworkError, match="closed by the peer"):
        await encrypt_outgoing(inner, INFO_HASH, config())
    assert inner.waits >= KEY_BYTES // 50  # more for what it is padded with
    assert len(inner.taken) >= KEY_BYTES


class GrowingTransport(MemoryTransport):
    """Has room for 50 bytes more each time it is waited for."""

    async def _wait(self) -> None:
        await super()._wait()
        self.room += 50
