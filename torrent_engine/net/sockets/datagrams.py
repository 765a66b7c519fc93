"""UDP sockets of the listening port, shared by uTP, DHT and UDP trackers.

The first byte of a datagram selects its handler: a KRPC message begins with "d" (BEP 5), a response
of a UDP tracker with a zero (BEP 15), a uTP packet with its type and version (BEP 29). Datagrams
that cannot be sent are lost, without an error.
"""

import errno
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, Protocol, runtime_checkable

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.binding import UNBOUND, Binding
from torrent_engine.net.sockets.fairness import LOOP_TURN
from torrent_engine.net.sockets.tcp import PORT_ATTEMPTS, bind_each, close
from torrent_engine.net.sockets.udp_batches import (
    CoalescedDatagrams,
    DatagramParts,
    UdpSocket,
    is_loopback,
)

logger = logging.getLogger(__name__)

MAX_DATAGRAM_BYTES: Final = (
    4 * 1024
)  # ours: longer ones are truncated, and invalid for all handlers
FAULT_PAUSE_S: Final = 1.0  # ours: prevents a busy loop if a socket keeps failing
MAX_WAITING_BATCHES: Final = 16  # ours: batches read from each socket before timers are checked
MAX_WAITING_S: Final = 0.01  # ours: time limit of reading these batches
MAX_KNOWN_SOCKETS: Final = 4_000  # ours: remembered peers with the socket that they use
DHT_FIRST_BYTES: Final = b"d"
TRACKER_FIRST_BYTES: Final = b"\0"
UTP_FIRST_BYTES: Final = b"\x01\x11\x21\x31\x41"
_PORT_UNAVAILABLE: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


class DatagramHandler(Protocol):
    """Handler of datagrams that begin with certain bytes."""

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Process one datagram; must not raise."""

    def batch_ended(self) -> None:
        """Handle the end of a batch: no further datagram is waiting."""


@runtime_checkable
class CoalescedHandler(DatagramHandler, Protocol):
    """Handler of coalesced datagrams with their time of arrival."""

    def receive_coalesced(self, coalesced: CoalescedDatagrams) -> None:
        """Process coalesced datagrams of this handler; must not raise."""


class DatagramRelay(Protocol):
    """Interface of :class:`Datagrams` and of a proxy that relays UDP."""

    @property
    def port(self) -> int:
        """Our port."""

    def port_of(self, *, is_ipv6: bool) -> int | None:
        """Return the port of a family; None if nothing can be sent there."""

    def route(self, first_bytes: bytes, handler: DatagramHandler) -> None:
        """Deliver datagrams that begin with one of these bytes to ``handler`` from now on."""

    def unroute(self, handler: DatagramHandler) -> None:
        """Drop the datagrams of ``handler`` from now on."""

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send one datagram; return False if it is lost locally."""

    def send_packets(self, packets: Sequence[DatagramParts], address: PeerAddress) -> int:
        """Send unfragmented datagrams in order; return how many are sent or lost."""

    async def wait_writable(self, address: PeerAddress) -> None:
        """Wait until more can be sent; one task for each address family at a time."""

    def read_waiting(self) -> None:
        """Deliver at once what has already arrived."""


