"""Owns one UDP socket, and how many datagrams cross into the system and out of it in one call.

On Linux one call carries up to 64 equal datagrams each way (UDP_SEGMENT, UDP_GRO) and tells when
the system received them; elsewhere it is one at a time. Source: udp(7), ip(7), socket(7) of Linux.
"""

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, NamedTuple

import anyio

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.streams import plain_host
from torrent_engine.net.udp_sources import Ancillary, UdpSources

MAX_READ_BYTES: Final = 64 * 1024  # what one call can bring
MAX_SENT_BYTES: Final = 65_000  # ours: of one call; below what one IP packet can carry
MAX_SEGMENTS: Final = 44  # ours: of the system's 64; at 1472 bytes each they fill one call
BATCH_READS: Final = 64  # ours: read before other tasks get their turn
BATCH_BYTES: Final = 512 * 1024  # ours: the same, of large ones
BUFFER_BYTES: Final = 4 * 1024 * 1024  # ours: asked of the system, that gives what it allows
MAX_WAITED_S: Final = 5.0  # ours: a longer wait is a wall clock that was set
NANOSECOND_S: Final = 1e-9
MAX_SEGMENT_FAULTS: Final = 3  # ours: then each datagram is sent by itself

IS_LINUX: Final = sys.platform == "linux"
# Numbers of Linux, for which Python's socket module has no names.
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_SO_TIMESTAMPNS: Final = 35
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
_MAY_FRAGMENT, _DO_NOT_FRAGMENT = 1, 3  # as the system thinks; never, and it remembers no path
_ANCILLARY_BYTES: Final = 128
_SEGMENT_SIZE = struct.Struct("=H")
_GRO_SIZE = struct.Struct("=i")
_TIMESPEC = struct.Struct("@ll")

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

_SocketAddress = tuple[str, int] | tuple[str, int, int, int]
Packet = tuple[bytes, bytes | memoryview]
"""A header and what follows it, in one datagram."""


class Train(NamedTuple):
    """Datagrams of one sender that came together."""

    data: bytes
    """One behind the other."""
    segment_bytes: int
    """The length of each; only the last may be shorter."""
    address: PeerAddress
    waited_s: float
    """How long they had been here before they were read."""

    def datagrams(self) -> list[bytes]:
        """Return them one by one."""
        step = self.segment_bytes
        return [self.data[at : at + step] for at in range(0, len(self.data), step)] or [b""]


