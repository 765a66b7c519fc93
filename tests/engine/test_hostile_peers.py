"""Peers that lie, stall, flood and hang up: rows B1 to B8 of the fault model, over real sockets."""

import mmap
import random
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.abc
import pytest

from tests.support.scripted_peer import (
    Script,
    Wire,
    blocks_of,
    dialled,
    listening,
    new_peer_id,
    poison,
)
from tests.support.swarm import (
    address_of,
    content,
    download,
    reach,
    record,
    resources,
    seed,
    state_of,
    until,
)
from tests.support.torrents import make_torrent, payload_of
from torrent_engine.base.config import (
    ChokerConfig,
    EncryptionConfig,
    EncryptionPolicy,
    NetworkConfig,
    SessionConfig,
    WireLimits,
)
from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.engine.events import PeerBanned, PeerDisconnected, PieceHashFailed
from torrent_engine.engine.session.session import Session
from torrent_engine.engine.states import State
from torrent_engine.engine.swarm.peer import Peer
from torrent_engine.engine.transfer import transfer
from torrent_engine.engine.transfer.download_manager import DownloadManager
from torrent_engine.net.peers.transport import TcpTransport
from torrent_engine.protocol.wire.messages import (
    BlockReceived,
    HandshakeReceived,
    PeerHas,
    PeerUnchoked,
    RequestRejected,
    encode_extended,
    encode_handshake,
)

pytestmark = pytest.mark.anyio

KIB = 1024
METAINFO, PAYLOAD = make_torrent(payload_of(1_000_000), piece_bytes=64 * KIB)
IMPATIENT = WireLimits(handshake_timeout_s=0.3)


# -- bad data ---------------------------------------------------------------------------------


async def test_b6_one_poisoner_among_three_seeds_is_banned_and_nobody_else(tmp_path: Path) -> None:
    liar = Script(METAINFO, PAYLOAD, change=poison)
    honest = [Script(METAINFO, PAYLOAD) for _ in range(3)]
    async with (
        listening(liar) as bad,
        listening(honest[0]) as first,
        listening(honest[1]) as second,
        listening(honest[2]) as third,
        resources(tmp_path) as shared,
    ):
        config = SessionConfig(peers=(bad, first, second, third), seed_time_s=0.0)
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        events = record(session)
        async with session:
            with anyio.fail_after(30):
                await session.wait_stopped()
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    verdicts = [event for event in events if isinstance(event, PeerBanned | PieceHashFailed)]
    banned = [event for event in verdicts if isinstance(event, PeerBanned)]
    assert [tuple(event.address) for event in banned] == [bad] * bool(verdicts)
    if verdicts:  # what was whole when it was banned may fail after that
        assert verdicts.index(banned[0]) <= 3


