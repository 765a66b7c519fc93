"""What a torrent is given by: a file, an http(s) URL, standard input, a magnet link."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio

from torrent_engine.base.config import FILE_BENCODE_LIMITS
from torrent_engine.base.errors import MagnetError
from torrent_engine.cli.exit_codes import CliError, ExitCode
from torrent_engine.codec.magnet import LIMITS, SCHEME, Magnet
from torrent_engine.codec.metainfo import Metainfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torrent_engine.net.http_client import HttpClient

STDIN: Final = "-"
MAX_TORRENT_BYTES: Final = FILE_BENCODE_LIMITS.max_bytes
_URL_SCHEMES: Final = ("http://", "https://")
_QUOTES: Final = "a shell cuts a link at its first & unless it is in quotes"
_OK: Final = 200
_GONE: Final = frozenset({404, 410})
_SECRET: Final = re.compile(r"[0-9A-Za-z]{20}")  # no word is that long; passkeys are longer


def is_url(source: str) -> bool:
    """Tell whether a source is fetched over HTTP."""
    return source.lower().startswith(_URL_SCHEMES)


def is_magnet(source: str) -> bool:
    """Tell whether a source is a magnet link, or an info-hash that is no file's name."""
    return Magnet.is_link(source) and (has_scheme(source) or not Path(source).exists())


def has_scheme(source: str) -> bool:
    """Tell whether a source is a magnet link and no bare info-hash."""
    return source.lstrip()[: len(SCHEME)].lower() == SCHEME


def parse_magnet(source: str) -> Magnet:
    """Read a magnet link. Raises MagnetError, which names the usual mistake with a shell."""
    try:
        return Magnet.parse(source)
    except MagnetError as error:
        hint = f"; {_QUOTES}" if "&" not in source else ""
        raise MagnetError(f"{error}{hint}") from error


def hint_about(source: str) -> str | None:
    """Return what to tell of a link that may be only the beginning of what was pasted."""
    if has_scheme(source) and "&" not in source:
        return f"the link names neither trackers nor peers; {_QUOTES}"
    return None


def read_stdin(sources: "Sequence[str]") -> bytes:
    """Return what stdin has if ``-`` is among the sources; raises CliError if it is so twice.

    Called before the event loop starts, so that Ctrl-C ends a wait for input.
    """
    if STDIN not in sources:
        return b""
    if list(sources).count(STDIN) > 1:
        raise CliError("standard input (-) is given twice")
    return sys.stdin.buffer.read(MAX_TORRENT_BYTES + 1)


def load_now(source: str) -> Metainfo:
    """Read a .torrent from a path or stdin, blocking; a URL is fetched in a loop of its own."""
    if is_magnet(source):
        raise CliError("is a link, not a .torrent; `torrent-engine metadata` fetches that")
    if is_url(source):
        return Metainfo.from_bytes(anyio.run(fetch, source))
    if source == STDIN:
        return Metainfo.from_bytes(read_stdin([source]))
    return _read_path(source)


async def load(
    source: str, stdin: bytes = b"", http: "HttpClient | None" = None
) -> Metainfo | Magnet:
    """Read a .torrent or a magnet link; ``stdin`` is what was read for ``-``, either of them.

    URLs are fetched by ``http``, which may go through a proxy.
    Raises OSError, CliError, HttpError, BencodeError, MetainfoError and MagnetError.
    """
    if is_magnet(source):
        return parse_magnet(source)
    if source == STDIN:
        text = stdin[: LIMITS.max_uri_bytes + 1].decode("utf-8", "replace")  # a link is no longer
        return parse_magnet(text) if Magnet.is_link(text) else await _parsed(stdin)
    if is_url(source):
        return await _parsed(await fetch(source, http))
    return await anyio.to_thread.run_sync(_read_path, source)


async def _parsed(data: bytes) -> Metainfo:
    return await anyio.to_thread.run_sync(Metainfo.from_bytes, data)


async def fetch(url: str, http: "HttpClient | None" = None) -> bytes:
    """Return the body of a URL, at most as long as a .torrent may be."""
    from torrent_engine.base.config import TrackerConfig
    from torrent_engine.net.http_client import HttpClient

    client = http or HttpClient(TrackerConfig())
    response = await client.get(url, max_bytes=MAX_TORRENT_BYTES)
    if response.status in _GONE:
        raise CliError(f"not found (HTTP status {response.status})", ExitCode.NOT_FOUND)
    if response.status != _OK:
        raise CliError(f"HTTP status {response.status}", ExitCode.NETWORK)
    return response.body


def shown(source: str) -> str:
    """Return a source as it may be printed: a URL or link without user, query and passkeys."""
    if has_scheme(source):
        return _shown_magnet(source)
    if not is_url(source):
        return source
    parts = urlsplit(source)
    path = "/".join("***" if _SECRET.search(part) else part for part in parts.path.split("/"))
    query = "?***" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}{query}"


def _shown_magnet(source: str) -> str:
    """Return name or info-hash of a link, which may have passkeys in it."""
    try:
        return Magnet.parse(source).display_name
    except MagnetError:
        return "magnet:?***"


def _read_path(source: str) -> Metainfo:
    if Path(source).is_dir():
        raise CliError(f"{source}: is a folder, not a .torrent", ExitCode.BAD_TORRENT)
    return Metainfo.read(source)
