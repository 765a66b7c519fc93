"""Owns the UDP sockets on the listening port: one a listening address, shared by what speaks UDP.

Who gets a datagram is told by its first byte: a DHT message is a dictionary and begins with "d"
(BEP 5), an answer of a UDP tracker with a zero (BEP 15), a packet of uTP with its type and version
(BEP 29). What cannot be sent is lost, as UDP may lose it: no address that refuses, is unreachable
or forbidden is an error for the others.
"""

import errno
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, Protocol

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.binding import UNBOUND, Binding
from torrent_engine.net.loop_turn import LOOP_TURN
from torrent_engine.net.streams import PORT_ATTEMPTS, bind_each
from torrent_engine.net.udp_batches import Packet, Train, UdpSocket, is_loopback

logger = logging.getLogger(__name__)

MAX_DATAGRAM_BYTES: Final = 4 * 1024  # ours: longer ones are cut, and then no message of anybody
FAULT_PAUSE_S: Final = 1.0  # ours: a socket that fails each time must not spin
MAX_WAITING_BATCHES: Final = 16  # ours: read before timers are looked at, of each socket
MAX_HOMES: Final = 4_000  # ours: peers of whom it is known which of several sockets they use
DHT_FIRST_BYTES: Final = b"d"
TRACKER_FIRST_BYTES: Final = b"\0"
UTP_FIRST_BYTES: Final = b"\x01\x11\x21\x31\x41"
_BUSY: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


class DatagramHandler(Protocol):
    """Who takes the datagrams that begin with certain bytes."""

    def receive_datagram(self, data: bytes, address: PeerAddress) -> None:
        """Take one; it must not raise."""

    def batch_ended(self) -> None:
        """Hear that no further one is there at the moment: time to answer."""


class TrainHandler(DatagramHandler, Protocol):
    """Who wants them as they came: many at once, and with their time."""

    def receive_train(self, train: Train) -> None:
        """Take datagrams that all begin with bytes of this handler; it must not raise."""