class Datagrams:
    """Bound sockets of both families; :meth:`run` reads them."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._use(tuple(UdpSocket(sock) for sock in sockets))
        self._reading: anyio.CancelScope | None = None
        self._handlers: dict[int, tuple[DatagramHandler, Callable[[CoalescedDatagrams], None]]] = {}
        self.dropped_count = 0
        """Datagrams that could not be sent."""

    def _use(self, sockets: tuple[UdpSocket, ...]) -> None:
        self.sockets = sockets
        self._families: dict[bool, list[UdpSocket]] = {False: [], True: []}
        for udp in sockets:
            self._families[udp.is_ipv6].append(udp)
        self._remembers_sockets = max(map(len, self._families.values())) > 1
        self._socket_of: dict[PeerAddress, UdpSocket] = {}

    def replace(self, old: socket.socket, new: socket.socket) -> None:
        """Use ``new`` in place of ``old``, which is closed; handlers notice nothing."""
        self._use(tuple(UdpSocket(new) if udp.sock is old else udp for udp in self.sockets))
        if self._reading is not None:
            self._reading.cancel()
        close(old)

    @property
    def port(self) -> int:
        """The port of the first socket, normally of all."""
        return self.sockets[0].port

    def port_of(self, *, is_ipv6: bool) -> int | None:
        """Return the port of a family; None without a socket."""
        sockets = self._families[is_ipv6]
        return sockets[0].port if sockets else None

    def route(self, first_bytes: bytes, handler: DatagramHandler) -> None:
        """Deliver datagrams that begin with one of these bytes to ``handler`` from now on."""
        receive_coalesced = (
            handler.receive_coalesced
            if isinstance(handler, CoalescedHandler)
            else _one_by_one(handler)
        )
        self._handlers |= dict.fromkeys(first_bytes, (handler, receive_coalesced))

    def unroute(self, handler: DatagramHandler) -> None:
        """Drop the datagrams of ``handler`` from now on."""
        self._handlers = {byte: each for byte, each in self._handlers.items() if each[0] != handler}

    # -- sending ----------------------------------------------------------------------------

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send to a literal address; return False if the datagram is lost locally.

        It is sent from the socket that the last datagram of the address arrived on.
        """
        for udp in self._sockets_for(address):
            if udp.send(data, address):
                return True
        self.dropped_count += 1
        return False

    def send_packets(self, packets: Sequence[DatagramParts], address: PeerAddress) -> int:
        """Send unfragmented datagrams in order; return how many are sent or lost.

        The rest can be sent after :meth:`wait_writable`.
        """
        sockets = self._sockets_for(address)
        if sockets:
            return sockets[0].send_packets(packets, address)
        self.dropped_count += len(packets)
        return len(packets)

    async def wait_writable(self, address: PeerAddress) -> None:
        """Wait until the socket for an address is writable; one task for each socket at a time."""
        for udp in self._sockets_for(address)[:1]:
            with suppress(anyio.ClosedResourceError):  # replaced
                await udp.wait_writable()

    def _sockets_for(self, address: PeerAddress) -> Sequence[UdpSocket]:
        """Return the sockets of an address's family, the preferred one first."""
        sockets = self._families[":" in address.host]
        if len(sockets) < 2:
            return sockets
        is_local = is_loopback(address.host)
        last_used = self._socket_of.get(address)
        return sorted(sockets, key=lambda udp: (udp is not last_used, udp.is_loopback != is_local))

    # -- receiving --------------------------------------------------------------------------

    async def run(self) -> None:
        """Read all sockets until cancelled, also those that replace others."""
        while True:
            with anyio.CancelScope() as self._reading:
                async with anyio.create_task_group() as tasks:
                    for udp in self.sockets:
                        tasks.start_soon(read_forever, udp, self._read_batch)
                    await anyio.sleep_forever()

    def read_waiting(self) -> None:
        """Deliver all received datagrams, so that no timer expires because of unread ones."""
        until_s = time.perf_counter() + MAX_WAITING_S
        for udp in self.sockets:
            with suppress(OSError):  # :meth:`run` handles it
                for _ in range(MAX_WAITING_BATCHES):
                    if not self._read_batch(udp) or time.perf_counter() > until_s:
                        break

    def _read_batch(self, udp: UdpSocket) -> bool:
        """Deliver up to a batch of datagrams; return whether there may be more."""
        batch, has_more = udp.receive()
        if self._remembers_sockets:
            for coalesced in batch:
                self._remember_socket(coalesced.address, udp)
        self.dispatch(batch)
        return has_more

    def dispatch(self, batch: Iterable[CoalescedDatagrams]) -> None:
        """Dispatch datagrams to their handlers by their first byte."""
        notified: dict[DatagramHandler, None] = {}
        for coalesced in batch:
            self._dispatch(coalesced, notified)
        for handler in notified:
            handler.batch_ended()

    def _remember_socket(self, address: PeerAddress, udp: UdpSocket) -> None:
        self._socket_of[address] = udp
        if len(self._socket_of) > MAX_KNOWN_SOCKETS:
            del self._socket_of[next(iter(self._socket_of))]

    def _dispatch(
        self, coalesced: CoalescedDatagrams, notified: dict[DatagramHandler, None]
    ) -> None:
        if not coalesced.data:
            return
        handlers = {
            self._handlers.get(first) for first in set(coalesced.data[:: coalesced.segment_bytes])
        }
        if len(handlers) > 1:
            for data in coalesced.datagrams():
                self._dispatch(
                    CoalescedDatagrams(data, len(data), coalesced.address, coalesced.waited_s),
                    notified,
                )
        elif (found := handlers.pop()) is not None:
            handler, receive_coalesced = found
            notified[handler] = None
            receive_coalesced(coalesced)

    def close(self) -> None:
        """Close the sockets; :meth:`run` must have ended."""
        for udp in self.sockets:
            udp.close()


async def read_forever(udp: UdpSocket, read_batch: Callable[[UdpSocket], bool]) -> None:
    """Call ``read_batch`` whenever the socket is readable, until cancelled.

    It returns whether there may be more; after an OSError there is a pause.
    """
    while True:
        if LOOP_TURN.is_over:
            await LOOP_TURN.pass_on()
        try:
            has_more = read_batch(udp)
        except OSError as error:
            logger.debug("cannot receive datagrams: %s", error)
            await anyio.sleep(FAULT_PAUSE_S)
            continue
        if has_more:
            await anyio.lowlevel.checkpoint()
        else:
            with suppress(anyio.ClosedResourceError):  # replaced: whoever did it cancels this, too
                await udp.wait_readable()


@asynccontextmanager
async def open_datagrams(hosts: Sequence[str], port: int) -> AsyncIterator[Datagrams]:
    """Bind ``port`` on every host as :func:`bound_datagrams`, and read until the block ends."""
    with bound_datagrams(hosts, port) as datagrams:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(datagrams.run)
            try:
                yield datagrams
            finally:
                tasks.cancel_scope.cancel()


@contextmanager
def bound_datagrams(hosts: Sequence[str], port: int) -> Iterator[Datagrams]:
    """Bind ``port`` on every host, and close the sockets at the end.

    Missing address families are skipped; if the port is in use, the system chooses another one for
    all. Raises NetworkError if nothing can be bound.
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
            return bind_each(hosts, candidate, bind_udp)
        except OSError as error:
            last_error = error
            if error.errno not in _PORT_UNAVAILABLE:
                break
    raise NetworkError(f"cannot bind UDP port {port}: {last_error}") from last_error


def bind_udp(host: str, port: int, binding: Binding = UNBOUND) -> socket.socket:
    """Return a non-blocking UDP socket bound to an address. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        binding.to_device(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.settimeout(0.0)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _one_by_one(handler: DatagramHandler) -> Callable[[CoalescedDatagrams], None]:
    def receive_coalesced(coalesced: CoalescedDatagrams) -> None:
        for data in coalesced.datagrams():
            handler.receive_datagram(data[:MAX_DATAGRAM_BYTES], coalesced.address)

    return receive_coalesced
