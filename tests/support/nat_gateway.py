"""A gateway that speaks NAT-PMP and PCP, written from the RFCs apart from the engine's own code.

Bytes in, bytes out (:class:`ScriptedGateway`), and on a socket (:func:`serve_gateway`).
"""

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

import anyio

UDP, TCP = 17, 6
NATPMP_TRANSPORTS = {1: UDP, 2: TCP}


def sixteen(host: str) -> bytes:
    ip = ip_address(host)
    return ip.packed if isinstance(ip, IPv6Address) else bytes(10) + b"\xff\xff" + ip.packed


@dataclass
class Opened:
    external_port: int
    lifetime_s: int
    nonce: bytes = b""


@dataclass
class ScriptedGateway:
    """One gateway; ``clock`` drives its epoch."""

    clock: Callable[[], float]
    speaks: tuple[str, ...] = ("PCP", "NAT-PMP")
    external_host: str = "203.0.113.7"
    lifetime_s: int = 7200
    """What it grants at most."""
    is_mute: bool = False
    result: int = 0
    """With which it refuses every mapping; 0: it does not."""
    refused_transports: tuple[int, ...] = ()
    refusal_lifetime_s: int = 60
    port_offset: int = 0
    """Added to the external port that it is asked for."""
    client_host: str = "192.168.1.2"
    """Who may ask (PCP compares)."""
    began_s: float = 0.0
    opened: dict[tuple[int, int], Opened] = field(default_factory=dict)
    """By transport and internal port."""
    requests: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began_s = self.clock() - 1000.0

    def restart(self, uptime_s: float = 0.0) -> None:
        self.opened.clear()
        self.began_s = self.clock() - uptime_s

    @property
    def epoch_s(self) -> int:
        return int(self.clock() - self.began_s)

    def answer(self, data: bytes) -> bytes | None:
        self.requests.append(data)
        if self.is_mute or len(data) < 2:
            return None
        if data[0] == 2:
            return self._pcp(data) if "PCP" in self.speaks else self._no_pcp(data)
        if "NAT-PMP" in self.speaks:
            return self._natpmp(data)
        return struct.pack("!BBxBII12x", 2, 0x80 | data[1], 1, 0, self.epoch_s)

    def _no_pcp(self, data: bytes) -> bytes | None:
        if "NAT-PMP" not in self.speaks:
            return None
        return struct.pack("!BBHI", 0, 128 | data[1], 1, self.epoch_s)

    # -- NAT-PMP ----------------------------------------------------------------------------

    def _natpmp(self, data: bytes) -> bytes:
        operation = data[1]
        if operation == 0:
            address = ip_address(self.external_host).packed
            return struct.pack("!BBHI4s", 0, 128, 0, self.epoch_s, address)
        _, _, internal, external, lifetime = struct.unpack("!BBxxHHI", data)
        transport = NATPMP_TRANSPORTS[operation]
        result = self._result(transport)
        granted = self._open(transport, internal, external, lifetime, b"") if not result else None
        port, lifetime = (granted.external_port, granted.lifetime_s) if granted else (0, 0)
        head = struct.pack("!BBHI", 0, 128 + operation, result, self.epoch_s)
        return head + struct.pack("!HHI", internal, port, lifetime)

    # -- PCP --------------------------------------------------------------------------------

    def _pcp(self, data: bytes) -> bytes:
        _, operation, lifetime, client = struct.unpack("!BBxxI16s", data[:24])
        result = 0 if client == sixteen(self.client_host) else 12
        if operation == 0:
            return self._pcp_head(operation, result, 0)
        nonce, transport, internal, external = struct.unpack("!12sBxxxHH", data[24:44])
        known = self.opened.get((transport, internal))
        if known is not None and known.nonce != nonce:
            result = 2
        result = result or self._result(transport)
        if result:
            return self._pcp_head(operation, result, self.refusal_lifetime_s) + data[24:60]
        granted = self._open(transport, internal, external, lifetime, nonce)
        port, lifetime = (granted.external_port, granted.lifetime_s) if granted else (0, 0)
        body = struct.pack("!12sBxxxHH", nonce, transport, internal, port)
        host = self.external_host if ":" not in self.client_host else self.client_host
        return self._pcp_head(operation, 0, lifetime) + body + sixteen(host)

    def _pcp_head(self, operation: int, result: int, lifetime_s: int) -> bytes:
        return struct.pack("!BBxBII12x", 2, 0x80 | operation, result, lifetime_s, self.epoch_s)

    def _result(self, transport: int) -> int:
        if self.refused_transports:
            return self.result if transport in self.refused_transports else 0
        return self.result

    def _open(
        self, transport: int, internal: int, external: int, lifetime: int, nonce: bytes
    ) -> Opened | None:
        if not lifetime:
            self.opened.pop((transport, internal), None)
            return None
        port = (external or internal) + self.port_offset
        opened = Opened(port, min(lifetime, self.lifetime_s), nonce)
        self.opened[transport, internal] = opened
        return opened


@asynccontextmanager
async def serve_gateway(gateway: ScriptedGateway, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Answer on a UDP port of ``host``; yields the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.setblocking(False)

        async def serve() -> None:
            while True:
                await anyio.wait_readable(sock)
                data, address = sock.recvfrom(2048)
                answer = gateway.answer(data)
                if answer is not None:
                    sock.sendto(answer, address)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            yield int(sock.getsockname()[1])
            tasks.cancel_scope.cancel()
