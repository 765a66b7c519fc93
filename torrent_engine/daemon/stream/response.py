"""The answer that sends a part of a file while its pieces are still downloaded."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from torrent_engine.base.config.units import KIB
from torrent_engine.base.errors import TorrentEngineError
from torrent_engine.daemon.engine_port.port import ByteReader
from torrent_engine.daemon.http.ranges import Selection

CHUNK_BYTES: Final = 256 * KIB
PAUSE_S: Final = 300.0  # ours: a player that is paused takes nothing once its buffer is full
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamEnds:
    """What ends a stream before its last byte."""

    read_timeout_s: float
    """A piece that does not come within this."""
    stopping: anyio.Event
    """The daemon stops."""
    is_allowed: Callable[[], bool] = lambda: True
    """Whether what the player has shown still lets in: no logout, no revocation."""


class FileStream(Response):
    """Reads from an open reader and closes it.

    What ends a stream early, see StreamEnds, ends the connection: a body that is shorter than
    promised must not look complete.
    """

    def __init__(
        self,
        reader: ByteReader,
        selection: Selection,
        headers: Mapping[str, str],
        ends: StreamEnds,
    ) -> None:
        super().__init__(status_code=selection.status, headers=headers)
        self.headers["content-length"] = str(selection.length)
        self._reader = reader
        self._selection = selection
        self._ends = ends

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; ends at once when the client goes away or the daemon stops."""
        _let_players_pause(scope)
        async with self._reader, anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
            tasks.start_soon(_cancel_when_set, self._ends.stopping, tasks.cancel_scope)
            await self._send(scope["path"], send)
            tasks.cancel_scope.cancel()

    async def _send(self, path: str, send: Send) -> None:
        begun = {"type": "http.response.start", "status": self.status_code}
        await send({**begun, "headers": self.raw_headers})
        self._reader.seek(self._selection.begin)
        left = self._selection.length
        while left:
            try:
                with anyio.fail_after(self._ends.read_timeout_s):
                    data = await self._reader.read(min(left, CHUNK_BYTES))
            except (TimeoutError, TorrentEngineError) as error:
                reason = str(error) or f"no data for {self._ends.read_timeout_s:.0f} s"
                logger.warning("stream of %s was cut: %s", path, reason)
                return
            if not self._ends.is_allowed():
                logger.info("stream of %s was cut: its credential has ended", path)
                return
            if not data:
                logger.warning("stream of %s was cut: the file is shorter than it was", path)
                return
            left -= len(data)
            await send({"type": "http.response.body", "body": data, "more_body": left > 0})
        if not self._selection.length:
            await send({"type": "http.response.body", "body": b""})


def _let_players_pause(scope: Scope) -> None:
    """Wait longer for a client that takes nothing, where the server can."""
    set_write_limit = (scope.get("extensions") or {}).get("te.set_write_limit")
    if set_write_limit is not None:
        set_write_limit(PAUSE_S)


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _cancel_when_set(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
