"""Owns the UDP sockets on the listening port: one a listening address, shared by what speaks UDP.

Who gets a datagram is told by its first byte: a DHT message is a dictionary and begins with "d"
(BEP 5). Plain non-blocking sockets, read in batches. What cannot be sent is lost, as UDP may lose
it: no address that refuses, is unreachable or forbidden is an error for the others.
"""

import errno
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import Final, Protocol

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.streams import PORT_ATTEMPTS, bind_each, plain_host

logger = logging.getLogger(__name__)

MAX_DATAGRAM_BYTES: Final = 4 * 1024  # ours: longer ones are cut, and then no message of anybody
BATCH_DATAGRAMS: Final = 64  # ours: read before other tasks get their turn
FAULT_PAUSE_S: Final = 1.0  # ours: a socket that fails each time must not spin
DHT_FIRST_BYTES: Final = b"d"
_BUSY: Final = frozenset({errno.EADDRINUSE, errno.EACCES})
_OF_ONE_PEER: Final = frozenset(
    {
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EMSGSIZE,
        errno.EINTR,
        errno.EPERM,
    }
)  # ICMP answers to what was sent, as some systems tell the next reader of them


class DatagramHandler(Protocol):
    """Who takes the datagrams that begin with certain bytes."""

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Take one; it must not raise."""

    def batch_ended(self) -> None:
        """Hear that no further one is there at the moment: time to answer."""


class Datagrams:
    """Bound sockets of both families; :meth:`run` reads them, :meth:`send` may be called always."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = tuple(sockets)
        self._families: dict[bool, list[socket.socket]] = {False: [], True: []}
        for sock in sockets:
            self._families[sock.family == socket.AF_INET6].append(sock)
        self._handlers: dict[int, DatagramHandler] = {}
        self._came_in: Mapping[PeerAddress, socket.socket] = {}
        self.dropped_count = 0
        """Datagrams that could not be sent."""

    @property
    def port(self) -> int:
        """The port of the first socket; of all of them, unless it was taken on some address."""
        return int(self._sockets[0].getsockname()[1])

    def port_of(self, *, is_ipv6: bool) -> int | None:
        """Return the port of a family; None where there is no socket of it."""
        sockets = self._families[is_ipv6]
        return int(sockets[0].getsockname()[1]) if sockets else None

    def route(self, first_bytes: bytes, handler: DatagramHandler) -> None:
        """Give datagrams that begin with one of these bytes to ``handler`` from now on."""
        self._handlers |= dict.fromkeys(first_bytes, handler)

    def unroute(self, handler: DatagramHandler) -> None:
        """Drop from now on what ``handler`` took."""
        self._handlers = {byte: each for byte, each in self._handlers.items() if each != handler}

    # -- sending ----------------------------------------------------------------------------

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send to a literal address; False if it was lost on the way out of here.

        An answer, sent while the batch of its question is handled, leaves where that came in.
        """
        came_in = self._came_in.get(address)
        if came_in is not None and _send(came_in, data, address):
            return True
        for sock in self._best_first(address):
            if _send(sock, data, address):
                return True
        self.dropped_count += 1
        return False

    def _best_first(self, address: PeerAddress) -> Sequence[socket.socket]:
        """Return the sockets of the address's family; what cannot reach it stands behind."""
        sockets = self._families[":" in address.host]
        if len(sockets) < 2:
            return sockets
        is_local = _is_loopback(address.host)
        return sorted(sockets, key=lambda sock: _is_loopback(sock.getsockname()[0]) != is_local)

    # -- receiving --------------------------------------------------------------------------

    async def run(self) -> None:
        """Read all sockets until cancelled."""
        async with anyio.create_task_group() as tasks:
            for sock in self._sockets:
                tasks.start_soon(self._read, sock)

    async def _read(self, sock: socket.socket) -> None:
        while True:
            try:
                count = self._read_batch(sock)
            except OSError as error:
                logger.debug("receiving datagrams: %s", error)
                await anyio.sleep(FAULT_PAUSE_S)
                continue
            if count < BATCH_DATAGRAMS:
                await anyio.wait_readable(sock)
            else:
                await anyio.lowlevel.checkpoint()

    def _read_batch(self, sock: socket.socket) -> int:
        """Hand on what is there, at most a batch; return how many were read."""
        batch = _receive(sock)
        if len(self._sockets) > 1:
            self._came_in = {address: sock for _, address in batch}
        try:
            self._hand_on(batch)
        finally:
            self._came_in = {}
        return len(batch)

    def _hand_on(self, batch: Sequence[tuple[bytes, PeerAddress]]) -> None:
        concerned: dict[DatagramHandler, None] = {}
        for data, address in batch:
            handler = self._handlers.get(data[0]) if data else None
            if handler is not None:
                handler.receive_datagram(data, address)
                concerned[handler] = None
        for handler in concerned:
            handler.batch_ended()

    def close(self) -> None:
        """Close the sockets; :meth:`run` must have ended."""
        for sock in self._sockets:
            sock.close()


@asynccontextmanager
async def open_datagrams(hosts: Sequence[str], port: int) -> AsyncIterator[Datagrams]:
    """Bind ``port`` on every host, as :func:`bound_datagrams` does, and read until the end."""
    with bound_datagrams(hosts, port) as datagrams:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(datagrams.run)
            try:
                yield datagrams
            finally:
                tasks.cancel_scope.cancel()


@contextmanager
def bound_datagrams(hosts: Sequence[str], port: int) -> Iterator[Datagrams]:
    """Bind ``port`` on every host and close all of it at the end; nothing reads until ``run``.

    An address family that the host lacks is left out; where the port is taken all get another one,
    that the system chooses. Raises NetworkError if nothing can be bound.
    """
    datagrams = Datagrams(_bind_all(hosts, port))
    try:
        yield datagrams
    finally:
        datagrams.close()


def _bind_all(hosts: Sequence[str], port: int) -> list[socket.socket]:
    last_error: OSError | None = None
    for candidate in (port, *[0] * PORT_ATTEMPTS):
        try:
            return bind_each(hosts, candidate, _bind)
        except OSError as error:
            last_error = error
            if error.errno not in _BUSY:
                break
    raise NetworkError(f"cannot bind UDP port {port}: {last_error}") from last_error


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.settimeout(0.0)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _receive(sock: socket.socket) -> list[tuple[bytes, PeerAddress]]:
    """Return what is there, at most a batch. Raises OSError if the socket itself is at fault."""
    batch: list[tuple[bytes, PeerAddress]] = []
    for _ in range(BATCH_DATAGRAMS):
        try:
            data, address = sock.recvfrom(MAX_DATAGRAM_BYTES)
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno in _OF_ONE_PEER:
                continue
            if batch:
                break  # the next call fails again
            raise
        batch.append((data, PeerAddress(plain_host(address[0]), address[1])))
    return batch


def _send(sock: socket.socket, data: bytes, address: PeerAddress) -> bool:
    try:
        sock.sendto(data, address)
    except (OSError, OverflowError):  # OverflowError: a port that is none
        return False
    return True


def _is_loopback(host: str) -> bool:
    return ip_address(host.partition("%")[0]).is_loopback
