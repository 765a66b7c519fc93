"""Interface of a peer connection's transport, and its implementation for TCP."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import anyio

from torrent_engine.base.config import ConnectionEncryption, TransportProtocol
from torrent_engine.net.sockets import vectored
from torrent_engine.net.sockets.tcp import close, plain_host

MAX_UNSENT_BYTES: Final = 256 * 1024
"""Ours: limit on bytes in the send buffer that were not sent yet (TCP_NOTSENT_LOWAT).

Without it the buffer accepts 4 MiB for a peer that does not read, which looks like throughput: 150
of them slowed an honest leech from 30 to 0.1 MiB/s for 15 s. Throughput over loopback is unchanged.
"""


ANY_ROOM: Final = 1 << 30
"""The room of a transport of which only the system knows how much it takes."""


class Transport(Protocol):
    """A non-blocking byte stream to one peer."""

    protocol: TransportProtocol
    encryption: ConnectionEncryption
    sends_by_kernel: bool
    """Whether only the kernel reads the bytes given to :meth:`send_some`.

    If not, views of mapped files must not be sent: if the file is truncated meanwhile, the process
    would get SIGBUS, while a system call fails with EFAULT.
    """

    @property
    def room_bytes(self) -> int:
        """How many bytes :meth:`send_some` takes now, or :data:`ANY_ROOM`.

        It is 0 where that would raise BlockingIOError. Blocks are read for no more than that.
        """

    def receive_into(self, target: memoryview, /) -> int:
        """Receive available bytes into the buffer; return how many, 0 at the end of the stream.

        Raises BlockingIOError if there are none, another OSError if the connection is closed.
        """

    def send_some(self, buffers: Sequence[bytes | memoryview], /) -> int:
        """Send as much of some buffers as possible; return the number of bytes.

        The rest must be offered again, unchanged, before anything else. Raises BlockingIOError if
        nothing can be sent, another OSError if the connection is closed.
        """

    def wait_readable(self) -> Awaitable[None]:
        """Wait until :meth:`receive_into` would not raise BlockingIOError."""

    def wait_writable(self) -> Awaitable[None]:
        """Wait until :meth:`send_some` would not raise BlockingIOError."""

    @property
    def local_host(self) -> str:
        """Our address; empty if unknown."""

    def narrow(self, *, is_narrow: bool) -> None:
        """Shrink the receive buffer while nothing is read, or restore it."""

    def close(self) -> None:
        """Close the stream; may be called twice."""


class TcpTransport:
    """A connected non-blocking TCP socket; its methods are the socket's, where it has them."""

    protocol = TransportProtocol.TCP
    encryption = ConnectionEncryption.NONE
    room_bytes = ANY_ROOM

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        _bound_unsent(sock)
        self.sends_by_kernel = vectored.HAS_SENDMSG
        self.receive_into: Callable[[memoryview], int] = sock.recv_into
        self.send_some: Callable[[Sequence[bytes | memoryview]], int] = partial(
            vectored.send_some, sock
        )
        self.wait_readable: Callable[[], Awaitable[None]] = partial(anyio.wait_readable, sock)
        self.wait_writable: Callable[[], Awaitable[None]] = partial(anyio.wait_writable, sock)

    @property
    def local_host(self) -> str:
        """Our address; empty if the socket is closed."""
        name: object = None
        with suppress(OSError):
            name = self._sock.getsockname()
        return plain_host(name[0]) if isinstance(name, tuple) else ""

    def narrow(self, *, is_narrow: bool) -> None:
        """Do nothing: the system limits the buffer."""

    def close(self) -> None:
        """Close the socket; may be called twice."""
        close(self._sock)


def receive_some(transport: Transport, max_bytes: int) -> bytes:
    """Return up to ``max_bytes`` available bytes; raise as :meth:`Transport.receive_into`."""
    buffer = bytearray(max_bytes)
    return bytes(buffer[: transport.receive_into(memoryview(buffer))])


async def wait_for_some(transport: Transport, max_bytes: int) -> bytes:
    """As :func:`receive_some`, once bytes are available."""
    while True:
        with suppress(BlockingIOError):  # a wait in an ``except`` keeps the exception's frames
            return receive_some(transport, max_bytes)
        await transport.wait_readable()


def _bound_unsent(sock: socket.socket) -> None:
    """Limit unsent bytes in the send buffer, if the system supports it."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, MAX_UNSENT_BYTES)
