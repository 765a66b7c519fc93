"""One peer's link over a socket pair: bytes both ways, back-pressure, limits, and every end."""

import gc
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from tests.support.clock import ManualClock
from tests.support.memory_transport import MemoryTransport
from tests.support.peer_pair import GEOMETRY, INFO_HASH, THEIR_ID, make_connection
from torrent_engine.base.config import WireLimits
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.peers.link_budget import LinkBudget
from torrent_engine.net.peers.peer_link import PeerLink, Refill
from torrent_engine.net.peers.transport import TcpTransport
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import (
    BlockReceived,
    BlockRequest,
    HandshakeReceived,
    MessageId,
    PeerEvent,
    PeerHas,
    encode_handshake,
)

pytestmark = pytest.mark.anyio

KIB = 1024
THEIRS = encode_handshake(INFO_HASH, THEIR_ID, fast=True, extensions=False, dht=False)
THEIRS_EXTENDED = encode_handshake(INFO_HASH, THEIR_ID, fast=True, extensions=True, dht=False)
HAVE_0 = b"\x00\x00\x00\x05\x04\x00\x00\x00\x00"


class OpenGate:
    """Holds nothing back until it is shut."""

    def __init__(self) -> None:
        self.full = False
        self.opened = anyio.Event()

    async def wait_for_room(self) -> None:
        await self.opened.wait()


class Ends:
    """A link under test, the socket of the other side, and what came in."""

    def __init__(
        self,
        *,
        small: bool = False,
        limits: WireLimits | None = None,
        budget: LinkBudget | None = None,
        is_early: bool = False,
    ) -> None:
        ours, self.theirs = socket.socketpair()
        for sock in (ours, self.theirs):
            sock.settimeout(0.0)
            if small:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * KIB)
        self.connection = (
            make_connection(limits=limits, geometry=None, extensions={})
            if is_early
            else make_connection(limits=limits, extensions={"ut_pex": 1})
        )
        self.gate = OpenGate()
        self.events: list[PeerEvent] = []
        self.counts: list[int] = []
        self.sock = ours
        self.reason: str | None = None
        self.link = PeerLink(
            TcpTransport(ours),
            PeerAddress("127.0.0.1", 1),
            self.connection,
            gate=self.gate,
            budget=budget or LinkBudget(limits or WireLimits(), lambda: 1.0),
            clock=lambda: 1.0,
        )

    def take(self, events: list[PeerEvent], count: int) -> None:
        self.events += events
        self.counts.append(count)

    async def run(self, take: Callable[[list[PeerEvent], int], None] | None = None) -> None:
        self.reason = await self.link.run(take or self.take)

    async def until(self, condition: Callable[[], object]) -> None:
        with anyio.fail_after(30):  # a busy machine may stand still for some seconds
            while not condition():
                await anyio.lowlevel.checkpoint()

    async def give(self, data: bytes) -> None:
        """Send, and wait until all of it was received or the link has ended."""
        came = self.connection.received_bytes
        for at in range(0, len(data), 8 * KIB):
            if self.reason is not None:
                return
            part = data[at : at + 8 * KIB]
            came += len(part)
            self.theirs.send(part)
            await self.until(lambda: self.reason or self.connection.received_bytes >= came)  # noqa: B023

    async def receive_some(self) -> bytes:
        with anyio.fail_after(30):
            await anyio.wait_readable(self.theirs)
        return self.theirs.recv(1 << 20)

    async def receive(self, count: int) -> bytes:
        data = b""
        with anyio.fail_after(30):
            while len(data) < count:
                try:
                    more = self.theirs.recv(count - len(data))
                except BlockingIOError:
                    await anyio.wait_readable(self.theirs)
                    continue
                assert more
                data += more
        return data


@asynccontextmanager
async def running(ends: Ends) -> AsyncIterator[anyio.abc.TaskGroup]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ends.run)
        yield tasks
        ends.link.end("the test is over")
    ends.theirs.close()
    assert ends.sock.fileno() == -1


