"""Owns one peer's transport: moves bytes between it and a PeerConnection, and knows no message.

The receive loop is the hot path of a download, :meth:`PeerLink.flush` that of an upload.
"""

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import Final, Protocol

import anyio
import anyio.lowlevel

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.link_budget import LinkBudget
from torrent_engine.net.loop_turn import LOOP_TURN
from torrent_engine.net.transport import Transport
from torrent_engine.protocol.wire.connection import PeerConnection
from torrent_engine.protocol.wire.messages import PeerEvent

READS_PER_TURN: Final = 8  # full reads before other tasks get their turn
PACE_STEP_S: Final = 0.05  # ours: of a low rate, what leaves at once
MIN_PACE_BYTES: Final = 256


class Gate(Protocol):
    """What may hold back reading: the queue of the disk."""

    full: bool

    async def wait_for_room(self) -> None:
        """Return when reading may go on."""


class Throttle(Protocol):
    """A share of a limited rate, in one direction."""

    @property
    def pace_bytes_per_s(self) -> float:
        """How fast what is allowed may leave; 0: at once."""

    def take(self, wanted_bytes: int) -> int:
        """Return how many bytes may move now, at most ``wanted_bytes``; they count as moved."""

    async def acquire(self, wanted_bytes: int) -> int:
        """Do the same, but wait until it is one byte at least."""

    def give_back(self, count_bytes: int) -> None:
        """Return what was allowed and did not move."""


class Refill(Enum):
    """What a block source did when a link had nothing left to send."""

    NOTHING = auto()
    """There is nothing to send."""
    QUEUED = auto()
    """Blocks were queued at the connection."""
    LATER = auto()
    """Blocks are there, but not at once: await :meth:`BlockSource.load`."""


class BlockSource(Protocol):
    """Where the payload comes from that one peer asked for."""

    def refill(self) -> Refill:
        """Queue blocks at the connection, if that is possible without waiting."""

    def rest(self) -> None:
        """Hear that all blocks are sent and none is asked for."""

    async def load(self) -> None:
        """Wait for the disk or for the rate limit, then queue blocks at the connection."""


