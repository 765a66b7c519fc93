"""A web interface of others, served from a folder as it is.

Only regular files below the folder are sent; nothing whose name begins with a dot, and nothing that
a link leads out of it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio.to_thread
from starlette.responses import Response

from torrent_engine.daemon.http.ranges import Validators, select
from torrent_engine.daemon.problems import Problem, ProblemError
from torrent_engine.service.regular_files import open_resolved

INDEX: Final = "index.html"
PUBLIC, PRIVATE = "public", "private"
MAX_FILE_BYTES: Final = 32 * 1024 * 1024  # ours: interfaces are some hundred kilobytes
BINARY: Final = "application/octet-stream"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".htm": "text/html; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".map": "application/json; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".otf": "font/otf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}


@dataclass(frozen=True, slots=True)
class WebFile:
    """One file as it was when it was read."""

    data: bytes
    media_type: str
    validators: Validators


ReadWebFile = Callable[[str], WebFile | None]
"""From a path below a folder to a file; None if there is none that may be sent. Blocks."""


async def answer_file(read: ReadWebFile, path: str, headers: Mapping[str, str]) -> Response:
    """Return the answer for a path; names of ``headers`` are lower-case.

    Raises ProblemError if there is no such file.
    """
    file = await anyio.to_thread.run_sync(read, path)
    if file is None:
        raise ProblemError(Problem("not_found", "there is no such file"))
    return _response(file, headers)


def read_file(root: Path, path: str) -> WebFile | None:
    """Return a file below a folder; None if there is none that may be sent. Blocks."""
    parts = [part for part in path.split("/") if part]
    if any(part.startswith(".") or "\0" in part or "\\" in part for part in parts):
        return None
    try:
        folder = root.expanduser().resolve(strict=True)
        found = folder.joinpath(*parts).resolve(strict=True)
        if found.is_dir():
            found = (found / INDEX).resolve(strict=True)
        inside = found.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            return None
        return _read(found)
    except (OSError, ValueError, RuntimeError):
        return None


def read_page_file(root: Path, path: str, *, is_known: bool) -> WebFile | None:
    """Return a file of a web interface; None if there is none that may be sent. Blocks.

    Those for qBittorrent have a folder "public" for everybody, and may have a folder "private" that
    counts first for who has logged in.
    """
    try:
        has_public = (root / PUBLIC).is_dir()
    except OSError:
        return None
    if not has_public:
        return read_file(root, path)
    names = (PRIVATE, PUBLIC) if is_known else (PUBLIC,)
    found = (read_file(root / name, path) for name in names)
    return next((each for each in found if each is not None), None)


def _read(path: Path) -> WebFile | None:
    with open_resolved(path) as file:
        facts = os.fstat(file.fileno())
        if facts.st_size > MAX_FILE_BYTES:
            return None
        data = file.read(MAX_FILE_BYTES + 1)
    etag = f'"{facts.st_mtime_ns:x}-{len(data):x}"'
    kind = TYPES.get(path.suffix.lower(), BINARY)
    return WebFile(data, kind, Validators(etag, int(facts.st_mtime)))


def _response(file: WebFile, headers: Mapping[str, str]) -> Response:
    wanted = select(headers, len(file.data), file.validators)
    fields = {
        "Accept-Ranges": "bytes",
        "ETag": file.validators.etag,
        "Last-Modified": file.validators.last_modified,
    }
    content_range = wanted.content_range(len(file.data))
    if content_range is not None:
        fields["Content-Range"] = content_range
    if wanted.status == 416:
        raise ProblemError(Problem("range_not_satisfiable", headers=fields))
    if wanted.status == 304:
        return Response(status_code=304, headers=fields)
    data = file.data[wanted.begin : wanted.end]
    return Response(data, wanted.status, fields, file.media_type)