async def test_bytes_become_events_and_messages_become_bytes() -> None:
    ends = Ends()
    ends.connection.sender.send_handshake()
    async with running(ends):
        assert (await ends.receive(68))[:20] == b"\x13BitTorrent protocol"
        ends.theirs.send(THEIRS + HAVE_0)
        await ends.until(lambda: len(ends.events) == 2)
        assert [type(event) for event in ends.events] == [HandshakeReceived, PeerHas]
        assert sum(ends.counts) == len(THEIRS + HAVE_0)
        ends.connection.sender.set_interested(interested=True)
        ends.link.flush()
        assert await ends.receive(5) == b"\x00\x00\x00\x01\x02"
        assert ends.connection.last_sent_s == 1.0
    assert ends.reason == "the test is over"


async def test_the_first_reason_is_kept_and_nothing_is_handled_after_the_end() -> None:
    ends = Ends()

    def take(events: list[PeerEvent], count: int) -> None:
        ends.take(events, count)
        ends.link.end("first")
        ends.link.end("second")

    ends.theirs.send(THEIRS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ends.run, take)
        await ends.until(lambda: ends.events)
        if ends.reason is None:
            ends.theirs.send(HAVE_0)
    assert ends.reason == "first"
    assert [type(event) for event in ends.events] == [HandshakeReceived]
    ends.theirs.close()


async def test_a_link_that_was_ended_before_it_ran_handles_nothing() -> None:
    ends = Ends()
    ends.theirs.send(THEIRS + HAVE_0)
    ends.link.end("banned")
    with anyio.fail_after(30):
        await ends.run()
    assert (ends.reason, ends.events) == ("banned", [])
    ends.theirs.close()


async def test_the_peers_hanging_up_ends_the_link() -> None:
    ends = Ends()
    async with running(ends):
        ends.theirs.send(THEIRS)
        ends.theirs.shutdown(socket.SHUT_RDWR)
        await ends.until(lambda: ends.reason)
    assert ends.reason == "closed by the peer"
    assert len(ends.events) == 1


async def test_a_reset_while_sending_ends_the_link() -> None:
    ends = Ends()
    async with running(ends):
        ends.theirs.close()
        ends.connection.sender.send_keep_alive()
        ends.link.flush()
        await ends.until(lambda: ends.reason)
    assert ends.reason in {"Broken pipe", "closed by the peer"}


async def test_bep3_a_violation_ends_the_link_after_the_events_before_it() -> None:
    ends = Ends()
    async with running(ends):
        ends.theirs.send(THEIRS + HAVE_0 + b"\x7f\xff\xff\xff\x07" + HAVE_0)
        await ends.until(lambda: ends.reason)
    assert ends.reason == "protocol violated"
    assert isinstance(ends.events[1], PeerHas)
    assert len(ends.events) == 3


async def test_what_on_events_raises_leaves_run_and_closes_the_socket() -> None:
    ends = Ends()

    def fail(_events: list[PeerEvent], _count: int) -> None:
        raise ZeroDivisionError

    ends.theirs.send(THEIRS)
    with pytest.raises(ExceptionGroup) as caught:
        await ends.run(fail)
    assert caught.value.subgroup(ZeroDivisionError)
    assert ends.sock.fileno() == -1
    ends.theirs.close()


async def test_cancelling_run_closes_the_socket() -> None:
    ends = Ends()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ends.run)
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert ends.sock.fileno() == -1
    ends.link.flush()  # nothing is sent any more, and nothing raises
    ends.theirs.close()


# -- sending ------------------------------------------------------------------------------------


class Blocks:
    """A block source of so many blocks, at once or later."""

    def __init__(self, connection: PeerConnection, count: int, *, later: bool = False) -> None:
        self.connection = connection
        self.left = count
        self.later = later
        self.loads = self.rests = 0

    def _queue(self) -> None:
        self.left -= 1
        self.connection.upload_requests.popleft()
        self.connection.sender.send_block(0, 0, memoryview(bytes(16 * KIB)))

    def refill(self, room_bytes: int) -> Refill:
        del room_bytes
        if not self.left:
            return Refill.NOTHING
        if self.later:
            return Refill.LATER
        self._queue()
        return Refill.QUEUED

    def rest(self) -> None:
        self.rests += 1

    async def load(self) -> None:
        self.loads += 1
        await anyio.lowlevel.checkpoint()
        self._queue()


