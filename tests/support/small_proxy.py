"""A proxy of a few lines on loopback, written from the RFCs: SOCKS5, SOCKS4 with 4a, HTTP CONNECT.

It connects names and addresses to whatever :attr:`SmallProxy.places` says; everything else it
refuses. It can be told to answer any bytes instead, in pieces of any size.
"""

import base64
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import anyio.abc
import anyio.lowlevel

GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


@dataclass
class SmallProxy:
    """What it does, and what it was asked for."""

    kind: str = "socks5"
    places: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    """Where (host, port) really is."""
    username: str = ""
    password: str = ""
    says: bytes | None = None
    """Instead of any answer; then it hangs up."""
    is_silent: bool = False
    chunk_bytes: int = 1_000
    """Its answers come in pieces of this size."""
    early: bytes = b""
    """Sent at once behind the answer, as if the far end had spoken first."""
    relays_datagrams: bool = True
    asked: list[tuple[str, int]] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    datagrams_to: list[tuple[str, int]] = field(default_factory=list)
    associations: int = 0
    links: list[anyio.abc.SocketStream] = field(default_factory=list)
    host: str = "127.0.0.1"
    port: int = 0

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        self.links.append(stream)
        async with stream:
            with suppress(*GONE):
                if self.is_silent:
                    await anyio.sleep_forever()
                elif self.says is not None:
                    await stream.receive(1)
                    await self._say(stream, self.says)
                else:
                    await getattr(self, f"_{self.kind}")(stream)

    async def _say(self, stream: anyio.abc.SocketStream, data: bytes) -> None:
        for at in range(0, len(data), self.chunk_bytes):
            await stream.send(data[at : at + self.chunk_bytes])
            await anyio.lowlevel.checkpoint()

    # -- SOCKS5 (RFC 1928, RFC 1929) ------------------------------------------------------------

    async def _socks5(self, stream: anyio.abc.SocketStream) -> None:
        version, count = await _exactly(stream, 2)
        methods = await _exactly(stream, count)
        method = 2 if self.username else 0
        if version != 5 or method not in methods:
            await self._say(stream, b"\x05\xff")
            return
        await self._say(stream, bytes([5, method]))
        if method and not await self._logs_in(stream):
            return
        _, command, _, kind = await _exactly(stream, 4)
        target = await _socks5_address(stream, kind)
        if command == 3:
            await self._associate(stream)
        else:
            await self._connect(stream, target, b"\x05\x00\x00\x01\x7f\0\0\1\0\1", b"\x05\x04\0\1")

    async def _logs_in(self, stream: anyio.abc.SocketStream) -> bool:
        _, count = await _exactly(stream, 2)
        user = await _exactly(stream, count)
        password = await _exactly(stream, (await _exactly(stream, 1))[0])
        self.users.append(user.decode())
        is_right = (user.decode(), password.decode()) == (self.username, self.password)
        await self._say(stream, bytes([1, not is_right]))
        return is_right

    async def _associate(self, stream: anyio.abc.SocketStream) -> None:
        if not self.relays_datagrams:
            await self._say(stream, b"\x05\x07\x00\x01" + bytes(6))
            return
        self.associations += 1
        # Cancelled in between, none would close it; and of what is open at its end uvloop warns,
        # does not close it where warnings are errors, and waits for it for ever.
        with anyio.CancelScope(shield=True):
            inner = await anyio.create_udp_socket(local_host=self.host)
            outer = await anyio.create_udp_socket(local_host=self.host)
        async with inner, outer, anyio.create_task_group() as tasks:
            port = inner.extra(anyio.abc.SocketAttribute.local_port)
            await self._say(stream, b"\x05\x00\x00\x01" + bytes(4) + port.to_bytes(2))
            client: list[tuple[str, int]] = []
            tasks.start_soon(self._relay_out, inner, outer, client)
            tasks.start_soon(self._relay_back, inner, outer, client)
            with suppress(*GONE):
                await stream.receive(1)
            tasks.cancel_scope.cancel()

    async def _relay_out(self, inner, outer, client) -> None:
        async for data, sender in inner:
            client[:] = [sender]
            kind = data[3]
            end = {1: 8, 4: 20}.get(kind) or 5 + data[4]
            host = data[5:end].decode() if kind == 3 else str(ipaddress.ip_address(data[4:end]))
            target = host, int.from_bytes(data[end : end + 2])
            self.datagrams_to.append(target)
            with suppress(OSError):
                await outer.sendto(data[end + 2 :], *self.places.get(target, target))

    async def _relay_back(self, inner, outer, client) -> None:
        async for data, (host, port) in outer:
            head = b"\0\0\0\1" + socket.inet_aton(host) + port.to_bytes(2)
            if client:
                await inner.sendto(head + data, *client[0])

    # -- SOCKS4 and 4a --------------------------------------------------------------------------

    async def _socks4(self, stream: anyio.abc.SocketStream) -> None:
        head = await _exactly(stream, 8)
        self.users.append((await _until(stream, b"\0")).decode())
        host = str(ipaddress.ip_address(head[4:8]))
        if host.startswith("0.0.0.") and host != "0.0.0.0":
            host = (await _until(stream, b"\0")).decode()
        target = host, int.from_bytes(head[2:4])
        await self._connect(stream, target, b"\0\x5a" + bytes(6), b"\0\x5b" + bytes(6))

    # -- HTTP -----------------------------------------------------------------------------------

    async def _http(self, stream: anyio.abc.SocketStream) -> None:
        header = (await _until(stream, b"\r\n\r\n")).decode()
        host, _, port = header.split()[1].rpartition(":")
        given = [line.split()[-1] for line in header.split("\r\n") if "Authorization" in line]
        wanted = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if self.username and given != [wanted]:
            await self._say(stream, b"HTTP/1.1 407 No\r\n\r\n")
            return
        target = host.strip("[]"), int(port)
        refusal = b"HTTP/1.1 502 Unreachable\r\n\r\n"
        await self._connect(stream, target, b"HTTP/1.1 200 Yes\r\nVia: me\r\n\r\n", refusal)

    async def _connect(self, stream, target: tuple[str, int], yes: bytes, no: bytes) -> None:
        self.asked.append(target)
        if target not in self.places:
            await self._say(stream, no)
            return
        async with await anyio.connect_tcp(*self.places[target]) as far:
            await self._say(stream, yes + self.early)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_copy, stream, far, tasks)
                tasks.start_soon(_copy, far, stream, tasks)


async def _copy(source, sink, tasks) -> None:
    with suppress(*GONE):
        async for data in source:
            await sink.send(data)
    tasks.cancel_scope.cancel()


async def _exactly(stream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await stream.receive(count - len(data))
    return data


async def _until(stream, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += await stream.receive(1)
    return data[: -len(end)]


async def _socks5_address(stream, kind: int) -> tuple[str, int]:
    if kind == 3:
        host = (await _exactly(stream, (await _exactly(stream, 1))[0])).decode()
    else:
        host = str(ipaddress.ip_address(await _exactly(stream, {1: 4, 4: 16}[kind])))
    return host, int.from_bytes(await _exactly(stream, 2))


@asynccontextmanager
async def small_proxy(kind: str = "socks5", **options) -> AsyncIterator[SmallProxy]:
    """Run one until the block ends."""
    proxy = SmallProxy(kind, **options)
    listener = await anyio.create_tcp_listener(local_host=proxy.host)
    async with listener, anyio.create_task_group() as tasks:
        proxy.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, proxy.handle)
        yield proxy
        tasks.cancel_scope.cancel()
