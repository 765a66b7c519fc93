"""What a request line and its fields must be; pure functions."""

import re
from dataclasses import dataclass
from typing import Final

from torrent_engine.daemon.http.asgi import HeaderFields
from torrent_engine.daemon.http.limits import HttpLimits

REFUSED_METHODS: Final = frozenset({b"CONNECT", b"TRACE", b"TRACK"})
_HOST: Final = re.compile(
    rb"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
    rb"|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


class HeadError(Exception):
    """A request that is refused before anybody looks at it; ``status`` is the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Head:
    """A request line with fields that was found to be in order."""

    method: bytes
    path: bytes
    """As sent: percent-encoded, begins with a slash."""
    query: bytes
    version: bytes
    fields: HeaderFields
    """Names are in small letters."""
    body_bytes: int | None
    """Length of the body; None if it comes in chunks."""


def check_head(
    method: bytes, target: bytes, version: bytes, fields: HeaderFields, limits: HttpLimits
) -> Head:
    """Return a request's head. Raises HeadError.

    What two programs could understand in two ways is refused, since one of them may be a proxy
    (RFC 9112, 11.2).
    """
    if len(target) > limits.max_target_bytes:
        raise HeadError(414, "the target is too long")
    if len(fields) > limits.max_fields:
        raise HeadError(431, "too many fields")
    if method in REFUSED_METHODS:
        raise HeadError(405, "that method is not offered")
    host = _only(fields, b"host")
    if host is None or _HOST.fullmatch(host) is None:
        raise HeadError(400, "exactly one valid Host is needed")
    path, query = _split(target, host)
    return Head(method, path, query, version, fields, _body_bytes(version, fields))


def check_lines(raw: bytes, limits: HttpLimits) -> None:
    """Check a head as it was sent, before a parser smoothed it. Raises HeadError.

    Lines end with CR LF, are not folded, and tell the length at most once.
    """
    if len(raw) > limits.max_head_bytes:
        raise HeadError(431, "the fields are too long")
    lines = raw.strip(b"\r\n").split(b"\r\n")
    if any(b"\n" in line or b"\r" in line or b"\0" in line for line in lines):
        raise HeadError(400, "a line ends with half a line break")
    if any(line[:1] in {b" ", b"\t"} for line in lines):
        raise HeadError(400, "folded lines are not understood")
    lengths = [line for line in lines[1:] if line.lower().startswith(b"content-length:")]
    if len(lengths) > 1 or any(b"," in line for line in lengths):
        raise HeadError(400, "the length of the body is told twice")


def _only(fields: HeaderFields, name: bytes) -> bytes | None:
    values = [value for each, value in fields if each == name]
    return values[0] if len(values) == 1 else None


def _split(target: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a target in origin or absolute form."""
    if (absolute := _ABSOLUTE.fullmatch(target)) is not None:
        if absolute[1].lower() != host.lower():
            raise HeadError(400, "target and Host name two hosts")
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    if not target.startswith(b"/"):
        raise HeadError(400, "the target is no path")
    if b"#" in target or not target.isascii():
        raise HeadError(400, "the target has characters that must be encoded")
    path, _, query = target.partition(b"?")
    return path, query


def _body_bytes(version: bytes, fields: HeaderFields) -> int | None:
    """Return the length that a body says; None if it comes in chunks."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if codings and (lengths or version != b"1.1"):
        raise HeadError(400, "the length of the body is told twice")
    if codings:
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise HeadError(400, "only one chunked Transfer-Encoding is understood")
        return None
    if len(lengths) > 1 or (lengths and _LENGTH.fullmatch(lengths[0]) is None):
        raise HeadError(400, "Content-Length is no number")
    return int(lengths[0]) if lengths else 0