def request(connection: PeerConnection, count: int) -> None:
    """Let requests wait for an answer."""
    for number in range(count):
        connection.upload_requests.append((number, 0, 16 * KIB))  # type: ignore[arg-type]


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
async def test_blocks_go_out_whole_however_little_the_socket_takes(later: bool) -> None:
    ends = Ends(small=True)
    source = Blocks(ends.connection, 20, later=later)
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        request(ends.connection, 20)
        ends.link.source = source
        ends.link.flush()
        data = await ends.receive(20 * (13 + 16 * KIB))
    header = (9 + 16 * KIB).to_bytes(4, "big") + b"\x07" + bytes(8)
    assert data == (header + bytes(16 * KIB)) * 20
    assert source.loads == (20 if later else 0)


@pytest.mark.parametrize("small", [False, True], ids=["taken", "not taken"])
async def test_a_source_that_loads_is_not_asked_for_more_by_what_goes_out_meanwhile(
    small: bool,
) -> None:
    ends = Ends(small=small)
    source = Blocks(ends.connection, 3, later=True)
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        ends.link.source = source
        refill, states = source.refill, list[Refill]()

        def rejecting(room_bytes: int) -> Refill:
            states.append(refill(room_bytes))
            ends.connection.state.queue._buffers.append(bytes(64 * KIB))
            return states[-1]

        source.refill = rejecting  # type: ignore[method-assign]
        request(ends.connection, 3)
        ends.link.flush()
        assert states == [Refill.LATER]
        await ends.receive(3 * (13 + 16 * KIB + 64 * KIB))
        assert source.loads == len(states) == 3


@pytest.mark.parametrize("later", [False, True], ids=["full socket", "load"])
async def test_blocks_wait_for_us_while_they_are_loaded_and_not_while_the_socket_is_full(
    later: bool,
) -> None:
    ends = Ends(small=True)
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        assert not ends.link.waits_for_us
        ends.link.source = Blocks(ends.connection, 20, later=later)
        request(ends.connection, 20)
        ends.link.flush()
        assert ends.link.waits_for_us == later
        await ends.receive(20 * (13 + 16 * KIB))
        await ends.until(lambda: ends.link._waiting is None)
        assert not ends.link.waits_for_us


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
async def test_the_source_rests_once_when_all_is_sent_and_nothing_asked_for(later: bool) -> None:
    ends = Ends(small=True)
    source = Blocks(ends.connection, 20, later=later)
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        ends.link.source = source
        for count in (15, 5):
            request(ends.connection, count)
            ends.link.flush()
            assert source.rests == (count == 5)
            await ends.receive(count * (13 + 16 * KIB))
            await ends.until(lambda: not ends.link._is_blocked)
            ends.link.flush()
            assert not ends.link._pending
        assert source.rests == 2


async def test_b5_who_does_not_read_is_given_one_buffer_and_no_more() -> None:
    ends = Ends(small=True)
    source = Blocks(ends.connection, 1_000)
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        request(ends.connection, 1_000)
        ends.link.source = source
        for _ in range(50):
            ends.link.flush()
            await anyio.lowlevel.checkpoint()
        assert source.left > 900
        assert sum(len(part) for part in ends.link._pending) <= 16 * KIB + 13


def stuff(ends: Ends) -> None:
    """Send more than the socket takes."""
    request(ends.connection, 1_000)
    ends.link.source = Blocks(ends.connection, 1_000)
    ends.link.flush()


async def test_b5_how_long_the_other_side_has_read_nothing_is_known() -> None:
    ends = Ends(small=True, limits=WireLimits(min_read_bytes=1))
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        assert ends.link.stuck_s(1_000.0) == 0.0
        stuff(ends)  # at 1.0
        assert [ends.link.stuck_s(now) for now in (2.0, 100.0)] == [1.0, 99.0]
        assert ends.theirs.recv(64 * KIB)
        assert ends.link.stuck_s(200.0) == 0.0  # before anybody was told that it can be written to
        assert ends.link._stuck_since_s == 200.0
    assert ends.link.stuck_s(300.0) == 0.0


