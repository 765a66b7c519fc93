"""A uTP connection as a peer transport.

Source: BEP 29.
"""

import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from torrent_engine.base.config import ConnectionEncryption, TransportProtocol
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.tcp import plain_host
from torrent_engine.policy.limits.packet_budget import PacketCredit
from torrent_engine.protocol.utp.connection import UtpConnection, UtpState

if TYPE_CHECKING:
    from torrent_engine.net.sockets.udp_batches import DatagramParts

LINGER_S: Final = 10.0  # ours: time limit for sending the rest after close()
_DISCARDED = memoryview(bytearray(64 * 1024))


class Carrier(Protocol):
    """Interface of the service that sends and receives packets of a connection."""

    clock: Callable[[], float]

    def flush(self, transport: "UtpTransport") -> None:
        """Send its pending packets."""


class UtpTransport:
    """A stream over a uTP connection; its carrier moves the packets."""

    protocol = TransportProtocol.UTP
    encryption = ConnectionEncryption.NONE
    sends_by_kernel = False

    def __init__(self, connection: UtpConnection, address: PeerAddress, carrier: Carrier) -> None:
        self.connection = connection
        self.address = address
        self.unsent: list[DatagramParts] = []
        """Packets of the connection that the socket has not accepted yet."""
        self.lingers_until_s: float | None = None
        """After close(): when undelivered data is dropped."""
        self.packets = 0
        """Received packets not charged yet."""
        self.credit = PacketCredit()
        self.slot: int | None = None
        """Its slot in the timer wheel."""
        self.receive_into: Callable[[memoryview], int] = self._receive_into
        self.send_some: Callable[[Sequence[bytes | memoryview]], int] = self._send_some
        self.wait_readable: Callable[[], Awaitable[None]] = self._wait_readable
        self.wait_writable: Callable[[], Awaitable[None]] = self._wait_writable
        self._carrier = carrier
        self._waiting: list[tuple[Callable[[], bool], anyio.Event]] = []

    @property
    def is_closed(self) -> bool:
        """Whether we closed it."""
        return self.lingers_until_s is not None

    @property
    def is_connected(self) -> bool:
        """Whether the peer has responded."""
        return self.connection.state is not UtpState.SYN_SENT

    @property
    def local_host(self) -> str:
        """Our source address for the peer; empty without a route."""
        family = socket.AF_INET6 if ":" in self.address.host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(self.address)
                return plain_host(probe.getsockname()[0])
        except (OSError, OverflowError):
            return ""

    @property
    def room_bytes(self) -> int:
        """How many bytes are taken now."""
        return self.connection.room_bytes

    def timer(self) -> float | None:
        """Return the next timer."""
        timer = self.connection.timer()
        if self.lingers_until_s is None:
            return timer
        return self.lingers_until_s if timer is None else min(timer, self.lingers_until_s)

    # -- as a stream ------------------------------------------------------------------------

    def _receive_into(self, target: memoryview) -> int:
        self._check_open()
        count = self.connection.receive_into(target)
        self._carrier.flush(self)  # the peer may wait for a window update
        return count

    def _send_some(self, buffers: Sequence[bytes | memoryview]) -> int:
        self._check_open()
        count = self.connection.send(buffers)
        self._carrier.flush(self)
        return count

    async def _wait_readable(self) -> None:
        await self._wait(lambda: self.connection.is_readable)

    async def _wait_writable(self) -> None:
        await self._wait(lambda: self.connection.is_writable)

    async def wait_connected(self) -> None:
        """Wait until the dial has succeeded or failed."""
        await self._wait(lambda: self.is_connected)

    def narrow(self, *, is_narrow: bool) -> None:
        """Shrink the receive window, or restore it."""
        self.connection.narrow(is_narrow=is_narrow)

    def close(self) -> None:
        """Close the stream after queued data; may be called twice."""
        if self.is_closed:
            return
        now = self._carrier.clock()
        self.lingers_until_s = now + LINGER_S
        self.connection.close(now)
        self._carrier.flush(self)
        self.notify()

    def _check_open(self) -> None:
        if self.is_closed:
            raise OSError(errno.EBADF, "closed")

    async def _wait(self, is_done: Callable[[], bool]) -> None:
        while not (is_done() or self.is_closed or self.connection.has_ended):
            entry = (is_done, anyio.Event())
            self._waiting.append(entry)
            try:
                await entry[1].wait()
            finally:
                self._waiting.remove(entry)

    # -- for the carrier --------------------------------------------------------------------

    def notify(self) -> None:
        """Wake the tasks whose condition is met."""
        is_over = self.is_closed or self.connection.has_ended
        for is_done, event in self._waiting:
            if is_over or is_done():
                event.set()

    def discard(self) -> None:
        """After close(), discard received data, so that the peer can finish."""
        connection = self.connection
        try:
            while connection.is_readable and connection.receive_into(_DISCARDED):
                pass
        except OSError:
            pass
