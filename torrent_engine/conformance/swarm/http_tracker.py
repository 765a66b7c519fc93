"""The kit's HTTP tracker: notes what is announced, and answers as it is told.

Source: BEP 3, 23.
"""

import ipaddress
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.bencoding import Bencodable, bencode
from torrent_engine.conformance.wire_log import WireLog

MAX_HEAD_BYTES: Final = 16_384
INTERVAL_S: Final = 60
HEAD_END: Final = b"\r\n\r\n"
MAX_DIGITS: Final = 20
_GONE: Final = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class KitPeerAddress:
    """Where a peer of the kit listens, and its peer id."""

    host: str
    port: int
    peer_id: bytes


@dataclass(frozen=True, slots=True)
class KitHttpAnnounce:
    """One request as it came."""

    at: float
    path: str
    query: tuple[tuple[str, bytes], ...]
    """Keys and values in their order, the values unescaped."""
    raw_query: str = ""
    """As it was sent."""
    head: bytes = b""
    """The request line and the headers."""

    def value(self, key: str) -> bytes:
        """Return the first value of a key; empty if it is not there."""
        return next((value for name, value in self.query if name == key), b"")

    def number(self, key: str) -> int | None:
        """Return the value of a key if it is a number in base ten; None if not."""
        value = self.value(key)
        return int(value) if value.isdigit() and len(value) < MAX_DIGITS else None

    @property
    def event(self) -> str:
        """The event; empty for an announce at the regular interval."""
        event = self.value("event").decode(errors="replace")
        return "" if event == "empty" else event

    @property
    def is_scrape(self) -> bool:
        """Whether it asks for numbers of the swarm (BEP 48)."""
        return "scrape" in self.path


AnswerFunction = Callable[[KitHttpAnnounce, Sequence[KitPeerAddress]], bytes]
ResponseFunction = Callable[[ByteStream, KitHttpAnnounce, bytes], Coroutine[Any, Any, None]]
"""Sends the answer over HTTP."""


async def respond_plainly(stream: ByteStream, _: KitHttpAnnounce, body: bytes) -> None:
    """Send the answer with its length."""
    await stream.send(http_response(body))


class KitHttpTracker:
    """One tracker; ``peers`` are named to everybody who announces."""

    def __init__(self, log: WireLog, clock: Callable[[], float], label: str = "t") -> None:
        self._log = log
        self._clock = clock
        self._label = label
        self.url = ""
        """Where it is, once it listens."""
        self.peers: list[KitPeerAddress] = []
        self.announces: list[KitHttpAnnounce] = []
        self.scrapes: list[KitHttpAnnounce] = []
        self.answer: AnswerFunction = compact_answer
        self.respond: ResponseFunction = respond_plainly

    async def serve(self, stream: ByteStream) -> None:
        """Answer one request and close the connection."""
        try:
            with suppress(*_GONE):
                await self._answer(stream)
        finally:
            with anyio.CancelScope(shield=True), suppress(*_GONE):
                await stream.aclose()

    async def _answer(self, stream: ByteStream) -> None:
        head = await receive_head(stream)
        announce = parse_announce(head, self._clock())
        self._log.add(f"{self._label}<", head.split(b"\r\n", 1)[0].decode(errors="replace"))
        (self.scrapes if announce.is_scrape else self.announces).append(announce)
        body = self.answer(announce, self.peers)
        self._log.add(f"{self._label}>", repr(body[:200]))
        await self.respond(stream, announce, body)


async def receive_head(stream: ByteStream) -> bytes:
    """Return what comes until the end of the headers, or a limit."""
    data = b""
    while HEAD_END not in data and len(data) < MAX_HEAD_BYTES:
        data += await stream.receive()
    return data


def parse_announce(head: bytes, at: float) -> KitHttpAnnounce:
    """Cut the request line of an announce into its parts; whatever it is, this raises nothing."""
    line = head.split(b"\r\n", 1)[0].decode("latin-1")
    target = line.partition(" ")[2].partition(" ")[0]
    path, _, query = target.partition("?")
    pairs = (each.partition("=") for each in query.split("&") if each)
    unescaped = ((key, unquote_to_bytes(value.encode("latin-1"))) for key, _, value in pairs)
    return KitHttpAnnounce(at, path, tuple(unescaped), query, head)


def http_response(body: bytes) -> bytes:
    """Return a response of HTTP with a length."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close" + HEAD_END + body


def packed_peers(peers: Sequence[KitPeerAddress]) -> bytes:
    """Return a compact list of peers of one family (BEP 7, 23)."""
    return b"".join(
        ipaddress.ip_address(each.host).packed + each.port.to_bytes(2, "big") for each in peers
    )


def compact_answer(_: KitHttpAnnounce, peers: Sequence[KitPeerAddress]) -> bytes:
    """Return the answer with a compact list of peers (BEP 23)."""
    return bencode({b"interval": INTERVAL_S, b"peers": packed_peers(peers)})


def answer_with(**keys: Bencodable) -> AnswerFunction:
    """Return what answers with more keys, ``_`` in a name for a space."""

    def answer(_: KitHttpAnnounce, peers: Sequence[KitPeerAddress]) -> bytes:
        content: dict[bytes, Bencodable] = {
            b"interval": INTERVAL_S,
            b"peers": packed_peers(peers),
        }
        content.update({key.replace("_", " ").encode(): value for key, value in keys.items()})
        return bencode(content)

    return answer


def failure(**keys: Bencodable) -> AnswerFunction:
    """Return what answers with a failure."""
    content: dict[bytes, Bencodable] = {b"failure reason": b"not today"}
    content.update({key.replace("_", " ").encode(): value for key, value in keys.items()})
    return lambda _, __: bencode(content)


def listed_answer(_: KitHttpAnnounce, peers: Sequence[KitPeerAddress]) -> bytes:
    """Return the answer with a list of dictionaries (BEP 3)."""
    listed: list[Bencodable] = [
        {b"peer id": each.peer_id, b"ip": each.host.encode(), b"port": each.port} for each in peers
    ]
    return bencode({b"interval": INTERVAL_S, b"peers": listed})