def link_over(
    transport: MemoryTransport,
    connection: PeerConnection,
    clock: ManualClock,
    limits: WireLimits | None = None,
) -> PeerLink:
    """Return a link that nothing else holds back."""
    return PeerLink(
        transport,
        PeerAddress("127.0.0.1", 1),
        connection,
        gate=OpenGate(),
        budget=LinkBudget(limits or WireLimits(), clock),
        clock=clock,
    )


async def test_b5_a_trickle_is_no_progress_and_as_much_as_is_asked_for_is() -> None:
    transport, connection, clock = MemoryTransport(room=0), make_connection(), ManualClock(0.0)
    link = link_over(transport, connection, clock)
    connection.sender.send_block(0, 0, memoryview(bytes(64 * KIB)))
    link.flush()
    for now in range(1, 60):
        transport.room = 136
        assert link.stuck_s(float(now)) == now
    assert len(transport.taken) == 59 * 136
    transport.room = 200
    assert link.stuck_s(60.0) == 0.0
    assert link.stuck_s(61.0) == 1.0


class RoomyBlocks(Blocks):
    """Notes for how much room it was asked."""

    def __init__(self, connection: PeerConnection, count: int) -> None:
        super().__init__(connection, count)
        self.rooms: list[int] = []

    def refill(self, room_bytes: int) -> Refill:
        self.rooms.append(room_bytes)
        return super().refill(room_bytes)


async def test_b5_nothing_is_read_for_a_transport_without_room_and_it_counts_as_stuck() -> None:
    clock, connection = ManualClock(0.0), make_connection()
    transport = MemoryTransport(room=20 * KIB)
    link = link_over(transport, connection, clock)
    source = link.source = RoomyBlocks(connection, 9)
    link.flush()  # the handshake
    request(connection, 9)
    transport.room, clock.now = 13 + 16 * KIB, 10.0
    link.flush()
    assert (source.rooms, source.rests, source.left) == ([13 + 16 * KIB], 1, 8)
    assert link.is_blocked
    assert not link._pending
    assert link.stuck_s(69.0) == 59.0
    transport.room = 64 * KIB
    assert link.stuck_s(70.0) == 0.0


async def test_a_link_that_waits_keeps_neither_an_exception_nor_the_last_events() -> None:
    """Both have much behind them: frames, and views of the receive buffer."""

    def held() -> list[object]:
        kinds = (BlockingIOError, PeerHas)
        return [each for each in gc.get_objects() if isinstance(each, kinds)]

    gc.collect()
    before, ends, counts = len(held()), Ends(), list[int]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ends.run, lambda _events, count: counts.append(count))
        await anyio.lowlevel.checkpoint()
        ends.theirs.send(THEIRS + HAVE_0)
        await ends.until(lambda: sum(counts) == len(THEIRS + HAVE_0))
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert len(held()) == before
        tasks.cancel_scope.cancel()
    ends.theirs.close()


async def test_b5_a_link_that_drains_now_and_then_is_not_stuck() -> None:
    ends = Ends(small=True)
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        for _ in range(3):
            ends.connection.state.queue._buffers.append(bytes(64 * KIB))
            ends.link.flush()
            assert ends.link._pending
            await ends.receive(64 * KIB)
            await ends.until(lambda: not ends.link._pending)
            assert ends.link._stuck_since_s is None
        assert ends.link.stuck_s(1_000.0) == 0.0


async def test_b5_what_waits_beside_payload_is_bounded() -> None:
    ends = Ends(small=True, limits=WireLimits(max_unsent_bytes=10_000))
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        stuff(ends)
        for _ in range(1_000):
            ends.connection.sender.reject(BlockRequest(0, 0, 16 * KIB))
            ends.link.flush()
        await ends.until(lambda: ends.reason)
    assert ends.reason == "it does not read the replies to its messages"