@pytest.mark.parametrize("corrupt_bytes", [1, 16 * KIB])
async def test_b6_a_lone_poisoner_is_banned_after_its_first_piece(
    tmp_path: Path, corrupt_bytes: int
) -> None:
    def change(_piece: int, _begin: int, data: bytes) -> bytes:
        return bytes(byte ^ 0xFF for byte in data[:corrupt_bytes]) + data[corrupt_bytes:]

    liar = Script(METAINFO, PAYLOAD, change=change)
    async with listening(liar) as bad, resources(tmp_path) as shared:
        config = SessionConfig(peers=(bad,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        events = record(session)
        async with session:
            await until(lambda: any(isinstance(event, PeerBanned) for event in events))
            await until(lambda: not session.stats().peers)
            assert session.stats().pieces_have == 0
            assert session.stats().wasted_bytes >= METAINFO.geometry.last_piece_bytes
            async with seed(tmp_path / "seed", METAINFO, PAYLOAD) as (_, good):
                await session.add_peer(*bad)
                await session.add_peer(*good)
                await reach(session, State.SEEDING)
    assert liar.connections == 1
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_b8_unrequested_blocks_are_never_written_and_end_the_link(tmp_path: Path) -> None:
    async def spam(stream: anyio.abc.SocketStream) -> None:
        wire = Wire(stream, METAINFO)
        await wire.shake_hands()
        for number in range(60):
            piece = number % METAINFO.piece_count
            wire.connection.sender.send_block(piece, 0, memoryview(b"\xff" * 1024))
        await wire.flush()
        await wire.hung_up()

    async with listening(spam) as address, resources(tmp_path) as shared:
        config = SessionConfig(peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        events = record(session)
        async with session:
            await until(lambda: any(isinstance(event, PeerDisconnected) for event in events))
            assert session.stats().downloaded_bytes == 0
            assert state_of(session) is State.DOWNLOADING
    ended = next(event for event in events if isinstance(event, PeerDisconnected))
    assert "unrequested" in ended.reason
    assert not (tmp_path / "out/payload").exists()


async def test_b8_a_block_twice_is_wasted_and_harmless(tmp_path: Path) -> None:
    class Twice(Script):
        def _serve(self, connection) -> None:
            for piece, begin, length in tuple(connection.upload_requests):
                start = METAINFO.geometry.piece_offset(piece) + begin
                if piece == 0 and begin == 0:
                    connection.sender.send_block(
                        piece, begin, memoryview(PAYLOAD[start : start + length])
                    )
            super()._serve(connection)

    async with listening(Twice(METAINFO, PAYLOAD)) as address, resources(tmp_path) as shared:
        session = await download(shared, METAINFO, tmp_path / "out", address)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert session.stats().wasted_bytes == 16 * KIB


# -- no or bad handshakes ---------------------------------------------------------------------


async def test_b5_a_dialled_peer_that_says_nothing_is_dropped_in_time(tmp_path: Path) -> None:
    hung_up = anyio.Event()

    async def silent(stream: anyio.abc.SocketStream) -> None:
        await Wire(stream, METAINFO).hung_up()
        hung_up.set()

    async with listening(silent) as address, resources(tmp_path, wire=IMPATIENT) as shared:
        config = SessionConfig(peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            await until(lambda: session.stats().connecting)
            assert shared.connection_slots.used == 1
            with anyio.fail_after(10):  # the default, which is not that of this session
                await hung_up.wait()
            await until(lambda: not session.stats().connecting)
            assert shared.connection_slots.used == 0


HALVES = {
    "nothing": b"",
    "half a name": b"\x13BitTor",
    "no peer id": encode_handshake(
        METAINFO.info_hash, new_peer_id(), fast=True, extensions=True, dht=False
    )[:48],
    "all but one byte": encode_handshake(
        METAINFO.info_hash, new_peer_id(), fast=True, extensions=True, dht=False
    )[:67],
}


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES.keys())
async def test_b5_half_a_handshake_is_dropped_in_time(tmp_path: Path, sent: bytes) -> None:
    async with seed(tmp_path, METAINFO, PAYLOAD, wire=IMPATIENT) as (session, address):
        async with await anyio.connect_tcp(*address) as stream:
            if sent:
                await stream.send(sent)
            with anyio.fail_after(30):
                await Wire(stream, METAINFO).hung_up()
        await until(lambda: not session.stats().connecting)
        assert session.stats().peers == 0


async def test_b5_slow_loris_gets_no_more_time_for_each_byte(tmp_path: Path) -> None:
    handshake = encode_handshake(
        METAINFO.info_hash, new_peer_id(), fast=True, extensions=True, dht=False
    )
    async with seed(tmp_path, METAINFO, PAYLOAD, wire=IMPATIENT) as (_, address):
        async with await anyio.connect_tcp(*address) as stream:
            sent = 0
            with anyio.move_on_after(4):
                try:
                    for byte in handshake:
                        await stream.send(bytes((byte,)))
                        sent += 1
                        await anyio.sleep(0.03)
                except anyio.BrokenResourceError:
                    pass
        assert sent < len(handshake)


GARBAGE = {
    "encrypted": random.Random(1).randbytes(96 + 40),
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a zero": b"\x00",
    "wrong name": b"\x13BitTorrent protocoL" + bytes(48),
    "wrong info-hash": encode_handshake(
        InfoHash(b"\x01" * 20), new_peer_id(), fast=True, extensions=True, dht=False
    ),
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE.keys())
async def test_b1_what_is_no_handshake_is_closed_at_once(tmp_path: Path, sent: bytes) -> None:
    plain = NetworkConfig(encryption=EncryptionConfig(incoming=EncryptionPolicy.DISABLED))
    async with seed(tmp_path, METAINFO, PAYLOAD, network=plain) as (session, address):
        async with await anyio.connect_tcp(*address) as stream:
            await stream.send(sent)
            with anyio.fail_after(9):  # the handshake's time is 10 s
                await Wire(stream, METAINFO).hung_up()
        assert session.stats().peers == session.stats().connecting == 0


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE.keys())
async def test_b11_what_is_no_encrypted_handshake_either_is_closed_in_time(
    tmp_path: Path, sent: bytes
) -> None:
    wire = WireLimits(handshake_timeout_s=0.2)
    async with seed(tmp_path, METAINFO, PAYLOAD, wire=wire) as (session, address):
        async with await anyio.connect_tcp(*address) as stream:
            await stream.send(sent)
            with anyio.fail_after(30), suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.receive()
        assert session.stats().peers == session.stats().connecting == 0


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE.keys())
async def test_b1_a_dialled_peer_with_garbage_is_closed_at_once(
    tmp_path: Path, sent: bytes
) -> None:
    hung_up = anyio.Event()

    async def answer(stream: anyio.abc.SocketStream) -> None:
        await stream.send(sent)
        await Wire(stream, METAINFO).hung_up()
        hung_up.set()

    async with listening(answer) as address, resources(tmp_path) as shared:
        config = SessionConfig(peers=(address,))
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out", config=config)
        async with session:
            with anyio.fail_after(30):  # the handshake's time is 10 s
                await hung_up.wait()
            await until(lambda: not shared.connection_slots.used)
            assert session.stats().peers == 0


async def test_a_connection_to_ourselves_is_ended_and_not_tried_again(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        events = record(session)
        async with session:
            await reach(session, State.DOWNLOADING)
            await session.add_peer(*address_of(shared))
            assert session._core.run is not None
            candidates = session._core.run.transfer.pool.candidates
            await until(lambda: PeerAddress(*address_of(shared)) not in candidates)
            await until(lambda: not shared.connection_slots.used)
            await session.add_peer(*address_of(shared))
            assert session.stats().connecting == session.stats().peers == 0
    assert not [event for event in events if event.type.startswith("peer.")]


async def test_the_same_peer_twice_gets_one_link(tmp_path: Path) -> None:
    async with (
        seed(tmp_path, METAINFO, PAYLOAD) as (session, address),
        dialled(METAINFO, address) as first,
        dialled(METAINFO, address) as second,
    ):
        await first.shake_hands()
        second.connection.state.peer_id = first.connection.state.peer_id
        second.connection.sender.send_handshake()
        await second.flush()
        with anyio.fail_after(30):
            await second.hung_up()
        assert session.stats().peers == 1


async def test_b5_one_ip_address_gets_one_incoming_link_handshake_or_not(tmp_path: Path) -> None:
    handshake = encode_handshake(
        METAINFO.info_hash, new_peer_id(), fast=True, extensions=True, dht=False
    )
    async with seed(tmp_path, METAINFO, PAYLOAD) as (session, _):
        assert session._core.run is not None
        pool = session._core.run.transfer.pool
        await until(lambda: pool._tasks)
        theirs: list[socket.socket] = []

        def connect(host: str) -> socket.socket:
            ours, other = socket.socketpair()
            ours.settimeout(0.0)
            theirs.append(other)
            address = PeerAddress(host, 1000 + len(theirs))
            pool.accept(TcpTransport(ours), address, handshake[:48])
            return ours

        first, second, other = connect("10.0.0.1"), connect("10.0.0.1"), connect("10.0.0.2")
        assert [sock.fileno() >= 0 for sock in (first, second, other)] == [True, False, True]
        theirs[0].send(handshake[48:])
        await until(lambda: session.stats().peers == 1)
        assert connect("10.0.0.1").fileno() < 0
        theirs[0].close()
        await until(lambda: not session.stats().peers)
        assert connect("10.0.0.1").fileno() >= 0
        for sock in theirs:
            sock.close()
        await until(lambda: not pool._incoming._per_operator)


async def test_b5_the_addresses_of_one_64_get_one_incoming_link(tmp_path: Path) -> None:
    async with seed(tmp_path, METAINFO, PAYLOAD) as (session, _):
        assert session._core.run is not None
        pool = session._core.run.transfer.pool
        await until(lambda: pool._tasks)
        theirs: list[socket.socket] = []

        def is_taken(host: str) -> bool:
            ours, other = socket.socketpair()
            ours.settimeout(0.0)
            theirs.append(other)
            pool.accept(TcpTransport(ours), PeerAddress(host, 1000), b"")
            return ours.fileno() >= 0

        taken = [is_taken(f"2600:0:0:1::{number + 1:x}") for number in range(50)]
        assert taken == [True] + [False] * 49
        assert is_taken("2600:0:0:2::1")
        neighbours = [
            f"{prefix}::{number + 1:x}" for prefix in ("fe80", "fd00") for number in (1, 2)
        ]
        assert all(map(is_taken, neighbours))
        assert not is_taken(f"{neighbours[0]}%eth0")
        for sock in theirs:
            sock.close()
        await until(lambda: not pool._incoming._per_operator)


# -- floods and silence -------------------------------------------------------------------------


async def interested(wire: Wire) -> None:
    """Shake hands and wait until we are unchoked."""
    await wire.shake_hands()
    wire.connection.sender.set_interested(interested=True)
    await wire.flush()
    await wire.expect(PeerUnchoked)


def queued_bytes(session: Session) -> int:
    """Return what a Session holds for sockets that do not take it: a bounded share of the file."""
    assert session._core.run is not None
    queued = [
        part
        for peer in session._core.run.torrent.peers
        for part in (*peer.link._pending, *peer.connection.state.queue._buffers)
    ]
    assert sum(map(len, queued)) <= 1_100 * KIB
    return sum(len(part) for part in queued if not is_of_the_page_cache(part))


def is_of_the_page_cache(part: bytes | memoryview) -> bool:
    return isinstance(part, memoryview) and isinstance(part.obj, mmap.mmap)


async def test_b5_a_peer_that_requests_and_never_reads_holds_little_memory(tmp_path: Path) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, address),
        dialled(METAINFO, address) as greedy,
    ):
        await interested(greedy)
        blocks = [block for piece in range(15) for block in blocks_of(METAINFO, piece)]
        for _ in range(40):
            greedy.connection.sender.request_blocks(blocks)
            with anyio.move_on_after(0.05) as scope:
                await greedy.flush()
            assert queued_bytes(session) <= 600 * KIB
            if scope.cancelled_caught:
                break
        async with resources(tmp_path / "leech") as shared:  # others are served meanwhile
            await download(shared, METAINFO, tmp_path / "out", address)
        assert queued_bytes(session) <= 600 * KIB
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


