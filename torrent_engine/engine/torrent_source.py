"""What a torrent may be given by: a path, an http(s) URL, bytes, a magnet link, an info-hash."""

import os
from typing import Final

import anyio
import anyio.to_thread

from torrent_engine.base.config import FILE_BENCODE_LIMITS
from torrent_engine.base.errors import HttpError
from torrent_engine.codec.magnet import SCHEME, Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.net.http_client import HttpClient

MAX_TORRENT_BYTES: Final = FILE_BENCODE_LIMITS.max_bytes
HTTP_OK: Final = 200

Source = str | os.PathLike[str] | bytes | Metainfo | Magnet


async def load_torrent(source: Source, http: HttpClient) -> Metainfo | Magnet:
    """Read a torrent. Raises OSError, BencodeError, MetainfoError, MagnetError or HttpError."""
    if isinstance(source, Metainfo | Magnet):
        return source
    if isinstance(source, bytes):
        return Metainfo.from_bytes(source)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        response = await http.get(source, max_bytes=MAX_TORRENT_BYTES)
        if response.status != HTTP_OK:
            raise HttpError(f"the server answered with status {response.status}")
        return Metainfo.from_bytes(response.body)
    if isinstance(source, str) and await _is_link(source):
        return Magnet.parse(source)
    return await anyio.to_thread.run_sync(Metainfo.read, source)


async def _is_link(source: str) -> bool:
    """Tell a magnet link, or an info-hash that is no file's name, from a path."""
    if source.lstrip()[: len(SCHEME)].lower() == SCHEME:
        return True
    return Magnet.is_link(source) and not await anyio.Path(source).exists()