async def test_b5_payload_that_waits_ends_no_link() -> None:
    ends = Ends(small=True, limits=WireLimits(max_unsent_bytes=10_000))
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        stuff(ends)
        ends.connection.sender.send_block(0, 0, memoryview(bytes(16 * KIB)))
        ends.connection.sender.send_have(range(10_000))
        ends.link.flush()
        assert ends.link.close_reason is None


async def test_b5_a_reset_seen_by_asking_how_long_it_is_stuck_ends_the_link() -> None:
    ends = Ends(small=True)
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        stuff(ends)
        ends.theirs.close()
        assert ends.link.stuck_s(2.0) == 0.0
        assert ends.link.close_reason == "Broken pipe"


async def test_reading_goes_on_while_writing_waits() -> None:
    ends = Ends(small=True)
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        stuff(ends)
        ends.theirs.send(HAVE_0)
        await ends.until(lambda: len(ends.events) == 2)
        assert ends.link.stuck_s(2.0) > 0.0


# -- receiving ----------------------------------------------------------------------------------


async def receive_block(ends: Ends) -> None:
    """Ask for the first block, and be answered."""
    ends.theirs.send(THEIRS + b"\x00\x00\x00\x01\x01")
    await ends.until(lambda: not ends.connection.state.peer_choking)
    ends.connection.sender.request_blocks([(0, 0, 16 * KIB)])
    ends.link.flush()


BLOCK = (9 + 16 * KIB).to_bytes(4, "big") + b"\x07" + bytes(8) + bytes(16 * KIB)


async def test_a_full_disk_queue_holds_back_who_owes_us_blocks() -> None:
    ends = Ends()
    async with running(ends):
        await receive_block(ends)
        ends.gate.full = True
        for _ in range(20):  # until it waits for bytes: it may have been about to read
            await anyio.lowlevel.checkpoint()
        ends.theirs.send(BLOCK)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert not any(isinstance(event, BlockReceived) for event in ends.events)
        ends.gate.full = False
        ends.gate.opened.set()
        await ends.until(lambda: isinstance(ends.events[-1], BlockReceived))


async def test_a_full_disk_queue_does_not_hold_back_who_owes_nothing() -> None:
    ends = Ends()
    ends.gate.full = True
    async with running(ends):
        ends.theirs.send(THEIRS + HAVE_0)
        await ends.until(lambda: len(ends.events) == 2)
        assert ends.gate.full


class Allowance:
    """A rate limit that grants what it is told, and keeps account."""

    def __init__(self, *grants: int) -> None:
        self.grants = list(grants)
        self.balance = 0
        self.pace_bytes_per_s = 0.0

    def take(self, wanted_bytes: int) -> int:
        granted = min(self.grants.pop(0) if self.grants else 0, wanted_bytes)
        self.balance += granted
        return granted

    async def acquire(self, wanted_bytes: int) -> int:
        while not (granted := self.take(wanted_bytes)):
            await anyio.lowlevel.checkpoint()
        return granted

    def give_back(self, count_bytes: int) -> None:
        self.balance -= count_bytes


async def test_a_rate_limit_lets_in_what_it_grants_and_gets_the_rest_back() -> None:
    ends = Ends()
    throttle = Allowance(100, 4 * KIB, 3 * KIB)
    ends.link.download_throttle = throttle
    async with running(ends):
        await receive_block(ends)
        before = sum(ends.counts)
        ends.theirs.send(HAVE_0)
        await ends.until(lambda: sum(ends.counts) > before)
        assert throttle.balance == len(HAVE_0)
        ends.theirs.send(BLOCK)
        await ends.until(lambda: not throttle.grants)
        for _ in range(10):
            await anyio.sleep(0.001)
        assert sum(ends.counts) - before == throttle.balance  # nothing more without a grant
        assert [ends.link.was_held_back() for _ in range(2)] == [True, True]  # it waits
        throttle.grants += [KIB] * 20
        await ends.until(lambda: isinstance(ends.events[-1], BlockReceived))


