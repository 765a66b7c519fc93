"""Requests over a unix socket: HTTP with one request a connection."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import h11

from torrent_engine.base.errors import ConfigError, NetworkError
from torrent_engine.service.control_socket import socket_address

CONNECT_S: Final = 5.0
_OF_THE_REQUEST: Final = frozenset({400, 403, 409, 413, 415, 422})
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024  # ours: 300,000 torrents


@dataclass(frozen=True, slots=True)
class SocketAnswer:
    """An answer at a socket."""

    status: int
    body: bytes

    @property
    def value(self) -> Mapping[str, Any]:
        """The JSON object of the body; empty without a body. Raises ValueError for another one."""
        value = json.loads(self.body) if self.body else {}
        if not isinstance(value, dict):
            raise ValueError("no JSON object")  # noqa: TRY004 - data of the other side
        return value


class SocketRequests:
    """Sends requests to whoever listens at a socket; raises NetworkError if nobody answers."""

    def __init__(self, path: Path, answer_s: float) -> None:
        self._path = path
        self._answer_s = answer_s

    async def ask(
        self, method: str, target: str, body: object = None, *, is_long: bool = False
    ) -> Mapping[str, Any]:
        """Return the JSON object of an answer.

        Raises ConfigError if what is asked for is refused, NetworkError for other refusals. Work
        that ``is_long`` has no limit of time.
        """
        answer = await self.answer(method, target, body, is_long=is_long)
        try:
            value = answer.value
        except (ValueError, RecursionError):
            raise NetworkError(f"{self._path}: not understood: no JSON") from None
        if answer.status >= 400:
            detail = value.get("detail") or value.get("title") or f"status {answer.status}"
            kind = ConfigError if answer.status in _OF_THE_REQUEST else NetworkError
            raise kind(f"refused: {detail}")
        return value

    async def answer(
        self, method: str, target: str, body: object = None, *, is_long: bool = False
    ) -> SocketAnswer:
        """Return an answer, whatever its status."""
        data = b"" if body is None else json.dumps(body).encode("utf-8", "surrogatepass")
        try:
            with anyio.fail_after(None if is_long else self._answer_s):
                async with await connected(self._path) as stream:
                    return await _exchange(stream, method, target, data)
        except TimeoutError as error:
            raise NetworkError(f"{self._path}: no answer in time") from error
        except (OSError, anyio.BrokenResourceError, h11.ProtocolError, ValueError) as error:
            raise NetworkError(
                f"{self._path}: no answer: {str(error) or type(error).__name__}"
            ) from None


async def connected(path: Path) -> anyio.abc.SocketStream:
    """Connect to a socket. Raises OSError or TimeoutError."""
    with socket_address(path) as address, anyio.fail_after(CONNECT_S):
        return await anyio.connect_unix(address)


async def _exchange(
    stream: anyio.abc.ByteStream, method: str, target: str, body: bytes
) -> SocketAnswer:
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "localhost"), ("Content-Length", str(len(body)))]
    headers += [("Content-Type", "application/json")] if body else []
    sent = connection.send(h11.Request(method=method, target=target, headers=headers)) or b""
    sent += connection.send(h11.Data(data=body)) or b""
    connection.send(h11.EndOfMessage())
    await stream.send(sent)
    status, data = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await _received(stream))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            data += event.data
            if len(data) > MAX_ANSWER_BYTES:
                raise ValueError("too long an answer")
        elif isinstance(event, h11.EndOfMessage):
            return SocketAnswer(status, bytes(data))


async def _received(stream: anyio.abc.ByteStream) -> bytes:
    try:
        return await stream.receive()
    except anyio.EndOfStream:
        return b""
