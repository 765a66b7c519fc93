"""UDP through a SOCKS5 proxy.

Source: RFC 1928 sections 4 and 7. It has the interface of :class:`Datagrams`. While the relay is
down, sent datagrams are lost; it is re-established with backoff.
"""

import logging
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import chain, groupby
from typing import Final

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError, ProxyError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.proxy.proxy import Proxy
from torrent_engine.net.proxy.socks import receive
from torrent_engine.net.sockets.binding import DEVICE_CHECK_INTERVAL_S, UNBOUND, Binding
from torrent_engine.net.sockets.datagrams import (
    MAX_WAITING_BATCHES,
    MAX_WAITING_S,
    TRACKER_FIRST_BYTES,
    DatagramHandler,
    Datagrams,
    read_forever,
)
from torrent_engine.net.sockets.tcp import close
from torrent_engine.net.sockets.udp_batches import CoalescedDatagrams, DatagramParts, UdpSocket
from torrent_engine.policy.addresses import is_dialable
from torrent_engine.protocol.socks_udp import decode_datagram, encode_header

logger = logging.getLogger(__name__)

ASSOCIATE_TIMEOUT_S: Final = 30.0  # ours
FIRST_RETRY_S: Final = 1.0  # ours: after a refusal, doubled with each
MAX_RETRY_S: Final = 60.0  # ours
MAX_BATCH_S: Final = 0.01  # ours: a batch with a flood of forged senders took 0.4 s
MAX_CACHED_HEADERS: Final = 4_000  # ours: addresses whose headers are cached
_DISCONNECTED: Final = (OSError, ValueError, anyio.ClosedResourceError, anyio.BrokenResourceError)


