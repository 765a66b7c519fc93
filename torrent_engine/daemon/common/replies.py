"""Long answers: JSON made of parts that are encoded already, compressed; .torrent files."""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from torrent_engine.codec.metainfo import Metainfo

MIN_GZIP_BYTES: Final = 1_024
THREAD_BYTES: Final = 64 * 1_024  # ours: what takes longer than a trip to a thread
SLICE: Final = 1_000  # ours: values that are encoded in one call, which no other thread interrupts
_LEVEL: Final = 1  # measured on 10,000 torrents: 56 ms, and 200 ms at level 6
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)

_Item = TypeVar("_Item")


def json_bytes(value: Any) -> bytes:  # noqa: ANN401 - what JSON has
    """Return a value as JSON in UTF-8."""
    return _ENCODER.encode(value).encode("utf-8", "replace")


def joined(parts: Iterable[bytes], before: bytes = b"", behind: bytes = b"") -> bytes:
    """Return a JSON array of values that are encoded already; ``before`` and ``behind`` are added.

    All of it is joined at once, since each copy of a long list takes milliseconds.
    """
    items = list(parts)
    if not items:
        return b"%b[]%b" % (before, behind)
    items[0] = b"%b[%b" % (before, items[0])
    items[-1] = b"%b]%b" % (items[-1], behind)
    return b",".join(items)


async def listed(items: Sequence[_Item], value: Callable[[_Item], Any]) -> bytes:
    """Return a JSON array of what ``value`` makes of each item; of many in a thread."""
    if len(items) <= SLICE:
        return json_bytes([value(each) for each in items])
    return await anyio.to_thread.run_sync(_listed, items, value)


def _listed(items: Sequence[_Item], value: Callable[[_Item], Any]) -> bytes:
    slices = (items[start : start + SLICE] for start in range(0, len(items), SLICE))
    return joined(json_bytes([value(each) for each in some])[1:-1] for some in slices)


def with_field(told: Mapping[str, Any], name: str, encoded: bytes) -> bytes:
    """Return a JSON object that is not empty, with one more field that is encoded already."""
    return b'%b,"%b":%b}' % (json_bytes(told)[:-1], name.encode(), encoded)


async def torrent_bytes(torrent: Metainfo, *, has_trackers: bool) -> bytes:
    """Return a .torrent, without its trackers and web seeds if they are secret; made in a thread.

    They cannot be left out without reading it again, which takes a second where there are many
    files.
    """
    return await anyio.to_thread.run_sync(_written if has_trackers else _without_trackers, torrent)


def _written(torrent: Metainfo) -> bytes:
    return torrent.to_bytes()


def _without_trackers(torrent: Metainfo) -> bytes:
    return torrent.edited(trackers=None, web_seeds=None, http_seeds=None).to_bytes()


async def json_reply(
    request: Request, body: bytes, *, etag: str | None = None, status: int = 200
) -> Response:
    """Return an answer with a JSON body, in gzip if the client takes it and it is long."""
    headers = {"Content-Type": "application/json", "Vary": "Accept-Encoding"}
    if etag is not None:
        headers |= {"ETag": etag, "Cache-Control": "private, no-cache"}
    if len(body) >= MIN_GZIP_BYTES and takes_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        if len(body) >= THREAD_BYTES:
            body = await anyio.to_thread.run_sync(_compressed, body)
        else:
            body = _compressed(body)
    return Response(body, status, headers)


def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)


def takes_gzip(accepted: str) -> bool:
    """Return whether a client takes gzip, by its Accept-Encoding (RFC 9110, 12.5.3)."""
    for each in accepted.split(","):
        coding, _, weight = each.partition(";")
        if coding.strip().lower() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def weak_etag(revision: str) -> str:
    """Return the tag of an answer that depends on the state of a revision (RFC 9110, 8.8.3)."""
    return f'W/"{revision}"'


def is_unchanged(request: Request, etag: str) -> bool:
    """Return whether the client has the answer of a tag already."""
    known = request.headers.get("if-none-match", "")
    opaque = etag.removeprefix("W/")
    return known.strip() == "*" or any(
        each.strip().removeprefix("W/") == opaque for each in known.split(",")
    )


def not_modified(etag: str) -> Response:
    """Return the answer to a client that has it already."""
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    return Response(status_code=304, headers=headers)
