"""Driver of one peer connection, between a transport and a PeerConnection.

The receive loop is the hot path of a download, :meth:`PeerLink.flush` that of an upload.
"""

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from itertools import takewhile
from typing import Final, Protocol

import anyio
import anyio.lowlevel

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.peers.link_budget import LinkBudget
from torrent_engine.net.peers.transport import Transport
from torrent_engine.net.sockets.fairness import LOOP_TURN
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import PeerEvent

READS_PER_TURN: Final = 8  # full reads before other tasks run
SMALL_READ_BYTES: Final = (
    256  # ours: a shorter read without a complete message is charged as a message
)
NOTHING_YET: Final = -1
PACE_STEP_S: Final = 0.05  # ours: length of one step at a low rate
MIN_PACE_BYTES: Final = 256
PACE_CHECK_S: Final = 0.25  # ours: a rate may be changed during the step before


class Gate(Protocol):
    """Backpressure on reading: the disk queue."""

    full: bool

    async def wait_for_room(self) -> None:
        """Wait until reading may continue."""


class Throttle(Protocol):
    """A share of a limited rate, in one direction."""

    @property
    def pace_bytes_per_s(self) -> float:
        """Rate at which granted bytes are sent; 0: at once."""

    def take(self, wanted_bytes: int) -> int:
        """Return how many bytes may move now, at most ``wanted_bytes``; they count as moved."""

    async def acquire(self, wanted_bytes: int) -> int:
        """Wait until at least one byte may move, and return how many."""

    def give_back(self, count_bytes: int) -> None:
        """Return granted bytes that were not moved."""