class SocksDatagrams:
    """UDP through one proxy; :meth:`run` maintains the relay."""

    def __init__(self, proxy: Proxy, *, binding: Binding = UNBOUND) -> None:
        self._proxy = proxy
        self._binding = binding
        self._handlers = Datagrams(())
        self._udp: UdpSocket | None = None
        self._relay = PeerAddress("", 0)
        self._rest: Iterator[CoalescedDatagrams] | None = None
        """What is left of a batch that took longer than a turn."""
        self._has_more = False
        self._headers: dict[PeerAddress, bytes] = {}
        self._waiting = anyio.Lock()
        self.dropped_count = 0
        """Datagrams that could not be sent."""

    @property
    def is_up(self) -> bool:
        """Whether the relay is established."""
        return self._udp is not None

    @property
    def port(self) -> int:
        """Zero: no incoming traffic is possible."""
        return 0

    def port_of(self, *, is_ipv6: bool) -> int | None:
        """Return zero: both families may be reachable."""
        return 0

    def route(self, first_bytes: bytes, handler: DatagramHandler) -> None:
        """Deliver datagrams that begin with one of these bytes to ``handler`` from now on."""
        self._handlers.route(first_bytes, handler)

    def unroute(self, handler: DatagramHandler) -> None:
        """Drop the datagrams of ``handler`` from now on."""
        self._handlers.unroute(handler)

    # -- sending ----------------------------------------------------------------------------

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send to a literal address or a name; return False if the datagram is lost locally."""
        with suppress(ProxyError):
            if self._udp is not None and self._udp.send(self._header(address) + data, self._relay):
                return True
        self.dropped_count += 1
        return False

    def send_packets(self, packets: Sequence[DatagramParts], address: PeerAddress) -> int:
        """Send unfragmented datagrams in order; return how many are sent or lost."""
        with suppress(ProxyError):
            if self._udp is not None:
                before = self._header(address)
                wrapped = [(before + header, payload) for header, payload in packets]
                return self._udp.send_packets(wrapped, self._relay)
        self.dropped_count += len(packets)
        return len(packets)

    async def wait_writable(self, address: PeerAddress) -> None:
        """Wait until more can be sent."""
        async with self._waiting:
            if self._udp is not None:
                with suppress(*_DISCONNECTED):
                    await self._udp.wait_writable()

    def _header(self, address: PeerAddress) -> bytes:
        header = self._headers.get(address)
        if header is None:
            if len(self._headers) >= MAX_CACHED_HEADERS:
                self._headers.clear()
            header = self._headers[address] = encode_header(*address)
        return header

    # -- receiving --------------------------------------------------------------------------

    def read_waiting(self) -> None:
        """Deliver all received datagrams at once, for a few milliseconds."""
        until_s = time.perf_counter() + MAX_WAITING_S
        for _ in range(MAX_WAITING_BATCHES):
            try:
                if self._udp is None or not self._read_batch(self._udp):
                    return
            except OSError:  # :meth:`run` handles it
                return
            if time.perf_counter() > until_s:
                return

    def _read_batch(self, udp: UdpSocket) -> bool:
        """Deliver a batch, or as much as a turn of the loop may take; return if there may be more.

        The rest comes first the next time.
        """
        if self._rest is None:
            batch, self._has_more = udp.receive()
            self._rest = chain.from_iterable(
                self._unwrap(each) for each in batch if each.address == self._relay
            )
        self._handlers.dispatch(self._for_a_turn(self._rest))
        return self._has_more or self._rest is not None

    def _for_a_turn(self, rest: Iterator[CoalescedDatagrams]) -> Iterator[CoalescedDatagrams]:
        until_s = time.perf_counter() + MAX_BATCH_S
        for each in rest:
            yield each
            if time.perf_counter() > until_s:
                return
        self._rest = None

    def _unwrap(self, coalesced: CoalescedDatagrams) -> Iterator[CoalescedDatagrams]:
        """Remove the proxy's headers; consecutive datagrams of one sender stay together.

        Those of senders that are no addresses are dropped, except to trackers: these are asked by
        name, and may answer by it.
        """
        found = filter(None, map(self._decode, coalesced.datagrams()))
        for (sender, _), group in groupby(found, key=lambda each: (each[0], len(each[1]))):
            payloads = [payload for _, payload in group]
            if not is_dialable(sender):
                payloads = [each for each in payloads if each[:1] == TRACKER_FIRST_BYTES]
                if not payloads:
                    continue
            yield CoalescedDatagrams(
                b"".join(payloads), len(payloads[0]), sender, coalesced.waited_s
            )

    def _decode(self, datagram: bytes) -> tuple[PeerAddress, bytes] | None:
        try:
            sender, begin = decode_datagram(datagram)
        except ProxyError as error:
            logger.debug("%s", error)
            return None
        payload = datagram[begin:]
        return (sender, payload) if payload else None

    # -- association ------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep a UDP association with the proxy until cancelled."""
        delay_s = FIRST_RETRY_S
        while True:
            try:
                async with self._associated() as (link, udp):
                    delay_s = FIRST_RETRY_S
                    await self._relay_until_closed(link, udp)
                logger.info("the UDP association has ended")
            except NetworkError as error:
                level = logging.WARNING if delay_s == FIRST_RETRY_S else logging.DEBUG
                logger.log(level, "UDP ASSOCIATE failed: %s", error)
            await anyio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_RETRY_S)

    @asynccontextmanager
    async def _associated(self) -> AsyncIterator[tuple[socket.socket, UdpSocket]]:
        """Yield the TCP connection of an association, and the UDP socket of its relay."""
        link, self._relay = await self._proxy.associate(ASSOCIATE_TIMEOUT_S)
        try:
            with self._socket_to(self._relay) as sock:
                self._rest = None
                self._udp = udp = UdpSocket(sock)
                yield link, udp
        finally:
            self._udp = None
            close(link)

    @contextmanager
    def _socket_to(self, relay: PeerAddress) -> Iterator[socket.socket]:
        family = socket.AF_INET6 if ":" in relay.host else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                sock.settimeout(0.0)
                self._binding.apply(sock)
                yield sock
            finally:
                close(sock)
        except OSError as error:
            raise NetworkError(f"UDP socket to the proxy: {error}") from error

    async def _relay_until_closed(self, link: socket.socket, udp: UdpSocket) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_forever, udp, self._read_batch)
            with suppress(*_DISCONNECTED):
                await self._wait_closed(link)
            tasks.cancel_scope.cancel()

    async def _wait_closed(self, link: socket.socket) -> None:
        """Wait until the proxy closes the connection, or our device is deleted."""
        while self._binding.is_current(link):
            with anyio.move_on_after(DEVICE_CHECK_INTERVAL_S):
                if await receive(link, 1):  # RFC 1928 has nothing to be sent there
                    logger.debug("the proxy sent bytes on the connection of a UDP association")
                return