@pytest.mark.parametrize("reads", [False, True], ids=["nothing", "slowly"])
async def test_b5_a_peer_that_requests_and_never_reads_is_closed_in_time(
    tmp_path: Path, *, reads: bool
) -> None:
    late_s = 0.0

    def clock() -> float:
        return time.monotonic() + late_s

    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD, clock=clock) as (session, address),
        dialled(METAINFO, address) as greedy,
    ):
        await interested(greedy)
        assert session._core.run is not None
        (peer,) = session._core.run.torrent.peers
        blocks = [block for piece in range(15) for block in blocks_of(METAINFO, piece)]
        while peer.link.stuck_s(clock()) < 0.1:
            greedy.connection.sender.request_blocks(blocks)
            await greedy.flush()
            await anyio.sleep(0.02)
        late_s = 110.0
        greedy.connection.sender.send_keep_alive()  # it is not silent
        await greedy.flush()
        await until(lambda: clock() - peer.connection.last_received_s < 100)
        while reads and peer.link.stuck_s(clock()) > 100:
            await greedy.stream.receive(64 * KIB)
        late_s = 130.0
        session._core.run.transfer.pool.tick(clock())
        assert peer.link.close_reason == (None if reads else "it does not read")


async def test_b4_requests_beyond_the_queue_are_rejected_and_the_others_answered(
    tmp_path: Path,
) -> None:
    limits = WireLimits(max_queued_requests=40)
    async with (
        seed(tmp_path, METAINFO, PAYLOAD, wire=limits) as (_, address),
        dialled(METAINFO, address) as wire,
    ):
        await interested(wire)
        blocks = [block for piece in range(15) for block in blocks_of(METAINFO, piece)]
        wire.connection.sender.request_blocks(blocks)
        await wire.flush()
        answers = 0
        with anyio.fail_after(30):
            async for event in wire:
                answers += isinstance(event, BlockReceived | RequestRejected)
                if answers == len(blocks):
                    break
        assert any(isinstance(event, RequestRejected) for event in wire.seen)
        assert sum(isinstance(event, BlockReceived) for event in wire.seen) >= 10