class DatagramRelay(Protocol):
    """What speaks UDP needs of :class:`Datagrams`, or of what stands in its place."""

    @property
    def port(self) -> int:
        """The port at which we are reached."""

    def port_of(self, *, is_ipv6: bool) -> int | None:
        """Return the port of a family; None if nothing can be sent there."""

    def route(self, first_bytes: bytes, handler: DatagramHandler) -> None:
        """Give datagrams that begin with one of these bytes to ``handler`` from now on."""

    def unroute(self, handler: DatagramHandler) -> None:
        """Drop from now on what ``handler`` took."""

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send one; False if it was lost on the way out of here."""

    def send_packets(self, packets: Sequence[Packet], address: PeerAddress) -> int:
        """Send several that must not be cut; return how many are off our hands."""

    async def wait_writable(self, address: PeerAddress) -> None:
        """Wait until more can be sent there; one task an address family at a time."""

    def read_waiting(self) -> None:
        """Hand on at once what has come already."""


class Datagrams:
    """Bound sockets of both families; :meth:`run` reads them, :meth:`send` may be called always."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.sockets = tuple(UdpSocket(sock) for sock in sockets)
        self._families: dict[bool, list[UdpSocket]] = {False: [], True: []}
        for udp in self.sockets:
            self._families[udp.is_ipv6].append(udp)
        self._takers: dict[int, tuple[DatagramHandler, Callable[[Train], None]]] = {}
        self._remembers_homes = max(map(len, self._families.values())) > 1
        self._homes: dict[PeerAddress, UdpSocket] = {}
        self.dropped_count = 0
        """Datagrams that could not be sent."""

    @property
    def port(self) -> int:
        """The port of the first socket; of all of them, unless it was taken on some address."""
        return self.sockets[0].port

    def port_of(self, *, is_ipv6: bool) -> int | None:
        """Return the port of a family; None where there is no socket of it."""
        sockets = self._families[is_ipv6]
        return sockets[0].port if sockets else None

    def route(self, first_bytes: bytes, handler: DatagramHandler) -> None:
        """Give datagrams that begin with one of these bytes to ``handler`` from now on."""
        receive_train = getattr(handler, "receive_train", None) or _one_by_one(handler)
        self._takers |= dict.fromkeys(first_bytes, (handler, receive_train))

    def unroute(self, handler: DatagramHandler) -> None:
        """Drop from now on what ``handler`` took."""
        self._takers = {byte: each for byte, each in self._takers.items() if each[0] != handler}

    # -- sending ----------------------------------------------------------------------------

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send to a literal address; False if it was lost on the way out of here.

        It leaves where the last datagram from there came in, so that it is known as an answer.
        """
        for udp in self._best_first(address):
            if udp.send(data, address):
                return True
        self.dropped_count += 1
        return False

    def send_packets(self, packets: Sequence[Packet], address: PeerAddress) -> int:
        """Send datagrams that must not be cut; return how many are sent or lost, the first ones.

        If those are not all, the system takes more as soon as :meth:`wait_writable` returns.
        """
        sockets = self._best_first(address)
        if sockets:
            return sockets[0].send_packets(packets, address)
        self.dropped_count += len(packets)
        return len(packets)

    async def wait_writable(self, address: PeerAddress) -> None:
        """Wait until the socket for an address takes more; one task at a time for each of them."""
        for udp in self._best_first(address)[:1]:
            await udp.wait_writable()

    def _best_first(self, address: PeerAddress) -> Sequence[UdpSocket]:
        """Return the sockets of the address's family; what cannot reach it stands behind."""
        sockets = self._families[":" in address.host]
        if len(sockets) < 2:
            return sockets
        is_local = is_loopback(address.host)
        home = self._homes.get(address)
        return sorted(sockets, key=lambda udp: (udp is not home, udp.is_loopback != is_local))

    # -- receiving --------------------------------------------------------------------------

    async def run(self) -> None:
        """Read all sockets until cancelled."""
        async with anyio.create_task_group() as tasks:
            for udp in self.sockets:
                tasks.start_soon(read_forever, udp, self._read_batch)

    def read_waiting(self) -> None:
        """Hand on what has come already, so that no timer fires for want of having read it."""
        for udp in self.sockets:
            with suppress(OSError):  # :meth:`run` meets it too
                for _ in range(MAX_WAITING_BATCHES):
                    if not self._read_batch(udp):
                        break

    def _read_batch(self, udp: UdpSocket) -> bool:
        """Hand on what is there, at most a batch; return whether there may be more."""
        batch, has_more = udp.receive()
        if self._remembers_homes:
            for train in batch:
                self._remember_home(train.address, udp)
        self.hand_on(batch)
        return has_more

    def hand_on(self, batch: Iterable[Train]) -> None:
        """Give datagrams, wherever they came from, to who takes them."""
        concerned: dict[DatagramHandler, None] = {}
        for train in batch:
            self._hand_on(train, concerned)
        for handler in concerned:
            handler.batch_ended()

    def _remember_home(self, address: PeerAddress, udp: UdpSocket) -> None:
        self._homes[address] = udp
        if len(self._homes) > MAX_HOMES:
            del self._homes[next(iter(self._homes))]

    def _hand_on(self, train: Train, concerned: dict[DatagramHandler, None]) -> None:
        if not train.data:
            return
        takers = {self._takers.get(first) for first in set(train.data[:: train.segment_bytes])}
        if len(takers) > 1:
            for data in train.datagrams():
                self._hand_on(Train(data, len(data), train.address, train.waited_s), concerned)
        elif (taker := takers.pop()) is not None:
            handler, receive_train = taker
            concerned[handler] = None
            receive_train(train)

    def close(self) -> None:
        """Close the sockets; :meth:`run` must have ended."""
        for udp in self.sockets:
            udp.close()


async def read_forever(udp: UdpSocket, read_batch: Callable[[UdpSocket], bool]) -> None:
    """Have ``read_batch`` called when something is there, until cancelled.

    It returns whether there may be more; an OSError of it is waited out.
    """
    while True:
        if LOOP_TURN.is_over:
            await LOOP_TURN.pass_on()
        try:
            has_more = read_batch(udp)
        except OSError as error:
            logger.debug("receiving datagrams: %s", error)
            await anyio.sleep(FAULT_PAUSE_S)
            continue
        if has_more:
            await anyio.lowlevel.checkpoint()
        else:
            await udp.wait_readable()


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
            return bind_each(hosts, candidate, bind_udp)
        except OSError as error:
            last_error = error
            if error.errno not in _BUSY:
                break
    raise NetworkError(f"cannot bind UDP port {port}: {last_error}") from last_error


def bind_udp(host: str, port: int, binding: Binding = UNBOUND) -> socket.socket:
    """Return a non-blocking UDP socket on an address. Raises OSError if that cannot be."""
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


def _one_by_one(handler: DatagramHandler) -> Callable[[Train], None]:
    def receive_train(train: Train) -> None:
        for data in train.datagrams():
            handler.receive_datagram(data[:MAX_DATAGRAM_BYTES], train.address)

    return receive_train
