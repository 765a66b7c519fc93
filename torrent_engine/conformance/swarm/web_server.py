"""The kit's web server: serves the files of a torrent, or something else, and notes what is asked.

Source: BEP 17, 19.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.swarm.http_tracker import (
    HEAD_END,
    KitHttpAnnounce,
    parse_announce,
    receive_head,
)
from torrent_engine.conformance.torrent_set import SampleTorrent
from torrent_engine.conformance.wire_log import WireLog

RANGE: Final = re.compile(
    rb"^range: *bytes=(\d{1,18})-(\d{1,18})?\s*$", re.IGNORECASE | re.MULTILINE
)
PIECE_RANGES: Final = re.compile(r"(\d{1,18})-(\d{1,18})")
_GONE: Final = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
REASONS: Final = {200: "OK", 206: "Partial Content", 404: "Not Found"}


@dataclass(frozen=True, slots=True)
class WebRequest:
    """One GET as it came."""

    at: float
    path: str
    """Unescaped."""
    raw_path: str
    span: tuple[int, int | None] | None
    """First and last byte of the range; None without one, or with several."""
    query: KitHttpAnnounce


@dataclass(frozen=True, slots=True)
class WebResponse:
    """What is sent."""

    status: int
    body: bytes = b""
    headers: str = ""


ServeFunction = Callable[["KitWebServer", WebRequest], Coroutine[Any, Any, WebResponse]]


def parse_web_request(head: bytes, at: float) -> WebRequest:
    """Cut a request into its parts; whatever it is, this raises nothing."""
    query = parse_announce(head, at)
    found = RANGE.search(head)
    span = None
    if found is not None:
        span = int(found[1]), int(found[2]) if found[2] else None
    return WebRequest(at, unquote(query.path, errors="replace"), query.path, span, query)


def cut(data: bytes, span: tuple[int, int | None] | None) -> WebResponse:
    """Return a file, or the range of it that was asked for."""
    if span is None:
        return WebResponse(200, data)
    start, last = span
    end = len(data) if last is None else min(last + 1, len(data))
    if start >= end:
        return WebResponse(416)
    return WebResponse(
        206, data[start:end], f"Content-Range: bytes {start}-{end - 1}/{len(data)}\r\n"
    )


async def serve_files(server: "KitWebServer", asked: WebRequest) -> WebResponse:
    """Return a range of a file (BEP 19)."""
    data = server.files.get(asked.path)
    return WebResponse(404) if data is None else cut(data, asked.span)


async def serve_pieces(server: "KitWebServer", asked: WebRequest) -> WebResponse:
    """Return ranges of a piece (BEP 17)."""
    torrent, index = server.torrent, asked.query.number("piece")
    if asked.query.value("info_hash") != torrent.info_hash or index is None:
        return WebResponse(404)
    whole = torrent.block(index, 0, torrent.piece_length(index))
    ranges = asked.query.value("ranges").decode("latin-1")
    spans = [(int(first), int(last)) for first, last in PIECE_RANGES.findall(ranges)]
    parts = [whole[first : last + 1] for first, last in spans] or [whole]
    return WebResponse(200, b"".join(parts))


class KitWebServer:
    """One server; ``files`` are what it has, by path."""

    def __init__(self, torrent: SampleTorrent, files: Mapping[str, bytes], log: WireLog) -> None:
        self.torrent = torrent
        self.files = files
        self.url = ""
        """Its scheme, host and port, once it listens."""
        self.requests: list[WebRequest] = []
        self.respond: ServeFunction = serve_files
        self._log = log

    async def serve(self, stream: ByteStream) -> None:
        """Answer one request and close the connection."""
        try:
            with suppress(*_GONE):
                head = await receive_head(stream)
                asked = parse_web_request(head, anyio.current_time())
                self._log.add("w<", f"GET {asked.raw_path} {asked.query.raw_query} {asked.span}")
                self.requests.append(asked)
                response = await self.respond(self, asked)
                self._log.add("w>", f"{response.status} ({len(response.body)} bytes)")
                await stream.send(_encoded(response))
        finally:
            with anyio.CancelScope(shield=True), suppress(*_GONE):
                await stream.aclose()


def _encoded(response: WebResponse) -> bytes:
    reason = REASONS.get(response.status, "No")
    head = f"HTTP/1.1 {response.status} {reason}\r\nContent-Length: {len(response.body)}\r\n"
    return (head + response.headers + "Connection: close").encode() + HEAD_END + response.body
