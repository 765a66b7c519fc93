"""The unix socket by which other processes of the user control a state folder's torrents.

HTTP/1.1 with one request a connection. The socket is in the state folder (mode 0700) and has mode
0600; where the system says who connects, only the same user and root are answered. Whoever has the
folder's manager claim may replace a socket that a killed process left.
"""

import json
import logging
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import h11

from torrent_engine.base.errors import ConfigError, StateDatabaseError
from torrent_engine.service.control_api import JsonObject
from torrent_engine.service.system import HAS_DESCRIPTOR_PATHS

logger = logging.getLogger(__name__)

SOCKET_NAME: Final = "control.sock"
MAX_PATH_BYTES: Final = 103  # sun_path: 104 bytes with its end on macOS, 108 on Linux
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 16 * 1024 * 1024  # ours: a .torrent of 12 MB in base64
MAX_CLIENTS: Final = 32  # ours: at a time; more are closed at once
ACCEPT_RETRY_S: Final = 1.0  # ours: others may have given descriptors back by then (row F9)
REQUEST_S: Final = 10.0  # ours: a whole request comes within this
SEND_S: Final = 30.0  # ours: an answer is taken within this
_READ_BYTES: Final = 64 * 1024
_CREDENTIALS: Final = struct.Struct("3i")  # unix(7): pid, uid, gid
_CLIENT_GONE: Final = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    h11.ProtocolError,
    OSError,
)

RequestHandler = Callable[[bytes, bytes, bytes], Awaitable[tuple[int, JsonObject]]]
"""Takes the method, the target and the body of a request; returns a status and a JSON object."""


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give a name of a socket that is short enough for the system.

    Linux has one for every folder; elsewhere ConfigError is raised for a path that is too long.
    """
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    if not HAS_DESCRIPTOR_PATHS:
        raise ConfigError(f"{path}: too long for a socket; choose a shorter state folder")
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def check_owner(path: Path) -> bool:
    """Return whether there is a socket at a path. Raises StateDatabaseError for somebody else's."""
    try:
        found = path.lstat()
    except OSError:
        return False
    if not stat.S_ISSOCK(found.st_mode):
        return False
    if found.st_uid not in {os.geteuid(), 0}:
        raise StateDatabaseError(f"{path}: the socket of another user is not trusted")
    return True


class ControlServer:
    """Answers requests at the control socket of a folder."""

    def __init__(
        self,
        answer: RequestHandler,
        *,
        request_s: float = REQUEST_S,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        self._answer = answer
        self._request_s = request_s
        self._max_clients = max_clients
        self._clients = 0

    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[None]:
        """Listen until the block ends; needs the manager claim of the folder.

        Raises OSError or ConfigError if the socket cannot be made.
        """
        path = folder / SOCKET_NAME
        with socket_address(path) as address:
            listener = await anyio.create_unix_listener(address, mode=0o600)
        try:
            async with listener, anyio.create_task_group() as tasks:
                tasks.start_soon(self._accept, listener, tasks)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    async def _accept(
        self, listener: anyio.abc.Listener[anyio.abc.SocketStream], tasks: anyio.abc.TaskGroup
    ) -> None:
        """Accept until cancelled; a fault, such as no descriptor, ends nothing else."""
        while True:
            try:
                await listener.serve(self._serve, tasks)
            except anyio.BrokenResourceError as error:
                logger.warning("no connection is accepted at %s: %s", SOCKET_NAME, error.__cause__)
                await anyio.sleep(ACCEPT_RETRY_S)

    async def _serve(self, stream: anyio.abc.SocketStream) -> None:
        self._clients += 1
        try:
            async with stream:
                if self._clients <= self._max_clients and is_trusted(stream):
                    with suppress(*_CLIENT_GONE):
                        await self._converse(stream)
        finally:
            self._clients -= 1

    async def _converse(self, stream: anyio.abc.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        try:
            with anyio.fail_after(self._request_s):
                request = await _read_request(connection, stream)
        except h11.RemoteProtocolError as error:
            await _send(connection, stream, error.error_status_hint, _problem("malformed request"))
            return
        except TimeoutError:
            await _send(connection, stream, 408, _problem("the request did not come in time"))
            return
        if request is not None:
            await _send(connection, stream, *await self._answer(*request))


def is_trusted(stream: anyio.abc.SocketStream) -> bool:
    """Return whether the other end is the same user or root, as far as the system says it."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True  # the modes of folder and socket keep others out
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no Django here
    data = raw.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(data)[1] in {os.geteuid(), 0}


async def _read_request(
    connection: h11.Connection, stream: anyio.abc.ByteStream
) -> tuple[bytes, bytes, bytes] | None:
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await _receive(stream))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise h11.RemoteProtocolError("too long a body", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request.method, request.target, bytes(body)
        else:
            return None


async def _receive(stream: anyio.abc.ByteStream) -> bytes:
    try:
        return await stream.receive(_READ_BYTES)
    except anyio.EndOfStream:
        return b""


async def _send(
    connection: h11.Connection, stream: anyio.abc.ByteStream, status: int, value: JsonObject
) -> None:
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    body = json.dumps(value, allow_nan=False).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ]
    head = connection.send(h11.Response(status_code=status, headers=headers)) or b""
    with anyio.move_on_after(SEND_S):
        await stream.send(head + body)


def _problem(detail: str) -> JsonObject:
    return {"code": "malformed", "detail": detail}