@pytest.mark.parametrize("unread", ["cancelled", "too long"])
async def test_b4_a_flood_whose_rejects_are_never_read_is_cut_off(
    tmp_path: Path, unread: str
) -> None:
    limits = WireLimits(max_queued_requests=100, max_control_units_per_s=0)  # read at full speed
    async with (
        seed(tmp_path, METAINFO, PAYLOAD, wire=limits) as (session, address),
        dialled(METAINFO, address) as wire,
    ):
        await interested(wire)
        request = struct.pack(">IBIII", 13, 6, 0, 0, 16 * KIB)
        if unread == "cancelled":
            flood = request + struct.pack(">IBIII", 13, 8, 0, 0, 16 * KIB)
        else:
            flood = struct.pack(">IBIII", 13, 6, 0, 0, 32 * KIB)
        filler = [block for piece in range(12) for block in blocks_of(METAINFO, piece)]
        wire.connection.sender.request_blocks(
            filler
        )  # fills the socket, so that nothing else leaves
        with anyio.move_on_after(5) as scope:
            try:
                await wire.flush()
                for _ in range(400):
                    await wire.stream.send(flood * 500)
                    assert queued_bytes(session) < 2_000 * KIB
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                pass
        assert not scope.cancelled_caught
        await until(lambda: not session.stats().peers)


