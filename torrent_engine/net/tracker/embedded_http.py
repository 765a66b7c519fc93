"""One HTTP connection to the embedded tracker: strict limits, GET only, keep-alive.

Source: fault model, rows A14 and E6. The HTTP implementation is h11.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
import anyio.abc
import h11

from torrent_engine.net.sockets.fairness import LOOP_TURN, RateGate
from torrent_engine.protocol.tracker.server import HttpAnswer

MAX_REQUEST_BYTES: Final = 16 * 1024  # row A14
MAX_HEADER_LINES: Final = 100  # row A14
_READ_BYTES: Final = 4_096
_PLAIN: Final = "text/plain; charset=utf-8"

_CLIENT_GONE: Final = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    h11.ProtocolError,  # a malformed request, which must not affect other clients
    OSError,
)

Handler = Callable[[bytes], HttpAnswer]
"""Takes a request's target (path and query)."""


async def serve_http(
    stream: anyio.abc.ByteStream, handle: Handler, *, request_timeout_s: float, pace: RateGate
) -> None:
    """Serve requests until the client closes, violates HTTP or times out.

    Each request waits for ``pace`` before it is read.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
    with suppress(*_CLIENT_GONE):
        while True:
            await pace.turn()
            with anyio.move_on_after(request_timeout_s) as time_limit:
                answer = await _answer_to_request(connection, stream, handle)
                if answer is None:
                    return
                await _send(connection, stream, answer)
            states = {connection.our_state, connection.their_state}
            if time_limit.cancelled_caught or states != {h11.DONE}:
                return
            connection.start_next_cycle()


async def _answer_to_request(
    connection: h11.Connection, stream: anyio.abc.ByteStream, handle: Handler
) -> HttpAnswer | None:
    try:
        request = await _read_request(connection, stream)
    except h11.RemoteProtocolError as error:
        return HttpAnswer(error.error_status_hint, _PLAIN, b"malformed request\n")
    if request is None:
        return None
    if request.method != b"GET":
        return HttpAnswer(405, _PLAIN, b"")  # no body, in case of HEAD
    return handle(request.target)


async def _read_request(
    connection: h11.Connection, stream: anyio.abc.ByteStream
) -> h11.Request | None:
    """Read one request; return None if the client closed. A body is a protocol error."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await _receive(stream))
        elif isinstance(event, h11.Request):
            if len(event.headers) > MAX_HEADER_LINES:
                raise h11.RemoteProtocolError("too many header lines", error_status_hint=431)
            request = event
        elif isinstance(event, h11.Data):
            raise h11.RemoteProtocolError("a request with a body", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return request
        else:
            return None


async def _receive(stream: anyio.abc.ByteStream) -> bytes:
    try:
        data = await stream.receive(_READ_BYTES)
    except anyio.EndOfStream:
        data = b""
    if LOOP_TURN.is_over:  # hundreds of connections may have something to do at the same moment
        await LOOP_TURN.pass_on()
    return data


async def _send(
    connection: h11.Connection, stream: anyio.abc.ByteStream, answer: HttpAnswer
) -> None:
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
    ]
    if connection.their_state is not h11.DONE:
        headers.append(("Connection", "close"))
    head = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    body = connection.send(h11.Data(data=answer.body)) or b""
    connection.send(h11.EndOfMessage())
    await stream.send(head + body)
