"""The HTTP server: listeners with their connections, inside the caller's block."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
from uvicorn.config import Config
from uvicorn.server import ServerState

from torrent_engine.daemon.http.asgi import AsgiApp
from torrent_engine.daemon.http.handshakes import TlsListener
from torrent_engine.daemon.http.limits import HttpLimits
from torrent_engine.daemon.http.protocol import ConnectionParts, HttpConnection

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from uvicorn._types import ASGIApplication

logger = logging.getLogger(__name__)
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class HttpListener:
    """A bound socket and what is spoken there."""

    name: str
    """What the application is told of it: ``extensions["te.listener"]``."""
    socket: socket.socket
    tls: ssl.SSLContext | None = None
    path: Path | None = None
    """Of a unix socket that is removed at the end."""

    def close(self) -> None:
        """Close the socket, and remove its path."""
        self.socket.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def __str__(self) -> str:
        """Return where it is reached."""
        name = self.socket.getsockname() if self.socket.fileno() >= 0 else ("closed", 0)
        if not isinstance(name, tuple):
            return str(self.path or name)
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return f"{'https' if self.tls else 'http'}://{host}:{name[1]}/"


class HttpServer:
    """Serves an ASGI application on listeners."""

    def __init__(self, parts: ConnectionParts) -> None:
        self._parts = parts
        self._servers: list[asyncio.AbstractServer | TlsListener] = []

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._parts.state.connections)

    @property
    def handshakes(self) -> int:
        """How many of them, besides, are not encrypted yet."""
        return len(self._parts.handshakes)

    async def listen(self, listener: HttpListener) -> None:
        """Accept clients of a listener, whose socket is the server's from now on."""
        parts = self._parts
        if listener.tls is not None:
            encrypted = TlsListener(parts, listener.name, listener.socket, listener.tls)
            self._servers.append(encrypted)
            parts.tasks.start_soon(encrypted.run)
            return

        def connect() -> HttpConnection:
            return HttpConnection(parts, listener.name)

        loop = asyncio.get_running_loop()
        is_unix = listener.socket.family == getattr(socket, "AF_UNIX", None)
        create = loop.create_unix_server if is_unix else loop.create_server
        server = await create(connect, sock=listener.socket, backlog=parts.limits.backlog)
        self._servers.append(server)

    def close_listeners(self) -> None:
        """Accept nobody any more; requests that run get their answers."""
        self._parts.is_stopping = True
        for server in self._servers:
            server.close()
        for handshake in list(self._parts.handshakes):
            handshake.give_way()
        for connection in list(self._parts.state.connections):
            connection.shutdown()

    async def stop(self) -> None:
        """Stop listening, and end all requests within the limits."""
        self.close_listeners()
        limits = self._parts.limits
        with anyio.CancelScope(shield=True):
            await self._wait(limits.stop_s, lambda: self._running == 0)
            for connection in self.open_connections:
                connection.cancel_request()
            await self._wait(limits.cancel_s, lambda: self.connections == 0)
            for connection in self.open_connections:
                connection.abort()

    @property
    def open_connections(self) -> list[HttpConnection]:
        """Connections that are not closed yet."""
        return [each for each in self._parts.state.connections if isinstance(each, HttpConnection)]

    @property
    def _running(self) -> int:
        return sum(connection.is_busy for connection in self.open_connections)

    async def _wait(self, limit_s: float, condition: Callable[[], bool]) -> None:
        with anyio.move_on_after(limit_s):
            while not condition():  # noqa: ASYNC110 - only at a stop
                await anyio.sleep(_POLL_S)


@asynccontextmanager
async def open_server(
    app: AsgiApp, listeners: Sequence[HttpListener], limits: HttpLimits | None = None
) -> AsyncIterator[HttpServer]:
    """Serve an application until the block ends; that takes 2.5 s at most."""
    async with anyio.create_task_group() as tasks:
        server = HttpServer(_parts(app, limits or HttpLimits(), tasks))
        try:
            for listener in listeners:
                await server.listen(listener)
            yield server
        finally:
            await server.stop()
            tasks.cancel_scope.cancel()


def _parts(app: AsgiApp, limits: HttpLimits, tasks: "TaskGroup") -> ConnectionParts:
    config = Config(
        cast("ASGIApplication", app),
        http=HttpConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=limits.max_head_bytes,
    )
    config.load()
    return ConnectionParts(config, ServerState(), limits, tasks)
