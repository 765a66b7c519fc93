"""The client of the control socket, and the way to a state folder's torrents in either case."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import h11

from torrent_engine.base.errors import NetworkError, StateInUseError
from torrent_engine.service.control_api import ACTIONS, TORRENTS
from torrent_engine.service.control_socket import SOCKET_NAME, check_owner, socket_address
from torrent_engine.service.saved import SavedTorrents
from torrent_engine.service.torrents import (
    Change,
    Failure,
    TorrentAction,
    TorrentControl,
    TorrentRow,
)

CONNECT_S: Final = 5.0
ANSWER_S: Final = 60.0  # ours; moves and checks have no limit
CLAIM_S: Final = 5.0  # ours: a process that starts or ends has the folder for a moment
RETRY_S: Final = 0.1
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024  # ours: 300,000 torrents
_LONG: Final = frozenset({TorrentAction.MOVE, TorrentAction.RECHECK, TorrentAction.REMOVE})


@asynccontextmanager
async def open_torrents(folder: Path, *, claim_s: float = CLAIM_S) -> AsyncIterator[TorrentControl]:
    """Give control of a folder's torrents: by the process that runs them, else by the database.

    Raises StateInUseError if a process has the folder and does not answer for it.
    """
    deadline = anyio.current_time() + claim_s
    while True:
        if await is_answered(folder / SOCKET_NAME):
            yield RemoteTorrents(folder / SOCKET_NAME)
            return
        saved = SavedTorrents.open(folder)
        try:
            torrents = await saved.__aenter__()
        except StateInUseError:
            if anyio.current_time() > deadline:
                raise
            await anyio.sleep(RETRY_S)
            continue
        try:
            yield torrents
        finally:
            with anyio.CancelScope(shield=True):
                await saved.__aexit__(None, None, None)
        return


async def is_answered(path: Path) -> bool:
    """Return whether somebody listens at a control socket.

    Raises StateDatabaseError if the socket is another user's.
    """
    if not check_owner(path):
        return False
    with suppress(OSError, TimeoutError):
        async with await _connected(path):
            return True
    return False


async def _connected(path: Path) -> anyio.abc.SocketStream:
    with socket_address(path) as address, anyio.fail_after(CONNECT_S):
        return await anyio.connect_unix(address)


class RemoteTorrents:
    """A :class:`TorrentControl` over a control socket; raises NetworkError if that fails."""

    def __init__(self, path: Path, *, answer_s: float = ANSWER_S) -> None:
        self._path = path
        self._answer_s = answer_s

    async def rows(self) -> list[TorrentRow]:
        """Return all torrents, in the order of the queue."""
        found = await self._ask("GET", TORRENTS, b"", self._answer_s)
        return [TorrentRow(**row) for row in found["torrents"]]

    async def change(self, change: Change) -> "list[Failure]":
        """Do something with torrents; return with which it failed."""
        limit_s = None if change.action in _LONG else self._answer_s
        body = json.dumps(change.to_json()).encode()
        found = await self._ask("POST", ACTIONS, body, limit_s)
        return [Failure(**failure) for failure in found["failed"]]

    async def _ask(
        self, method: str, target: str, body: bytes, limit_s: float | None
    ) -> Mapping[str, Any]:
        try:
            with anyio.fail_after(limit_s):
                async with await _connected(self._path) as stream:
                    status, data = await _exchange(stream, method, target, body)
            value: Mapping[str, Any] = json.loads(data)
        except TimeoutError as error:
            raise NetworkError(f"{self._path}: no answer in time") from error
        except (OSError, anyio.BrokenResourceError, h11.ProtocolError, ValueError) as error:
            raise NetworkError(
                f"{self._path}: no answer: {str(error) or type(error).__name__}"
            ) from None
        if status != 200:
            raise NetworkError(f"{self._path}: {value.get('detail', f'status {status}')}")
        return value


async def _exchange(
    stream: anyio.abc.ByteStream, method: str, target: str, body: bytes
) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT)
    headers = [("Host", "localhost"), ("Content-Length", str(len(body)))]
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
            return status, bytes(data)


async def _received(stream: anyio.abc.ByteStream) -> bytes:
    try:
        return await stream.receive()
    except anyio.EndOfStream:
        return b""
