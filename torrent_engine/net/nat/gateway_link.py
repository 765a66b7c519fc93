"""Driver of a NatClient on a UDP socket to one gateway.

The socket is connected: the system delivers only datagrams from the gateway's address and port.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from torrent_engine.base.errors import NetworkError
from torrent_engine.net.nat.gateway import Gateway
from torrent_engine.protocol.nat.client import NatClient
from torrent_engine.protocol.nat.events import NatEvent

MAX_DATAGRAM_BYTES: Final = 2_048  # longer than any response
BATCH_DATAGRAMS: Final = 16  # ours: datagrams read before other tasks run


class GatewayLink:
    """One client and its socket."""

    def __init__(
        self,
        client: NatClient,
        sock: socket.socket,
        clock: Callable[[], float],
        on_event: Callable[[NatEvent], None],
    ) -> None:
        self._client = client
        self._sock = sock
        self._clock = clock
        self._on_event = on_event

    async def run(self) -> None:
        """Exchange datagrams until the client is done."""
        client = self._client
        while not client.is_done:
            self._deliver(client.handle_timer(self._clock()))
            self._send()
            timer = client.get_timer()
            if timer is None:
                break
            with anyio.move_on_after(max(0.0, timer - self._clock())):
                await anyio.wait_readable(self._sock)
            self._receive()
        self._send()

    async def close(self, timeout_s: float) -> None:
        """Remove all mappings, also when cancelled, within ``timeout_s``."""
        self._client.stop(self._clock())
        with anyio.move_on_after(timeout_s, shield=True):
            await self.run()

    def _deliver(self, events: list[NatEvent]) -> None:
        for event in events:
            self._on_event(event)

    def _send(self) -> None:
        for datagram in self._client.datagrams_to_send():
            try:
                self._sock.send(datagram)
            except ConnectionRefusedError:
                self._deliver(self._client.port_unreachable(self._clock()))
            except OSError:
                return  # lost: the client retransmits it

    def _receive(self) -> None:
        for _ in range(BATCH_DATAGRAMS):
            try:
                data = self._sock.recv(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self._deliver(self._client.port_unreachable(self._clock()))
            except OSError:
                return
            else:
                self._deliver(self._client.receive_datagram(data, self._clock()))


@contextmanager
def connected_socket(gateway: Gateway, port: int) -> Iterator[socket.socket]:
    """Open a UDP socket from our address to a gateway's port. Raises NetworkError."""
    family = socket.AF_INET6 if gateway.is_ipv6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.settimeout(0.0)
            sock.bind((gateway.local_host, 0))
            infos = socket.getaddrinfo(
                gateway.host, port, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
            )
            sock.connect(infos[0][4])
        except OSError as error:
            reason = error.strerror or error
            raise NetworkError(f"cannot reach the gateway {gateway.host}: {reason}") from error
        yield sock
