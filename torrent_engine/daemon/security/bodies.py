"""Bodies of requests: their type, their length, and the depth of JSON."""

import json
from itertools import accumulate
from typing import Final

from anyio.to_thread import run_sync

from torrent_engine.base.config.units import KIB
from torrent_engine.daemon.http.asgi import AsgiMessage, AsgiReceive
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.daemon.security.access import JSON, RouteAccess
from torrent_engine.daemon.security.request_facts import RequestFacts

MAX_DEPTH: Final = 32
LONG_BYTES: Final = 64 * KIB  # ours: what is looked at in a thread; 16 MiB can take a second
_BRACKETS: Final = b"[]{}"
_OTHERS: Final = bytes(set(range(256)) - set(_BRACKETS))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def media_type_of(facts: RequestFacts) -> str:
    """Return the type of a body without parameters, in small letters."""
    return (facts.field(b"content-type") or "").partition(";")[0].strip().lower()


def check_type(facts: RequestFacts, access: RouteAccess) -> Problem | None:
    """Return what is wrong with a body's type or with the length that it says."""
    length = facts.field(b"content-length")
    has_body = facts.has(b"transfer-encoding") or length not in {None, "0"}
    if not has_body:
        return None
    kind = media_type_of(facts)
    if access.media_types and kind not in access.media_types:
        wanted = ", ".join(sorted(access.media_types))
        return Problem("unsupported_media_type", f"Content-Type must be one of {wanted}")
    limit = limit_of(kind, access)
    if length is not None and length.isdecimal() and int(length) > limit:
        return _too_large(limit)
    return None


def limit_of(kind: str, access: RouteAccess) -> int:
    """Return how long a body of a type may be."""
    return access.max_json_bytes if kind == JSON else access.max_body_bytes


def _too_large(limit: int) -> Problem:
    return Problem("too_large", f"at most {limit} bytes", extra={"limit": limit})


class LimitedBody:
    """The body of a request on its way to a route; raises ProblemError where it is too long."""

    def __init__(self, receive: AsgiReceive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._received = 0

    async def receive(self) -> AsgiMessage:
        """Return the next part."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise ProblemError(_too_large(self._limit))
        return message

    async def read_json(self) -> "Replayed":
        """Read all of it, and check how deep it is; return it for the route to read again."""
        parts: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                return Replayed(b"".join(parts), self._receive, is_cut=True)
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        body = b"".join(parts)
        is_long = len(body) > LONG_BYTES
        if await run_sync(is_too_deep, body) if is_long else is_too_deep(body):
            raise ProblemError(Problem("json_too_deep", f"at most {MAX_DEPTH} levels"))
        return Replayed(body, self._receive)


class Replayed:
    """A body that was read, for a route that reads it again."""

    def __init__(self, body: bytes, receive: AsgiReceive, *, is_cut: bool = False) -> None:
        self._body: bytes | None = None if is_cut else body
        self._receive = receive

    async def receive(self) -> AsgiMessage:
        """Return the body once, then what the connection tells."""
        body, self._body = self._body, None
        if body is None:
            return await self._receive()
        return {"type": "http.request", "body": body, "more_body": False}


def is_too_deep(body: bytes) -> bool:
    """Return whether a JSON text is nested too deep, in linear time."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _without_strings(body).translate(None, _OTHERS)
    depths = accumulate(_STEPS[byte] for byte in brackets)
    return any(depth > MAX_DEPTH for depth in depths)


def _without_strings(body: bytes) -> bytes:
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2])


def dump(value: object) -> bytes:
    """Return a value as JSON."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False).encode("utf-8", "replace")