class PeerLink:
    """Drives one connection over one transport until either side ends it."""

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
        """What the source asks for its blocks; here it only says how fast they leave."""
        self.close_reason: str | None = None
        self.is_detached = False
        """:meth:`run` was ended, and the transport kept."""
        self.transport = transport
        self.sends_by_kernel = transport.sends_by_kernel
        self._gate = gate
        self._budget = budget
        self._allowance = budget.allowance()
        self._held_bytes = self._early_bytes = 0
        self._clock = clock
        limits = connection.limits
        self._max_unsent_bytes = limits.max_unsent_bytes // 2  # and what was on its way before
        self._min_read_bytes = limits.min_read_bytes
        self._sent_bytes = 0
        self._pending: list[bytes | memoryview] = []
        self._is_blocked = False
        self._is_fed = False
        """The source was asked for more since it was last told to rest."""
        self._waiting: Callable[[], Awaitable[None]] | None = None
        self._stuck_since_s: float | None = None
        """Since when the socket has not taken all that waits for it, nor much of it."""
        self._stuck_from_bytes = 0
        """How much had been sent by then."""
        self._is_held_back = self._was_held_back = False
        """There is, or was, something to read, and the throttle is waited for."""
        self._is_waiting_to_read = False
        """The disk has no room, or the peer said too much."""
        self._paced_until_s = 0.0
        """Until then the pace does not let more go."""
        self._wake = anyio.Event()
        self._scope = anyio.CancelScope()

    async def run(self, on_events: Callable[[list[PeerEvent], int], None]) -> str:
        """Move bytes until the link ends, and return why it did; the transport is closed then.

        ``on_events`` gets what each read completed and the number of bytes that it brought. After
        :meth:`detach` it is open still, and this may be called again.
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
            self._is_blocked = True  # nobody may send any more
            if not self.is_detached:
                self.close()
        return self.close_reason or "closed"

    def detach(self) -> None:
        """End :meth:`run`, and keep the transport for the next."""
        self.is_detached = True
        self._scope.cancel()

    def _attach(self) -> None:
        self.is_detached = self._is_blocked = False
        self._waiting = self._stuck_since_s = None
        self._wake = anyio.Event()
        self._scope = anyio.CancelScope()

    def set_gate(self, gate: Gate) -> None:
        """Let something else hold back reading."""
        self._gate = gate

    def close(self) -> None:
        """Close the transport; twice is harmless."""
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
        """Send what is queued, as far as the socket takes it; the rest follows by itself."""
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
                    or self._waiting is not None  # it loads
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
        """End the link if too much waits for it beside payload (row B5)."""
        if self.connection.unsent_bytes > self._max_unsent_bytes:
            self.end("it does not read what it makes us say")

    def _note_full(self) -> None:
        """Wait until the socket takes more."""
        if self._stuck_since_s is None:
            self._stuck_since_s, self._stuck_from_bytes = self._clock(), self._sent_bytes
        if self._waiting is None:
            self._block(self._wait_writable)

    def was_held_back(self) -> bool:
        """Tell whether reading waits for its throttle, or did since this was asked last."""
        was, self._was_held_back = self._was_held_back, self._is_held_back
        return was

    def timed_out(self, now: float) -> str | None:
        """Return why the link is to be ended for lack of progress, or None (row B5).

        To be called every few seconds; it queues keep-alives.
        """
        connection = self.connection
        is_read = not (self._is_held_back or self._is_waiting_to_read)
        reason = connection.timed_out(now, is_read=is_read)
        self._hold(connection.held_bytes)
        self._hold_early(connection.early.held_bytes)
        if reason is None and self.stuck_s(now) > connection.limits.unread_timeout_s:
            return "it reads nothing"
        return reason

    def stuck_s(self, now: float) -> float:
        """Return for how long the socket has taken next to nothing of what waits for it.

        It is tried once more: a large send buffer counts as writable only when much of it is free,
        and so not for a long time with a peer that reads slowly.
        """
        if self._stuck_since_s is None or not self._pending:
            return 0.0
        try:
            self._send(self._pending)
        except BlockingIOError:
            pass
        except OSError as error:
            self.end(error.strerror or str(error))
            return 0.0
        if not self._pending or self._sent_bytes - self._stuck_from_bytes >= self._min_read_bytes:
            self._stuck_since_s, self._stuck_from_bytes = now, self._sent_bytes
        return now - self._stuck_since_s

    def _send(self, pending: list[bytes | memoryview]) -> bool:
        """Send what the socket takes; False: nothing now, the pace of a rate limit is kept."""
        throttle = self.upload_throttle
        if throttle is not None and (bytes_per_s := throttle.pace_bytes_per_s):
            return self._send_at_pace(pending, bytes_per_s)
        sent = self.transport.send_some(pending)
        self._sent_bytes += sent
        self._forget_sent(pending, sent)
        return True

    def _send_at_pace(self, pending: list[bytes | memoryview], bytes_per_s: float) -> bool:
        now = self._clock()
        if self._paced_until_s > now:
            self._block(self._wait_for_pace)
            return False
        step = max(int(bytes_per_s * PACE_STEP_S), MIN_PACE_BYTES)
        sent = self.transport.send_some([memoryview(pending[0])[:step]])
        self._sent_bytes += sent
        self._stuck_since_s = None  # it takes what the pace lets out
        self._forget_sent(pending, sent)
        self._paced_until_s = max(self._paced_until_s, now - PACE_STEP_S) + sent / bytes_per_s
        return True

    async def _wait_for_pace(self) -> None:
        await anyio.sleep(max(self._paced_until_s - self._clock(), 0.0))

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
            pending[0] = memoryview(pending[0])[sent:]

    def _refill(self, source: BlockSource) -> bool:
        """Ask for more to send, or let the source rest; return whether there is any at once."""
        self._is_fed = bool(self.connection.upload_requests)
        if not self._is_fed:
            source.rest()
            return False
        state = source.refill()
        if state is Refill.LATER:
            self._block(source.load)
        return state is Refill.QUEUED or self.connection.has_data_to_send

    def _block(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._is_blocked = True
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

    async def _read(  # noqa: C901, PLR0912 - the hot loop
        self, on_events: Callable[[list[PeerEvent], int], None]
    ) -> None:
        # By the design's figures waiting costs 10 us, and a saturated transfer hardly ever waits:
        # the socket is tried first. A checkpoint each few reads lets the other peers have a turn.
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
                    if self.download_throttle is None:
                        count = receive_into(connection.receive_buffer())
                    else:
                        count = await self._receive_limited(self.download_throttle)
                except BlockingIOError:
                    await self.transport.wait_readable()
                    continue
                except OSError as error:
                    self.end(error.strerror or str(error))
                    break
                if not count:
                    self.end("closed by the peer")
                    break
                events = connection.bytes_received(count, now=self._clock())
            on_events(events, count)
            if connection.held_bytes != self._held_bytes:
                self._hold(connection.held_bytes)
            if connection.is_violated:
                self.end("protocol violated")
                break
            self.flush()
            reads += 1
            if connection.control_units:
                await self._pay_for_control()
            if reads >= READS_PER_TURN:
                reads = 0
                await anyio.lowlevel.checkpoint()

    async def _pause(self, waiting: Awaitable[None]) -> None:
        """Do not read meanwhile."""
        self._is_waiting_to_read = True
        try:
            await waiting
        finally:
            self._is_waiting_to_read = False

    async def _pay_for_control(self) -> None:
        """Let others have a turn after messages beside payload; a longer one after too many."""
        connection = self.connection
        self._hold_early(connection.early.held_bytes)
        units, connection.control_units = connection.control_units, 0
        moved_bytes = connection.received_bytes + self._sent_bytes
        wait_s = self._allowance.charge(units, moved_bytes, self._clock())
        if wait_s:
            self.transport.narrow(is_narrow=True)
            await self._pause(anyio.sleep(wait_s))
            self.transport.narrow(is_narrow=False)
        elif connection.has_unparsed:
            await anyio.lowlevel.checkpoint()

    async def _receive_limited(self, throttle: Throttle) -> int:
        """Receive as much as a rate limit lets in, as soon as that is one byte."""
        await self.transport.wait_readable()  # do not hold a share that others could use
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
