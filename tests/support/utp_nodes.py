"""Programs that speak uTP in this process, and bytes through their connections."""

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from struct import Struct

import anyio
import anyio.lowlevel

from torrent_engine.base.config import UtpConfig
from torrent_engine.base.ids import PeerAddress
from torrent_engine.net.peers.transport import Transport
from torrent_engine.net.sockets.datagrams import DatagramHandler, open_datagrams
from torrent_engine.net.utp.service import UtpService
from torrent_engine.net.utp.transport import UtpTransport

PATIENCE_S = 120.0
DATA, FIN, STATE, RESET, SYN = range(5)
HEADER = Struct(">BBHIIIHH")


@dataclass
class UtpNode:
    """One service, and the connections that others made to it."""

    service: UtpService
    address: PeerAddress
    accepted: list[UtpTransport] = field(default_factory=list)

    async def next_accepted(self) -> UtpTransport:
        """Wait for a connection, and take it."""
        with anyio.fail_after(PATIENCE_S):
            while not self.accepted:  # noqa: ASYNC110 - there is no event for it
                await anyio.sleep(0.002)
        return self.accepted.pop(0)


@asynccontextmanager
async def utp_node(
    config: UtpConfig | None = None, *, host: str = "127.0.0.1", seed: int = 1
) -> AsyncIterator[UtpNode]:
    """Run a service on a port of its own."""
    accepted: list[UtpTransport] = []
    async with open_datagrams((host,), 0) as datagrams, anyio.create_task_group() as tasks:
        service = UtpService(
            config or UtpConfig(),
            datagrams,
            clock=time.monotonic,
            rng=random.Random(seed),
            incoming=lambda transport, _: accepted.append(transport),
        )
        tasks.start_soon(service.run)
        yield UtpNode(service, PeerAddress(host, datagrams.port), accepted)
        tasks.cancel_scope.cancel()


async def send_all(transport: Transport, data: bytes) -> None:
    """Send everything."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[transport.send_some([rest[:65_536]]) :]
        except BlockingIOError:
            await transport.wait_writable()
        await anyio.lowlevel.checkpoint()


async def read_exactly(transport: Transport, count: int) -> bytes:
    """Read so many bytes, fewer if the stream ends before."""
    received, buffer = bytearray(), memoryview(bytearray(65_536))
    while len(received) < count:
        try:
            size = transport.receive_into(buffer[: count - len(received)])
        except BlockingIOError:
            await transport.wait_readable()
            continue
        if not size:
            break
        received += buffer[:size]
        await anyio.lowlevel.checkpoint()
    return bytes(received)


async def exchange(first: Transport, second: Transport, data: Sequence[bytes]) -> list[bytes]:
    """Send ``data[0]`` one way and ``data[1]`` the other at once; return what arrived."""
    arrived = [b"", b""]

    async def read(number: int, transport: Transport) -> None:
        arrived[number] = await read_exactly(transport, len(data[number]))

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_all, first, data[0])
            tasks.start_soon(send_all, second, data[1])
            tasks.start_soon(read, 0, second)
            tasks.start_soon(read, 1, first)
    return arrived


def packet(
    kind: int, connection_id: int, sequence: int = 1, acknowledged: int = 0, payload: bytes = b""
) -> bytes:
    """Return one packet, written by hand."""
    head = HEADER.pack(kind << 4 | 1, 0, connection_id, 1, 0, 65_536, sequence, acknowledged)
    return head + payload


def fields_of(data: bytes) -> tuple[int, int, int, int]:
    """Return type, connection id, sequence and acknowledged number of a packet."""
    kind, _, connection_id, *_, sequence, acknowledged = HEADER.unpack_from(data)
    return kind >> 4, connection_id, sequence, acknowledged


class ScriptedRelay:
    """Stands in place of the sockets: what is sent is in a list, and it can be full."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, PeerAddress]] = []
        self.fragmented: list[tuple[bytes, PeerAddress]] = []
        """Those of them that may be fragmented."""
        self.room: int | None = None
        """So many datagrams are still taken; None: all."""
        self.writable = anyio.Event()
        self.handler: DatagramHandler | None = None
        self.steps: list[str] = []
        self.port = 6881

    def port_of(self, *, is_ipv6: bool) -> int | None:
        return None if is_ipv6 else self.port

    def route(self, first_bytes: bytes, handler: DatagramHandler) -> None:
        assert first_bytes == b"\x01\x11\x21\x31\x41"
        self.handler = handler

    def unroute(self, handler: DatagramHandler) -> None:
        assert handler == self.handler
        self.handler = None

    def send(self, data: bytes, address: PeerAddress) -> bool:
        self.sent.append((data, address))
        self.fragmented.append((data, address))
        return True

    def send_packets(
        self, packets: Sequence[tuple[bytes, bytes | memoryview]], address: PeerAddress
    ) -> int:
        taken = len(packets) if self.room is None else min(len(packets), self.room)
        if self.room is not None:
            self.room -= taken
        self.sent += [(head + bytes(rest), address) for head, rest in packets[:taken]]
        return taken

    async def wait_writable(self, address: PeerAddress) -> None:
        self.steps.append(f"wait {address.port}")
        await self.writable.wait()

    def read_waiting(self) -> None:
        self.steps.append("read")
