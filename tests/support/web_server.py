"""A web server in this process: files by path, ranges, kept connections; tests rewrite answers.

Unlike the rude server it goes on after an answer, as a web seed's server does.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import anyio
import anyio.abc

from tests.support.rude_server import response


@dataclass
class Asked:
    """One request."""

    target: str
    path: bytes
    """Unescaped, with the slash in front."""
    head: bytes
    first: int | None
    """Of the range; None: no range was asked for."""
    last: int | None

    @property
    def span_bytes(self) -> int:
        assert self.first is not None
        assert self.last is not None
        return self.last - self.first + 1


Answer = Callable[[Asked], bytes]


@dataclass
class WebServer:
    """Where it listens, what it has, what it was asked, and who answers."""

    host: str
    files: Mapping[str, bytes]
    port: int = 0
    answer: Answer = field(init=False)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most_open: int = 0

    def __post_init__(self) -> None:
        self.answer = self.file_answer

    @property
    def base(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else self._base4

    @property
    def _base4(self) -> str:
        return f"http://{self.host}:{self.port}"

    def file_answer(self, asked: Asked) -> bytes:
        """Answer as a good server does."""
        data = self.files.get(asked.path.decode())
        if data is None:
            return response(b"not here", status=404)
        if asked.first is None or asked.last is None:
            return response(data)
        if asked.last >= len(data):
            return response(status=416, Content_Range=f"bytes */{len(data)}")
        part = data[asked.first : asked.last + 1]
        place = f"bytes {asked.first}-{asked.last}/{len(data)}"
        return response(part, status=206, Content_Range=place)

    async def serve(self, stream: anyio.abc.ByteStream) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            async with stream:
                with suppress(anyio.BrokenResourceError, anyio.EndOfStream, OSError):
                    await self._serve_requests(stream)
        finally:
            self.open -= 1

    async def _serve_requests(self, stream: anyio.abc.ByteStream) -> None:
        rest = b""
        while True:
            while b"\r\n\r\n" not in rest:
                rest += await stream.receive()
            head, _, rest = rest.partition(b"\r\n\r\n")
            asked = parse(head)
            self.asked.append(asked)
            await stream.send(self.answer(asked))


def parse(head: bytes) -> Asked:
    target = head.split(b" ", 2)[1].decode()
    place = re.search(rb"(?i)\r\nrange: bytes=(\d+)-(\d+)", head)
    first, last = (int(place[1]), int(place[2])) if place else (None, None)
    path = unquote_to_bytes(target.partition("?")[0])
    return Asked(target, path, head, first, last)


@asynccontextmanager
async def web_server(
    files: Mapping[str, bytes], *, host: str = "127.0.0.1", answer: Answer | None = None
) -> AsyncIterator[WebServer]:
    """Serve ``files`` by path; ``answer`` makes each answer instead, from its head to its end."""
    server = WebServer(host, files)
    if answer is not None:
        server.answer = answer
    listener = await anyio.create_tcp_listener(local_host=host)
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, server.serve)
        yield server
        tasks.cancel_scope.cancel()