async def test_a_download_limit_is_not_for_what_comes_while_no_block_is_awaited() -> None:
    ends = Ends()
    throttle = Allowance()  # it grants nothing
    ends.link.download_throttle = throttle
    async with running(ends):
        ends.theirs.send(THEIRS + HAVE_0 * 100 + b"\x00\x00\x00\x01\x01")
        await ends.until(lambda: not ends.connection.state.peer_choking)
        ends.connection.sender.request_blocks([(0, 0, 16 * KIB)])
        ends.theirs.send(BLOCK)
        await ends.until(ends.link.was_held_back)
        throttle.grants += [KIB] * 20
        await ends.until(lambda: isinstance(ends.events[-1], BlockReceived))
        assert throttle.balance == len(BLOCK)
        ends.theirs.send(HAVE_0)
        await ends.until(lambda: isinstance(ends.events[-1], PeerHas))
        assert throttle.balance == len(BLOCK)


def slow_ends(clock: Callable[[], float], bytes_per_s: float) -> Ends:
    """Return ends of a link that may send payload at a low rate."""
    ends = Ends()
    ends.link = PeerLink(
        TcpTransport(ends.sock),
        PeerAddress("127.0.0.1", 1),
        ends.connection,
        gate=ends.gate,
        budget=LinkBudget(WireLimits(), time.monotonic),
        clock=clock,
    )
    throttle = Allowance()
    throttle.pace_bytes_per_s = bytes_per_s
    ends.link.upload_throttle = throttle
    return ends


async def test_at_a_low_rate_messages_beside_payload_leave_at_once() -> None:
    ends = slow_ends(ManualClock(), bytes_per_s=1.0)
    async with running(ends):
        ends.connection.sender.send_handshake()
        await receive_block(ends)
        ends.connection.sender.set_interested(interested=True)
        ends.link.flush()
        ours = await ends.receive(68 + 17 + 5)
        assert ours[68 + 4] == MessageId.REQUEST
        assert ours[-5:] == b"\x00\x00\x00\x01\x02"


async def test_at_a_low_rate_a_begun_block_does_not_hold_up_what_is_said_behind_it() -> None:
    ends, block = slow_ends(ManualClock(), bytes_per_s=1.0), 13 + 16 * KIB
    async with running(ends):
        ends.connection.sender.send_block(0, 0, memoryview(bytes(16 * KIB)))
        ends.link.flush()
        came = await ends.receive_some()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert 0 < len(came) < KIB  # its header, and a step
        ends.connection.sender.set_interested(interested=True)
        ends.link.flush()
        came += await ends.receive(block + 5 - len(came))
        assert came[-5:] == b"\x00\x00\x00\x01\x02"


async def test_what_is_no_payload_is_sent_while_payload_waits_for_its_rate() -> None:
    ends, allowed = Ends(), anyio.Event()
    source = Blocks(ends.connection, 1, later=True)
    source.load = allowed.wait  # type: ignore[method-assign]
    async with running(ends):
        ends.theirs.send(THEIRS)
        await ends.until(lambda: ends.events)
        request(ends.connection, 1)
        ends.link.source = source
        ends.link.flush()
        ends.connection.sender.set_interested(interested=True)
        ends.link.flush()
        assert await ends.receive(5) == b"\x00\x00\x00\x01\x02"


async def test_at_a_low_rate_a_block_leaves_in_steps() -> None:
    clock = ManualClock()
    ends = slow_ends(clock, bytes_per_s=100 * KIB)
    async with running(ends):
        ends.connection.sender.send_block(0, 0, memoryview(bytes(16 * KIB)))
        ends.link.flush()
        came, at_once = 0, []
        while came < 16 * KIB + 13:
            step = len(await ends.receive_some())
            came += step
            at_once.append(step)
            clock.advance(0.05)
    assert max(at_once) <= 10 * KIB + 13  # what a late timer missed may follow, up to a step
    assert len(at_once) >= 3
    assert clock.now - 1000 == pytest.approx(16 / 100, abs=0.1)


