"""Owns the datagrams that go through a SOCKS5 proxy, and the connection for which it relays them.

Source: RFC 1928 sections 4 and 7. It stands where :class:`Datagrams` does for what speaks UDP.
While the proxy does not relay, what is sent is lost, as UDP may lose it; it is asked again and
again.
"""

import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import groupby
from typing import Final

import anyio
import anyio.lowlevel

from torrent_engine.base.errors import NetworkError, ProxyError
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.binding import UNBOUND, Binding
from torrent_engine.net.datagrams import (
    MAX_WAITING_BATCHES,
    DatagramHandler,
    Datagrams,
    read_forever,
)
from torrent_engine.net.proxy import Proxy
from torrent_engine.net.socks import receive
from torrent_engine.net.streams import close
from torrent_engine.net.udp_batches import Packet, Train, UdpSocket
from torrent_engine.protocol.socks_udp import decode_datagram, encode_header

logger = logging.getLogger(__name__)

ASSOCIATE_TIMEOUT_S: Final = 30.0  # ours
FIRST_RETRY_S: Final = 1.0  # ours: after a refusal, doubled with each
MAX_RETRY_S: Final = 60.0  # ours
KNOWN_ADDRESSES: Final = 4_000  # ours: whose headers are kept for the next datagram
_LINK_GONE: Final = (OSError, ValueError, anyio.ClosedResourceError, anyio.BrokenResourceError)


class SocksDatagrams:
    """Datagrams through one proxy; :meth:`run` keeps it relaying."""

    def __init__(self, proxy: Proxy, *, binding: Binding = UNBOUND) -> None:
        self._proxy = proxy
        self._binding = binding
        self._takers = Datagrams(())
        self._udp: UdpSocket | None = None
        self._relay = PeerAddress("", 0)
        self._headers: dict[PeerAddress, bytes] = {}
        self._waiting = anyio.Lock()
        self.dropped_count = 0
        """Datagrams that could not be sent."""

    @property
    def is_up(self) -> bool:
        """Whether the proxy relays at the moment."""
        return self._udp is not None

    @property
    def port(self) -> int:
        """Zero: nobody reaches us through the proxy without being asked first."""
        return 0

    def port_of(self, *, is_ipv6: bool) -> int | None:
        """Return zero: the proxy may reach both families."""
        return 0

    def route(self, first_bytes: bytes, handler: DatagramHandler) -> None:
        """Give datagrams that begin with one of these bytes to ``handler`` from now on."""
        self._takers.route(first_bytes, handler)

    def unroute(self, handler: DatagramHandler) -> None:
        """Drop from now on what ``handler`` took."""
        self._takers.unroute(handler)

    # -- sending ----------------------------------------------------------------------------

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send to a literal address or a name; False if it was lost on the way out of here."""
        with suppress(ProxyError):
            if self._udp is not None and self._udp.send(self._header(address) + data, self._relay):
                return True
        self.dropped_count += 1
        return False

    def send_packets(self, packets: Sequence[Packet], address: PeerAddress) -> int:
        """Send datagrams that must not be cut; return how many are sent or lost, the first ones."""
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
                with suppress(*_LINK_GONE):
                    await self._udp.wait_writable()

    def _header(self, address: PeerAddress) -> bytes:
        header = self._headers.get(address)
        if header is None:
            if len(self._headers) >= KNOWN_ADDRESSES:
                self._headers.clear()
            header = self._headers[address] = encode_header(*address)
        return header

    # -- receiving --------------------------------------------------------------------------

    def read_waiting(self) -> None:
        """Hand on at once what has come already."""
        for _ in range(MAX_WAITING_BATCHES):
            try:
                if self._udp is None or not self._read_batch(self._udp):
                    return
            except OSError:  # :meth:`run` meets it too
                return

    def _read_batch(self, udp: UdpSocket) -> bool:
        batch, has_more = udp.receive()
        self._takers.hand_on(
            inner
            for train in batch
            if train.address == self._relay
            for inner in self._out_of(train)
        )
        return has_more

    def _out_of(self, train: Train) -> Iterator[Train]:
        """Take the proxy's headers off; what follows each other from one sender stays together."""
        found = filter(None, map(self._opened, train.datagrams()))
        for (sender, _), group in groupby(found, key=lambda each: (each[0], len(each[1]))):
            payloads = [payload for _, payload in group]
            yield Train(b"".join(payloads), len(payloads[0]), sender, train.waited_s)

    def _opened(self, datagram: bytes) -> tuple[PeerAddress, bytes] | None:
        try:
            sender, begin = decode_datagram(datagram)
        except ProxyError as error:
            logger.debug("%s", error)
            return None
        payload = datagram[begin:]
        return (sender, payload) if payload else None

    # -- life -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Have the proxy relay, again whenever it stops, until cancelled."""
        delay_s = FIRST_RETRY_S
        while True:
            try:
                async with self._associated() as (link, udp):
                    delay_s = FIRST_RETRY_S
                    await self._relay_until_closed(link, udp)
                logger.info("the proxy relays datagrams no more")
            except NetworkError as error:
                level = logging.WARNING if delay_s == FIRST_RETRY_S else logging.DEBUG
                logger.log(level, "no datagrams: %s", error)
            await anyio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_RETRY_S)

    @asynccontextmanager
    async def _associated(self) -> AsyncIterator[tuple[socket.socket, UdpSocket]]:
        """Yield the connection for whose life the proxy relays, and the socket for datagrams."""
        link, self._relay = await self._proxy.associate(ASSOCIATE_TIMEOUT_S)
        try:
            with self._socket_to(self._relay) as sock:
                self._udp = udp = UdpSocket(sock)
                yield link, udp
        finally:
            self._udp = None
            close(link)

    @contextmanager
    def _socket_to(self, relay: PeerAddress) -> Iterator[socket.socket]:
        family = socket.AF_INET6 if ":" in relay.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.settimeout(0.0)
            self._binding.apply(sock)
            yield sock
        except OSError as error:
            raise NetworkError(f"datagrams to the proxy: {error}") from error
        finally:
            close(sock)

    async def _relay_until_closed(self, link: socket.socket, udp: UdpSocket) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_forever, udp, self._read_batch)
            with suppress(*_LINK_GONE):
                while await receive(link, 1):
                    pass
            tasks.cancel_scope.cancel()
