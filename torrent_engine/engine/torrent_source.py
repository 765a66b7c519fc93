"""What a torrent may be given by: a path, an http(s) URL, bytes, a magnet link, an info-hash."""

import os
import stat
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from torrent_engine.base.config import FILE_BENCODE_LIMITS
from torrent_engine.base.errors import HttpError
from torrent_engine.codec.magnet import SCHEME, Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.net.http_client import HttpClient

MAX_TORRENT_BYTES: Final = FILE_BENCODE_LIMITS.max_bytes
HTTP_OK: Final = 200
SMALL_TORRENT_BYTES: Final = 64 * 1024

Source = str | os.PathLike[str] | bytes | Metainfo | Magnet


async def load_torrent(source: Source, http: HttpClient) -> Metainfo | Magnet:
    """Read a torrent. Raises OSError, BencodeError, MetainfoError, MagnetError or HttpError."""
    await anyio.lowlevel.checkpoint()  # thousands that are read in a row let others have their turn
    if isinstance(source, Metainfo | Magnet):
        return source
    if isinstance(source, bytes):
        return await _parsed(source)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        response = await http.get(source, max_bytes=MAX_TORRENT_BYTES)
        if response.status != HTTP_OK:
            raise HttpError(f"the server answered with status {response.status}")
        return await _parsed(response.body)
    if isinstance(source, str) and await _is_link(source):
        return Magnet.parse(source)
    if _is_small(source):
        return Metainfo.read(source)
    return await anyio.to_thread.run_sync(Metainfo.read, source)


async def _parsed(data: bytes) -> Metainfo:
    """Return what a .torrent says; a long one is read in a thread."""
    if len(data) <= SMALL_TORRENT_BYTES:
        return Metainfo.from_bytes(data)
    return await anyio.to_thread.run_sync(Metainfo.from_bytes, data)


def _is_small(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is read in less time than a trip to a thread takes; not if it is odd."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a path of any kind
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size <= SMALL_TORRENT_BYTES


async def _is_link(source: str) -> bool:
    """Tell a magnet link, or an info-hash that is no file's name, from a path."""
    if source.lstrip()[: len(SCHEME)].lower() == SCHEME:
        return True
    return Magnet.is_link(source) and not await anyio.Path(source).exists()