FLOODS = {
    "nothing": bytes(4),
    "interest": struct.pack(">IBIB", 1, 2, 1, 3),
    "pieces": struct.pack(">IBI", 5, 4, 3),
    "handshakes": encode_extended(0, b"d1:md6:ut_pexi1eee") + encode_extended(0, b"d1:mdee"),
    "metadata": encode_extended(2, b"d8:msg_typei0e5:piecei0ee"),
}


@pytest.mark.parametrize("message", FLOODS.values(), ids=FLOODS.keys())
async def test_f11_a_flood_is_read_slowly_and_others_are_served(
    tmp_path: Path, message: bytes
) -> None:
    async with (
        seed(tmp_path / "seed", METAINFO, PAYLOAD) as (session, address),
        dialled(METAINFO, address) as wire,
        anyio.create_task_group() as tasks,
    ):
        await interested(wire)
        assert session._core.run is not None
        (flooder,) = session._core.run.torrent.peers

        async def flood() -> None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                while True:
                    await wire.stream.send(message * (64 * KIB // len(message)))

        tasks.start_soon(flood)
        began_s = time.monotonic()
        await until(lambda: flooder.link._is_waiting_to_read or flooder.link.close_reason)
        async with resources(tmp_path / "leech") as shared:
            await download(shared, METAINFO, tmp_path / "out", address)
        handled = flooder.connection.received_bytes / len(message)
        limits = session._core.run.torrent.shared_config.wire
        most = limits.max_shared_control_units_per_s + limits.max_control_units_per_s
        left_over = 32 * KIB / len(message)  # one read, of which little was handled
        assert handled <= (time.monotonic() - began_s + 1) * most + 1_000 + left_over
        assert queued_bytes(session) <= 300 * KIB
        tasks.cancel_scope.cancel()
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


async def test_b4_too_many_requests_while_choked_end_the_link(tmp_path: Path) -> None:
    async with (
        seed(tmp_path, METAINFO, PAYLOAD) as (session, address),
        dialled(METAINFO, address) as wire,
    ):
        await wire.shake_hands()
        await wire.stream.send(struct.pack(">IBIII", 13, 6, 1, 0, 16 * KIB) * 2_000)
        with anyio.fail_after(30):
            await wire.hung_up()
        await until(lambda: not session.stats().peers)
        assert session.stats().uploaded_bytes == 0


BAD_MESSAGES = {
    "length of 2 GiB": struct.pack(">IB", 1 << 31, 7),
    "unknown message": struct.pack(">IB", 1, 99),
    "have of no piece": struct.pack(">IBI", 5, 4, 1_000_000),
    "request past the end": struct.pack(">IBIII", 13, 6, 15, 60 * KIB, 16 * KIB),
    "bitfield of wrong size": struct.pack(">IB", 100, 5) + bytes(99),
}


@pytest.mark.parametrize("message", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
async def test_b1_a_broken_rule_ends_that_link_only(tmp_path: Path, message: bytes) -> None:
    async with (
        seed(tmp_path, METAINFO, PAYLOAD) as (session, address),
        dialled(METAINFO, address) as good,
        dialled(METAINFO, address) as bad,
    ):
        await good.shake_hands()
        await bad.shake_hands()
        await until(lambda: session.stats().peers == 2)
        await bad.stream.send(message)
        with anyio.fail_after(30):
            await bad.hung_up()
        await until(lambda: session.stats().peers == 1)
        good.connection.sender.set_interested(interested=True)
        await good.flush()
        assert isinstance(await good.expect(PeerUnchoked), PeerUnchoked)
        assert session.stats().peers == 1


async def test_b5_a_silent_peer_is_closed_after_the_idle_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TICKS_PER_SECOND", 1)  # it is looked at once a second
    limits = WireLimits(idle_timeout_s=0.2, keep_alive_s=0.1)
    async with (
        seed(tmp_path, METAINFO, PAYLOAD, wire=limits) as (session, address),
        dialled(METAINFO, address) as wire,
    ):
        await wire.shake_hands()
        with anyio.fail_after(30):  # by default it would be minutes
            await wire.hung_up()
        await until(lambda: not session.stats().peers)
        assert session.state is State.SEEDING


async def test_f10_a_bug_that_one_peer_meets_ends_that_link_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_self: DownloadManager, _peer: Peer, _event: PeerHas) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(DownloadManager, "on_have", fail)

    async def announce(stream: anyio.abc.SocketStream) -> None:
        wire = Wire(stream, METAINFO)
        await wire.shake_hands()
        wire.connection.sender.send_have([0])
        await wire.flush()
        await wire.hung_up()

    async with (
        listening(announce) as bad,
        listening(Script(METAINFO, PAYLOAD)) as good,
        resources(tmp_path) as shared,
    ):
        session = await Session.create(
            METAINFO, shared, save_path=tmp_path / "out", config=SessionConfig(peers=(bad,))
        )
        events = record(session)
        async with session:
            await until(lambda: any(isinstance(event, PeerDisconnected) for event in events))
            assert shared.connection_slots.used == 0
            await session.add_peer(*good)
            await reach(session, State.SEEDING)
    ended = next(event for event in events if isinstance(event, PeerDisconnected))
    assert ended.reason == "internal error"
    assert "a bug" in caplog.text
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


# -- peers that stop in the middle ------------------------------------------------------------


class HangsUp(Script):
    """Closes the connection after some blocks."""

    def _serve(self, connection) -> None:
        super()._serve(connection)
        if len(self.served) > 5:
            raise anyio.BrokenResourceError


class Chokes(Script):
    """Chokes in the middle, drops what it was asked for, and goes on a moment later."""

    def _serve(self, connection) -> None:
        if len(self.served) > 5 and not connection.state.am_choking and connection.upload_requests:
            connection.sender.choke()
            connection.upload_requests.clear()
            connection.sender.unchoke()
            self.served.clear()
            return
        later = tuple(connection.upload_requests)[3:]
        for request in later:
            connection.upload_requests.discard(request)
        super()._serve(connection)
        connection.upload_requests.extend(later)


class Rejects(Script):
    """Rejects every request (BEP 6)."""

    def _serve(self, connection) -> None:
        while connection.upload_requests:
            connection.sender.reject(connection.upload_requests.popleft())


class Forgets(Script):
    """Takes requests and never answers."""

    def _serve(self, connection) -> None:
        connection.upload_requests.clear()


@pytest.mark.parametrize("kind", [HangsUp, Rejects, Forgets])
async def test_what_a_bad_seed_was_asked_for_is_fetched_from_another(
    tmp_path: Path, kind: type[Script]
) -> None:
    bad, good = kind(METAINFO, PAYLOAD), Script(METAINFO, PAYLOAD)
    choker = ChokerConfig(snub_timeout_s=0.5)
    async with (
        listening(bad) as bad_address,
        listening(good) as good_address,
        resources(tmp_path, choker=choker) as shared,
    ):
        session = await Session.create(
            METAINFO,
            shared,
            save_path=tmp_path / "out",
            config=SessionConfig(peers=(bad_address,), seed_time_s=0.0),
        )
        async with session:
            await until(lambda: bad.connections)
            await session.add_peer(*good_address)
            with anyio.fail_after(30):
                await session.wait_stopped()
        assert shared.connection_slots.used == 0
    assert content(METAINFO, tmp_path / "out") == PAYLOAD


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
async def test_a_seed_that_chokes_now_and_then_delivers_in_the_end(
    tmp_path: Path, fast: bool
) -> None:
    class Stutters(Script):
        def _serve(self, connection) -> None:
            super()._serve(connection)
            if len(self.served) % 3 == 0:
                connection.sender.choke()
                connection.sender.unchoke()

    script = Stutters(METAINFO, PAYLOAD, fast=fast)
    async with listening(script) as address, resources(tmp_path) as shared:
        session = await download(shared, METAINFO, tmp_path / "out", address)
    assert content(METAINFO, tmp_path / "out") == PAYLOAD
    assert session.stats().peers == 0


async def test_haves_are_announced_to_who_is_connected(tmp_path: Path) -> None:
    async with resources(tmp_path) as shared:
        session = await Session.create(METAINFO, shared, save_path=tmp_path / "out")
        async with session:
            await reach(session, State.DOWNLOADING)
            async with dialled(METAINFO, address_of(shared)) as watcher:
                await watcher.shake_hands()
                await until(lambda: session.stats().peers == 1)
                async with listening(Script(METAINFO, PAYLOAD)) as address:
                    await session.add_peer(*address)
                    heard = set()
                    with anyio.fail_after(30):
                        async for event in watcher:
                            if isinstance(event, PeerHas):
                                heard.add(event.piece_index)
                            if len(heard) == METAINFO.piece_count:
                                break
                    assert heard == set(range(METAINFO.piece_count))


async def test_a_choked_peer_gets_no_block_it_asks_for(tmp_path: Path) -> None:
    choker = ChokerConfig(upload_slots=1, optimistic_slots=0)
    async with (
        seed(tmp_path, METAINFO, PAYLOAD, choker=choker) as (session, address),
        dialled(METAINFO, address, fast=False) as first,
        dialled(METAINFO, address, fast=False) as second,
    ):
        await interested(first)
        await second.shake_hands()
        second.connection.sender.set_interested(interested=True)
        await second.flush()
        await until(lambda: all(peer.peer_interested for peer in session.peers()))
        await second.stream.send(struct.pack(">IBIII", 13, 6, 0, 0, 16 * KIB))
        first.connection.sender.set_interested(interested=False)  # its slot goes to the other
        await first.flush()
        await second.expect(PeerUnchoked)
        assert not any(isinstance(event, BlockReceived) for event in second.seen)
        second.connection.sender.request_blocks(blocks_of(METAINFO, 1))
        await second.flush()
        block = await second.expect(BlockReceived)
        assert isinstance(block, BlockReceived)
        assert block.piece_index == 1
        assert isinstance(second.connection.state.handshake, HandshakeReceived)
