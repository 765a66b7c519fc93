"""A TCP server on loopback whose manners a test decides."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import anyio.abc
from anyio.streams.tls import TLSListener

Handler = Callable[[anyio.abc.ByteStream, bytes], Awaitable[None]]
"""Gets the stream and the head of the request."""


class RudeServer:
    """Where it listens, what was asked, and how many asked at once."""

    def __init__(self, port: int, scheme: str) -> None:
        self.port = port
        self.base = f"{scheme}://127.0.0.1:{port}"
        self.requests: list[bytes] = []
        self.open = 0
        self.most_open = 0


@asynccontextmanager
async def rude_server(handler: Handler, *, ssl_context=None) -> AsyncIterator[RudeServer]:
    plain = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = plain.extra(anyio.abc.SocketAttribute.local_port)
    listener: anyio.abc.Listener = plain
    server = RudeServer(port, "https" if ssl_context else "http")
    if ssl_context is not None:
        listener = TLSListener(plain, ssl_context, standard_compatible=False)

    async def serve(stream: anyio.abc.ByteStream) -> None:
        server.open += 1
        server.most_open = max(server.most_open, server.open)
        try:
            async with stream:
                with suppress(anyio.BrokenResourceError, anyio.EndOfStream, OSError):
                    head = await _head(stream)
                    server.requests.append(head)
                    await handler(stream, head)
        finally:
            server.open -= 1

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield server
        tasks.cancel_scope.cancel()


async def _head(stream: anyio.abc.ByteStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive()
    return head


def response(body: bytes = b"", *, status: int = 200, **headers: str) -> bytes:
    """Return a whole HTTP response; header names with _ for -."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(*responses: bytes) -> Handler:
    """Answer the first request with the first response, ..., then always with the last."""
    left = list(responses)

    async def handler(stream: anyio.abc.ByteStream, _head: bytes) -> None:
        await stream.send(left.pop(0) if len(left) > 1 else left[0])

    return handler
