"""One UDP socket with batched sends and receives.

On Linux one call sends or receives up to 64 datagrams of equal size (UDP_SEGMENT, UDP_GRO), with
receive timestamps; elsewhere one at a time. Source: udp(7), ip(7), socket(7) of Linux.
"""

import errno
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, NamedTuple

import anyio

from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.sockets.system import IS_LINUX
from torrent_engine.net.sockets.tcp import plain_host
from torrent_engine.net.sockets.udp_sources import Ancillary, UdpSources

MAX_READ_BYTES: Final = 64 * 1024  # the maximum of one call
MAX_SENT_BYTES: Final = 65_000  # ours: of one call; below the maximum of an IP packet
MAX_SEGMENTS: Final = 44  # ours: of the system's 64; at 1472 bytes they fill one call
BATCH_READS: Final = 64  # ours: read before other tasks run
BATCH_BYTES: Final = 512 * 1024  # ours: the same, of large ones
BATCH_DATAGRAMS: Final = 512  # ours: the same, for coalesced small ones
BUFFER_BYTES: Final = 4 * 1024 * 1024  # ours: requested; the system may grant less
MAX_WAITED_S: Final = 5.0  # ours: longer waits mean that the wall clock was changed
NANOSECOND_S: Final = 1e-9
MAX_SEGMENT_FAULTS: Final = 3  # ours: then segmentation is switched off

# Constants of Linux that Python's socket module lacks.
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_SO_TIMESTAMPNS: Final = 35
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER = 10, 23
_MAY_FRAGMENT, _DO_NOT_FRAGMENT = 0, 3  # IP_PMTUDISC_DONT, IP_PMTUDISC_PROBE
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
)  # ICMP errors for sent datagrams, which some systems report to the next read

_SocketAddress = tuple[str, int] | tuple[str, int, int, int]
DatagramParts = tuple[bytes, bytes | memoryview]
"""Header and payload of one datagram."""


class CoalescedDatagrams(NamedTuple):
    """Coalesced datagrams of one sender."""

    data: bytes
    """The datagrams, concatenated."""
    segment_bytes: int
    """The length of each; only the last may be shorter."""
    address: PeerAddress
    waited_s: float
    """Time between the system receiving them and the read."""

    def datagrams(self) -> list[bytes]:
        """Return the single datagrams."""
        step = self.segment_bytes
        return [self.data[at : at + step] for at in range(0, len(self.data), step)] or [b""]


