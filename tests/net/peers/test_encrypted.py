"""The streams behind an encrypted handshake, over a transport that takes and gives bit by bit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import mse
from tests.support.memory_transport import MemoryTransport
from torrent_engine.base.config import ConnectionEncryption, TransportProtocol
from torrent_engine.base.ids import InfoHash
from torrent_engine.net.peers.encrypted import (
    MAX_STEP_BYTES,
    MIN_STEP_BYTES,
    PlaintextTransport,
    Rc4Transport,
)
from torrent_engine.net.peers.transport import Transport, receive_some
from torrent_engine.protocol.wire.encryption_keys import dialler_stream, listener_stream

pytestmark = pytest.mark.anyio

INFO_HASH = InfoHash(b"\xaa" * 20)
SECRET = bytes(range(96))
Buffers = list[bytes | memoryview]


def rc4_over(inner: MemoryTransport, early: bytes = b"") -> Rc4Transport:
    ours, theirs = dialler_stream(SECRET, INFO_HASH), listener_stream(SECRET, INFO_HASH)
    return Rc4Transport(inner, ours, theirs, early)


def their_reading() -> mse.Stream:
    return mse.Stream(b"keyA", SECRET, INFO_HASH)


def their_writing() -> mse.Stream:
    return mse.Stream(b"keyB", SECRET, INFO_HASH)


def sent_away(pending: Buffers, count: int) -> Buffers:
    """Return what has to be offered again when ``count`` bytes were taken."""
    rest: Buffers = []
    for buffer in pending:
        if len(buffer) > count:
            rest.append(memoryview(buffer)[count:])
        count = max(count - len(buffer), 0)
    return rest


@given(
    st.lists(st.binary(max_size=200), max_size=6),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 60)), max_size=20),
)
def test_no_byte_is_encrypted_twice_however_little_is_taken(
    buffers: list[bytes], turns: list[tuple[int, int]]
) -> None:
    inner = MemoryTransport()
    transport = rc4_over(inner)
    pending: Buffers = [*buffers]
    for room, pace in [*turns, (1 << 30, 0), (1 << 30, 0)]:
        inner.room = room
        offered = [memoryview(pending[0])[:pace]] if pace and pending else pending
        try:
            count = transport.send_some(offered)
        except BlockingIOError:
            continue
        assert count <= sum(map(len, offered))
        pending = sent_away(pending, count)
    assert [bytes(rest) for rest in pending if rest] == []
    assert their_reading().crypt(inner.taken) == b"".join(buffers)


def test_large_buffers_leave_in_steps() -> None:
    inner = MemoryTransport()
    transport = rc4_over(inner)
    payload = bytes(range(256)) * 2048
    pending: Buffers = [payload[:13], payload[13:400_000], payload[400_000:]]
    counts = []
    while pending:
        counts.append(transport.send_some(pending))
        pending = sent_away(pending, counts[-1])
    assert counts[0] == MIN_STEP_BYTES
    assert max(counts) == MAX_STEP_BYTES
    assert dialler_stream(SECRET, INFO_HASH).update(inner.taken) == payload


def test_slow_peer_makes_us_keep_little() -> None:
    inner = MemoryTransport()
    transport = rc4_over(inner)
    payload = bytes(1 << 20)
    for _ in range(8):  # it was fast before
        transport.send_some([payload])
    inner.room = 10
    assert transport.send_some([payload]) == 10
    while transport._kept:
        inner.room = 10_000
        transport.send_some([payload])
    inner.room = 10
    assert transport.send_some([payload]) == 10
    assert len(transport._kept) < 2 * MIN_STEP_BYTES


def test_full_transport_is_told_and_nothing_is_lost() -> None:
    inner = MemoryTransport(room=0)
    transport = rc4_over(inner)
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            transport.send_some([b"first", b"second"])
    inner.room = 100
    assert transport.send_some([b"first", b"second"]) == 11
    assert their_reading().crypt(inner.taken) == b"firstsecond"


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("is_rc4", [True, False])
def test_bytes_that_came_early_are_received_first(*, is_rc4: bool, size: int) -> None:
    inner = MemoryTransport()
    early, later = b"what came behind the handshake", b"and what came later"
    inner.incoming += their_writing().crypt(later) if is_rc4 else later
    inner.has_ended = True
    transport = rc4_over(inner, early) if is_rc4 else PlaintextTransport(inner, early)
    receive = transport.receive_into  # the one of the start goes on for ever
    got = b""
    buffer = bytearray(size)
    while count := receive(memoryview(buffer)):
        got += buffer[:count]
    assert got == early + later
    assert receive_some(transport, size) == b""


@pytest.mark.parametrize("is_rc4", [True, False])
async def test_early_bytes_are_not_waited_for(*, is_rc4: bool) -> None:
    inner = MemoryTransport()
    transport = rc4_over(inner, b"ab") if is_rc4 else PlaintextTransport(inner, b"ab")
    wait = transport.wait_readable
    await wait()
    assert inner.waits == 0
    assert receive_some(transport, 1) == b"a"
    await transport.wait_readable()
    assert inner.waits == 0
    assert receive_some(transport, 1) == b"b"
    await transport.wait_readable()
    await wait()
    assert inner.waits == 2
    with pytest.raises(BlockingIOError):
        receive_some(transport, 1)


def test_received_bytes_are_decrypted_where_they_lie() -> None:
    inner = MemoryTransport()
    inner.incoming += their_writing().crypt(b"hello")
    buffer = bytearray(b"__________")
    assert rc4_over(inner).receive_into(memoryview(buffer)[2:]) == 5
    assert buffer == b"__hello___"


@pytest.mark.parametrize(
    ("make", "encryption"),
    [(rc4_over, ConnectionEncryption.RC4), (PlaintextTransport, ConnectionEncryption.PLAINTEXT)],
)
async def test_transport_says_what_it_is(make, encryption: ConnectionEncryption) -> None:
    inner = MemoryTransport()
    transport: Transport = make(inner)
    assert (transport.protocol, transport.encryption) == (TransportProtocol.UTP, encryption)
    assert transport.local_host == "10.0.0.1"
    await transport.wait_writable()
    assert inner.waits == 1
    transport.close()
    assert inner.closed == 1


def test_plain_stream_passes_as_it_is() -> None:
    inner = MemoryTransport()
    inner.incoming += b"in"
    transport = PlaintextTransport(inner)
    assert transport.send_some([b"o", b"ut"]) == 3
    assert inner.taken == b"out"
    assert receive_some(transport, 10) == b"in"