@pytest.mark.parametrize("pace_bytes_per_s", [None, 100.0 * KIB])
async def test_a_block_that_leaves_in_steps_follows_a_change_of_its_rate(
    pace_bytes_per_s: float | None,
) -> None:
    ends = slow_ends(time.monotonic, bytes_per_s=1.0)
    async with running(ends):
        ends.connection.sender.send_block(0, 0, memoryview(bytes(16 * KIB)))
        ends.link.flush()
        came = len(await ends.receive_some())  # the next step is due after 256 s
        await anyio.wait_all_tasks_blocked()
        if pace_bytes_per_s is None:
            ends.link.upload_throttle = None
        else:
            ends.link.upload_throttle = faster = Allowance()
            faster.pace_bytes_per_s = pace_bytes_per_s
        while came < 16 * KIB + 13:
            came += len(await ends.receive_some())
    assert came == 16 * KIB + 13


def test_the_geometry_of_these_tests_has_the_block_they_ask_for() -> None:
    assert GEOMETRY.block_length(0, 0) == 16 * KIB


# -- messages beside payload ----------------------------------------------------------------------

NOTHING = b"\x00\x00\x00\x00"


async def test_f11_a_link_over_its_limit_is_not_read_and_still_written() -> None:
    ends = Ends(
        limits=WireLimits(
            max_control_units_per_s=1e-9,
            control_burst_units=500,
            max_shared_control_units_per_s=1,
        )
    )
    async with running(ends):
        ends.theirs.send(THEIRS + NOTHING * 2_000)
        await ends.until(lambda: len(ends.events) >= 250)
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert len(ends.events) <= 400
        ends.connection.sender.set_interested(interested=True)
        ends.link.flush()
        assert await ends.receive(5) == b"\x00\x00\x00\x01\x02"
    assert ends.reason == "the test is over"


async def test_f11_others_have_their_turn_between_the_messages_of_one_read() -> None:
    ends, seen, most = Ends(), 0, 0
    async with running(ends):
        ends.theirs.send(THEIRS + NOTHING * 1_500)
        with anyio.fail_after(30):
            while len(ends.events) < 1_501:
                await anyio.lowlevel.checkpoint()
                most, seen = max(most, len(ends.events) - seen), len(ends.events)
    assert most <= 3 * 64


async def test_f11_what_was_left_of_a_read_is_handled_after_a_handover() -> None:
    ends = Ends()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ends.run)
        ends.theirs.send(THEIRS + NOTHING * 1_500)
        await ends.until(lambda: ends.connection.has_unparsed)
        ends.link.detach()
    seen = len(ends.events)
    assert seen < 1_501
    async with running(ends):
        await ends.until(lambda: len(ends.events) == 1_501)


async def test_b5_a_link_that_we_do_not_read_is_not_blamed_for_silence() -> None:
    ends = Ends()
    async with running(ends):
        await receive_block(ends)
        ends.gate.full = True
        ends.theirs.send(BLOCK[:1_000])
        await ends.until(lambda: ends.link._is_waiting_to_read)
        assert ends.link.timed_out(500.0) is None
        ends.gate.full = False
        ends.gate.opened.set()
        await ends.until(lambda: ends.connection.incoming_block)
        ends.connection.last_received_s = 500.0
        assert ends.link.timed_out(501.0) is None
        assert ends.link.timed_out(561.0) is None
        assert ends.link.timed_out(561.1) == "a message takes too long"


async def test_b5_unfinished_messages_of_all_links_share_one_budget() -> None:
    limits = WireLimits(max_unfinished_bytes=200 * KIB)
    budget = LinkBudget(limits, clock := ManualClock())
    links = [Ends(limits=limits, budget=budget) for _ in range(4)]
    message = (100 * KIB).to_bytes(4, "big") + b"\x14\x01" + bytes(70 * KIB)
    async with anyio.create_task_group() as tasks:
        for ends in links:
            tasks.start_soon(ends.run)
            await ends.give(THEIRS_EXTENDED)
            await ends.give(message)
            clock.advance(1.0)
            assert budget.held_bytes <= 200 * KIB
        for ends in links:
            ends.link.end("the test is over")
    reasons = [ends.reason for ends in links]
    assert reasons[0] == "incomplete messages take too much memory"
    assert reasons[-1] == "the test is over"
    assert budget.held_bytes == 0
    for ends in links:
        ends.theirs.close()