class UdpSocket:
    """A bound non-blocking socket; what cannot be sent is lost, as UDP may lose it."""

    def __init__(self, sock: socket.socket, wall_clock: Callable[[], float] = time.time) -> None:
        self.sock = sock
        self.is_ipv6 = sock.family == socket.AF_INET6
        self.is_loopback = is_loopback(self.host)
        """Whether only this machine reaches it."""
        self._wall_clock = wall_clock
        self._sources = UdpSources(sock)
        self._buffer = memoryview(bytearray(MAX_READ_BYTES))
        self._addresses: dict[_SocketAddress, PeerAddress] = {}
        self._fragments = True
        self._segment_faults = 0
        self._reads_trains = self.can_segment = False
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        if IS_LINUX:
            self._use_trains()

    def _use_trains(self) -> None:
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._reads_trains = True  # for its time, with or without UDP_GRO
        with suppress(OSError):
            self.sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        with suppress(OSError):
            self.sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
            self.can_segment = True

    @property
    def host(self) -> str:
        """The address that it is bound to."""
        return str(self.sock.getsockname()[0])

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.sock.getsockname()[1])

    async def wait_readable(self) -> None:
        """Wait until there is something to read."""
        await anyio.wait_readable(self.sock)

    async def wait_writable(self) -> None:
        """Wait until the system takes more; at most one task at a time."""
        await anyio.wait_writable(self.sock)

    def close(self) -> None:
        """Close it; nobody may wait for it any more."""
        self.sock.close()

    # -- sending ----------------------------------------------------------------------------

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send one datagram; False if it was lost on the way out of here."""
        if not self._fragments:
            self._let_fragment(allowed=True)
        try:
            if source := self._sources.source_for(address):
                self.sock.sendmsg((data,), source, 0, address)
            else:
                self.sock.sendto(data, address)
        except BlockingIOError:
            return False
        except (OSError, OverflowError):  # OverflowError: a port that is none
            self._sources.forget(address)
            return False
        return True

    def send_packets(self, packets: Sequence[Packet], address: PeerAddress) -> int:
        """Send datagrams that must not be cut on their way, the first ones first.

        Returns how many are off our hands, be it sent or lost; if that is not all, the system
        takes no more before :meth:`wait_writable` returns.
        """
        if self._fragments:
            self._let_fragment(allowed=False)
        done, count, source = 0, len(packets), self._sources.source_for(address)
        while done < count:
            end = _run_end(packets, done) if self.can_segment else done + 1
            try:
                if end == done + 1:
                    self._send_alone(packets[done], address, source)
                else:
                    end = done + self._send_run(packets[done:end], address, source)
            except BlockingIOError:
                return done
            done = end
        return count

    def _send_alone(self, packet: Packet, address: PeerAddress, source: Ancillary) -> None:
        try:
            if hasattr(self.sock, "sendmsg"):
                self.sock.sendmsg(packet, source, 0, address)
            else:
                self.sock.sendto(b"".join(packet), address)
        except BlockingIOError:
            raise
        except (OSError, OverflowError) as error:
            # Lost; of a packet that is too large, that is all there is to know.
            if isinstance(error, OSError) and error.errno != errno.EMSGSIZE:
                self._sources.forget(address)

    def _send_run(self, packets: Sequence[Packet], address: PeerAddress, source: Ancillary) -> int:
        """Send packets of one size in one call; return how many are off our hands."""
        size = len(packets[0][0]) + len(packets[0][1])
        buffers = [part for packet in packets for part in packet]
        ancillary = ((_SOL_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(size)), *source)
        try:
            self.sock.sendmsg(buffers, ancillary, 0, address)
        except BlockingIOError:
            raise
        except (OSError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno in {errno.EINVAL, errno.EIO}:
                self._segment_faults += 1
                self.can_segment = self._segment_faults < MAX_SEGMENT_FAULTS
                self._send_alone(packets[0], address, source)
                return 1
        return len(packets)

    def _let_fragment(self, *, allowed: bool) -> None:
        """Set whether what is sent may be cut on its way, where the system has such a choice."""
        self._fragments = allowed
        if IS_LINUX:
            level = socket.IPPROTO_IPV6 if self.is_ipv6 else socket.IPPROTO_IP
            option = _IPV6_MTU_DISCOVER if self.is_ipv6 else _IP_MTU_DISCOVER
            with suppress(OSError):
                self.sock.setsockopt(level, option, _MAY_FRAGMENT if allowed else _DO_NOT_FRAGMENT)

    # -- receiving --------------------------------------------------------------------------

    def receive(self) -> tuple[list[Train], bool]:
        """Return what is there, at most a batch, and whether there may be more.

        Raises OSError if the socket itself is at fault.
        """
        batch: list[Train] = []
        room = BATCH_BYTES
        for _ in range(BATCH_READS):
            try:
                train = self._read()
            except BlockingIOError:
                return batch, False
            except OSError as error:
                if error.errno in _OF_ONE_PEER:
                    continue
                if batch:
                    break  # the next call fails again
                raise
            batch.append(train)
            room -= len(train.data)
            if room <= 0:
                break
        return batch, True

    def _read(self) -> Train:
        if not self._reads_trains:
            count, sender = self.sock.recvfrom_into(self._buffer)
            return Train(bytes(self._buffer[:count]), max(count, 1), self._address(sender), 0.0)
        count, ancillary, _, sender = self.sock.recvmsg_into([self._buffer], _ANCILLARY_BYTES)
        segment_bytes, waited_s, address = max(count, 1), 0.0, self._address(sender)
        for level, kind, value in ancillary:
            if kind == _UDP_GRO and len(value) == _GRO_SIZE.size:
                segment_bytes = _GRO_SIZE.unpack(value)[0] or segment_bytes
            elif kind == _SO_TIMESTAMPNS and len(value) == _TIMESPEC.size:
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                waited_s = self._wall_clock() - seconds - nanoseconds * NANOSECOND_S
            else:
                self._sources.note(address, level, kind, value)
        if not 0.0 <= waited_s <= MAX_WAITED_S:
            waited_s = 0.0
        return Train(bytes(self._buffer[:count]), segment_bytes, address, waited_s)

    def _address(self, sender: _SocketAddress) -> PeerAddress:
        address = self._addresses.get(sender)
        if address is None:
            if len(self._addresses) >= _KNOWN_ADDRESSES:
                self._addresses.clear()
            address = self._addresses[sender] = PeerAddress(plain_host(sender[0]), sender[1])
        return address


_KNOWN_ADDRESSES: Final = 1_000  # ours: whose spelling is kept for their next datagram


def is_loopback(host: str) -> bool:
    """Tell whether a literal address is one of this machine alone."""
    return ip_address(host.partition("%")[0]).is_loopback


def _run_end(packets: Sequence[Packet], begin: int) -> int:
    """Return the end of those that one call carries: of one size, and one shorter at the end."""
    header, payload = packets[begin]
    size = len(header) + len(payload)
    last = min(len(packets), begin + max(min(MAX_SEGMENTS, MAX_SENT_BYTES // size), 1))
    for number in range(begin + 1, last):
        header, payload = packets[number]
        length = len(header) + len(payload)
        if length != size:
            return number + 1 if 0 < length < size else number
    return last
