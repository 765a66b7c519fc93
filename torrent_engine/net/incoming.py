"""Owns incoming connections until their handshake says which torrent they want.

Source: BEP 3 (handshake). A connection that does not begin with the protocol's name is closed at
once, so that a client which tried encryption first comes back in plain text.
"""

import logging
import socket
from collections.abc import Callable
from typing import Final

import anyio
import anyio.abc

from torrent_engine.base.ids import InfoHash, PeerAddress
from torrent_engine.net.streams import accept_forever, close
from torrent_engine.net.transport import TcpTransport, Transport
from torrent_engine.protocol.wire.messages import (
    HANDSHAKE_BYTES,
    INFO_HASH_OFFSET,
    PEER_ID_OFFSET,
    PROTOCOL_STRING,
)

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 200  # ours: connections whose handshake is not here yet
MAX_HELD: Final = 8  # ours: connections that wait until one torrent is awake

Accept = Callable[[Transport, PeerAddress, bytes], None]
"""Takes over a connection; the bytes are what was received of the handshake."""


class IncomingRouter:
    """Reads the info-hash of each accepted connection, and hands it to that torrent."""

    def __init__(self, handshake_timeout_s: float) -> None:
        self._timeout_s = handshake_timeout_s
        self._torrents: dict[InfoHash, Accept] = {}
        self._held: dict[InfoHash, list[tuple[Transport, PeerAddress, bytes]]] = {}
        self._waiting = 0

    def register(self, info_hash: InfoHash, accept: Accept) -> None:
        """Hand connections for a torrent to ``accept`` from now on, and those that were held."""
        self._torrents[info_hash] = accept
        for transport, address, received in self._held.pop(info_hash, ()):
            accept(transport, address, received)

    def register_resting(self, info_hash: InfoHash, wake: Callable[[], None]) -> None:
        """Hold connections for a torrent until :meth:`register`, and call ``wake`` for each."""

        def hold(transport: Transport, address: PeerAddress, received: bytes) -> None:
            held = self._held.setdefault(info_hash, [])
            if len(held) < MAX_HELD:
                held.append((transport, address, received))
            else:
                transport.close()
            wake()

        self._torrents[info_hash] = hold

    def unregister(self, info_hash: InfoHash) -> None:
        """Close connections for a torrent, held ones too; twice is harmless."""
        self._torrents.pop(info_hash, None)
        for transport, _, _ in self._held.pop(info_hash, ()):
            transport.close()

    async def run(self, listeners: list[socket.socket]) -> None:
        """Accept on all sockets until cancelled; they are closed then."""
        try:
            async with anyio.create_task_group() as tasks:
                for listener in listeners:
                    tasks.start_soon(
                        accept_forever,
                        listener,
                        lambda sock, address: self._accepted(tasks, sock, address),
                    )
        finally:
            for listener in listeners:
                close(listener)
            for info_hash in tuple(self._held):
                self.unregister(info_hash)

    def _accepted(
        self, tasks: anyio.abc.TaskGroup, sock: socket.socket, address: PeerAddress
    ) -> None:
        if self._waiting >= MAX_WAITING or not self._torrents:
            close(sock)
            return
        self._waiting += 1
        tasks.start_soon(self._route, sock, address)

    async def _route(self, sock: socket.socket, address: PeerAddress) -> None:
        received, accept = b"", None
        try:
            with anyio.move_on_after(self._timeout_s):
                received = await _read_until_info_hash(sock)
            accept = self._torrents.get(InfoHash(received[INFO_HASH_OFFSET:PEER_ID_OFFSET]))
        except OSError as error:
            logger.debug("incoming %s: %s", address, error)
        finally:
            self._waiting -= 1
            if accept is None:
                close(sock)
        if accept is not None:
            accept(TcpTransport(sock), address, received)


async def _read_until_info_hash(sock: socket.socket) -> bytes:
    """Return 48 to 68 bytes of a handshake, fewer if it is none or the connection ends."""
    received = b""
    while len(received) < PEER_ID_OFFSET:
        try:
            data = sock.recv(HANDSHAKE_BYTES - len(received))
        except BlockingIOError:
            await anyio.wait_readable(sock)
            continue
        received += data
        name = received[: len(PROTOCOL_STRING)]
        if not data or name != PROTOCOL_STRING[: len(name)]:
            return b""
    return received
