"""The daemon's HTTP server with small applications, and a client that sends raw bytes."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.abc

from torrent_engine.daemon.http.asgi import AsgiApp, AsgiReceive, AsgiScope, AsgiSend
from torrent_engine.daemon.http.limits import HttpLimits
from torrent_engine.daemon.http.server import HttpListener, HttpServer, open_server
from torrent_engine.daemon.http.sockets import ListenAddress, bind

ANSWER_S = 60.0


@dataclass
class Echo:
    """An application that notes requests, and returns them as JSON."""

    seen: list[tuple[str, str, bytes]] = field(default_factory=list)
    scopes: list[AsgiScope] = field(default_factory=list)

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append((scope["method"], scope["path"], body))
        self.scopes.append(scope)
        await answer(send, json.dumps({"path": scope["path"], "bytes": len(body)}).encode())


async def answer(send: AsgiSend, body: bytes, status: int = 200) -> None:
    """Send a whole answer."""
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def endless(scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
    """Answer without an end, as a stream of events does."""
    fields = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    while True:
        await send({"type": "http.response.body", "body": b": beat\n\n", "more_body": True})
        await anyio.sleep(0.05)


@dataclass
class Served:
    """A server that runs."""

    server: HttpServer
    port: int

    async def connect(self) -> anyio.abc.SocketStream:
        """Connect to it."""
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def talk(self, data: bytes, *, limit_s: float = ANSWER_S) -> bytes:
        """Send bytes on a new connection; return all that comes until it is closed."""
        async with await self.connect() as stream:
            await stream.send(data)
            return await read_all(stream, limit_s=limit_s)

    async def get(self, path: str = "/", *fields: str) -> bytes:
        """Ask for a path and close."""
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *fields, "", ""]
        return await self.talk("\r\n".join(lines).encode("latin-1"))


async def read_all(stream: anyio.abc.ByteReceiveStream, *, limit_s: float = ANSWER_S) -> bytes:
    """Return what comes until the other side closes; fails if it does not."""
    found = b""
    with anyio.fail_after(limit_s):
        while True:
            try:
                found += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return found


async def read_head(stream: anyio.abc.ByteReceiveStream) -> bytes:
    """Return what comes up to the end of the fields of an answer."""
    found = b""
    with anyio.fail_after(ANSWER_S):
        while b"\r\n\r\n" not in found:
            found += await stream.receive()
    return found


async def read_answer(stream: anyio.abc.ByteReceiveStream) -> bytes:
    """Return an answer with a Content-Length, and no byte that comes behind it later."""
    found = await read_head(stream)
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    with anyio.fail_after(ANSWER_S):
        while len(body) < length:
            body += await stream.receive()
    return head + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    """Return the status of the first answer in some bytes; 0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def statuses_of(answers: bytes) -> list[int]:
    """Return the status of each of several answers whose bodies are JSON objects or texts."""
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


@asynccontextmanager
async def served(
    app: AsgiApp, limits: HttpLimits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Served]:
    """Serve an application on a port of loopback."""
    (listener,) = bind(ListenAddress("127.0.0.1", 0))
    port: Any = listener.getsockname()[1]
    async with open_server(app, [HttpListener("http", listener, tls)], limits) as server:
        yield Served(server, port)
