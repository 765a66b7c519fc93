"""Newer versions of a torrent from its feed (BEP 39).

The URL is that of a stranger: private addresses are refused unless they are allowed.
"""

from functools import partial

import anyio.to_thread

from torrent_engine.base.config import torrent_limits
from torrent_engine.base.errors import HttpError
from torrent_engine.codec.feed import check_update, feed_request
from torrent_engine.codec.magnet import Magnet
from torrent_engine.codec.metainfo import Metainfo
from torrent_engine.net.http.client import HttpClient
from torrent_engine.net.http.torrent_fetch import FetchOptions, fetch_torrent


async def fetch_update(
    metainfo: Metainfo,
    http: HttpClient,
    *,
    now_s: float,
    max_bytes: int,
    allow_private: bool = False,
) -> Metainfo | None:
    """Return the newer version that a torrent's feed has; None if there is no feed, or none newer.

    ``now_s`` is the time in seconds since 1970, at which the originator's certificate must be
    valid. Nothing is asked for unless the torrent names an originator. Raises HttpError if the
    feed does not answer with a torrent, BencodeError or MetainfoError if that cannot be read, and
    SignatureError if it is not signed by the originator.
    """
    url = await anyio.to_thread.run_sync(partial(feed_request, metainfo, now_s=now_s))
    if url is None or metainfo.originator is None:
        return None
    options = FetchOptions(allow_private=allow_private)
    found = await fetch_torrent(url, http, max_bytes, options)
    if isinstance(found, Magnet):
        raise HttpError("the feed has a magnet link, which cannot be signed")
    return await anyio.to_thread.run_sync(_read, metainfo, found, max_bytes, now_s)


def _read(older: Metainfo, data: bytes, max_bytes: int, now_s: float) -> Metainfo | None:
    newer = Metainfo.from_bytes(data, limits=torrent_limits(max_bytes))
    if newer.info_bytes == older.info_bytes:
        return None
    check_update(older, newer, now_s=now_s)
    return newer
