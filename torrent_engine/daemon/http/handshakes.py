"""Connections in their TLS handshakes; they count as connections before anything is encrypted.

A loop's own server tells of a connection when its handshake is done. Until then nobody would count
it, and a client that connects and says nothing costs a descriptor, too.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from typing import Final

import anyio

from torrent_engine.daemon.http.protocol import ConnectionParts, HttpConnection

logger = logging.getLogger(__name__)
ACCEPT_RETRY_S: Final = 1.0  # ours: as asyncio's server when descriptors run out


class TlsHandshake:
    """One connection that is not encrypted yet; it has a place among the connections."""

    def __init__(
        self, host: str | None, since_s: float, leave: Callable[[str | None], None]
    ) -> None:
        """``leave`` gives the place up."""
        self.host = host
        self.waits_since_s = since_s
        self.scope = anyio.CancelScope()
        self._leave = leave
        self._has_place = True

    def end(self) -> None:
        """Give the place up, if that has not happened yet."""
        if self._has_place:
            self._has_place = False
            self._leave(self.host)

    def give_way(self) -> None:
        """Leave the place to another connection."""
        self.end()
        self.scope.cancel()


class TlsListener:
    """Accepts connections, counts them, and makes HTTP connections of them after the handshake."""

    def __init__(
        self, parts: ConnectionParts, name: str, listener: socket.socket, context: ssl.SSLContext
    ) -> None:
        self._parts = parts
        self._name = name
        self._socket = listener
        self._context = context
        self._scope = anyio.CancelScope()

    def close(self) -> None:
        """Accept nobody any more."""
        self._scope.cancel()

    async def run(self) -> None:
        """Accept until closed; each handshake is a task of its own."""
        loop = asyncio.get_running_loop()
        with closing(self._socket), self._scope:
            while True:
                try:
                    connection, address = await loop.sock_accept(self._socket)
                except OSError as error:
                    logger.warning("%s: no connection is accepted: %s", self._name, error)
                    await anyio.sleep(ACCEPT_RETRY_S)
                else:
                    self._begin(connection, address[0] if isinstance(address, tuple) else None)

    def _begin(self, connection: socket.socket, host: str | None) -> None:
        if not self._parts.admit(host):
            connection.close()
            return
        now = asyncio.get_running_loop().time()
        place = TlsHandshake(host, now, self._parts.count.leave)
        self._parts.handshakes[place] = None
        self._parts.tasks.start_soon(self._shake_hands, connection, place)

    async def _shake_hands(self, connection: socket.socket, place: TlsHandshake) -> None:
        """Make an HTTP connection of a socket; what fails is the client's affair."""
        loop = asyncio.get_running_loop()
        try:
            with place.scope:
                await loop.connect_accepted_socket(
                    lambda: HttpConnection(self._parts, self._name, place.end),
                    connection,
                    ssl=self._context,
                    ssl_handshake_timeout=self._parts.limits.handshake_s,
                )
        except Exception as error:  # whatever a stranger sends, the server lives
            logger.debug("%s: TLS handshake: %s", place.host, error)
        finally:
            self._parts.handshakes.pop(place, None)
            place.end()
