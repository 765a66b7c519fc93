"""Requests of the kit to an HTTP tracker, and its answers.

Source: BEP 3, 23, 48.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import anyio
from anyio.abc import ByteStream

from torrent_engine.conformance.bencoding import Bencodable, parse_dictionary
from torrent_engine.conformance.errors import KitBencodeError

MAX_ANSWER_BYTES: Final = 1024 * 1024
HEAD_END: Final = b"\r\n\r\n"
OK: Final = 200
_GONE: Final = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class TrackerAnswer:
    """What a tracker answered; the status is 0 if nothing came that is HTTP."""

    status: int
    body: bytes
    content: dict[bytes, Bencodable] = field(default_factory=dict)
    """The dictionary; empty if the body is none."""

    @property
    def is_failure(self) -> bool:
        """Whether it has a failure reason."""
        return b"failure reason" in self.content

    @property
    def is_success(self) -> bool:
        """Whether it is that of an announce that was taken."""
        return not self.is_failure and isinstance(self.content.get(b"interval"), int)

    def text(self, key: bytes) -> bytes | None:
        """Return a string of the dictionary; None if there is none."""
        value = self.content.get(key)
        return value if isinstance(value, bytes) else None


def parse_answer(data: bytes) -> TrackerAnswer:
    """Return an answer; whatever came, this raises nothing."""
    head, _, body = data.partition(HEAD_END)
    words = head.split(b"\r\n", 1)[0].split(b" ")
    is_http = len(words) > 1 and words[0].startswith(b"HTTP/") and words[1].isdigit()
    status = int(words[1]) if is_http and len(words[1]) == len(str(OK)) else 0
    try:
        return TrackerAnswer(status, body, parse_dictionary(body))
    except KitBencodeError:
        return TrackerAnswer(status, body)


def query_of(values: Mapping[str, bytes | int]) -> str:
    """Return keys and values as a query."""
    return "&".join(
        f"{key}={value if isinstance(value, int) else quote(value, safe='')}"
        for key, value in values.items()
    )


def request_of(target: str, host: str) -> bytes:
    """Return a request for a path and query."""
    head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    return head.encode("latin-1")


async def fetch(stream: ByteStream, request: bytes, within_s: float) -> bytes:
    """Send a request; return all that came until the end, or the time."""
    data = b""
    try:
        with suppress(*_GONE), anyio.move_on_after(within_s):
            await stream.send(request)
            while len(data) < MAX_ANSWER_BYTES and not _is_whole(data):
                data += await stream.receive()
    finally:
        with anyio.CancelScope(shield=True), suppress(*_GONE):
            await stream.aclose()
    return data


def _is_whole(data: bytes) -> bool:
    """Return whether the body has the length that the headers state."""
    head, end, body = data.partition(HEAD_END)
    for line in head.split(b"\r\n") if end else ():
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value.strip()[:9])
    return False