def control_of(pending: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the buffers before the first block; blocks are views, all else is bytes."""
    return list(takewhile(lambda each: not isinstance(each, memoryview), pending))


class Refill(Enum):
    """The result of :meth:`BlockSource.refill`."""

    NOTHING = auto()
    """There is nothing to send."""
    QUEUED = auto()
    """Blocks were queued at the connection."""
    LATER = auto()
    """Blocks need a wait: await :meth:`BlockSource.load`."""


class BlockSource(Protocol):
    """The source of the blocks requested by one peer."""

    def refill(self, room_bytes: int) -> Refill:
        """Queue blocks for which there is room, one at least, without waiting."""

    def rest(self) -> None:
        """Give back what is kept for the next blocks, because all that were queued are sent."""

    async def load(self) -> None:
        """Wait for the disk or for the rate limit, then queue blocks at the connection."""


class PeerLink:
    """The driver of one connection over one transport."""

    def __init__(
        self,
        transport: Transport,
        address: PeerAddress,
        connection: PeerConnection,
        *,
        gate: Gate,
        budget: LinkBudget,
        clock: Callable[[], float],
    ) -> None:
        self.address = address
        self.connection = connection
        self.source: BlockSource | None = None
        self.download_throttle: Throttle | None = None
        """None costs nothing on the hot path."""
        self.upload_throttle: Throttle | None = None
        """The throttle of the block source; it also sets the pace of sending."""
        self.close_reason: str | None = None
        self.is_detached = False
        """:meth:`run` ended, with the transport still open."""
        self.transport = transport
        self.sends_by_kernel = transport.sends_by_kernel
        self._gate = gate
        self._budget = budget
        self._allowance = budget.allowance()
        self._held_bytes = self._early_bytes = 0
        self._clock = clock
        limits = connection.limits
        self._max_unsent_bytes = (
            limits.max_unsent_bytes // 2
        )  # the rest is for bytes already in transit
        self._min_read_bytes = limits.min_read_bytes
        self._sent_bytes = 0
        self._pending: list[bytes | memoryview] = []
        self._is_blocked = False
        self._is_fed = False
        """Whether the source was refilled since its last rest."""
        self._waiting: Callable[[], Awaitable[None]] | None = None
        self._stuck_since_s: float | None = None
        """Since when the socket has accepted next to nothing of the pending bytes."""
        self._stuck_from_bytes = 0
        """Bytes sent by then."""
        self._is_held_back = self._was_held_back = False
        """Reading waits, or waited, for the throttle."""
        self._is_waiting_to_read = False
        """Whether reading pauses, for the disk queue or after too many control messages."""
        self._paced_until_s = 0.0
        """No sending before this time."""
        self._wake = anyio.Event()
        self._scope = anyio.CancelScope()

    async def run(self, on_events: Callable[[list[PeerEvent], int], None]) -> str:
        """Move bytes until the link ends, close the transport, and return the reason.

        ``on_events`` receives the events of each read and the number of bytes. After
        :meth:`detach` the transport stays open, and this may be called again.
        """
        if self.is_detached:
            self._attach()
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write_when_possible)
                    self.flush()
                    await self._read(on_events)
                    tasks.cancel_scope.cancel()
        finally:
            self._is_blocked = True  # no more sending
            if not self.is_detached:
                self.close()
        return self.close_reason or "closed"

    def detach(self) -> None:
        """End :meth:`run`, and keep the transport open."""
        self.is_detached = True
        self._scope.cancel()

    def _attach(self) -> None:
        self.is_detached = self._is_blocked = False
        self._waiting = self._stuck_since_s = None
        self._wake = anyio.Event()
        self._scope = anyio.CancelScope()

    def set_gate(self, gate: Gate) -> None:
        """Replace the gate that may hold back reading."""
        self._gate = gate

    def close(self) -> None:
        """Close the transport; may be called twice."""
        self._pending.clear()
        self._is_blocked = True
        self._hold(0)
        self._hold_early(0)
        self.connection.close()
        self.transport.close()

    def _hold(self, count_bytes: int) -> None:
        if count_bytes != self._held_bytes:
            self._held_bytes = count_bytes
            self._budget.hold(self, count_bytes)

    def _hold_early(self, count_bytes: int) -> None:
        if count_bytes != self._early_bytes:
            self._early_bytes = count_bytes
            self._budget.hold_early(self, count_bytes)

    def end(self, reason: str) -> None:
        """End the link; the first reason given is kept."""
        if self.close_reason is None:
            self.close_reason = reason
        self._scope.cancel()

    def flush(self) -> None:
        """Send queued data as far as the socket accepts it; the rest follows in the background."""
        connection, pending, source = self.connection, self._pending, self.source
        if self._is_blocked:
            self._check_unsent()
            return
        try:
            while True:
                if connection.has_data_to_send and not pending:
                    pending += connection.data_to_send()
                    connection.last_sent_s = self._clock()
                if pending:
                    if not self._send(pending):
                        return
                elif (
                    source is None
                    or self._waiting is not None  # loading, or sending a block in steps
                    or not (connection.upload_requests or self._is_fed)
                    or not self._refill(source)
                ):
                    self._stuck_since_s = None
                    return
        except BlockingIOError:
            self._note_full()
        except OSError as error:
            self.end(error.strerror or str(error))

    def _check_unsent(self) -> None:
        """End the link if too many unsent control bytes are queued (row B5)."""
        if self.connection.state.queue.unsent_bytes > self._max_unsent_bytes:
            self.end("it does not read the replies to its messages")

    def _note_full(self) -> None:
        """Wait until the socket is writable."""
        self._check_unsent()
        if self._stuck_since_s is None:
            self._stuck_since_s, self._stuck_from_bytes = self._clock(), self._sent_bytes
        if self._waiting is None:
            self._is_blocked = True
            self._wait_for(self._wait_writable)

    @property
    def is_blocked(self) -> bool:
        """Whether what is queued waits for the socket."""
        return self._is_blocked

    @property
    def waits_for_us(self) -> bool:
        """Whether what is to be sent waits for our rate limit or disk, not for the peer."""
        return self._waiting is not None and not self._is_blocked

    def was_held_back(self) -> bool:
        """Return whether reading was throttled since the last call."""
        was, self._was_held_back = self._was_held_back, self._is_held_back
        return was

    def timed_out(self, now: float) -> str | None:
        """Return why the link must end for lack of progress, or None (row B5).

        To be called every few seconds; it queues keep-alives.
        """
        connection = self.connection
        is_read = not (self._is_held_back or self._is_waiting_to_read)
        reason = connection.timed_out(now, is_read=is_read)
        self._hold(connection.held_bytes)
        self._hold_early(connection.state.pre_metadata.held_bytes)
        if reason is None and self.stuck_s(now) > connection.limits.unread_timeout_s:
            return "it does not read"
        return reason

    def stuck_s(self, now: float) -> float:
        """Return for how long the socket has accepted next to nothing of the pending bytes.

        Sending is tried once more, because a large send buffer of a slow peer counts as writable
        only when much of it is free.
        """
        if self._stuck_since_s is None:
            return 0.0
        try:
            if self._pending:
                self._send(self._pending)
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(error.strerror or str(error))
            return 0.0
        is_sent = not self._pending and self.transport.room_bytes > 0
        if is_sent or self._sent_bytes - self._stuck_from_bytes >= self._min_read_bytes:
            self._stuck_since_s, self._stuck_from_bytes = now, self._sent_bytes
        return now - self._stuck_since_s

    def _send(self, pending: list[bytes | memoryview]) -> bool:
        """Send as much as the socket accepts; return False if pacing permits nothing now."""
        throttle = self.upload_throttle
        if throttle is not None and (bytes_per_s := throttle.pace_bytes_per_s):
            return self._send_at_pace(pending, bytes_per_s)
        sent = self.transport.send_some(pending)
        self._sent_bytes += sent
        self._forget_sent(pending, sent)
        return True

    def _send_at_pace(self, pending: list[bytes | memoryview], bytes_per_s: float) -> bool:
        """Send a step of a block, or all of it if control messages are queued after it.

        Rate limits apply to payload only.
        """
        if self.connection.has_data_to_send or not isinstance(pending[0], memoryview):
            is_last = not self.connection.has_data_to_send
            sent = self.transport.send_some(control_of(pending) if is_last else pending)
            self._sent_bytes += sent
            self._forget_sent(pending, sent)
            return True
        now, step = self._clock(), max(int(bytes_per_s * PACE_STEP_S), MIN_PACE_BYTES)
        if self._paced_until_s > now:
            self._paced_until_s = min(self._paced_until_s, now + step / bytes_per_s)
            if self._waiting is None:
                self._wait_for(self._wait_for_pace)
            return False
        sent = self.transport.send_some([memoryview(pending[0])[:step]])
        self._sent_bytes += sent
        self._stuck_since_s = None  # the socket accepts what pacing permits
        self._forget_sent(pending, sent)
        self._paced_until_s = max(self._paced_until_s, now - PACE_STEP_S) + sent / bytes_per_s
        return True

    async def _wait_for_pace(self) -> None:
        await anyio.sleep(min(max(self._paced_until_s - self._clock(), 0.0), PACE_CHECK_S))

    @staticmethod
    def _forget_sent(pending: list[bytes | memoryview], sent: int) -> None:
        done = 0
        for buffer in pending:
            size = len(buffer)
            if sent < size:
                break
            sent -= size
            done += 1
        del pending[:done]
        if sent:
            pending[0] = pending[0][sent:]

    def _refill(self, source: BlockSource) -> bool:
        """Refill from the block source; return whether there is more to send at once.

        Raises BlockingIOError if the transport takes nothing now.
        """
        self._is_fed = bool(self.connection.upload_requests)
        if not self._is_fed:
            source.rest()
            return False
        room_bytes = self.transport.room_bytes
        if not room_bytes:  # what is read now would only be held
            source.rest()
            raise BlockingIOError
        state = source.refill(room_bytes)
        if state is Refill.LATER:
            self._wait_for(source.load)
        return state is Refill.QUEUED or self.connection.has_data_to_send

    def _wait_for(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait before the next refill; control messages are sent meanwhile."""
        self._waiting = wait
        self._wake.set()

    async def _wait_writable(self) -> None:
        await self.transport.wait_writable()

    async def _write_when_possible(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            if self._waiting is not None:
                await self._waiting()
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()
            self._waiting = None
            self._is_blocked = False
            self.flush()

    async def _read(  # noqa: C901, PLR0912, PLR0915 - the hot loop
        self, on_events: Callable[[list[PeerEvent], int], None]
    ) -> None:
        # Waiting costs 10 us and is rarely needed in a saturated transfer, so the socket is tried
        # first. A checkpoint every few reads lets the other peers run.
        connection, gate, receive_into = self.connection, self._gate, self.transport.receive_into
        reads = 0
        while self.close_reason is None:
            if gate.full and connection.outstanding:
                await self._pause(gate.wait_for_room())
            if LOOP_TURN.is_over:
                await LOOP_TURN.pass_on()
                reads = 0
            if connection.has_unparsed:
                count, events = 0, connection.parse_more(now=self._clock())
            else:
                try:
                    if self.download_throttle is None or not connection.awaits_blocks:
                        count = receive_into(connection.receive_buffer())
                    else:
                        count = await self._receive_limited(self.download_throttle)
                except BlockingIOError:
                    count = NOTHING_YET  # a wait here would keep the exception and its frames
                except OSError as error:
                    self.end(error.strerror or str(error))
                    break
                if count == NOTHING_YET:
                    await self.transport.wait_readable()
                    continue
                if not count:
                    self.end("closed by the peer")
                    break
                events = connection.bytes_received(count, now=self._clock())
                if count < SMALL_READ_BYTES and not events and self.download_throttle is None:
                    connection.state.control_units += 1
            on_events(events, count)
            del events  # they would be kept until more comes, with what their views are of
            if connection.held_bytes != self._held_bytes:
                self._hold(connection.held_bytes)
            if connection.is_violated:
                self.end("protocol violated")
                break
            self.flush()
            reads += 1
            if connection.state.control_units:
                await self._pay_for_control()
            if reads >= READS_PER_TURN:
                reads = 0
                await anyio.lowlevel.checkpoint()

    async def _pause(self, waiting: Awaitable[None]) -> None:
        """Pause reading while awaiting."""
        self._is_waiting_to_read = True
        try:
            await waiting
        finally:
            self._is_waiting_to_read = False

    async def pay(self, units: int) -> None:
        """Charge work for what this peer asked for as control messages; wait after too much.

        For :meth:`BlockSource.load`; what is queued is sent meanwhile.
        """
        if wait_s := self._charge(units):
            self.flush()
            await anyio.sleep(wait_s)

    def _charge(self, units: int) -> float:
        moved_bytes = self.connection.received_bytes + self._sent_bytes
        return self._allowance.charge(units, moved_bytes, self._clock())

    async def _pay_for_control(self) -> None:
        """Yield to other tasks after control messages, and pause after too many."""
        connection = self.connection
        self._hold_early(connection.state.pre_metadata.held_bytes)
        units, connection.state.control_units = connection.state.control_units, 0
        wait_s = self._charge(units)
        if wait_s:
            self.transport.narrow(is_narrow=True)
            try:
                await self._pause(anyio.sleep(wait_s))
            finally:  # it may go on in another run
                self.transport.narrow(is_narrow=False)
        elif connection.has_unparsed:
            await anyio.lowlevel.checkpoint()

    async def _receive_limited(self, throttle: Throttle) -> int:
        """Receive as much as the rate limit permits, at least one byte.

        Without outstanding blocks the limit does not apply: requests of a peer are no download.
        """
        await self.transport.wait_readable()  # reserve nothing while there is no data
        wanted, count = len(self.connection.receive_buffer()), 0
        granted = throttle.take(wanted)
        if not granted:
            self._is_held_back = self._was_held_back = True
            granted = await throttle.acquire(wanted)
            self._is_held_back = False
        try:
            count = self.transport.receive_into(self.connection.receive_buffer()[:granted])
        finally:
            throttle.give_back(granted - count)
        return count