async def test_b3_what_is_held_before_the_metadata_is_bounded_over_all_links() -> None:
    limits = WireLimits(max_pre_metadata_bytes=100 * KIB)
    budget = LinkBudget(limits, lambda: 1.0)
    links = [Ends(limits=limits, budget=budget, is_early=True) for _ in range(3)]
    lengths = (20 * KIB, 90 * KIB, 30 * KIB)
    async with anyio.create_task_group() as tasks:
        for ends, length in zip(links, lengths, strict=True):
            tasks.start_soon(ends.run)
            await ends.give(THEIRS)
            await ends.give((length + 1).to_bytes(4, "big") + b"\x05" + b"\xff" * length)
            assert budget.early_bytes <= 100 * KIB
        assert budget.early_bytes == 50 * KIB
        for ends in links:
            ends.link.end("the test is over")
    assert [ends.reason for ends in links] == [
        "the test is over",
        "bitfields take too much memory before the metadata is known",
        "the test is over",
    ]
    assert budget.early_bytes == 0
    for ends in links:
        ends.theirs.close()


async def test_f11_the_transport_keeps_little_while_a_link_is_over_its_limit() -> None:
    transport, connection = MemoryTransport(), make_connection()
    limits = WireLimits(max_control_units_per_s=1e-9, max_shared_control_units_per_s=1)
    link = link_over(transport, connection, ManualClock(), limits)
    transport.incoming += THEIRS + NOTHING * 2_000
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run, lambda _events, _count: None)
        with anyio.fail_after(30):
            while not transport.narrowed:
                await anyio.lowlevel.checkpoint()
        assert transport.narrowed == [True]
        link.end("the test is over")


async def test_f11_bytes_one_by_one_that_complete_nothing_are_charged_as_messages() -> None:
    transport, connection = MemoryTransport(), make_connection()
    limits = WireLimits(max_control_units_per_s=1e-9, max_shared_control_units_per_s=1)
    link = link_over(transport, connection, ManualClock(), limits)
    reads = 0

    def receive_a_byte(target: memoryview) -> int:
        nonlocal reads
        reads += 1
        return receive_into(target[:1])

    receive_into, transport.receive_into = transport.receive_into, receive_a_byte
    transport.incoming += THEIRS + NOTHING * 1_000
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run, lambda _events, _count: None)
        with anyio.fail_after(30):
            while not transport.narrowed:
                await anyio.lowlevel.checkpoint()
        assert transport.narrowed == [True]
        assert reads <= 300
        link.end("the test is over")


async def test_f11_a_link_that_goes_on_in_another_run_keeps_more_than_little() -> None:
    transport, connection = MemoryTransport(), make_connection()
    limits = WireLimits(max_control_units_per_s=1e-9, max_shared_control_units_per_s=1)
    link = link_over(transport, connection, ManualClock(), limits)
    transport.incoming += THEIRS + NOTHING * 2_000
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run, lambda _events, _count: None)
        with anyio.fail_after(30):
            while not transport.narrowed:
                await anyio.lowlevel.checkpoint()
        link.detach()
    assert link.is_detached
    assert transport.narrowed == [True, False]


async def test_b4_who_asks_for_much_work_waits_for_it_and_gets_what_is_ready_before() -> None:
    transport, connection = MemoryTransport(), make_connection()
    limits = WireLimits(max_control_units_per_s=1e-9, max_shared_control_units_per_s=1)
    link = link_over(transport, connection, ManualClock(), limits)
    with anyio.fail_after(30):
        await link.pay(200)
    connection.sender.unchoke()
    assert not transport.taken
    with anyio.move_on_after(0.01) as scope:
        await link.pay(200)
    assert scope.cancelled_caught
    assert transport.taken