class UdpSocket:
    """A bound non-blocking UDP socket; datagrams that cannot be sent are lost."""

    def __init__(self, sock: socket.socket, wall_clock: Callable[[], float] = time.time) -> None:
        self.sock = sock
        self.is_ipv6 = sock.family == socket.AF_INET6
        self.is_loopback = is_loopback(self.host)
        """Whether it is reachable from this machine only."""
        self._wall_clock = wall_clock
        self._sources = UdpSources(sock)
        self._buffer = memoryview(bytearray(MAX_READ_BYTES))
        self._addresses: dict[_SocketAddress, PeerAddress] = {}
        self._fragments = True
        self._segment_faults = 0
        self._reads_coalesced = self.can_segment = False
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        if IS_LINUX:
            self._use_coalescing()

    def _use_coalescing(self) -> None:
        with suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._reads_coalesced = True  # for timestamps, with or without UDP_GRO
        with suppress(OSError):
            self.sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        with suppress(OSError):
            self.sock.setsockopt(_SOL_UDP, _UDP_SEGMENT, 0)
            self.can_segment = True

    @property
    def host(self) -> str:
        """Its local address."""
        return str(self.sock.getsockname()[0])

    @property
    def port(self) -> int:
        """Its local port."""
        return int(self.sock.getsockname()[1])

    async def wait_readable(self) -> None:
        """Wait until the socket is readable."""
        await anyio.wait_readable(self.sock)

    async def wait_writable(self) -> None:
        """Wait until the socket is writable; at most one task at a time."""
        await anyio.wait_writable(self.sock)

    def close(self) -> None:
        """Close the socket; no task may be waiting for it."""
        self.sock.close()

    # -- sending ----------------------------------------------------------------------------

    def send(self, data: bytes, address: PeerAddress) -> bool:
        """Send one datagram; return False if it is lost locally."""
        if not self._fragments:
            self._allow_fragments(allowed=True)
        try:
            if source := self._sources.source_for(address):
                self.sock.sendmsg((data,), source, 0, address)
            else:
                self.sock.sendto(data, address)
        except BlockingIOError:
            return False
        except (OSError, OverflowError):  # OverflowError: an invalid port
            self._sources.forget(address)
            return False
        return True

    def send_packets(self, packets: Sequence[DatagramParts], address: PeerAddress) -> int:
        """Send unfragmented datagrams in order; return how many are sent or lost.

        The rest can be sent after :meth:`wait_writable`.
        """
        if self._fragments:
            self._allow_fragments(allowed=False)
        done, count, source = 0, len(packets), self._sources.source_for(address)
        while done < count:
            end = _run_end(packets, done) if self.can_segment else done + 1
            try:
                if end == done + 1:
                    self._send_alone(packets[done], address, source)
                else:
                    end = done + self._send_run(packets[done:end], address, source)
                    if end == done:
                        source = self._sources.source_for(address)
            except BlockingIOError:
                return done
            done = end
        return count

    def _send_alone(self, packet: DatagramParts, address: PeerAddress, source: Ancillary) -> None:
        try:
            if hasattr(self.sock, "sendmsg"):
                self.sock.sendmsg(packet, source, 0, address)
            else:
                self.sock.sendto(b"".join(packet), address)
        except BlockingIOError:
            raise
        except (OSError, OverflowError) as error:
            # Lost; this includes packets above the MTU.
            if isinstance(error, OSError) and error.errno != errno.EMSGSIZE:
                self._sources.forget(address)

    def _send_run(
        self, packets: Sequence[DatagramParts], address: PeerAddress, source: Ancillary
    ) -> int:
        """Send packets of equal size in one call; return how many are sent or lost.

        0 if the source may be an address that this machine has no longer; it is forgotten then.
        """
        size = len(packets[0][0]) + len(packets[0][1])
        buffers = [part for packet in packets for part in packet]
        ancillary = ((_SOL_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(size)), *source)
        try:
            self.sock.sendmsg(buffers, ancillary, 0, address)
        except BlockingIOError:
            raise
        except (OSError, OverflowError) as error:
            if not isinstance(error, OSError) or error.errno == errno.EMSGSIZE:
                return len(packets)
            if source:
                self._sources.forget(address)
                return 0
            if error.errno in {errno.EINVAL, errno.EIO}:
                self._segment_faults += 1
                self.can_segment = self._segment_faults < MAX_SEGMENT_FAULTS
                self._send_alone(packets[0], address, source)
                return 1
        return len(packets)

    def _allow_fragments(self, *, allowed: bool) -> None:
        """Allow or forbid fragmentation, if the system supports it."""
        self._fragments = allowed
        if IS_LINUX:
            level = socket.IPPROTO_IPV6 if self.is_ipv6 else socket.IPPROTO_IP
            option = _IPV6_MTU_DISCOVER if self.is_ipv6 else _IP_MTU_DISCOVER
            with suppress(OSError):
                self.sock.setsockopt(level, option, _MAY_FRAGMENT if allowed else _DO_NOT_FRAGMENT)

    # -- receiving --------------------------------------------------------------------------

    def receive(self) -> tuple[list[CoalescedDatagrams], bool]:
        """Return up to a batch of datagrams, and whether there may be more.

        Raises OSError if the socket fails.
        """
        batch: list[CoalescedDatagrams] = []
        room, datagrams = BATCH_BYTES, BATCH_DATAGRAMS
        for _ in range(BATCH_READS):
            try:
                coalesced = self._read()
            except BlockingIOError:
                return batch, False
            except OSError as error:
                if error.errno in _OF_ONE_PEER:
                    continue
                if batch:
                    break  # the next call fails again
                raise
            batch.append(coalesced)
            room -= len(coalesced.data)
            datagrams -= -(-len(coalesced.data) // coalesced.segment_bytes)
            if room <= 0 or datagrams <= 0:
                break
        return batch, True

    def _read(self) -> CoalescedDatagrams:
        if not self._reads_coalesced:
            count, sender = self.sock.recvfrom_into(self._buffer)
            return CoalescedDatagrams(
                bytes(self._buffer[:count]), max(count, 1), self._address(sender), 0.0
            )
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
        return CoalescedDatagrams(bytes(self._buffer[:count]), segment_bytes, address, waited_s)

    def _address(self, sender: _SocketAddress) -> PeerAddress:
        address = self._addresses.get(sender)
        if address is None:
            if len(self._addresses) >= _KNOWN_ADDRESSES:
                self._addresses.clear()
            address = self._addresses[sender] = PeerAddress(plain_host(sender[0]), sender[1])
        return address


_KNOWN_ADDRESSES: Final = 1_000  # ours: cached address objects


def is_loopback(host: str) -> bool:
    """Return whether a literal address is a loopback address."""
    return ip_address(host.partition("%")[0]).is_loopback


def _run_end(packets: Sequence[DatagramParts], begin: int) -> int:
    """Return the end of a run of packets of equal size; the last one may be shorter."""
    header, payload = packets[begin]
    size = len(header) + len(payload)
    last = min(len(packets), begin + max(min(MAX_SEGMENTS, MAX_SENT_BYTES // size), 1))
    for number in range(begin + 1, last):
        header, payload = packets[number]
        length = len(header) + len(payload)
        if length != size:
            return number + 1 if 0 < length < size else number
    return last
