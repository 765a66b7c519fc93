"""Owns what a link needs of whatever carries its bytes; and how a TCP socket is that."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import anyio

from torrent_engine.base.network_config import LinkEncryption, LinkProtocol
from torrent_engine.net import gather
from torrent_engine.net.streams import close, plain_host

MAX_UNSENT_BYTES: Final = 256 * 1024
"""Ours: of what the system takes of a peer beyond what it can send now.

Without it a peer that reads nothing is given 4 MiB, which looks like throughput: 150 of them took
an honest leech from 30 to 0.1 MiB/s for 15 s. Measured over loopback, 128 KiB to none: no slower.
"""


class Transport(Protocol):
    """A stream of bytes to one peer; it never blocks, as a non-blocking socket does not."""

    protocol: LinkProtocol
    encryption: LinkEncryption
    sends_by_kernel: bool
    """Whether only the kernel reads the bytes given to :meth:`send_some`.

    If not, no view of a mapped file may be sent: the process would end by SIGBUS when that file is
    cut short meanwhile, where a system call fails with EFAULT.
    """

    def receive_into(self, target: memoryview, /) -> int:
        """Take bytes that are there, and return how many; 0: the other side ended the stream.

        Raises BlockingIOError if none are there, another OSError if the connection is gone.
        """

    def send_some(self, buffers: Sequence[bytes | memoryview], /) -> int:
        """Send the first of some buffers, as far as they are taken, and return the bytes taken.

        What was not taken must be offered again, unchanged, before anything else. Raises
        BlockingIOError if nothing is, another OSError if the connection is gone.
        """

    def wait_readable(self) -> Awaitable[None]:
        """Return when :meth:`receive_into` would not raise BlockingIOError."""

    def wait_writable(self) -> Awaitable[None]:
        """Return when :meth:`send_some` would not."""

    @property
    def local_host(self) -> str:
        """Our own address of it; empty if it is not known."""

    def narrow(self, *, is_narrow: bool) -> None:
        """Keep little of what comes while nobody reads, or as much as usual again."""

    def close(self) -> None:
        """End it; twice is harmless."""


class TcpTransport:
    """A connected non-blocking TCP socket; its methods are the socket's, where it has them."""

    protocol = LinkProtocol.TCP
    encryption = LinkEncryption.NONE

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        _bound_unsent(sock)
        self.sends_by_kernel = gather.HAS_SENDMSG
        self.receive_into: Callable[[memoryview], int] = sock.recv_into
        self.send_some: Callable[[Sequence[bytes | memoryview]], int] = partial(
            gather.send_some, sock
        )
        self.wait_readable: Callable[[], Awaitable[None]] = partial(anyio.wait_readable, sock)
        self.wait_writable: Callable[[], Awaitable[None]] = partial(anyio.wait_writable, sock)

    @property
    def local_host(self) -> str:
        """Our end of it; empty if it is closed already."""
        name: object = None
        with suppress(OSError):
            name = self._sock.getsockname()
        return plain_host(name[0]) if isinstance(name, tuple) else ""

    def narrow(self, *, is_narrow: bool) -> None:
        """Do nothing: the system bounds what waits in it."""

    def close(self) -> None:
        """Close the socket; twice is harmless."""
        close(self._sock)


def receive_some(transport: Transport, max_bytes: int) -> bytes:
    """Return what is there, at most ``max_bytes``; raises as :meth:`Transport.receive_into`."""
    buffer = bytearray(max_bytes)
    return bytes(buffer[: transport.receive_into(memoryview(buffer))])


def _bound_unsent(sock: socket.socket) -> None:
    """Have the system take little more than it can send, where it can be told so."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, option, MAX_UNSENT_BYTES)
